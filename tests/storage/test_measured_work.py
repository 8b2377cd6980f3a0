"""Runs that ended and questions that were asked, measured once each."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import measurements
from storage.agents.measurements import HOUR_MS, BucketRetention
from storage.agents.sketch import ERROR, Sketch
from storage.runs import model_calls, run_moves, units
from storage.runs.schema import runs as run_table
from tests.storage.rows import AT, answer, calls, make_agent, make_run, plan, running
from tests.storage.test_model_answers import call

KEPT = BucketRetention(minutes_from=0, hours_from=0)
INBOX = AgentId("agent-inbox")


def measure(c: sa.Connection, *, kept: BucketRetention = KEPT, most: int = 100) -> int:
    return measurements.measure(c, at=AT, retention=kept, most=most)


def sums(c: sa.Connection, agent_id: AgentId = INBOX) -> dict[str, float]:
    """What all samples of each series come to: ``hub.files end=done``."""
    told = {}
    for row in measurements.list_series(c, agent_id):
        buckets = measurements.list_buckets(c, [row.id], size_ms=HOUR_MS, since=0, until=10 * AT)
        name = " ".join([row.name, *(f"{tag}={value}" for tag, value in sorted(row.tags.items()))])
        told[name] = sum(bucket.sum for bucket in buckets)
    return told


def test_a_run_that_ended_has_a_result(c: sa.Connection) -> None:
    held = running(c)
    plan(c, held, of=calls("call-1", "call-2"))
    for id in ("call-1", "call-2"):
        answer(c, held, id)
    units.settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT + 2_500, actor="hub", outcome=RunOutcome.SUCCESS)
    assert measure(c) == 1
    assert sums(c) == {
        "hub.files end=done": 1,
        "hub.items end=created": 2,
        "hub.run_seconds": 2.5,
        "hub.runs outcome=success": 1,
    }


@pytest.mark.parametrize(
    ("state", "outcome"),
    [(RunState.FAILED, "error"), (RunState.CANCELLED, "cancelled")],
    ids=["failed", "cancelled"],
)
def test_a_run_that_came_to_nothing_counts_by_its_end(
    c: sa.Connection, state: RunState, outcome: str
) -> None:
    make_run(c, state=state)
    measure(c)
    assert sums(c)[f"hub.runs outcome={outcome}"] == 1


def test_a_live_run_is_not_measured(c: sa.Connection) -> None:
    running(c)
    assert not measurements.has_unmeasured(c)
    assert measure(c) == 0


def test_each_run_and_each_question_counts_once(c: sa.Connection) -> None:
    make_run(c, "run-1", state=RunState.CANCELLED)
    make_run(c, "run-2", state=RunState.CANCELLED)
    first = call(id="c-1")
    for id in ("c-1", "c-2"):
        model_calls.record_call(c, msgspec.structs.replace(first, id=id, run_id=None))
    assert measurements.has_unmeasured(c)
    assert [measure(c, most=1), measure(c, most=1), measure(c, most=1)] == [2, 2, 0]
    assert not measurements.has_unmeasured(c)
    told = sums(c)
    assert told["hub.runs outcome=cancelled"] == 2
    assert told["hub.model_requests model=large outcome=answered"] == 2 * first.usage.requests


def test_a_model_request_has_its_tokens_its_price_and_its_duration(c: sa.Connection) -> None:
    make_agent(c)
    asked = msgspec.structs.replace(call(id="c-1"), run_id=None, took_ms=800)
    failed = msgspec.structs.replace(asked, id="c-2", outcome="model_unavailable", took_ms=30_000)
    for one in (asked, failed):
        model_calls.record_call(c, one)
    measure(c)
    told = sums(c)
    assert told["hub.model_tokens kind=prompt model=large"] == 2 * asked.usage.prompt_tokens
    assert told["hub.model_tokens kind=completion model=large"] == 2 * asked.usage.completion_tokens
    assert told["hub.model_cost_usd model=large"] == pytest.approx(2 * asked.usage.cost_nanos / 1e9)
    assert told["hub.model_requests model=large outcome=model_unavailable"] == failed.usage.requests
    (series,) = measurements.list_series(c, INBOX, name="hub.model_seconds")
    (hour,) = measurements.list_buckets(
        c, [series.id], size_ms=HOUR_MS, since=0, until=10 * AT, with_sketches=True
    )
    assert hour.sketch is not None and hour.n == 1
    assert Sketch.of_document(hour.sketch).percentile(100) == pytest.approx(0.8, rel=ERROR)


def test_what_ended_before_measurements_are_kept_is_passed_over(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.CANCELLED)
    assert measure(c, kept=BucketRetention(minutes_from=AT + 1, hours_from=AT + 1)) == 1
    assert sums(c) == {}
    marked = c.execute(sa.select(run_table.c.measured_at).where(run_table.c.id == run.id)).scalar_one()
    assert marked == AT
