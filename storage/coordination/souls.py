"""Souls of agents as known to this hub: their location, and the versions that it wrote or read.

The soul itself is a file where its agent lives. A version is *written* if a write of this hub stored it
there, and *seen* if another writer had. It is *refused* if a write failed, so that its text is not lost.
"""

import hashlib
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, GatewayId, SoulWriteId, UserId
from storage.kernel.keyset import Key, paged
from storage.kernel.rows import columns_of, fill, values_of
from storage.schema import agents, devices, gateway_agents, gateways, soul_versions, soul_writes

VersionKind = Literal["written", "seen", "refused"]

HISTORY_BYTES: Final = 16 * 1024 * 1024  # of one agent: gateways accept souls of any length


class UnknownSoulVersion(HubError):
    """Error: the version does not exist, or was deleted."""

    code = ErrorCode.UNKNOWN_SOUL_VERSION


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


class SoulVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Version without its text. *at*: time of its record, epoch milliseconds.

    Attributes:
        write_id: write that stored it, or failed to.
        actor: writer; for a version that was seen, ``gateway:NAME`` or ``device:ID``.
    """

    seq: int
    kind: VersionKind
    sha256: str
    size_bytes: int
    write_id: SoulWriteId | None
    actor: str
    reason: str | None
    source_url: str | None
    at: int


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """New version; see ``SoulVersion``."""

    agent_id: AgentId
    kind: VersionKind
    content: str
    actor: str
    at: int
    write_id: SoulWriteId | None = None
    reason: str | None = None
    source_url: str | None = None


PLACE = (
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
    .where(agents.c.id == sa.bindparam("agent"), agents.c.deleted_at.is_(None))
)
_is_agents = soul_versions.c.agent_id == sa.bindparam("agent")
_VERSION = columns_of(SoulVersion, soul_versions)
VERSIONS = sa.select(*_VERSION).where(_is_agents)
VERSION = sa.select(*_VERSION, soul_versions.c.content).where(
    _is_agents, soul_versions.c.seq == sa.bindparam("number")
)
LAST_VERSION = sa.select(sa.func.coalesce(sa.func.max(soul_versions.c.seq), 0)).where(_is_agents)
LAST_THERE = (
    sa.select(soul_versions.c.sha256)
    .where(_is_agents, soul_versions.c.kind != "refused")
    .order_by(soul_versions.c.seq.desc())
    .limit(1)
)
# A version that a pending write is storing is recorded by that write, with its actor.
IS_BEING_WRITTEN = sa.select(
    sa.exists().where(
        soul_writes.c.agent_id == sa.bindparam("agent"),
        soul_writes.c.sha256 == sa.bindparam("hash"),
        soul_writes.c.sends > 0,
        sa.text("soul_writes.state = 'waiting'"),
    )
)
ADD_VERSION = sa.insert(soul_versions)
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
    row = c.execute(PLACE, {"agent": agent_id}).one_or_none()
    return None if row is None else fill(SoulPlace, row)


def list_versions(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[SoulVersion]:
    """Return versions, newest first."""
    query = paged(VERSIONS, soul_versions.c.seq, limit=limit, after=after, descending=True)
    return [fill(SoulVersion, row) for row in c.execute(query, {"agent": agent_id})]


def get_version(c: sa.Connection, agent_id: AgentId, seq: int) -> tuple[SoulVersion, str]:
    """Return a version and its text.

    Raises:
        UnknownSoulVersion: the version does not exist, or was deleted.
    """
    row = c.execute(VERSION, {"agent": agent_id, "number": seq}).one_or_none()
    if row is None:
        raise UnknownSoulVersion(f"version {seq} of the soul is not kept")
    return fill(SoulVersion, row), str(row.content)


def last_there(c: sa.Connection, agent_id: AgentId) -> str | None:
    """Return the hash of the last version that is known to have been in place."""
    found = c.execute(LAST_THERE, {"agent": agent_id}).scalar_one_or_none()
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
    kept: int,
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
    if "\0" in content or last_there(c, agent_id) == sha256:
        return False  # PostgreSQL stores no text with a NUL
    if c.execute(IS_BEING_WRITTEN, {"agent": agent_id, "hash": sha256}).scalar_one():
        return False
    add_version(c, NewVersion(agent_id=agent_id, kind="seen", content=content, actor=actor, at=at), kept=kept)
    return True


def add_version(c: sa.Connection, new: NewVersion, *, kept: int) -> int:
    """Add a version and delete all but the newest *kept*. Return its number.

    Versions beyond ``HISTORY_BYTES`` are deleted too, except the newest.
    """
    seq = last_version(c, new.agent_id) + 1
    size = len(new.content.encode())
    c.execute(
        ADD_VERSION,
        values_of(new, soul_versions, seq=seq, sha256=digest(new.content), size_bytes=size),
    )
    total = 0
    for nth, (older, size_bytes) in enumerate(c.execute(SIZES, {"agent": new.agent_id}).all()):
        total += size_bytes
        if nth >= kept or (nth and total > HISTORY_BYTES):
            c.execute(FORGET_VERSIONS, {"agent": new.agent_id, "through": older})
            break
    return seq
