"""Calls wait for the disk, not for each other, and a sick disk is told as such."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest

from hub.clock import IdFactory
from hub.device.connection import Answered, Bench, Tools
from hub.device.inserts import DeviceStore, open_device_store
from protocol.errors import ErrorCode
from protocol.frame import MAX_PENDING_CALLS
from protocol.tables import SUGGESTED
from protocol.work import Action, Answer, ToolCall
from tests.support.clock import FakeClock


def _insert(number: int) -> ToolCall:
    return ToolCall(
        id=f"c-{number}", action=Action.INSERT, table="tasks", data={"title": "Call Ana", **SUGGESTED}
    )


class Answers:
    """Where answers go; ``wait`` until so many came."""

    def __init__(self) -> None:
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


async def test_what_waits_is_answered_in_one_go(store: DeviceStore) -> None:
    answers, done = Answers(), list[ToolCall]()
    bench = Bench(answers.take)
    calls = [*(_insert(number) for number in range(10)), ToolCall(id="x", action=Action.BROWSER_OPEN)]
    for call in calls:
        assert bench.lay([call]) is None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tools(store, on_done=done.append).serve, bench)
        await answers.wait(len(calls))
        tasks.cancel_scope.cancel()

    assert [call.id for call in done] == [f"c-{number}" for number in range(10)]
    refusal = answers.got["x"].error
    assert refusal is not None and refusal.code == ErrorCode.CALL_UNSUPPORTED


async def test_calls_of_one_frame_are_answered_together_and_a_refused_one_changes_no_other(
    store: DeviceStore,
) -> None:
    answers = Answers()
    bench = Bench(answers.take)
    wrong = msgspec.structs.replace(_insert(2), data={"title": 5})
    assert bench.lay([_insert(1), wrong, _insert(3), _insert(1)]) is None
    assert bench.lay([_insert(4)]) is None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tools(store).serve, bench)
        await answers.wait(4)
        tasks.cancel_scope.cancel()

    assert (answers.frames, [id for id, answer in answers.got.items() if answer.error is not None]) == (
        [4, 1],
        ["c-2"],
    )
    assert store.mark.counter == 3


def test_more_calls_than_were_agreed_are_refused_at_once(store: DeviceStore) -> None:
    bench = Bench(Answers().take)
    for number in range(MAX_PENDING_CALLS):
        assert bench.lay([_insert(number)]) is None

    refusal = bench.lay([_insert(MAX_PENDING_CALLS)])

    assert refusal is not None and refusal.error is not None
    assert (refusal.error.code, refusal.error.retryable) == (ErrorCode.TOO_MANY_CALLS, True)


async def test_a_disk_error_is_reported_and_the_same_call_may_be_repeated(
    store: DeviceStore, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers()
    bench = Bench(answers.take)
    store._db.execute("PRAGMA query_only = ON")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tools(store).serve, bench)
        bench.lay([_insert(1)])
        await answers.wait(1)
        sick = answers.got.pop("c-1").error
        store._db.execute("PRAGMA query_only = OFF")
        bench.lay([_insert(1)])
        await answers.wait(1)
        tasks.cancel_scope.cancel()

    assert sick is not None and (sick.code, sick.retryable) == (ErrorCode.DATABASE_UNAVAILABLE, True)
    assert answers.got["c-1"].error is None
    assert "device.file.failed" in caplog.text


def _rename_over(db: Path) -> None:
    shutil.copy(db, db.with_name("other"))
    db.with_name("other").replace(db)


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


async def test_a_file_that_is_replaced_or_damaged_is_said_to_owner_and_hub_and_gets_no_row(
    tmp_path: Path, clock: FakeClock, ids: IdFactory
) -> None:
    for number, (sentence, cause) in enumerate(FAULTS.items()):
        said: list[str] = []
        answers = Answers()
        bench = Bench(answers.take)
        db = tmp_path / str(number) / "device.db"
        with open_device_store(db, clock=clock, ids=ids) as store:
            cause(db)
            before = db.read_bytes() if db.exists() else b""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Tools(store, on_fault=said.append).serve, bench)
                for call in (1, 2):
                    bench.lay([_insert(call)])
                    await answers.wait(call)
                tasks.cancel_scope.cancel()
            error = answers.got["c-2"].error
            assert error is not None
            assert (error.code, error.retryable) == (ErrorCode.DATABASE_UNAVAILABLE, True)
            assert sentence in error.message
            assert [sentence in one for one in said] == [True]
            assert (db.read_bytes() if db.exists() else b"") == before
