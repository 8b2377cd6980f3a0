"""Writes of souls: each is a row before it is a frame, and has one end.

At most one write of an agent's soul is open. What it found where the agent lives stands in the row
before it writes there (``expected_sha256``), so whoever takes it up, after whatever happened, can tell
by looking whether it was done, is still to be done, or lost against somebody else. Every move says in
its UPDATE what it saw. The text stands in the row while it is open, and among the versions afterwards.
"""

from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, SoulWriteId
from protocol.messages import SoulWriteState
from storage.audit import activity, audit
from storage.coordination.souls import NewVersion, add_version, digest, last_there, note_seen
from storage.schema import soul_writes

ABSENT: Final = ""  # in the place of a hash: there must be no soul yet
OPEN: Final = "soul_writes.state = 'waiting'"  # as text: the partial index is used then
UPDATED: Final = "soul.updated"  # the event in the audit log
LEAST_WRITES: Final = 50  # of an agent: somebody may still ask what became of one of them
SoulEnd = Literal[SoulWriteState.DONE, SoulWriteState.CONFLICT, SoulWriteState.FAILED]
_EVENTS: Final = {
    SoulWriteState.DONE: "agent.soul.updated",
    SoulWriteState.CONFLICT: "agent.soul.conflict",
    SoulWriteState.FAILED: "agent.soul.failed",
}


class SoulBusy(HubError):
    """Another write of the same soul is open; nothing was written. *write_id* is that one's."""

    code = ErrorCode.SOUL_BUSY

    def __init__(self, message: str, write_id: SoulWriteId) -> None:
        super().__init__(message)
        self.write_id = write_id
        self.members = {"write_id": write_id}


class NewSoulWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A soul that is to be written.

    Attributes:
        expected_sha256: of what has to be there; ``ABSENT``: nothing; ``None``: whatever is there.
        dedupe_key: the same key twice is the same write.
    """

    id: SoulWriteId
    agent_id: AgentId
    board_id: BoardId | None
    content: str
    expected_sha256: str | None
    reason: str | None = None
    source_url: str | None = None
    from_agent_id: AgentId | None = None
    actor: str
    correlation_id: str | None = None
    trace_id: str
    dedupe_key: str | None = None
    at: int


class SoulWriteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A write, as far as it has come. Instants are epoch milliseconds.

    Attributes:
        content: empty once it is settled.
        expected_sha256: see ``NewSoulWrite``; of one that took whatever was there, what that was.
        found_sha256: what was there instead, of one that ended in conflict; ``ABSENT``: nothing.
        sends: how often it may have left.
        reason_code, problem: why it waits, or came to nothing.
        not_before: when it is taken up next.
    """

    id: SoulWriteId
    agent_id: AgentId
    board_id: BoardId | None
    content: str
    sha256: str
    expected_sha256: str | None
    found_sha256: str | None
    state: SoulWriteState
    sends: int
    reason_code: str | None
    problem: str | None
    reason: str | None
    source_url: str | None
    from_agent_id: AgentId | None
    actor: str
    correlation_id: str | None
    trace_id: str
    not_before: int
    created_at: int
    settled_at: int | None


class SoulOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a write ends.

    Attributes:
        found: what is there by now, if that is not what was wanted; of a conflict ``None``: no soul at all.
        place: ``gateway:NAME`` or ``device:ID``.
        activity_id: of the entry that tells people.
    """

    to: SoulEnd
    place: str
    agent: str
    activity_id: str
    at: int
    found: str | None = None
    reason_code: str | None = None
    problem: str | None = None


_is_write = soul_writes.c.id == sa.bindparam("write")
_is_open = sa.text(OPEN)
_agents = soul_writes.c.agent_id == sa.bindparam("agent")
_ROW = [soul_writes.c[name] for name in SoulWriteRow.__struct_fields__]
WRITE = sa.select(*_ROW).where(_is_write)
WRITE_OF_KEY = sa.select(*_ROW).where(soul_writes.c.dedupe_key == sa.bindparam("dedupe"))
OPEN_WRITE = sa.select(*_ROW).where(_agents, _is_open)
WRITES = (
    sa.select(*_ROW)
    .where(_agents)
    .order_by(soul_writes.c.created_at.desc(), soul_writes.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
DUE_WRITES = (
    sa.select(soul_writes.c.id)
    .where(
        _is_open, soul_writes.c.not_before <= sa.bindparam("now"), soul_writes.c.id > sa.bindparam("after")
    )
    .order_by(soul_writes.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
NEXT_WRITE = sa.select(sa.func.min(soul_writes.c.not_before)).where(_is_open)
ADD_WRITE = sa.insert(soul_writes)
TAKE_WRITE = (
    sa.update(soul_writes)
    .where(_is_write, _is_open, soul_writes.c.not_before == sa.bindparam("seen"))
    .values(not_before=sa.bindparam("until"))
)
BEGIN_SEND = (
    sa.update(soul_writes)
    .where(_is_write, _is_open, soul_writes.c.sends == sa.bindparam("seen"))
    .values(expected_sha256=sa.bindparam("base"), sends=soul_writes.c.sends + 1)
)
PUT_OFF_WRITE = (
    sa.update(soul_writes)
    .where(_is_write, _is_open)
    .values(
        not_before=sa.bindparam("until"),
        reason_code=sa.bindparam("code"),
        problem=sa.bindparam("why"),
    )
)
HURRY_WRITES = sa.update(soul_writes).where(_is_open).values(not_before=sa.bindparam("now"))
SETTLE_WRITE = (
    sa.update(soul_writes)
    .where(_is_write, _is_open)
    .values(
        state=sa.bindparam("to"),
        content="",
        found_sha256=sa.bindparam("found"),
        reason_code=sa.bindparam("code"),
        problem=sa.bindparam("why"),
        settled_at=sa.bindparam("now"),
    )
)
_kept_writes = (
    sa.select(soul_writes.c.id)
    .where(_agents, soul_writes.c.settled_at.is_not(None))
    .order_by(soul_writes.c.created_at.desc(), soul_writes.c.id.desc())
    .limit(sa.bindparam("kept", type_=sa.Integer))
)
FORGET_WRITES = sa.delete(soul_writes).where(
    _agents, soul_writes.c.settled_at.is_not(None), soul_writes.c.id.not_in(_kept_writes)
)


def add_write(c: sa.Connection, new: NewSoulWrite) -> SoulWriteRow:
    """Write down what is to be written; the same intent again is the write that there is.

    Raises:
        SoulBusy: another one is open; nothing was written down.
    """
    if new.dedupe_key is not None:
        known = c.execute(WRITE_OF_KEY, {"dedupe": new.dedupe_key}).one_or_none()
        if known is not None:
            return SoulWriteRow(**known._mapping)
    sha256 = digest(new.content)
    other = find_open(c, new.agent_id)
    if other is not None:
        is_same = other.sha256 == sha256 and new.expected_sha256 in (None, other.expected_sha256)
        if is_same and other.actor == new.actor:
            return other  # asked again, because its answer was lost, or did not come yet
        raise SoulBusy(f"another write of this soul is open, by {other.actor}", other.id)
    row = {name: getattr(new, name) for name in new.__struct_fields__ if name != "at"}
    row |= {"sha256": sha256, "not_before": new.at, "created_at": new.at}
    c.execute(ADD_WRITE, row)
    return get_write(c, new.id)


def get_write(c: sa.Connection, write_id: SoulWriteId) -> SoulWriteRow:
    """A write that is there."""
    return SoulWriteRow(**c.execute(WRITE, {"write": write_id}).one()._mapping)


def find_open(c: sa.Connection, agent_id: AgentId) -> SoulWriteRow | None:
    """The open write of an agent's soul."""
    row = c.execute(OPEN_WRITE, {"agent": agent_id}).one_or_none()
    return None if row is None else SoulWriteRow(**row._mapping)


def list_writes(c: sa.Connection, agent_id: AgentId, *, limit: int) -> list[SoulWriteRow]:
    """The newest writes of an agent's soul first."""
    return [SoulWriteRow(**row._mapping) for row in c.execute(WRITES, {"agent": agent_id, "most": limit})]


def due_writes(c: sa.Connection, at: int, limit: int, *, after: str = "") -> list[SoulWriteId]:
    """Open writes whose time has come, those first that were asked for first.

    Args:
        after: those only whose ids follow this one.
    """
    found = c.execute(DUE_WRITES, {"now": at, "most": limit, "after": after})
    return [SoulWriteId(id) for id in found.scalars()]


def next_due(c: sa.Connection) -> int | None:
    """When the next open write is due; ``None``: none is open."""
    found = c.execute(NEXT_WRITE).scalar_one()
    return None if found is None else int(found)


def take(c: sa.Connection, write: SoulWriteRow, *, until: int) -> bool:
    """It is in hand until then; False if somebody else has it, or it is settled."""
    return c.execute(TAKE_WRITE, _about(write) | {"seen": write.not_before, "until": until}).rowcount > 0


def begin_send(c: sa.Connection, write: SoulWriteRow, base: str) -> bool:
    """It may leave from now on, over *base*; False if it is not as it was seen."""
    return c.execute(BEGIN_SEND, _about(write) | {"seen": write.sends, "base": base}).rowcount > 0


def put_off(c: sa.Connection, write: SoulWriteRow, *, until: int, reason_code: str, problem: str) -> bool:
    """It waits until then, and why; False if it is settled."""
    given = {"until": until, "code": reason_code, "why": problem}
    return c.execute(PUT_OFF_WRITE, _about(write) | given).rowcount > 0


def hurry(c: sa.Connection, at: int) -> int:
    """What waits is due now; how many do."""
    return c.execute(HURRY_WRITES, {"now": at}).rowcount


def settle(c: sa.Connection, write: SoulWriteRow, end: SoulOutcome, *, kept: int) -> SoulWriteRow | None:
    """End a write: its row, the versions, what people and the audit log are told; ``None``: it had an end.

    Args:
        write: as it was while it was open, with its text.
        kept: so many versions of its agent stay, and as many writes, but never fewer than LEAST_WRITES.
    """
    found = None if end.to != SoulWriteState.CONFLICT else ABSENT if end.found is None else digest(end.found)
    given = {"to": end.to, "found": found, "code": end.reason_code, "why": end.problem, "now": end.at}
    if c.execute(SETTLE_WRITE, _about(write) | given).rowcount == 0:
        return None
    is_done = end.to == SoulWriteState.DONE
    if not is_done:  # theirs was first
        _note_found(c, write, end, kept)
    if not is_done or last_there(c, write.agent_id) != write.sha256:
        version = NewVersion(
            agent_id=write.agent_id,
            kind="written" if is_done else "refused",
            content=write.content,
            actor=write.actor,
            at=end.at,
            write_id=write.id,
            reason=write.reason,
            source_url=write.source_url,
        )
        add_version(c, version, kept=kept)
    if is_done:  # theirs came after ours
        _note_found(c, write, end, kept)
    activity.record(
        c,
        id=end.activity_id,
        at=end.at,
        event_type=_EVENTS[end.to],
        level="info" if is_done else "warning",
        message=_told(write, end),
        agent_id=write.agent_id,
        actor=write.actor,
        data={"write_id": write.id, "sha256": write.sha256, "from_agent_id": write.from_agent_id},
        trace_id=write.trace_id,
    )
    detail: dict[str, str | int | bool | None] = {
        "agent": end.agent,
        "place": end.place,
        "write_id": write.id,
        "sha256": write.sha256,
        "over": write.expected_sha256,
    }
    if not is_done:
        detail |= {"reason": end.reason_code, "found": found}
    outcome: Literal["done", "refused"] = "done" if is_done else "refused"
    audit.append(
        c, at=end.at, actor=write.actor, event=UPDATED, subject=write.agent_id, outcome=outcome, detail=detail
    )
    c.execute(FORGET_WRITES, {"agent": write.agent_id, "kept": max(kept, LEAST_WRITES)})
    return get_write(c, write.id)


def _note_found(c: sa.Connection, write: SoulWriteRow, end: SoulOutcome, kept: int) -> None:
    if end.found is not None:
        note_seen(c, write.agent_id, end.found, actor=end.place, at=end.at, kept=kept)


def _told(write: SoulWriteRow, end: SoulOutcome) -> str:
    match end.to:
        case SoulWriteState.DONE:
            said = f"SOUL.md updated for {end.agent}."
        case SoulWriteState.CONFLICT:
            said = f"SOUL.md of {end.agent} was not updated: somebody else had changed it."
        case SoulWriteState.FAILED:
            said = f"SOUL.md of {end.agent} was not updated: {end.problem}"
    for word, value in (("Reason", write.reason), ("Source", write.source_url)):
        if value:
            said = f"{said} {word}: {value}"
    return said


def _about(write: SoulWriteRow) -> dict[str, Any]:
    return {"write": write.id}
