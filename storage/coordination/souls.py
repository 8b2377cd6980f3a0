"""Versions of agents' souls in the database: at most 16 MiB per agent, and writes in progress.

The soul itself is a file where its agent lives. A version is *written* if a write of this hub stored it
there, and *seen* if another writer had. It is *refused* if a write failed, so that its text is not lost. Old
versions beyond ``HISTORY_BYTES`` are deleted, never the newest.
"""

import hashlib
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.coordination import SoulWriteState
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, SoulWriteId, UserId
from storage import audit
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    paged,
    struct_from,
    struct_or_none,
    structs_from,
    values_of,
)
from storage.schema import agents, devices, gateway_agents, gateways, soul_versions, soul_writes

VersionKind = Literal["written", "seen", "refused"]

HISTORY_BYTES: Final = 16 * 1024 * 1024  # of one agent: gateways accept souls of any length


class SoulPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Location of an agent's soul.

    Attributes:
        gateway: name of the gateway; ``None``: none, or no longer in hub.toml.
        remote_id: the agent's id at the gateway.
        role: role of the agent at its gateway: main, lead or worker.
    """

    agent_id: AgentId
    agent: str
    user_id: UserId
    executor: str
    device_id: DeviceId | None
    device: str | None
    gateway_id: GatewayId | None
    gateway: str | None
    remote_id: str | None
    role: str | None


class VersionFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a version. *at*: time of its record, epoch milliseconds.

    Attributes:
        write_id: write that stored it, or failed to.
        actor: writer; for a version that was seen, ``gateway:NAME`` or ``device:ID``.
    """

    kind: VersionKind
    actor: str
    at: int
    write_id: SoulWriteId | None = None
    reason: str | None = None
    source_url: str | None = None


class SoulVersion(VersionFields, frozen=True, kw_only=True):
    """Version without its text."""

    seq: int
    sha256: str
    size_bytes: int


class NewVersion(VersionFields, frozen=True, kw_only=True):
    """New version."""

    agent_id: AgentId
    content: str


_is_agents = soul_versions.c.agent_id == sa.bindparam("agent")
_VERSION = columns_of(SoulVersion, soul_versions)
VERSIONS = sa.select(*_VERSION).where(_is_agents)
VERSION = sa.select(*_VERSION, soul_versions.c.content).where(
    _is_agents, soul_versions.c.seq == sa.bindparam("number")
)
LAST_VERSION = sa.select(sa.func.coalesce(sa.func.max(soul_versions.c.seq), 0)).where(_is_agents)
LAST_DIGEST = (
    sa.select(soul_versions.c.sha256)
    .where(_is_agents, soul_versions.c.kind != "refused")
    .order_by(soul_versions.c.seq.desc())
    .limit(1)
)
SIZES = (
    sa.select(soul_versions.c.seq, soul_versions.c.size_bytes)
    .where(_is_agents)
    .order_by(soul_versions.c.seq.desc())
)
FORGET_VERSIONS = sa.delete(soul_versions).where(_is_agents, soul_versions.c.seq <= sa.bindparam("through"))


def digest(content: str) -> str:
    """Return the SHA-256 of a soul in hex, its identity at gateways, devices and this hub."""
    return hashlib.sha256(content.encode()).hexdigest()


def find_place(c: sa.Connection, agent_id: AgentId) -> SoulPlace | None:
    """Return the location of an agent's soul; ``None`` if the agent does not exist."""
    row = c.execute(
        sa.select(
            *columns_of(
                SoulPlace,
                agents,
                gateway_agents,
                agent_id=agents.c.id,
                agent=agents.c.name,
                device=devices.c.name,
                gateway=gateways.c.name,
            )
        )
        .join_from(agents, devices, devices.c.id == agents.c.device_id, isouter=True)
        .outerjoin(gateway_agents, gateway_agents.c.agent_id == agents.c.id)
        .outerjoin(
            gateways, sa.and_(gateways.c.id == gateway_agents.c.gateway_id, gateways.c.deleted_at.is_(None))
        )
        .where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
    ).one_or_none()
    return None if row is None else struct_from(SoulPlace, row)


def list_versions(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[SoulVersion]:
    """Return versions, newest first."""
    query = paged(VERSIONS, soul_versions.c.seq, limit=limit, after=after, descending=True)
    return fetch_page(c, SoulVersion, query, limit, {"agent": agent_id})


def get_version(c: sa.Connection, agent_id: AgentId, seq: int) -> tuple[SoulVersion, str]:
    """Return a version and its text.

    Raises:
        CodedError (UNKNOWN_SOUL_VERSION): the version does not exist, or was deleted.
    """
    row = c.execute(VERSION, {"agent": agent_id, "number": seq}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_SOUL_VERSION, f"version {seq} of the soul is not kept")
    return struct_from(SoulVersion, row), str(row.content)


def last_digest(c: sa.Connection, agent_id: AgentId) -> str | None:
    """Return the hash of the last version that is known to have been in place."""
    found = c.execute(LAST_DIGEST, {"agent": agent_id}).scalar_one_or_none()
    return None if found is None else str(found)


def last_version(c: sa.Connection, agent_id: AgentId) -> int:
    """Return the number of the newest version; 0 without versions."""
    return int(c.execute(LAST_VERSION, {"agent": agent_id}).scalar_one())


def note_seen(
    c: sa.Connection,
    agent_id: AgentId,
    content: str,
    *,
    actor: str,
    at: int,
    most_versions: int,
    since: int | None = None,
) -> bool:
    """Record the soul that was read, unless it is known. Return True if it is new.

    Args:
        since: newest version before the read; with a newer one, the text read may be outdated and is not
            recorded.
    """
    if since is not None and last_version(c, agent_id) != since:
        return False
    sha256 = digest(content)
    if "\0" in content or last_digest(c, agent_id) == sha256:
        return False  # PostgreSQL stores no text with a NUL
    # A version that a pending write is storing is recorded by that write, with its actor.
    query = sa.select(
        sa.exists().where(
            soul_writes.c.agent_id == agent_id,
            soul_writes.c.sha256 == sha256,
            soul_writes.c.sends > 0,
            sa.text("soul_writes.state = 'waiting'"),
        )
    )
    if c.execute(query).scalar_one():
        return False
    add_version(
        c,
        NewVersion(agent_id=agent_id, kind="seen", content=content, actor=actor, at=at),
        most_versions=most_versions,
    )
    return True


def add_version(c: sa.Connection, new: NewVersion, *, most_versions: int) -> int:
    """Add a version and delete all but the newest *most_versions*. Return its number.

    Versions beyond ``HISTORY_BYTES`` are deleted too, except the newest.
    """
    seq = last_version(c, new.agent_id) + 1
    size = len(new.content.encode())
    row = values_of(new, soul_versions, seq=seq, sha256=digest(new.content), size_bytes=size)
    c.execute(sa.insert(soul_versions), row)
    total = 0
    for nth, (older, size_bytes) in enumerate(c.execute(SIZES, {"agent": new.agent_id}).all()):
        total += size_bytes
        if nth >= most_versions or (nth and total > HISTORY_BYTES):
            c.execute(FORGET_VERSIONS, {"agent": new.agent_id, "through": older})
            break
    return seq


ABSENT: Final = ""  # in place of a hash: there must be no soul yet
OPEN: Final = "soul_writes.state = 'waiting'"  # as text, so that the partial index is used
UPDATED: Final = "soul.updated"  # event in the audit log
MIN_WRITES: Final = 50  # minimum number kept for each agent, because a caller may still ask for the result
SoulEnd = Literal[SoulWriteState.DONE, SoulWriteState.CONFLICT, SoulWriteState.FAILED]
_EVENTS: Final = {
    SoulWriteState.DONE: "agent.soul.updated",
    SoulWriteState.CONFLICT: "agent.soul.conflict",
    SoulWriteState.FAILED: "agent.soul.failed",
}


class SoulBusy(HubError):
    """Error: another write of the same soul is open; nothing was written. *write_id*: its id."""

    code = ErrorCode.SOUL_BUSY

    def __init__(self, message: str, write_id: SoulWriteId) -> None:
        super().__init__(message)
        self.write_id = write_id
        self.members = {"write_id": write_id}


class SoulWriteFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a write that it has from its creation.

    Attributes:
        expected_sha256: required hash of the current soul; ``ABSENT``: no soul; ``None``: any. Once it is
            sent: hash of the one replaced.
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


class NewSoulWrite(SoulWriteFields, frozen=True, kw_only=True):
    """New write of a soul. *dedupe_key*: repeated requests with the same key are the same write."""

    dedupe_key: str | None = None
    at: int


class SoulWriteRow(SoulWriteFields, frozen=True, kw_only=True):
    """Write of a soul with its progress; its *content* is empty after it is settled.

    Attributes:
        found_sha256: after a conflict, hash of the actual soul; ``ABSENT``: none.
        sends: number of times that it may have left the hub.
        reason_code, problem: reason of a delay or failure.
        not_before: next time of processing, epoch milliseconds.
    """

    sha256: str
    found_sha256: str | None
    state: SoulWriteState
    sends: int
    reason_code: str | None
    problem: str | None
    not_before: int
    created_at: int
    settled_at: int | None


class SoulOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a write.

    Attributes:
        found: current soul, if it differs from the requested text; ``None`` in a conflict: no soul.
        place: ``gateway:NAME`` or ``device:ID``.
        activity_id: id of the activity entry.
    """

    to: SoulEnd
    place: str
    agent: str
    activity_id: str
    at: int
    found: str | None = None
    reason_code: str | None = None
    problem: str | None = None


_is_open = sa.text(OPEN)
_agents = soul_writes.c.agent_id == sa.bindparam("agent")
_ROW = columns_of(SoulWriteRow, soul_writes)
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
_newest_writes = (
    sa.select(soul_writes.c.id)
    .where(_agents, soul_writes.c.settled_at.is_not(None))
    .order_by(soul_writes.c.created_at.desc(), soul_writes.c.id.desc())
    .limit(sa.bindparam("kept", type_=sa.Integer))
)
FORGET_WRITES = sa.delete(soul_writes).where(
    _agents, soul_writes.c.settled_at.is_not(None), soul_writes.c.id.not_in(_newest_writes)
)


def add_write(c: sa.Connection, new: NewSoulWrite) -> SoulWriteRow:
    """Add a write. An equal open write, or one with the same dedupe key, is returned instead.

    Raises:
        SoulBusy: a different write is open; nothing was written.
    """
    if new.dedupe_key is not None:
        known = c.execute(sa.select(*_ROW).where(soul_writes.c.dedupe_key == new.dedupe_key)).one_or_none()
        if known is not None:
            return struct_from(SoulWriteRow, known)
    sha256 = digest(new.content)
    other = find_open(c, new.agent_id)
    if other is not None:
        is_same = other.sha256 == sha256 and new.expected_sha256 in (None, other.expected_sha256)
        if is_same and other.actor == new.actor:
            return other  # a retry after a lost or delayed response
        raise SoulBusy(f"another write of this soul is open, by {other.actor}", other.id)
    own = {"sha256": sha256, "not_before": new.at, "created_at": new.at}
    c.execute(sa.insert(soul_writes), values_of(new, soul_writes, **own))
    return get_write(c, new.id)


def get_write(c: sa.Connection, write_id: SoulWriteId) -> SoulWriteRow:
    """Return an existing write."""
    return struct_from(SoulWriteRow, c.execute(sa.select(*_ROW).where(soul_writes.c.id == write_id)).one())


def find_open(c: sa.Connection, agent_id: AgentId) -> SoulWriteRow | None:
    """Return the open write of an agent's soul, if any."""
    return struct_or_none(SoulWriteRow, c.execute(OPEN_WRITE, {"agent": agent_id}).one_or_none())


def list_writes(c: sa.Connection, agent_id: AgentId, *, limit: int) -> list[SoulWriteRow]:
    """Return the writes of an agent's soul, newest first."""
    return structs_from(SoulWriteRow, c.execute(WRITES, {"agent": agent_id, "most": limit}))


def due_writes(c: sa.Connection, at: int, limit: int, *, after: str = "") -> list[SoulWriteId]:
    """Return the open writes that are due, in order of their ids.

    Args:
        after: only writes with greater ids.
    """
    found = c.execute(DUE_WRITES, {"now": at, "most": limit, "after": after})
    return [SoulWriteId(id) for id in found.scalars()]


def next_due(c: sa.Connection) -> int | None:
    """Return when the next open write is due; ``None``: none is open."""
    found = c.execute(NEXT_WRITE).scalar_one()
    return None if found is None else int(found)


def _if_open(write: SoulWriteRow) -> sa.Update:
    return sa.update(soul_writes).where(soul_writes.c.id == write.id, _is_open)


def claim_write(c: sa.Connection, write: SoulWriteRow, *, until: int) -> bool:
    """Claim the write until *until*. Return False if another process has it, or it is settled."""
    seen = _if_open(write).where(soul_writes.c.not_before == write.not_before)
    return c.execute(seen.values(not_before=until)).rowcount > 0


def begin_send(c: sa.Connection, write: SoulWriteRow, base: str) -> bool:
    """Record a send of the write over the soul with hash *base*. Return False if the write changed."""
    seen = _if_open(write).where(soul_writes.c.sends == write.sends)
    return c.execute(seen.values(expected_sha256=base, sends=soul_writes.c.sends + 1)).rowcount > 0


def put_off(c: sa.Connection, write: SoulWriteRow, *, until: int, reason_code: str, problem: str) -> bool:
    """Postpone the write, with the reason. Return False if it is settled."""
    postponed = _if_open(write).values(not_before=until, reason_code=reason_code, problem=problem)
    return c.execute(postponed).rowcount > 0


def hurry(c: sa.Connection, at: int) -> int:
    """Make all open writes due now. Return their number."""
    return c.execute(sa.update(soul_writes).where(_is_open).values(not_before=at)).rowcount


def settle(
    c: sa.Connection, write: SoulWriteRow, end: SoulOutcome, *, most_versions: int
) -> SoulWriteRow | None:
    """Settle a write with its versions, activity and audit entry. Return ``None`` if it was settled before.

    Args:
        write: the row while it was open, with its text.
        most_versions: number of versions of its agent that stay, and of writes, at least MIN_WRITES.
    """
    found = None if end.to != SoulWriteState.CONFLICT else ABSENT if end.found is None else digest(end.found)
    settled = _if_open(write).values(
        state=end.to,
        content="",
        found_sha256=found,
        reason_code=end.reason_code,
        problem=end.problem,
        settled_at=end.at,
    )
    if c.execute(settled).rowcount == 0:
        return None
    is_done = end.to == SoulWriteState.DONE
    if not is_done:  # the other writer's version came first
        _note_found(c, write, end, most_versions)
    if not is_done or last_digest(c, write.agent_id) != write.sha256:
        kind = "written" if is_done else "refused"
        version = struct_from(NewVersion, write, kind=kind, at=end.at, write_id=write.id)
        add_version(c, version, most_versions=most_versions)
    if is_done:  # the other writer's version came after this one
        _note_found(c, write, end, most_versions)
    audit.record(
        c,
        id=end.activity_id,
        at=end.at,
        event_type=_EVENTS[end.to],
        level="info" if is_done else "warning",
        message=_outcome_message(write, end),
        agent_id=write.from_agent_id or write.agent_id,
        actor=write.actor,
        data={"write_id": write.id, "sha256": write.sha256, "to_agent_id": write.agent_id},
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
    c.execute(FORGET_WRITES, {"agent": write.agent_id, "kept": max(most_versions, MIN_WRITES)})
    return get_write(c, write.id)


def _note_found(c: sa.Connection, write: SoulWriteRow, end: SoulOutcome, most_versions: int) -> None:
    if end.found is not None:
        note_seen(c, write.agent_id, end.found, actor=end.place, at=end.at, most_versions=most_versions)


def _outcome_message(write: SoulWriteRow, end: SoulOutcome) -> str:
    match end.to:
        case SoulWriteState.DONE:
            message = f"SOUL.md updated for {end.agent}."
        case SoulWriteState.CONFLICT:
            message = f"SOUL.md of {end.agent} was not updated: it had been changed in the meantime."
        case SoulWriteState.FAILED:
            message = f"SOUL.md of {end.agent} was not updated: {end.problem}"
    for word, value in (("Reason", write.reason), ("Source", write.source_url)):
        if value:
            message = f"{message} {word}: {value}"
    return message
