"""A hub for the tests of operators: one agent and its runs are as the test says, all other nouns are real."""

import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast
from zoneinfo import ZoneInfo

import anyio
import httpx2
import msgspec
from msgspec import structs
from starlette.types import Receive, Scope, Send

from hub.accounts.desk import Accounts
from hub.accounts.keys import KeyStore
from hub.accounts.sign_in import SignIns
from hub.agents.capabilities import Capabilities as KeptCapabilities
from hub.agents.checkpoints import Checkpoints as KeptCheckpoints
from hub.agents.configs import AgentConfigs as KeptConfigs
from hub.agents.locks import Locks as HeldLocks
from hub.agents.measurements import Measurements as KeptMeasurements
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import Rules
from hub.api.binding import Head
from hub.api.deps import AnyNoun, Hub
from hub.api.door.access import PEER_UID, SOCKET_PATH, Access
from hub.api.door.bearer import BearerTokens
from hub.api.door.idempotency import Replays
from hub.api.door.server import Listening, OperatorServer
from hub.api.noun import ALL, Part
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses
from hub.api.nouns.agents import Agents, AgentView, Resumption, RunRequest
from hub.api.nouns.audit import AuditLog
from hub.api.nouns.board_memory import BoardMemories
from hub.api.nouns.boards import Boards
from hub.api.nouns.broadcasts import Broadcasts as BroadcastNoun
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
from hub.api.nouns.leads import Leads as LeadNoun
from hub.api.nouns.locks import Locks
from hub.api.nouns.logs import Logs
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.messages import Messages as MessageNoun
from hub.api.nouns.overviews import Overviews
from hub.api.nouns.questions import Questions as QuestionNoun
from hub.api.nouns.runs import (
    Cancellation,
    MoveView,
    OutcomeWord,
    RunDetail,
    RunErrorView,
    RunPage,
    RunProgress,
    Runs,
    RunView,
    UnitView,
)
from hub.api.nouns.schedules import (
    AgentSchedules,
    BackfillRequest,
    BackfillView,
    DecisionView,
    FirePage,
    FireView,
    Schedules,
    ScheduleView,
)
from hub.api.nouns.slots import Slots
from hub.api.nouns.souls import Souls as SoulNoun
from hub.api.nouns.system import Check, Health, Readiness, StatusView, System
from hub.api.nouns.templates import Templates
from hub.api.nouns.upkeep import Upkeep
from hub.api.paging import Paging
from hub.backups import Backups
from hub.clock import Clock, IdFactory, SystemChance, epoch_ms
from hub.coordination.broadcasts import Broadcasts
from hub.coordination.courier import Courier, make_courier
from hub.coordination.gateway_watch import GatewayMonitor
from hub.coordination.leads import LeadMessages, Leads
from hub.coordination.memory import BoardMemory
from hub.coordination.messages import Messages
from hub.coordination.provisioning import Provisioning
from hub.coordination.questions import Questions
from hub.coordination.soul_writer import SoulHomes, SoulWriter
from hub.coordination.souls import Souls
from hub.drain import Drain
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.health.issues import Issues as FoundIssues
from hub.links.attempts import FailedAttempts
from hub.links.gate import Gate
from hub.links.limits import PortLimits
from hub.log import Ring
from hub.metrics import Metrics
from hub.openclaw import Fleet
from hub.outbound import OutboundClient, OutboundRules
from hub.runs.agent_control import AgentControl
from hub.runs.budget import Budgets
from hub.runs.estimating import Estimator
from hub.runs.leases import Leadership
from hub.runs.run_order import RunOptions, run_options
from hub.runs.scheduler import Scheduler
from hub.runs.waiting import PAUSING
from hub.settings.reading import FileLines
from hub.settings.values import Address
from protocol.errors import IllegalTransition
from protocol.ids import BootId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RunOutcome, RunState, UnitState
from protocol.work import RunLimits
from storage.agents.agents import AgentRow, UnknownAgent
from storage.runs.runs import UnknownRun
from storage.store import Store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.identity import IdentityBench, open_identity
from tests.support.settings import SettingsBench

PATIENCE_S = 30.0  # of a client, on a busy machine
ROOMY = PortLimits(new_at_once=1_000, connections=256, connections_per_network=64, strangers=64)


def make_run(
    id: str = "r-1",
    state: RunState = RunState.QUEUED,
    *,
    waiting_for: str | None = None,
    missed_because: str | None = None,
    items: int = 0,
) -> RunView:
    is_done = state is RunState.COMPLETED
    return RunView(
        id=id,
        agent="notes",
        device="desk",
        state=state,
        outcome=RunOutcome.SUCCESS if is_done else None,
        waiting_for=waiting_for,
        missed_because=missed_because,
        units_total=3,
        units_done=2 if is_done else 0,
        units_skipped=1 if is_done else 0,
        items_created=items,
        created_at=START,
        completed_at=START + timedelta(seconds=75) if state in FINAL_RUN_STATES else None,
    )


def make_schedule(**about: object) -> ScheduleView:
    """Weekdays at seven in Berlin, unless *about* says otherwise."""
    fires = tuple(
        FireView(at=at, local=at.astimezone(ZoneInfo("Europe/Berlin")))
        for at in (START + timedelta(days=day, hours=-3) for day in (1, 2, 3))
    )
    given: dict[str, object] = {"id": "s-1", "kind": "cron", "expr": "0 7 * * 1-5", "next_fires": fires}
    return msgspec.convert(given | about, ScheduleView)


def make_decision(decision: str = "run", said: str = "a run was queued", *, fires: int = 1) -> DecisionView:
    return DecisionView(
        first_at=START - timedelta(days=fires - 1),
        fire_at=START,
        fires=fires,
        decision=decision,
        said=said,
        run="0197-aaaa-bbbbccccdddd",
        decided_at=START,
    )


class _NoRuns:
    """Nothing executes: no run has to be ended, none may start."""

    async def cancel(self, run_id: RunId, *, actor: str, reason: str) -> None: ...

    def let_start(self, *, is_recovered: bool = False) -> None: ...


def _no_fleet(clock: Clock) -> Fleet:
    """A fleet that is connected to nothing."""
    return Fleet(
        folder=Path(),
        rules=OutboundRules,
        clock=clock,
        chance=SeededChance(),
        metrics=Metrics(),
        version="0",
    )


def no_gateways(store: Store, *, clock: Clock, ids: IdFactory) -> Gateways:
    """Return the gateways that have rows; none is connected."""
    fleet = _no_fleet(clock)
    lease = Leadership(store, "status", BootId("boot"), clock=clock)
    monitor = GatewayMonitor(store, fleet, lease=lease, clock=clock)
    made = Gateways(store, fleet, monitor, clock=clock, ids=ids, metrics=Metrics())
    made.view_of = _Rows().view
    return made


Reached: TypeAlias = "Listening | InProcess"


class FakeHub:
    """A hub with one device and one agent, whose runs do what *progress* says; its other nouns are real."""

    def __init__(self) -> None:
        self.stuck = False
        self.held_back: str | None = None
        self.ready = True
        self.progress: list[RunProgress] = []
        self.goes_on = False  # whether a followed run stays live after *progress*
        self.started: dict[str | None, RunView] = {}
        self.wishes: list[RunOptions] = []  # of the runs that were started
        self.newest = [make_run("r-1", RunState.RUNNING), make_run("r-0", RunState.COMPLETED, items=2)]
        self.wanted_runs: dict[str, object] = {}  # filters of the last list
        self.schedule: ScheduleView | None = make_schedule()
        self.decided: list[DecisionView] = []
        self.owners = ["owner"]  # of an agent called notes, each
        self.lifecycle = "active"
        self.timezone = "UTC"
        self.done: list[tuple[str, ...]] = []  # what was asked for, by whom
        self.ring = Ring()  # what was logged
        self.dumper = Dumper(clock=FakeClock())
        self.drain = Drain()
        self.following = anyio.Event()
        self.left = anyio.Event()
        self.broken: Exception | None = None
        self.bench: IdentityBench  # from when it is served; the device desk is connected
        self.listening: Reached  # from when it is served
        self.settings: SettingsBench  # from when it is served; hub.toml lies beside its socket
        self.folder: Path  # from when it is served
        self.nouns: Hub  # from when it is served
        self.registry = FoundIssues(clock=FakeClock(), metrics=Metrics())  # has no check but what a test adds

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return a noun as everybody sees it."""
        return self.nouns.noun(kind)

    def open(self, bench: IdentityBench, settings: SettingsBench, folder: Path) -> None:
        """Create the nouns."""
        self.bench, self.settings, self.folder = bench, settings, folder
        self.nouns = Hub(bench.store)
        audit_log, messages = AuditLog(bench.store, bench.clock), self._messages()
        self.nouns.add(
            *bench.identity.nouns,
            _Agents(self),
            _Runs(self),
            _Schedules(self),
            _System(self),
            audit_log,
            messages,
            self._agent_configs(),
            self._agent_statuses(),
            self._boards(),
            self._broadcasts(),
            self._capabilities(),
            self._checkpoints(),
            self._connectors(),
            self._costs(),
            self._events(),
            no_gateways(bench.store, clock=bench.clock, ids=bench.ids),
            self._keys(),
            self._leads(messages),
            self._locks(),
            self._measurements(),
            self._memories(),
            self._slots(),
            self._souls(),
            self._templates(),
            self._upkeep(),
            Config(settings.reloader, bench.store),
            Debug(self.dumper, audit_log),
            Handbook(),
            Issues(self.registry),
            Items(bench.store, clock=bench.clock, metrics=bench.metrics),
            Logs(self.ring, bench.store),
            Overviews(self.nouns),
            self._questions(),
        )

    def _boards(self) -> Boards:
        return Boards(self.bench.store, owner_id=self.bench.owner_id, **self._coordinating)

    def _memories(self) -> BoardMemories:
        return BoardMemories(BoardMemory(self.bench.store, **self._coordinating))

    @property
    def _coordinating(self) -> dict[str, Any]:
        bench = self.bench
        return {
            "clock": bench.clock,
            "ids": bench.ids,
            "metrics": bench.metrics,
        }

    def _messages(self) -> MessageNoun:
        """Return messages that are stored; no courier delivers them, so ask with ``wait_s=0``."""
        return MessageNoun(self.bench.store, self._sent(self._courier()))

    def _leads(self, messages: MessageNoun) -> LeadNoun:
        """Return leads and messages to them; none is created at a gateway, and nothing is delivered."""
        bench = self.bench
        given: dict[str, Any] = {"clock": bench.clock, "ids": bench.ids}
        fleet, metrics = _no_fleet(bench.clock), Metrics()
        boot = BootId("boot")
        making = Provisioning(bench.store, fleet=fleet, boot_id=boot, metrics=metrics, **given)
        leads = Leads(bench.store, making, metrics=metrics, **given)
        said = LeadMessages(bench.store, self._sent(self._courier()), leads, **given)
        return LeadNoun(leads, said, messages)

    def _broadcasts(self) -> BroadcastNoun:
        """Return broadcasts that are stored; no courier delivers them, so ask with ``wait_s=0``."""
        bench, courier = self.bench, self._courier()
        sent = Broadcasts(
            bench.store,
            self._sent(courier),
            courier,
            owner_id=bench.owner_id,
            clock=bench.clock,
            ids=bench.ids,
            metrics=Metrics(),
        )
        return BroadcastNoun(bench.store, sent, why_away=lambda _: "it is not connected")

    def _sent(self, courier: Courier) -> Messages:
        bench = self.bench
        return Messages(
            bench.store,
            courier,
            clock=bench.clock,
            ids=bench.ids,
            metrics=bench.metrics,
        )

    def _courier(self) -> Courier:
        bench = self.bench
        return make_courier(
            bench.store,
            fleet=_no_fleet(bench.clock),
            links=bench.roster,
            chance=SeededChance(),
            boot_id=BootId("boot"),
            clock=bench.clock,
            ids=bench.ids,
            metrics=bench.metrics,
        )

    def _questions(self) -> QuestionNoun:
        bench = self.bench
        given: dict[str, Any] = {"clock": bench.clock, "ids": bench.ids, "metrics": bench.metrics}
        asked = Questions(bench.store, **given)
        return QuestionNoun(bench.store, asked)

    def _souls(self) -> SoulNoun:
        """Return souls of agents at a gateway that is not there: no write comes to its end."""
        bench = self.bench
        given: dict[str, Any] = {"clock": bench.clock, "ids": bench.ids, "metrics": bench.metrics}
        homes = SoulHomes(lambda _: None, bench.roster.find, bench.ids)
        writer = SoulWriter(store=bench.store, homes=homes, **given)
        return SoulNoun(Souls(store=bench.store, homes=homes, writer=writer, **given))

    def _keys(self) -> Keys:
        """Keys in the folder of this test's hub."""
        bench = self.bench
        chance = SystemChance()  # each call has one of its own
        given: dict[str, Any] = {"clock": bench.clock, "chance": chance, "ids": bench.ids}
        keys = KeyStore(self.folder, chance=chance, environ={})
        client = OutboundClient(OutboundRules())
        accounts = Accounts(bench.store, client=client, keys=keys, owner="boot", **given)
        return Keys(bench.store, accounts, clock=bench.clock)

    def _connectors(self) -> Connectors:
        """Return the noun of the connectors in the store; hub.toml has none."""
        bench = self.bench
        given: dict[str, Any] = {"clock": bench.clock, "chance": SeededChance(), "ids": bench.ids}
        folder = Path(tempfile.gettempdir())  # nothing is sealed
        keys = KeyStore(folder, chance=SeededChance(), environ={})
        client = OutboundClient(OutboundRules())
        accounts = Accounts(bench.store, client=client, keys=keys, owner="boot", **given)
        sign_ins = SignIns(accounts, bench.store, links=bench.roster.connected, **given)
        return Connectors(bench.store, accounts, sign_ins, clock=bench.clock)

    def _events(self) -> Events:
        bench = self.bench
        return Events(store=bench.store, ring=self.ring, clock=bench.clock, boot_id=BootId("boot"))

    def _costs(self) -> Costs:
        budgets = Budgets(self.bench.store, clock=self.bench.clock, metrics=Metrics())
        estimator = Estimator(
            self.bench.store,
            extractor=Extractor(Models(), secret=bytes(32)),
            models=Models(),
            budgets=budgets,
            clock=self.bench.clock,
            ids=IdFactory(self.bench.clock, SeededChance()),
            limits=RunLimits(),
        )
        return Costs(
            store=self.bench.store, roster=self.bench.roster, estimator=estimator, clock=self.bench.clock
        )

    def _agent_statuses(self) -> AgentStatuses:
        control = AgentControl(self.bench.store, control=_NoRuns(), clock=self.bench.clock)
        return AgentStatuses(store=self.bench.store, roster=self.bench.roster, control=control)

    def _templates(self) -> Templates:
        lines = FileLines(lambda: self.settings.reloader.reading)
        return Templates(store=self.bench.store, writer=self.writer, lines=lines)

    @property
    def writer(self) -> AgentWriter:
        bench = self.bench
        return AgentWriter(bench.store, clock=bench.clock, ids=bench.ids, metrics=Metrics())

    def _agent_configs(self) -> AgentConfigs:
        bench = self.bench
        return AgentConfigs(bench.store, KeptConfigs(bench.store, clock=bench.clock, metrics=Metrics()))

    def _capabilities(self) -> Capabilities:
        bench = self.bench
        kept = KeptCapabilities(bench.store, clock=bench.clock, metrics=Metrics())
        return Capabilities(bench.store, kept, FileLines(lambda: self.settings.reloader.reading))

    def _locks(self) -> Locks:
        bench = self.bench
        held = HeldLocks(bench.store, clock=bench.clock, ids=bench.ids, metrics=Metrics())
        return Locks(bench.store, held, clock=bench.clock)

    def _slots(self) -> Slots:
        bench = self.bench
        scheduler = Scheduler(
            store=bench.store,
            extractor=Extractor(Models(), secret=bytes(32)),
            clock=bench.clock,
            ids=bench.ids,
            metrics=Metrics(),
            boot_id=BootId("boot"),
            on_queued=lambda: None,
            on_cancel=lambda run_id: None,
        )
        return Slots(store=bench.store, scheduler=scheduler)

    def _checkpoints(self) -> Checkpoints:
        bench = self.bench
        return Checkpoints(bench.store, KeptCheckpoints(bench.store, clock=bench.clock, metrics=Metrics()))

    def _measurements(self) -> Measurements:
        bench = self.bench
        return Measurements(bench.store, KeptMeasurements(bench.store, clock=bench.clock, metrics=Metrics()))

    def _upkeep(self) -> Upkeep:
        return Upkeep(
            store=self.bench.store,
            executing=lambda: 2,
            drain=self.drain,
            backups=Backups(self.bench.store, self.folder, None, clock=self.bench.clock),
            clock=self.bench.clock,
        )


class _System(System):
    """A state of the hub that the test chooses."""

    def __init__(self, hub: FakeHub) -> None:
        self._fake = hub

    async def health(self, head: Head) -> Health:
        head.status = 503 if self._fake.stuck else 200
        return Health(status="stuck" if self._fake.stuck else "ok")

    async def readiness(self, head: Head) -> Readiness:
        ready = self._fake.ready
        head.status = 200 if ready else 503
        return Readiness(ready=ready, checks=(Check(name="database", ok=ready),))

    async def status(self) -> StatusView:
        if self._fake.broken is not None:
            raise self._fake.broken
        return StatusView(
            name="home",
            hub_id="h-1",
            key="EH7DDX5-BKSRGCD-YTL7BKA-I36SE44-NXX3KLN-K7ELKS2-YQ57PI7-4XEG4QI",
            version="0.1.0",
            uptime_s=3_725.0,
            devices_known=1,
            devices_connected=1,
            gateways_known=len(await self._fake.nouns.noun(Gateways, self.user_id).all()),
            agents=1,
            runs={RunState.RUNNING: 1, RunState.COMPLETED: 4},
            model="gpt-5-mini (openai)",
            listeners={"devices": "127.0.0.1:8770"},
            database="sqlite:///hub.db",
            held_back=self._fake.held_back,
            issues=self._fake.nouns.noun(Issues, self.user_id).counts(),
        )


class _Rows:
    """Agents that were made, as their rows have them."""

    async def view(self, row: AgentRow) -> AgentView:
        return AgentView(
            id=row.id,
            name=row.name,
            device=row.device_name or "",
            device_connected=False,
            paths=row.paths,
            file_extensions=row.file_extensions,
            data_types=row.data_types,
            prompt=row.prompt,
            source="api",
            config_rev=row.config_rev,
            gateway=row.gateway,
        )


class _Agents(Agents):
    """One agent called notes; those that a test creates are rows of the store."""

    def __init__(self, hub: FakeHub) -> None:
        super().__init__(
            store=hub.bench.store,
            roster=hub.bench.roster,
            control=cast(Any, None),
            runs=_Runs(hub),
            schedules=_Schedules(hub),
            writer=hub.writer,
            rules=Rules,
            lines=FileLines(lambda: hub.settings.reloader.reading),
        )
        self._hub = hub

    async def view(self, row: AgentRow) -> AgentView:
        return await _Rows().view(row)

    async def all(self, part: Part = ALL) -> list[AgentView]:
        one = await self.get("notes")
        found = [structs.replace(one, user=owner) for owner in self._hub.owners]
        return part.of(found, lambda agent: (agent.name, agent.user))

    async def get(self, name: str) -> AgentView:
        if name != "notes":
            raise UnknownAgent(f"no agent is named {name}")
        schedule = self._hub.schedule
        return AgentView(
            id="a-1",
            name="notes",
            device="desk",
            device_connected=True,
            paths=("~/notes",),
            file_extensions=(".md",),
            data_types=("tasks",),
            prompt="Find what I promised to do.",
            schedule=None if schedule is None else schedule.expr,
            schedules=() if schedule is None else (schedule,),
            next_fires=() if schedule is None else schedule.next_fires,
            timezone=self._hub.timezone,
            lifecycle=self._hub.lifecycle,
            last_run=make_run("r-0", RunState.COMPLETED, items=2),
        )

    async def start_run(
        self, name: str, wanted: RunRequest, actor: str, idempotency_key: str | None = None
    ) -> RunView:
        await self.get(name)
        started = self._hub.started
        if idempotency_key is None or idempotency_key not in started:
            self._hub.wishes.append(run_options(**structs.asdict(wanted)))
            started[idempotency_key] = make_run(f"r-{len(started) + 2}")
        return started[idempotency_key]

    async def pause(self, name: str, actor: str) -> AgentView:
        self._hub.done.append(("pause agent", name, actor))
        self._hub.lifecycle = "paused"
        return await self.get(name)

    async def resume(self, name: str, how: Resumption, actor: str) -> AgentView:
        self._hub.done.append(("resume agent", name, "catch up" if how.catch_up else "", actor))
        self._hub.lifecycle = "active"
        return await self.get(name)


class _Schedules(Schedules):
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def next_fires(self, name: str) -> AgentSchedules:
        return AgentSchedules(schedules=(await self._hub.noun(Agents).get(name)).schedules)

    async def past_fires(self, name: str, paging: Paging) -> FirePage:
        await self._hub.noun(Agents).get(name)
        page = paging.fetched(self._hub.decided, key=lambda fire: (epoch_ms(fire.fire_at), fire.schedule))
        return FirePage(fires=page.items, next_cursor=page.next_cursor)

    async def backfill(self, name: str, wanted: BackfillRequest, actor: str) -> BackfillView:
        """Answer as if there was a fire on each day, of which one had a run."""
        first, last, dry_run = wanted.first, wanted.last, wanted.dry_run
        days = (last - first).days + (last > first)
        self._hub.done.append(("backfill", name, first.isoformat(), last.isoformat(), str(dry_run), actor))
        return BackfillView(
            agent=name,
            dry_run=dry_run,
            first_at=first,
            last_at=last,
            fires=days + 1,
            wanted=days,
            runs=() if dry_run else tuple(f"r-{number}" for number in range(days)),
        )


class _Runs(Runs):
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def newest(
        self,
        paging: Paging,
        agent: str | None = None,
        device: str | None = None,
        outcome: OutcomeWord | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> RunPage:
        if agent is not None:
            await self._hub.noun(Agents).get(agent)
        self._hub.wanted_runs = {"device": device, "outcome": outcome, "since": since, "until": until}
        after = paging.after
        found = [run for run in self._hub.newest if after is None or run.id < str(after[1])]
        page = paging.fetched(found, key=lambda run: (epoch_ms(run.created_at), run.id))
        return RunPage(runs=page.items, next_cursor=page.next_cursor)

    async def get(self, run_id: str) -> RunDetail:
        run = self._find(run_id)
        return RunDetail(
            **structs.asdict(run),
            as_of=START + timedelta(seconds=75),
            units=(
                UnitView(
                    path="a.md",
                    state=UnitState.DONE,
                    items=2,
                    read_at=START + timedelta(seconds=35),
                    planned_at=START + timedelta(seconds=55),
                    settled_at=START + timedelta(seconds=75),
                ),
                UnitView(path="b.md", state=UnitState.FAILED, error="not text"),
                UnitView(path="c.md", state=UnitState.SKIPPED),
            ),
            errors=(RunErrorView(path="b.md", code="not_convertible", message="not text", at=START),),
            history=tuple(_moves(run)),
        )

    def _find(self, name: str) -> RunView:
        known = {run.id: run for run in self._hub.started.values()} | {"r-1": make_run()}
        known |= {step.run.id: step.run for step in self._hub.progress}
        if name not in known:
            raise UnknownRun(f"no run has the id {name}")
        return known[name]

    async def follow(self, run_id: str) -> AsyncGenerator[RunProgress]:
        self._hub.following.set()
        try:
            for step in self._hub.progress:
                yield step
            if self._hub.goes_on:
                await anyio.sleep_forever()
        finally:
            self._hub.left.set()

    async def cancel(self, run_id: str, why: Cancellation, actor: str) -> RunView:
        return self._moved(run_id, RunState.CANCELLED, "cancel run", why.reason, actor)

    async def pause(self, run_id: str, actor: str) -> RunView:
        if self._find(run_id).state is RunState.RUNNING:
            run = self._moved(run_id, RunState.RUNNING, "pause run", actor)
            return structs.replace(run, is_pausing=True, waiting_for=PAUSING)
        return self._moved(run_id, RunState.PAUSED, "pause run", actor)

    async def resume(self, run_id: str, actor: str) -> RunView:
        if self._find(run_id).state is not RunState.PAUSED:
            raise IllegalTransition(f"run {run_id} was not paused by anybody")
        return self._moved(run_id, RunState.QUEUED, "resume run", actor)

    async def rerun(self, run_id: str, actor: str) -> RunView:
        return structs.replace(self._moved(run_id, RunState.QUEUED, "rerun", actor), id="r-again")

    def _moved(self, name: str, state: RunState, *done: str) -> RunView:
        self._hub.done.append((done[0], name, *done[1:]))
        run = self._find(name)
        return run if run.state in FINAL_RUN_STATES else structs.replace(run, state=state)


def _moves(run: RunView) -> Iterator[MoveView]:
    """Queued, then running, then as *run* has it."""
    yield MoveView(at=START, before=None, after=RunState.QUEUED, actor="hub")
    if run.state is not RunState.QUEUED:
        at = START + timedelta(seconds=15)
        yield MoveView(at=at, before=RunState.QUEUED, after=RunState.RUNNING, actor="hub")
    if run.completed_at is not None:
        yield MoveView(at=run.completed_at, before=RunState.RUNNING, after=run.state, actor="hub")


def steps(*runs: RunView) -> list[RunProgress]:
    """A run's progress, one step for each view."""
    return [RunProgress(seq=seq, run=run, working_on="a.md") for seq, run in enumerate(runs)]


class InProcess(NamedTuple):
    """Access layer of an operators' server without sockets, and the addresses that the sockets would have."""

    access: Access
    unix: Path
    tcp: Address = Address("127.0.0.1", 80)

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
async def serving(hub: FakeHub, folder: Path, **options: Any) -> AsyncIterator[Listening]:
    """The operator's server over *hub*: a socket in *folder*, and a free TCP port.

    Args:
        options: of ``OperatorServer``, where they matter.
    """
    async with _server(hub, folder, **options) as server, anyio.create_task_group() as tasks:
        hub.listening = listening = await tasks.start(server.serve)
        yield listening
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def answering(hub: FakeHub, folder: Path, **options: Any) -> AsyncIterator[InProcess]:
    """The operator's server over *hub* without sockets, for tests of routes and of the access to them."""
    async with _server(hub, folder, **options) as server:
        hub.listening = reached = InProcess(server.access, folder / "hub.sock")
        yield reached


@asynccontextmanager
async def _server(hub: FakeHub, folder: Path, **options: Any) -> AsyncIterator[OperatorServer]:
    async with open_identity() as hub.bench:
        await hub.bench.connect(await hub.bench.device("desk"))
        store, clock = hub.bench.store, hub.bench.clock
        given: dict[str, Any] = {
            "address": Address("127.0.0.1", 0),
            "unix_path": folder / "hub.sock",
            "body_bytes": 2_000,
            "metrics": lambda: b"hub_build_info 1\n",
            "clock": clock,
            "gate": Gate(ROOMY, clock=clock, metrics=Metrics()),
            "bearer": BearerTokens(store, clock=clock, attempts=FailedAttempts(clock)),
            "replays": Replays(store, clock=clock),
        }
        settings = SettingsBench(folder)
        await settings.reloader.begin()
        hub.open(hub.bench, settings, folder)
        yield OperatorServer(hub.nouns, **(given | options))


@asynccontextmanager
async def over_tcp(reached: Reached, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the TCP listener, with an operator's token or without."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(verify=False)
    if isinstance(reached, InProcess):
        transport = reached.over(("127.0.0.1", 1))
    async with httpx2.AsyncClient(
        transport=transport, base_url=f"http://{reached.tcp}", headers=headers, timeout=PATIENCE_S
    ) as client:
        yield client


@asynccontextmanager
async def over_unix(reached: Reached) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the Unix socket, where everything may be asked."""
    transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(uds=str(reached.unix), verify=False)
    if isinstance(reached, InProcess):
        transport = reached.over(None, **{PEER_UID: os.getuid(), SOCKET_PATH: str(reached.unix)})
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=PATIENCE_S) as client:
        yield client
