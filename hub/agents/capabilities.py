"""Capabilities of agents: rules of registration and removal by devices and people, and limits.

A registered capability may meet the requirement of a waiting run, so the dispatcher is notified.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from hub.agents.json_objects import validated_object
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from protocol.coordination import DEVICE
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.requirements import CAPABILITY, parse_version
from protocol.work import RunCheckpoint
from storage import audit
from storage.agents import capabilities as agents_capabilities
from storage.agents import checkpoints
from storage.agents.capabilities import AgentCapability, CapabilityRow, Registered
from storage.audit import AuditEntry
from storage.store import Store

log = Channel(__name__)

DESCRIPTION_CHARACTERS: Final = 10_000
CAPABILITIES: Final = 256  # of one agent
CAPABILITY_BYTES: Final = 16 * 1024  # of the config of one


class CapabilityRegistry:
    """Registers and removes capabilities of agents.

    Args:
        on_changed: called after a change, which may let a waiting run start.
    """

    def __init__(
        self, store: Store, *, clock: Clock, metrics: Metrics, on_changed: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._on_changed = on_changed

    async def all(self, agent_id: AgentId) -> list[CapabilityRow]:
        """Return the agent's capabilities by name, newest version of each first."""
        return await self._store.read(agents_capabilities.list_capabilities, agent_id)

    async def register(
        self,
        agent_id: AgentId,
        *,
        name: str,
        version: str,
        enabled: bool | None = None,
        config: dict[str, Any] | None = None,
        description: str | None = None,
        actor: str,
    ) -> Registered:
        """Register or change a capability; see ``storage.agents.capabilities.AgentCapability``.

        Raises:
            CodedError (BAD_PARAMS), BadVersion, CodedError: a field is invalid.
            DeclaredCapability, CodedError: see ``storage.agents.configs``.

        If an error is raised, nothing was written.
        """
        with self._metrics.count_limits():
            given = AgentCapability(
                name=capability_name(name),
                version=parse_version(version),
                enabled=enabled,
                config=validated_object(
                    "config",
                    config or {},
                    most=CAPABILITY_BYTES,
                    limit="capability_config_bytes",
                ),
                description=_description(description),
            )
            at = now_ms(self._clock)
            done = await self._store.write(
                audit.audited(
                    agents_capabilities.register,
                    lambda done: (
                        _entry("registered", agent_id, [done.row], at=at, actor=actor)
                        if done.is_changed
                        else None
                    ),
                ),
                agent_id,
                given,
                source="device" if actor.startswith(DEVICE) else "api",
                at=at,
                most=CAPABILITIES,
            )
        if done.is_changed:
            self._log_change("agent.capability_registered", agent_id, done.row, actor)
        return done

    async def remove(
        self,
        agent_id: AgentId,
        *,
        name: str,
        version: str | None = None,
        actor: str,
    ) -> list[CapabilityRow]:
        """Remove a capability in one version, or in all versions.

        Raises:
            BadVersion: *version* cannot be parsed.
            CodedError (UNKNOWN_CAPABILITY): the agent has no such capability.
            DeclaredCapability: hub.toml declares it.

        If an error is raised, nothing was written.
        """
        parsed = None if version is None else parse_version(version)
        at = now_ms(self._clock)
        removed = await self._store.write(
            audit.audited(
                agents_capabilities.remove,
                lambda removed: _entry("removed", agent_id, removed, at=at, actor=actor),
            ),
            agent_id,
            name,
            parsed,
        )
        for row in removed:
            self._log_change("agent.capability_removed", agent_id, row, actor)
        return removed

    def _log_change(self, event: str, agent_id: AgentId, row: CapabilityRow, actor: str) -> None:
        log.info(
            event,
            agent_id=agent_id,
            capability=row.name,
            version=str(row.version),
            enabled=row.enabled,
            actor=actor,
        )
        self._on_changed()


def capability_name(given: str) -> str:
    """Check the name of a capability, and return it.

    Raises:
        CodedError (BAD_PARAMS): the name is invalid.
    """
    if CAPABILITY.fullmatch(given) is None:
        shown = given if len(given) <= 40 else f"{given[:40]}..."
        expected = "expected 1 to 255 letters, digits and _ . : -, as in file.read"
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"name: {shown!r} cannot be the name of a capability: {expected}"
        )
    return given


def _description(given: str | None) -> str | None:
    if given is not None and (len(given) > DESCRIPTION_CHARACTERS or "\0" in given):
        expected = f"expected at most {DESCRIPTION_CHARACTERS} characters, none of them null"
        raise CodedError(ErrorCode.BAD_PARAMS, f"description: {expected}")
    return given


def _entry(
    what: str, agent_id: AgentId, rows: Sequence[CapabilityRow], *, at: int, actor: str
) -> AuditEntry | None:
    """Return the audit entry for versions of one capability, or None if a device made the change."""
    if actor.startswith(DEVICE):
        return None
    return AuditEntry(
        at=at,
        actor=actor,
        event=f"capability.{what}",
        subject=agent_id,
        detail={
            "capability": rows[0].name,
            "versions": ", ".join(str(row.version) for row in rows),
            "enabled": any(row.enabled for row in rows),
        },
    )


async def checkpoint_to_run_from(store: Store, agent_id: AgentId) -> RunCheckpoint | None:
    """Return the agent's recoverable checkpoint in the form sent to the device, or None."""
    stored = await store.read(checkpoints.recoverable, agent_id)
    return None if stored is None else RunCheckpoint(sequence=stored.sequence, state=stored.state)
