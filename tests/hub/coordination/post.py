"""A hub's side of messages: a database, a fleet over real sockets, a board with agents, and a courier.

Time goes by twenty times as fast as on the wall.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from hub.base.clock import Clock, IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.messages import MessageService
from hub.links.device_link import DeviceLink
from hub.openclaw import Fleet
from protocol.agent_messages import MessageKind, MessageState
from protocol.ids import AgentId, BootId, DeviceId, GatewayId, MessageId
from storage.coordination import gateway_agents, message_rows, messages
from storage.coordination.message_rows import MessageMove, MessageRow
from storage.coordination.messages import NewMessage
from storage.store import Store, open_store
from tests.hub.coordination.souls import (
    BOARD,
    FAST,
    GATEWAY,
    LEAD,
    OWNER,
    WORKER,
    FastClock,
    Life,
    declare,
    open_fleet,
)
from tests.support.clock import SeededChance
from tests.support.gateway import FakeGateway
from tests.support.wire import Port

WORKERS, LEADS = "agent:worker:main", "agent:lead:main"  # sessions
DAY_MS = 86_400_000


@dataclass
class Links:
    """The devices that are connected."""

    links: dict[DeviceId, DeviceLink] = field(default_factory=dict)

    def find(self, device_id: DeviceId) -> DeviceLink | None:
        return self.links.get(device_id)

    def connected(self) -> Sequence[DeviceLink]:
        return list(self.links.values())


@dataclass
class PostBench:
    """What a test of messages works with."""

    store: Store
    fleet: Fleet
    tasks: TaskGroup
    clock: Clock
    port: Port | None = None
    links: Links = field(default_factory=Links)
    metrics: Metrics = field(default_factory=Metrics)
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = IdFactory(self.clock, SeededChance(11))
        self._boots = 0
        self.courier = self.make()

    @property
    def at(self) -> int:
        return epoch_ms(self.clock.now())

    def make(self) -> MessageDeliveryService:
        """A courier of another start of the hub."""
        self._boots += 1
        return MessageDeliveryService(
            self.store,
            fleet=self.fleet,
            links=self.links if self.port is None else self.port.roster,
            clock=self.clock,
            chance=SeededChance(self._boots),
            ids=self.ids,
            metrics=self.metrics,
            boot_id=BootId(f"boot-{self._boots}"),
            on_text=self._hear,
        )

    def messages(self) -> MessageService:
        """What takes messages to be brought, and answers from devices."""
        return MessageService(
            self.store,
            self.courier,
            clock=self.clock,
            ids=self.ids,
            metrics=self.metrics,
        )

    async def _hear(self, agent_id: AgentId, text: str) -> None:
        self.heard.append((agent_id, text))

    def start(self) -> None:
        """Serve the courier."""
        self._life = Life(self.tasks, self.courier.serve)

    async def kill(self) -> None:
        """The hub is gone, in the middle of whatever it did; its database stays."""
        await self._life.kill()
        self.courier = self.make()

    async def say(
        self,
        content: str = "look at the mail",
        *,
        to: AgentId | None = WORKER,
        kind: MessageKind = MessageKind.NUDGE,
        gateway_id: GatewayId | None = GATEWAY,
        lasts_ms: int = DAY_MS,
        **more: Any,
    ) -> MessageRow:
        """Commit a message."""
        row = await say(
            self.store,
            self.clock,
            self.ids,
            content,
            to=to,
            kind=kind,
            gateway_id=gateway_id,
            lasts_ms=lasts_ms,
            **more,
        )
        self.courier.kick()
        return row

    async def worker(self, number: int) -> str:
        """One more agent at the gateway; its id, here and there."""
        id = f"worker-{number}"
        await self.store.write(
            gateway_agents.make_gateway_agent,
            gateway_id=GATEWAY,
            user_id=OWNER,
            name=id,
            role="worker",
            remote_id=id,
            fresh_id=AgentId(id),
            at=self.at,
            actor="test",
        )
        return id

    async def get(self, row: MessageRow) -> MessageRow:
        found: MessageRow = await self.store.read(message_rows.get_message, row.id)
        return found

    async def get_by(self, id: str) -> MessageRow:
        found: MessageRow = await self.store.read(message_rows.get_message, id)
        return found

    async def moves(self, row: MessageRow) -> list[MessageMove]:
        return await self.store.read(message_rows.moves_of, row.id)

    async def states(self, row: MessageRow) -> list[str]:
        """What it went through, in order."""
        return [str(move.new_state) for move in await self.moves(row)]

    async def until(
        self, row: MessageRow, *states: MessageState, settled: bool = False, addressed: bool = False
    ) -> MessageRow:
        """The message once it is in one of these states, or settled, or has its recipient."""

        def is_enough(now: MessageRow) -> bool:
            if addressed:
                return now.to_agent_id is not None
            return now.state in states or (settled and now.settled_at is not None)

        with anyio.fail_after(20):
            while True:
                found = await self.courier.moving.wait_for(row.id, 5.0, is_enough)
                if is_enough(found):
                    return found

    async def end(self, row: MessageRow) -> MessageRow:
        """The message once it is settled."""
        return await self.until(row, settled=True)


async def say(
    store: Store,
    clock: Clock,
    ids: IdFactory,
    content: str,
    *,
    to: AgentId | None = WORKER,
    kind: MessageKind = MessageKind.NUDGE,
    gateway_id: GatewayId | None = GATEWAY,
    lasts_ms: int = DAY_MS,
    **more: Any,
) -> MessageRow:
    """Commit a message of the board's lead."""
    id, at = MessageId(ids.fresh()), epoch_ms(clock.now())
    given: dict[str, Any] = {"board_id": BOARD, "from_agent_id": LEAD, "actor": f"agent:{LEAD}"}
    given["not_before"] = at
    new = NewMessage(
        id=id,
        user_id=OWNER,
        kind=kind,
        to_agent_id=to,
        gateway_id=gateway_id,
        content=content,
        trace_id=id.replace("-", ""),
        expires_at=at + lasts_ms,
        at=at,
        **given | more,
    )
    row: MessageRow = await store.write(messages.add_message, new)
    return row


@asynccontextmanager
async def open_post(
    folder: Path,
    gateway: FakeGateway | None = None,
    *,
    url: str | None = None,
    port: Port | None = None,
    kept_in: Store | None = None,
    is_served: bool = True,
    fast: float = FAST,
) -> AsyncIterator[PostBench]:
    """The bench, connected to *gateway*; its database in memory, that of *port*, or *kept_in*.

    Args:
        url: where the gateway is reached, if not at its own address.
        fast: how many times as fast as the machine's the clock is.
    """
    clock = FastClock(fast)
    gateways = [] if gateway is None else [gateway]
    for one in gateways:
        for agent in ("lead", "worker"):
            one.add_agent(agent)
    async with (
        open_fleet(folder, clock, gateways, url=url) as fleet,
        open_store("sqlite://") as own,
        anyio.create_task_group() as tasks,
    ):
        store = kept_in or (own if port is None else port.store)
        bench = PostBench(store=store, fleet=fleet, tasks=tasks, clock=clock, port=port)
        await declare(store, clock)
        if is_served:
            bench.start()
        yield bench
        tasks.cancel_scope.cancel()
