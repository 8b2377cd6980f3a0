"""The hub process: opening the database, running the event loop, and stopping cleanly."""

import ctypes
import faulthandler
import gc
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anyio

from hub.agents.status_moves import AgentMoveListeners
from hub.api.resources.debug import Dumper
from hub.app.boot import HubContext, Node
from hub.app.hub import Hub
from hub.app.listeners import DEVICES
from hub.app.settings_application import begin_with_revision
from hub.app.state_database import check_database, refusal_of, write_hub_id
from hub.app.systemd import ServiceManager, serve_signals
from hub.base.clock import (
    HubClock,
    IdFactory,
    SystemChance,
    SystemClock,
    machine_start,
    machine_uptime_s,
    now_ms,
)
from hub.base.log import Channel, Log, LogFile, open_log
from hub.base.metrics import Metrics
from hub.base.open_files import keep_from_children
from hub.base.supervisor import Drain
from hub.base.version import VERSION
from hub.health.backups import backup_before_upgrade
from hub.runs.clock_watch import ClockWatch
from hub.runs.disk import make_room_for_a_start
from hub.settings.reading import OpenedSettings
from hub.settings.reload import Reloader, SettingsWatch
from protocol.errors import first_error
from protocol.ids import BootId
from storage.devices import settings_revisions
from storage.kernel import identity
from storage.kernel.backup import BackupRefused
from storage.store import ObservedDatabase, open_store

log = Channel(__name__)

# Collections after as many new objects: with the default of 700 they take a twentieth of a run's time.
YOUNG_OBJECTS = 5_000
_M_ARENA_MAX = -8  # of mallopt(3)
MIGRATION_S = 600  # limit of a start's duration at the service manager; a migration may rebuild a large table


def run(settings: OpenedSettings, state: Path, *, on_ready: Callable[[dict[str, str]], str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code.

    A second signal does not wait for runs in progress; a third ends the process at once.

    Args:
        on_ready: returns a line for people about the addresses of all listeners, once they are open.

    Raises:
        HubError: a resource could not be opened; nothing was served.
    """
    keep_from_children()
    _share_heap()
    log_settings = settings.settings.log
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = open_log(
        log_settings.level,
        content=log_settings.content,
        file=LogFile(state / "log", settings.settings.limits.log_bytes),
    )
    opened.take_unraisable()
    # The service manager ends a hanging hub by SIGABRT, which dumps the stack of every thread.
    faulthandler.enable()
    make_room_for_a_start(state)
    try:
        anyio.run(serve, settings, state, opened, on_ready, backend_options={"use_uvloop": has_uvloop()})
    finally:
        opened.close()
    return 0


def _share_heap() -> None:
    """Limit glibc to one heap for all threads: what one of them frees, others can use."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # other C libraries have one heap anyway
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def has_uvloop() -> bool:
    """Return True if the extra ``[fast]`` is installed."""
    return find_spec("uvloop") is not None


async def serve(
    settings: OpenedSettings, state: Path, opened: Log, on_ready: Callable[[dict[str, str]], str]
) -> None:
    """Serve in this event loop until the hub is drained. See ``run``."""
    manager = ServiceManager()
    # The holder of the device port starts the hub again for the next device that connects.
    drain = Drain(restarts=DEVICES in manager.sockets)
    clock = HubClock(SystemClock(), machine_uptime_s)
    debug = Dumper(clock=clock)
    reloader = Reloader(
        settings, state=state, clock=clock, around=lambda: manager.reloading(clock.monotonic())
    )
    watch_settings = SettingsWatch(reloader, clock)
    try:
        async with anyio.create_task_group() as watch:
            # Handlers of the signals that do not stop the hub return at once.
            others = {signal.SIGUSR1: debug.log, signal.SIGHUP: watch_settings.ask}
            await watch.start(serve_signals, drain, others)
            await _serve_hub(watch_settings, state, opened, manager, drain, clock, debug, on_ready)
            watch.cancel_scope.cancel()
    except* Exception as group:
        error = first_error(group)
        # A backup is made before an upgrade: it may be the first to read all pages.
        if isinstance(error, BackupRefused) or getattr(error, "trouble", None) == "damaged":
            is_server = getattr(error, "is_on_a_server", False)
            error = await refusal_of(str(error), state, is_server=is_server)
        raise error from None
    log.info("hub.stopped")


async def _serve_hub(
    watch_settings: SettingsWatch,
    state: Path,
    opened: Log,
    manager: ServiceManager,
    drain: Drain,
    clock: HubClock,
    debug: Dumper,
    on_ready: Callable[[dict[str, str]], str],
) -> None:
    reloader = watch_settings.reloader
    chance, metrics = SystemChance(), Metrics(VERSION)
    ids, moves = IdFactory(clock, chance), AgentMoveListeners()
    boot_id = BootId(ids.fresh())
    manager.notify(STATUS="opening the database", EXTEND_TIMEOUT_USEC=MIGRATION_S * 1_000_000)
    url = reloader.current.storage.resolved()
    node = Node(state, ids)
    await check_database(url, state)
    await backup_before_upgrade(url, state=state, clock=clock)
    async with (
        open_store(url, base=state, boot_id=boot_id, now_ms=partial(now_ms, clock)) as database,
        AsyncExitStack() as resources,
        anyio.create_task_group() as lifetime,
    ):
        resources.callback(node.close)
        lag = await begin_with_revision(database, reloader, node.id)
        opened.keep(reloader.current.limits.log_bytes)  # the log was opened with this node's own file
        store = ObservedDatabase(
            database, moves.publish, on_write=metrics.db_commits.observe, monotonic=clock.monotonic
        )
        hub = Hub(
            HubContext(
                settings=reloader.current,
                watch_settings=watch_settings,
                state=state,
                store=store,
                clock=clock,
                chance=chance,
                ids=ids,
                boot_id=boot_id,
                node=node,
                manager=manager,
                drain=drain,
                log=opened,
                debug=debug,
                metrics=metrics,
                clock_watch=ClockWatch(store, clock, ids=ids, metrics=metrics, machine=machine_start()),
                moves=moves,
            )
        )
        await hub.open(resources)
        write_hub_id(url, state, await store.write(identity.ensure_hub_id, ids.fresh()))
        if lag:
            await store.write(settings_revisions.record_refusal, node.id, lag)
        lifetime.start_soon(_stop_when_asked, hub, drain, manager, lifetime.cancel_scope)
        await lifetime.start(hub.supervisor.serve)
        # Excludes existing objects from garbage collection: a full collection blocks the loop for 0.2 s.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()
        where = hub.where()
        log.info("hub.ready", **where)
        manager.notify(READY=1)
        opened.show(on_ready(where))


async def _stop_when_asked(
    hub: Hub, drain: Drain, manager: ServiceManager, everything: anyio.CancelScope
) -> None:
    await drain.begun()
    manager.notify(STOPPING=1)
    hub.begin_drain()
    everything.cancel()
