"""Queueing of runs that news start: messages in a mailbox, or changed files on a device."""

from collections.abc import Callable
from typing import Final

import msgspec

from hub.agents.prompts import BadPrompt
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.extraction.extractor import Extractor
from hub.runs.run_order import UndeclaredTable, set_up, settings_of
from protocol.errors import HubError
from protocol.ids import RunId
from protocol.lifecycles import RunState
from storage.agents.agents import AgentRow
from storage.runs import run_moves, runs
from storage.store import Store

log = Channel(__name__)

NEWS: Final = "wake"  # trigger of the runs

_BEGUN: Final = frozenset(RunState) - {RunState.QUEUED}


class NewsRuns:
    """Queue of runs that news start; *on_queued* is called with each new one."""

    def __init__(
        self,
        store: Store,
        extractor: Extractor,
        *,
        clock: Clock,
        ids: IdFactory,
        on_queued: Callable[[], None],
    ) -> None:
        self._store = store
        self._extractor = extractor
        self._clock = clock
        self._ids = ids
        self._on_queued = on_queued

    async def start(self, agent: AgentRow, kind: str) -> None:
        """Queue a run, unless a run started by news of this *kind* is waiting already."""
        try:
            settings = settings_of(agent, self._extractor, await set_up(self._store, agent))
        except (BadPrompt, UndeclaredTable) as problem:
            log.warning("agent.not_read", agent_id=agent.id, detail=str(problem))
            return
        # The key has the newest run that has begun, so requests until the next run begins are one run.
        newest = await self._store.read(runs.list_runs, agent_id=agent.id, states=_BEGUN, limit=1)
        try:
            row = await self._store.write(
                run_moves.create_run,
                id=RunId(self._ids.fresh()),
                agent=agent,
                fire_key=f"{kind}:{newest[0].id if newest else ''}",
                at=now_ms(self._clock),
                config_fingerprint=settings.config_fingerprint,
                settings=msgspec.to_builtins(settings),
                trigger_kind=NEWS,
            )
        except HubError as problem:  # the agent was removed or terminated meanwhile
            log.info("agent.not_read", agent_id=agent.id, detail=str(problem))
            return
        log.info("run.queued", run_id=row.id, agent_id=agent.id)
        self._on_queued()
