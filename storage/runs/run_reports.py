"""Reports about runs: by the device during the execution, and by the hub at the end."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from protocol.lifecycles import CallState
from storage.kernel.columns import spelled
from storage.runs.run_progress import is_held, stale
from storage.runs.run_rows import HeldRun, RunRow, get_run
from storage.schema import run_calls, runs

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
