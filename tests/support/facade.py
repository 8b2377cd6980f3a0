"""A hub's other side for the operators' tests: answers from what the test put in."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio

from hub.ops.address import Address
from hub.ops.facade import (
    AgentView,
    Check,
    DeviceView,
    Health,
    NewToken,
    Readiness,
    RunDetail,
    RunErrorView,
    RunProgress,
    RunView,
    StatusView,
    TokenView,
    UnitView,
    UnknownToken,
)
from hub.ops.server import Listening, OperatorServer
from protocol.lifecycles import RunOutcome, RunState, UnitState
from storage.store import UnknownAgent, UnknownRun
from tests.support.clock import START


def make_run(
    id: str = "r-1", state: RunState = RunState.QUEUED, *, waiting_for: str | None = None, items: int = 0
) -> RunView:
    is_done = state is RunState.COMPLETED
    return RunView(
        id=id,
        agent="notes",
        device="desk",
        state=state,
        outcome=RunOutcome.SUCCESS if is_done else None,
        waiting_for=waiting_for,
        units_total=3,
        units_done=2 if is_done else 0,
        units_skipped=1 if is_done else 0,
        items_created=items,
        created_at=START,
        completed_at=START + timedelta(seconds=75) if is_done else None,
    )


class FakeHub:
    """A ``HubFacade`` with one device and one agent, whose runs do what *progress* says."""

    def __init__(self) -> None:
        self.stuck = False
        self.ready = True
        self.progress: list[RunProgress] = []
        self.goes_on = False  # whether a followed run stays live after *progress*
        self.started: dict[str | None, RunView] = {}
        self.made: list[TokenView] = []
        self.following = anyio.Event()
        self.left = anyio.Event()
        self.broken: Exception | None = None

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
        )

    async def devices(self) -> list[DeviceView]:
        return [DeviceView(id="d-1", name="desk", connected=True, platform="linux", created_at=START)]

    async def agents(self) -> list[AgentView]:
        return [await self.agent("notes")]

    async def agent(self, name: str) -> AgentView:
        if name != "notes":
            raise UnknownAgent(f"no agent is named {name}")
        return AgentView(
            id="a-1",
            name="notes",
            device="desk",
            device_connected=True,
            paths=("~/notes",),
            file_extensions=(".md",),
            data_types=("tasks",),
            prompt="Find what I promised to do.",
            schedule="0 7 * * 1-5",
            last_run=make_run("r-0", RunState.COMPLETED, items=2),
        )

    async def runs(self, *, agent: str | None, limit: int) -> list[RunView]:
        if agent is not None:
            await self.agent(agent)
        return [make_run("r-1", RunState.RUNNING), make_run("r-0", RunState.COMPLETED, items=2)][:limit]

    async def run(self, run_id: str) -> RunDetail:
        known = {run.id: run for run in self.started.values()} | {"r-1": make_run()}
        known |= {step.run.id: step.run for step in self.progress}
        if run_id not in known:
            raise UnknownRun(f"no run has the id {run_id}")
        return RunDetail(
            **known[run_id].model_dump(),
            units=(
                UnitView(path="a.md", state=UnitState.DONE, items=2),
                UnitView(path="b.md", state=UnitState.FAILED, error="not text"),
            ),
            errors=(RunErrorView(path="b.md", code="not_convertible", message="not text", at=START),),
        )

    async def start_run(self, agent_name: str, idempotency_key: str | None) -> RunView:
        await self.agent(agent_name)
        if idempotency_key is None or idempotency_key not in self.started:
            self.started[idempotency_key] = make_run(f"r-{len(self.started) + 2}")
        return self.started[idempotency_key]

    async def follow_run(self, run_id: str) -> AsyncGenerator[RunProgress]:
        self.following.set()
        try:
            for step in self.progress:
                yield step
            if self.goes_on:
                await anyio.sleep_forever()
        finally:
            self.left.set()

    async def create_token(self, device_name: str) -> NewToken:
        token = TokenView(id=f"t-{len(self.made) + 1}", device=device_name, created_at=START)
        self.made.append(token)
        return NewToken(id=token.id, device=device_name, token="hub_dev_shown-once", created_at=START)

    async def tokens(self) -> list[TokenView]:
        return self.made

    async def revoke_token(self, token_id: str) -> TokenView:
        for number, token in enumerate(self.made):
            if token.id == token_id:
                self.made[number] = token.model_copy(update={"revoked_at": START})
                return self.made[number]
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
