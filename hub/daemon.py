"""The composition root: reads settings, builds every object once, starts and stops the services.

They start from the bottom up and stop in reverse: first no new run starts and what
executes is paused, then devices hear goodbye, and the database closes last.
"""

import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.agents.declared import reconcile
from hub.clock import Chance, Clock, IdFactory, SystemChance, SystemClock, epoch_ms, from_epoch_ms
from hub.extraction.embedded import CHUNK_TOKENS as EMBEDDED_CHUNK_TOKENS
from hub.extraction.embedded import MODEL_NAME, EmbeddedModel
from hub.extraction.extractor import Extractor
from hub.extraction.model import LanguageModel
from hub.links.auth import Authenticator
from hub.links.listener import DeviceListener
from hub.links.open_link import LinkLimits
from hub.links.roster import LinkEvent, Roster
from hub.log import Channel, open_log
from hub.metrics import Metrics
from hub.operations import Operations, Where
from hub.ops.declared import declared_agent
from hub.ops.server import OperatorServer
from hub.ops.settings import LocalModelSettings, OpenAIModelSettings, Settings
from hub.ops.sockets import listen_on_tcp
from hub.requests import Requests
from hub.router import Router
from hub.runs.delivery import Delivery
from hub.runs.disk import DiskGuard
from hub.runs.dispatcher import Dispatcher
from hub.runs.housekeeping import Housekeeping, Retention
from hub.runs.leases import LEASE_MS, LeaseKeeper
from hub.runs.lifecycle import Lifecycle
from hub.runs.progress import RunWatch
from hub.runs.runner import Runner
from hub.runs.scheduler import Scheduler
from hub.runs.sources import DeviceSource
from hub.runs.waiting import Hold
from hub.supervisor import Supervisor
from hub.version import VERSION
from protocol.frame import CREDIT_PIECES
from protocol.ids import BootId, NodeId, UserId
from protocol.work import RunLimits
from storage.store import QueueLimits, Store, devices, identity, leases, open_store, runs, shown

log = Channel(__name__)

OWNER: Final = "owner"  # one person owns everything, until a later release knows several
SOCKET: Final = "hub.sock"
SPOOL: Final = "spool"
NODE: Final = "node_id"
RESTARTS: Final = 3  # starts with crashes between them, shortly one after the other: see Hold


def run(settings: Settings, state: Path, *, on_ready: Callable[[dict[str, str]], None]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code; a second signal ends at once.

    Args:
        on_ready: told where everything listens, once it does.

    Raises:
        HubError: something could not be opened; nothing was served.
    """
    open_log()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    anyio.run(serve, settings, state, on_ready, backend_options={"use_uvloop": has_uvloop()})
    return 0


def has_uvloop() -> bool:
    """Whether the extra ``[fast]`` is installed."""
    return find_spec("uvloop") is not None


async def serve(settings: Settings, state: Path, on_ready: Callable[[dict[str, str]], None]) -> None:
    """Serve in this event loop until a signal says stop. See ``run``."""
    clock, chance = SystemClock(), SystemChance()
    boot_id = BootId(IdFactory(clock, chance).fresh())
    try:
        async with (
            open_store(settings.storage.resolved(), base=state, boot_id=boot_id) as store,
            AsyncExitStack() as resources,
            anyio.create_task_group() as lifetime,
        ):
            hub = _Hub(settings, state, store, clock, chance, boot_id)
            await hub.open(resources)
            await lifetime.start(_stop_on_signal, lifetime.cancel_scope)
            await lifetime.start(hub.supervisor.serve)
            where = hub.where()
            log.info("hub.ready", **where)
            on_ready(where)
    except* Exception as group:
        raise _first(group) from None
    log.info("hub.stopped")


async def _stop_on_signal(
    everything: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for received in signals:
            log.info("hub.stopping", signal=received.name)
            everything.cancel()
            break
    # The default handlers are back: a second signal ends the process where it stands.


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    assert isinstance(inner, Exception)
    return inner


class _Hub:
    """One hub's objects."""

    def __init__(
        self,
        settings: Settings,
        state: Path,
        store: Store,
        clock: Clock,
        chance: Chance,
        boot_id: BootId,
    ) -> None:
        self._settings = settings
        self._state = state
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._boot_id = boot_id
        self._node_id = _node_id(state, self._ids)
        self._hold_until_ms = 0
        self._hold: Hold | None = None
        self._metrics = Metrics(VERSION)
        self._watch = RunWatch()
        self._disk = DiskGuard(state, clock=clock)
        self.supervisor = Supervisor(clock=clock, chance=chance)

    async def open(self, resources: AsyncExitStack) -> None:
        """Recover what an earlier boot left, then build the services, bottom up.

        Args:
            resources: closed after all services have ended.
        """
        user_id, hub_id = await self._recover()
        resources.push_async_callback(self._end_boot)
        model = await self._model(resources)
        extractor = Extractor(model, chance=self._chance)
        roster = Roster(self._tell_router, metrics=self._metrics)
        dispatcher = self._dispatcher(extractor, roster)
        scheduler = self._scheduler(extractor, dispatcher)
        self._router = Router(
            dispatcher=dispatcher, requests=Requests(store=self._store, dispatcher=dispatcher)
        )
        self._operations = Operations(
            store=self._store,
            roster=roster,
            dispatcher=dispatcher,
            scheduler=scheduler,
            watch=self._watch,
            clock=self._clock,
            ids=self._ids,
            chance=self._chance,
            user_id=user_id,
            hub_id=hub_id,
            name=self._settings.hub.name,
            model=None if model is None else f"{model.name} ({self._kind_of_model()})",
            database=shown(self._settings.storage.resolved()),
            hold=self._hold,
        )
        self.supervisor.add("disk", self._disk)
        self.supervisor.add("router", self._router)
        self.supervisor.add("operators", self._operator_server())  # they can watch the others stop
        # Bound now: what is wrong with the address is told before anything has started.
        sock = resources.enter_context(listen_on_tcp(self._settings.listen.devices.address))
        self.supervisor.add("devices", self._device_listener(hub_id, roster, sock))
        # Above the devices, for it stops first: what executes is paused while they are still there.
        self.supervisor.add("dispatcher", dispatcher)
        if self._store.is_shared:
            self.supervisor.add("leases", self._lease_keeper())
        self.supervisor.add("scheduler", scheduler)
        self.supervisor.add("housekeeping", self._housekeeping())

    def where(self) -> dict[str, str]:
        """What listens where, once everything is started."""
        host, port = self.supervisor.started["devices"]
        listening = self.supervisor.started["operators"]
        where = Where(devices=(host, port), operator=listening.tcp, socket=listening.unix)
        self._operations.where = where
        return where.spelled()

    def _tell_router(self, event: LinkEvent) -> None:
        self._router.take(event)

    async def _recover(self) -> tuple[UserId, str]:
        """Before any socket is open: what an earlier boot held is queued again, and hub.toml is applied."""
        at = epoch_ms(self._clock.now())
        is_alone, limits = not self._store.is_shared, self._settings.limits
        window_ms = int(limits.restart_hold_s * 1000)
        boot = await self._store.write(
            identity.begin_boot, self._node_id, self._boot_id, at, window_ms=window_ms
        )
        if boot.boots_10min >= RESTARTS:
            self._hold_until_ms = at + window_ms
            until = from_epoch_ms(self._hold_until_ms)
            self._hold = Hold(until, boot.boots_10min, limits.restart_hold_s)
            log.warning("hub.held", boots=boot.boots_10min, seconds=limits.restart_hold_s)
        if not is_alone:
            await self._store.write(leases.beat, self._node_id, self._boot_id, ttl_ms=LEASE_MS)
        dead = [] if boot.earlier is None else [boot.earlier]
        recovered = await self._store.write(
            runs.recover, boot_id=self._boot_id, at=at, is_alone=is_alone, dead=dead
        )
        await self._store.write(devices.close_all_sessions, at, node_id=None if is_alone else self._node_id)
        log.info(
            "hub.recovered",
            requeued=len(recovered.requeued),
            cancelled=len(recovered.cancelled),
            failed=len(recovered.failed),
        )
        user_id = await self._store.write(devices.ensure_user, UserId(self._ids.fresh()), OWNER, at)
        run_wall_s = self._settings.limits.run_wall_s
        declared = [declared_agent(agent, run_wall_s=run_wall_s) for agent in self._settings.agents]
        await reconcile(self._store, declared, user_id=user_id, clock=self._clock, ids=self._ids)
        return user_id, await self._store.write(identity.ensure_hub_id, self._ids.fresh())

    async def _end_boot(self) -> None:
        """The next start then knows that this one ended in good order."""
        at = epoch_ms(self._clock.now())
        await self._store.write(identity.end_boot, self._node_id, self._boot_id, at)

    async def _model(self, resources: AsyncExitStack) -> LanguageModel | None:
        settings = self._settings.model
        if settings is None:
            return None
        # Only here: it brings openai, which takes a third of the daemon's start.
        from hub.extraction.llm import CHUNK_TOKENS, OpenAIModel

        match settings:
            case LocalModelSettings():
                # Its URL is known before its server runs, so what needs the model can be built now.
                embedded = EmbeddedModel(clock=self._clock, chance=self._chance)
                self.supervisor.add("model", embedded)
                base_url, name, api_key = embedded.base_url, MODEL_NAME, None
                chunk_tokens = settings.chunk_tokens or EMBEDDED_CHUNK_TOKENS
            case OpenAIModelSettings():
                base_url, name = settings.base_url, settings.name
                api_key = None if settings.api_key is None else settings.api_key.resolve()
                chunk_tokens = settings.chunk_tokens or CHUNK_TOKENS
        model = OpenAIModel(
            base_url,
            name,
            api_key,
            clock=self._clock,
            chance=self._chance,
            metrics=self._metrics,
            chunk_tokens=chunk_tokens,
            in_flight=settings.concurrency,
            is_literal=isinstance(settings, LocalModelSettings),
            read_timeout_s=settings.timeout_s,
        )
        return await resources.enter_async_context(model.opened())

    def _kind_of_model(self) -> str:
        return "on this machine" if isinstance(self._settings.model, LocalModelSettings) else "openai"

    def _dispatcher(self, extractor: Extractor, roster: Roster) -> Dispatcher:
        limits = self._settings.limits
        lifecycle = Lifecycle(
            self._store, clock=self._clock, ids=self._ids, metrics=self._metrics, watch=self._watch
        )
        runner = Runner(
            store=self._store,
            lifecycle=lifecycle,
            source=DeviceSource(
                limits=RunLimits(files=limits.run_files, bytes=limits.run_bytes), credit=CREDIT_PIECES
            ),
            extractor=extractor,
            delivery=Delivery(
                self._store,
                clock=self._clock,
                metrics=self._metrics,
                call_timeout_s=limits.call_timeout_s,
                max_sends=limits.call_sends,
            ),
            find_link=roster.find,
            watch=self._watch,
            clock=self._clock,
            chance=self._chance,
            device_grace_s=limits.device_grace_s,
        )
        return Dispatcher(
            store=self._store,
            lifecycle=lifecycle,
            runner=runner,
            extractor=extractor,
            links=roster.connected,
            clock=self._clock,
            chance=self._chance,
            metrics=self._metrics,
            ids=self._ids,
            boot_id=self._boot_id,
            per_device=limits.runs_per_device,
            total=limits.runs,
            run_timeout_s=limits.run_wall_s,
            drain_s=limits.drain_timeout_s,
            cancel_grace_s=limits.cancel_grace_s,
            settle_s=limits.connected_s,
            paused_s=limits.paused_days * 86_400.0,
            hold_until_ms=self._hold_until_ms,
            is_disk_full=lambda: self._disk.is_full,
        )

    def _scheduler(self, extractor: Extractor, dispatcher: Dispatcher) -> Scheduler:
        return Scheduler(
            store=self._store,
            extractor=extractor,
            clock=self._clock,
            ids=self._ids,
            metrics=self._metrics,
            boot_id=self._boot_id,
            limits=QueueLimits(
                per_schedule=self._settings.limits.waiting_runs_per_schedule,
                per_device=self._settings.limits.waiting_runs_per_device,
            ),
            on_queued=dispatcher.look_again,
            on_cancel=dispatcher.supersede,
        )

    def _lease_keeper(self) -> LeaseKeeper:
        url, boot_id = self._settings.storage.resolved(), self._boot_id
        return LeaseKeeper(lambda: open_store(url, boot_id=boot_id), node_id=self._node_id, boot_id=boot_id)

    def _housekeeping(self) -> Housekeeping:
        keep = self._settings.retention
        return Housekeeping(
            self._store,
            clock=self._clock,
            boot_id=self._boot_id,
            keep=Retention(
                runs_days=keep.runs_days,
                failed_runs_days=keep.failed_runs_days,
                runs_kept=keep.runs_kept,
                payload_days=keep.payload_days,
                fires_days=keep.fires_days,
                fires_kept=keep.fires_kept,
                activity_days=keep.activity_days,
                answers_days=keep.answers_days,
            ),
        )

    def _device_listener(self, hub_id: str, roster: Roster, sock: socket.socket) -> DeviceListener:
        settings, limits = self._settings.listen.devices, self._settings.limits
        spool = self._state / SPOOL
        spool.mkdir(mode=0o700, exist_ok=True)
        return DeviceListener(
            sock=sock,
            hub_id=hub_id,
            authenticator=Authenticator(
                self._store, clock=self._clock, metrics=self._metrics, node_id=self._node_id
            ),
            roster=roster,
            clock=self._clock,
            chance=self._chance,
            metrics=self._metrics,
            limits=LinkLimits(
                pending_calls=limits.pending_calls,
                write_deadline_s=limits.write_timeout_s,
                spool_dir=spool,
            ),
            origins=settings.origins,
            compression=settings.compression,
            ping_every_s=limits.ping_interval_s,
            pong_within_s=limits.ping_timeout_s,
            open_s=limits.handshake_timeout_s,
        )

    def _operator_server(self) -> OperatorServer:
        limits = self._settings.limits
        return OperatorServer(
            self._operations,
            address=self._settings.listen.operator.address,
            unix_path=self._state / SOCKET,
            version=VERSION,
            body_bytes=limits.operator_body_bytes,
            requests=limits.operator_requests,
            event_streams=limits.operator_event_streams,
            metrics=self._metrics.render,
        )


def _node_id(state: Path, ids: IdFactory) -> NodeId:
    """Who this node is, for as long as its state folder lives."""
    file = state / NODE
    try:
        return NodeId(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        fresh = ids.fresh()
        file.write_text(fresh + "\n", encoding="ascii")
        return NodeId(fresh)
