"""Progress of runs: counters, errors, reports by the device, and the result at the end."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from protocol.lifecycles import CallState
from storage.kernel.columns import Int, spelled
from storage.runs.run_rows import HeldRun, RunError, RunRow, StaleRun, get_run
from storage.schema import EXECUTING, run_calls, runs

MAX_ERRORS = 100  # stored with a run; error_count counts the rest too
MAX_ERROR_CHARS = 1_000

is_held = (
    runs.c.id == sa.bindparam("run"),
    runs.c.fence == sa.bindparam("held"),
    # a run that left execution is no longer held, although its fence is unchanged
    sa.text("runs." + EXECUTING),
)
_added = {name: sa.bindparam(name, type_=Int) for name in ("done", "skipped", "failed", "further")}
_settled = (
    runs.c.units_done
    + runs.c.units_skipped
    + runs.c.units_failed
    + _added["done"]
    + _added["skipped"]
    + _added["failed"]
)
ADVANCE = (
    sa.update(runs)
    .where(*is_held)
    .values(
        units_done=runs.c.units_done + _added["done"],
        units_skipped=runs.c.units_skipped + _added["skipped"],
        units_failed=runs.c.units_failed + _added["failed"],
        progress=sa.case(
            (runs.c.units_total <= 0, runs.c.progress),  # only its device may know
            (_settled >= runs.c.units_total, 100.0),
            else_=100.0 * _settled / runs.c.units_total,
        ),
        crash_count=sa.case((_added["further"] > 0, 0), else_=runs.c.crash_count),
        updated_at=sa.bindparam("now"),
    )
)
CHECK_HELD = sa.select(runs.c.id).where(*is_held).with_for_update()
NOTE_TOTAL = (
    sa.update(runs).where(*is_held).values(units_total=sa.bindparam("total"), updated_at=sa.bindparam("now"))
)


def check_held(c: sa.Connection, held: HeldRun) -> None:
    """Check that the run executes under this fence, and lock it until the transaction ends.

    Raises:
        StaleRun: the run has another fence, or has ended.
    """
    if c.execute(CHECK_HELD, {"run": held.id, "held": held.fence}).one_or_none() is None:
        raise stale(held)


def advance(
    c: sa.Connection,
    held: HeldRun,
    *,
    at: int,
    done: int = 0,
    skipped: int = 0,
    failed: int = 0,
    got_further: bool = True,
) -> None:
    """Count settled units; progress resets the run's crash count.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    counts = {"done": done, "skipped": skipped, "failed": failed, "further": int(got_further)}
    if c.execute(ADVANCE, {"run": held.id, "held": held.fence, "now": at} | counts).rowcount == 0:
        raise stale(held)


def note_progress(c: sa.Connection, held: HeldRun, units_total: int, at: int) -> None:
    """Record the run's total number of units.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    noted = {"run": held.id, "held": held.fence, "total": units_total, "now": at}
    if c.execute(NOTE_TOTAL, noted).rowcount == 0:
        raise stale(held)


def stale(held: HeldRun) -> StaleRun:
    """Return the error for a holder that lost the run."""
    return StaleRun(f"run {held.id} is no longer held under fence {held.fence}")


ERRORS = (
    sa.select(runs.c.error_count, runs.c.errors).where(runs.c.id == sa.bindparam("run")).with_for_update()
)
COUNT_ERROR = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(error_count=runs.c.error_count + 1, updated_at=sa.bindparam("now"))
)
KEEP_ERROR = COUNT_ERROR.values(errors=sa.bindparam("kept"))


def record_error(
    c: sa.Connection, run_id: RunId, unit_key: str | None, code: str, message: str, at: int
) -> None:
    """Count an error of the run, and store it if it is among the first ``MAX_ERRORS``."""
    count, errors = c.execute(ERRORS, {"run": run_id}).one()
    if count >= MAX_ERRORS:
        c.execute(COUNT_ERROR, {"run": run_id, "now": at})
        return
    error = RunError(unit_key, str(code), message[:MAX_ERROR_CHARS], at)
    kept = [*errors, msgspec.structs.asdict(error)]
    c.execute(KEEP_ERROR, {"run": run_id, "now": at, "kept": kept})


def record_held_error(
    c: sa.Connection, held: HeldRun, unit_key: str | None, code: str, message: str, at: int
) -> None:
    """Record an error like ``record_error``, on behalf of the run's holder.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    record_error(c, held.id, unit_key, code, message, at)


MAX_MESSAGE_CHARS: Final = 1_000


class ContextTooLarge(HubError):
    """Error: the context of a run is too large; nothing was written."""

    code = ErrorCode.TOO_LARGE
    limit = "run_context_bytes"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a device about a run that it executes; ``None`` leaves a value unchanged.

    Attributes:
        progress: 0 to 100; used until the hub knows the number of units and counts itself.
        context: merged into the previous context; a key with the value ``None`` is removed.
    """

    progress: float | None = None
    message: str | None = None
    context: dict[str, Any] | None = None


CONTEXT = sa.select(runs.c.context).where(*is_held).with_for_update()
REPORT = (
    sa.update(runs)
    .where(*is_held)
    .values(
        progress=sa.case(
            (runs.c.units_total > 0, runs.c.progress),
            else_=sa.func.coalesce(sa.bindparam("done", type_=sa.REAL), runs.c.progress),
        ),
        status_message=sa.func.coalesce(sa.bindparam("said", type_=sa.Text), runs.c.status_message),
        context=sa.bindparam("about"),
        updated_at=sa.bindparam("now"),
    )
)
TALLY = sa.select(
    runs.c.outcome,
    runs.c.units_total,
    runs.c.units_done,
    runs.c.units_skipped,
    runs.c.units_failed,
    runs.c.items_created,
    runs.c.items_updated,
    runs.c.items_known,
    runs.c.error_count,
    runs.c.started_at,
).where(runs.c.id == sa.bindparam("run"))
ITEMS_BY_TABLE = (
    sa.select(run_calls.c.target_table, sa.func.count().label("items"))
    .where(
        run_calls.c.run_id == sa.bindparam("run"),
        sa.text(f"run_calls.state = {spelled((CallState.ACKED,))}"),
    )
    .group_by(run_calls.c.target_table)
    .order_by(run_calls.c.target_table)
)
KEEP_RESULT = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        result=sa.bindparam("told"),
        progress=sa.case((sa.text("runs.state = 'COMPLETED'"), 100.0), else_=runs.c.progress),
    )
)


def report(c: sa.Connection, held: HeldRun, said: Report, *, at: int, context_bytes: int) -> RunRow:
    """Record a device's report about a run that it executes.

    Args:
        context_bytes: maximum size of the whole context as JSON.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
        ContextTooLarge: nothing was written.
    """
    row = c.execute(CONTEXT, {"run": held.id, "held": held.fence}).one_or_none()
    if row is None:
        raise stale(held)
    context = {
        name: value for name, value in (row.context | (said.context or {})).items() if value is not None
    }
    check_context(context, context_bytes)
    written = {
        "run": held.id,
        "held": held.fence,
        "done": said.progress,
        "said": None if said.message is None else said.message[:MAX_MESSAGE_CHARS],
        "about": context,
        "now": at,
    }
    c.execute(REPORT, written)
    return get_run(c, held.id)


def check_context(context: dict[str, Any], most: int) -> None:
    """Check that *context* has at most *most* bytes as JSON; raise ContextTooLarge otherwise."""
    size = len(msgspec.json.encode(context))
    if size > most:
        told = f"context: {size} bytes as JSON, and {most} are kept (run_context_bytes)"
        raise ContextTooLarge(f"{told}: leave out what the run does not need")


def keep_result(c: sa.Connection, run_id: RunId) -> None:
    """Store the result of a run that has just ended: outcome, counts, items by table.

    A run that never started has no result.
    """
    tally = c.execute(TALLY, {"run": run_id}).one()
    if tally.started_at is None:
        return
    by_table = {row.target_table: row.items for row in c.execute(ITEMS_BY_TABLE, {"run": run_id})}
    told = {
        "outcome": None if tally.outcome is None else str(tally.outcome),
        "units": {
            "total": tally.units_total,
            "done": tally.units_done,
            "skipped": tally.units_skipped,
            "failed": tally.units_failed,
        },
        "items": {
            "created": tally.items_created,
            "updated": tally.items_updated,
            "known": tally.items_known,
            "by_table": by_table,
        },
        "errors": tally.error_count,
    }
    c.execute(KEEP_RESULT, {"run": run_id, "told": told})
