"""The service manager: sockets, notifications, and beats while everything goes round."""

import ast
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa
import uvicorn

import hub.app
from hub.api.http.server import OperatorServer
from hub.api.resource import ResourceRegistry as ResourceHub
from hub.app.hub import VITAL, Hub
from hub.app.systemd import ServiceManager, Watchdog
from hub.base.clock import IdFactory
from hub.base.loop_lag import LoopLag
from hub.base.metrics import Metrics
from hub.base.periodic_loop import WORK_S, LoopReports
from hub.base.supervisor import Service, Supervisor
from hub.base.toml.values import HostPort
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.links.connection_limits import Gate, PortLimits
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.roster import DeviceReady
from hub.runs.disk import DiskGuard
from hub.runs.housekeeping import Housekeeping
from hub.runs.scheduler import Scheduler
from protocol.handshake import DeviceHello, HeldRun
from protocol.ids import BootId
from storage.devices import nodes
from storage.kernel.database import DatabaseUnavailable
from storage.store import ObservedDatabase, Store, open_store
from tests.hub.app.test_router import make_router
from tests.hub.app.test_settings_application import grounded
from tests.support.clock import FakeClock, SeededChance
from tests.support.families import each
from tests.support.runs import Bench, agent, bench, store
from tests.support.services import running
from tests.support.wire import until

SHOW = """
import os, sys
from hub.app.systemd import ServiceManager
manager = ServiceManager()
for name, sock in manager.sockets.items():
    print(name, sock.family.name, sock.getsockname(), sock.get_inheritable())
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        yield heard, str(path)


def test_notify_sends_all_states_to_systemd_in_a_single_datagram(
    listening: tuple[socket.socket, str],
) -> None:
    heard, path = listening
    environ = {"NOTIFY_SOCKET": path}
    ServiceManager(environ).notify(READY=1, STATUS="3 devices connected")
    assert heard.recv(100) == b"READY=1\nSTATUS=3 devices connected"
    assert environ == {}, "a child of ours must not speak for us"


def test_notify_socket_starting_with_an_at_sign_is_abstract() -> None:
    name = f"hub-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).notify(WATCHDOG=1)
        assert heard.recv(100) == b"WATCHDOG=1"


def test_failed_reload_sends_reloading_and_ready_to_systemd(listening: tuple[socket.socket, str]) -> None:
    heard, path = listening
    manager = ServiceManager({"NOTIFY_SOCKET": path})
    with pytest.raises(ValueError), manager.reloading(12.5):
        raise ValueError
    assert (heard.recv(100), heard.recv(100)) == (b"RELOADING=1\nMONOTONIC_USEC=12500000", b"READY=1")


def test_notifications_without_a_service_manager_have_no_effect(tmp_path: Path) -> None:
    alone = ServiceManager({})
    alone.notify(READY=1)
    assert (alone.sockets, alone.watchdog_s) == ({}, None)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify(READY=1)


def test_silent_service_manager_delays_no_service(
    listening: tuple[socket.socket, str],
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listening[1]})
    for _ in range(5_000):
        manager.notify(STATUS="x" * 200)


@each(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({}, None),
    ],
)
def test_watchdog_variables_of_another_process_are_ignored(
    environ: dict[str, str], watchdog_s: float | None
) -> None:
    assert (ServiceManager(environ).watchdog_s, environ) == (watchdog_s, {})


def test_systemd_sockets_of_another_process_are_ignored() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "devices:admin"}
    assert (ServiceManager(environ).sockets, environ) == ({}, {})


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs the tools of systemd")
def test_systemd_sockets_are_assigned_by_name_and_not_inherited(tmp_path: Path) -> None:
    unix = tmp_path / "admin.sock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = _activated(["--listen", f"127.0.0.1:{port}", "--listen", str(unix)], "devices:admin", unix)
    assert done == [
        f"devices AF_INET ('127.0.0.1', {port}) False",
        f"admin AF_UNIX {unix} False",
        "[]",
    ]


def _activated(listen: list[str], names: str, unix: Path) -> list[str]:
    """What SHOW prints under systemd's own tool, which starts it once somebody knocks."""
    command = ["systemd-socket-activate", *listen, f"--fdname={names}"]
    with (
        subprocess.Popen(
            [*command, f"--setenv=PYTHONPATH={Path(__file__).parents[3]}", sys.executable, "-c", SHOW],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as running,
        socket.socket(socket.AF_UNIX) as knocking,
    ):
        while not _knocked(knocking, unix):
            assert running.poll() is None
        output, _ = running.communicate(timeout=20)
    return output.splitlines()


def _knocked(knocking: socket.socket, unix: Path) -> bool:
    try:
        knocking.connect(str(unix))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


PATIENCE_S = 30.0


async def test_watchdog_beat_ends_if_the_database_accepts_reads_but_no_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: dict[str, Service] = {}
    add = Supervisor.add

    def keep(self: Supervisor, name: str, service: Service, **about: object) -> None:
        added[name] = service
        add(self, name, service, **about)  # type: ignore[arg-type]

    monkeypatch.setattr(Supervisor, "add", keep)
    writes, goes_on = threading.Event(), threading.Event()

    def stand_still(c: sa.Connection) -> None:
        writes.set()
        assert goes_on.wait(PATIENCE_S)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"})
        async with (
            grounded(tmp_path) as context,
            open_store("sqlite:///hub.db", base=tmp_path, boot_id=BootId("boot")) as store,
            AsyncExitStack() as resources,
        ):
            await Hub(replace(context, store=ObservedDatabase(store), manager=manager)).open(resources)
            watchdog = added["watchdog"]
            assert isinstance(watchdog, Watchdog)
            await watchdog.beat()
            assert heard.recv(100) == b"WATCHDOG=1"
            assert heard.recv(100).startswith(b"STATUS=")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, stand_still)
                assert await anyio.to_thread.run_sync(partial(writes.wait, PATIENCE_S))
                tasks.start_soon(watchdog.beat)
                await anyio.wait_all_tasks_blocked()
                await store.read(nodes.touch)  # after the watchdog's own
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(BlockingIOError):
                    heard.recv(100)
                goes_on.set()
            assert heard.recv(100) == b"WATCHDOG=1"


__all__ = ["agent", "bench", "store"]

WATCHDOG_S = 20.0


class StoppedClock(FakeClock):
    """A clock whose sleepers are not woken any more, once it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.stands = False

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        while self.stands:
            await anyio.sleep_forever()


class Silent:
    """A database that does not answer any more, once it is silent; or that refuses."""

    is_shared = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_silent = False
        self.refuses = False

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        return await self._answer(self._store.read, *args, **kwargs)

    async def write(self, *args: Any, **kwargs: Any) -> Any:
        return await self._answer(self._store.write, *args, **kwargs)

    async def _answer(self, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        while self.is_silent:
            await anyio.sleep_forever()
        if self.refuses:
            raise DatabaseUnavailable("the disk is full")
        return await ask(*args, **kwargs)


class House:
    """A supervisor, a watchdog that looks at it, and what the service manager was told."""

    def __init__(
        self, *, touch: Callable[[], Any] | None = None, watchdog_s: float | None = WATCHDOG_S
    ) -> None:
        self.clock = StoppedClock()
        self.supervisor = Supervisor(clock=self.clock, chance=SeededChance())
        self.told: list[dict[str, str | int]] = []
        self.status = "0 devices connected"
        self.watchdog = Watchdog(
            notify=lambda **states: self.told.append(states),
            watchdog_s=watchdog_s,
            late=self.supervisor.late,
            touch=touch,
            status=lambda: self.status,
            clock=self.clock,
        )

    @asynccontextmanager
    async def serving(self, service: Service, turns: LoopReports) -> AsyncIterator[None]:
        """*service* runs; afterwards it is gone, hung or not."""
        self.supervisor.add("it", service, loop=turns)
        async with running(self.supervisor):
            yield

    async def beats(self) -> bool:
        """Return True if one round of the watchdog sends a notification."""
        self.told.clear()
        await self.watchdog.beat()
        return {"WATCHDOG": 1} in self.told


Make = Callable[[FakeClock, Path, Store], Any]
LOOPS: dict[str, Make] = {
    "disk": lambda clock, folder, _: DiskGuard(folder, clock=clock),
    "deadlines": lambda clock, _, __: DeadlineWheel(clock, tick_s=10.0),
    "housekeeping": lambda clock, _, store: Housekeeping(
        store, clock=clock, boot_id=BootId("b"), every_s=60.0
    ),
    "loop lag": lambda clock, _, __: LoopLag(clock=clock, metrics=Metrics()),
    "scheduler": lambda clock, _, store: Scheduler(
        store=store,
        extractor=Extractor(Models(), secret=bytes(32)),
        clock=clock,
        ids=IdFactory(clock, SeededChance()),
        metrics=Metrics(),
        boot_id=BootId("b"),
        on_queued=lambda: None,
        on_cancel=lambda run_id: None,
    ),
}


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)
async def test_watchdog_beat_ends_if_a_service_loop_does_not_wake(
    make: Make, tmp_path: Path, store: Store
) -> None:
    house = House()
    clock = house.clock
    service = make(clock, tmp_path, store)
    turns = service.loop
    async with house.serving(service, turns):
        await until(lambda: turns.due < math.inf and clock.sleeping > 0)
        promised = turns.due
        clock.advance(promised - clock.monotonic() - 1.0)
        await until(lambda: turns.due > promised and clock.sleeping > 0)
        assert await house.beats()
        clock.stands = True
        clock.advance(turns.due - clock.monotonic() + 1.0)
        await anyio.wait_all_tasks_blocked()
        assert not await house.beats()


async def test_dispatcher_hanging_in_the_database_ends_the_watchdog_beat(bench: Bench) -> None:
    silent = Silent(bench.store)
    bench = Bench(silent, bench.agent)
    house = House()
    async with house.serving(bench.dispatcher, bench.dispatcher.loop):
        await bench.looks()
        assert await house.beats()
        silent.is_silent = True
        bench.dispatcher.recheck()
        await anyio.wait_all_tasks_blocked()
        bench.clock.advance(WORK_S + 3.0)
        assert not await house.beats()


async def test_a_router_whose_event_is_never_handled_ends_the_beat(bench: Bench) -> None:
    silent = Silent(bench.store)
    bench = Bench(silent, bench.agent)
    router = make_router(bench)
    house = House()
    async with house.serving(router, router.loop):
        bench.clock.advance(86_400.0)
        assert await house.beats(), "a quiet day is no fault"
        silent.is_silent = True
        router.route(DeviceReady(bench.connect(), DeviceHello(runs=[HeldRun(run_id="r", fence=1)])))
        await anyio.wait_all_tasks_blocked()
        bench.clock.advance(WORK_S + 1.0)
        assert not await house.beats()


async def test_hanging_operator_server_ends_the_notifications(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, has_stopped, goes_on = False, anyio.Event(), anyio.Event()

    async def tick(self: uvicorn.Server, counter: int) -> bool:
        if stands:
            has_stopped.set()
            await goes_on.wait()
        return self.should_exit

    monkeypatch.setattr(uvicorn.Server, "on_tick", tick)
    house = House()
    server = OperatorServer(
        ResourceHub(bench.store, bench.clock),
        address=HostPort("127.0.0.1", 0),
        unix_path=tmp_path / "hub.sock",
        metrics=lambda: b"",
        gate=Gate(PortLimits(), clock=house.clock, metrics=Metrics()),
        clock=house.clock,
    )
    async with house.serving(server, server.loop):
        assert await house.beats()
        stands = True
        house.clock.advance(30.0)
        with anyio.fail_after(5):
            await has_stopped.wait()
        house.clock.advance(WORK_S + 1.0)
        assert not await house.beats()
        goes_on.set()


async def test_watchdog_beat_ends_for_a_silent_but_not_a_refusing_database(
    tmp_path: Path,
) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        silent = Silent(opened)
        house = House(touch=lambda: silent.write(nodes.touch))
        assert await house.beats()
        silent.refuses = True
        assert await house.beats(), "to start anew does not make room on a disk"
        silent.is_silent = True
        with anyio.move_on_after(0.1):
            await house.beats()
        assert house.told == []


async def test_stopped_service_does_not_end_the_watchdog_beat() -> None:
    """A hub that drains for 45 s has no scheduler any more, and lives."""
    house = House()
    turns = LoopReports(house.clock)
    turns.work()

    class Leaves:
        async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    house.clock.advance(WORK_S + 1.0)
                    beats.append(await house.beats())

    beats: list[bool] = []
    async with house.serving(Leaves(), turns):
        pass
    assert beats == [True]


async def test_watchdog_beats_three_times_per_watchdog_interval() -> None:
    house = House()
    async with running(house.watchdog):
        await house.clock.pass_time(WATCHDOG_S)
    assert house.told.count({"WATCHDOG": 1}) == 4  # at 0, and three times in 20 s


async def test_systemd_status_line_is_sent_only_after_a_change() -> None:
    house = House(watchdog_s=None)
    for status in ("0 devices connected", "0 devices connected", "1 devices connected"):
        house.status = status
        await house.watchdog.beat()
    assert house.told == [{"STATUS": "0 devices connected"}, {"STATUS": "1 devices connected"}]


# Why the watchdog has no promise of theirs.
NOT_WATCHED = {"watchdog": "it is the one who looks; where it hangs there is no beat anyway"}


def services() -> dict[str, bool]:
    """Every service that the app adds, also where only some hubs have it; whether it has turns."""
    found: dict[str, bool] = {}
    for file in Path(hub.app.__path__[0]).glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            is_function = isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and "supervisor" in ast.unparse(function):
                found |= _added(function)
    return found


def _added(function: ast.AST) -> dict[str, bool]:
    return {
        ast.literal_eval(call.args[0]): any(keyword.arg == "loop" for keyword in call.keywords)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("add", "supervisor.add")
    }


def test_every_service_has_a_loop_checked_by_the_watchdog() -> None:
    known = services()
    assert known.keys() >= {"loop lag", "dispatcher", "leases", "model", "requests", "settings"}
    assert {name for name, is_watched in known.items() if not is_watched} == NOT_WATCHED.keys()


def test_every_vital_service_is_a_service_of_the_hub() -> None:
    assert services().keys() > VITAL.keys()
