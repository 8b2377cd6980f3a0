"""Calls wait for the disk, not for each other, and a sick disk is told as such."""

import anyio
import pytest

from hub.device.connection import Bench, Tools
from hub.device.inserts import DeviceStore
from protocol.errors import ErrorCode
from protocol.frame import MAX_PENDING_CALLS
from protocol.tables import SUGGESTED
from protocol.work import Action, Answer, ToolCall


def _insert(number: int) -> ToolCall:
    return ToolCall(
        id=f"c-{number}", action=Action.INSERT, table="tasks", data={"title": "Call Ana", **SUGGESTED}
    )


class Answers:
    """Where answers go; ``wait`` until so many came."""

    def __init__(self) -> None:
        self.got: dict[str, Answer] = {}
        self._news = anyio.Event()

    async def take(self, call: ToolCall, answer: Answer) -> None:
        self.got[call.id] = answer
        self._news.set()

    async def wait(self, count: int) -> None:
        with anyio.fail_after(5):
            while len(self.got) < count:
                self._news = anyio.Event()
                await self._news.wait()


async def test_what_waits_is_answered_in_one_go(store: DeviceStore) -> None:
    answers, done = Answers(), list[ToolCall]()
    bench = Bench(answers.take)
    calls = [*(_insert(number) for number in range(10)), ToolCall(id="x", action=Action.BROWSER_OPEN)]
    for call in calls:
        assert bench.lay(call) is None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tools(store, on_done=done.append).serve, bench)
        await answers.wait(len(calls))
        tasks.cancel_scope.cancel()

    assert [call.id for call in done] == [f"c-{number}" for number in range(10)]
    refusal = answers.got["x"].error
    assert refusal is not None
    assert refusal.code == ErrorCode.CALL_UNSUPPORTED


def test_more_calls_than_were_agreed_are_refused_at_once(store: DeviceStore) -> None:
    bench = Bench(Answers().take)
    for number in range(MAX_PENDING_CALLS):
        assert bench.lay(_insert(number)) is None

    refusal = bench.lay(_insert(MAX_PENDING_CALLS))

    assert refusal is not None
    assert refusal.error is not None
    assert (refusal.error.code, refusal.error.retryable) == (ErrorCode.TOO_MANY_CALLS, True)


async def test_a_disk_error_is_reported_and_the_same_call_may_be_repeated(
    store: DeviceStore, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers()
    bench = Bench(answers.take)
    store._db.execute("PRAGMA query_only = ON")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tools(store).serve, bench)
        bench.lay(_insert(1))
        await answers.wait(1)
        sick = answers.got.pop("c-1").error
        store._db.execute("PRAGMA query_only = OFF")
        bench.lay(_insert(1))
        await answers.wait(1)
        tasks.cancel_scope.cancel()

    assert sick is not None
    assert (sick.code, sick.retryable) == (ErrorCode.DATABASE_UNAVAILABLE, True)
    assert answers.got["c-1"].error is None
    assert "device.file.failed" in caplog.text
