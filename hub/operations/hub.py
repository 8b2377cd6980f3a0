"""The hub as one: whether it lives, whether it takes work, where it listens; and all its nouns."""

from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import Self

import msgspec

from hub.agents.capabilities import Capabilities
from hub.agents.checkpoints import Checkpoints
from hub.agents.configs import AgentConfigs
from hub.agents.locks import Locks as HeldLocks
from hub.agents.measurements import Measurements
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import rules_of
from hub.api.facade import AnyNoun
from hub.api.noun import Noun
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.locks import Locks
from hub.api.views.view import Check, Health, Readiness, StatusView
from hub.backups import Backups
from hub.clock import Clock
from hub.drain import Drain
from hub.health.issues import Issues
from hub.links.roster import Roster
from hub.log import Ring
from hub.loop_lag import LoopLag
from hub.metrics import Metrics
from hub.operations.agent_configs import AgentConfigOperations
from hub.operations.agent_writing import AgentWriting, TemplateOperations
from hub.operations.agents import AgentOperations
from hub.operations.audit import AuditOperations
from hub.operations.capabilities import CapabilityOperations
from hub.operations.checkpoints import CheckpointOperations
from hub.operations.config import ConfigOperations
from hub.operations.connectors import ConnectorOperations
from hub.operations.costs import CostOperations
from hub.operations.debug import DebugOperations
from hub.operations.events import EventOperations
from hub.operations.identity import Identity
from hub.operations.issues import IssueOperations
from hub.operations.items import ItemOperations
from hub.operations.keys import KeyOperations
from hub.operations.logs import LogOperations
from hub.operations.measurements import MeasurementOperations
from hub.operations.readiness import ReadinessChecks
from hub.operations.runs import RunOperations
from hub.operations.schedules import ScheduleOperations
from hub.operations.seen import Seen
from hub.operations.slots import SlotOperations
from hub.operations.standings import StandingOperations
from hub.operations.upkeep import UpkeepOperations
from hub.operations.waiting import Waiting
from hub.runs.agent_control import AgentControl
from hub.runs.budget import Reached
from hub.runs.control import RunControl
from hub.runs.disk import DiskGuard
from hub.runs.dispatcher import Dispatcher
from hub.runs.estimating import Estimator
from hub.runs.progress import RunWatch
from hub.runs.scheduler import Scheduler
from hub.runs.waiting import Hold, told_hold
from hub.settings.address import Address
from hub.settings.file_lines import FileLines
from hub.version import VERSION
from protocol.ids import BootId, DeviceId, UserId
from storage.agents import agents
from storage.devices import devices, users
from storage.devices.users import UnknownUser
from storage.runs import runs
from storage.store import Store


class Where(msgspec.Struct, frozen=True):
    """Where a running hub listens."""

    devices: tuple[str, int]
    operator: Address
    socket: Path
    webhooks: Address | None = None

    def spelled(self) -> dict[str, str]:
        """As people read it."""
        told = {
            "devices": str(Address(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }
        return told if self.webhooks is None else told | {"webhooks": str(self.webhooks)}


class Operations(Seen):
    """Answers operators. Implements ``api.facade.HubFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        dispatcher: Dispatcher,
        control: RunControl,
        estimator: Estimator,
        scheduler: Scheduler,
        watch: RunWatch,
        clock: Clock,
        identity: Identity,
        hub_id: str,
        key: str,
        name: str,
        model: str | None,
        database: str,
        hold: Hold | None = None,
        reached_budgets: Callable[[], Iterable[Reached]] = tuple,
        last_heard: Callable[[DeviceId | None], int | None] = lambda _: None,
        drain: Drain,
        backups: Backups,
        log: Ring | None = None,
        debug: DebugOperations | None = None,
        lag: LoopLag | None = None,
        disk: DiskGuard | None = None,
        issues: Issues | None = None,
        measurements: Measurements | None = None,
        agent_configs: AgentConfigs | None = None,
        writer: AgentWriter,
        locks: HeldLocks,
        capabilities: Capabilities | None = None,
        checkpoints: Checkpoints | None = None,
        gateways: Gateways,
        connectors: ConnectorOperations,
        coordination: Iterable[Noun],
        keys: KeyOperations,
        boot_id: BootId,
        config: ConfigOperations,
    ) -> None:
        self._store = store
        self._roster = roster
        self._dispatcher = dispatcher
        self._clock = clock
        self._hub_id = hub_id
        self._key = key
        self._name = name
        self._model = model
        self._database = database
        self._hold = hold
        self._drain = drain
        self._started = clock.monotonic()
        self.where: Where | None = None  # set once everything listens
        waiting = Waiting(
            store=store, dispatcher=dispatcher, clock=clock, hold=hold, reached_budgets=reached_budgets
        )
        self.devices = identity.devices
        self.pairings = identity.pairings
        self.invitations = identity.invitations
        self.tokens = identity.tokens
        self.operator_tokens = identity.operator_tokens
        self.agent_tokens = identity.agent_tokens
        self.connectors = connectors
        self.keys = keys
        self.runs = RunOperations(
            store=store,
            dispatcher=dispatcher,
            control=control,
            waiting=waiting,
            watch=watch,
            clock=clock,
        )
        self.schedules = ScheduleOperations(store=store, scheduler=scheduler)
        self.standings = StandingOperations(
            store=store,
            roster=roster,
            control=AgentControl(store, control=control, clock=clock),
            lines=FileLines(lambda: config.reloader.reading),
            last_heard=last_heard,
        )
        self.slots = SlotOperations(store=store, scheduler=scheduler)
        self.agents = AgentOperations(
            store=store,
            roster=roster,
            control=control,
            runs=self.runs,
            schedules=self.schedules,
        )
        gateways.views = self.agents
        gateways.limits = lambda: writer.limits
        self.costs = CostOperations(store=store, roster=roster, estimator=estimator, clock=clock)
        self.checkpoints = CheckpointOperations(
            store, checkpoints or Checkpoints(store, clock=clock, metrics=Metrics())
        )
        self.agent_configs = AgentConfigOperations(
            store, agent_configs or AgentConfigs(store, clock=clock, metrics=Metrics())
        )
        self.measurements = MeasurementOperations(
            store, measurements or Measurements(store, clock=clock, metrics=Metrics())
        )
        self.items = ItemOperations(store)
        nouns: tuple[Noun, ...] = (identity.users, Locks(store, locks, clock=clock), gateways, *coordination)
        self._nouns = {type(noun): noun for noun in nouns}
        self.audit = AuditOperations(store, clock)
        self.issues = IssueOperations(issues or Issues(clock=clock, metrics=Metrics()))
        self.config = config
        lines = FileLines(lambda: config.reloader.reading)
        self.capabilities = CapabilityOperations(
            store, capabilities or Capabilities(store, clock=clock, metrics=Metrics()), lines
        )
        self.agent_writing = AgentWriting(
            store=store,
            writer=writer,
            views=self.agents,
            rules=lambda: rules_of(config.reloader.current),
            lines=lines,
        )
        self.templates = TemplateOperations(store=store, writer=writer, lines=lines)
        self.upkeep = UpkeepOperations(
            store=store,
            executing=lambda: dispatcher.executing,
            drain=drain,
            backups=backups,
            clock=clock,
        )
        self.logs = LogOperations(log or Ring(), store)
        self.debug = debug or DebugOperations(clock=clock)
        self._lag = lag
        self._disk = disk
        self._checks = ReadinessChecks(
            store=store,
            clock=clock,
            looks=(
                self._look_at_listeners,
                self._look_at_disk,
                self._look_at_drain,
                self._look_at_settings,
                self._look_at_hold,
            ),
        )
        self.events = EventOperations(store=store, ring=log or Ring(), clock=clock, boot_id=boot_id)

    def seen_by(self, user_id: UserId | None) -> Self:
        """The hub as this user sees it: every noun of it that is ``Seen`` is narrowed."""
        if user_id == self.user_id:
            return self
        seen = copy(self)
        seen.user_id = user_id
        for name, noun in vars(self).items():
            if isinstance(noun, Seen):
                setattr(seen, name, noun.seen_by(user_id))
        return seen

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, as this user sees it."""
        found = self._nouns[kind]
        assert isinstance(found, kind)
        return found.seen_by(self.user_id)

    async def user_named(self, name: str) -> UserId:
        """Raises UnknownUser."""
        row = await self._store.read(users.find_user_by_name, name)
        if row is None:
            raise UnknownUser(f"there is no user {name!r}")
        return row.id

    def health(self) -> Health:
        """Answer at once, without I/O."""
        return Health(status="stuck" if self._lag is not None and self._lag.is_stuck else "ok")

    async def readiness(self) -> Readiness:
        """Database, listeners, disk, not draining; held back, or on old settings, is degraded."""
        return await self._checks.readiness()

    async def status(self) -> StatusView:
        """One screen about the daemon."""
        mine = self.user_id
        everybodys = await self._store.read(devices.list_devices)
        known = [row.id for row in everybodys if mine in (None, row.user_id)]
        ready_gateways = await self.noun(Gateways).ready()
        return StatusView(
            name=self._name,
            hub_id=self._hub_id,
            key=self._key,
            version=VERSION,
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            state="draining" if self._is_draining else "running",
            devices_known=len(known),
            devices_connected=sum(self._roster.find(device_id) is not None for device_id in known),
            gateways_known=len(ready_gateways),
            gateways_ready=sum(ready_gateways.values()),
            agents=len(await self._store.read(agents.list_agents, user_id=mine)),
            runs=await self._store.read(runs.count_runs, user_id=mine),
            model=self._model,
            listeners={} if self.where is None else self.where.spelled(),
            database=self._database,
            held_back=None if self._hold is None else told_hold(self._hold, self._clock.now()),
            disk_full=None if self._disk is None else self._disk.told,
            issues=self.issues.counts(),
            config_generation=self.config.reloader.generation,
        )

    @property
    def _is_draining(self) -> bool:
        return self._drain.is_begun or self._dispatcher.is_draining or self._roster.is_draining

    def _look_at_listeners(self) -> Check:
        return Check(name="listeners", ok=self.where is not None)

    def _look_at_disk(self) -> Check:
        return Check(name="disk", ok=not self._dispatcher.is_disk_full)

    def _look_at_drain(self) -> Check:
        return Check(name="not draining", ok=not self._is_draining)

    def _look_at_settings(self) -> Check:
        degraded = self.config.reloader.on_last_good
        told = "hub.toml was broken at the start; in use is what was good last" if degraded else None
        return Check(name="settings", ok=True, degraded=degraded, detail=told)

    def _look_at_hold(self) -> Check:
        held = None if self._hold is None else told_hold(self._hold, self._clock.now())
        return Check(name="not held back", ok=True, degraded=held is not None, detail=held)
