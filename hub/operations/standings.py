"""How agents stand, as one user sees and changes it: on our axes, and in the words of others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from hub.agents.wanted import bounded_metadata, wanted_of
from hub.agents.words import document_of
from hub.api.nouns.devices import KICKED
from hub.api.views.standings import AgentMoveView, SinceView, StandingChange, StandingView
from hub.clock import epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.operations.agent_writing import managed
from hub.operations.moments import moment
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from hub.runs.agent_control import AgentControl
from hub.settings.file_lines import FileLines
from protocol.errors import CloseCode
from protocol.ids import DeviceId
from protocol.standing import STORED_AXES, Axis, Connectivity, Lifecycle, UnknownValue, legal_moves
from protocol.vocabularies import Vocabulary, words_of
from storage.agents import agent_facts, agent_states
from storage.agents.agent_states import AgentMove, AgentState, Since
from storage.agents.agent_writes import StandingWrite
from storage.agents.agents import AgentRow
from storage.agents.made_agents import AgentOfFile
from storage.store import Store


class StandingOperations(Seen):
    """Implements ``api.facades.standings.StandingFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        control: AgentControl,
        lines: FileLines | None = None,
        last_heard: Callable[[DeviceId | None], int | None] = lambda _: None,
    ) -> None:
        """
        Args:
            lines: where in hub.toml an agent stands, for who may not change it here.
            last_heard: when a device beat last, epoch ms, where that is newer than what is written.
        """
        self._store = store
        self._last_heard = last_heard
        self._roster = roster
        self._control = control
        self._lines = lines

    async def get(self, name: str) -> StandingView:
        """How it stands."""
        return await self._told(await self._agent(name))

    async def change(
        self, name: str, change: StandingChange, *, version: int | None, actor: str
    ) -> StandingView:
        """Move it on the axes that are told."""
        agent = await self._agent(name)
        await self._write(agent, _asked(change, version), actor=actor)
        return await self._told(agent)

    async def terminate(self, name: str, *, reason: str | None, actor: str) -> StandingView:
        """End it, for good."""
        agent = await self._agent(name)
        asked = StandingWrite(axes={Axis.LIFECYCLE: Lifecycle.TERMINATED}, reason=reason)
        await self._write(agent, asked, actor=actor)
        return await self._told(agent)

    async def history(
        self, name: str, *, limit: int, below: int | None, axis: str | None
    ) -> Sequence[AgentMoveView]:
        """Its moves, the newest first."""
        agent = await self._agent(name)
        on = None if axis is None else _axis(axis)
        rows = await self._store.read(agent_states.history_page, agent.id, limit=limit, below=below, axis=on)
        return [_move_view(row) for row in rows]

    async def document(self, name: str, vocabulary: str) -> dict[str, Any]:
        """The agent whole, in the words of another vocabulary."""
        words = words_of(vocabulary)
        agent = await self._agent(name)
        return await self._document(agent, words)

    async def change_document(
        self, name: str, vocabulary: str, change: Mapping[str, Any], *, actor: str
    ) -> dict[str, Any]:
        """Write columns of that vocabulary."""
        words = words_of(vocabulary)
        agent = await self._agent(name)
        await self._write(agent, wanted_of(words, change), actor=actor)
        return await self._document(agent, words)

    async def _document(self, agent: AgentRow, words: Vocabulary) -> dict[str, Any]:
        facts = await self._store.read(agent_facts.facts_of, agent.id)
        return document_of(words, msgspec.structs.replace(facts, state=self._fresh(agent, facts.state)))

    def _fresh(self, agent: AgentRow, state: AgentState) -> AgentState:
        """*state* with the last heartbeat, which is written now and then only."""
        heard = [at for at in (state.last_heartbeat_at, self._last_heard(agent.device_id)) if at is not None]
        return msgspec.structs.replace(state, last_heartbeat_at=max(heard, default=None))

    async def _write(self, agent: AgentRow, asked: StandingWrite, *, actor: str) -> None:
        try:
            written = await self._control.write(agent, asked, actor=actor)
        except AgentOfFile as error:
            if self._lines is None:
                raise
            raise await managed(self._store, self._lines, error, "name") from error
        is_closed = written.went(Axis.CONNECTIVITY, Connectivity.OFFLINE)
        if is_closed and agent.device_id is not None and self._roster.find(agent.device_id) is not None:
            self._roster.end(agent.device_id, KICKED, CloseCode.RESTARTING)

    async def _agent(self, name: str) -> AgentRow:
        return await agent_named(self._store, name, self.user_id)

    async def _told(self, agent: AgentRow) -> StandingView:
        state = await self._store.read(agent_states.find_state, agent.id)
        since = await self._store.read(agent_states.state_since, agent.id)
        return standing_view(agent.name, self._fresh(agent, state), since)


def standing_view(name: str, state: AgentState, since: Mapping[Axis, Since]) -> StandingView:
    """How the agent of that name stands, as it is told."""
    return StandingView(
        agent=name,
        **{str(axis): state.axes.on(axis) for axis in Axis},
        health_reason=state.health_reason,
        exhaust_reason=state.exhaust_reason,
        exhausted_at=moment(state.exhausted_at),
        recovery_at=moment(state.recovery_at),
        probe_at=moment(state.probe_at),
        runs_waiting=state.runs_waiting,
        runs_executing=state.runs_executing,
        runs_running=state.runs_running,
        max_concurrent_runs=state.max_concurrent_runs,
        last_heartbeat_at=moment(state.last_heartbeat_at),
        last_activity_at=from_epoch_ms(state.last_activity_at),
        resource_usage=state.resource_usage,
        metadata=state.metadata,
        version=state.version,
        axes={
            str(axis): SinceView(
                value=one.value,
                since=moment(one.since),
                reason=one.reason,
                actor=one.actor,
                moves=legal_moves(axis, one.value),
            )
            for axis, one in since.items()
        },
    )


def _asked(change: StandingChange, version: int | None) -> StandingWrite:
    beside: dict[str, Any] = {}
    if "exhaust_reason" in change.model_fields_set:
        beside["exhaust_reason"] = change.exhaust_reason
    if "recovery_at" in change.model_fields_set:
        beside["recovery_at"] = None if change.recovery_at is None else epoch_ms(change.recovery_at)
    if change.metadata is not None:
        beside["metadata"] = bounded_metadata(change.metadata)
    axes = {str(axis): value for axis in STORED_AXES if (value := getattr(change, axis)) is not None}
    return StandingWrite(axes=axes, reason=change.reason, version=version, **beside)


def _axis(axis: str) -> Axis:
    """One that has a history, so *activity* too."""
    if axis not in list(Axis):
        raise UnknownValue(f"there is no axis {axis!r}; axes: {', '.join(Axis)}")
    return Axis(axis)


def _move_view(row: AgentMove) -> AgentMoveView:
    return AgentMoveView(
        seq=row.seq,
        at=from_epoch_ms(row.at),
        axis=row.axis,
        before=row.old_value,
        after=row.new_value,
        reason=row.reason,
        actor=row.actor,
        snapshot=msgspec.to_builtins(row.snapshot),
    )
