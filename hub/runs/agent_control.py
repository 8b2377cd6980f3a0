"""What people and devices ask of how an agent stands, and what follows for its runs."""

from typing import Protocol

from hub.clock import Clock, epoch_ms
from protocol.ids import RunId
from protocol.standing import Axis, Lifecycle
from storage.agents import agent_ends, agent_writes
from storage.agents.agent_writes import StandingWrite, Written
from storage.agents.agents import AgentRow
from storage.agents.made_agents import AgentOfFile
from storage.audit import audit
from storage.audit.audit import Entry
from storage.store import Store


class RunEnds(Protocol):
    """What follows for runs; ``hub.runs.control`` does it."""

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> object:
        """End a run."""
        ...

    def let_start(self, *, is_recovered: bool = False) -> None:
        """What waits may start."""
        ...


class AgentControl:
    """Writes it, with its entry in the audit log; then lets runs start that may, and end that must."""

    def __init__(self, store: Store, *, control: RunEnds, clock: Clock) -> None:
        self._store = store
        self._control = control
        self._clock = clock

    async def write(self, agent: AgentRow, asked: StandingWrite, *, actor: str) -> Written:
        """Do what is asked, all of it or nothing.

        Raises:
            AgentOfFile: an agent of hub.toml is not terminated but removed there.
            UnknownValue, BadWrite, Refused, IllegalMove, StateChanged: see ``storage.agents.agent_writes``.
            In each case nothing was written.
        """
        at = epoch_ms(self._clock.now())

        def entry(written: Written) -> Entry | None:
            told = {str(move.axis): move.to for move in written.moves} | _beside(asked)
            if not told:
                return None
            return Entry(at=at, actor=actor, event="agent.status_set", subject=agent.id, detail=told)

        if agent.source == "file" and _terminates(asked):
            raise AgentOfFile(agent)
        written = await self._store.write(
            audit.audited(agent_writes.write_standing, entry), agent.id, asked, at=at, actor=actor
        )
        for run_id in written.called_off:
            await self._control.cancel(run_id, actor=actor, reason=agent_ends.BECAUSE)
        self._control.let_start(is_recovered=any(move.axis is Axis.AVAILABILITY for move in written.moves))
        return written


def _terminates(asked: StandingWrite) -> bool:
    words = (word.word.lower() for word in asked.words)
    return Lifecycle.TERMINATED in (asked.axes.get(Axis.LIFECYCLE), *words)


def _beside(asked: StandingWrite) -> dict[str, str | None]:
    """What is asked for beside moves, for the audit log: which, not what."""
    told: dict[str, str | None] = {}
    for name in ("exhaust_reason", "recovery_at"):
        value = getattr(asked, name)
        if isinstance(value, str | int):
            told[name] = str(value)
    if isinstance(asked.metadata, dict):
        told["metadata"] = "replaced"
    return told
