"""Progress of runs: counters and errors."""

import msgspec
import sqlalchemy as sa

from protocol.ids import RunId
from storage.kernel.columns import Int
from storage.runs.run_rows import HeldRun, RunError, StaleRun
from storage.schema import EXECUTING, runs

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
