"""Runs that ended and questions that were asked, measured once each."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import measurements
from storage.agents.measurements import ERROR, HOUR_MS, MINUTE_MS, SETTLED_MS, BucketRetention, Sketch
from storage.runs import model_calls, run_moves, units
from storage.schema import items
from storage.schema import runs as run_table
from tests.storage.rows import AT, answer, calls, make_agent, make_run, plan, running
from tests.storage.test_model_answers import call
from tests.support.filling import fill

KEPT = BucketRetention(minutes_from=0, hours_from=0)
INBOX = AgentId("agent-inbox")


def measure(c: sa.Connection, *, kept: BucketRetention = KEPT, most: int = 100, at: int = AT) -> int:
    return measurements.measure(c, at=at, retention=kept, most=most).rows


def has_unmeasured(c: sa.Connection, *, at: int = AT) -> bool:
    return measurements.has_unmeasured(c, at=at, retention=KEPT)


def sums(c: sa.Connection, agent_id: AgentId | None = INBOX) -> dict[str, float]:
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
    assert sums(c, None) == sums(c)  # of the only agent


def decide(c: sa.Connection, verdict: str, at: int, *ids: str) -> None:
    given = {"verdict": verdict, "verdict_at": None if verdict == "open" else at}
    c.execute(sa.update(items).where(items.c.id.in_(ids)).values(given))


def test_verdicts_on_items_count_once_a_minute_after_they_were_given(c: sa.Connection) -> None:
    fill(c, {"users": 1, "devices": 1, "agents": 1, "items": 5})
    ids = c.execute(sa.select(items.c.id).order_by(items.c.id)).scalars().all()
    assert not has_unmeasured(c)
    decide(c, "approved", AT, *ids[:3])  # in one transaction
    decide(c, "approved", AT + 1, ids[3])
    decide(c, "rejected", AT + 2, ids[4])
    later = AT + SETTLED_MS
    assert not has_unmeasured(c, at=later - 1) and has_unmeasured(c, at=later)
    assert [measure(c, most=1, at=later + 2) for _ in range(3)] == [2, 1, 0]
    decide(c, "open", 0, ids[3])
    decide(c, "edited", later, ids[3])
    assert measure(c, at=later + SETTLED_MS) == 1
    assert sums(c, None) == {
        "hub.verdicts verdict=approved": 4,
        "hub.verdicts verdict=edited": 1,
        "hub.verdicts verdict=rejected": 1,
    }


def test_a_hub_with_too_many_series_begins_no_further_one(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "MOST_OF_HUB", 1)
    for n, outcome in enumerate((RunState.CANCELLED, RunState.FAILED, RunState.CANCELLED)):
        make_run(c, f"run-{n}", state=outcome)
    measured = measurements.measure(c, at=AT, retention=KEPT)
    (counted,) = sums(c, None).values()
    of_agent = {name: value for name, value in sums(c).items() if name.startswith("hub.runs ")}
    assert sum(of_agent.values()) == measured.rows == 3
    assert measured.left_out >= 3 - counted > 0


def test_a_series_of_the_hub_goes_with_its_last_bucket(c: sa.Connection) -> None:
    make_run(c, state=RunState.CANCELLED)
    measure(c)
    for size_ms in (MINUTE_MS, HOUR_MS):
        measurements.prune_buckets(c, size_ms=size_ms, before=AT + HOUR_MS)
    assert (measurements.prune_series(c, before=AT), measurements.prune_series(c, before=AT + 1)) == (0, 2)
    assert measurements.list_series(c, None) == []


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
    assert not has_unmeasured(c)
    assert measure(c) == 0


def test_each_run_and_each_question_counts_once(c: sa.Connection) -> None:
    make_run(c, "run-1", state=RunState.CANCELLED)
    make_run(c, "run-2", state=RunState.CANCELLED)
    first = call(id="c-1")
    for id in ("c-1", "c-2"):
        model_calls.record_call(c, msgspec.structs.replace(first, id=id, run_id=None))
    assert has_unmeasured(c)
    assert [measure(c, most=1), measure(c, most=1), measure(c, most=1)] == [2, 2, 0]
    assert not has_unmeasured(c)
    told = sums(c)
    assert (told["hub.runs outcome=cancelled"], told["hub.model_requests model=large outcome=answered"]) == (
        2,
        2 * first.usage.requests,
    )


def test_a_model_request_has_its_tokens_its_price_and_its_duration(c: sa.Connection) -> None:
    make_agent(c)
    asked = msgspec.structs.replace(call(id="c-1"), run_id=None, took_ms=800)
    failed = msgspec.structs.replace(asked, id="c-2", outcome="model_unavailable", took_ms=30_000)
    for one in (asked, failed):
        model_calls.record_call(c, one)
    measure(c)
    told = sums(c)
    assert (
        told["hub.model_tokens kind=prompt model=large"],
        told["hub.model_tokens kind=completion model=large"],
    ) == (2 * asked.usage.prompt_tokens, 2 * asked.usage.completion_tokens)
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
    assert (measure(c, kept=BucketRetention(minutes_from=AT + 1, hours_from=AT + 1)), sums(c)) == (1, {})
    assert c.execute(sa.select(run_table.c.measured_at).where(run_table.c.id == run.id)).scalar_one() == AT
