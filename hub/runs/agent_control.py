"""Changes of an agent's status requested by people and devices, with the effects on its runs."""

from typing import Protocol

from hub.clock import Clock, epoch_ms
from protocol.agent_status import Axis, Lifecycle
from protocol.ids import RunId
from storage import audit
from storage.agents import status_writes
from storage.agents.agents import AgentRow
from storage.agents.made_agents import AgentOfFile
from storage.agents.status_writes import StatusWrite, Written
from storage.audit import Entry
from storage.store import Store


class RunEnds(Protocol):
    """Operations on runs that follow from a change of an agent's status; see ``hub.runs.control``."""

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> object:
        """Cancel a run."""
        ...

    def let_start(self, *, is_recovered: bool = False) -> None:
        """Start waiting runs that may start now."""
        ...


class AgentControl:
    """Writes an agent's status together with its audit entry, then starts or cancels runs accordingly."""

    def __init__(self, store: Store, *, control: RunEnds, clock: Clock) -> None:
        self._store = store
        self._control = control
        self._clock = clock

    async def write(self, agent: AgentRow, asked: StatusWrite, *, actor: str) -> Written:
        """Apply every change of *asked* in one transaction, or none of them.

        Raises:
            AgentOfFile: the request terminates an agent that is declared in hub.toml; it can only be removed
                there.
            UnknownValue, BadWrite, Refused, IllegalMove, StateChanged: see ``storage.agents.status_writes``.

        If an error is raised, nothing was written.
        """
        at = epoch_ms(self._clock.now())

        def entry(written: Written) -> Entry | None:
            details = {str(move.axis): move.to for move in written.moves} | _other_details(asked)
            if not details:
                return None
            return Entry(at=at, actor=actor, event="agent.status_set", subject=agent.id, detail=details)

        if agent.source == "file" and _terminates(asked):
            raise AgentOfFile(agent)
        written = await self._store.write(
            audit.audited(status_writes.write_status, entry), agent.id, asked, at=at, actor=actor
        )
        for run_id in written.called_off:
            await self._control.cancel(run_id, actor=actor, reason=status_writes.BECAUSE)
        self._control.let_start(is_recovered=any(move.axis is Axis.AVAILABILITY for move in written.moves))
        return written


def _terminates(asked: StatusWrite) -> bool:
    words = (asked.axes.get(Axis.LIFECYCLE), str(asked.words.get("state_detail")).lower())
    return Lifecycle.TERMINATED in words


def _other_details(asked: StatusWrite) -> dict[str, str | None]:
    """Return the audit details of fields other than status moves, without the content of metadata."""
    details: dict[str, str | None] = {}
    for name in ("exhaust_reason", "recovery_at"):
        value = getattr(asked, name)
        if isinstance(value, str | int):
            details[name] = str(value)
    if isinstance(asked.metadata, dict):
        details["metadata"] = "replaced"
    return details
