"""What people ask of runs and agents: start, cancel, pause, resume, run again.

Each is a row first, with its entry in the audit log in the same transaction; the
dispatcher is told afterwards, and would find it by itself.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from hub.agents.documents import DocumentTooLarge, document
from hub.clock import Clock, IdFactory, epoch_ms
from hub.extraction.extractor import Extractor
from hub.log import Channel
from hub.metrics import Metrics
from hub.runs.dispatcher import Dispatcher
from hub.runs.lifecycle import Lifecycle
from hub.runs.order import parameters_of, set_up
from hub.runs.wishes import NOTHING_MORE, RunWish
from protocol.ids import AgentId, BootId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RunEvent, RunState
from storage.agents import agent_states, agents
from storage.agents.agents import AgentRow, UnknownAgent
from storage.audit import audit
from storage.audit.audit import Entry
from storage.runs import runs
from storage.runs.runs import HeldRun, RunRow
from storage.store import Store

log = Channel(__name__)


class RunControl:
    """Carries out what people ask for.

    Args:
        run_timeout_s: what an execution of a run that somebody starts may take.
        limits: how many of those may wait.
        on_recovered: a person says that the model of an agent answers again.
    """

    def __init__(
        self,
        *,
        store: Store,
        lifecycle: Lifecycle,
        dispatcher: Dispatcher,
        extractor: Extractor,
        clock: Clock,
        ids: IdFactory,
        boot_id: BootId,
        metrics: Metrics,
        run_timeout_s: float = 3_600.0,
        limits: runs.WaitingLimits | None = None,
        on_recovered: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._dispatcher = dispatcher
        self._extractor = extractor
        self._clock = clock
        self._ids = ids
        self._boot_id = boot_id
        self._limits_reached = metrics.limits_reached
        self._on_recovered = on_recovered
        self.run_timeout_s = run_timeout_s
        self.limits = limits or runs.WaitingLimits()
        self.context_bytes = 16 * 1024  # of a run's, as JSON

    async def submit(
        self,
        agent: AgentRow,
        *,
        fire_key: str | None = None,
        actor: str = "operator",
        wish: RunWish = NOTHING_MORE,
    ) -> RunRow:
        """Queue a run of *agent*, as its settings are now.

        Args:
            wish: what it needs, takes and is for beside that.
            fire_key: what makes it this run and no second one; the run that has it is
                answered when there is one already.

        Raises:
            UnknownAgent: it was removed; nothing was queued.
            TooManyWaiting: runs that somebody started; nothing was queued.
            DocumentTooLarge, BadDocument: its context; nothing was queued.
        """
        run_id = RunId(self._ids.fresh())
        fire_key = f"m:{fire_key or run_id}"
        return await self._create(run_id, agent, fire_key=fire_key, actor=actor, wish=wish)

    async def rerun(self, run_id: RunId, *, actor: str) -> RunRow:
        """Queue a new run of the same agent, as its settings are now, and asked for in the same way.

        What is settled is not read again.

        Raises:
            UnknownRun: there is none.
            UnknownAgent: its agent was removed; nothing was queued.
            TooManyWaiting: runs that somebody started; nothing was queued.
        """
        old = await self._store.read(runs.get_run, run_id)
        agent = await self._store.read(agents.get_agent, old.agent_id)
        new_id = RunId(self._ids.fresh())
        return await self._create(
            new_id,
            agent,
            fire_key=f"r:{run_id}:{new_id}",
            actor=actor,
            wish=RunWish(needs=old.needs, locks=old.locks, context=old.context),
            rerun_of=run_id,
        )

    async def _create(
        self,
        run_id: RunId,
        agent: AgentRow,
        *,
        fire_key: str,
        actor: str,
        wish: RunWish,
        rerun_of: RunId | None = None,
    ) -> RunRow:
        context = self._kept(wish.context)
        parameters = parameters_of(agent, self._extractor, await set_up(self._store, agent))
        event = "run.started" if rerun_of is None else "run.rerun"
        entry = self._entry(event, actor, run_id, agent=agent.name, rerun_of=rerun_of)
        try:
            row = await self._store.write(
                audit.audited(runs.start_run, lambda made: entry if made.id == run_id else None),
                id=run_id,
                agent=agent,
                fire_key=fire_key,
                limits=self.limits,
                at=self._at(),
                config_fingerprint=parameters.config_fingerprint,
                parameters=msgspec.to_builtins(parameters),
                context=context,
                needs=wish.needs,
                locks=wish.locks,
                trigger_kind="manual" if rerun_of is None else "rerun",
                rerun_of=rerun_of,
                timeout_ms=int(self.run_timeout_s * 1000),
                actor=actor,
            )
        except runs.TooManyWaiting as exc:
            self._limits_reached.labels(exc.limit).inc()
            raise
        log.info("run.queued", run_id=row.id, agent_id=agent.id)
        self._dispatcher.look_again()
        return row

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> RunRow:
        """Cancel a run: at once where it waits, where it executes as soon as what was sent is answered.

        What was inserted stays. A run that ended already is answered as it is.

        Raises:
            UnknownRun: there is none.
        """
        entry = self._entry("run.cancelled", actor, run_id, reason=reason)
        row = await self._store.write(
            audit.audited(
                runs.request_cancel, lambda run: entry if run.cancel_requested_at == entry.at else None
            ),
            run_id,
            reason=reason,
            at=entry.at,
            actor=actor,
        )
        self._lifecycle.tell_watchers(run_id)
        is_ours = row.lease_boot_id == self._boot_id or not self._store.is_shared
        if not self._dispatcher.interrupt(run_id, reason) and row.state not in FINAL_RUN_STATES and is_ours:
            # Claimed in this moment, or left by nobody: whoever holds it finds it moved.
            await self._lifecycle.move(row.held, RunEvent.CANCELLED, actor=actor, reason=reason)
        self._dispatcher.look_again()
        return await self._store.read(runs.get_run, run_id)

    async def pause(self, run_id: RunId, *, actor: str) -> RunRow:
        """Let a run wait for a person: at once, or where it executes at the end of the units in hand.

        Raises:
            UnknownRun: there is none.
            IllegalTransition: it has ended, or another node executes it.
        """
        entry = self._entry("run.paused", actor, run_id)
        if self._dispatcher.ask_to_pause(run_id, f"paused by {actor}"):
            await self._store.write(audit.append_entry, entry)
        else:
            pause = audit.audited(runs.pause_run, lambda run: entry if run.updated_at == entry.at else None)
            await self._store.write(pause, run_id, entry.at, actor=actor)
        self._lifecycle.tell_watchers(run_id)
        return await self._store.read(runs.get_run, run_id)

    async def resume(self, run_id: RunId, *, actor: str) -> RunRow:
        """Let a run go on that a person paused.

        Raises:
            UnknownRun: there is none.
            IllegalTransition: nobody paused it.
        """
        entry = self._entry("run.resumed", actor, run_id)
        resume = audit.audited(runs.resume_run, lambda _: entry)
        row = await self._store.write(resume, run_id, entry.at, actor=actor)
        self._lifecycle.tell_watchers(run_id)
        self._dispatcher.look_again()
        return row

    async def pause_agent(self, agent_id: AgentId, *, actor: str) -> bool:
        """Start no more runs of the agent; those under way come to their end. False if it was paused."""
        entry = self._entry("agent.paused", actor, agent_id)
        pause = audit.audited(agent_states.move, lambda moved: entry if moved else None)
        return await self._store.write(pause, agent_id, "lifecycle", "paused", at=entry.at, actor=actor)

    async def resume_agent(self, agent_id: AgentId, *, actor: str) -> bool:
        """Start runs of the agent again, the waiting ones first; an exhausted one is asked again at once.

        False if it was active already.

        Raises:
            UnknownAgent: there is none, or it was removed.
        """
        if (await self._store.read(agents.get_agent, agent_id)).archived_at is not None:
            raise UnknownAgent("the agent was removed; declare it again")
        paused, exhausted = (
            self._entry("agent.resumed", actor, agent_id, was=was) for was in ("paused", "exhausted")
        )
        resume = audit.audited(agent_states.move, lambda moved: paused if moved else None)
        recover = audit.audited(agent_states.recover_agent, lambda moved: exhausted if moved else None)
        was_paused = await self._store.write(
            resume, agent_id, "lifecycle", "active", at=paused.at, actor=actor
        )
        if await self._store.write(recover, agent_id, at=paused.at, actor=actor):
            was_paused = True  # its runs are found with the next look
            self._on_recovered()
        self._dispatcher.look_again()
        return was_paused

    async def report(self, run_id: RunId, fence: int, said: runs.Report) -> RunRow:
        """Keep what a device says of a run that it works on.

        Raises:
            StaleRun: the run executes under another fence, or no more; nothing was written.
            DocumentTooLarge, BadDocument, ContextTooLarge: its context; nothing was written.
        """
        if said.context is not None:
            said = msgspec.structs.replace(said, context=self._kept(said.context))
        held = HeldRun(run_id, RunState.RUNNING, fence)
        try:
            row = await self._store.write(
                runs.report, held, said, at=self._at(), context_bytes=self.context_bytes
            )
        except runs.ContextTooLarge as exc:
            self._limits_reached.labels(exc.limit).inc()
            raise
        self._lifecycle.tell_watchers(run_id)
        return row

    def _kept(self, context: dict[str, Any]) -> dict[str, Any]:
        try:
            return document("context", context, most=self.context_bytes, limit="run_context_bytes")
        except DocumentTooLarge as exc:
            self._limits_reached.labels(exc.limit).inc()
            raise

    def let_start(self, *, is_recovered: bool = False) -> None:
        """Somebody changed how an agent stands: what waits for it may start now.

        Args:
            is_recovered: its model is said to answer again.
        """
        if is_recovered:
            self._on_recovered()
        self._dispatcher.look_again()

    def _entry(self, event: str, actor: str, subject: str, **detail: str | None) -> Entry:
        """What the audit log is told of what *actor* asked for, now."""
        return Entry(at=self._at(), actor=actor, event=event, subject=subject, detail=detail)

    def _at(self) -> int:
        return epoch_ms(self._clock.now())
