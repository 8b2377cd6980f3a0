"""Calls wait for the disk, not for each other, and a sick disk is told as such."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import msgspec
import pytest

from hub.device.connection import Answered, Bench, Tools
from hub.device.device_file import DeviceStore
from protocol.errors import ErrorCode
from protocol.frame import MAX_PENDING_CALLS
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, Answer, ToolCall


def _insert(number: int) -> ToolCall:
    return ToolCall(
        id=f"c-{number}", action=Action.INSERT, table="tasks", data={"title": "Call Ana", **SUGGESTED}
    )


class Answers:
    """Calls to a device, and where their answers go; ``wait`` until so many came."""

    def __init__(self) -> None:
        self.bench = Bench(self.take)
        self.got: dict[str, Answer] = {}
        self.frames: list[int] = []
        self._news = anyio.Event()

    async def take(self, answered: Answered) -> None:
        self.got |= {call.id: answer for call, answer in answered}
        self.frames.append(len(answered))
        self._news.set()

    async def wait(self, count: int) -> None:
        with anyio.fail_after(5):
            while len(self.got) < count:
                self._news = anyio.Event()
                await self._news.wait()

    @asynccontextmanager
    async def given_by(self, tools: Tools) -> AsyncIterator[None]:
        """Let the device answer in the block."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tools.serve, self.bench)
            yield
            tasks.cancel_scope.cancel()

    def errors(self) -> dict[str, tuple[str, bool]]:
        """Return code and retryability of each refusal."""
        refused = {id: answer.error for id, answer in self.got.items() if answer.error is not None}
        return {id: (str(error.code), error.retryable) for id, error in refused.items()}


@pytest.fixture
def answers() -> Answers:
    return Answers()


async def test_waiting_calls_are_answered_in_a_single_batch(store: DeviceStore, answers: Answers) -> None:
    done: list[ToolCall] = []
    calls = [*(_insert(number) for number in range(10)), ToolCall(id="x", action=Action.BROWSER_OPEN)]
    assert [answers.bench.lay([call]) for call in calls] == [None] * 11
    async with answers.given_by(Tools(store, on_done=done.append)):
        await answers.wait(len(calls))
    assert [call.id for call in done] == [f"c-{number}" for number in range(10)]
    assert {id: code for id, (code, _) in answers.errors().items()} == {"x": ErrorCode.CALL_UNSUPPORTED}


async def test_calls_of_a_frame_are_answered_together_and_a_refused_call_changes_no_other(
    store: DeviceStore, answers: Answers
) -> None:
    wrong = msgspec.structs.replace(_insert(2), data={"title": 5})
    for frame in ([_insert(1), wrong, _insert(3), _insert(1)], [_insert(4)]):
        assert answers.bench.lay(frame) is None
    async with answers.given_by(Tools(store)):
        await answers.wait(4)
    assert (answers.frames, [*answers.errors()], store.mark.counter) == ([4, 1], ["c-2"], 3)


def test_device_call_beyond_the_pending_limit_is_refused_at_once(answers: Answers) -> None:
    for number in range(MAX_PENDING_CALLS):
        assert answers.bench.lay([_insert(number)]) is None
    refusal = answers.bench.lay([_insert(MAX_PENDING_CALLS)])
    assert refusal is not None and refusal.error is not None
    assert (refusal.error.code, refusal.error.retryable) == (ErrorCode.TOO_MANY_CALLS, True)


async def test_a_disk_error_is_reported_and_the_same_call_may_be_repeated(
    store: DeviceStore, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    sick = {"c-1": (ErrorCode.DATABASE_UNAVAILABLE, True)}
    async with answers.given_by(Tools(store)):
        for query_only, errors in (("ON", sick), ("OFF", {})):
            store._db.execute(f"PRAGMA query_only = {query_only}")
            answers.got.clear()
            answers.bench.lay([_insert(1)])
            await answers.wait(1)
            assert answers.errors() == errors
    assert "device.file.failed" in caplog.text


def _rename_over(db: Path) -> None:
    shutil.copy(db, db.with_name("other"))
    db.with_name("other").replace(db)


def _bytes(db: Path) -> bytes:
    return db.read_bytes() if db.exists() else b""


def _damage(db: Path) -> None:
    with closing(sqlite3.connect(db)) as other:
        other.execute("PRAGMA wal_checkpoint(truncate)")
    with db.open("r+b") as out:
        out.write(bytes(64 * 1024))


FAULTS: dict[str, Callable[[Path], object]] = {
    "was replaced": _rename_over,
    "device.db or its log was replaced": lambda db: db.with_name("device.db-wal").unlink(),
    "start the device again": lambda db: db.rename(db.with_name("moved")),
    "not a database": _damage,
}


@pytest.mark.parametrize("sentence", FAULTS)
async def test_replaced_or_damaged_device_file_is_reported_and_gets_no_row(
    store: DeviceStore, db: Path, answers: Answers, sentence: str
) -> None:
    said: list[str] = []
    FAULTS[sentence](db)
    before = _bytes(db)
    async with answers.given_by(Tools(store, on_fault=said.append)):
        for call in (1, 2):
            answers.bench.lay([_insert(call)])
            await answers.wait(call)
    error = answers.got["c-2"].error
    assert answers.errors()["c-2"] == (ErrorCode.DATABASE_UNAVAILABLE, True)
    assert error is not None and sentence in error.message
    assert [sentence in one for one in said] == [True]
    assert _bytes(db) == before
