"""Capabilities in the database: versions, one enabled per name; those of hub.toml change only there.

An agent may have several versions of one capability. Enabling a version disables the other in the same
transaction, and a unique index guarantees it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from semver import Version

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId
from protocol.requirements import Requirement
from storage.kernel.columns import (
    Key,
    in_parts,
    listed,
    paged,
    readable,
    readable_page,
    struct_from,
    values_of,
)
from storage.schema import agent_capabilities as table
from storage.schema import agents

FILE = "file"  # source of configs that hub.toml declares; otherwise "api"
# origin of the registration: hub.toml, an operator, the agent's device
Source = Literal["file", "api", "device"]


class DeclaredCapability(HubError):
    """Error: hub.toml declares the capability; nothing was written."""

    code = ErrorCode.MANAGED_BY_FILE


class AgentCapability(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a capability.

    Attributes:
        enabled: ``None``: unchanged; a new version is enabled unless a newer one is.
    """

    name: str
    version: Version
    enabled: bool | None = None
    config: dict[str, Any] = {}
    description: str | None = None


class CapabilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Capability of an agent. Instants are epoch milliseconds."""

    name: str
    version: Version
    enabled: bool
    source: Source
    config: dict[str, Any]
    description: str | None
    created_at: int
    updated_at: int

    def equals(self, given: AgentCapability, source: Source) -> bool:
        """Return True if registering *given* from *source* would change nothing."""
        return given.enabled in (None, self.enabled) and (self.config, self.description, self.source) == (
            given.config,
            given.description,
            source,
        )


class Registered(msgspec.Struct, frozen=True):
    """Result of a registration; *disabled* is the version that it replaced."""

    row: CapabilityRow
    is_new: bool = False
    is_changed: bool = True
    disabled: Version | None = None


_VERSION = (table.c.ver_major, table.c.ver_minor, table.c.ver_patch, table.c.prerelease)
_number = [sa.cast(column, sa.Text) for column in _VERSION[:3]]
_SPELLED = (
    _number[0]
    .concat(".")
    .concat(_number[1])
    .concat(".")
    .concat(_number[2])
    .concat(sa.case((table.c.prerelease == "", ""), else_=sa.literal("-").concat(table.c.prerelease)))
)
_is_enabled = sa.text("agent_capabilities.enabled")  # as text: a bound parameter could not use the index


def list_capabilities(c: sa.Connection, agent_id: AgentId) -> list[CapabilityRow]:
    """Return every capability of the agent: by name, newest version first."""
    found = c.execute(sa.select(table).where(table.c.agent_id == agent_id))
    rows = readable(_capability, found)
    rows.sort(key=lambda row: row.version, reverse=True)
    return sorted(rows, key=lambda row: row.name)


def capabilities_page(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[CapabilityRow]:
    """Return capabilities of the agent, by name and version."""
    query = sa.select(table).where(table.c.agent_id == agent_id)
    query = paged(query, table.c.name, *_VERSION, limit=limit, after=after)
    return readable_page(c, _capability, query, limit)


def _capability(row: Any) -> CapabilityRow:
    return struct_from(CapabilityRow, row, version=_version(row))


def key_of(row: CapabilityRow) -> Key:
    """Return the sort key of a capability."""
    version = row.version
    return row.name, version.major, version.minor, version.patch, version.prerelease or ""


def having(c: sa.Connection, needed: Requirement) -> sa.ColumnElement[bool]:
    """Return the condition of agents that meet a requirement by an enabled capability of their own."""
    is_named = (table.c.name == needed.name, _is_enabled)
    query = sa.exists().where(table.c.agent_id == agents.c.id, *is_named)
    if not needed.bounds:
        return query
    # No column has the order of versions, so each version that agents have is compared here.
    versions = [str(_version(row)) for row in c.execute(sa.select(*_VERSION).where(*is_named).distinct())]
    met: sa.BindParameter[Any] = sa.bindparam(None, list(filter(needed.is_met_by, versions)))
    return query.where(_SPELLED.in_(listed(met)))


def enabled_of(c: sa.Connection, agent_ids: Iterable[AgentId]) -> dict[AgentId, dict[str, str]]:
    """Return the enabled version of each capability, by agent; agents without capabilities are omitted."""
    found: dict[AgentId, dict[str, str]] = {}
    for part in in_parts(sorted(set(agent_ids))):
        query = sa.select(table.c.agent_id, table.c.name, *_VERSION).where(
            table.c.agent_id.in_(part), _is_enabled
        )
        for row in c.execute(query):
            found.setdefault(AgentId(row.agent_id), {})[row.name] = str(_version(row))
    return found


def register(
    c: sa.Connection, agent_id: AgentId, given: AgentCapability, *, source: Source, at: int, most: int
) -> Registered:
    """Register a capability of the agent, or change the registered one.

    Args:
        source: origin of the registration. Only hub.toml changes what it declares.
        most: maximum number of capabilities of an agent, all versions counted.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        DeclaredCapability: hub.toml declares it, or declares the version that this one would disable.
        CodedError (LIMIT_REACHED): the agent has *most* already.
        In each case nothing was written.
    """
    # Serializes writers of one agent, which could otherwise enable two versions.
    query = sa.select(agents.c.id).where(agents.c.id == agent_id).with_for_update(key_share=True)
    if c.execute(query).one_or_none() is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    known = list_capabilities(c, agent_id)
    return _register(c, agent_id, known, given, source=source, at=at, most=most)


def remove(
    c: sa.Connection, agent_id: AgentId, name: str, version: Version | None = None
) -> list[CapabilityRow]:
    """Delete a capability in one version, or in all. Return the deleted rows.

    Raises:
        CodedError (UNKNOWN_CAPABILITY): the agent does not have it.
        DeclaredCapability: hub.toml declares one of the versions.
        In each case nothing was written.
    """
    known = [row for row in list_capabilities(c, agent_id) if row.name == name]
    removed = [row for row in known if version is None or row.version == version]
    if not removed:
        shown = name if version is None or not known else f"{name} {version}"
        has = f"; it has {', '.join(str(row.version) for row in known)}" if known else ""
        raise CodedError(ErrorCode.UNKNOWN_CAPABILITY, f"the agent has no capability {shown}{has}")
    for row in removed:
        if row.source == "file":
            raise DeclaredCapability(f"{row.name} {row.version} is declared in hub.toml; remove it there")
    for row in removed:
        c.execute(sa.delete(table).where(*_is(agent_id, row.name, row.version)))
    return removed


def declare(
    c: sa.Connection, agent_id: AgentId, declared: Sequence[AgentCapability], *, source: Source, at: int
) -> bool:
    """Replace the capabilities of a source by those that it declares. Return True if any changed.

    A declared capability replaces the same one of another source.
    """
    known = list_capabilities(c, agent_id)
    declared_keys = {(given.name, given.version) for given in declared}
    changed = False
    for row in known:
        if row.source == source and (row.name, row.version) not in declared_keys:
            c.execute(sa.delete(table).where(*_is(agent_id, row.name, row.version)))
            changed = True
    for given in declared:
        now_known = list_capabilities(c, agent_id)
        done = _register(c, agent_id, now_known, given, source=source, at=at, most=len(now_known) + 1)
        changed = changed or done.is_changed
    return changed


def _register(
    c: sa.Connection,
    agent_id: AgentId,
    known: Sequence[CapabilityRow],
    given: AgentCapability,
    *,
    source: Source,
    at: int,
    most: int,
) -> Registered:
    of_name = [row for row in known if row.name == given.name]
    old = next((row for row in of_name if row.version == given.version), None)
    other = next((row for row in of_name if row.enabled and row.version != given.version), None)
    if old is not None and old.source == "file" and source != "file":
        raise DeclaredCapability(f"{given.name} {given.version} is declared in hub.toml; change it there")
    if old is not None and old.equals(given, source):
        return Registered(old, is_changed=False)
    enabled = given.enabled
    if enabled is None:
        is_newest = other is None or other.version < given.version
        enabled = old.enabled if old is not None else is_newest and not given.version.prerelease
    if enabled and other is not None and other.source == "file" and source != "file":
        if given.enabled:
            shown = f"hub.toml enables {other.name} {other.version}; enable another version there"
            raise DeclaredCapability(shown)
        enabled = False  # the caller did not request it
    if old is None and len(known) >= most:
        message = f"the agent has {len(known)} capabilities, as many as it may (capabilities_per_agent)"
        raise CodedError(
            ErrorCode.LIMIT_REACHED,
            f"{message}: remove versions that are not used",
            limit="capabilities_per_agent",
        )
    if enabled and other is not None:
        others = sa.update(table).where(table.c.agent_id == agent_id, table.c.name == given.name, _is_enabled)
        c.execute(others.values(enabled=False, updated_at=at))
    if old is None:
        row = struct_from(CapabilityRow, given, enabled=enabled, source=source, created_at=at, updated_at=at)
        c.execute(sa.insert(table), values_of(row, table, agent_id=agent_id, **_columns(row.version)))
    else:
        change = {"config": given.config, "description": given.description, "updated_at": at}
        change |= {"enabled": enabled, "source": source}
        row = msgspec.structs.replace(old, **change)
        c.execute(sa.update(table).where(*_is(agent_id, row.name, row.version)).values(change))
    return Registered(row, is_new=old is None, disabled=other.version if enabled and other else None)


def _version(row: Any) -> Version:
    return Version(row.ver_major, row.ver_minor, row.ver_patch, row.prerelease or None)


def _columns(version: Version) -> dict[str, Any]:
    return {
        "ver_major": version.major,
        "ver_minor": version.minor,
        "ver_patch": version.patch,
        "prerelease": version.prerelease or "",
    }


def _is(agent_id: AgentId, name: str, version: Version) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of the row of a capability in one version."""
    key = {"agent_id": agent_id, "name": name} | _columns(version)
    return [table.c[column] == value for column, value in key.items()]
