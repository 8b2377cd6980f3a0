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
from hub.clock import Chance, Clock, IdFactory, SystemChance, SystemClock, epoch_ms
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
from hub.ops.server import OperatorServer
from hub.ops.settings import AgentSettings, LocalModelSettings, OpenAIModelSettings, Settings
from hub.ops.sockets import listen_on_tcp
from hub.requests import Requests
from hub.router import Router
from hub.runs.delivery import Delivery
from hub.runs.dispatcher import Dispatcher
from hub.runs.lifecycle import Lifecycle
from hub.runs.progress import RunWatch
from hub.runs.runner import Runner
from hub.runs.sources import DeviceSource
from hub.supervisor import Supervisor
from hub.version import VERSION
from protocol.frame import CREDIT_PIECES
from protocol.ids import BootId, UserId
from protocol.work import RunLimits
from storage.store import DeclaredAgent, Store, devices, identity, open_store, runs

log = Channel(__name__)

OWNER: Final = "owner"  # one person owns everything, until a later release knows several
SOCKET: Final = "hub.sock"
SPOOL: Final = "spool"


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
    try:
        async with (
            open_store(settings.storage.url, base=state) as store,
            AsyncExitStack() as resources,
            anyio.create_task_group() as lifetime,
        ):
            hub = _Hub(settings, state, store, clock, chance)
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

    def __init__(self, settings: Settings, state: Path, store: Store, clock: Clock, chance: Chance) -> None:
        self._settings = settings
        self._state = state
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._boot_id = BootId(self._ids.fresh())
        self._metrics = Metrics(VERSION)
        self._watch = RunWatch()
        self.supervisor = Supervisor(clock=clock, chance=chance)

    async def open(self, resources: AsyncExitStack) -> None:
        """Recover what an earlier boot left, then build the services, bottom up.

        Args:
            resources: closed after all services have ended.
        """
        user_id, hub_id = await self._recover()
        model = await self._model(resources)
        extractor = Extractor(model, chance=self._chance)
        roster = Roster(self._tell_router, metrics=self._metrics)
        dispatcher = self._dispatcher(extractor, roster)
        self._router = Router(
            dispatcher=dispatcher, requests=Requests(store=self._store, dispatcher=dispatcher)
        )
        self._operations = Operations(
            store=self._store,
            roster=roster,
            dispatcher=dispatcher,
            watch=self._watch,
            clock=self._clock,
            ids=self._ids,
            chance=self._chance,
            user_id=user_id,
            hub_id=hub_id,
            name=self._settings.hub.name,
            model=None if model is None else f"{model.name} ({self._kind_of_model()})",
            database=self._settings.storage.url,
        )
        self.supervisor.add("router", self._router)
        self.supervisor.add("operators", self._operator_server())  # they can watch the others stop
        # Bound now: what is wrong with the address is told before anything has started.
        sock = resources.enter_context(listen_on_tcp(self._settings.listen.devices.address))
        self.supervisor.add("devices", self._device_listener(hub_id, roster, sock))
        # Above the devices, for it stops first: what executes is paused while they are still there.
        self.supervisor.add("dispatcher", dispatcher)

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
        recovered = await self._store.write(runs.recover, boot_id=self._boot_id, at=at)
        await self._store.write(devices.close_all_sessions, at)
        log.info(
            "hub.recovered",
            requeued=len(recovered.requeued),
            cancelled=len(recovered.cancelled),
            failed=len(recovered.failed),
        )
        user_id = await self._store.write(devices.ensure_user, UserId(self._ids.fresh()), OWNER, at)
        declared = [_declared(agent) for agent in self._settings.agents]
        await reconcile(self._store, declared, user_id=user_id, clock=self._clock, ids=self._ids)
        return user_id, await self._store.write(identity.ensure_hub_id, self._ids.fresh())

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
            run_timeout_s=limits.run_wall_s,
        )
        return Dispatcher(
            store=self._store,
            lifecycle=lifecycle,
            runner=runner,
            extractor=extractor,
            online=lambda: [link.device_id for link in roster.connected()],
            clock=self._clock,
            metrics=self._metrics,
            ids=self._ids,
            boot_id=self._boot_id,
            per_device=limits.runs_per_device,
            total=limits.runs,
            drain_s=limits.drain_timeout_s,
        )

    def _device_listener(self, hub_id: str, roster: Roster, sock: socket.socket) -> DeviceListener:
        settings, limits = self._settings.listen.devices, self._settings.limits
        spool = self._state / SPOOL
        spool.mkdir(mode=0o700, exist_ok=True)
        return DeviceListener(
            sock=sock,
            hub_id=hub_id,
            authenticator=Authenticator(self._store, clock=self._clock, metrics=self._metrics),
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


def _declared(agent: AgentSettings) -> DeclaredAgent:
    return DeclaredAgent(
        name=agent.name,
        device_name=agent.device,
        paths=agent.paths,
        file_extensions=agent.file_extensions,
        data_types=agent.data_types,
        prompt=agent.prompt,
        schedule=agent.schedule,
        timezone=agent.timezone,
    )
