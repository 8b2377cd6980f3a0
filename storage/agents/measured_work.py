"""Measurements of the hub's own work for agents: ended runs, and requests to models.

Each is measured once, in the transaction that marks it as measured. Batches do this later, so neither the end
of a run nor an answer waits for it. Rows that ended before this feature existed are measured too.
"""

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from protocol.measurements import MetricType
from storage.agents.measurements import BucketsKept, SampleRow, record
from storage.runs.model_calls import ANSWERED
from storage.schema import model_calls, runs

AT_ONCE: Final = 50  # runs, and as many requests, in one transaction of about 20 ms

_most = sa.bindparam("most", type_=sa.Integer)
UNMEASURED_RUNS = (
    sa.select(
        runs.c.id,
        runs.c.agent_id,
        runs.c.state,
        runs.c.outcome,
        runs.c.started_at,
        runs.c.completed_at,
        runs.c.units_done,
        runs.c.units_skipped,
        runs.c.units_failed,
        runs.c.items_created,
        runs.c.items_updated,
        runs.c.items_known,
    )
    .where(runs.c.completed_at.is_not(None), runs.c.measured_at.is_(None))
    .order_by(runs.c.completed_at)
    .limit(_most)
    .with_for_update(skip_locked=True)
)
UNMEASURED_CALLS = (
    sa.select(
        model_calls.c.id,
        model_calls.c.agent_id,
        model_calls.c.at,
        model_calls.c.model,
        model_calls.c.outcome,
        model_calls.c.requests,
        model_calls.c.prompt_tokens,
        model_calls.c.completion_tokens,
        model_calls.c.cost_nanos,
        model_calls.c.took_ms,
    )
    .where(model_calls.c.measured_at.is_(None))
    .order_by(model_calls.c.at)
    .limit(_most)
    .with_for_update(skip_locked=True)
)
HAS_UNMEASURED = sa.select(
    sa.or_(
        sa.exists().where(runs.c.completed_at.is_not(None), runs.c.measured_at.is_(None)),
        sa.exists().where(model_calls.c.measured_at.is_(None)),
    )
)
_listed: sa.BindParameter[str] = sa.bindparam("listed", expanding=True)
MARK_RUNS = sa.update(runs).where(runs.c.id.in_(_listed)).values(measured_at=sa.bindparam("now"))
MARK_CALLS = (
    sa.update(model_calls).where(model_calls.c.id.in_(_listed)).values(measured_at=sa.bindparam("now"))
)


def has_unmeasured(c: sa.Connection) -> bool:
    """Return True if rows are left to measure; writes nothing."""
    return bool(c.execute(HAS_UNMEASURED).scalar_one())


def measure(c: sa.Connection, *, at: int, kept: BucketsKept, most: int = AT_ONCE) -> int:
    """Measure ended runs and requests to models. Return their number; 0 if none are left."""
    ended = c.execute(UNMEASURED_RUNS, {"most": most}).all()
    asked = c.execute(UNMEASURED_CALLS, {"most": most}).all()
    samples = [sample for row in ended for sample in _of_run(row)]
    samples += [sample for row in asked for sample in _of_call(row)]
    record(c, samples, at=at, kept=kept)
    for mark, rows in ((MARK_RUNS, ended), (MARK_CALLS, asked)):
        if rows:
            c.execute(mark, {"listed": [row.id for row in rows], "now": at})
    return len(ended) + len(asked)


def _of_run(run: Any) -> Iterator[SampleRow]:
    def sample(name: str, value: float, type: MetricType = MetricType.COUNTER, **tags: str) -> SampleRow:
        return SampleRow(
            agent_id=run.agent_id, name=name, value=value, at=run.completed_at, type=type, tags=tags
        )

    yield sample("hub.runs", 1, outcome=str(run.outcome or run.state).lower())
    if run.started_at is not None:
        took_s = max(0, run.completed_at - run.started_at) / 1_000
        yield sample("hub.run_seconds", took_s, MetricType.HISTOGRAM)
    ends = {"done": run.units_done, "skipped": run.units_skipped, "failed": run.units_failed}
    yield from (sample("hub.files", count, end=end) for end, count in ends.items() if count)
    items = {"created": run.items_created, "updated": run.items_updated, "known": run.items_known}
    yield from (sample("hub.items", count, end=end) for end, count in items.items() if count)


def _of_call(call: Any) -> Iterator[SampleRow]:
    def sample(name: str, value: float, type: MetricType = MetricType.COUNTER, **tags: str) -> SampleRow:
        told = {"model": call.model} | tags
        return SampleRow(agent_id=call.agent_id, name=name, value=value, at=call.at, type=type, tags=told)

    yield sample("hub.model_requests", call.requests, outcome=call.outcome)
    if call.outcome == ANSWERED:
        yield sample("hub.model_seconds", call.took_ms / 1_000, MetricType.HISTOGRAM)
    tokens = {"prompt": call.prompt_tokens, "completion": call.completion_tokens}
    yield from (sample("hub.model_tokens", count, kind=kind) for kind, count in tokens.items() if count)
    if call.cost_nanos:
        yield sample("hub.model_cost_usd", call.cost_nanos / 1e9)
