"""Adoption of planned but undelivered units of an agent's ended runs by its next run.

Runs over files need none of this, because their files are read again. A mailbox message is never read again
after its items are planned, so they must be delivered whatever the end of their run.
"""

from typing import Any, Final

import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import FINAL_RUN_STATES, CallState, UnitState
from storage.kernel.columns import spelled
from storage.runs.calls import count_calls
from storage.runs.run_progress import check_held
from storage.runs.run_rows import HeldRun
from storage.runs.units import ADD_UNIT, find_unit
from storage.schema import run_calls, run_units, runs

AT_ONCE: Final = 500  # units in one transaction
IS_LEFT: Final = sa.text(
    f"run_calls.state IN ({spelled((CallState.PLANNED, CallState.SENT, CallState.UNKNOWN))})"
)

LEFT = (
    sa.select(run_calls.c.run_id, run_calls.c.unit_key)
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .where(
        runs.c.agent_id == sa.bindparam("agent"),
        sa.text(f"runs.state IN ({spelled(sorted(FINAL_RUN_STATES))})"),
        IS_LEFT,
    )
    .distinct()
    .limit(AT_ONCE)
)
_unit = (run_units.c.run_id == sa.bindparam("left_by"), run_units.c.unit_key == sa.bindparam("unit"))
LEFT_UNIT = sa.select(
    run_units.c.content_hash, run_units.c.size_bytes, run_units.c.read_at, run_units.c.planned_at
).where(*_unit)
TAKE_CALLS = (
    sa.update(run_calls)
    .where(
        run_calls.c.run_id == sa.bindparam("left_by"), run_calls.c.unit_key == sa.bindparam("unit"), IS_LEFT
    )
    .values(
        run_id=sa.bindparam("run"),
        # A call that was given up without an answer is sent again under its old id.
        state=sa.case((run_calls.c.state == CallState.UNKNOWN, CallState.PLANNED), else_=run_calls.c.state),
        sends=0,
        updated_at=sa.bindparam("now"),
    )
)
COUNT_PLAN = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        state=UnitState.EXTRACTED,
        calls_planned=sa.bindparam("planned"),
        calls_settled=sa.bindparam("answered"),
        updated_at=sa.bindparam("now"),
    )
)


def adopt_left(c: sa.Connection, held: HeldRun, agent_id: AgentId, at: int) -> int:
    """Adopt the open calls of the agent's ended runs, with their units; repeat until it returns 0.

    A unit keeps the time of its plan, which defines the order of delivery.

    Returns:
        The number of adopted units.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    left = c.execute(LEFT, {"agent": agent_id}).all()
    for run_id, unit_key in left:
        here: dict[str, Any] = {"left_by": run_id, "unit": unit_key, "run": held.id, "now": at}
        unit = c.execute(LEFT_UNIT, here).one_or_none()
        if find_unit(c, held.id, unit_key) is None:
            row = {"run_id": held.id, "unit_key": unit_key, "state": UnitState.EXTRACTED, "updated_at": at}
            about = {"content_hash": ""} if unit is None else dict(unit._mapping)
            c.execute(ADD_UNIT, row | about)
        c.execute(TAKE_CALLS, here)
        total, still_open, _ = count_calls(c, held.id, unit_key)
        c.execute(COUNT_PLAN, here | {"planned": total, "answered": total - still_open})
    return len(left)
