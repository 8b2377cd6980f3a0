"""State changes of runs: the row first, then log event, metric, activity and watchers.

The caller names the event, and the transition table determines the next state. A concurrent change of the row
is reported as ``StaleRun``.

Notifications to watchers of a run. A notification only says that the run changed; the watcher reads the
change from the rows. So a slow watcher misses nothing and delays no other task.
"""

from collections import Counter
from collections.abc import AsyncGenerator

import anyio

from hub.clock import Clock, IdFactory, epoch_ms
from hub.extraction.model import ModelExhausted
from hub.log import Channel
from hub.metrics import Metrics
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RunEvent, RunOutcome, RunState
from storage import audit
from storage.kernel.database import StorageError
from storage.runs import run_moves, run_pauses
from storage.runs.runs import HeldRun
from storage.store import Store

log = Channel(__name__)

_SENTENCES = {
    RunState.COMPLETED: "Run finished",
    RunState.FAILED: "Run failed",
    RunState.CANCELLED: "Run cancelled",
    RunState.PAUSED: "Run paused",
}


class RunWatch:
    """Wakes the watchers of a run. Keeps state only for runs that are watched."""

    def __init__(self) -> None:
        self._changes: dict[RunId, anyio.Event] = {}
        self._watchers: Counter[RunId] = Counter()

    def __len__(self) -> int:
        return len(self._watchers)

    def changed(self, run_id: RunId) -> None:
        """Wake all watchers of the run."""
        if event := self._changes.pop(run_id, None):
            event.set()

    async def changes(self, run_id: RunId, *, at_most_every_s: float = 0.2) -> AsyncGenerator[None]:
        """Yield immediately, and then once per change; changes in quick succession count as one.

        The caller closes the generator (``contextlib.aclosing``).
        """
        self._watchers[run_id] += 1
        try:
            while True:
                event = self._changes.setdefault(run_id, anyio.Event())
                yield
                await event.wait()
                await anyio.sleep(at_most_every_s)
        finally:
            self._watchers[run_id] -= 1
            if not self._watchers[run_id]:
                del self._watchers[run_id]
                self._changes.pop(run_id, None)


class Lifecycle:
    """The only place where the state of a run changes."""

    def __init__(
        self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics, watch: RunWatch
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._watch = watch

    async def move(
        self,
        held: HeldRun,
        event: RunEvent,
        *,
        actor: str = "hub",
        reason: str | None = None,
        outcome: RunOutcome | None = None,
        wait_s: float | None = None,
        agent_id: AgentId | None = None,
        device_id: DeviceId | None = None,
    ) -> HeldRun:
        """Move a run by *event*.

        Args:
            wait_s: seconds from now before which the run is not eligible again.

        Raises:
            IllegalTransition: the table has no such transition; nothing was written.
            StaleRun: another process moved the run; nothing was written.
            OpenWork: the event is FINISHED, and a unit or call is open; nothing was written.
        """
        at = epoch_ms(self._clock.now())
        after = await self._store.write(
            run_moves.move,
            held,
            event,
            at=at,
            actor=actor,
            reason=reason,
            outcome=outcome,
            eligible_at=None if wait_s is None else at + int(wait_s * 1000),
            error=reason if event is RunEvent.FAILED else None,
        )
        log.info(
            "run.moved",
            run_id=held.id,
            fence=after.fence,
            happened=event.name.lower(),
            state=after.state,
            outcome=outcome,
            reason=reason,
        )
        if after.state in FINAL_RUN_STATES:
            self._metrics.runs.labels(outcome or after.state.lower()).inc()
        if sentence := _SENTENCES.get(after.state):
            await self._publish(after, sentence, event, reason, agent_id, device_id, at)
        self._watch.changed(held.id)
        return after

    async def exhaust(
        self, held: HeldRun, exhausted: ModelExhausted, *, agent_id: AgentId, device_id: DeviceId | None
    ) -> HeldRun:
        """Pause a run and its agent for lack of quota, until the quota is available again.

        Raises:
            IllegalTransition, StaleRun: see ``move``; nothing was written.
        """
        at = epoch_ms(self._clock.now())
        wait_s = exhausted.retry_after_s
        reason = str(exhausted)
        after = await self._store.write(
            run_pauses.exhaust_run,
            held,
            agent_id=agent_id,
            cause=exhausted.reason,
            retry_after_ms=None if wait_s is None else int(wait_s * 1000),
            at=at,
            reason=reason,
        )
        log.info(
            "run.moved",
            run_id=held.id,
            fence=after.fence,
            happened="exhausted",
            state=after.state,
            outcome=None,
            reason=reason,
        )
        sentence = _SENTENCES[after.state]
        await self._publish(after, sentence, RunEvent.EXHAUSTED, reason, agent_id, device_id, at)
        self._watch.changed(held.id)
        return after

    async def pause_early(self, held: HeldRun, *, reason: str | None) -> HeldRun:
        """Pause a run for a person before its device has accepted it.

        Raises:
            StaleRun: another process moved the run; nothing was written.
        """
        at = epoch_ms(self._clock.now())
        after = await self._store.write(run_pauses.pause_early, held, at, actor="hub", reason=reason)
        log.info(
            "run.moved",
            run_id=held.id,
            fence=after.fence,
            happened="user_paused",
            state=after.state,
            outcome=None,
            reason=reason,
        )
        self._watch.changed(held.id)
        return after

    def notify_watchers(self, run_id: RunId) -> None:
        """Notify watchers of a change of the run that is not a state change."""
        self._watch.changed(run_id)

    async def _publish(
        self,
        after: HeldRun,
        sentence: str,
        event: RunEvent,
        reason: str | None,
        agent_id: AgentId | None,
        device_id: DeviceId | None,
        at: int,
    ) -> None:
        try:
            await self._store.write(
                audit.record,
                id=self._ids.fresh(),
                at=at,
                event_type=f"run.{event.name.lower()}",
                message=f"{sentence}: {reason}" if reason else sentence,
                run_id=after.id,
                agent_id=agent_id,
                device_id=device_id,
                actor="hub",
            )
        except StorageError as exc:  # the move is committed and must not be repeated by the caller
            log.error("activity.unwritten", exc=exc, run_id=after.id)
