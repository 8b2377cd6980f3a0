"""Answers that a device loses, on a real connection: its calls are repeated by their ids, and hold nobody."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest

from hub.runs import delivery
from hub.runs.call_window import MAX_SILENT_MS
from hub.runs.delivery import MAX_SENDS
from hub.runs.interrupt import Interrupt
from protocol.errors import ErrorCode
from protocol.frame import MAX_RESULT_BYTES
from protocol.ids import DeviceId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents.agents import AgentRow
from storage.runs.runs import RunRow
from storage.store import Store
from tests.support.runs import Bench
from tests.support.wire import Port, RawDevice, open_port, until

# Devices by age. What keeps ids says so by one of the last two; the first is one of the oldest frames alone.
AGES: dict[str, tuple[str, ...]] = {
    "the oldest frames alone": (),
    "acknowledged runs": ("agent_ack",),
    "kept ids": ("tool.insert",),
    "several calls in a frame": ("tool.insert", "tool_calls"),
}
# The ages between the oldest and the newest add a frame or a capability each.
each_age = pytest.mark.parametrize(
    "age",
    [
        pytest.param(age, marks=pytest.mark.slow if 0 < nth < len(AGES) - 1 else ())
        for nth, age in enumerate(AGES)
    ],
)
Loses = Callable[["Device", str], bool]  # given the id of a call that is done: whether its answer is lost
LOSSES: dict[str, Loses] = {
    "no answer": lambda device, id: False,
    "each twentieth answer": lambda device, id: device.answers.total() % 20 == 0,
    "the first answer to each call": lambda device, id: device.answers[id] == 1,
}
NONE, EACH_FIRST = LOSSES["no answer"], LOSSES["the first answer to each call"]
ALL: Loses = lambda device, id: True  # noqa: E731
MAX_LONGER_S = 60.0
TICKS_S = 1.0  # of deadlines, and of the time that passes in a play
SILENT_S = MAX_SILENT_MS / 1000


class Device:
    """A device that keeps the rows of calls by their ids, and loses some of the answers.

    Attributes:
        answers: how often it answered each call, lost or not.
        takes_s: how long it takes to write a row. A call that comes again meanwhile is the same call.
        is_serial: it does one call after the other, in the order in which they come.
        is_forgetful: it keeps no ids, so a call that comes again has another row.
        answer: what it answers besides the id of the call.
    """

    is_serial = is_forgetful = False

    def __init__(self, files: dict[str, str], loses: Loses) -> None:
        self.rows: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.received = 0  # frames with calls
        self.unanswered: set[str] = set()
        self.queries: list[str] = []
        self.takes_s = 0.0
        self.answer: dict[str, Any] | None = None
        self._files = files
        self.loses = loses
        self._writing: set[str] = set()
        self._turn = anyio.Lock()

    async def serve(self, port: Port, raw: RawDevice, tasks: anyio.abc.TaskGroup) -> None:
        """Answer the hub until cancelled."""
        async for message in raw.socket:
            frame = json.loads(message)
            if frame["type"] == "agent_run":
                run = {"run_id": frame["run_id"], "fence": frame["fence"]}
                for path, content in self._files.items():
                    await raw.say(type="agent_data", files=[{"path": path, "content": content}], **run)
                await raw.say(type="agent_complete", **run)
            calls = frame.get("calls", [frame] if frame["type"] == "tool_call" else [])
            self.received += bool(calls)
            for call in calls:
                self.unanswered.add(call["id"])
                self.queries += [call["id"]] if call["action"] == "query" else []
                if self.takes_s == 0.0:
                    await self._do(raw, call["id"])
                elif call["id"] not in self._writing or self.is_forgetful:
                    self._writing.add(call["id"])
                    tasks.start_soon(self._do_slowly, port, raw, call["id"])

    @property
    def inserts(self) -> dict[str, int]:
        """Return how often it answered each call but queries."""
        return {id: count for id, count in self.answers.items() if id not in self.queries}

    async def _do_slowly(self, port: Port, raw: RawDevice, id: str) -> None:
        async with self._turn if self.is_serial else nullcontext():
            if id not in self.queries:
                await port.clock.sleep(self.takes_s)
            self._writing.discard(id)
            await self._do(raw, id)

    async def _do(self, raw: RawDevice, id: str) -> None:
        if id not in self.queries and (id not in self.rows or self.is_forgetful):
            self.rows[id] += 1
        self.answers[id] += 1
        if not self.loses(self, id):
            self.unanswered.discard(id)
            await raw.say(type="tool_result", id=id, **(self.answer or {"result": {"id": f"row of {id}"}}))


class Play:
    """A hub, and a device that is connected to it; time passes while nothing but lost answers is awaited.

    Attributes:
        stall_s: duration of repeated stalls of the hub; several deadlines are over after each.
    """

    stall_s = 0.0

    def __init__(self, bench: Bench, port: Port, device: Device) -> None:
        self.bench, self.port, self.device = bench, port, device

    async def run(self, interrupt: Interrupt | None = None) -> tuple[RunRow, float]:
        """Execute a run; return it and the seconds that it took."""
        began = self.bench.clock.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_time)
            run = await self.bench.run(interrupt)
            tasks.cancel_scope.cancel()
        return run, self.bench.clock.monotonic() - began

    async def _pass_time(self) -> None:
        while True:
            await until(self._is_quiet)
            for _ in range(3):  # until the hub has written what it does meanwhile
                await self.bench.store.write(lambda c: None)
                await self.bench.clock.pass_time(0.0)
            if self._is_quiet():
                self.bench.clock.advance(self.stall_s)
                await self.bench.clock.pass_time(TICKS_S)

    def _is_quiet(self) -> bool:
        """Return True if the hub awaits calls that the device has received and not answered, and no other."""
        link = self.port.link(str(self.bench.agent.device_id))
        awaited = set(link._calls._open)  # type: ignore[attr-defined]
        is_slow = awaited or self.device.answer  # which may be refused, and then sent again after a while
        return bool(is_slow) and awaited <= self.device.unanswered and self._sent() == self.device.received

    def _sent(self) -> float:
        frames = ("tool_call", "tool_calls")
        return sum(self.port.count("hub_frames_total", direction="out", type=type) for type in frames)


@pytest.fixture(autouse=True)
def settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer wait for others: that is time of the machine, in which the time of a play would pass."""
    monkeypatch.setattr(delivery, "MAX_SETTLE_WAIT_S", 0.0)


@asynccontextmanager
async def playing(
    store: Store,
    agent: AgentRow,
    files: dict[str, str],
    loses: Loses,
    can: Sequence[str] = (),
    *,
    max_sends: int = MAX_SENDS,
) -> AsyncIterator[Play]:
    """Connect a device with these files over a real WebSocket."""
    bench = Bench(store, agent, max_sends=max_sends)
    name = str(agent.device_id)
    device = Device(files, loses)
    async with open_port(bench.clock) as port, port.device(name, capabilities=tuple(can)) as raw:
        bench.links[DeviceId(name)] = port.link(name)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(device.serve, port, raw, tasks)
            yield Play(bench, port, device)
            tasks.cancel_scope.cancel()


def files_of(sizes: Sequence[int]) -> dict[str, str]:
    """Return files with so many tasks each."""
    return {
        f"{name}.md": "".join(f"- [ ] task {number} of {name}\n" for number in range(size))
        for name, size in zip("abcdefghijklmnopqrstuvwxyz", sizes, strict=False)
    }


@pytest.mark.parametrize(
    "sizes",
    [
        (10,) * 3,
        *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in ((1,), (40,))),
        *(pytest.param(sizes, marks=pytest.mark.soak) for sizes in ((240,), (20,) * 12)),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", LOSSES)
@each_age
async def test_lost_answers_double_no_row_and_lengthen_a_run_by_a_minute_at_most(
    store: Store, agent: AgentRow, age: str, loss: str, sizes: Sequence[int]
) -> None:
    async with playing(store, agent, files_of(sizes), LOSSES[loss], AGES[age]) as play:
        run, took_s = await play.run()
        assert (run.outcome, run.errors, run.items_created) == (RunOutcome.SUCCESS, (), sum(sizes))
        assert [*play.device.rows.values()] == [1] * sum(sizes)
        assert took_s <= (0.0 if loss == "no answer" else MAX_LONGER_S)


@each_age
async def test_never_answered_call_fails_the_file_and_is_sent_by_the_next_run(
    store: Store, agent: AgentRow, age: str
) -> None:
    def loses(device: Device, id: str) -> bool:
        return id == next(iter(device.answers))

    async with playing(store, agent, files_of((1,) * 6), loses, AGES[age]) as play:
        run, took_s = await play.run()
        assert (run.outcome, run.items_created, run.units_failed) == (RunOutcome.PARTIAL, 5, 1)
        assert took_s <= SILENT_S + TICKS_S
        (error,) = run.errors
        sent = next(iter(play.device.answers.values()))
        assert (error.code, sent > 1) == (ErrorCode.UNKNOWN_EFFECT, True)
        assert f"did not answer an insert of tasks: sent {sent} times" in error.message
        assert play.bench.metrics.reached()["call_sends"] == 1
        play.device.loses = NONE
        run, took_s = await play.run()
        assert (run.outcome, took_s <= 1.0) == (RunOutcome.SUCCESS, True)
        assert [*play.device.rows.values()] == [1] * 6


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((1,) * 20, id="20 files"),
        pytest.param((240,), id="240 calls of a file", marks=pytest.mark.slow),
    ],
)
@each_age
async def test_run_sends_no_further_call_to_a_silent_device_and_leaves_the_rest_to_the_next_run(
    store: Store, agent: AgentRow, age: str, sizes: Sequence[int]
) -> None:
    async with playing(store, agent, files_of(sizes), ALL, AGES[age]) as play:
        run, took_s = await play.run()
        assert (run.outcome, run.units_failed) == (RunOutcome.ERROR, len(sizes))
        assert took_s <= SILENT_S + TICKS_S
        received = len(play.device.inserts)
        codes = Counter(error.code for error in run.errors)
        assert codes[ErrorCode.UNKNOWN_EFFECT] == min(received, codes.total())
        if received < codes.total():
            assert any("did not get an insert of tasks: it answered no" in e.message for e in run.errors)
        play.device.loses = NONE
        run, took_s = await play.run()
        assert (run.outcome, took_s <= 1.0) == (RunOutcome.SUCCESS, True)
        assert [*play.device.rows.values()] == [1] * sum(sizes)


@each_age
async def test_stalled_hub_breaks_no_run_of_a_silent_device(store: Store, agent: AgentRow, age: str) -> None:
    async with playing(store, agent, files_of((1,) * 6), ALL, AGES[age]) as play:
        play.stall_s = 5.0
        run, _ = await play.run()
        codes = {error.code for error in run.errors}
        assert run.units_failed == 6
        assert codes <= {ErrorCode.UNKNOWN_EFFECT, ErrorCode.CALL_TIMED_OUT}


@each_age
async def test_device_that_falls_silent_after_lost_answers_is_given_up_after_the_same_time(
    store: Store, agent: AgentRow, age: str
) -> None:
    def loses(device: Device, id: str) -> bool:
        return device.answers.total() == 3 or device.answers.total() > 8

    async with playing(store, agent, files_of((20,)), loses, AGES[age]) as play:
        run, took_s = await play.run()
        assert (run.outcome, run.items_created < 8) == (RunOutcome.PARTIAL, True)
        assert SILENT_S <= took_s <= SILENT_S + 30.5 + TICKS_S


@each_age
async def test_calls_that_are_never_answered_do_not_keep_the_others_from_their_device(
    store: Store, agent: AgentRow, age: str
) -> None:
    def loses(device: Device, id: str) -> bool:
        return [*device.answers].index(id) < 2

    async with playing(store, agent, files_of((1,) * 6), loses, AGES[age]) as play:
        run, _ = await play.run()
        assert (run.outcome, run.items_created, run.units_failed) == (RunOutcome.PARTIAL, 4, 2)


@each_age
async def test_call_answered_after_its_run_is_settled_by_the_next_run_whatever_else_it_brings(
    store: Store, agent: AgentRow, age: str
) -> None:
    files = files_of((1,))
    async with playing(store, agent, files, NONE, AGES[age]) as play:
        play.device.takes_s = 100.0
        assert (await play.run())[0].outcome is RunOutcome.ERROR
        await play.bench.clock.pass_time(20.0)
        await until(lambda: not play.device.unanswered)
        play.device.takes_s = 0.0
        files |= files_of((1, 1, 3, 1))
        run, _ = await play.run()
        assert (run.outcome, run.items_created) == (RunOutcome.SUCCESS, 6)
        assert [*play.device.rows.values()] == [1] * 6


@pytest.mark.parametrize("takes_s", [30.5, pytest.param(40.0, marks=pytest.mark.slow)])
async def test_slow_device_without_ids_gets_all_rows_in_a_run(
    store: Store, agent: AgentRow, takes_s: float
) -> None:
    async with playing(store, agent, files_of((3,)), NONE) as play:
        play.device.takes_s = takes_s
        play.device.is_serial = play.device.is_forgetful = True
        run, _ = await play.run()
        assert (run.outcome, run.items_created) == (RunOutcome.SUCCESS, 3)
        assert max(play.device.rows.values()) <= 3


@pytest.mark.parametrize("takes_s", [29.0, 40.0, pytest.param(80.0, marks=pytest.mark.slow)])
@each_age
async def test_device_slower_than_the_first_deadline_writes_the_row_once(
    store: Store, agent: AgentRow, age: str, takes_s: float
) -> None:
    async with playing(store, agent, files_of((2,)), NONE, AGES[age]) as play:
        play.device.takes_s = takes_s
        run, took_s = await play.run()
        assert (run.outcome, [*play.device.rows.values()]) == (RunOutcome.SUCCESS, [1, 1])
        assert took_s <= 2 * takes_s + 1.0


@pytest.mark.parametrize("takes_s", [4.0, pytest.param(20.0, marks=pytest.mark.slow)])
@each_age
async def test_device_that_does_one_call_after_the_other_gets_each_call_once(
    store: Store, agent: AgentRow, age: str, takes_s: float
) -> None:
    async with playing(store, agent, files_of((20, 3, 2)), NONE, AGES[age]) as play:
        play.device.takes_s, play.device.is_serial = takes_s, True
        run, took_s = await play.run()
        assert (run.outcome, [*play.device.inserts.values()]) == (RunOutcome.SUCCESS, [1] * 25)
        assert took_s <= 25 * takes_s + TICKS_S


@each_age
async def test_run_that_winds_up_awaits_what_was_sent_and_sends_nothing(
    store: Store, agent: AgentRow, age: str
) -> None:
    async with playing(store, agent, files_of((100,)), NONE, AGES[age]) as play:
        play.device.takes_s, play.device.is_serial = 4.0, True
        interrupt = Interrupt()

        async def stop() -> None:
            await until(lambda: bool(play.device.unanswered))
            interrupt.stop(RunEvent.CANCELLED, "enough", grace_s=3_600)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            run, _ = await play.run(interrupt)
        assert (run.state, play.device.unanswered) == (RunState.CANCELLED, set())
        assert run.items_created == play.device.rows.total() < 100


async def test_device_without_ids_has_a_row_twice_for_a_lost_answer_alone(
    store: Store, agent: AgentRow
) -> None:
    def loses(device: Device, id: str) -> bool:
        device.takes_s = 1.0 if device.answers.total() > 30 else 0.0  # its disk is slow, all at once
        return device.answers.total() == 5

    async with playing(store, agent, files_of((60, 60)), loses) as play:
        play.device.is_serial = play.device.is_forgetful = True
        run, _ = await play.run()
        rows = play.device.rows
        assert (run.outcome, len(rows), rows.total()) == (RunOutcome.SUCCESS, 120, 121)


ANSWERS: dict[str, tuple[dict[str, Any], ErrorCode, str]] = {
    "refused": (
        {"error": {"code": "disk_gone", "message": "no disk"}},
        ErrorCode.DEVICE_ERROR,
        "the device refused an insert of tasks: no disk (disk_gone)",
    ),
    "busy": (
        {"error": {"code": "busy", "message": "later"}},
        ErrorCode.BUSY,
        "the device could not take an insert of tasks: once, at last: later (busy)",
    ),
    "too large": (
        {"result": {"id": "x" * MAX_RESULT_BYTES}},
        ErrorCode.RESULT_TOO_LARGE,
        f"the device answered too much to an insert of tasks: the result has {MAX_RESULT_BYTES + 10} bytes, "
        f"the most is {MAX_RESULT_BYTES} (result_too_large)",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_error_of_a_call_says_what_its_device_answered(
    store: Store, agent: AgentRow, case: str
) -> None:
    answer, code, message = ANSWERS[case]
    async with playing(store, agent, files_of((2,)), NONE, max_sends=1) as play:
        play.device.answer = answer
        run, _ = await play.run()
        assert {(error.code, error.message) for error in run.errors} == {(code, message)}
        unit = (await play.bench.units(run.id))["a.md"]
        assert unit.error == message.partition(" an insert")[0] + " 2 of its calls"
