"""Rows of broadcasts, and reading them. Instants are epoch milliseconds."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, BroadcastId, GatewayId, MessageId, UserId
from protocol.messages import MessageKind, MessageState
from storage.coordination.message_rows import UNPROVEN
from storage.kernel.rows import columns_of, fill
from storage.schema import agents, boards, broadcasts, gateway_agents, gateways, messages, users

CHECKED: Final = 100  # broadcasts in one query


class UnknownBroadcast(HubError):
    """Error: no broadcast has that id."""

    code = ErrorCode.UNKNOWN_BROADCAST


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Board that gets no message. *given*: its name in the request; *error*: reason, in words."""

    given: str
    board_id: BoardId | None = None
    board: str | None = None
    code: str
    error: str


class BroadcastRow(msgspec.Struct, frozen=True, kw_only=True):
    """Broadcast to the leads of boards.

    Attributes:
        boards: number of requested boards, including the refused ones.
        rounds: number of times that it was sent: once, and at each resume.
        settled_at: time at which no message of it was pending any more.
    """

    id: BroadcastId
    user_id: UserId
    user: str
    gateway_id: GatewayId | None
    gateway: str | None
    kind: MessageKind
    content: str
    from_agent_id: AgentId | None
    from_agent: str | None
    actor: str
    correlation_id: str | None
    reply_tags: tuple[str, ...]
    reply_source: str | None
    trace_id: str
    refused: tuple[Refused, ...]
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
    .where(messages.c.broadcast_id == _broadcast, messages.c.id > sa.bindparam("after"))
    .order_by(messages.c.id)
    .limit(_most)
)


def get_broadcast(c: sa.Connection, id: str) -> BroadcastRow:
    """Return the broadcast with that id, or raise UnknownBroadcast."""
    row = c.execute(BROADCAST, {"broadcast": id}).one_or_none()
    if row is None:
        raise UnknownBroadcast(f"there is no broadcast {id}")
    return broadcast_of(row)


def list_broadcasts(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    gateway_id: GatewayId | None = None,
    after: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[BroadcastRow]:
    """Return broadcasts, newest first.

    Args:
        gateway_id: only broadcasts of this gateway's main agent.
        after: ``(created_at, id)`` of the last broadcast of the previous page.
    """
    query = BROADCASTS.order_by(broadcasts.c.created_at.desc(), broadcasts.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(broadcasts.c.user_id == user_id)
    if gateway_id is not None:
        query = query.where(broadcasts.c.gateway_id == gateway_id)
    if after is not None:
        query = query.where(
            sa.tuple_(broadcasts.c.created_at, broadcasts.c.id) < sa.tuple_(*map(sa.literal, after))
        )
    return [broadcast_of(row) for row in c.execute(query)]


def list_open(c: sa.Connection, after: str = "", most: int = CHECKED) -> list[BroadcastId]:
    """Return the ids above *after* of broadcasts that are not settled, in order."""
    return [row.id for row in c.execute(OPEN, {"after": after, "most": most})]


def results_of(c: sa.Connection, id: str, *, after: str = "", limit: int) -> list[BoardResult]:
    """Return the results of a broadcast at its boards, by message id, without the refused boards.

    Args:
        after: only messages with greater ids.
    """
    given = {"broadcast": id, "after": after, "most": limit}
    return [fill(BoardResult, row) for row in c.execute(RESULTS, given)]


def tally_of(c: sa.Connection, row: BroadcastRow) -> Tally:
    """Count a broadcast's messages by outcome; refused boards count as failed."""
    counts = {found.state: int(found.many) for found in c.execute(STATES_OF, {"broadcast": row.id})}
    waiting = sum(counts.pop(state, 0) for state in UNPROVEN)
    failed = counts.pop(MessageState.FAILED, 0) + counts.pop(MessageState.EXPIRED, 0)
    return Tally(sent=sum(counts.values()), failed=failed + len(row.refused), waiting=waiting)


def broadcast_of(row: sa.Row[Any]) -> BroadcastRow:
    """Convert a row of ``BROADCASTS``."""
    return fill(BroadcastRow, row)
