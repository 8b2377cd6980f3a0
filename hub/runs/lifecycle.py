"""State changes of runs: database row, then log event, metric and notification of watchers.

The caller names the event, and the transition table determines the next state. A concurrent change of the row
is reported as ``StaleRun``.

A notification to watchers of a run only says that the run changed; the watcher reads the change from the
rows. So a slow watcher misses nothing and delays no other task.
"""

import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Final

import anyio

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.extraction.model import ModelExhausted
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RunEvent, RunOutcome, RunState
from storage import audit
from storage.executing_runs import FencedRun
from storage.kernel.database import StorageError
from storage.runs import run_moves, run_pauses
from storage.store import Store

log = Channel(__name__)

_SENTENCES = {
    RunState.COMPLETED: "Run finished",
    RunState.FAILED: "Run failed",
    RunState.CANCELLED: "Run cancelled",
    RunState.PAUSED: "Run paused",
}
POLL_S: Final = 1.0  # of a watched run that another hub process may execute
QUIET_POLL_S: Final = 5.0  # of one of this process: it may wait for an answer, and change nothing


class RunWatch:
    """Wakes the watchers of a run. Keeps state only for runs that are watched.

    Args:
        poll_s: wakes them after this time as well, on a database that other hub processes share.
        on_moved: called with each run that came to another state.
    """

    def __init__(
        self, *, poll_s: float | None = None, on_moved: Callable[[RunId], None] = lambda _: None
    ) -> None:
        self._on_moved = on_moved
        self._poll_s = math.inf if poll_s is None else poll_s
        self._changes: dict[RunId, anyio.Event] = {}
        self._watchers: Counter[RunId] = Counter()

    def __len__(self) -> int:
        return len(self._watchers)

    def changed(self, run_id: RunId) -> None:
        """Wake all watchers of the run."""
        if event := self._changes.pop(run_id, None):
            event.set()

    def moved(self, run_id: RunId) -> None:
        """Wake all watchers of the run, which came to another state, also those at other nodes."""
        self.changed(run_id)
        self._on_moved(run_id)

    async def changes(self, run_id: RunId, *, at_most_every_s: float = 0.5) -> AsyncGenerator[None]:
        """Yield immediately, and then at least once per change; changes in quick succession count as one.

        The caller closes the generator (``contextlib.aclosing``).
        """
        self._watchers[run_id] += 1
        try:
            while True:
                event = self._changes.setdefault(run_id, anyio.Event())
                yield
                with anyio.move_on_after(self._poll_s):
                    await event.wait()
                await anyio.sleep(at_most_every_s)
        finally:
            self._watchers[run_id] -= 1
            if not self._watchers[run_id]:
                del self._watchers[run_id]
                self._changes.pop(run_id, None)


class RunTransitions:
    """The only place where the state of a run changes.

    Args:
        on_ended: called with each run that has ended.
        agent_ran: called with its agent.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        watch: RunWatch,
        on_ended: Callable[[RunId], None] = lambda _: None,
        agent_ran: Callable[[AgentId], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._watch = watch
        self.on_ended = on_ended
        self._agent_ran = agent_ran

    async def move(
        self,
        held: FencedRun,
        event: RunEvent,
        *,
        actor: str = "hub",
        reason: str | None = None,
        outcome: RunOutcome | None = None,
        error: str | None = None,
        code: str = "run_failed",
        wait_s: float | None = None,
        agent_id: AgentId | None = None,
        device_id: DeviceId | None = None,
        follow_up: run_moves.FollowUp | None = None,
    ) -> FencedRun:
        """Move a run by *event*.

        Args:
            error: what ended the attempt, if the run is tried again; of FAILED it is the *reason*.
            code: stable word for it, if the run failed.
            wait_s: seconds from now before which the run is not eligible again.
            follow_up: run to queue in the same transaction; see ``run_moves.move``.

        Raises:
            IllegalTransition: the table has no such transition; nothing was written.
            StaleRun: another process moved the run; nothing was written.
            IllegalTransition: the event is FINISHED, and a unit or call is open; nothing was written.
        """
        at = now_ms(self._clock)
        after = await self._store.write(
            run_moves.move,
            held,
            event,
            at=at,
            actor=actor,
            reason=reason,
            outcome=outcome,
            eligible_at=None if wait_s is None else at + int(wait_s * 1000),
            error=reason if event is RunEvent.FAILED else error,
            code=code,
            follow_up=follow_up,
        )
        _log_move(after, event, reason, outcome)
        if after.state in FINAL_RUN_STATES:
            self._metrics.runs.labels(outcome or after.state.lower()).inc()
            self.on_ended(after.id)
            if agent_id is not None:
                self._agent_ran(agent_id)
        if sentence := _SENTENCES.get(after.state):
            await self._publish(after, sentence, event, reason, agent_id, device_id, at)
        self._watch.moved(held.id)
        return after

    async def exhaust(
        self, held: FencedRun, exhausted: ModelExhausted, *, agent_id: AgentId, device_id: DeviceId | None
    ) -> FencedRun:
        """Pause a run and its agent for lack of quota, until the quota is available again.

        Raises:
            IllegalTransition, StaleRun: see ``move``; nothing was written.
        """
        at = now_ms(self._clock)
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
        _log_move(after, RunEvent.EXHAUSTED, reason)
        sentence = _SENTENCES[after.state]
        await self._publish(after, sentence, RunEvent.EXHAUSTED, reason, agent_id, device_id, at)
        self._watch.moved(held.id)
        return after

    async def pause_early(self, held: FencedRun, *, reason: str | None) -> FencedRun:
        """Pause a run for a person before its device has accepted it.

        Raises:
            StaleRun: another process moved the run; nothing was written.
        """
        at = now_ms(self._clock)
        after = await self._store.write(run_pauses.pause_early, held, at, actor="hub", reason=reason)
        _log_move(after, RunEvent.USER_PAUSED, reason)
        self._watch.moved(held.id)
        return after

    def notify_watchers(self, run_id: RunId) -> None:
        """Notify watchers of a change of the run that is not a state change."""
        self._watch.changed(run_id)

    async def _publish(
        self,
        after: FencedRun,
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


def _log_move(
    after: FencedRun, event: RunEvent, reason: str | None, outcome: RunOutcome | None = None
) -> None:
    log.info(
        "run.moved",
        run_id=after.id,
        fence=after.fence,
        happened=event.name.lower(),
        state=after.state,
        outcome=outcome,
        reason=reason,
    )
