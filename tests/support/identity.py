"""Admission as operators decide it: the real resources over a store in memory, and devices that ask."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from hub.api.resources.tokens import IdentityLimits
from hub.app.identity import IdentityResources
from hub.base.clock import IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.base.roles import Principal, Role, Scope
from hub.links import pairing
from hub.links.roster import Roster
from protocol.handshake import DeviceHello
from protocol.ids import AgentId, BootId, ConnectionId, DeviceId, PairingId, UserId
from protocol.keys import key_id
from storage.agents import agents, declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices, pairings, users
from storage.devices.devices import DeviceRow
from storage.devices.pairings import PairingAsk, PairingRow
from storage.schedules import schedules
from storage.store import Connection, Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.link import FakeLink
from tests.support.presence import BOOT, open_session

OWNER = "owner"
CODE = "K7QF-2M9X"
WAIT_MS = 600_000


class EndedLink(FakeLink):
    """A link that tells how it was ended."""

    ended: tuple[str, int] | None = None
    expires_at: int | None = None
    pending_calls = buffered_bytes = 0

    def end(self, goodbye: object, close: int) -> None:
        self.ended = (str(getattr(goodbye, "reason", "")), int(close))

    async def wait_closed(self) -> None:
        return

    async def is_called(self) -> None:
        """Wait for the first call."""
        with anyio.fail_after(10):
            while not self.calls:
                await anyio.lowlevel.checkpoint()


class IdentityBench:
    """The resources of identity of a hub whose owner is called ``owner``, and rows for them."""

    def __init__(
        self,
        store: Store,
        owner_id: UserId,
        limits: IdentityLimits | None = None,
        *,
        clock: FakeClock | None = None,
        ids: IdFactory | None = None,
        metrics: Metrics | None = None,
        roster: Roster | None = None,
        boot_id: BootId = BOOT,
    ) -> None:
        self.store = store
        self.boot_id = boot_id
        self.owner_id = owner_id
        self.clock = clock or FakeClock()
        self.chance = SeededChance(7)
        self.ids = ids or IdFactory(self.clock, self.chance)
        self.metrics = metrics or Metrics()
        if roster is None:
            roster = Roster(lambda event: None, metrics=self.metrics)
        self.roster = roster
        self.identity = IdentityResources(
            store=store,
            roster=self.roster,
            clock=self.clock,
            ids=self.ids,
            chance=self.chance,
            metrics=self.metrics,
            owner_id=owner_id,
            limits=limits,
        )

    @property
    def now_ms(self) -> int:
        return epoch_ms(self.clock.now())

    async def user(self, name: str) -> UserId:
        """The user of that name."""
        id = UserId(self.ids.fresh())
        return await self.store.write(users.ensure_user, id, name, self.now_ms)

    async def device(self, name: str = "desk", *, user_id: UserId | None = None) -> DeviceRow:
        """The device of that name."""
        return await self.store.write(
            devices.ensure_device,
            id=DeviceId(self.ids.fresh()),
            user_id=user_id or self.owner_id,
            name=name,
            at=self.now_ms,
        )

    async def connect(self, device: DeviceRow, *, credential: str = "token:t-1", **options: Any) -> EndedLink:
        """Connect the device with *credential*; *options* are those of its link."""
        epoch = await self.store.write(
            open_session, device.id, boot_id=self.boot_id, platform="linux", at=self.now_ms
        )
        link = EndedLink(device.id, user_id=device.user_id, epoch=epoch, **options)
        link.credential = credential
        self.roster.enter(link, DeviceHello())
        return link

    async def token(
        self, role: Role = Role.ADMIN, scopes: Collection[Scope] = (), *, user_id: UserId | None = None
    ) -> str:
        """An operator's token."""
        resources = self.identity.operator_tokens.seen_by(user_id)
        made = await resources.create("test", role, Principal.of_uid(0), scopes=tuple(scopes))
        return made.token

    async def agent(self, name: str = "notes", *, user_id: UserId | None = None, **declared: Any) -> AgentId:
        """Return the agent of the device ``desk``; a new one is created as *declared* says."""
        device = await self.device(user_id=user_id)
        can_run = {"paths": ("notes",), "data_types": ("tasks",), "prompt": "Find tasks."}
        wanted = DeclaredAgent(name=name, device_name=device.name, **(can_run | declared))
        return await self.store.write(self._agent, device, wanted)

    def _agent(self, c: Connection, device: DeviceRow, wanted: DeclaredAgent) -> AgentId:
        found = agents.find_agent(c, wanted.name, user_id=device.user_id)
        if found is not None:
            return found.id
        id, at = AgentId(self.ids.fresh()), self.now_ms
        declared_agents.insert_agent(
            c, id, wanted, device, user_id=device.user_id, source="api", at=at, actor="operator:0"
        )
        schedules.declare(c, id, wanted.schedule, fresh_id=self.ids.fresh(), at=at)
        return id

    async def agent_token(self, agent_id: AgentId) -> str:
        """A token by which the agent asks in its own name."""
        row = await self.store.read(agents.get_agent, agent_id)
        resources = self.identity.agent_tokens.seen_by(row.user_id)
        return (await resources.create(row.name, "operator:0")).token

    async def asks(self, label: str = "laptop", *, code: str = CODE, key: bytes = b"k" * 32) -> PairingRow:
        """A device that nobody knows waits with *code* on its screen."""
        asking = PairingAsk(
            id=PairingId(self.ids.fresh()),
            code_hash=pairing.hash_code(code),
            known_code_hash=None,
            key_id=key_id(key),
            public_key=key,
            label=label,
            platform="linux",
            network="192.0.2.7",
            connection_id=ConnectionId(self.ids.fresh()),
        )
        at = self.now_ms
        asked = await self.store.write(
            pairings.ask, asking, at=at, expires_at=at + WAIT_MS, most=50, most_per_network=50
        )
        return asked.pairing


@asynccontextmanager
async def open_identity(limits: IdentityLimits | None = None) -> AsyncIterator[IdentityBench]:
    """A bench over a store of its own."""
    async with open_store("sqlite://") as store:
        owner_id = await store.write(users.ensure_user, UserId("u-owner"), OWNER, 1)
        yield IdentityBench(store, owner_id, limits)
