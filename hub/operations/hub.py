"""The hub as one: whether it lives, whether it takes work, where it listens; and all its nouns."""

from pathlib import Path

import msgspec

from hub.clock import Chance, Clock, IdFactory
from hub.links.roster import Roster
from hub.operations.agents import AgentOperations
from hub.operations.devices import DeviceOperations
from hub.operations.runs import RunOperations
from hub.operations.schedules import ScheduleOperations
from hub.operations.tokens import TokenOperations
from hub.operations.waiting import Waiting
from hub.ops.address import Address
from hub.ops.views import Check, Health, Readiness, StatusView
from hub.runs.dispatcher import Dispatcher
from hub.runs.progress import RunWatch
from hub.runs.scheduler import Scheduler
from hub.runs.waiting import Hold, told_hold
from hub.version import VERSION
from protocol.errors import HubError
from protocol.ids import UserId
from storage.store import Store, agents, devices, runs


class Where(msgspec.Struct, frozen=True):
    """Where a running hub listens."""

    devices: tuple[str, int]
    operator: Address
    socket: Path

    def spelled(self) -> dict[str, str]:
        """As people read it."""
        return {
            "devices": str(Address(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }


class Operations:
    """Answers operators. Implements ``ops.facade.HubFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        dispatcher: Dispatcher,
        scheduler: Scheduler,
        watch: RunWatch,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        user_id: UserId,
        hub_id: str,
        name: str,
        model: str | None,
        database: str,
        hold: Hold | None = None,
    ) -> None:
        self._store = store
        self._roster = roster
        self._dispatcher = dispatcher
        self._clock = clock
        self._hub_id = hub_id
        self._name = name
        self._model = model
        self._database = database
        self._hold = hold
        self._started = clock.monotonic()
        self.where: Where | None = None  # set once everything listens
        waiting = Waiting(store=store, dispatcher=dispatcher, clock=clock, hold=hold)
        self.devices = DeviceOperations(store=store, roster=roster)
        self.runs = RunOperations(
            store=store, dispatcher=dispatcher, waiting=waiting, watch=watch, clock=clock
        )
        self.schedules = ScheduleOperations(store=store, scheduler=scheduler)
        self.agents = AgentOperations(
            store=store,
            roster=roster,
            dispatcher=dispatcher,
            runs=self.runs,
            schedules=self.schedules,
        )
        self.tokens = TokenOperations(
            store=store, roster=roster, clock=clock, ids=ids, chance=chance, user_id=user_id
        )

    def health(self) -> Health:
        """Answer at once, without I/O."""
        return Health()

    async def readiness(self) -> Readiness:
        """Database, listeners, disk, not draining."""
        checks = [
            await self._database_check(),
            Check(name="listeners", ok=self.where is not None),
            Check(name="disk", ok=not self._dispatcher.is_disk_full),
            Check(name="not draining", ok=not self._is_draining),
        ]
        return Readiness(ready=all(check.ok for check in checks), checks=tuple(checks))

    async def status(self) -> StatusView:
        """One screen about the daemon."""
        known = await self._store.read(devices.list_devices)
        return StatusView(
            name=self._name,
            hub_id=self._hub_id,
            version=VERSION,
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            state="draining" if self._is_draining else "running",
            devices_known=len(known),
            devices_connected=len(self._roster),
            agents=len(await self._store.read(agents.list_agents)),
            runs=await self._store.read(runs.count_runs),
            model=self._model,
            listeners={} if self.where is None else self.where.spelled(),
            database=self._database,
            held_back=None if self._hold is None else told_hold(self._hold, self._clock.now()),
        )

    @property
    def _is_draining(self) -> bool:
        return self._dispatcher.is_draining or self._roster.is_draining

    async def _database_check(self) -> Check:
        try:
            await self._store.read(runs.list_runs, limit=1)
        except HubError as exc:
            return Check(name="database", ok=False, detail=str(exc))
        return Check(name="database", ok=True)
