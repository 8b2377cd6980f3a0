"""Runs, as operators are told of them, and what operators do with one."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from hub.api.facade import AmbiguousRun
from hub.api.views.view import RunDetail, RunProgress, RunView
from hub.clock import Clock
from hub.operations.names import agent_named
from hub.operations.run_views import move_view, run_detail, run_error_view, run_view, unit_view
from hub.operations.seen import Seen
from hub.operations.waiting import Waiting
from hub.runs.control import RunControl
from hub.runs.decisions import MissedFires
from hub.runs.dispatcher import Dispatcher
from hub.runs.progress import RunWatch
from hub.runs.waiting import PAUSING
from protocol.errors import IllegalTransition
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import EXECUTING_RUN_STATES, FINAL_RUN_STATES
from storage.devices import devices
from storage.runs import outbox, runs
from storage.runs.runs import RunRow, UnknownRun
from storage.schedules import fires
from storage.store import Store

MOST_UNITS: Final = 2_000  # shown of one run; its counts are of all
SUFFIX: Final = re.compile(r"[0-9a-f-]{6,35}")  # of a UUID: its end is chance, its beginning is the time


class RunOperations(Seen):
    """Implements ``api.facade.RunFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        control: RunControl,
        waiting: Waiting,
        watch: RunWatch,
        clock: Clock,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._control = control
        self._waiting = waiting
        self._watch = watch
        self._clock = clock

    async def newest(self, *, agent: str | None, limit: int, before: str | None = None) -> list[RunView]:
        """The newest first."""
        agent_id = None if agent is None else await self._agent_id(agent)
        rows = await self._store.read(
            runs.list_runs,
            agent_id=agent_id,
            user_id=self.user_id,
            limit=limit,
            before_id=None if before is None else RunId(before),
        )
        return await self.views(rows)

    async def _agent_id(self, name: str) -> AgentId:
        return (await agent_named(self._store, name, self.user_id, or_removed=True)).id

    async def get(self, name: str) -> RunDetail:
        """One run with its units, errors and moves."""
        row = await self._run(name)
        (told,) = await self.views([row])
        units = await self._store.read(outbox.first_units, row.id, MOST_UNITS)
        moves = await self._store.read(runs.run_history, row.id)
        return run_detail(
            told,
            row,
            as_of=self._clock.now(),
            units=[unit_view(unit) for unit in units],
            errors=[run_error_view(error) for error in row.errors],
            history=[move_view(move, row) for move in moves],
        )

    async def follow(self, name: str) -> AsyncGenerator[RunProgress]:
        """The run now and after each change, until it is final."""
        run_id = (await self._run(name)).id
        seq = 0
        async with aclosing(self._watch.changes(run_id)) as changes:
            async for _ in changes:
                row = await self._run(run_id)
                seq += 1
                (told,) = await self.views([row])
                yield RunProgress(seq=seq, run=told)
                if row.state in FINAL_RUN_STATES:
                    return

    async def cancel(self, name: str, *, reason: str, actor: str) -> RunView:
        """End it; a run that has ended is answered as it is."""
        run_id = (await self._run(name)).id
        return await self.view(await self._control.cancel(run_id, actor=actor, reason=reason))

    async def pause(self, name: str, *, actor: str) -> RunView:
        """It waits until it is resumed."""
        run_id = (await self._run(name)).id
        return await self.view(await self._control.pause(run_id, actor=actor))

    async def resume(self, name: str, *, actor: str) -> RunView:
        """Queue a run again that a person had paused.

        Raises:
            IllegalTransition: nobody paused it, or its pause has not begun yet.
        """
        row = await self._run(name)
        if self._is_pausing(row):
            raise IllegalTransition(f"run {row.id} is not paused yet: it {PAUSING}; resume it then")
        return await self.view(await self._control.resume(row.id, actor=actor))

    async def rerun(self, name: str, *, actor: str) -> RunView:
        """A new run of the same agent."""
        run_id = (await self._run(name)).id
        return await self.view(await self._control.rerun(run_id, actor=actor))

    async def view(self, row: RunRow) -> RunView:
        """One run in one line."""
        (told,) = await self.views([row])
        return told

    async def views(self, rows: Sequence[RunRow]) -> list[RunView]:
        """Runs in one line each, with what they wait for and what they stand for."""
        names = {row.id: row.name for row in await self._store.read(devices.list_devices)}
        waiting = await self._waiting.sentences(rows)
        missed = await self._missed([row.id for row in rows if row.schedule_id is not None])
        return [
            run_view(
                row,
                device=_device_of(row, names),
                waiting_for=waiting.get(row.id),
                is_pausing=self._is_pausing(row),
                missed=missed.get(row.id, ()),
            )
            for row in rows
        ]

    def _is_pausing(self, row: RunRow) -> bool:
        return row.state in EXECUTING_RUN_STATES and self._dispatcher.is_pausing(row.id)

    async def _missed(self, run_ids: Sequence[RunId]) -> dict[RunId, list[MissedFires]]:
        found = await self._store.read(fires.missed_of, run_ids) if run_ids else {}
        return {
            run_id: [MissedFires(one.decision, one.reason, one.fires) for one in some]
            for run_id, some in found.items()
        }

    async def _run(self, name: str) -> RunRow:
        """The run of that id, or the one whose id ends so."""
        mine = self.user_id
        row = await self._store.read(runs.find_run, RunId(name), user_id=mine)
        if row is not None:
            return row
        is_end = SUFFIX.fullmatch(name)
        found = await self._store.read(runs.runs_ending_in, name, user_id=mine) if is_end else []
        if len(found) > 1:
            raise AmbiguousRun(f"several runs end in {name!r}; give more of the id")
        if not found:
            raise UnknownRun(f"there is no run {name!r}")
        return await self._store.read(runs.get_run, found[0])


def _device_of(row: RunRow, names: dict[DeviceId, str]) -> str:
    return names.get(row.device_id, "") if row.device_id else ""
