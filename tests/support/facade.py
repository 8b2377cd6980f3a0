"""A hub's other side for the operators' tests: answers from what the test put in."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import httpx2

from hub.ops.address import Address
from hub.ops.facade import UnknownToken
from hub.ops.server import Listening, OperatorServer
from hub.ops.views import (
    AgentView,
    BackfillView,
    Check,
    DecisionView,
    DeviceView,
    FireView,
    Health,
    MoveView,
    NewToken,
    Readiness,
    RunDetail,
    RunErrorView,
    RunProgress,
    RunView,
    ScheduleView,
    StatusView,
    TokenView,
    UnitView,
)
from hub.runs.waiting import PAUSING
from protocol.errors import IllegalTransition
from protocol.lifecycles import FINAL_RUN_STATES, RunOutcome, RunState, UnitState
from storage.store import UnknownAgent, UnknownRun
from tests.support.clock import START


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
        self.made: list[TokenView] = []
        self.schedule: ScheduleView | None = make_schedule()
        self.decided: list[DecisionView] = []
        self.lifecycle = "active"
        self.timezone = "UTC"
        self.done: list[tuple[str, ...]] = []  # what was asked for, by whom
        self.following = anyio.Event()
        self.left = anyio.Event()
        self.broken: Exception | None = None
        self.devices = _Devices()
        self.agents = _Agents(self)
        self.schedules = _Schedules(self)
        self.runs = _Runs(self)
        self.tokens = _Tokens(self)

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
        )


class _Devices:
    async def all(self) -> list[DeviceView]:
        return [DeviceView(id="d-1", name="desk", connected=True, platform="linux", created_at=START)]


class _Agents:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def all(self) -> list[AgentView]:
        return [await self.get("notes")]

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

    async def decisions(self, name: str, *, limit: int) -> list[DecisionView]:
        await self._hub.agents.get(name)
        return self._hub.decided[:limit]

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

    async def newest(self, *, agent: str | None, limit: int) -> list[RunView]:
        if agent is not None:
            await self._hub.agents.get(agent)
        return self._hub.newest[:limit]

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


class _Tokens:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def create(self, device_name: str) -> NewToken:
        made = self._hub.made
        token = TokenView(id=f"t-{len(made) + 1}", device=device_name, created_at=START)
        made.append(token)
        return NewToken(id=token.id, device=device_name, token="hub_dev_shown-once", created_at=START)

    async def all(self) -> list[TokenView]:
        return self._hub.made

    async def revoke(self, token_id: str) -> TokenView:
        made = self._hub.made
        for number, token in enumerate(made):
            if token.id == token_id:
                made[number] = token.model_copy(update={"revoked_at": START})
                return made[number]
        raise UnknownToken(f"no token has the id {token_id}")


def steps(*runs: RunView) -> list[RunProgress]:
    """A run's progress, one step for each view."""
    return [RunProgress(seq=seq, run=run, working_on="a.md") for seq, run in enumerate(runs)]


@asynccontextmanager
async def serving(hub: FakeHub, folder: Path, *, event_streams: int = 16) -> AsyncIterator[Listening]:
    """The operator's server over *hub*: a socket in *folder*, and a free TCP port."""
    server = OperatorServer(
        hub,
        address=Address("127.0.0.1", 0),
        unix_path=folder / "hub.sock",
        version="0.1.0",
        body_bytes=2_000,
        event_streams=event_streams,
        metrics=lambda: b"hub_build_info 1\n",
    )
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(server.serve)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def over_unix(listening: Listening) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the Unix socket, where everything may be asked."""
    transport = httpx2.AsyncHTTPTransport(uds=str(listening.unix))
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client
