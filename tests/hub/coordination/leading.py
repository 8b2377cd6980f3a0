"""Hubs that lead boards: a database, gateways over real sockets, and all that makes leads and speaks to them.

Time goes by twenty times as fast as on the wall. Several hubs may work on one database.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from hub.base.clock import Clock, IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.coordination.board_access import Caller
from hub.coordination.broadcasts import BroadcastService
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.messages import MAX_WAIT_S, Ensured, LeadMessages, LeadService, MessageService
from hub.coordination.provisioning import ConfigDebounce, Provisioning
from hub.openclaw import Fleet
from protocol.agent_messages import MessageState
from protocol.ids import AgentId, BoardId, BootId, GatewayId, MessageId, NodeId, UserId
from storage import leases
from storage.coordination import boards, gateway_agents, gateways, message_rows
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import IDS_PER_GATEWAY, DeclaredGateway
from storage.coordination.message_rows import MessageRow
from storage.devices import users
from storage.store import Store
from tests.hub.coordination.post import Links
from tests.hub.coordination.souls import FastClock, open_fleet
from tests.support.clock import SeededChance
from tests.support.gateway import FakeGateway

OWNER = UserId("anna")
OPERATOR = Caller("operator:1000", OWNER)
BOARD = BoardId("board-garden")
GARDENER = "lead-board-garden"  # as gateways call its lead
PATIENCE_S = 30.0
TTL_MS = 60_000


class LeadingHub:
    """One start of a hub, as far as leads go."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        *,
        clock: Clock,
        boot: str = "boot-1",
        after_step: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.store = store
        self.fleet = fleet
        self.clock = clock
        self.boot = BootId(boot)
        self.metrics = Metrics()
        self.ids = IdFactory(clock, SeededChance(sum(boot.encode())))
        given: dict[str, Any] = {"clock": clock, "ids": self.ids, "metrics": self.metrics}
        quiet = ConfigDebounce(clock)
        self.making = Provisioning(
            store, fleet=fleet, boot_id=self.boot, quiet=quiet, after_step=after_step, **given
        )
        self.leads = LeadService(store, self.making, **given)
        self.courier = MessageDeliveryService(
            store,
            fleet=fleet,
            links=Links(),
            chance=SeededChance(3),
            boot_id=self.boot,
            held_s=quiet.held_s,
            ensure_lead=self.leads.ensure,
            **given,
        )
        fleet.listen(quiet.on_news)
        self.sent = MessageService(store, self.courier, **given)
        self.to_leads = LeadMessages(store, self.sent, self.leads, clock=clock, ids=self.ids)
        self.broadcasts = BroadcastService(store, self.sent, self.courier, owner_id=OWNER, **given)

    @property
    def at(self) -> int:
        return epoch_ms(self.clock.now())

    async def serve(self, tasks: TaskGroup) -> anyio.CancelScope:
        """Serve all of it; who cancels the scope kills the hub in the middle of whatever it does."""
        life = anyio.CancelScope()
        if self.store.is_shared:
            await self.store.write(leases.beat, NodeId(f"node-{self.boot}"), self.boot, ttl_ms=TTL_MS)

        async def live() -> None:
            with life:
                async with anyio.create_task_group() as services:
                    for service in (self.making, self.courier, self.broadcasts):
                        services.start_soon(service.serve)

        tasks.start_soon(live)
        await anyio.wait_all_tasks_blocked()
        return life

    async def lead(self) -> Ensured:
        """The lead of the board garden, as a person asks for it."""
        return await self.leads.see_to(OPERATOR, "garden", wait_s=MAX_WAIT_S)

    async def gateway_agents(self) -> Sequence[GatewayAgentRow]:
        """All agents of all gateways that are no main agents."""
        rows = await self.store.read(gateways.list_gateways)
        found = [await self.store.read(gateway_agents.list_gateway_agents, row.id) for row in rows]
        return [one for part in found for one in part if one.role != gateway_agents.MAIN]

    async def has_ready(self) -> None:
        """Waits until all of them are ready, and there is one."""
        with anyio.fail_after(PATIENCE_S):
            while {row.state for row in await self.gateway_agents()} != {gateway_agents.READY}:
                await self.clock.sleep(0.2)

    async def settled(self, id: str) -> MessageRow:
        """A message once nothing is to be done about it."""
        return await self._until(id, lambda row: row.settled_at is not None)

    async def delivered(self, id: str) -> MessageRow:
        """A message once its lead has it."""
        return await self._until(id, lambda row: row.is_delivered or row.state is MessageState.FAILED)

    async def _until(self, id: str, is_enough: Callable[[MessageRow], bool]) -> MessageRow:
        with anyio.fail_after(PATIENCE_S):
            while True:
                row = await self.courier.moving.wait_for(id, 5.0, is_enough)
                if is_enough(row):
                    return row

    async def get(self, id: str) -> MessageRow:
        return await self.store.read(message_rows.get_message, MessageId(id))


async def declare(
    store: Store, at: int, names: Sequence[str] = ("west",), main_agent: str | None = "main"
) -> None:
    """A user with gateways; the ids of a gateway and its main agent are made from its name."""
    await store.write(users.ensure_user, OWNER, "anna", at)
    declared = [DeclaredGateway(name=name, user_name="anna", main_agent=main_agent) for name in names]
    fresh = [id for name in names for id in (f"gateway-{name}", f"main-{name}", OWNER)[:IDS_PER_GATEWAY]]
    await store.write(gateways.reconcile_gateways, owner_id=OWNER, declared=declared, at=at, fresh_ids=fresh)


async def make_board(
    store: Store, name: str = "garden", gateway: str | None = "west", at: int = 1
) -> BoardId:
    """A board with nobody on it."""
    id = BoardId(f"board-{name}")
    await store.write(
        boards.create_board,
        id=id,
        user_id=OWNER,
        name=name,
        gateway_id=None if gateway is None else GatewayId(f"gateway-{gateway}"),
        at=at,
        actor="test",
    )
    return id


def main_of(gateway: str) -> Caller:
    """The main agent of a gateway, as who asks."""
    return Caller.of_agent(AgentId(f"main-{gateway}"), OWNER)


@asynccontextmanager
async def open_leading(
    folder: Path,
    store: Store,
    *gateways: FakeGateway,
    after_step: Callable[[str], Awaitable[None]] | None = None,
    is_served: bool = True,
) -> AsyncIterator[LeadingHub]:
    """A hub that is connected to *gateways*, which are declared; the board garden is at the first one."""
    clock = FastClock()
    async with AsyncExitStack() as opened:
        fleet = await opened.enter_async_context(open_fleet(folder, clock, gateways))
        hub = LeadingHub(store, fleet, clock=clock, after_step=after_step)
        await declare(store, hub.at, [one.name for one in gateways])
        await make_board(store, gateway=gateways[0].name)
        tasks = await opened.enter_async_context(anyio.create_task_group())
        if is_served:
            await hub.serve(tasks)
        yield hub
        tasks.cancel_scope.cancel()
