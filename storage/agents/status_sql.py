"""SQL expressions for agents' status words, for filters of lists.

The expressions follow the rules of ``protocol.agent_status``: a test compares both for all values.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import sqlalchemy as sa

from protocol.agent_status import DETAILED_AXES, STORED_AXES, Activity, Axis, Health, Lifecycle
from protocol.status_vocabularies import (
    READINGS,
    RUNNING,
    OrchestratorStatus,
    StateDetail,
    StatusProjection,
    Vocabulary,
)
from storage.schema import agent_state_history, agent_states, agents

Columns: TypeAlias = Mapping[str, sa.ColumnElement[str]]

STATE_DETAIL: Final = "state_detail"  # a key of columns beside the axes
_live = agent_states.c.runs_waiting + agent_states.c.runs_executing
_activity = sa.case(
    (agent_states.c.runs_running >= agents.c.max_concurrent_runs, str(Activity.SATURATED)),
    (agent_states.c.runs_running > 0, str(Activity.PROCESSING)),
    (_live > 0, str(Activity.WAITING)),
    else_=str(Activity.IDLE),
)
AXES_OF_AGENTS: Final[Columns] = {
    **{str(axis): agent_states.c[axis] for axis in STORED_AXES},
    str(Axis.ACTIVITY): _activity,
    STATE_DETAIL: agent_states.c.state_detail,
}


def words_in_sql(vocabulary: Vocabulary, axes: Columns, slots: sa.ColumnElement[int]) -> Columns:
    """Return the status columns of a vocabulary, as ``protocol.status_vocabularies.status_words`` reads them.

    Args:
        axes: the values of an agent on the axes, and its ``state_detail``.
        slots: its maximum number of runs at once.
    """
    if vocabulary is Vocabulary.ORCHESTRATOR:
        return pair_in_sql(axes)
    activity = axes[Axis.ACTIVITY]
    is_alone = sa.and_(slots == 1, activity == str(Activity.SATURATED))
    one_slot = {str(Axis.ACTIVITY): sa.case((is_alone, str(Activity.PROCESSING)), else_=activity)}
    return {
        reading.column: _read(reading, {**axes, **one_slot})
        for reading in READINGS
        if reading.vocabulary is vocabulary
    }


def _read(reading: StatusProjection, axes: Columns) -> sa.ColumnElement[str]:
    *rules, last = reading.rules
    return sa.case(
        *(
            (sa.and_(*(axes[axis].in_(sorted(values)) for axis, values in rule.when.items())), str(rule.word))
            for rule in rules
        ),
        else_=str(last.word),
    )


def pair_in_sql(axes: Columns) -> dict[str, sa.ColumnElement[str]]:
    """Return both words of the orchestrator, as ``protocol.status_vocabularies.pair_of`` reads them."""
    lifecycle, detail = axes[Axis.LIFECYCLE], axes[STATE_DETAIL]
    is_active = lifecycle == str(Lifecycle.ACTIVE)
    is_error = sa.and_(axes[Axis.HEALTH] == str(Health.ERROR), lifecycle != str(Lifecycle.TERMINATED))
    is_busy = sa.and_(is_active, axes[Axis.ACTIVITY].in_(sorted(RUNNING)))
    is_maintained = lifecycle == str(Lifecycle.MAINTENANCE)
    status, state = OrchestratorStatus, StateDetail
    return {
        "status": sa.case(
            (is_error, str(status.ERROR)),
            (is_busy, str(status.BUSY)),
            (is_active, str(status.ACTIVE)),
            (is_maintained, str(status.MAINTENANCE)),
            else_=str(status.INACTIVE),
        ),
        STATE_DETAIL: sa.case(
            (is_error, str(state.ERROR)),
            (is_busy, str(state.ACTIVE)),
            (is_active, sa.func.coalesce(detail, str(state.ACTIVE))),
            (is_maintained, sa.func.coalesce(detail, str(state.PAUSED))),
            else_=sa.func.upper(lifecycle),
        ),
    }


def _after(name: str) -> sa.ColumnElement[str]:
    """Return a value of the snapshot, which is taken after the move."""
    return sa.literal_column(f"(agent_state_history.snapshot ->> '{name}')", sa.Text)


def _before(axis: Axis) -> sa.ColumnElement[str]:
    is_moved = agent_state_history.c.axis == str(axis)
    return sa.case((is_moved, agent_state_history.c.old_value), else_=_after(axis))


_has_new_detail = agent_state_history.c.axis.in_(list(map(str, DETAILED_AXES)))
_axes_after: Columns = {name: _after(name) for name in (*Axis, STATE_DETAIL)}
_axes_before: Columns = {
    **{str(axis): _before(axis) for axis in Axis},
    STATE_DETAIL: sa.case((_has_new_detail, agent_state_history.c.old_detail), else_=_after(STATE_DETAIL)),
}
