"""Dispatcher of runs: which queued run starts when, and pauses and resumptions of runs.

A run is a durable row first. Events of devices and quotas only open gates: the row waits until a claim under
a new fence starts it.

A device that keeps reconnecting would start and drop a run each time. A thousand devices that connect at once
would all start in the same moment. So each device has a settling time of a few seconds. It is longer after
several connections in a row, and has a random part if many devices connect together. Runs that resume
together are spread by ``storage.runs.run_pauses``.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.base.toml.limits import Limits
from hub.links.device_link import DeviceLink
from hub.runs.clock_watch import ClockWatch
from hub.runs.interrupt import Interrupt
from hub.runs.leases import LEASE_MS, RENEW_EVERY_S
from hub.runs.lifecycle import RunTransitions
from hub.runs.run_order import order_of
from hub.runs.runner import Runner
from protocol.agent_status import AgentMoved, Axis
from protocol.errors import DeliveryError
from protocol.handshake import HeldRun as RunAtDevice
from protocol.ids import AgentId, BootId, DeviceId, RunId
from protocol.lifecycles import EXECUTING_RUN_STATES, PauseReason, RunEvent, RunOutcome
from protocol.work import AgentCancel
from storage.agents import exhaustion as agents_exhaustion
from storage.agents import locks
from storage.effects import sessions
from storage.executing_runs import StaleRun
from storage.kernel.database import StorageError
from storage.runs import run_claims, run_moves, run_resumes, runs
from storage.runs import waiting_runs as runs_waiting_runs
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.runs.waiting_runs import GateSight
from storage.store import ObservedDatabase, Store

# connections within a window after which a device settles for longer
FLAPS, FLAP_WINDOW_S, FLAP_SETTLE_S = 3, 120.0, 60.0
CROWD_WINDOW_S: Final = 10.0
# random settling time per device that connected in the same window, and its upper limit
SPREAD_EACH_S, SPREAD_CAP_S = 0.5, 60.0
REMEMBERED: Final = 100_000  # devices whose recent connections are kept; the oldest entries are dropped first


@dataclass(slots=True)
class _Arrival:
    link: DeviceLink
    since: datetime
    settles_at: float  # monotonic, in seconds


class Arrivals:
    """Connected devices that may get runs, with their settling times.

    Devices that connect before the next use of this object count as one crowd. Nothing here costs more with
    more connected devices.
    """

    def __init__(self, *, clock: Clock, chance: Chance, settle_s: float) -> None:
        self._clock = clock
        self._chance = chance
        self.settle_s = settle_s
        self._new: dict[DeviceId, DeviceLink] = {}
        self._connected: dict[DeviceId, _Arrival] = {}
        self._settling: set[DeviceId] = set()
        self._settle_times: list[tuple[float, DeviceId]] = []  # heap; also of devices that left meanwhile
        self._visits: OrderedDict[DeviceId, tuple[float, ...]] = OrderedDict()  # smaller than deques
        # monotonic time, and number of connections that were new then
        self._crowd: deque[tuple[float, int]] = deque()
        self._crowd_size = 0  # sum of these numbers

    def add(self, link: DeviceLink) -> None:
        """Add a device's new connection, which replaces an older one."""
        self._remove(link.device_id)
        self._new[link.device_id] = link

    def remove(self, device_id: DeviceId, epoch: int) -> None:
        """Remove a connection that has ended, unless a newer one of the device exists."""
        arrival = self._connected.get(device_id)
        link = self._new.get(device_id) if arrival is None else arrival.link
        if link is not None and link.epoch <= epoch:
            self._remove(device_id)

    def _remove(self, device_id: DeviceId) -> None:
        self._new.pop(device_id, None)
        self._connected.pop(device_id, None)
        self._settling.discard(device_id)

    @property
    def is_anyone_new(self) -> bool:
        """True if a device connected since the last use of this object."""
        return bool(self._new)

    @property
    def online(self) -> Set[DeviceId]:
        """Ids of the connected devices; changes with them."""
        self._welcome()
        return self._connected.keys()

    @property
    def settling(self) -> Set[DeviceId]:
        """Ids of the devices whose settling time is not over; changes with them."""
        self._welcome()
        now = self._clock.monotonic()
        while self._settle_times and self._settle_times[0][0] <= now:
            _, device_id = heappop(self._settle_times)
            arrival = self._connected.get(device_id)
            if arrival is not None and arrival.settles_at <= now:
                self._settling.discard(device_id)
        return self._settling

    def link(self, device_id: DeviceId) -> DeviceLink:
        """Return the link of a connected device; raises KeyError."""
        self._welcome()
        return self._connected[device_id].link

    def _welcome(self) -> None:
        """Set the settling times of the devices that connected since the last call."""
        if not self._new:
            return
        now = self._clock.monotonic()
        self._crowd.append((now, len(self._new)))
        self._crowd_size += len(self._new)
        while self._crowd[0][0] < now - CROWD_WINDOW_S:
            self._crowd_size -= self._crowd.popleft()[1]
        spread_s = min(SPREAD_CAP_S, SPREAD_EACH_S * (self._crowd_size - 1))
        for device_id, link in self._new.items():
            settle_s = self.settle_s + (self._chance.uniform(0.0, spread_s) if spread_s else 0.0)
            if self._flaps(device_id, now):
                settle_s = max(settle_s, FLAP_SETTLE_S)
            self._connected[device_id] = _Arrival(link, self._clock.now(), now + settle_s)
            if settle_s > 0:
                self._settling.add(device_id)
                heappush(self._settle_times, (now + settle_s, device_id))
        self._new.clear()

    def since(self, device_id: DeviceId) -> datetime | None:
        """Return when the device's current connection was first seen, or None if it is not connected."""
        self._welcome()
        arrival = self._connected.get(device_id)
        return None if arrival is None else arrival.since

    def settles_at(self, device_id: DeviceId) -> datetime | None:
        """Return when the device will have settled; None if it has, or is not connected."""
        self._welcome()
        arrival = self._connected.get(device_id)
        rest_s = 0.0 if arrival is None else arrival.settles_at - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=rest_s) if rest_s > 0 else None

    def _flaps(self, device_id: DeviceId, now: float) -> bool:
        """Record a connection. Return True if the device has connected too often within the window."""
        visits = self._visits.pop(device_id, ())
        # reinserted at the end, so the first entry is the oldest
        self._visits[device_id] = (*visits, now)[-FLAPS:]
        if len(self._visits) > REMEMBERED:
            self._visits.popitem(last=False)
        return len(visits) == FLAPS and visits[0] > now - FLAP_WINDOW_S


log = Channel(__name__)


class Offers(Mapping[DeviceId, Mapping[str, str]]):
    """Versions by capability of each connected device."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def __getitem__(self, device_id: DeviceId) -> Mapping[str, str]:
        return self._arrivals.link(device_id).offers

    def __iter__(self) -> Iterator[DeviceId]:
        return iter(list(self._arrivals.online))

    def __len__(self) -> int:
        return len(self._arrivals.online)


POLL_S = 2.0  # upper bound of the delay after a lost wake-up, or after the end of a wait
REST_S: Final = 30.0  # the same while nothing waits, and only this hub could add a run
SETTLE_TICK_S: Final = 0.5  # between two looks while devices settle; those that connect meanwhile wait for it
BROKEN_S: Final = 600.0  # until queued runs that could not be read are tried again
# After this long without an answer of the database, others may not have renewed their leases again yet.
OUTAGE_S: Final = LEASE_MS / 2_000
RESUME_SPREAD_MS = 500  # between two runs that resume at the end of the same exhaustion
CANCEL_GRACE_S = 30.0  # in which a device stops work on a cancelled run
# After a week in PAUSED, what the run waits for is not expected to come. Runs paused by a person stay.
PAUSED_MS = 7 * 86_400_000


class Dispatcher:
    """Claims queued runs and executes them."""

    def __init__(
        self,
        *,
        store: Store,
        lifecycle: RunTransitions,
        runner: Runner,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        boot_id: BootId,
        limits: Limits,
        hold_until_ms: int = 0,
        why_stopped: Callable[[], str | None] = lambda: None,
        is_model_back: Callable[[bool], bool] = lambda _allow_cloud: True,
        clock_watch: ClockWatch | None = None,
    ) -> None:
        """Set up the dispatcher.

        Args:
            why_stopped: returns a sentence that says why no run is started; None: runs are.
            is_model_back: returns True if runs that wait for their model may resume; see
                ``ModelGates.let_through``.
            hold_until_ms: after repeated crashes, no run that may have caused them starts before this time.
            clock_watch: knows whether other hubs have left the time of *clock*; None: there are none.
        """
        self.loop = LoopReports(clock)
        self.limits = limits
        self._store = store
        self._lifecycle = lifecycle
        self._runner = runner
        self._clock = clock
        self._metrics = metrics
        self._boot_id = boot_id
        self.why_stopped = why_stopped
        self._is_model_back = is_model_back
        self.clock_watch = clock_watch
        self.hold_until_ms = hold_until_ms
        self.arrivals = Arrivals(clock=clock, chance=chance, settle_s=limits.connected_s)
        self._executing: dict[RunId, Interrupt] = {}
        metrics.runs_in_progress.set_function(lambda: len(self._executing))
        self._wake = anyio.Event()
        self._is_asked = False  # to check all gates at once
        self._can_rest = self._is_resting = False
        self._has_written = True  # since the last check of all gates
        self._broken: set[RunId] = set()  # queued runs that could not be read
        self._broken_since = clock.monotonic()
        self._settled = anyio.Event()
        self._is_draining = False
        self._grace = anyio.CancelScope(shield=True)  # limits the time that a drain gives executing runs
        self._has_resumed = False  # the runs that this node paused when it stopped
        self._strays: set[RunId] = set()
        self._answered_at = clock.monotonic()  # by a shared database, about the other nodes
        self._trusted_from = 0.0  # monotonic; before, a lease that has expired does not mean a dead node
        self._clock_trust = ClockTrust(clock)

    def apply(self, limits: Limits) -> None:
        """Apply new limits. Executing runs continue, even if they exceed the new limits."""
        self.limits = limits
        self.arrivals.settle_s = limits.connected_s
        self.recheck()

    # --- state for other services ---

    @property
    def is_draining(self) -> bool:
        """True if no run is started any more because the hub is stopping."""
        return self._is_draining

    def is_pausing(self, run_id: RunId) -> bool:
        """Return True if the run executes here and will pause for a person after its units in progress."""
        interrupt = self._executing.get(run_id)
        return interrupt is not None and interrupt.event is RunEvent.USER_PAUSED

    @property
    def offered(self) -> Mapping[DeviceId, Mapping[str, str]]:
        """Versions by capability of each device that is connected to this hub."""
        return Offers(self.arrivals)

    @property
    def executing(self) -> int:
        """Number of executing runs."""
        return len(self._executing)

    # --- main loop ---

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start runs that may start, until cancelled. All executing runs end before it returns."""
        self._is_draining = self._has_resumed = False
        self._grace = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as executing:
            try:
                task_status.started()
                rest_s = 0.0  # until all gates are checked again
                while True:
                    self._wake = anyio.Event()
                    self.loop.work()
                    try:
                        is_anyone_new = self.arrivals.is_anyone_new
                        if is_anyone_new and self._store.is_shared:
                            await self._claim(executing)  # at once, what moved here with its device
                        if rest_s <= 0 or self._is_asked or is_anyone_new:
                            self._is_asked, rest_s = False, POLL_S
                            rest_s = await self.open_gates()
                        if not self._is_resting:
                            await self._claim(executing)
                    except StorageError as exc:
                        log.error("dispatcher.database", exc=exc)  # retried after POLL_S
                    except Exception as exc:  # the loop must survive any error
                        log.error("dispatcher.broke", exc=exc)
                    # A device that settles while nothing is queued ends no wait.
                    is_settling = bool(self.arrivals.settling) and not self._is_resting
                    wait_s = min(rest_s, SETTLE_TICK_S) if is_settling else rest_s
                    rest_s -= wait_s
                    self.loop.wait(wait_s)
                    with anyio.move_on_after(wait_s):
                        await self._wake.wait()
            finally:
                await self._drain()

    def rest_between_writes(self, store: ObservedDatabase) -> None:
        """Check the gates only after writes while no run waits; no effect if other hubs may write."""
        if not store.is_shared:
            self._can_rest = True
            store.listen(self._written)

    def _written(self) -> None:
        self._has_written = True
        if self._is_resting:
            self._wake.set()

    def close_gates(self) -> None:
        """Stop starting runs because the hub is about to stop. Executing runs continue."""
        self._is_draining = True

    def hurry(self) -> None:
        """End a drain at once by pausing the executing runs."""
        self._grace.cancel()

    def recheck(self) -> None:
        """Wake the loop, because a gate may have opened."""
        self._is_asked = True
        self._wake.set()

    def device_ready(self, link: DeviceLink) -> None:
        """Note a device that may get runs. While others settle, it waits for their next tick."""
        if self._is_resting or not self.arrivals.settling:
            self._wake.set()
        self.arrivals.add(link)

    def device_lost(self, device_id: DeviceId, epoch: int) -> None:
        """Forget a connection that has ended."""
        self.arrivals.remove(device_id, epoch)

    async def open_gates(self) -> float:
        """Resume or end runs whose wait is over, and carry out cancellations requested at other nodes.

        Returns:
            the seconds until the gates must be checked again without a wake-up.
        """
        for interrupt in self._executing.values():
            interrupt.nudge()
        self._is_resting, has_written, self._has_written = False, self._has_written, False
        at = now_ms(self._clock)
        is_steady = self._clock_trust.is_steady()
        seen = await self._store.read(
            runs_waiting_runs.read_gates, boot_id=self._boot_id, at=at, paused_ms=PAUSED_MS
        )
        at = min(at, now_ms(self._clock))  # it was set back meanwhile: deadlines up to the old time are ahead
        if self._store.is_shared:
            await self._take_over(seen, at)
        if seen.is_any_drained and (self._store.is_shared or not self._has_resumed):
            await self._resume(PauseReason.DRAIN)
        self._has_resumed = True
        await self._take_back_strays(seen.executing, at)
        if back := seen.awaited & self.arrivals.online:
            await self._resume(PauseReason.DEVICE_OFFLINE, devices=back)
        recovery_at, rested = seen.recovery_at, seen.rested
        if recovery_at is not None and recovery_at <= at:
            recovered = await self._store.write(run_resumes.recover_agents, at, spread_ms=RESUME_SPREAD_MS)
            log.info("agents.recovered", agents=len(recovered))
            recovery_at = await self._store.read(agents_exhaustion.next_recovery)
            rested = rested.union(recovered)
        if rested:
            await self._resume(PauseReason.EXHAUSTED, agents=rested)
        if waiting := seen.awaiting_model:
            clouds = {allow_cloud: self._is_model_back(allow_cloud) for allow_cloud in {*waiting.values()}}
            if served := [agent_id for agent_id, allow_cloud in waiting.items() if clouds[allow_cloud]]:
                await self._resume(PauseReason.MODEL_AWAY, agents=served)
        for run_id, reason in seen.cancelled:
            self.interrupt(run_id, reason or "asked for at another node")
        is_behind = self.clock_watch is not None and seen.is_overdue and await self.clock_watch.is_behind()
        if is_steady and seen.is_overdue and not is_behind:
            await self._sweep(now_ms(self._clock))
        self._is_resting = self._can_rest and not (
            has_written or self._has_written or seen.executing or seen.awaiting_model or seen.is_any_queued
        )
        poll_s = REST_S if self._is_resting else POLL_S
        return poll_s if recovery_at is None else min(poll_s, max(0.0, (recovery_at - at) / 1000))

    async def _take_back_strays(self, executing: Set[RunId], at: int) -> None:
        """Take back runs that this boot owns but does not execute, if seen at two checks in a row.

        This happens if a claim was committed but its confirmation was lost. No other node would ever take
        over these runs.
        """
        strays = executing - self._executing.keys()
        lost, self._strays = strays & self._strays, strays
        if lost:
            log.error("runs.strayed", runs=len(lost))
            await self._store.write(run_moves.take_back, self._boot_id, lost, at)

    async def _sweep(self, at: int) -> None:
        swept = await self._store.write(runs_waiting_runs.sweep, at, paused_ms=PAUSED_MS)
        log.info(
            "runs.swept",
            not_started=len(swept.not_started),
            forgotten=len(swept.forgotten),
            stranded=len(swept.stranded),
        )
        for run_id in (*swept.not_started, *swept.forgotten, *swept.stranded):
            self._lifecycle.notify_watchers(run_id)
        self._metrics.runs.labels("cancelled").inc(len(swept.not_started) + len(swept.stranded))
        self._metrics.runs.labels(RunOutcome.ERROR).inc(len(swept.forgotten))

    async def _take_over(self, seen: GateSight, at: int) -> None:
        """Take over the runs of nodes whose lease has expired, and close the connections that they had."""
        now, answered_at = self._clock.monotonic(), self._answered_at
        self._answered_at = now
        if now - answered_at > OUTAGE_S:
            self._trusted_from = now + 2 * RENEW_EVERY_S
        if now < self._trusted_from:
            return
        while seen.is_any_dead and (
            closed := await self._store.write(
                sessions.close_left_sessions, at, boot_id=self._boot_id, is_alone=False
            )
        ):
            log.warning("devices.left", devices=closed)
        if not seen.is_any_left:
            return
        taken = await self._store.write(run_moves.recover, boot_id=self._boot_id, at=at, is_alone=False)
        if taken != run_moves.Recovered():
            log.warning(
                "runs.taken_over",
                requeued=len(taken.requeued),
                cancelled=len(taken.cancelled),
                failed=len(taken.failed),
            )

    async def _claim(self, executing: TaskGroup) -> None:
        if self._is_draining or self.why_stopped() is not None:
            return
        if len(self._executing) >= self.limits.runs:
            return
        at = now_ms(self._clock)
        if not await self._store.read(run_claims.is_any_waiting, boot_id=self._boot_id, at=at):
            return
        if self._broken and self._clock.monotonic() >= self._broken_since + BROKEN_S:
            self._broken.clear()  # they may have been corrected
        # Shielded: a claimed run that is not executed would look like a crash to the next boot.
        with anyio.CancelScope(shield=True):
            while await self._claim_some(executing):
                pass

    async def _claim_some(self, executing: TaskGroup) -> bool:
        """Claim runs once. Return False if none is left that could be claimed."""
        known_broken = len(self._broken)
        claimed = await self._store.write(
            run_claims.claim_runs,
            boot_id=self._boot_id,
            gates=self._gates(),
            lease_ms=LEASE_MS,
            at=now_ms(self._clock),
            broken=self._broken,
        )
        for run in claimed:
            before = self._executing.get(run.id)
            interrupt = self._executing[run.id] = Interrupt()
            executing.start_soon(self._execute, run, interrupt, before)
            self._lifecycle.notify_watchers(run.id)
        if newly_broken := len(self._broken) - known_broken:
            self._broken_since = self._clock.monotonic()
            log.error("runs.unreadable", runs=newly_broken)
        return bool(claimed or newly_broken)

    def _gates(self) -> Gates:
        return Gates(
            online=self.arrivals.online,
            settling=self.arrivals.settling,
            per_device=self.limits.runs_per_device,
            total=self.limits.runs,
            mailboxes=self.limits.connector_runs,
            is_held=now_ms(self._clock) < self.hold_until_ms,
            offered=self.offered,
            locks=locks.DEFAULT_LIMITS,
        )

    async def _execute(self, run: RunRow, interrupt: Interrupt, before: Interrupt | None) -> None:
        """Execute a claimed run.

        Args:
            before: an earlier execution of the run here that has not ended. It exists if this hub was
                suspended for so long that another hub took the run over and returned it.
        """
        began = self._clock.monotonic()
        try:
            # Shielded: a run is ended by its interrupt alone, so that it always ends in a state change.
            with anyio.CancelScope(shield=True):
                if before is not None:
                    before.stop(RunEvent.HUB_LOST, "handed out anew")
                    await before.over.wait()
                await self._run(run, interrupt)
        except Exception as exc:  # a failure of one run must not stop the others; its row is recovered
            log.error("run.broke", exc=exc, run_id=run.id)
        finally:
            interrupt.over.set()
            self._metrics.run_duration.observe(self._clock.monotonic() - began)
            if self._executing.get(run.id) is interrupt:  # the run may have been claimed again
                del self._executing[run.id]
            self._settled.set()
            self.recheck()

    async def _run(self, run: RunRow, interrupt: Interrupt) -> None:
        try:
            fences = await self._store.read(locks.run_fences, run.id) if run.locks else {}
            executed_ms = await self._store.read(run_moves.executed_ms, run.id) if run.fence > 1 else 0
            order = order_of(run, locks=fences, executed_ms=executed_ms)
        except ValueError as exc:  # a release with another format of run parameters
            reason = f"its settings cannot be read: {exc}"
            try:
                await self._lifecycle.move(
                    run.held, RunEvent.FAILED, reason=reason, outcome=RunOutcome.ERROR, agent_id=run.agent_id
                )
            except (StaleRun, StorageError) as error:
                log.error("run.not_ended", exc=error, run_id=run.id)
            return
        await self._runner.run(order, interrupt)

    async def _resume(
        self,
        paused: PauseReason,
        *,
        devices: Collection[DeviceId] | None = None,
        agents: Collection[AgentId] | None = None,
    ) -> None:
        """Queue runs again whose pause has ended."""
        resumed = await self._store.write(
            run_resumes.resume_runs,
            paused,
            devices=devices,
            agents=agents,
            at=now_ms(self._clock),
            spread_ms=0 if agents is None else RESUME_SPREAD_MS,
        )
        for run_id in resumed:
            self._lifecycle.notify_watchers(run_id)
        if resumed:
            log.info("runs.resumed", paused=paused, runs=len(resumed))

    async def _drain(self) -> None:
        """Wait for units in progress, then pause all executing runs. Return when none executes."""
        self._is_draining = True
        for interrupt in self._executing.values():
            interrupt.ask(RunEvent.DRAINED, "the hub stops")
        self._grace.deadline = anyio.current_time() + self.limits.drain_timeout_s
        with self._grace:
            while self._executing:
                self._settled = anyio.Event()
                await self._settled.wait()
        for interrupt in self._executing.values():
            interrupt.stop(RunEvent.DRAINED, "the hub stops")

    # --- requests of other services ---

    def agent_moved(self, move: AgentMoved) -> None:
        """Wake the loop after a change of an agent's status that may allow its runs to start."""
        if move.axis is not Axis.ACTIVITY:
            self.recheck()

    def interrupt(self, run_id: RunId, reason: str) -> bool:
        """Cancel a run that executes here. Return False if it does not execute here."""
        interrupt = self._executing.get(run_id)
        if interrupt is not None and interrupt.event is not RunEvent.CANCELLED:
            interrupt.stop(RunEvent.CANCELLED, reason, grace_s=CANCEL_GRACE_S)
        return interrupt is not None

    def ask_to_pause(self, run_id: RunId, reason: str) -> bool:
        """Pause a run here after its units in progress. Return False if it does not execute here."""
        interrupt = self._executing.get(run_id)
        if interrupt is not None:
            interrupt.ask(RunEvent.USER_PAUSED, reason)
        return interrupt is not None

    def supersede(self, run_id: RunId) -> None:
        """Stop a run that a newer run supersedes; its row already says so."""
        self.interrupt(run_id, "superseded")

    async def answer_held(self, link: DeviceLink, held: Collection[RunAtDevice]) -> None:
        """Answer a device's list of its runs: cancel runs that have ended or have a newer fence."""
        for at_device in held:
            row = await self._store.read(runs.find_run, RunId(at_device.run_id))
            if row is not None and row.fence == at_device.fence and row.state in EXECUTING_RUN_STATES:
                continue
            reason = "unknown" if row is None else row.reason or str(row.state).lower()
            frame = AgentCancel(run_id=at_device.run_id, fence=at_device.fence, reason=reason)
            try:
                await link.send(frame)
            except DeliveryError as exc:
                log.info("run.cancel_unsent", run_id=at_device.run_id, code=exc.code)


JUMP_S: Final = 2.0  # seconds of drift from the monotonic clock between two checks
STEADY_S: Final = 600.0  # seconds without a jump, initially counted from the start


class ClockTrust:
    """Compares the wall clock with the monotonic clock at each check."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_s = self._now_apart_s()
        self._steady_at = clock.monotonic() + STEADY_S

    def is_steady(self) -> bool:
        """Return True if the wall clock has not jumped for the last ten minutes."""
        apart_s = self._now_apart_s()
        if abs(apart_s - self._apart_s) > JUMP_S:
            self._steady_at = self._clock.monotonic() + STEADY_S
        self._apart_s = apart_s
        return self._clock.monotonic() >= self._steady_at

    def _now_apart_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
