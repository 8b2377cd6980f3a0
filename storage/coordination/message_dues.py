"""Messages that are due for processing at a gateway, at devices or nowhere, and their postponement."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BootId, DeviceId, GatewayId
from storage.coordination.message_rows import SIGHTS, UNPROVEN, MessageSight, find_sight, remember, sight_of
from storage.devices.leases import is_alive
from storage.kernel.columns import Int
from storage.schema import agents, gateway_agents, message_moves, messages

LEFT_MS: Final = 180_000  # longer than any step of a message takes


class Hand(msgspec.Struct, frozen=True):
    """Hub process that processes messages.

    Attributes:
        is_alone: no other hub uses the database, so messages leased by other processes are free.
    """

    boot_id: BootId
    is_alone: bool


_message: sa.BindParameter[str] = sa.bindparam("message")
_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)
_most = sa.bindparam("most", type_=sa.Integer)
_is_open = messages.c.settled_at.is_(None)
_as_seen = (messages.c.id == _message, messages.c.version == sa.bindparam("seen"))
_is_ours = sa.or_(
    messages.c.lease_boot_id.is_(None),
    messages.c.lease_boot_id == sa.bindparam("boot"),
    sa.bindparam("is_alone", type_=sa.Integer) == 1,
    sa.not_(is_alive(messages.c.lease_boot_id)),
)
_earlier = messages.alias("earlier")
# Messages that two hubs added in the same millisecond are ordered by id.
_is_before = sa.and_(
    _earlier.c.created_at <= messages.c.created_at,
    sa.or_(_earlier.c.created_at < messages.c.created_at, _earlier.c.id < messages.c.id),
)
# Literal text instead of a list of parameters, so that the partial index is used.
_UNPROVEN = sa.text(f"earlier.state IN ({', '.join(repr(str(state)) for state in UNPROVEN)})")
_waiting: sa.ColumnElement[Any] = sa.literal_column("'waiting'", messages.c.state.type)
_is_in_turn = sa.or_(
    messages.c.state != _waiting,
    sa.and_(
        ~sa.exists().where(
            _earlier.c.to_agent_id == messages.c.to_agent_id,
            _is_before,
            _earlier.c.settled_at.is_(None),
            _UNPROVEN,
        ),
        # A message for the board's lead who is not known yet also comes first.
        ~sa.exists().where(
            messages.c.to_lead,
            _earlier.c.to_lead,
            _earlier.c.to_agent_id.is_(None),
            _earlier.c.board_id == messages.c.board_id,
            _is_before,
            _earlier.c.settled_at.is_(None),
            _UNPROVEN,
        ),
    ),
)
# On a device, the same call is the same message, and a device has one hub: no lease is needed.
_due_at_devices = SIGHTS.where(_is_open, messages.c.not_before <= _now, _is_in_turn)
# A live hub that neglects its leased messages cannot reach the gateway: another hub may take them.
_is_left = messages.c.not_before <= _now - LEFT_MS
_due = SIGHTS.where(_is_open, messages.c.not_before <= _now, sa.or_(_is_ours, _is_left), _is_in_turn)
_in_order = (messages.c.not_before, messages.c.id)

DUE_AT_GATEWAY = (
    _due.where(messages.c.gateway_id == sa.bindparam("gateway")).order_by(*_in_order).limit(_most)
)
DUE_AT_DEVICES = (
    _due_at_devices.where(
        messages.c.gateway_id.is_(None), agents.c.device_id.in_(sa.bindparam("devices", expanding=True))
    )
    .order_by(*_in_order)
    .limit(_most)
)
DUE_NOWHERE = (
    _due.where(
        messages.c.gateway_id.is_(None),
        sa.or_(agents.c.device_id.is_(None), agents.c.deleted_at.is_not(None)),
    )
    .order_by(*_in_order)
    .limit(_most)
)
EXPIRING = (
    SIGHTS.where(
        _is_open,
        messages.c.expires_at <= _now,
        _is_ours,
        sa.or_(messages.c.state == _waiting, messages.c.not_before <= _now),
    )
    .order_by(messages.c.expires_at)
    .limit(_most)
)
STIRRED = (
    SIGHTS.where(
        _is_open,
        _is_ours,
        messages.c.gateway_id == sa.bindparam("gateway"),
        messages.c.state != _waiting,
        gateway_agents.c.session_key.in_(sa.bindparam("sessions", expanding=True)),
    )
    .order_by(messages.c.created_at)
    .limit(_most)
)
NEXT_LOOK = sa.select(
    sa.func.count(), sa.func.min(sa.case((messages.c.not_before > _now, messages.c.not_before)))
).where(_is_open)
STIR = (
    sa.update(messages)
    .where(_is_open, messages.c.gateway_id == sa.bindparam("gateway"), messages.c.not_before > _now)
    .values(not_before=_now)
)
STIR_DEVICE = (
    sa.update(messages)
    .where(
        _is_open,
        messages.c.gateway_id.is_(None),
        messages.c.not_before > _now,
        messages.c.to_agent_id.in_(
            sa.select(agents.c.id).where(agents.c.device_id == sa.bindparam("device"))
        ),
    )
    .values(not_before=_now)
)
LOOK_NOW = sa.update(messages).where(messages.c.id == _message, _is_open).values(not_before=_now)
PUT_OFF = sa.update(messages).where(*_as_seen).values(not_before=sa.bindparam("again"))
GIVE_HOME = (
    sa.update(messages)
    .where(*_as_seen)
    .values(
        to_agent_id=sa.bindparam("agent"),
        gateway_id=sa.bindparam("gateway"),
        device_id=sa.bindparam("device"),
        version=messages.c.version + 1,
        updated_at=_now,
    )
)
LETTER = (
    sa.select(message_moves.c.proof)
    .where(
        message_moves.c.message_id == _message,
        message_moves.c.attempt == sa.bindparam("attempt"),
        message_moves.c.new_state == sa.literal_column("'sent'", message_moves.c.new_state.type),
    )
    .order_by(message_moves.c.seq)
    .limit(1)
)
RELEASE_ALL = (
    sa.update(messages)
    .where(_is_open, messages.c.lease_boot_id.is_not(None), messages.c.lease_boot_id != sa.bindparam("boot"))
    .values(
        lease_boot_id=None,
        not_before=sa.case((messages.c.not_before > _now, _now), else_=messages.c.not_before),
    )
)


def due_at_gateway(
    c: sa.Connection, gateway_id: GatewayId, hand: Hand, *, at: int, most: int
) -> list[MessageSight]:
    """Return due messages of a gateway that no other hub has leased, longest overdue first."""
    given = _spelled(hand) | {"gateway": gateway_id, "now": at, "most": most}
    return [sight_of(row) for row in c.execute(DUE_AT_GATEWAY, given)]


def due_at_devices(
    c: sa.Connection, devices: Sequence[DeviceId], *, at: int, most: int
) -> list[MessageSight]:
    """Return due messages of agents on these devices, which are connected to this hub."""
    given: dict[str, Any] = {"devices": list(devices), "now": at, "most": most}
    return [sight_of(row) for row in c.execute(DUE_AT_DEVICES, given)]


def due_nowhere(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return due messages of agents without a known home."""
    given = _spelled(hand) | {"now": at, "most": most}
    return [sight_of(row) for row in c.execute(DUE_NOWHERE, given)]


def expiring(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return open messages whose time to live is over."""
    given = _spelled(hand) | {"now": at, "most": most}
    return [sight_of(row) for row in c.execute(EXPIRING, given)]


def stirred(
    c: sa.Connection,
    gateway_id: GatewayId,
    sessions: Sequence[str],
    hand: Hand,
    *,
    most: int,
) -> list[MessageSight]:
    """Return sent messages to agents whose sessions had an event."""
    given = _spelled(hand) | {"gateway": gateway_id, "sessions": list(sessions), "most": most}
    return [sight_of(row) for row in c.execute(STIRRED, given)]


def next_look(c: sa.Connection, at: int) -> tuple[bool, int | None]:
    """Return whether any message is open, and the next time at which one becomes due."""
    open_ones, soonest = c.execute(NEXT_LOOK, {"now": at}).one()
    return bool(open_ones), soonest


def stir(c: sa.Connection, gateway_id: GatewayId, at: int) -> int:
    """Make every open message of a reconnected gateway due now. Return their number."""
    return c.execute(STIR, {"gateway": gateway_id, "now": at}).rowcount


def stir_device(c: sa.Connection, device_id: DeviceId, at: int) -> int:
    """Make the messages to a connected device's agents due now, as earlier sends may be lost."""
    return c.execute(STIR_DEVICE, {"device": device_id, "now": at}).rowcount


def look_now(c: sa.Connection, id: str, at: int) -> bool:
    """Make an open message due now. Return False if it is settled."""
    return c.execute(LOOK_NOW, {"message": id, "now": at}).rowcount > 0


def put_off(c: sa.Connection, id: str, *, seen_version: int, not_before: int) -> bool:
    """Postpone a message. Return False if another process changed it. Not a move: nothing was proven."""
    given = {"message": id, "seen": seen_version, "again": not_before}
    return c.execute(PUT_OFF, given).rowcount > 0


def give_home(
    c: sa.Connection,
    id: str,
    *,
    seen_version: int,
    agent_id: AgentId | None,
    gateway_id: GatewayId | None,
    device_id: DeviceId | None,
    at: int,
) -> MessageSight | None:
    """Set the message's recipient and route. Return ``None`` if the message changed."""
    given = {"message": id, "seen": seen_version, "agent": agent_id, "gateway": gateway_id}
    if c.execute(GIVE_HOME, given | {"device": device_id, "now": at}).rowcount == 0:
        return None
    found = find_sight(c, id)
    assert found is not None, "it was written in this transaction"
    home = {"agent": agent_id, "gateway": gateway_id, "device": device_id}
    remember(c, id, found.version, found.state, found.state, found.attempt, {"home": home}, None, at)
    return found


def letter_of(c: sa.Connection, id: str, attempt: int) -> dict[str, Any] | None:
    """Return the content sent in an attempt, to send it again unchanged; ``None`` if none was sent."""
    found: dict[str, Any] | None = c.execute(LETTER, {"message": id, "attempt": attempt}).scalar_one_or_none()
    return found


def release_all(c: sa.Connection, boot_id: BootId, at: int) -> int:
    """Release the messages of other processes and make them due, for a database that only this hub uses."""
    return c.execute(RELEASE_ALL, {"boot": boot_id, "now": at}).rowcount


def _spelled(hand: Hand) -> dict[str, Any]:
    return {"boot": hand.boot_id, "is_alone": int(hand.is_alone)}
