"""Actions on runs and agents by people and devices: start, cancel, pause, resume, rerun, set a status.

Each is written to the database first, with its audit entry in the same transaction. The dispatcher is
notified afterwards, and would otherwise find the change by polling.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from hub.agents.json_objects import validated_object
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.extraction.extractor import Extractor
from hub.runs.dispatcher import Dispatcher
from hub.runs.lifecycle import RunTransitions
from hub.runs.run_order import NO_OPTIONS, RunOptions, set_up, settings_of
from protocol.agent_status import Axis
from protocol.agent_status import Lifecycle as AgentLifecycle
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BootId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RunEvent, RunState
from storage import audit
from storage.agents import agents, exhaustion, state_moves
from storage.agents.agents import AgentRow
from storage.audit import AuditEntry
from storage.effects import status_writes, termination
from storage.effects.agent_changes import AgentOfFile
from storage.effects.status_writes import StatusWrite, Written
from storage.executing_runs import FencedRun
from storage.runs import run_claims, run_pauses, runs
from storage.runs.runs import RunRow
from storage.store import Connection, Store

log = Channel(__name__)


class RunControl:
    """Carries out operations on runs and agents.

    Args:
        run_timeout_s: maximum duration of one execution of a manually started run.
        limits: maximum numbers of manually started runs that may wait.
        on_recovered: called when a person reports that the model of an agent answers again.
        wake_others: called when a run was queued or is to be cancelled, which another node may have to do.
        on_requested: called when a run was requested, to end the delays of models that are away.
    """

    def __init__(
        self,
        *,
        store: Store,
        lifecycle: RunTransitions,
        dispatcher: Dispatcher,
        extractor: Extractor,
        clock: Clock,
        ids: IdFactory,
        boot_id: BootId,
        metrics: Metrics,
        run_timeout_s: float,
        limits: run_claims.WaitingLimits | None = None,
        on_recovered: Callable[[], None] = lambda: None,
        wake_others: Callable[[], None] = lambda: None,
        on_requested: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._dispatcher = dispatcher
        self._extractor = extractor
        self._clock = clock
        self._ids = ids
        self._boot_id = boot_id
        self._metrics = metrics
        self._on_recovered = on_recovered
        self.wake_others = wake_others
        self._on_requested = on_requested
        self.run_timeout_s = run_timeout_s
        self.limits = limits or run_claims.WaitingLimits()
        self.context_bytes = 16 * 1024  # largest context of a run, as JSON

    async def submit(
        self,
        agent: AgentRow,
        *,
        key: str | None = None,
        actor: str = "operator",
        options: RunOptions = NO_OPTIONS,
        rerun_of: RunId | None = None,
    ) -> RunRow:
        """Queue a run of *agent* with the agent's current settings.

        Args:
            options: further requirements, locks, parameters and context of the run.
            key: idempotency key; if the actor has started a run with this key, that run is returned. Without
                a key and a context, an equal run that waits and has read nothing yet is returned.
            rerun_of: the run that this one repeats.

        Raises:
            CodedError (UNKNOWN_AGENT): the agent was removed; nothing was queued.
            CodedError (LIMIT_REACHED): too many manually started runs are waiting; nothing was queued.
            CodedError: the parameters or the context are invalid; nothing was queued.
            NoDevice: the device of the agent has no credential, or was revoked; nothing was queued.
        """
        run_id = RunId(self._ids.fresh())
        fire_key = f"m:{run_id if key is None else f'{actor}:{key}'}"
        if rerun_of is not None:
            fire_key = f"r:{rerun_of}:{run_id}"
        context = self._checked("context", options.context)
        parameters = self._checked("parameters", options.parameters)
        setup = await set_up(self._store, agent)
        settings = settings_of(agent, self._extractor, setup, parameters)
        event = "run.started" if rerun_of is None else "run.rerun"
        entry = self._entry(event, actor, run_id, agent=agent.name, rerun_of=rerun_of)
        with self._metrics.count_limits():
            row = await self._store.write(
                audit.audited(run_claims.start_run, lambda made: entry if made.id == run_id else None),
                id=run_id,
                agent=agent,
                fire_key=fire_key,
                limits=self.limits,
                joins=key is None and not context,
                at=now_ms(self._clock),
                config_fingerprint=settings.config_fingerprint,
                settings=msgspec.to_builtins(settings),
                parameters=parameters,
                context=context,
                task_id=options.task_id,
                needs=options.needs,
                locks=options.locks,
                trigger_kind="manual" if rerun_of is None else "rerun",
                rerun_of=rerun_of,
                timeout_ms=int(self.run_timeout_s * 1000),
                actor=actor,
            )
        log.info("run.queued", run_id=row.id, agent_id=agent.id)
        self._on_requested()
        self._dispatcher.recheck()
        self.wake_others()
        return row

    async def rerun(self, run_id: RunId, *, actor: str) -> RunRow:
        """Queue a new run of the same agent, with its current settings and the old run's requirements.

        Units that are already settled are not read again.

        Raises:
            CodedError (UNKNOWN_RUN): no run has this id.
            CodedError (UNKNOWN_AGENT): the run's agent was removed; nothing was queued.
            CodedError (LIMIT_REACHED): too many manually started runs are waiting; nothing was queued.
        """
        old = await self._store.read(runs.get_run, run_id)
        agent = await self._store.read(agents.get_agent, old.agent_id)
        options = RunOptions(
            needs=old.needs,
            locks=old.locks,
            parameters=old.parameters,
            context=old.context,
            task_id=old.task_id,
        )
        return await self.submit(agent, actor=actor, options=options, rerun_of=run_id)

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> RunRow:
        """Cancel a run: a waiting run at once, an executing run once its sent calls are answered.

        Inserted items stay. A run that has already ended is returned unchanged.

        Raises:
            CodedError (UNKNOWN_RUN): no run has this id.
        """
        entry = self._entry("run.cancelled", actor, run_id, reason=reason)
        row = await self._store.write(
            audit.audited(
                run_pauses.request_cancel, lambda run: entry if run.cancel_requested_at == entry.at else None
            ),
            run_id,
            reason=reason,
            at=entry.at,
            actor=actor,
        )
        self._lifecycle.notify_watchers(run_id)
        is_ours = row.lease_boot_id == self._boot_id or not self._store.is_shared
        if not self._dispatcher.interrupt(run_id, reason) and row.state not in FINAL_RUN_STATES and is_ours:
            # A worker may claim it in this moment; the worker then finds that the run has moved on.
            await self._lifecycle.move(row.held, RunEvent.CANCELLED, actor=actor, reason=reason)
        self._dispatcher.recheck()
        self.wake_others()
        return await self._store.read(runs.get_run, run_id)

    async def pause(self, run_id: RunId, *, actor: str) -> RunRow:
        """Pause a run: a waiting run at once, an executing run after the units in progress.

        Raises:
            CodedError (UNKNOWN_RUN): no run has this id.
            IllegalTransition: the run has ended, or another node executes it.
        """
        entry = self._entry("run.paused", actor, run_id)
        if self._dispatcher.ask_to_pause(run_id, f"paused by {actor}"):
            await self._store.write(audit.append_entry, entry)
        else:
            pause = audit.audited(
                run_pauses.pause_run, lambda run: entry if run.updated_at == entry.at else None
            )
            await self._store.write(pause, run_id, entry.at, actor=actor)
        self._lifecycle.notify_watchers(run_id)
        return await self._store.read(runs.get_run, run_id)

    async def resume(self, run_id: RunId, *, actor: str) -> RunRow:
        """Resume a run that a person paused.

        Raises:
            CodedError (UNKNOWN_RUN): no run has this id.
            IllegalTransition: the run is not paused by a person.
        """
        entry = self._entry("run.resumed", actor, run_id)
        resume = audit.audited(run_pauses.resume_run, lambda _: entry)
        row = await self._store.write(resume, run_id, entry.at, actor=actor)
        self._lifecycle.notify_watchers(run_id)
        self._dispatcher.recheck()
        self.wake_others()
        return row

    async def pause_agent(self, agent_id: AgentId, *, actor: str) -> bool:
        """Stop starting runs of the agent. Return False if it was paused already.

        Runs in progress continue to their end.
        """
        entry = self._entry("agent.paused", actor, agent_id)
        pause = audit.audited(state_moves.move, lambda moved: entry if moved else None)
        return await self._store.write(pause, agent_id, "lifecycle", "paused", at=entry.at, actor=actor)

    async def resume_agent(self, agent_id: AgentId, *, actor: str) -> bool:
        """Start runs of the agent again, and ask an exhausted model again. Return False if already active.

        Raises:
            CodedError (UNKNOWN_AGENT): no agent has this id, or it was removed.
        """
        if (await self._store.read(agents.get_agent, agent_id)).archived_at is not None:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, "the agent was removed; declare it again")
        paused, exhausted = (
            self._entry("agent.resumed", actor, agent_id, was=was) for was in ("paused", "exhausted")
        )
        resume = audit.audited(state_moves.move, lambda moved: paused if moved else None)
        recover = audit.audited(exhaustion.recover_agent, lambda moved: exhausted if moved else None)
        was_paused = await self._store.write(
            resume, agent_id, "lifecycle", "active", at=paused.at, actor=actor
        )
        if await self._store.write(recover, agent_id, at=paused.at, actor=actor):
            was_paused = True  # the dispatcher's next poll finds its runs
            self._on_recovered()
        self._dispatcher.recheck()
        return was_paused

    async def write_status(
        self, agent: AgentRow | Callable[[Connection], AgentRow], asked: StatusWrite, *, actor: str
    ) -> AgentRow:
        """Apply every change of *asked* to an agent's status in one transaction, or none of them.

        Then start or cancel the agent's runs accordingly.

        Args:
            agent: the agent, or a function that writes and returns it in the same transaction.

        Raises:
            AgentOfFile: the request terminates an agent that is declared in hub.toml; it can only be removed
                there.
            CodedError, BadWrite, Refused, IllegalMove: see ``storage.effects.status_writes``.

        If an error is raised, nothing was written.
        """
        at = now_ms(self._clock)
        states = (asked.axes.get(Axis.LIFECYCLE), str(asked.words.get("state_detail")).lower())

        def write(c: Connection) -> tuple[AgentRow, Written]:
            row = agent if isinstance(agent, AgentRow) else agent(c)
            if row.source == "file" and AgentLifecycle.TERMINATED in states:
                raise AgentOfFile(row)
            written = status_writes.write_status(c, row.id, asked, at=at, actor=actor)
            details = {str(move.axis): move.to for move in written.moves} | _other_details(asked)
            if details:
                event = "agent.status_set"
                audit.append_entry(
                    c, AuditEntry(at=at, actor=actor, event=event, subject=row.id, detail=details)
                )
            return row, written

        row, written = await self._store.write(write)
        for run_id in written.called_off:
            await self.cancel(run_id, actor=actor, reason=termination.BECAUSE)
        if any(move.axis is Axis.AVAILABILITY for move in written.moves):
            self._on_recovered()
        self._dispatcher.recheck()
        return row

    async def report(self, run_id: RunId, fence: int, report: runs.RunReport) -> RunRow:
        """Store a device's report about a run that the device executes.

        Raises:
            StaleRun: the run executes under another fence, or no longer; nothing was written.
            CodedError: the context or the result is invalid; nothing was written.
        """
        for name in ("context", "result"):
            if (given := getattr(report, name)) is not None:
                report = msgspec.structs.replace(report, **{name: self._checked(name, given)})
        held = FencedRun(run_id, RunState.RUNNING, fence)
        with self._metrics.count_limits():
            row = await self._store.write(
                runs.report, held, report, at=now_ms(self._clock), context_bytes=self.context_bytes
            )
        self._lifecycle.notify_watchers(run_id)
        return row

    def _checked(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters or the context of a run, each of which has the same limit."""
        with self._metrics.count_limits():
            return validated_object(name, given, most=self.context_bytes, limit="run_context_bytes")

    def _entry(self, event: str, actor: str, subject: str, **detail: str | None) -> AuditEntry:
        """Return the audit entry for an operation that *actor* requests now."""
        return AuditEntry(at=now_ms(self._clock), actor=actor, event=event, subject=subject, detail=detail)


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
