"""Broadcasts: a text to the leads of many boards, stored as one row and a message for each board.

The messages are written in the transaction of the broadcast, and are delivered independently. Their results
are read from their rows and never stored twice. A broadcast is settled when no pending message of it can
still reach a lead.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.coordination import MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import AgentId, BoardId, BroadcastId, DeviceId, GatewayId, MessageId, UserId
from storage import audit
from storage.coordination.boards import list_places
from storage.coordination.message_rows import MESSAGES as MESSAGE_ROWS
from storage.coordination.message_rows import UNPROVEN, MessageRow, SentFields
from storage.coordination.messages import (
    MessageLimits,
    NewMessage,
    check_content,
    open_count,
    repeated_message,
)
from storage.kernel.columns import Key, columns_of, fill, fill_page, listed_keys, narrowed, paged, values_of
from storage.schema import (
    agents,
    boards,
    broadcasts,
    gateway_agents,
    gateways,
    message_moves,
    messages,
    users,
)

CHECKED: Final = 100  # broadcasts in one query


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Board that gets no message. *given*: its name in the request; *error*: reason, in words."""

    given: str
    board_id: BoardId | None = None
    board: str | None = None
    code: str
    error: str


class BroadcastFields(SentFields, frozen=True, kw_only=True):
    """Fields of a broadcast that it has from its creation.

    Attributes:
        gateway_id: gateway whose main agent sends it; ``None``: a person sends it.
        refused: requested boards that get no message.
    """

    id: BroadcastId
    gateway_id: GatewayId | None = None
    kind: MessageKind
    refused: tuple[Refused, ...] = ()


class BroadcastRow(BroadcastFields, frozen=True, kw_only=True):
    """Broadcast to the leads of boards.

    Attributes:
        boards: number of requested boards, including the refused ones.
        rounds: number of times that it was sent: once, and at each resume.
        settled_at: time at which no message of it was pending any more.
    """

    user: str
    gateway: str | None
    from_agent: str | None
    boards: int
    rounds: int
    created_at: int
    settled_at: int | None


class Tally(msgspec.Struct, frozen=True):
    """Number of boards whose lead has the message, will not get it, or may still get it."""

    sent: int = 0
    failed: int = 0
    waiting: int = 0


class BoardResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a broadcast at a board. *lead_created*: the lead was created for it."""

    message_id: MessageId
    board_id: BoardId | None
    board: str | None
    gateway: str | None
    lead_id: AgentId | None
    lead: str | None
    lead_created: bool
    state: MessageState
    code: str | None
    error: str | None


_broadcast: sa.BindParameter[str] = sa.bindparam("broadcast")
_most = sa.bindparam("most", type_=sa.Integer)
_sender = agents.alias("sender")
BROADCASTS = (
    sa.select(
        *columns_of(
            BroadcastRow, broadcasts, user=users.c.name, gateway=gateways.c.name, from_agent=_sender.c.name
        )
    )
    .join_from(broadcasts, users, users.c.id == broadcasts.c.user_id)
    .outerjoin(gateways, gateways.c.id == broadcasts.c.gateway_id)
    .outerjoin(_sender, _sender.c.id == broadcasts.c.from_agent_id)
)
BROADCAST = BROADCASTS.where(broadcasts.c.id == _broadcast)
OPEN = (
    sa.select(broadcasts.c.id)
    .where(broadcasts.c.settled_at.is_(None), broadcasts.c.id > sa.bindparam("after"))
    .order_by(broadcasts.c.id)
    .limit(_most)
)
STATES_OF = (
    sa.select(messages.c.state, sa.func.count().label("many"))
    .where(messages.c.broadcast_id == _broadcast)
    .group_by(messages.c.state)
)
RESULTS = (
    sa.select(
        *columns_of(
            BoardResult,
            messages,
            message_id=messages.c.id,
            board=boards.c.name,
            gateway=gateways.c.name,
            lead_id=messages.c.to_agent_id,
            lead=agents.c.name,
            lead_created=sa.and_(
                sa.func.coalesce(gateway_agents.c.role, "") == "lead",
                sa.func.coalesce(gateway_agents.c.created_at, 0) >= broadcasts.c.created_at,
            ),
            code=messages.c.reason_code,
            error=messages.c.reason,
        )
    )
    .join_from(messages, broadcasts, broadcasts.c.id == messages.c.broadcast_id)
    .outerjoin(boards, boards.c.id == messages.c.board_id)
    .outerjoin(gateways, gateways.c.id == messages.c.gateway_id)
    .outerjoin(agents, agents.c.id == messages.c.to_agent_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == messages.c.to_agent_id)
    .where(messages.c.broadcast_id == _broadcast)
)


def get_broadcast(c: sa.Connection, id: str) -> BroadcastRow:
    """Return the broadcast with that id, or raise CodedError."""
    row = c.execute(BROADCAST, {"broadcast": id}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_BROADCAST, f"there is no broadcast {id}")
    return fill(BroadcastRow, row)


def list_broadcasts(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    gateway_id: GatewayId | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[BroadcastRow]:
    """Return broadcasts, newest first.

    Args:
        gateway_id: only broadcasts of this gateway's main agent.
        after: ``(created_at, id)`` of the last broadcast of the previous page.
    """
    of = broadcasts.c
    only = narrowed((of.gateway_id, gateway_id), (of.user_id, user_id))
    query = paged(
        BROADCASTS,
        of.created_at,
        of.id,
        limit=limit,
        after=after,
        descending=True,
        only=[*only, listed_keys(broadcasts)],
    )
    return fill_page(c, BroadcastRow, query, limit)


def list_open(c: sa.Connection, after: str = "", most: int = CHECKED) -> list[BroadcastId]:
    """Return the ids above *after* of broadcasts that are not settled, in order."""
    return [row.id for row in c.execute(OPEN, {"after": after, "most": most})]


def results_of(
    c: sa.Connection, id: str, *, limit: int | None = None, after: Key | None = None
) -> list[BoardResult]:
    """Return the results of a broadcast at its boards, by message id, without the refused boards."""
    query = paged(RESULTS, messages.c.id, limit=limit, after=after)
    return fill_page(c, BoardResult, query, limit, {"broadcast": id})


def tally_of(c: sa.Connection, row: BroadcastRow) -> Tally:
    """Count a broadcast's messages by outcome; refused boards count as failed."""
    counts = {found.state: int(found.many) for found in c.execute(STATES_OF, {"broadcast": row.id})}
    waiting = sum(counts.pop(state, 0) for state in UNPROVEN)
    failed = counts.pop(MessageState.FAILED, 0) + counts.pop(MessageState.EXPIRED, 0)
    return Tally(sent=sum(counts.values()), failed=failed + len(row.refused), waiting=waiting)


PART: Final = 200  # rows in one statement


class NewBroadcast(BroadcastFields, frozen=True, kw_only=True):
    """New broadcast to the leads of boards. *dedupe_key*: requests with the same key are sent once."""

    dedupe_key: str | None = None
    at: int
    expires_at: int


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """Board whose lead gets a message, and the message's route."""

    message_id: MessageId
    board_id: BoardId
    gateway_id: GatewayId | None
    device_id: DeviceId | None


_consumed = message_moves.alias("heard")
UNDELIVERED = (
    MESSAGE_ROWS.where(
        messages.c.broadcast_id == _broadcast,
        messages.c.id > sa.bindparam("after"),
        sa.text("messages.state IN ('failed', 'expired')"),
        # Their lead has the message, or may have it: it is not sent again.
        sa.func.coalesce(messages.c.reason_code, "") != str(ErrorCode.UNKNOWN_EFFECT),
        ~sa.exists().where(_consumed.c.message_id == messages.c.id, sa.text("heard.new_state = 'consumed'")),
    )
    .order_by(messages.c.id)
    .limit(_most)
)


def add_broadcast(
    c: sa.Connection, new: NewBroadcast, aims: Sequence[Aim], *, limits: MessageLimits
) -> BroadcastRow:
    """Add a broadcast with a message for each board, or return the one with the same dedupe key.

    A broadcast without messages is settled at once.

    Raises:
        CodedError, LimitReached: nothing was written.
    """
    if new.dedupe_key is not None:
        known = c.execute(
            sa.select(broadcasts.c.id).where(broadcasts.c.dedupe_key == new.dedupe_key)
        ).scalar_one_or_none()
        if known is not None:
            return get_broadcast(c, known)
    check_content(new.content, limits)
    _check_room(c, new.user_id, len(aims), limits)
    row = values_of(new, broadcasts, boards=len(aims) + len(new.refused), created_at=new.at)
    c.execute(sa.insert(broadcasts), row)
    _add_messages(c, [_message(new, aim) for aim in aims], new.at)
    settle(c, new.id, at=new.at)
    return get_broadcast(c, new.id)


def resume(
    c: sa.Connection,
    id: BroadcastId,
    fresh: Sequence[MessageId],
    aims: Sequence[Aim],
    refused: Sequence[Refused],
    *,
    expires_at: int,
    at: int,
    actor: str,
    limits: MessageLimits,
) -> BroadcastRow:
    """Send the broadcast again, as new messages, to the boards whose leads never got it.

    Leads that have the message, or may have it, do not get it again. Without any such board the broadcast
    stays unchanged.

    Args:
        fresh: ids, one for each message of the broadcast.
        aims: boards that were refused before and can get it now.
        refused: boards that are still refused.

    Raises:
        CodedError (UNKNOWN_BROADCAST): no broadcast has the id.
        LimitReached: nothing was written.
    """
    c.execute(sa.select(broadcasts.c.id).where(broadcasts.c.id == id).with_for_update())
    row = get_broadcast(c, id)
    places = {place.board_id: place for place in list_places(c, row.user_id)}
    has = set(c.execute(sa.select(messages.c.board_id).where(messages.c.broadcast_id == id)).scalars())
    anew: list[NewMessage] = []
    after = ""
    ids = iter(fresh)
    while part := c.execute(UNDELIVERED, {"broadcast": id, "after": after, "most": PART}).all():
        after = part[-1].id
        for old in (fill(MessageRow, row) for row in part):
            place = None if old.board_id is None else places.get(old.board_id)
            if place is None:
                continue  # its board was deleted meanwhile
            gateway_id, device_id = place.goes_over
            repeated = repeated_message(c, old, next(ids), at=at)
            anew.append(
                msgspec.structs.replace(
                    repeated,
                    gateway_id=gateway_id,
                    device_id=device_id,
                    trace_id=row.trace_id,
                    expires_at=expires_at,
                )
            )
    known = {one.given for one in row.refused}
    new = fill(NewBroadcast, row, refused=(), at=at, expires_at=expires_at)
    anew += [_message(new, aim) for aim in aims if aim.board_id not in has]
    if not anew:
        return row
    _check_room(c, row.user_id, len(anew), limits)
    still = [msgspec.structs.asdict(one) for one in refused if one.given in known]
    again = {"rounds": broadcasts.c.rounds + 1, "settled_at": None, "refused": still}
    c.execute(sa.update(broadcasts).where(broadcasts.c.id == id).values(again))
    _add_messages(c, anew, at)
    detail: audit.Detail = {"messages": len(anew), "round": row.rounds + 1}
    audit.append(c, at=at, actor=actor, event="broadcast.resumed", subject=id, detail=detail)
    return get_broadcast(c, id)


def settle(c: sa.Connection, id: str, *, at: int) -> BroadcastRow | None:
    """Settle the broadcast and record its activity, if none of its messages is pending.

    Returns:
        The settled broadcast; ``None`` if messages are pending or it was settled already.
    """
    c.execute(sa.select(broadcasts.c.id).where(broadcasts.c.id == id).with_for_update())
    found = c.execute(BROADCAST, {"broadcast": id}).one_or_none()
    if found is None or found.settled_at is not None:
        return None
    row = fill(BroadcastRow, found)
    tally = tally_of(c, row)
    if tally.waiting:
        return None
    c.execute(sa.update(broadcasts).where(broadcasts.c.id == id).values(settled_at=at))
    is_sent = tally.sent > 0
    words = f"Broadcast {row.kind} to {tally.sent} board leads (failed: {tally.failed})."
    audit.record(
        c,
        id=f"{row.id}:{row.rounds}",  # unique for each round
        at=at,
        event_type=f"gateway.main.lead_broadcast.{'sent' if is_sent else 'failed'}",
        message=words if is_sent else f"Broadcast {row.kind} reached no board lead (failed: {tally.failed}).",
        actor=row.actor,
        agent_id=row.from_agent_id,
        level="warning" if tally.failed else "info",
        data={"broadcast_id": row.id, "sent": tally.sent, "failed": tally.failed, "round": row.rounds},
        trace_id=row.trace_id,
    )
    return get_broadcast(c, id)


def _message(new: NewBroadcast, aim: Aim) -> NewMessage:
    return fill(
        NewMessage,
        new,
        id=aim.message_id,
        board_id=aim.board_id,
        broadcast_id=new.id,
        to_lead=True,
        gateway_id=aim.gateway_id,
        device_id=aim.device_id,
        dedupe_key=None,
        not_before=new.at,
    )


def _check_room(c: sa.Connection, user_id: UserId, more: int, limits: MessageLimits) -> None:
    most = limits.open_messages_per_user
    if more and open_count(c, user_id, most) + more > most:
        message = f"with {more} more there would be more than {most} messages of this user under way"
        raise LimitReached(message, limit="open_messages_per_user")


def _add_messages(c: sa.Connection, repeated: Sequence[NewMessage], at: int) -> None:
    """Insert messages, each after the last message to the same lead."""
    for start in range(0, len(repeated), PART):
        part = repeated[start : start + PART]
        query = (
            sa.select(messages.c.board_id, sa.func.max(messages.c.created_at))
            .where(
                messages.c.settled_at.is_(None),
                messages.c.to_lead,
                messages.c.board_id.in_([new.board_id for new in part]),
            )
            .group_by(messages.c.board_id)
        )
        after = {board_id: last + 1 for board_id, last in c.execute(query)}
        rows = [
            values_of(new, messages, created_at=max(new.at, after.get(new.board_id, 0)), updated_at=new.at)
            for new in part
        ]
        c.execute(sa.insert(messages), rows)
        c.execute(sa.insert(message_moves), [_begun(new.id, at) for new in part])


def _begun(id: MessageId, at: int) -> dict[str, Any]:
    """Return the row of a message's first move, as ``message_moves.remember`` writes it."""
    row = {"message_id": id, "seq": 1, "old_state": None, "new_state": MessageState.WAITING, "attempt": 1}
    return row | {"proof": {}, "reason": None, "at": at}
