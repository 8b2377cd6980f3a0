"""Runs that hints of changed files start: of which agents, when, and how many."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hub.extraction.extractor import Extractor
from hub.runs.file_watch import CALM_S, FORGOTTEN_S, LATEST_S, PAUSE_S
from protocol.ids import AgentId, DeviceId
from protocol.lifecycles import RunState
from storage.agents import agents, state_moves
from storage.agents.configs import ModelUse
from storage.runs import runs
from storage.runs.runs import RunRow
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support.families import each
from tests.support.hub import NOTES, WEEKDAYS, ServedHub, open_hub

pytestmark = pytest.mark.anyio
OFTEN = DeclaredSchedule(kind="cron", expr="*/10 * * * *", tz="Europe/Berlin")


class HintedHub:
    """A hub whose service for changed files runs, and its device ``desk``."""

    def __init__(self, hub: ServedHub, device_id: DeviceId) -> None:
        self.hub, self.device_id = hub, device_id

    async def hint(self, *names: str, device_id: DeviceId | None = None) -> int:
        ids = [
            (await self.hub.store.read(agents.agent_called, name, None)).id for name in names or ("notes",)
        ]
        return await self.hub.work.file_watch.hint(device_id or self.device_id, ids)

    async def runs(self, name: str = "notes") -> list[RunRow]:
        row = await self.hub.store.read(agents.agent_called, name, None)
        return await self.hub.store.read(runs.list_runs, agent_id=row.id)

    async def has_runs(self, count: int) -> None:
        """Wait until the agent has so many runs."""
        with anyio.fail_after(10):
            while len(await self.runs()) != count:
                await anyio.lowlevel.checkpoint()

    async def end(self) -> None:
        """Let the newest run begin and end."""
        await self.hub.move((await self.runs())[0].id, RunState.RUNNING)
        await self.hub.move((await self.runs())[0].id, RunState.COMPLETED)

    async def seconds_until_next_run(self, *, hint_every_s: float = 0.0) -> float:
        """Let time pass, with hints, until a run is queued."""
        before, passed = len(await self.runs()), 0.0
        while len(await self.runs()) == before:
            await self.hub.clock.pass_time(1.0)
            passed += 1.0
            if hint_every_s and passed % hint_every_s == 0:
                await self.hint()
            assert passed < 2 * LATEST_S, "no run was queued"
        return passed


@pytest.fixture
async def hinted(tmp_path: Path) -> AsyncIterator[HintedHub]:
    async with open_hub(tmp_path) as hub, anyio.create_task_group() as tasks:
        await tasks.start(hub.work.file_watch.serve)
        yield HintedHub(hub, (await hub.device("desk")).id)
        tasks.cancel_scope.cancel()


async def test_hint_queues_a_run_with_the_trigger_change(hinted: HintedHub) -> None:
    assert await hinted.hint() == 1
    await hinted.has_runs(1)
    (run,) = await hinted.runs()
    assert (run.trigger, run.trigger_kind, run.schedule_id) == ("change", "wake", None)


READERS: dict[str, dict[str, Any]] = {
    "an agent without a schedule": {"schedule": None},
    "an agent that collects its questions": {"model_use": ModelUse(batch=True)},
    "an agent that reads nothing": {"paths": (), "data_types": ()},
}


@each("reader", list(READERS))
async def test_hint_starts_no_run_of_an_agent_which_does_not_read_by_itself(
    hinted: HintedHub, reader: str
) -> None:
    await hinted.hub.agent(reader, **(NOTES | {"schedule": WEEKDAYS} | READERS[reader]))
    assert await hinted.hint(reader, "notes") == 1
    await hinted.has_runs(1)
    assert await hinted.runs(reader) == []


async def test_hint_starts_no_run_of_a_paused_agent(hinted: HintedHub) -> None:
    row = await hinted.hub.store.read(agents.agent_called, "notes", None)
    await hinted.hub.run("r-1", RunState.RUNNING)
    assert await hinted.hint() == 1
    await hinted.hub.store.write(state_moves.move, row.id, "lifecycle", "paused", at=1, actor="test")
    await hinted.hub.move("r-1", RunState.COMPLETED)
    await hinted.hub.clock.pass_time(LATEST_S)
    assert await hinted.hint() == 0
    assert [run.id for run in await hinted.runs()] == ["r-1"]


async def test_hint_of_another_device_starts_no_run(hinted: HintedHub) -> None:
    other = await hinted.hub.device("lab")
    assert await hinted.hint(device_id=other.id) == 0


async def test_hint_with_an_unknown_agent_starts_the_runs_of_the_known_agents(hinted: HintedHub) -> None:
    row = await hinted.hub.store.read(agents.agent_called, "notes", None)
    assert await hinted.hub.work.file_watch.hint(hinted.device_id, [AgentId("nothing"), row.id]) == 1


async def test_hints_are_joined_with_a_waiting_run_of_another_cause(hinted: HintedHub) -> None:
    await hinted.hub.run("r-1")
    await hinted.hint()
    await hinted.hub.clock.pass_time(LATEST_S)
    assert [run.id for run in await hinted.runs()] == ["r-1"]


async def test_hint_during_a_run_starts_another_run_after_its_end(hinted: HintedHub) -> None:
    await hinted.hub.run("r-1", RunState.RUNNING)
    await hinted.hint()
    await hinted.hub.clock.pass_time(5 * PAUSE_S)
    assert len(await hinted.runs()) == 1
    await hinted.hub.move("r-1", RunState.COMPLETED)
    await hinted.hub.clock.pass_time(PAUSE_S)
    await hinted.has_runs(2)


async def test_runs_start_with_a_pause_while_hints_go_on(hinted: HintedHub) -> None:
    await hinted.hint()
    await hinted.has_runs(1)
    for _ in range(3):
        await hinted.end()
        await hinted.hint()
        assert await hinted.seconds_until_next_run(hint_every_s=2) == PAUSE_S


async def test_pause_after_a_long_run_counts_from_its_end(hinted: HintedHub) -> None:
    await hinted.hint()
    await hinted.has_runs(1)
    await hinted.hub.move((await hinted.runs())[0].id, RunState.RUNNING)
    await hinted.hint()
    await hinted.hub.clock.pass_time(10 * PAUSE_S)
    await hinted.hub.move((await hinted.runs())[0].id, RunState.COMPLETED)
    assert 0 < await hinted.seconds_until_next_run() <= PAUSE_S


async def test_document_that_a_model_reads_is_read_once_hints_are_over_or_at_the_latest_time(
    hinted: HintedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks_model(*_: object) -> bool:
        return False

    monkeypatch.setattr(Extractor, "reads_prose_by_rules", asks_model)
    await hinted.hub.reschedule(OFTEN)
    await hinted.hint()
    assert await hinted.seconds_until_next_run() == CALM_S
    await hinted.end()
    await hinted.hub.clock.pass_time(LATEST_S)
    await hinted.hint()
    assert await hinted.seconds_until_next_run(hint_every_s=10) == LATEST_S


def noted_starts(hinted: HintedHub, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of the times at which runs are started from now on; each ends at once."""
    started: list[float] = []

    async def start(*_: object) -> None:
        started.append(hinted.hub.clock.monotonic())

    monkeypatch.setattr(hinted.hub.work.file_watch._news, "start", start)
    return started


@each(("asks_model", "most"), [(True, 15), (False, 80)])
async def test_saves_without_an_end_start_few_runs_an_hour(
    hinted: HintedHub, monkeypatch: pytest.MonkeyPatch, asks_model: bool, most: int
) -> None:
    monkeypatch.setattr(Extractor, "reads_prose_by_rules", lambda *_: not asks_model)
    await hinted.hub.reschedule(OFTEN)
    hinted_at: list[float] = []
    started, clock = noted_starts(hinted, monkeypatch), hinted.hub.clock
    while len(hinted_at) < 3600 // 21:
        await hinted.hint()
        hinted_at.append(clock.monotonic())
        await clock.pass_time(21.0)
    assert 3 < len(started) <= most
    await clock.pass_time(2 * FORGOTTEN_S)
    before = len(started)
    await hinted.hint()
    await clock.pass_time(CALM_S)
    assert len(started) == before + 1


@pytest.mark.parametrize(
    ("expr", "most"),
    [
        ("0 7 * * 1,2", 9),
        *(
            pytest.param(expr, most, marks=pytest.mark.slow)
            for expr, most in (("0 7 * * 1", 2), ("0,5 7 * * 1", 2), ("0 7 * * *", 9), ("0 * * * *", 36))
        ),
    ],
)
async def test_runs_with_a_model_by_hints_are_a_part_of_the_period_of_the_schedule(
    hinted: HintedHub, monkeypatch: pytest.MonkeyPatch, expr: str, most: int
) -> None:
    monkeypatch.setattr(Extractor, "reads_prose_by_rules", lambda *_: False)
    await hinted.hub.reschedule(DeclaredSchedule(kind="cron", expr=expr, tz="Europe/Berlin"))
    for _ in range(8 * 15):
        before = len(await hinted.runs())
        await hinted.hint()
        await hinted.hub.clock.pass_time(240.0)
        if len(await hinted.runs()) > before:
            await hinted.end()
    assert most / 2 <= len(await hinted.runs()) <= most


async def test_pause_after_a_run_by_a_hint_outlasts_a_restart(
    hinted: HintedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Extractor, "reads_prose_by_rules", lambda *_: False)
    await hinted.hub.reschedule(DeclaredSchedule(kind="cron", expr="0 7 * * 1", tz="Europe/Berlin"))
    await hinted.hint()
    await hinted.seconds_until_next_run()
    await hinted.end()
    watch = hinted.hub.work.file_watch
    watch._started, watch._ran = {}, {}  # as after a start
    for number in range(20):  # of another cause
        await hinted.hub.run(f"by-hand-{number}")
        await hinted.hub.move(f"by-hand-{number}", RunState.RUNNING)
        await hinted.hub.move(f"by-hand-{number}", RunState.COMPLETED)
    await hinted.hint()
    await hinted.hub.clock.pass_time(6 * FORGOTTEN_S)
    assert len(await hinted.runs()) == 21
    await hinted.hub.clock.pass_time(1.5 * FORGOTTEN_S)
    await hinted.has_runs(22)


async def test_each_save_of_an_hour_and_of_a_meeting_starts_a_run_by_rules(
    hinted: HintedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = noted_starts(hinted, monkeypatch)
    for nth, gap_s in enumerate([120.0] * 30 + [PAUSE_S + 1] * 12, 1):
        await hinted.hint()
        await hinted.hub.clock.pass_time(gap_s)
        assert len(started) == nth


async def test_two_hubs_on_one_database_queue_a_single_run_for_the_same_news(hinted: HintedHub) -> None:
    row = await hinted.hub.store.read(agents.agent_called, "notes", None)
    start: Callable[..., Any] = hinted.hub.work.file_watch._news.start
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start, row, "change")
        tasks.start_soon(start, row, "change")
    assert len(await hinted.runs()) == 1
