"""Hub of the simulation: the real components from the store to the links, without sockets.

It repeats the composition root in a smaller form, and must start the same components in the same order;
otherwise the simulation tests a different program.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.agents.heartbeats import Heartbeats
from hub.agents.reconciliation import reconcile
from hub.api.device import Requests
from hub.api.resource import ResourceRegistry
from hub.api.resources.items import ItemsResource
from hub.app.node_bus import NodeHints, follow_hint
from hub.app.router import Router
from hub.base.clock import IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.base.supervisor import Supervisor
from hub.base.toml.limits import Limits
from hub.cluster.bus import Bus, Member
from hub.cluster.messages import BusRequest, Hint, NodeUnreachable
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.links.auth import Admission, Authenticator, Knock
from hub.links.connection import DeviceConnection, OpenLink
from hub.links.deadline_wheel import DeadlineWheel, Slot, Timed
from hub.links.device_link import DeviceLink
from hub.links.link_limits import LinkLimits
from hub.links.listener import CUT_OFF
from hub.links.refusals import HelloRefusal
from hub.links.revocation_watch import RevocationWatch
from hub.links.roster import DeviceLost, DeviceReady, LinkEvent, RequestReceived, Roster
from hub.runs.agreement import Agreements
from hub.runs.asking import Asking
from hub.runs.budget import Budgets
from hub.runs.clock_watch import ClockWatch
from hub.runs.control import RunControl
from hub.runs.delivery import ItemDelivery
from hub.runs.dispatcher import Dispatcher
from hub.runs.file_watch import FileWatch
from hub.runs.housekeeping import Housekeeping
from hub.runs.leases import CHECK_S, LEASE_MS, RENEW_EVERY_S, NodeLease
from hub.runs.lifecycle import RunTransitions, RunWatch
from hub.runs.news_runs import NewsRuns
from hub.runs.rows_read_back import OwnRows
from hub.runs.runner import Runner
from hub.runs.scheduler import Scheduler
from hub.runs.sources import DeviceSource
from hub.runs.verdict_delivery import VerdictDelivery
from hub.runs.wake_delivery import WakeDelivery
from hub.text.rows.own_rows import without_own_rows
from protocol.errors import CloseCode, HubError
from protocol.handshake import SPOKEN, Capability, Challenge, DeviceHello, Goodbye, GrantOfOwner, Welcome
from protocol.ids import BootId, ConnectionId, DeviceId, NodeId, UserId
from protocol.work import RunLimits
from storage import leases
from storage.devices import nodes
from storage.effects import sessions
from storage.kernel.database import StorageError
from storage.runs import run_moves
from storage.store import Store
from tests.simulation.clock import SimClock, SimHubClock, WorldTime
from tests.simulation.device import SimDevice
from tests.simulation.dice import Dice
from tests.simulation.loop import Process
from tests.simulation.model import SimModel
from tests.simulation.nats import SimClient, SimNats
from tests.simulation.scene import Settings
from tests.simulation.store import Weather
from tests.simulation.wire import Traffic, Wire
from tests.support.excerpts import excerpt_seals

RESTARTS, HOLD_MS = 3, 600_000  # defaults of the daemon's settings
JUDGE_S = 10.0
RELEASE_S = 2.0
TICK_S = 0.25
STOPPING = Goodbye(reason="stopping")
NO_CHALLENGE = Challenge(nonce="", hub_id="sim", protocol=SPOKEN, ts_ms=0)  # its devices show tokens
METRICS = Metrics()  # one for the process: creating them costs more than a boot


class Machine:
    """Machine of a hub; its clock continues while the hub is down."""

    def __init__(self, name: str, time: WorldTime) -> None:
        self.name = name
        self.time = time
        self.source = SimClock(time)
        self.clock = SimHubClock(self.source)  # of the hub that runs, or did last
        self.server: SimClock | None = None  # clock of the database's server, if there is one
        self.starts = 0  # of the machine itself
        self.boots = 0
        self.down_s = 1.0  # for how long, when its hub has ended
        self.is_islanded = False  # no device reaches it
        self.hub: SimHub | None = None  # the one that runs now
        self.on_step: Callable[[], None] = lambda: None

    @property
    def is_away(self) -> bool:
        """Return True if its hub is halted, or cut off from the database or from the devices."""
        return self.is_islanded or (self.live is not None and not self.live.is_able)

    @property
    def live(self) -> "SimHub | None":
        """Return the hub if it serves, or None."""
        return self.hub if self.hub is not None and self.hub.is_serving else None


class SimHub:
    """Boot of a hub.

    Args:
        store: its door to the disk.
        traffic: behaviour of its connections.
        nats: server of the bus between the hubs; it has a part in it only on a shared database.
    """

    def __init__(
        self,
        machine: Machine,
        process: Process,
        settings: Settings,
        store: Store,
        weather: Weather,
        model: SimModel,
        dice: Dice,
        traffic: Traffic,
        nats: SimNats,
        link: type[OpenLink] = OpenLink,
        agreements: type[Agreements] = Agreements,
    ) -> None:
        self.machine = machine
        self.process = process
        self.keeper = Process(f"{process.name} keeper", process)
        self.settings = settings
        self.weather = weather
        self.is_serving = self.was_serving = False
        self.scope = anyio.CancelScope()
        self._context: contextvars.Context | None = None
        self.store = store
        self._chance = dice
        self._traffic = traffic
        self._nats = nats
        self.bus: Bus | None = None
        self.link = link
        self._agreements = agreements
        self._model = model
        self.clock = machine.clock = SimHubClock(machine.source, machine.on_step)
        self.time = machine.time
        self.ids = IdFactory(self.clock, dice)
        self.boot_id = BootId(self.ids.fresh())
        started = f"{machine.name} {machine.starts}"
        self.watch = ClockWatch(store, self.clock, ids=self.ids, metrics=METRICS, machine=started)
        self.watch.reference = self._wall_time
        self.watch.on_step = self._clock_stepped
        self.lease = NodeLease(
            machine.source,
            on_renewed=lambda steady_s: self.hints.lease_renewed(steady_s, devices=len(self.roster)),
            on_given_up=self._send_away,
        )
        self.node_id = NodeId(machine.name)
        self.user_id = UserId("")
        self.listener: SimListener | None = None  # once it is built
        self.visits: dict[str, list[float]] = {}  # device: when it came, in awake seconds
        self.agreed_at: dict[str, float] = {}  # device: when it might get runs, in awake seconds
        self.left_at: dict[str, float] = {}  # device that is not there: when it left

    async def serve(self, user_id: UserId) -> None:
        """Recover, then run all services until cancelled."""
        self.process.enter()
        self._context = contextvars.copy_context()
        self.user_id = user_id
        with self.scope:
            await self._recover()
            self._build()
            await self._supervisor.serve(task_status=_Started(self._started))
        await self._end_boot()

    async def _wall_time(self) -> float:
        """Return the time of the machine, or of the database's server."""
        return (self.machine.server or self.machine.source).now().timestamp()

    def _clock_stepped(self, by_ms: int) -> None:
        if self.is_serving:
            self.dispatcher.hold_until_ms += by_ms
            self.recheck()

    def tell_to_stop(self) -> None:
        """Request a stop, as a signal does; a halted hub stops when it is resumed."""
        assert self._context is not None
        asyncio.get_running_loop().call_soon(self.scope.cancel, context=self._context)

    def _started(self) -> None:
        self.is_serving = self.was_serving = True

    @property
    def is_quiet(self) -> bool:
        """Return True if the hub serves, all its devices are reconciled, and no frame is in flight."""
        if not self.is_serving or self.listener is None:
            return False
        return self.listener.is_quiet and all(map(self.agreements.agrees, self.roster.connected()))

    def knock(self, device: SimDevice) -> Wire | None:
        """Connect a device, or return None if the hub accepts no connections."""
        return None if self.listener is None else self.listener.knock(device)

    def drop_all(self, dice: Dice) -> None:
        """Cut all connections, because the process has ended."""
        if self.listener is not None:
            self.listener.drop_all(dice)

    @property
    def wires(self) -> list[Wire]:
        """Return the connections that the process has open."""
        return [] if self.listener is None else [*self.listener.wires]

    @property
    def is_able(self) -> bool:
        """Return True if the hub serves, is not halted, and reaches the database."""
        return self.is_serving and not self.process.is_halted and not self.weather.is_cut_off

    def recheck(self) -> None:
        """Wake the services after the world has slept."""
        self.scheduler.recheck()
        self.dispatcher.recheck()
        self.wakes.recheck()
        self.verdicts.recheck()

    async def reload(self, settings: Settings) -> None:
        """Apply changed settings."""
        self.settings = settings
        await self._reconcile()
        self.scheduler.recheck()
        self.dispatcher.recheck()

    async def _reconcile(self) -> None:
        agents = list(self.settings.agents)
        await reconcile(self.store, agents, user_id=self.user_id, clock=self.clock, ids=self.ids)

    async def _recover(self) -> None:
        await self.watch.begin()
        store, at, is_alone = self.store, epoch_ms(self.clock.now()), not self.store.is_shared
        boot = await store.write(nodes.begin_boot, self.node_id, self.boot_id, at, window_ms=HOLD_MS)
        self.hold_until_ms = at + HOLD_MS if boot.boots_10min >= RESTARTS else 0
        dead = [] if boot.earlier is None else [boot.earlier]
        ttl_ms = leases.ALONE_MS if is_alone else LEASE_MS
        await store.write(leases.beat, self.node_id, self.boot_id, ttl_ms=ttl_ms)
        await store.write(run_moves.recover, boot_id=self.boot_id, at=at, is_alone=is_alone, dead=dead)
        await store.write(sessions.close_left_sessions, at, boot_id=self.boot_id, is_alone=is_alone)
        await self._reconcile()

    async def _end_boot(self) -> None:
        at = epoch_ms(self.clock.now())
        await self.store.write(nodes.end_boot, self.node_id, self.boot_id, at)

    def _build(self) -> None:
        store, clock, chance = self.store, self.clock, self._chance
        limits = Limits(runs_per_device=self.settings.per_device, runs=self.settings.total)
        if store.is_shared and self._nats.is_there:
            self.bus = self._make_bus()
        self.hints = hints = NodeHints(self.bus, self.boot_id)
        self.run_watch = watch = RunWatch(on_moved=hints.run_changed)
        models = Models(self._model, self._model)
        extractor = Extractor(models, secret=bytes(32))
        self.roster = Roster(
            self.tell_router,
            metrics=METRICS,
            may_send=(lambda: self.lease.is_valid) if store.is_shared else None,
        )
        lifecycle = RunTransitions(store, clock=clock, ids=self.ids, metrics=METRICS, watch=watch)
        budgets = Budgets(store, boot_id=self.boot_id, clock=clock, metrics=METRICS)
        asking = Asking(
            store,
            models=models,
            budgets=budgets,
            clock=clock,
            ids=self.ids,
            metrics=METRICS,
            on_back=lambda: self.dispatcher.recheck(),
        )
        self.agreements = self._agreements(
            store,
            clock=clock,
            ids=self.ids,
            on_agreed=self._agreed,
            on_lost=lambda device_id, epoch: self.dispatcher.device_lost(device_id, epoch),
        )
        seals = excerpt_seals()
        runner = Runner(
            store=store,
            lifecycle=lifecycle,
            source=DeviceSource(
                limits=RunLimits(files=self.settings.total), credit=2, metrics=METRICS, clock=clock
            ),
            extractor=extractor,
            asking=asking,
            delivery=ItemDelivery(store, clock=clock, metrics=METRICS, limits=limits, seals=seals),
            device_grace_s=limits.device_grace_s,
            find_link=self._agreeing,
            watch=watch,
            own_rows=OwnRows(store, clock, without_own_rows),
            clock=clock,
            chance=chance,
            ids=self.ids,
            metrics=METRICS,
        )
        self.dispatcher = Dispatcher(
            store=store,
            lifecycle=lifecycle,
            runner=runner,
            clock=clock,
            chance=chance,
            metrics=METRICS,
            boot_id=self.boot_id,
            limits=limits,
            hold_until_ms=self.hold_until_ms,
            is_model_back=asking.gates.let_through,
            clock_watch=self.watch,
        )
        self.control = RunControl(
            store=store,
            lifecycle=lifecycle,
            dispatcher=self.dispatcher,
            extractor=extractor,
            clock=clock,
            ids=self.ids,
            boot_id=self.boot_id,
            metrics=METRICS,
            run_timeout_s=limits.run_wall_s,
            wake_others=hints.runs_waiting,
        )
        self.wakes = WakeDelivery(
            store=store, find_link=self.roster.find, clock=clock, ids=self.ids, metrics=METRICS
        )
        self.verdicts = VerdictDelivery(store, find_link=self._agreeing, clock=clock, seals=excerpt_seals())
        self.scheduler = Scheduler(
            store=store,
            extractor=extractor,
            clock=clock,
            ids=self.ids,
            metrics=METRICS,
            boot_id=self.boot_id,
            on_queued=self._queued,
            on_cancel=self.dispatcher.supersede,
            on_wakes=self.wakes.recheck,
            clock_watch=self.watch,
        )
        news = NewsRuns(store, extractor, clock=clock, ids=self.ids, on_queued=self._queued)
        self.files = FileWatch(store, extractor, news, clock=clock)
        resources = ResourceRegistry(store, self.clock)
        self.items = ItemsResource(
            store,
            roster=self.roster,
            clock=clock,
            ids=self.ids,
            metrics=METRICS,
            seals=seals,
            reporting=self.agreements.reporting,
            on_given=self.verdicts.recheck,
        )
        resources.add(self.items)
        requests = Requests(resources, store, clock=clock, metrics=METRICS)
        heartbeats = Heartbeats(store, clock=clock, metrics=METRICS)
        self._router = Router(
            dispatcher=self.dispatcher, requests=requests, heartbeats=heartbeats, clock=clock
        )
        self.listener = SimListener(self, store, self._traffic, chance)
        self._supervisor = Supervisor(clock=clock, chance=chance)
        self._supervisor.add("clock", self.watch)
        self._supervisor.add("router", self._router)
        self._supervisor.add("requests", requests)
        self._supervisor.add("heartbeats", heartbeats)
        self._supervisor.add("devices", self.listener)
        self._supervisor.add("agreements", self.agreements)
        self._supervisor.add("dispatcher", self.dispatcher)
        self._supervisor.add("model gates", asking.gates)
        if store.is_shared:
            self._supervisor.add("leases", SimLeaseKeeper(self, store))
            ends = RevocationWatch(store, roster=self.roster, boot_id=self.boot_id, clock=clock)
            self._supervisor.add("ends elsewhere", ends)
            if self.bus is not None:
                self._supervisor.add("bus", self.bus)
        self._supervisor.add("wakes", self.wakes)
        self._supervisor.add("verdicts", self.verdicts)
        self._supervisor.add("changed files", self.files)
        self._supervisor.add("scheduler", self.scheduler)
        self._supervisor.add("housekeeping", Housekeeping(store, clock=clock, boot_id=self.boot_id))

    def _make_bus(self) -> Bus:
        client = cast(Any, partial(SimClient, self._nats, self.machine.name))
        member = Member("hub", self.boot_id, bytes(32))
        return Bus(
            "",
            member,
            clock=self.clock,
            chance=self._chance.fork("bus"),
            client=client,
            on_hint=self._follow_hint,
            on_request=partial(self._nats.answer, self.boot_id),
        )

    def _follow_hint(self, hint: Hint) -> None:
        recheck = self.dispatcher.recheck
        follow_hint(hint, watch=self.run_watch, recheck=recheck, roster=self.roster, lease=self.lease)

    def _send_away(self, nodes: list[tuple[int, str]]) -> None:
        assert self.listener is not None
        self.listener.send_away(nodes)

    async def ask(self, other: BootId, path: str) -> None:
        """Send a request to another hub, which tells its boot.

        Raises:
            NodeUnreachable: it did not answer.
        """
        if self.bus is None:
            raise NodeUnreachable("there is no bus")
        asked = BusRequest(method="GET", path=path, query="", body=b"", principal={})
        reply = await self.bus.ask(other, asked, within_s=5.0)
        assert (reply.status, reply.body) == (200, other.encode()), "another hub has answered"

    def _queued(self) -> None:
        self.dispatcher.recheck()
        self.control.wake_others()

    def _agreeing(self, device_id: DeviceId) -> DeviceLink | None:
        link = self.roster.find(device_id)
        return link if link is not None and self.agreements.agrees(link) else None

    def _agreed(self, link: DeviceLink) -> None:
        self.agreed_at.setdefault(f"{link.device_id} {link.epoch}", self.time.awake_s)
        self.dispatcher.device_ready(link)
        self.verdicts.recheck()

    def tell_router(self, event: LinkEvent) -> None:
        """Pass an event of a device's connection to the router."""
        if isinstance(event, DeviceReady):
            self.agreements.device_ready(event.link)
        elif isinstance(event, DeviceLost):
            self.agreements.device_lost(event.device_id, event.epoch)
        self._router.route(event)


class SimLeaseKeeper:
    """Renewal of the leases of runs; replaces the thread of ``hub.runs.leases``."""

    def __init__(self, hub: SimHub, store: Store) -> None:
        self._hub = hub
        self._store = store

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Renew leases until cancelled."""
        self._hub.keeper.enter()
        task_status.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._check)
            while True:
                sent_at = self._hub.machine.source.uptime_s()
                with suppress(StorageError):
                    await self._store.write(
                        leases.beat, self._hub.node_id, self._hub.boot_id, ttl_ms=LEASE_MS
                    )
                    self._hub.lease.renewed(sent_at)
                await self._hub.clock.sleep(RENEW_EVERY_S)

    async def _check(self) -> None:
        while True:
            self._hub.lease.check()
            await self._hub.clock.sleep(CHECK_S)


class SimListener:
    """Listener without sockets; replaces ``hub.links.listener``."""

    def __init__(self, hub: SimHub, store: Store, traffic: Traffic, chance: Dice) -> None:
        self._hub = hub
        self._chance = chance
        self._traffic = traffic
        self.authenticator = Authenticator(
            store,
            clock=hub.clock,
            chance=chance,
            metrics=METRICS,
            boot_id=hub.boot_id,
            on_taken=hub.hints.device_taken,
        )
        self._context = contextvars.copy_context()
        self._wheel = LazyWheel(hub.clock, self._context)
        self._tasks: TaskGroup | None = None
        self.wires: list[Wire] = []

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Accept devices until cancelled, then send every device a goodbye."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                task_status.started()
                await anyio.sleep_forever()
            finally:
                self._tasks = None
                with anyio.move_on_after(5.0, shield=True):
                    await self._hub.roster.drain(lambda: STOPPING, CloseCode.STOPPING)
                for wire in self.wires:
                    wire.end(STOPPING, CloseCode.STOPPING)

    def send_away(self, nodes: list[tuple[int, str]]) -> None:
        """Send all devices to other hubs."""
        for link in self._hub.roster.local():
            link.end(CUT_OFF.to_one_of(1, self._chance), CUT_OFF.close)

    def knock(self, device: SimDevice) -> Wire | None:
        """Connect a device, or return None if the listener accepts no connections."""
        if self._tasks is None or self._hub.roster.is_draining or self._hub.lease.is_given_up:
            return None
        wire = Wire(
            device,
            self._traffic,
            at_hub=self._context,
            at_device=device.context,
            at_hub_lost=self._lost,
            at_hub_asked=lambda link, asked: self._hub.tell_router(RequestReceived(link, asked)),
        )
        self.wires.append(wire)
        self._context.run(self._tasks.start_soon, self._serve_wire, wire, device)
        return wire

    def drop_all(self, dice: Dice) -> None:
        """Cut all connections, because the process has ended."""
        for wire in self.wires:
            wire.hub_knows = True
            wire.cut(hub_after_s=0.0, device_after_s=dice.choice((0.01, 1.0, 40.0)))

    @property
    def is_quiet(self) -> bool:
        """Return True if no frame is in flight on any connection."""
        return all(wire.is_quiet for wire in self.wires)

    async def _serve_wire(self, wire: Wire, device: SimDevice) -> None:
        hello = DeviceHello(
            device_id=device.id,
            token=f"token of {device.id}",
            capabilities=[Capability(name=name) for name in sorted(device.capabilities)],
            runs=device.held_runs,
            store=device.mark,
            grants=[GrantOfOwner(name=name, tables=tables) for name, tables in device.grants.items()],
        )
        await anyio.sleep(self._traffic.latency_s())
        admission = await self._judge(hello, wire)
        try:
            if admission is not None:
                self._welcome(wire, device, admission, hello)
            await wire.wait_closed()
        finally:
            self.wires.remove(wire)
            if admission is not None:
                self._hub.roster.abandon(admission.device_id, admission.epoch)
                with anyio.move_on_after(RELEASE_S, shield=True):
                    await self._release(admission)

    async def _judge(self, hello: DeviceHello, wire: Wire) -> Admission | None:
        try:
            with anyio.fail_after(JUDGE_S):
                return await self.authenticator.admit(
                    Knock(
                        hello=hello,
                        challenge=NO_CHALLENGE,
                        token=hello.token,
                        address="127.0.0.1",
                        connection_id=ConnectionId(""),
                    )
                )
        except (HelloRefusal, HubError, TimeoutError):
            wire.end(Goodbye(reason="overloaded"), CloseCode.OVERLOADED)
            return None

    async def _release(self, admission: Admission) -> None:
        with suppress(HubError):  # the device's next connection, or the hub's next start, sets it right
            await self.authenticator.release(admission)

    def _welcome(self, wire: Wire, device: SimDevice, admission: Admission, hello: DeviceHello) -> None:
        roster = self._hub.roster
        if wire.hub_knows:
            if self._hub.store.is_shared:  # the hub reads no end of a connection while it judges the hello
                roster.supersede(admission.device_id, admission.epoch)
            return
        if roster.is_draining or not roster.supersede(admission.device_id, admission.epoch):
            wire.end(Goodbye(reason="replaced"), CloseCode.REPLACED)
            return
        wire.link = self._hub.link(
            cast(DeviceConnection, wire),
            admission,
            dict.fromkeys(device.capabilities, "1.0.0"),
            {grant.name: grant.tables for grant in hello.grants},
            client=None,
            skew="",
            roots=(),
            missing=(),
            wheel=self._wheel,
            clock=self._hub.clock,
            metrics=METRICS,
            limits=LinkLimits(),
        )
        wire.greet(
            Welcome(
                protocol=1,
                hub_id="hub",
                connection_id=f"{device.id} {admission.epoch}",
                user_id=admission.user_id,
                device_id=admission.device_id,
                epoch=admission.epoch,
                server_ts_ms=epoch_ms(self._hub.clock.now()),
                store=admission.store,
            )
        )
        self._hub.left_at.pop(device.id, None)
        self._hub.visits.setdefault(device.id, []).append(self._hub.time.awake_s)
        roster.enter(wire.link, hello)

    def _lost(self, wire: Wire, reason: str) -> None:
        if wire.link is not None:
            wire.link.on_closed(reason)
            self._hub.roster.leave(wire.link, reason)
            if self._hub.roster.find(wire.link.device_id) is None:
                self._hub.left_at[wire.link.device_id] = self._hub.time.awake_s


class LazyWheel(DeadlineWheel):
    """Wheel of deadlines that turns only when one is due, because four turns a second would cost too much."""

    def __init__(self, clock: SimHubClock, context: contextvars.Context) -> None:
        super().__init__(clock, tick_s=TICK_S)
        self._context = context
        self._set_for = 0.0

    def add(self, timed: Timed, deadline: float) -> Slot:
        due = (int(deadline / TICK_S) + 2) * TICK_S
        loop = asyncio.get_running_loop()
        if due != self._set_for:  # mostly many calls at once
            self._set_for = due
            loop.call_at(due, self.turn, context=self._context)
        return super().add(timed, deadline)


class _Started(TaskStatus[None]):
    """Task status that calls back once a service has started."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told

    def started(self, value: None = None) -> None:
        self._told()
