"""The real hub of a test: its resources over a store in memory, with a clock that the test moves."""

import atexit
import io
import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import httpx2
import sqlalchemy as sa
from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send

from hub.api.http.access import PEER_UID, SOCKET_PATH, Access, BearerTokens
from hub.api.http.idempotency import Replays
from hub.api.http.server import BoundAddresses, OperatorServer
from hub.api.resource import AnyResource
from hub.api.resources.debug import Dumper
from hub.app.boot import FILE, HubContext, Node
from hub.app.hub import Hub
from hub.app.settings_application import begin_with_revision
from hub.app.systemd import ServiceManager
from hub.base.clock import Clock, IdFactory
from hub.base.log import Log, Ring
from hub.base.log.handler import Duplicates, Writer
from hub.base.metrics import Metrics
from hub.base.supervisor import Drain
from hub.base.toml.values import HostPort
from hub.extraction.rules_process import RulesProcess, RulesProcesses
from hub.links.connection_limits import Gate, PortLimits
from hub.links.device_link import RunFrame
from hub.links.failed_attempts import FailedAttempts
from hub.settings.reading import SettingsFile, open_settings
from hub.settings.reload import Reloader, SettingsWatch
from protocol.ids import BootId, RunId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, RunEvent, RunOutcome, RunState
from storage.agents import agents
from storage.devices import users
from storage.devices.devices import DeviceRow
from storage.effects import sessions
from storage.runs import run_claims, run_moves, runs
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.schedules import schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.store import ObservedDatabase, open_store
from tests.support import stored
from tests.support.clock import FakeClock, SeededChance
from tests.support.identity import EndedLink, IdentityBench
from tests.support.link import Replies
from tests.support.presence import BOOT, appear
from tests.support.programs import skip_without_hub
from tests.support.runs import MODERN, TAKEN

_IDLE: Final[list[RulesProcess]] = []


@contextmanager
def lent_process(rules: RulesProcesses) -> Iterator[None]:
    """Give the hub of the block a process that an earlier hub started; keep the one it has at the end."""
    for process in _IDLE:
        process.owner = rules
    rules.processes, _IDLE[:] = _IDLE[:], []
    yield
    _IDLE[:] = [process for process in rules.processes if not process.jobs]
    rules.processes = [process for process in rules.processes if process.jobs]


@atexit.register
def _end() -> None:
    for process in _IDLE:
        process.close()


PATIENCE_S = 30.0  # of a client, on a busy machine
ROOMY = PortLimits(new_at_once=1_000, connections=256, connections_per_network=64, strangers=64)
DAY_S = 86_400.0
MOVES: Final[dict[RunState, tuple[RunEvent, dict[str, Any]]]] = {
    RunState.CANCELLED: (RunEvent.CANCELLED, {}),
    RunState.COMPLETED: (RunEvent.FINISHED, {"outcome": RunOutcome.SUCCESS}),
    RunState.FAILED: (RunEvent.FAILED, {}),
    RunState.PAUSED: (RunEvent.DEVICE_LOST, {}),
}
TEXT = """\
# my hub
[hub]
name = "home"    # where I live

[limits]
runs = 4         # at once

[listen]
devices = { address = "127.0.0.1:0" }
operator = { address = "127.0.0.1:0" }
"""
WEEKDAYS = DeclaredSchedule(kind="cron", expr="0 7 * * 1-5", tz="Europe/Berlin")
NOTES: Final[dict[str, Any]] = {
    "paths": ("~/notes",),
    "file_extensions": (".md",),
    "data_types": ("tasks",),
    "prompt": "Find what I promised to do.",
    "schedule": WEEKDAYS,
}


@cache
def _writer() -> Writer:
    """Return a writer of log entries that are not kept; its thread serves every hub of the process."""
    return Writer(io.StringIO(), lambda entry: "")


NODE: Final = "node"  # identity of the hub of a test
ENDLESS: Final = (
    "/mcp",
    "/v1/changes",
    "/v1/events",
    "/v1/runs/{run_id}/events",
    "/v1/agents/{name}/preview",
)  # routes of streams


@asynccontextmanager
async def open_context(
    folder: Path,
    text: str = TEXT,
    *,
    clock: Clock,
    reloader: type[Reloader] = Reloader,
    log: Log | None = None,
    database: str = "sqlite://",
    node: str = NODE,
) -> AsyncIterator[HubContext]:
    """Open the context of a hub whose state and ``hub.toml`` lie in *folder*.

    Args:
        database: its address; by default a database in memory.
        node: identity of the hub's node.
    """
    path, chance = folder / "hub.toml", SeededChance(7 if node == NODE else zlib.crc32(node.encode()))
    path.write_text(text)
    settings = open_settings(SettingsFile(path, environ={}, clock=clock), folder)
    watched = SettingsWatch(reloader(settings, state=folder, clock=clock), clock)
    ids = IdFactory(clock, chance)
    (folder / FILE).write_text(f"{node}\n")
    boot_id = BOOT if node == NODE else BootId(f"boot-of-{node}")
    async with open_store(database, boot_id=boot_id) as store:
        with closing(Node(folder, ids)) as opened:
            await begin_with_revision(store, watched.reloader, opened.id)
            yield HubContext(
                settings=watched.reloader.current,
                watch_settings=watched,
                state=folder,
                store=ObservedDatabase(store),
                clock=clock,
                chance=chance,
                ids=ids,
                boot_id=boot_id,
                node=opened,
                manager=ServiceManager({}),
                drain=Drain(),
                log=log or Log(_writer(), Ring(), Duplicates(), None),
                debug=Dumper(clock=clock),
                metrics=Metrics(),
            )


class ServedHub(IdentityBench):
    """An open hub: an agent ``notes`` and its connected device ``desk``; no service runs by itself."""

    listening: "BoundAddresses | InProcess"

    def __init__(self, hub: Hub, context: HubContext, owner_id: UserId, clock: FakeClock) -> None:
        super().__init__(
            context.store,
            owner_id,
            clock=clock,
            ids=context.ids,
            metrics=context.metrics,
            roster=hub.roster,
            boot_id=context.boot_id,
        )
        self.app, self.resources, self.work = hub, hub.resources, hub.work
        self.context, self.folder = context, context.state
        self.ring, self.drain = context.log.ring, context.drain

    def listens(self, operators: "BoundAddresses | InProcess") -> None:
        """Let the hub know that everything listens, as its process does."""
        self.listening = operators
        self.app.supervisor.started |= {"devices": ("127.0.0.1", 8770), "operators": operators}
        self.app.where()

    @property
    def settings(self) -> Path:
        """Path of ``hub.toml``."""
        return self.folder / "hub.toml"

    def resource(self, kind: type[AnyResource]) -> AnyResource:
        """Return a resource, scoped to no user."""
        return self.resources.resource(kind)

    async def run(
        self, id: str = "r-1", state: RunState = RunState.QUEUED, *, agent: str = "notes", **move: Any
    ) -> RunRow:
        """Create a run of the agent and lead it to *state* by legal moves.

        Args:
            move: reason or outcome of the last move.
        """
        row = await self.store.write(self._create, RunId(id), agent)
        return row if state is RunState.QUEUED else await self.move(id, state, **move)

    async def move(self, id: str, state: RunState, **move: Any) -> RunRow:
        """Lead a run to *state* by legal moves, and notify its followers."""
        row = await self.store.write(self._lead, RunId(id), state, move)
        self.work.watch.changed(row.id)
        return row

    def _create(self, c: sa.Connection, id: RunId, agent: str) -> RunRow:
        row = agents.agent_called(c, agent, None)
        return run_moves.create_run(c, id=id, agent=row, fire_key=id, at=self.now_ms, config_fingerprint="f")

    def _lead(self, c: sa.Connection, id: RunId, state: RunState, move: dict[str, Any]) -> RunRow:
        run = runs.get_run(c, id)
        held = run.held
        given: dict[str, Any] = {"at": self.now_ms, "actor": "hub"}
        if held.state is RunState.QUEUED and state is not RunState.CANCELLED:
            assert run.device_id is not None
            there = frozenset([run.device_id])
            appear(c, there, self.boot_id)
            gates = Gates(online=there, per_device=99)
            (claimed,) = run_claims.claim_runs(
                c, boot_id=self.boot_id, gates=gates, lease_ms=30_000, at=self.now_ms, most=1
            )
            assert claimed.id == id, "another run was first"
            held = run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, **given)
        if state in MOVES:
            event, known = MOVES[state]
            run_moves.move(c, held, event, **given | known | move)
        return runs.get_run(c, id)

    async def reschedule(self, schedule: DeclaredSchedule | None, *, agent: str = "notes") -> str:
        """Replace the schedule of the agent. Return its id."""
        row = await self.store.read(agents.agent_called, agent, None)
        await self.store.write(schedules.declare, row.id, schedule, fresh_id=self.ids.fresh(), at=self.now_ms)
        (declared,) = await self.store.read(schedule_rows.schedules_of, row.id)
        return declared.id

    async def ends(self, id: str) -> None:
        """Wait until the run has ended."""
        await self.comes_to(id, *FINAL_RUN_STATES)

    async def comes_to(self, id: str, *states: RunState) -> None:
        """Wait until the run is in one of *states*."""
        changes = self.work.watch.changes(RunId(id), at_most_every_s=0)
        with anyio.fail_after(PATIENCE_S):
            async with aclosing(changes):
                async for _ in changes:
                    if (await self.store.read(runs.get_run, RunId(id))).state in states:
                        return

    async def disconnect(self, device: DeviceRow) -> None:
        """End the connection of the device."""
        link = self.roster.find(device.id)
        assert isinstance(link, EndedLink)
        self.roster.leave(link, "it left")
        await self.store.write(sessions.close_session, device.id, link.epoch, self.now_ms)

    async def pass_days(self, days: int) -> None:
        """Let days go by, one at a time, so that the scheduler decides on every fire of theirs."""

        async def decide() -> None:
            fires = [0]
            while any(at <= self.now_ms for at in fires):
                rows = await self.store.read(stored.list_schedules)
                enabled = [row for row in rows if row.enabled]
                fires = [0 if row.first_connect == "due" else row.next_fire_at or 0 for row in enabled]

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                await tasks.start(self.work.scheduler.serve)
                await decide()
                for _ in range(days):
                    self.clock.advance(DAY_S)
                    await decide()
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def working(
        self,
        *visits: Sequence[RunFrame | Exception],
        answers: Replies = lambda call: TAKEN,
        capabilities: Iterable[str] = MODERN,
    ) -> AsyncIterator[EndedLink]:
        """Execute runs in the block; the device ``desk`` sends these frames, for each run in turn."""
        device = await self.device("desk")
        link = await self.connect(device, capabilities=capabilities, answers=answers, runs=visits)
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.work.dispatcher.serve)
            yield link
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_hub(
    folder: Path,
    text: str = TEXT,
    before: Callable[[sa.Connection], None] | None = None,
    *,
    database: str = "sqlite://",
) -> AsyncIterator[ServedHub]:
    """Open a hub with the settings *text*; nothing listens.

    Args:
        before: writes rows of an earlier boot.
        database: its address; by default a database in memory.
    """
    async with open_empty_hub(folder, text, before, database=database) as hub:
        await hub.agent("notes", **NOTES)
        await hub.connect(await hub.device("desk"))
        yield hub


@asynccontextmanager
async def open_empty_hub(
    folder: Path,
    text: str = TEXT,
    before: Callable[[sa.Connection], None] | None = None,
    **options: Any,
) -> AsyncIterator[ServedHub]:
    """Open a hub without the agent ``notes`` and its device; see ``open_hub``.

    Args:
        options: further arguments of ``open_context``.
    """
    skip_without_hub()
    clock = FakeClock()
    opening = open_context(folder, text, clock=clock, **options)
    async with opening as context, AsyncExitStack() as resources:
        if before is not None:
            await context.store.write(before)
        app = Hub(context)
        await app.open(resources)
        resources.enter_context(lent_process(app.rules))
        await context.watch_settings.reloader.begin()
        owner = await context.store.read(users.find_user_by_name, users.OWNER)
        assert owner is not None
        yield ServedHub(app, context, owner.id, clock)


class InProcess(NamedTuple):
    """Access layer of an operators' server without sockets, and the addresses that the sockets would have."""

    access: Access
    unix: Path
    tcp: HostPort = HostPort("127.0.0.1", 80)

    def over(self, client: tuple[str, int] | None, **state: object) -> httpx2.ASGITransport:
        """Return a transport for requests of *client*.

        Args:
            client: address and port; None: a Unix socket.
            state: values that the connection would put into the state of each request.
        """

        async def ask(scope: Scope, receive: Receive, send: Send) -> None:
            await self.access({**scope, "client": client, "state": dict(state)}, receive, send)

        return httpx2.ASGITransport(ask, raise_app_exceptions=False)


@asynccontextmanager
async def serving(
    folder: Path,
    text: str = TEXT,
    *,
    before: Callable[[sa.Connection], None] | None = None,
    is_empty: bool = False,
    **options: Any,
) -> AsyncIterator[ServedHub]:
    """Open a hub and its operators' server, on a socket in *folder* and a free TCP port.

    Args:
        is_empty: without the agent ``notes`` and its device.
        options: of ``OperatorServer``, where they matter.
    """
    opening = open_empty_hub if is_empty else open_hub
    async with opening(folder, text, before) as hub, anyio.create_task_group() as tasks:
        await listen(hub, tasks, **options)
        yield hub
        tasks.cancel_scope.cancel()


async def listen(hub: ServedHub, tasks: TaskGroup, **options: Any) -> None:
    """Serve operators in *tasks*, on a socket in the hub's folder and a free TCP port."""
    hub.listens(await tasks.start(_server(hub, options).serve))


@asynccontextmanager
async def answering(
    folder: Path, text: str = TEXT, *, database: str = "sqlite://", **options: Any
) -> AsyncIterator[ServedHub]:
    """Open a hub and its operators' server without sockets, for tests of routes and of the access to them."""
    async with open_hub(folder, text, database=database) as hub:
        answer(hub, **options)
        yield hub


@asynccontextmanager
async def nodes_of(
    folder: Path, database: str, *names: str, text: str = TEXT
) -> AsyncIterator[tuple[ServedHub, ...]]:
    """Open a hub for each node on one database, with an operators' server without sockets."""
    async with AsyncExitStack() as opened:
        hubs = []
        for name in names:
            (state := folder / name).mkdir()
            opening = open_empty_hub(state, text, database=database, node=name)
            hubs.append(await opened.enter_async_context(opening))
            answer(hubs[-1])
        yield tuple(hubs)


def answer(hub: ServedHub, **options: Any) -> None:
    """Build the operators' server of *hub*, without sockets."""
    hub.listens(InProcess(_server(hub, options).access, hub.folder / "hub.sock"))


def _server(hub: ServedHub, options: dict[str, Any]) -> OperatorServer:
    clock = hub.clock
    given: dict[str, Any] = {
        "address": HostPort("127.0.0.1", 0),
        "unix_path": hub.folder / "hub.sock",
        "body_bytes": 2_000,
        "metrics": hub.metrics.render,
        "clock": clock,
        "gate": Gate(ROOMY, clock=clock, metrics=hub.context.metrics),
        "bearer": BearerTokens(
            hub.store, clock=clock, attempts=FailedAttempts(hub.store, clock, kind="operator")
        ),
        "replays": Replays(hub.store, clock=clock),
    }
    return OperatorServer(hub.resources, **given | options)


@asynccontextmanager
async def over_tcp(hub: ServedHub, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client on the TCP listener, with an operator's token or without."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    reached, transport = hub.listening, None
    if isinstance(reached, InProcess):
        transport = reached.over(("127.0.0.1", 1))
    async with httpx2.AsyncClient(
        transport=transport or httpx2.AsyncHTTPTransport(verify=False),
        base_url=f"http://{reached.tcp}",
        headers=headers,
        timeout=PATIENCE_S,
    ) as client:
        yield client


async def too_long() -> AsyncIterator[bytes]:
    """Yield a body that is sent in chunks, and is longer than a hub reads."""
    for _ in range(40):
        yield b" " * 65_536


@asynccontextmanager
async def over_unix(hub: ServedHub) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client on the Unix socket, whose user may send every request."""
    reached, transport = hub.listening, None
    if isinstance(reached, InProcess):
        transport = reached.over(None, **{PEER_UID: os.getuid(), SOCKET_PATH: str(reached.unix)})
    async with httpx2.AsyncClient(
        transport=transport or httpx2.AsyncHTTPTransport(uds=str(reached.unix), verify=False),
        base_url="http://hub",
        timeout=PATIENCE_S,
    ) as client:
        yield client
