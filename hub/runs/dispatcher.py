"""The dispatcher claims queued runs that may start, and executes them in one task group.

A run is a durable row first. Events of devices and quotas only open gates: the row waits until a claim under
a new fence starts it.

A device that keeps reconnecting would start and drop a run each time. A thousand devices that connect at once
would all start in the same moment. So each device has a settling time of a few seconds. It is longer after
several connections in a row, and has a random part if many devices connect together.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Chance, Clock, now_ms
from hub.links.link import DeviceLink
from hub.log import Channel
from hub.metrics import Metrics
from hub.runs.leases import LEASE_MS
from hub.runs.lifecycle import Interrupt, Lifecycle
from hub.runs.run_order import order_of
from hub.runs.runner import Runner
from hub.settings.limit_settings import Limits
from hub.turns import Turns
from protocol.agent_status import AgentMoved, Axis
from protocol.errors import DeliveryError
from protocol.handshake import HeldRun as RunAtDevice
from protocol.ids import AgentId, BootId, DeviceId, RunId
from protocol.lifecycles import EXECUTING_RUN_STATES, PauseReason, RunEvent, RunOutcome
from protocol.work import AgentCancel
from storage.agents import agent_states, lock_turns
from storage.kernel.database import StorageError
from storage.runs import run_claims, run_moves, run_pauses, runs
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow, StaleRun
from storage.store import Store

# connections within a window after which a device settles for longer
FLAPS, FLAP_WINDOW_S, FLAP_SETTLE_S = 3, 120.0, 60.0
CROWD_WINDOW_S: Final = 10.0
# random settling time per device that connected in the same window, and its upper limit
SPREAD_EACH_S, SPREAD_CAP_S = 0.5, 60.0
REMEMBERED: Final = 100_000  # devices whose recent connections are kept; the oldest entries are dropped first


class Connected(Protocol):
    """Attributes of a device link that this module needs."""

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def epoch(self) -> int: ...


@dataclass(slots=True)
class _Arrival:
    epoch: int
    since: datetime
    settles_at: float  # monotonic, in seconds


class Arrivals:
    """Connected devices with their settling times, updated from snapshots of the device links."""

    def __init__(self, *, clock: Clock, chance: Chance, settle_s: float) -> None:
        self._clock = clock
        self._chance = chance
        self.settle_s = settle_s
        self._connected: dict[DeviceId, _Arrival] = {}
        self._visits: OrderedDict[DeviceId, deque[float]] = OrderedDict()
        # monotonic time of an update, and number of new connections in it
        self._crowd: deque[tuple[float, int]] = deque()

    def update(self, links: Iterable[Connected]) -> None:
        """Update the connected devices from a snapshot of *links*. A new epoch is a new connection."""
        now = self._clock.monotonic()
        current = {link.device_id: link for link in links}
        for lost in self._connected.keys() - current.keys():
            del self._connected[lost]
        arrived = [
            link
            for device_id, link in current.items()
            if (known := self._connected.get(device_id)) is None or known.epoch != link.epoch
        ]
        if not arrived:
            return
        self._crowd.append((now, len(arrived)))
        while self._crowd[0][0] < now - CROWD_WINDOW_S:
            self._crowd.popleft()
        crowd = sum(count for _, count in self._crowd)
        spread_s = min(SPREAD_CAP_S, SPREAD_EACH_S * (crowd - 1))
        for link in arrived:
            settle_s = self.settle_s + self._chance.uniform(0.0, spread_s)
            if self._flaps(link.device_id, now):
                settle_s = max(settle_s, FLAP_SETTLE_S)
            self._connected[link.device_id] = _Arrival(link.epoch, self._clock.now(), now + settle_s)

    @property
    def online(self) -> frozenset[DeviceId]:
        """Ids of the devices that were connected at the last update."""
        return frozenset(self._connected)

    def settled(self) -> frozenset[DeviceId]:
        """Return the connected devices whose settling time is over."""
        now = self._clock.monotonic()
        return frozenset(device for device, arrival in self._connected.items() if arrival.settles_at <= now)

    def settles_in_s(self) -> float | None:
        """Return the seconds until the next device has settled, or None if no device is settling."""
        now = self._clock.monotonic()
        waits = [arrival.settles_at - now for arrival in self._connected.values() if arrival.settles_at > now]
        return min(waits, default=None)

    def since(self, device_id: DeviceId) -> datetime | None:
        """Return when the device's current connection was first seen, or None if it is not connected."""
        arrival = self._connected.get(device_id)
        return None if arrival is None else arrival.since

    def settles_at(self, device_id: DeviceId) -> datetime | None:
        """Return when the device will have settled; None if it has, or is not connected."""
        arrival = self._connected.get(device_id)
        rest_s = 0.0 if arrival is None else arrival.settles_at - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=rest_s) if rest_s > 0 else None

    def _flaps(self, device_id: DeviceId, now: float) -> bool:
        """Record a connection. Return True if the device has connected too often within the window."""
        visits = self._visits.pop(device_id, None) or deque(maxlen=FLAPS)
        self._visits[device_id] = visits  # reinserted at the end, so the first entry is the oldest
        if len(self._visits) > REMEMBERED:
            self._visits.popitem(last=False)
        is_full = len(visits) == FLAPS and visits[0] > now - FLAP_WINDOW_S
        visits.append(now)
        return is_full


log = Channel(__name__)

POLL_S = 2.0  # upper bound of the delay after a lost wake-up, or after the end of a wait
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
        lifecycle: Lifecycle,
        runner: Runner,
        links: Callable[[], Collection[DeviceLink]],
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        boot_id: BootId,
        limits: Limits,
        hold_until_ms: int = 0,
        is_disk_full: Callable[[], bool] = lambda: False,
        is_model_back: Callable[[bool], bool] = lambda _allow_cloud: True,
    ) -> None:
        """Set up the dispatcher.

        Args:
            is_model_back: returns True if runs that wait for their model may resume; see
                ``ModelGates.let_through``.
            hold_until_ms: after repeated crashes, no run that may have caused them starts before this time.
        """
        self.turns = Turns(clock)
        self.limits = limits
        self._store = store
        self._lifecycle = lifecycle
        self._runner = runner
        self._links = links
        self._clock = clock
        self._metrics = metrics
        self._boot_id = boot_id
        self._is_disk_full = is_disk_full
        self._is_model_back = is_model_back
        self.hold_until_ms = hold_until_ms
        self.arrivals = Arrivals(clock=clock, chance=chance, settle_s=limits.connected_s)
        self._executing: dict[RunId, Interrupt] = {}
        metrics.runs_in_progress.set_function(lambda: len(self._executing))
        self._wake = anyio.Event()
        self._settled = anyio.Event()
        self._is_draining = False
        self._grace = anyio.CancelScope(shield=True)  # limits the time that a drain gives executing runs
        self._has_resumed = False  # the runs that this node paused when it stopped
        self._strays: set[RunId] = set()
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
    def is_disk_full(self) -> bool:
        """True if no run is started because the disk is nearly full."""
        return self._is_disk_full()

    @property
    def offered(self) -> dict[DeviceId, Mapping[str, str]]:
        """Versions by capability of each device that is connected to this hub."""
        return {link.device_id: link.offers for link in self._links()}

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
                while True:
                    self._wake = anyio.Event()
                    wait_s = POLL_S
                    self.turns.work()
                    try:
                        await self.open_gates()
                        await self._claim(executing)
                        wait_s = await self._next_poll_s()
                    except StorageError as exc:
                        log.error("dispatcher.database", exc=exc)  # retried after POLL_S
                    except Exception as exc:  # the loop must survive any error
                        log.error("dispatcher.broke", exc=exc)
                    self.turns.wait(wait_s)
                    with anyio.move_on_after(wait_s):
                        await self._wake.wait()
            finally:
                await self._drain()

    def close_gates(self) -> None:
        """Stop starting runs because the hub is about to stop. Executing runs continue."""
        self._is_draining = True

    def hurry(self) -> None:
        """End a drain at once by pausing the executing runs."""
        self._grace.cancel()

    def recheck(self) -> None:
        """Wake the loop, because a gate may have opened."""
        self._wake.set()

    async def open_gates(self) -> None:
        """Resume or end runs whose wait is over, and carry out cancellations requested at other nodes."""
        self.arrivals.update(self._links())
        for interrupt in self._executing.values():
            interrupt.nudge()
        at = now_ms(self._clock)
        await self._take_back_strays(at)
        if self._store.is_shared:
            await self._take_over(at)
        if self._store.is_shared or not self._has_resumed:
            await self._resume(PauseReason.DRAIN)
            self._has_resumed = True
        awaited = await self._store.read(run_pauses.awaited_devices)
        if back := awaited & self.arrivals.online:
            await self._resume(PauseReason.DEVICE_OFFLINE, devices=back)
        recovery_at = await self._store.read(agent_states.next_recovery)
        if recovery_at is not None and recovery_at <= at:
            recovered = await self._store.write(run_pauses.recover_agents, at, spread_ms=RESUME_SPREAD_MS)
            log.info("agents.recovered", agents=len(recovered))
        if rested := await self._store.read(run_pauses.rested_agents):
            await self._resume(PauseReason.EXHAUSTED, agents=rested)
        if waiting := await self._store.read(run_pauses.awaiting_model):
            clouds = {allow_cloud: self._is_model_back(allow_cloud) for allow_cloud in {*waiting.values()}}
            if served := [agent_id for agent_id, allow_cloud in waiting.items() if clouds[allow_cloud]]:
                await self._resume(PauseReason.MODEL_AWAY, agents=served)
        for run_id, reason in await self._store.read(run_pauses.runs_to_cancel, self._boot_id):
            self.interrupt(run_id, reason or "asked for at another node")
        if self._clock_trust.is_steady() and await self._store.read(
            run_pauses.overdue, at, paused_ms=PAUSED_MS
        ):
            await self._sweep(at)

    async def _take_back_strays(self, at: int) -> None:
        """Take back runs that this boot owns but does not execute, if seen at two checks in a row.

        This happens if a claim was committed but its confirmation was lost. No other node would ever take
        over these runs.
        """
        strays = await self._store.read(run_moves.executing_of, self._boot_id) - self._executing.keys()
        lost, self._strays = strays & self._strays, strays
        if lost:
            log.error("runs.strayed", runs=len(lost))
            await self._store.write(run_moves.take_back, self._boot_id, lost, at)

    async def _sweep(self, at: int) -> None:
        swept = await self._store.write(run_pauses.sweep, at, paused_ms=PAUSED_MS)
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

    async def _take_over(self, at: int) -> None:
        """Take over the runs of nodes whose lease has expired, on a shared database."""
        taken = await self._store.write(run_moves.recover, boot_id=self._boot_id, at=at, is_alone=False)
        if taken != run_moves.Recovered():
            log.warning(
                "runs.taken_over",
                requeued=len(taken.requeued),
                cancelled=len(taken.cancelled),
                failed=len(taken.failed),
            )

    async def _next_poll_s(self) -> float:
        """Return the seconds until the next event that arrives without a wake-up."""
        settles_in_s = self.arrivals.settles_in_s()
        recovery_at = await self._store.read(agent_states.next_recovery)
        waits = [POLL_S]
        if settles_in_s is not None:
            waits.append(settles_in_s)
        if recovery_at is not None:
            waits.append(max(0.0, (recovery_at - now_ms(self._clock)) / 1000))
        return min(waits)

    async def _claim(self, executing: TaskGroup) -> None:
        if self._is_disk_full() or self._is_draining:
            return
        # Shielded: a claimed run that is not executed would look like a crash to the next boot.
        with anyio.CancelScope(shield=True):
            while claimed := await self._store.write(
                run_claims.claim_runs,
                boot_id=self._boot_id,
                gates=self._gates(),
                lease_ms=LEASE_MS,
                at=now_ms(self._clock),
            ):
                for run in claimed:
                    before = self._executing.get(run.id)
                    interrupt = self._executing[run.id] = Interrupt()
                    executing.start_soon(self._execute, run, interrupt, before)
                    self._lifecycle.notify_watchers(run.id)

    def _gates(self) -> Gates:
        self.arrivals.update(self._links())  # several database calls have passed since the last update
        return Gates(
            online=self.arrivals.online,
            settled=self.arrivals.settled(),
            per_device=self.limits.runs_per_device,
            total=self.limits.runs,
            mailboxes=self.limits.connector_runs,
            is_held=now_ms(self._clock) < self.hold_until_ms,
            offered=self.offered,
            locks=lock_turns.DEFAULT_LIMITS,
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
            self._wake.set()

    async def _run(self, run: RunRow, interrupt: Interrupt) -> None:
        try:
            fences = await self._store.read(lock_turns.run_fences, run.id) if run.locks else {}
            order = order_of(run, locks=fences)
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
            run_pauses.resume_runs,
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
