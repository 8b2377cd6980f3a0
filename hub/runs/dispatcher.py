"""Which queued run may start now, and the task group that all of them live in.

A run is a durable row before it is anything else. What happens to devices and
quotas only opens gates: the row waits, and one claim under a new fence starts it.
"""

from collections.abc import Callable, Collection

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.clock import Clock, IdFactory, epoch_ms
from hub.extraction.extractor import Extractor
from hub.log import Channel
from hub.metrics import Metrics
from hub.runs.interrupt import Interrupt
from hub.runs.lifecycle import Lifecycle
from hub.runs.order import order_of, parameters_of
from hub.runs.runner import Runner
from protocol.ids import BootId, DeviceId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RESUMED_BY, PauseReason, RunEvent, RunOutcome
from storage.store import AgentRow, RunRow, StaleRun, StorageError, Store, runs

log = Channel(__name__)

POLL_S = 2.0  # a lost wake-up and a wait that ends cost at most this
LEASE_MS = 30_000  # scheduling 3.10; on one node only another boot's lease is ever dead


class Dispatcher:
    """Claims queued runs and executes them."""

    def __init__(
        self,
        *,
        store: Store,
        lifecycle: Lifecycle,
        runner: Runner,
        extractor: Extractor,
        online: Callable[[], Collection[DeviceId]],
        clock: Clock,
        metrics: Metrics,
        ids: IdFactory,
        boot_id: BootId,
        per_device: int = 1,
        total: int = 32,
        drain_s: float = 20.0,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._runner = runner
        self._extractor = extractor
        self._online = online
        self._clock = clock
        self._metrics = metrics
        self._ids = ids
        self._boot_id = boot_id
        self._per_device = per_device
        self._total = total
        self._drain_s = drain_s
        self._executing: dict[RunId, Interrupt] = {}
        metrics.runs_in_progress.set_function(lambda: len(self._executing))
        self._wake = anyio.Event()
        self._settled = anyio.Event()
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is started, because the hub stops."""
        return self._is_draining

    @property
    def executing(self) -> int:
        """How many runs execute now."""
        return len(self._executing)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start what may start, until cancelled. No run outlives this call."""
        await self._resume(PauseReason.DRAIN)
        async with anyio.create_task_group() as executing:
            try:
                task_status.started()
                while True:
                    self._wake = anyio.Event()
                    try:
                        await self.open_gates()
                        # Shielded: a claim that nobody executes would look like a crash to the next boot.
                        with anyio.CancelScope(shield=True):
                            while (run := await self._claim()) is not None:
                                interrupt = self._executing[run.id] = Interrupt()
                                executing.start_soon(self._execute, run, interrupt)
                    except StorageError as exc:
                        log.error("dispatcher.database", exc=exc)  # asked again in POLL_S
                    with anyio.move_on_after(POLL_S):
                        await self._wake.wait()
            finally:
                await self._drain()

    async def submit(self, agent: AgentRow, *, fire_key: str | None = None) -> RunRow:
        """Queue a run of *agent*, as its settings are now.

        Args:
            fire_key: what makes it this run and no second one; the run that has it is
                answered when there is one already.
        """
        run_id = RunId(self._ids.fresh())
        parameters = parameters_of(agent, self._extractor)
        row = await self._store.write(
            runs.create_run,
            id=run_id,
            agent=agent,
            fire_key=f"m:{fire_key or run_id}",
            at=epoch_ms(self._clock.now()),
            config_fingerprint=parameters.config_fingerprint,
            parameters=msgspec.to_builtins(parameters),
        )
        log.info("run.queued", run_id=row.id, agent_id=agent.id)
        self.look_again()
        return row

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> RunRow:
        """Cancel a run: at once where it waits, as soon as its device let go where it executes.

        What was inserted stays. A run that ended already is answered as it is.
        """
        row = await self._store.write(
            runs.request_cancel, run_id, reason=reason, at=epoch_ms(self._clock.now())
        )
        self._lifecycle.tell_watchers(run_id)
        if (interrupt := self._executing.get(run_id)) is not None:
            interrupt.stop(RunEvent.CANCELLED, reason)
        elif row.state not in FINAL_RUN_STATES:
            await self._lifecycle.move(row.held, RunEvent.CANCELLED, actor=actor, reason=reason)
        return await self._store.read(runs.get_run, run_id)

    def look_again(self) -> None:
        """A gate may have opened."""
        self._wake.set()

    async def open_gates(self) -> None:
        """Queue again every run whose pause has ended: its device is there, its quota is back."""
        await self._resume(PauseReason.EXHAUSTED)
        awaited = await self._store.read(runs.awaited_devices)
        for device_id in awaited.intersection(self._online()):
            await self._resume(PauseReason.DEVICE_OFFLINE, device_id)

    async def _drain(self) -> None:
        """Let units in hand end, then pause what executes. Returns when nothing does."""
        self._is_draining = True
        for interrupt in self._executing.values():
            interrupt.ask(RunEvent.DRAINED, "the hub stops")
        with anyio.move_on_after(self._drain_s, shield=True):
            await self._none_executing()
        for interrupt in self._executing.values():
            interrupt.stop(RunEvent.DRAINED, "the hub stops")

    async def _none_executing(self) -> None:
        while self._executing:
            self._settled = anyio.Event()
            await self._settled.wait()

    async def _claim(self) -> RunRow | None:
        at = epoch_ms(self._clock.now())
        return await self._store.write(
            runs.claim_run,
            boot_id=self._boot_id,
            online=list(self._online()),
            per_device=self._per_device,
            total=self._total,
            lease_until=at + LEASE_MS,
            at=at,
        )

    async def _execute(self, run: RunRow, interrupt: Interrupt) -> None:
        began = self._clock.monotonic()
        try:
            # Shielded: a run is ended by its interrupt alone, so that it always ends in a move.
            with anyio.CancelScope(shield=True):
                await self._run(run, interrupt)
        finally:
            self._metrics.run_duration.observe(self._clock.monotonic() - began)
            self._executing.pop(run.id, None)
            self._settled.set()
            self._wake.set()

    async def _run(self, run: RunRow, interrupt: Interrupt) -> None:
        try:
            order = order_of(run)
        except ValueError as exc:  # a release that wrote its runs otherwise
            await self._give_up(run, f"its settings cannot be read: {exc}")
            return
        await self._runner.run(order, interrupt)

    async def _give_up(self, run: RunRow, reason: str) -> None:
        try:
            await self._lifecycle.move(
                run.held, RunEvent.FAILED, reason=reason, outcome=RunOutcome.ERROR, agent_id=run.agent_id
            )
        except (StaleRun, StorageError) as exc:
            log.error("run.not_ended", exc=exc, run_id=run.id)

    async def _resume(self, paused: PauseReason, device_id: DeviceId | None = None) -> None:
        """Queue runs again whose pause has ended."""
        at = epoch_ms(self._clock.now())
        for held in await self._store.read(runs.paused_for, paused, device_id=device_id, due_at=at):
            try:
                await self._lifecycle.move(held, RESUMED_BY[paused])
            except StaleRun:
                log.info("run.resumed_elsewhere", run_id=held.id)
