"""What a device says of a run, and what is summed up at its end."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.runs import run_moves, runs, units
from storage.runs.runs import HeldRun, Report, RunRow, StaleRun
from tests.storage.rows import AT, answer, calls, make_run, plan
from tests.support.coded import coded


def report(c: sa.Connection, held: HeldRun, said: Report, *, context_bytes: int = 1_000) -> RunRow:
    return runs.report(c, held, said, at=AT + 5, context_bytes=context_bytes)


def test_a_report_changes_what_it_speaks_of_and_leaves_the_rest(c: sa.Connection, held: HeldRun) -> None:
    report(c, held, Report(progress=40.0, message="reading", context={"folder": "in", "seen": 3}))
    row = report(c, held, Report(context={"seen": None, "page": 2}))
    assert (row.progress, row.status_message, row.context, row.updated_at) == (
        40.0,
        "reading",
        {"folder": "in", "page": 2},
        AT + 5,
    )


def test_who_holds_a_run_no_more_reports_on_it_no_more(c: sa.Connection, held: HeldRun) -> None:
    run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    with pytest.raises(StaleRun):
        report(c, held, Report(message="still here"))
    assert runs.get_run(c, held.id).status_message is None


def test_the_hub_counts_itself_once_it_knows_how_many_units_there_are(
    c: sa.Connection, held: HeldRun
) -> None:
    report(c, held, Report(progress=90.0))
    runs.note_progress(c, held, 4, AT)
    plan(c, held, "a.txt")
    units.settle_unit(c, held, "a.txt", AT)
    assert report(c, held, Report(progress=90.0)).progress == 25.0


def test_a_context_that_is_too_large_is_refused_as_a_whole(c: sa.Connection, held: HeldRun) -> None:
    report(c, held, Report(context={"a": "x" * 50}), context_bytes=100)
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE), match="run_context_bytes") as caught:
        report(c, held, Report(context={"b": "x" * 50}), context_bytes=100)
    assert (caught.value.code, runs.get_run(c, held.id).context) == (ErrorCode.TOO_LARGE, {"a": "x" * 50})


def test_a_run_is_summed_up_at_its_end(c: sa.Connection, held: HeldRun) -> None:
    runs.note_progress(c, held, 2, AT)
    plan(c, held, "a.txt", of=calls("c-1", "c-2"))
    answer(c, held, "c-1")
    answer(c, held, "c-2")
    units.settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    row = runs.get_run(c, held.id)
    assert row.result == {
        "outcome": "success",
        "units": {"total": 2, "done": 1, "skipped": 0, "failed": 0},
        "items": {"created": 2, "updated": 0, "known": 0, "by_table": {"tasks": 2}},
        "errors": 0,
    }
    assert row.progress == 100.0


def test_a_run_that_fails_has_its_error_in_the_sum_and_one_that_never_began_has_none(
    c: sa.Connection,
) -> None:
    failed = make_run(c, "run-1", state=RunState.FAILED)
    assert failed.result is not None
    assert (failed.result["outcome"], failed.progress) == ("error", 0.0)
    assert make_run(c, "run-2", state=RunState.CANCELLED).result is None
    assert runs.get_run(c, RunId("run-1")).result == failed.result
