"""A hub's side of souls: a database, a fleet over real sockets, a board with two agents, and its writer.

Time goes by twenty times as fast as on the wall: what waits a second before it tries again waits 50 ms.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from hub.base.clock import Clock, IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.coordination.board_access import Caller
from hub.coordination.souls import SoulHomes, SoulRequest, SoulService, SoulWriter
from hub.links.device_link import DeviceLink
from hub.openclaw import Fleet, GatewayConfig
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, UserId
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards, gateway_agents, gateways, souls
from storage.coordination.gateways import IDS_PER_GATEWAY, DeclaredGateway
from storage.coordination.souls import SoulVersion, SoulWriteRow
from storage.devices import users
from storage.store import Store, open_store
from tests.support.clock import START, SeededChance
from tests.support.gateway import DEFAULT_SOUL, FakeGateway
from tests.support.gateway_rows import set_state
from tests.support.wire import Port, until

FAST = 20.0
STALL_S = 0.1  # of the wall
OPERATOR = Caller("operator:1000", None)
LEAD, WORKER, AT_DESK = AgentId("agent-lead"), AgentId("agent-worker"), AgentId("agent-desk")
BOARD = BoardId("board-1")
OWNER = UserId("anna")
GATEWAY = GatewayId("gateway-west")
AS_IT_WAS = souls.digest(DEFAULT_SOUL)
PATIENCE_S = 600.0  # of the fast clock


class FastClock:
    """The machine's clock, so many times as fast; all of them in a process show one time.

    A process that gets no turn for longer than STALL_S loses the rest: peers in it could not answer either.
    """

    _seen_s = _passed_s = time.monotonic()

    def __init__(self, fast: float = FAST) -> None:
        self._fast = fast

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        seen_s = time.monotonic()
        FastClock._passed_s += min(seen_s - FastClock._seen_s, STALL_S)
        FastClock._seen_s = seen_s
        return FastClock._passed_s * self._fast

    uptime_s = monotonic

    async def sleep(self, seconds: float) -> None:
        left_s, until_s = max(seconds, 0.0), self.monotonic() + seconds
        while left_s >= 0:
            await anyio.sleep(min(left_s / self._fast, STALL_S / 2))
            left_s = until_s - self.monotonic()


class Life:
    """Life of a service of a hub, which a kill ends in the middle of whatever it does."""

    def __init__(self, tasks: TaskGroup, serve: Callable[[], Awaitable[None]]) -> None:
        self._scope, self._gone = anyio.CancelScope(), anyio.Event()
        tasks.start_soon(self._live, serve)

    async def _live(self, serve: Callable[[], Awaitable[None]]) -> None:
        with self._scope:
            await serve()
        self._gone.set()

    async def kill(self) -> None:
        self._scope.cancel()
        await self._gone.wait()


@dataclass
class SoulBench:
    """What a test of souls works with.

    Attributes:
        links: the devices that are connected.
    """

    store: Store
    fleet: Fleet
    tasks: TaskGroup
    clock: FastClock = field(default_factory=FastClock)
    metrics: Metrics = field(default_factory=Metrics)
    links: dict[DeviceId, DeviceLink] = field(default_factory=dict)
    port: Port | None = None

    def __post_init__(self) -> None:
        self.ids = IdFactory(self.clock, SeededChance(11))
        self._make()

    @property
    def at(self) -> int:
        return epoch_ms(self.clock.now())

    def _make(self) -> None:
        homes = SoulHomes(self.fleet.find, self._find_link, self.ids)
        self.writer = SoulWriter(
            store=self.store, homes=homes, clock=self.clock, ids=self.ids, metrics=self.metrics
        )
        self.souls = SoulService(
            store=self.store,
            homes=homes,
            writer=self.writer,
            clock=self.clock,
            ids=self.ids,
            metrics=self.metrics,
        )

    def _find_link(self, device_id: DeviceId) -> DeviceLink | None:
        return self.links.get(device_id) or (self.port.roster.find(device_id) if self.port else None)

    def start(self) -> None:
        """Serve the writer."""
        self.fleet.listen(self.writer.on_news)
        self._life = Life(self.tasks, self.writer.serve)

    async def kill(self) -> None:
        """The hub is gone, in the middle of whatever it did; its database stays."""
        await self._life.kill()
        self._make()

    async def put(
        self,
        content: str,
        expected: str | None = None,
        *,
        caller: Caller = OPERATOR,
        agent: AgentId = WORKER,
        reason: str | None = None,
        wait_s: float = PATIENCE_S,
    ) -> SoulWriteRow:
        """Write a soul, and wait for its end."""
        wish = SoulRequest(content=content, expected_sha256=expected, reason=reason)
        return await self.souls.write(caller, BOARD, agent, wish, wait_s=wait_s)

    async def contend(self, number: int, base: str, *, agent: AgentId = WORKER) -> str:
        """Write two texts over *base* at once: one is refused with both hashes. Return the other."""
        won: list[str] = []
        lost: list[CodedError] = []

        async def write(text: str) -> None:
            try:
                await self.put(text, base, agent=agent)
                won.append(text)
            except CodedError as conflict:
                lost.append(conflict)

        pair = [f"left {number}", f"right {number}"]
        async with anyio.create_task_group() as tasks:
            for text in pair if number % 2 else reversed(pair):
                tasks.start_soon(write, text)
        ((winner,), (loser,)) = won, lost
        (other,) = set(pair) - {winner}
        hashes = {"expected_sha256": base, "found_sha256": souls.digest(winner)}
        assert (loser.code, {**loser.members, **hashes}) == (ErrorCode.SOUL_CONFLICT, loser.members)
        last = [(kind, text) for kind, text, _ in await self.history(agent, last=2)]
        assert last == [("written", winner), ("refused", other)]
        return winner

    async def read(self, agent: AgentId = WORKER) -> str | None:
        """The text of a soul, as it is where its agent lives."""
        soul = (await self.souls.read(OPERATOR, BOARD, agent)).soul
        return None if soul is None else soul.content

    async def versions(self, agent: AgentId = WORKER) -> list[SoulVersion]:
        """The history, oldest first."""
        return (await self.souls.history(OPERATOR, BOARD, agent, limit=1_000))[::-1]

    async def history(self, agent: AgentId = WORKER, *, last: int = 1_000) -> list[tuple[str, str, str]]:
        """Kind, text and actor of each version, or of the last so many; oldest first."""
        told = []
        for version in (await self.versions(agent))[-last:]:
            _, content = await self.souls.version(OPERATOR, BOARD, agent, version.seq)
            told.append((str(version.kind), content, version.actor))
        return told


async def declare(store: Store, clock: Clock) -> None:
    """A user with a gateway, a device, and a board with three agents: two there, one here."""
    at = epoch_ms(clock.now())
    await store.write(users.ensure_user, OWNER, "anna", at)
    declared = [DeclaredGateway(name="west", user_name="anna")]
    fresh = [GATEWAY, "agent-main", OWNER][:IDS_PER_GATEWAY]
    await store.write(gateways.reconcile_gateways, owner_id=OWNER, declared=declared, at=at, fresh_ids=fresh)
    for agent_id, role in ((LEAD, "lead"), (WORKER, "worker")):
        made = await store.write(
            gateway_agents.make_gateway_agent,
            gateway_id=GATEWAY,
            user_id=OWNER,
            name=role,
            role=role,
            remote_id=role,
            fresh_id=agent_id,
            at=at,
            actor="test",
        )
        if made.state != "ready":
            await store.write(set_state, agent_id, "ready")
    at_desk = [DeclaredAgent(name="desk", device_name="desk", user_name="anna")]
    fresh = [AT_DESK, "device-desk", "schedule-desk", OWNER][: declared_agents.IDS_PER_AGENT]
    await store.write(
        declared_agents.reconcile_declared, user_id=OWNER, declared=at_desk, at=at, fresh_ids=fresh
    )
    await store.write(
        boards.create_board,
        id=BOARD,
        user_id=OWNER,
        name="garden",
        gateway_id=GATEWAY,
        at=at,
        actor="test",
    )
    for agent_id in (LEAD, WORKER, AT_DESK):
        await store.write(boards.add_member, BOARD, agent_id, is_lead=agent_id == LEAD, at=at, actor="test")


@asynccontextmanager
async def open_fleet(
    folder: Path, clock: Clock, gateways: Sequence[FakeGateway], *, url: str | None = None
) -> AsyncIterator[Fleet]:
    """A fleet that is connected to *gateways*.

    Args:
        url: where they are reached, if not each at its own address.
    """
    os.makedirs(folder, exist_ok=True)
    fleet = Fleet(
        folder=folder,
        rules=OutboundRules,
        clock=clock,
        chance=SeededChance(5),
        metrics=Metrics(),
        version="test",
    )
    fleet.apply([GatewayConfig(name=one.name, url=url or one.url, token=one.token) for one in gateways])
    async with anyio.create_task_group() as tasks:
        await tasks.start(fleet.serve)
        for one in gateways:
            await until(lambda one=one: fleet.get(one.name).health().state == "ready")  # type: ignore[misc]
        yield fleet
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_souls(
    folder: Path,
    gateway: FakeGateway | None = None,
    *,
    port: Port | None = None,
    kept_in: Store | None = None,
    fast: float = FAST,
) -> AsyncIterator[SoulBench]:
    """The bench, connected to *gateway*; its database in memory, that of *port*, or *kept_in*."""
    clock = FastClock(fast)
    gateways = [] if gateway is None else [gateway]
    for one in gateways:
        for agent in ("lead", "worker", "agent-main"):
            one.add_agent(agent)
    async with (
        open_fleet(folder, clock, gateways) as fleet,
        open_store("sqlite://") as own,
        anyio.create_task_group() as tasks,
    ):
        store = kept_in or (own if port is None else port.store)
        bench = SoulBench(store=store, fleet=fleet, tasks=tasks, clock=clock, port=port)
        await declare(store, clock)
        bench.start()
        yield bench
        tasks.cancel_scope.cancel()
