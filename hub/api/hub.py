"""The hub as a whole: its nouns, its health, readiness and status, and its addresses."""

from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import Self

import msgspec

from hub.agents.capabilities import Capabilities as KeptCapabilities
from hub.agents.checkpoints import Checkpoints as KeptCheckpoints
from hub.agents.configs import AgentConfigs as KeptConfigs
from hub.agents.locks import Locks as HeldLocks
from hub.agents.measurements import Measurements as KeptMeasurements
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import rules_of
from hub.api.facade import AnyNoun
from hub.api.identity import Identity
from hub.api.noun import Noun
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses
from hub.api.nouns.agents import Agents
from hub.api.nouns.audit import AuditLog
from hub.api.nouns.capabilities import Capabilities
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.config import Config
from hub.api.nouns.connectors import Connectors
from hub.api.nouns.costs import Costs
from hub.api.nouns.debug import Debug, Dumper
from hub.api.nouns.events import Events
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.handbook import Handbook
from hub.api.nouns.issues import Issues
from hub.api.nouns.items import Items
from hub.api.nouns.keys import Keys
from hub.api.nouns.locks import Locks
from hub.api.nouns.logs import Logs
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.overviews import Overviews
from hub.api.nouns.runs import Runs
from hub.api.nouns.schedules import Schedules
from hub.api.nouns.slots import Slots
from hub.api.nouns.system import System
from hub.api.nouns.templates import Templates
from hub.api.nouns.upkeep import Upkeep
from hub.api.readiness import ReadinessChecks
from hub.api.view import Check, Health, Readiness, StatusView
from hub.api.waiting import Waiting
from hub.backups import Backups
from hub.clock import Clock
from hub.drain import Drain
from hub.health.issues import Issues as FoundIssues
from hub.links.roster import Roster
from hub.log import Ring
from hub.loop_lag import LoopLag
from hub.metrics import Metrics
from hub.runs.agent_control import AgentControl
from hub.runs.budget import Reached
from hub.runs.control import RunControl
from hub.runs.disk import DiskGuard
from hub.runs.dispatcher import Dispatcher
from hub.runs.estimating import Estimator
from hub.runs.lifecycle import RunWatch
from hub.runs.scheduler import Scheduler
from hub.runs.waiting import Hold, describe_hold
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
    """Addresses of a running hub."""

    devices: tuple[str, int]
    operator: Address
    socket: Path
    webhooks: Address | None = None

    def spelled(self) -> dict[str, str]:
        """Return the addresses as text, by listener."""
        spelled = {
            "devices": str(Address(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }
        return spelled if self.webhooks is None else spelled | {"webhooks": str(self.webhooks)}


class Operations:
    """The nouns of a running hub. Implements ``api.facade.HubFacade``.

    Attributes:
        user_id: the user whose things are visible; None: everybody's.
    """

    user_id: UserId | None = None

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
        debug: Dumper | None = None,
        lag: LoopLag | None = None,
        disk: DiskGuard | None = None,
        issues: FoundIssues | None = None,
        measurements: KeptMeasurements | None = None,
        agent_configs: KeptConfigs | None = None,
        writer: AgentWriter,
        locks: HeldLocks,
        capabilities: KeptCapabilities | None = None,
        checkpoints: KeptCheckpoints | None = None,
        gateways: Gateways,
        connectors: Connectors,
        coordination: Iterable[Noun],
        keys: Keys,
        boot_id: BootId,
        config: Config,
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
        schedules = Schedules(store=store, scheduler=scheduler)
        run_noun = Runs(
            store=store,
            dispatcher=dispatcher,
            control=control,
            waiting=waiting,
            watch=watch,
            clock=clock,
        )
        lines = FileLines(lambda: config.reloader.reading)
        agent_noun = Agents(
            store=store,
            roster=roster,
            control=control,
            runs=run_noun,
            schedules=schedules,
            writer=writer,
            rules=lambda: rules_of(config.reloader.current),
            lines=lines,
        )
        gateways.view_of = agent_noun.view
        gateways.limits = lambda: writer.limits
        audit_log = AuditLog(store, clock)
        nouns: tuple[Noun, ...] = (
            agent_noun,
            Items(store),
            Overviews(self),
            run_noun,
            schedules,
            Slots(store=store, scheduler=scheduler),
            Templates(store=store, writer=writer, lines=lines),
            System(self),
            audit_log,
            config,
            *identity.nouns,
            connectors,
            gateways,
            *coordination,
            keys,
            AgentConfigs(store, agent_configs or KeptConfigs(store, clock=clock, metrics=Metrics())),
            AgentStatuses(
                store=store,
                roster=roster,
                control=AgentControl(store, control=control, clock=clock),
                lines=lines,
                last_heard=last_heard,
            ),
            Capabilities(
                store, capabilities or KeptCapabilities(store, clock=clock, metrics=Metrics()), lines
            ),
            Checkpoints(store, checkpoints or KeptCheckpoints(store, clock=clock, metrics=Metrics())),
            Costs(store=store, roster=roster, estimator=estimator, clock=clock),
            Debug(debug or Dumper(clock=clock), audit_log),
            Handbook(),
            Events(store=store, ring=log or Ring(), clock=clock, boot_id=boot_id),
            Issues(issues or FoundIssues(clock=clock, metrics=Metrics())),
            Locks(store, locks, clock=clock),
            Logs(log or Ring(), store),
            Measurements(store, measurements or KeptMeasurements(store, clock=clock, metrics=Metrics())),
            Upkeep(
                store=store,
                executing=lambda: dispatcher.executing,
                drain=drain,
                backups=backups,
                clock=clock,
            ),
        )
        self._nouns = {type(noun): noun for noun in nouns}
        self._reloader = config.reloader
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

    def seen_by(self, user_id: UserId | None) -> Self:
        """Return the hub scoped to this user's things; None: to everybody's."""
        if user_id == self.user_id:
            return self
        scoped = copy(self)
        scoped.user_id = user_id
        return scoped

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, as this user sees it."""
        found = self._nouns[kind]
        assert isinstance(found, kind)
        return found.seen_by(self.user_id)

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises UnknownUser."""
        row = await self._store.read(users.find_user_by_name, name)
        if row is None:
            raise UnknownUser(f"there is no user {name!r}")
        return row.id

    def health(self) -> Health:
        """Return at once whether the event loop turns, without I/O."""
        return Health(status="stuck" if self._lag is not None and self._lag.is_stuck else "ok")

    async def readiness(self) -> Readiness:
        """Check database, listeners, disk and drain; a hub held back or on old settings is degraded."""
        return await self._checks.readiness()

    async def status(self) -> StatusView:
        """Return version, uptime, devices, runs, model and listeners."""
        mine = self.user_id
        all_devices = await self._store.read(devices.list_devices)
        known = [row.id for row in all_devices if mine in (None, row.user_id)]
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
            held_back=None if self._hold is None else describe_hold(self._hold, self._clock.now()),
            disk_full=None if self._disk is None else self._disk.problem,
            issues=self.noun(Issues).counts(),
            config_generation=self._reloader.generation,
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
        degraded = self._reloader.on_last_good
        detail = "hub.toml was broken at the start; in use is what was good last" if degraded else None
        return Check(name="settings", ok=True, degraded=degraded, detail=detail)

    def _look_at_hold(self) -> Check:
        held = None if self._hold is None else describe_hold(self._hold, self._clock.now())
        return Check(name="not held back", ok=True, degraded=held is not None, detail=held)
