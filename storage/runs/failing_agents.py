"""Agents whose newest runs failed, and how many failed runs count."""

from collections.abc import Collection
from itertools import takewhile
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.causes import FOLDER_MISSING
from protocol.errors import LASTING
from protocol.lifecycles import RunOutcome
from storage.agents.agents import AgentRow
from storage.agents.agents_in_trouble import AGENTS_WITH_STATES, MAX_FINDINGS, rows_of
from storage.kernel.columns import Int, in_parts
from storage.runs.runs import RunRow, find_runs
from storage.schema import agent_states, agents, runs

FAILED_IN_A_ROW: Final = 3  # runs, of which none succeeded; fewer, if none did for a day
DAY_MS: Final = 86_400_000
MAX_COUNTED: Final = 1_000  # runs of one agent
_ended = (
    sa.select(runs.c.id, runs.c.outcome, runs.c.completed_at)
    .where(runs.c.completed_at.is_not(None), runs.c.outcome.is_not(None))
    .order_by(runs.c.completed_at.desc())
)
_of_agent = _ended.where(runs.c.agent_id == agents.c.id).correlate(agents)
_newest = _of_agent.with_only_columns(runs.c.outcome).limit(1).scalar_subquery()
_lately = _of_agent.limit(FAILED_IN_A_ROW).subquery()
_succeeded = sa.exists().where(
    _lately.c.outcome == RunOutcome.SUCCESS, _lately.c.completed_at > sa.bindparam("since", type_=Int)
)
# Of its newest run, the codes of errors.
_last = (
    _of_agent.with_only_columns(runs.c.outcome, sa.cast(runs.c.errors, sa.Text).label("errors"))
    .limit(1)
    .subquery()
)
_is_lasting = sa.exists().where(
    _last.c.outcome == RunOutcome.ERROR,
    sa.or_(*(_last.c.errors.like(f'%"code":%"{code}"%') for code in sorted({*LASTING, FOLDER_MISSING}))),
)
# Files that failed stay so; what made a run fail as a whole is often over by the next one.
# One seek in the index of each agent's runs for an agent whose newest run succeeded, else up to three.
WITHOUT_SUCCESS = AGENTS_WITH_STATES.where(
    agents.c.deleted_at.is_(None),
    agent_states.c.lifecycle == "active",
    _newest != RunOutcome.SUCCESS,
    sa.or_(
        _of_agent.with_only_columns(runs.c.units_failed).limit(1).scalar_subquery() > 0,
        ~_succeeded,
        _is_lasting,
    ),
).limit(MAX_FINDINGS)
NEWEST_FIRST = _ended.where(runs.c.agent_id == sa.bindparam("agent")).limit(MAX_COUNTED)


class FailingAgent(msgspec.Struct, frozen=True):
    """Agent whose newest runs did not succeed.

    Attributes:
        run: the newest one.
        since: when the first one after the last success ended, epoch milliseconds.
        count: number of these runs, at most MAX_COUNTED.
        alike: number of those that ended as the newest did.
    """

    agent: AgentRow
    run: RunRow
    since: int
    count: int
    alike: int


def failing(c: sa.Connection, at: int, only: Collection[str] | None = None) -> list[FailingAgent]:
    """Return agents whose newest run failed as those before it did within a day.

    A run with files that failed, or that failed for a reason that lasts, is enough alone.

    Args:
        at: the time now, epoch milliseconds.
        only: ids of the agents that are examined; None: all.
    """
    parts = in_parts(sorted(only)) if only is not None else [None]
    queries = [
        WITHOUT_SUCCESS if ids is None else WITHOUT_SUCCESS.where(agents.c.id.in_(ids)) for ids in parts
    ]
    found = [id for query in queries for id in c.execute(query, {"since": at - DAY_MS}).scalars()]
    series: dict[str, list[Any]] = {}
    for id in found:
        newest_first = c.execute(NEWEST_FIRST, {"agent": id})
        series[id] = list(takewhile(lambda run: run.outcome != RunOutcome.SUCCESS, newest_first))
    newest = {run.agent_id: run for run in find_runs(c, [series[id][0].id for id in found])}
    result = []
    for row in rows_of(c, found):
        if row.id not in newest:  # its run cannot be read, which is an issue of its own
            continue
        ended = series[row.id]
        alike = sum(run.outcome == ended[0].outcome for run in ended)
        result.append(FailingAgent(row, newest[row.id], ended[-1].completed_at, len(ended), alike))
    return result
