"""A hub's other side for the operators' tests: answers from what the test put in."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import copy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import httpx2

from hub.backups import Backups
from hub.clock import IdFactory, epoch_ms
from hub.drain import Drain
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.links.attempts import FailedAttempts
from hub.links.gate import Gate
from hub.links.limits import PortLimits
from hub.log import Ring
from hub.metrics import Metrics
from hub.operations.audit import AuditOperations
from hub.operations.config import ConfigOperations
from hub.operations.costs import CostOperations
from hub.operations.debug import DebugOperations
from hub.operations.devices import DeviceOperations
from hub.operations.events import EventOperations
from hub.operations.invitations import InvitationOperations
from hub.operations.issues import IssueOperations
from hub.operations.items import ItemOperations
from hub.operations.logs import LogOperations
from hub.operations.operator_tokens import OperatorTokenOperations
from hub.operations.pairings import PairingOperations
from hub.operations.tokens import TokenOperations
from hub.operations.upkeep import UpkeepOperations
from hub.operations.users import UserOperations
from hub.ops.address import Address
from hub.ops.bearer import BearerTokens
from hub.ops.issues import Issues
from hub.ops.replays import Replays
from hub.ops.server import Listening, OperatorServer
from hub.ops.views import (
    AgentView,
    BackfillView,
    Check,
    DecisionView,
    FireView,
    Health,
    MoveView,
    Readiness,
    RunDetail,
    RunErrorView,
    RunProgress,
    RunView,
    ScheduleView,
    StatusView,
    UnitView,
)
from hub.runs.budget import Budgets
from hub.runs.estimating import Estimator
from hub.runs.waiting import PAUSING
from protocol.errors import IllegalTransition
from protocol.ids import BootId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, RunOutcome, RunState, UnitState
from protocol.work import RunLimits
from storage.store import UnknownAgent, UnknownRun, UnknownUser
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.identity import IdentityBench, open_identity
from tests.support.settings import SettingsBench

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
    return ScheduleView.model_validate(given | about)


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


class FakeHub:
    """A ``HubFacade`` with one device and one agent, whose runs do what *progress* says."""

    def __init__(self) -> None:
        self.stuck = False
        self.held_back: str | None = None
        self.ready = True
        self.progress: list[RunProgress] = []
        self.goes_on = False  # whether a followed run stays live after *progress*
        self.started: dict[str | None, RunView] = {}
        self.newest = [make_run("r-1", RunState.RUNNING), make_run("r-0", RunState.COMPLETED, items=2)]
        self.schedule: ScheduleView | None = make_schedule()
        self.decided: list[DecisionView] = []
        self.owners = ["owner"]  # of an agent called notes, each
        self.lifecycle = "active"
        self.timezone = "UTC"
        self.done: list[tuple[str, ...]] = []  # what was asked for, by whom
        self.ring = Ring()  # what was logged
        self.debug = DebugOperations(clock=FakeClock())
        self.drain = Drain()
        self.following = anyio.Event()
        self.left = anyio.Event()
        self.broken: Exception | None = None
        self.bench: IdentityBench  # from when it is served; the device desk is connected
        self.listening: Listening  # from when it is served
        self.settings: SettingsBench  # from when it is served; hub.toml lies beside its socket
        self.config: ConfigOperations
        self.user_id: UserId | None = None  # who sees it
        self.registry = Issues(clock=FakeClock(), metrics=Metrics())  # has no check but what a test adds
        self.agents = _Agents(self)
        self.schedules = _Schedules(self)
        self.runs = _Runs(self)

    def seen_by(self, user_id: UserId | None) -> "FakeHub":
        seen = copy(self)
        seen.user_id = user_id
        return seen

    async def user_named(self, name: str) -> UserId:
        for user in await self.bench.identity.users.all():
            if user.name == name:
                return UserId(user.id)
        raise UnknownUser(f"no user is named {name}")

    @property
    def users(self) -> UserOperations:
        return self.bench.identity.users.seen_by(self.user_id)

    @property
    def items(self) -> ItemOperations:
        return ItemOperations(self.bench.store).seen_by(self.user_id)

    @property
    def devices(self) -> DeviceOperations:
        return self.bench.identity.devices.seen_by(self.user_id)

    @property
    def pairings(self) -> PairingOperations:
        return self.bench.identity.pairings.seen_by(self.user_id)

    @property
    def invitations(self) -> InvitationOperations:
        return self.bench.identity.invitations.seen_by(self.user_id)

    @property
    def tokens(self) -> TokenOperations:
        return self.bench.identity.tokens.seen_by(self.user_id)

    @property
    def operator_tokens(self) -> OperatorTokenOperations:
        return self.bench.identity.operator_tokens.seen_by(self.user_id)

    @property
    def events(self) -> EventOperations:
        events = EventOperations(
            store=self.bench.store, ring=self.ring, clock=self.bench.clock, boot_id=BootId("boot")
        )
        return events.seen_by(self.user_id)

    @property
    def audit(self) -> AuditOperations:
        return AuditOperations(self.bench.store, self.bench.clock)

    @property
    def costs(self) -> CostOperations:
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
        costs = CostOperations(
            store=self.bench.store, roster=self.bench.roster, estimator=estimator, clock=self.bench.clock
        )
        return costs.seen_by(self.user_id)

    @property
    def upkeep(self) -> UpkeepOperations:
        return UpkeepOperations(
            store=self.bench.store,
            executing=lambda: 2,
            drain=self.drain,
            backups=Backups(self.bench.store, self.listening.unix.parent, None, clock=self.bench.clock),
            clock=self.bench.clock,
        )

    @property
    def logs(self) -> LogOperations:
        return LogOperations(self.ring, self.bench.store)

    @property
    def issues(self) -> IssueOperations:
        return IssueOperations(self.registry).seen_by(self.user_id)

    def health(self) -> Health:
        return Health(status="stuck" if self.stuck else "ok")

    async def readiness(self) -> Readiness:
        return Readiness(ready=self.ready, checks=(Check(name="database", ok=self.ready),))

    async def status(self) -> StatusView:
        if self.broken is not None:
            raise self.broken
        return StatusView(
            name="home",
            hub_id="h-1",
            version="0.1.0",
            uptime_s=3_725.0,
            devices_known=1,
            devices_connected=1,
            agents=1,
            runs={RunState.RUNNING: 1, RunState.COMPLETED: 4},
            model="gpt-5-mini (openai)",
            listeners={"devices": "127.0.0.1:8770"},
            database="sqlite:///hub.db",
            held_back=self.held_back,
            issues=self.issues.counts(),
        )


class _Agents:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def all(self) -> list[AgentView]:
        one = await self.get("notes")
        return [one.model_copy(update={"user": owner}) for owner in self._hub.owners]

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

    async def start_run(self, name: str, idempotency_key: str | None, *, actor: str) -> RunView:
        await self.get(name)
        started = self._hub.started
        if idempotency_key is None or idempotency_key not in started:
            started[idempotency_key] = make_run(f"r-{len(started) + 2}")
        return started[idempotency_key]

    async def pause(self, name: str, *, actor: str) -> AgentView:
        self._hub.done.append(("pause agent", name, actor))
        self._hub.lifecycle = "paused"
        return await self.get(name)

    async def resume(self, name: str, *, catch_up: bool, actor: str) -> AgentView:
        self._hub.done.append(("resume agent", name, "catch up" if catch_up else "", actor))
        self._hub.lifecycle = "active"
        return await self.get(name)


class _Schedules:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def of_agent(self, name: str) -> list[ScheduleView]:
        return list((await self._hub.agents.get(name)).schedules)

    async def decisions(
        self, name: str, *, limit: int, after: tuple[int, str] | None = None
    ) -> list[DecisionView]:
        await self._hub.agents.get(name)
        beyond = [one for one in self._hub.decided if after is None or epoch_ms(one.fire_at) < after[0]]
        return beyond[:limit]

    async def backfill(
        self, name: str, *, first: datetime, last: datetime, dry_run: bool, actor: str
    ) -> BackfillView:
        """A fire on each day, of which one had a run."""
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


class _Runs:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def newest(self, *, agent: str | None, limit: int, before: str | None = None) -> list[RunView]:
        if agent is not None:
            await self._hub.agents.get(agent)
        return [run for run in self._hub.newest if before is None or run.id < before][:limit]

    async def get(self, name: str) -> RunDetail:
        run = self._find(name)
        return RunDetail(
            **run.model_dump(),
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

    async def follow(self, name: str) -> AsyncGenerator[RunProgress]:
        self._hub.following.set()
        try:
            for step in self._hub.progress:
                yield step
            if self._hub.goes_on:
                await anyio.sleep_forever()
        finally:
            self._hub.left.set()

    async def cancel(self, name: str, *, reason: str, actor: str) -> RunView:
        return self._moved(name, RunState.CANCELLED, "cancel run", reason, actor)

    async def pause(self, name: str, *, actor: str) -> RunView:
        if self._find(name).state is RunState.RUNNING:
            run = self._moved(name, RunState.RUNNING, "pause run", actor)
            return run.model_copy(update={"is_pausing": True, "waiting_for": PAUSING})
        return self._moved(name, RunState.PAUSED, "pause run", actor)

    async def resume(self, name: str, *, actor: str) -> RunView:
        if self._find(name).state is not RunState.PAUSED:
            raise IllegalTransition(f"run {name} was not paused by anybody")
        return self._moved(name, RunState.QUEUED, "resume run", actor)

    async def rerun(self, name: str, *, actor: str) -> RunView:
        return self._moved(name, RunState.QUEUED, "rerun", actor).model_copy(update={"id": "r-again"})

    def _moved(self, name: str, state: RunState, *done: str) -> RunView:
        self._hub.done.append((done[0], name, *done[1:]))
        return self._find(name).model_copy(update={"state": state})


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


@asynccontextmanager
async def serving(hub: FakeHub, folder: Path, **options: Any) -> AsyncIterator[Listening]:
    """The operator's server over *hub*: a socket in *folder*, and a free TCP port.

    Args:
        options: of ``OperatorServer``, where they matter.
    """
    async with open_identity() as hub.bench, anyio.create_task_group() as tasks:
        await hub.bench.connect(await hub.bench.device("desk"))
        store, clock = hub.bench.store, hub.bench.clock
        given: dict[str, Any] = {
            "address": Address("127.0.0.1", 0),
            "unix_path": folder / "hub.sock",
            "version": "0.1.0",
            "body_bytes": 2_000,
            "metrics": lambda: b"hub_build_info 1\n",
            "clock": clock,
            "gate": Gate(ROOMY, clock=clock, metrics=Metrics()),
            "bearer": BearerTokens(store, clock=clock, attempts=FailedAttempts(clock)),
            "replays": Replays(store, clock=clock),
        }
        settings = SettingsBench(folder)
        await settings.reloader.begin()
        hub.settings, hub.config = settings, ConfigOperations(settings.reloader)
        server = OperatorServer(hub, **(given | options))
        hub.listening = await tasks.start(server.serve)
        yield hub.listening
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def over_tcp(listening: Listening, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the TCP listener, with an operator's token or without."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(
        base_url=f"http://{listening.tcp}", headers=headers, trust_env=False
    ) as client:
        yield client


@asynccontextmanager
async def over_unix(listening: Listening) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the Unix socket, where everything may be asked."""
    transport = httpx2.AsyncHTTPTransport(uds=str(listening.unix))
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client
