import hashlib
import json
import math

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import measurements
from storage.agents.agents import AgentRow
from storage.agents.measurements import (
    ERROR,
    HOUR_MS,
    MAX_BINS,
    MINUTE_MS,
    SETTLED_MS,
    BucketRetention,
    SampleRow,
    SeriesLimits,
    Sketch,
)
from storage.runs import model_calls, run_moves, units
from storage.schema import agent_metrics, items, metric_series
from storage.schema import runs as run_table
from tests.storage.rows import AT, answer, calls, make_agent, make_run, plan, running, some
from tests.storage.test_model_answers import call
from tests.support.coded import coded
from tests.support.filling import fill

DAY_MS = 24 * HOUR_MS
NOON = 20_000 * DAY_MS + 12 * HOUR_MS
KEPT = BucketRetention(minutes_from=NOON - 7 * DAY_MS, hours_from=NOON - 90 * DAY_MS)
ROOM = SeriesLimits(per_agent=3, total=5)
COUNTER, GAUGE, HISTOGRAM = MetricType


def sample(
    agent: AgentRow,
    value: float,
    *,
    name: str = "load",
    type: MetricType | None = None,
    at: int = NOON,
    **tags: str,
) -> SampleRow:
    return SampleRow(agent_id=agent.id, name=name, value=value, at=at, type=type, tags=tags)


def record(c: sa.Connection, *samples: SampleRow, limits: SeriesLimits | None = ROOM) -> None:
    measurements.record(c, samples, at=NOON, retention=KEPT, limits=limits)


def report(c: sa.Connection, report_id: str | None, *samples: SampleRow) -> bool:
    digest = hashlib.sha256(repr(samples).encode()).hexdigest()
    return measurements.report(
        c, samples, scope="desk", report_id=report_id, digest=digest, at=NOON, retention=KEPT, limits=ROOM
    )


def buckets(
    c: sa.Connection, agent_id: AgentId, size_ms: int = MINUTE_MS, *, name: str = "load"
) -> list[measurements.BucketRow]:
    ids = [row.id for row in measurements.list_series(c, agent_id, name=name)]
    rows = measurements.list_buckets(c, ids, size_ms=size_ms, since=0, until=2 * NOON, with_sketches=True)
    return sorted(rows, key=lambda row: row.at)


def counted(c: sa.Connection, table: sa.Table = metric_series) -> int:
    return c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_samples_are_added_to_a_single_minute_bucket_and_hour_bucket(
    c: sa.Connection, agent: AgentRow
) -> None:
    record(c, sample(agent, 4, at=NOON), sample(agent, 1, at=NOON + 59_999))
    record(c, sample(agent, 3, at=NOON + 1), sample(agent, 9, at=NOON + MINUTE_MS))
    first, second = buckets(c, agent.id)
    assert (first.at, first.n, first.sum, first.min, first.max, first.last, first.last_at) == (
        NOON,
        3,
        8,
        1,
        4,
        1,
        NOON + 59_999,
    )
    assert (second.at, second.n, second.last) == (NOON + MINUTE_MS, 1, 9)
    (hour,) = buckets(c, agent.id, HOUR_MS)
    assert (hour.at, hour.n, hour.sum, hour.min, hour.max, hour.last) == (NOON, 4, 17, 1, 9, 9)


def test_bucket_sum_has_double_precision(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 16_777_217.25, type=COUNTER))
    record(c, sample(agent, 1, type=COUNTER))
    assert buckets(c, agent.id)[0].sum == 16_777_218.25


def test_histogram_has_a_sketch_for_percentiles(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, value, type=HISTOGRAM) for value in range(1, 51)))
    record(c, *(sample(agent, value) for value in range(51, 102)))
    kept = some(buckets(c, agent.id, HOUR_MS)[0].sketch)
    assert Sketch.of_document(kept).percentile(50) == pytest.approx(51, rel=ERROR)
    assert kept == Sketch.of(range(1, 102)).document()


def test_late_sample_changes_the_own_bucket_and_not_the_newest_value(
    c: sa.Connection, agent: AgentRow
) -> None:
    record(c, sample(agent, 5))
    record(c, sample(agent, 7, at=NOON - HOUR_MS))
    assert [(row.at, row.last) for row in buckets(c, agent.id)] == [(NOON - HOUR_MS, 7), (NOON, 5)]
    assert [(series.last, series.last_at) for series in measurements.list_series(c, agent.id)] == [(5, NOON)]


def test_sample_older_than_the_minute_retention_goes_into_the_hour_bucket_only(
    c: sa.Connection, agent: AgentRow
) -> None:
    record(c, sample(agent, 5, at=NOON - 8 * DAY_MS), sample(agent, 6, at=NOON - 91 * DAY_MS))
    assert buckets(c, agent.id) == []
    assert [row.at for row in buckets(c, agent.id, HOUR_MS)] == [NOON - 8 * DAY_MS]


def test_series_differ_by_their_tags_in_any_order(c: sa.Connection, agent: AgentRow) -> None:
    record(
        c,
        sample(agent, 1, kind="a", disk="x"),
        sample(agent, 2, disk="x", kind="a"),
        sample(agent, 3, kind="b"),
    )
    listed = measurements.list_series(c, agent.id)
    assert [(row.tags, row.last) for row in listed] == [({"disk": "x", "kind": "a"}, 2), ({"kind": "b"}, 3)]


def test_metric_of_another_type_under_other_tags_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1, type=COUNTER))
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.BAD_PARAMS),
        match=r"samples\[1\].type: the metric 'load' of this agent is a counter, not a gauge",
    ):
        record(c, sample(agent, 1), sample(agent, 1, type=GAUGE, kind="b"))
    assert [row.type for row in measurements.list_series(c, agent.id)] == [COUNTER]


def test_series_beyond_the_limit_of_an_agent_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, 1, kind=str(n)) for n in range(3)))
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.TOO_MANY_SERIES),
        match=r'load\{"kind":"3"\}.*3 \(metric_series_per_agent\)',
    ) as refused:
        record(c, sample(agent, 1, kind="3"))
    assert refused.value.limit == "metric_series_per_agent"
    record(c, sample(agent, 2, kind="0"), sample(make_agent(c, "other"), 1))


def test_series_beyond_the_limit_of_all_agents_is_refused(c: sa.Connection) -> None:
    for name in ("one", "two"):
        record(c, *(sample(make_agent(c, name), 1, kind=str(n)) for n in range(2)))
    third = make_agent(c, "three")
    record(c, sample(third, 1))
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_MANY_SERIES), match=r"metric_series\)"):
        record(c, sample(third, 1, kind="b"))


def test_hub_measurements_do_not_count_against_the_series_limit(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, 1, name="hub.runs", kind=str(n)) for n in range(9)), limits=None)
    record(c, *(sample(agent, 1, kind=str(n)) for n in range(3)))
    assert counted(c) == 12


def test_repeated_metric_report_counts_once(c: sa.Connection, agent: AgentRow) -> None:
    assert report(c, "r-1", sample(agent, 5)) is True and report(c, "r-1", sample(agent, 5)) is False
    assert report(c, "r-2", sample(agent, 5)) is True
    assert buckets(c, agent.id)[0].n == 2


def test_a_report_without_an_id_counts_each_time(c: sa.Connection, agent: AgentRow) -> None:
    assert report(c, None, sample(agent, 5)) is report(c, None, sample(agent, 5)) is True
    assert buckets(c, agent.id)[0].n == 2


def test_different_metric_report_with_a_known_id_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    report(c, "r-1", sample(agent, 5))
    with pytest.raises(CodedError, check=coded(ErrorCode.KEY_USED), match="r-1"):
        report(c, "r-1", sample(agent, 6))
    assert buckets(c, agent.id)[0].n == 1


def test_many_samples_recorded_twice_update_the_same_buckets(c: sa.Connection, agent: AgentRow) -> None:
    many = [sample(agent, 1, type=COUNTER, at=NOON - n * MINUTE_MS) for n in range(500)]
    record(c, *many)
    record(c, *many)
    assert {row.n for row in buckets(c, agent.id)} == {2}
    assert sum(row.sum for row in buckets(c, agent.id, HOUR_MS)) == 1_000


def test_old_buckets_and_emptied_series_are_pruned_in_steps(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, 1, at=NOON - n * MINUTE_MS) for n in range(5)))
    record(c, sample(agent, 1, name="fresh"))
    before = NOON + HOUR_MS
    assert measurements.prune_series(c, before=before) == 0
    assert measurements.prune_buckets(c, size_ms=MINUTE_MS, before=before, rows=4) == 4
    assert measurements.prune_buckets(c, size_ms=MINUTE_MS, before=before, rows=4) == 2
    assert measurements.prune_buckets(c, size_ms=MINUTE_MS, before=before) == 0
    assert measurements.prune_buckets(c, size_ms=HOUR_MS, before=NOON) == 1
    assert counted(c, agent_metrics) == 2  # the hour of now, of both series
    assert measurements.prune_buckets(c, size_ms=HOUR_MS, before=before) == 2
    record(c, sample(agent, 2, name="fresh", at=before))
    assert measurements.prune_series(c, before=before) == 1
    assert [row.name for row in measurements.list_series(c, agent.id)] == ["fresh"]


def test_bucket_is_pruned_only_after_the_whole_span_is_old(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1))
    assert measurements.prune_buckets(c, size_ms=HOUR_MS, before=NOON + HOUR_MS - 1) == 0


def test_measurements_are_deleted_with_their_agent(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1))
    c.exec_driver_sql("DELETE FROM agents")
    assert counted(c) == counted(c, agent_metrics) == 0


# --- sketches ---


PERCENTS = (0, 1, 25, 50, 75, 90, 95, 99, 99.9, 100)
VALUES = st.lists(st.floats(-1e100, 1e100).filter(lambda x: x == 0 or abs(x) >= 1e-100), min_size=1)


def exact(values: list[float], percent: float) -> float:
    return sorted(values)[math.floor(percent / 100 * (len(values) - 1))]


def error_of(sketch: Sketch, values: list[float], percent: float) -> float:
    """How far the sketch is from the exact percentile, as a part of it."""
    told, is_so = sketch.percentile(percent), exact(values, percent)
    assert told is not None
    return abs(told - is_so) / abs(is_so) if is_so else abs(told)


def spread(n: int, *, decades: float) -> list[float]:
    """So many values, as dense everywhere, from 1 on."""
    return [10 ** (decades * k / n) for k in range(n)]


@given(VALUES)
def test_sketch_percentile_is_within_1_percent_of_the_exact_value(values: list[float]) -> None:
    sketch = Sketch.of(values)
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= ERROR + 1e-9


@given(VALUES, VALUES, VALUES)
def test_sketches_are_merged_in_any_order(one: list[float], two: list[float], three: list[float]) -> None:
    left, right = Sketch.of(one), Sketch.of(three)
    left.merge(Sketch.of(two))
    right.merge(Sketch.of(two))
    left.merge(Sketch.of(three))
    right.merge(Sketch.of(one))
    assert left.document() == right.document() == Sketch.of(one + two + three).document()


@given(VALUES)
def test_sketch_survives_a_json_round_trip(values: list[float]) -> None:
    kept = Sketch.of(values).document()
    assert Sketch.of_document(json.loads(json.dumps(kept))).document() == kept


def test_sketch_of_seven_decades_has_full_precision() -> None:
    values = spread(5_000, decades=6.9)
    sketch = Sketch.of(values)
    assert sketch.level == 0
    assert sketch.error == pytest.approx(ERROR)
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= ERROR + 1e-9


def test_sketch_of_twenty_decades_has_coarser_percentiles_of_a_known_error() -> None:
    values = spread(9_000, decades=20)
    sketch = Sketch.of(values)
    assert len(sketch) <= MAX_BINS
    assert sketch.level == 2
    assert ERROR * 3.9 < sketch.error < ERROR * 4.1
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= sketch.error + 1e-9


def test_coarse_and_fine_sketches_merge_into_a_coarse_sketch() -> None:
    wide, narrow = spread(9_000, decades=20), [3.0] * 20_000
    fine = Sketch.of(narrow)
    fine.merge(Sketch.of(wide))
    coarse = Sketch.of(wide)
    coarse.merge(Sketch.of(narrow))
    assert fine.document() == coarse.document() == Sketch.of(wide + narrow).document()


def test_sketch_orders_negative_zero_and_positive_values() -> None:
    sketch = Sketch.of([-100.0, -1.0, 0.0, 0.0, 1.0, 100.0])
    told = [sketch.percentile(percent) for percent in (0, 20, 40, 60, 80, 100)]
    assert told == pytest.approx([-100, -1, 0, 0, 1, 100], rel=ERROR)


def test_empty_sketch_has_no_percentile() -> None:
    assert Sketch().percentile(50) is None


# --- runs and questions that are measured ---


EVERYTHING = BucketRetention(minutes_from=0, hours_from=0)
INBOX = AgentId("agent-inbox")


def measure(c: sa.Connection, *, kept: BucketRetention = EVERYTHING, most: int = 100, at: int = AT) -> int:
    return measurements.measure(c, at=at, retention=kept, most=most).rows


def has_unmeasured(c: sa.Connection, *, at: int = AT) -> bool:
    return measurements.has_unmeasured(c, at=at, retention=EVERYTHING)


def sums(c: sa.Connection, agent_id: AgentId | None = INBOX) -> dict[str, float]:
    """What all samples of each series come to: ``hub.files end=done``."""
    told = {}
    for row in measurements.list_series(c, agent_id):
        buckets = measurements.list_buckets(c, [row.id], size_ms=HOUR_MS, since=0, until=10 * AT)
        name = " ".join([row.name, *(f"{tag}={value}" for tag, value in sorted(row.tags.items()))])
        told[name] = sum(bucket.sum for bucket in buckets)
    return told


def test_ended_run_has_a_result(c: sa.Connection) -> None:
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


def test_item_verdicts_are_measured_once_after_a_settling_minute(c: sa.Connection) -> None:
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


def test_hub_series_beyond_the_limit_are_left_out(c: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "MAX_OF_HUB", 1)
    for n, outcome in enumerate((RunState.CANCELLED, RunState.FAILED, RunState.CANCELLED)):
        make_run(c, f"run-{n}", state=outcome)
    measured = measurements.measure(c, at=AT, retention=EVERYTHING)
    (counted,) = sums(c, None).values()
    of_agent = {name: value for name, value in sums(c).items() if name.startswith("hub.runs ")}
    assert sum(of_agent.values()) == measured.rows == 3
    assert measured.left_out >= 3 - counted > 0


def test_hub_series_is_pruned_with_the_last_bucket(c: sa.Connection) -> None:
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
def test_failed_or_cancelled_run_is_measured_by_outcome(
    c: sa.Connection, state: RunState, outcome: str
) -> None:
    make_run(c, state=state)
    measure(c)
    assert sums(c)[f"hub.runs outcome={outcome}"] == 1


def test_a_live_run_is_not_measured(c: sa.Connection) -> None:
    running(c)
    assert not has_unmeasured(c)
    assert measure(c) == 0


def test_each_run_and_each_model_call_is_measured_once(c: sa.Connection) -> None:
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


def test_model_request_is_measured_with_tokens_price_and_duration(c: sa.Connection) -> None:
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


def test_run_ended_before_the_measurement_retention_is_not_measured(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.CANCELLED)
    assert (measure(c, kept=BucketRetention(minutes_from=AT + 1, hours_from=AT + 1)), sums(c)) == (1, {})
    assert c.execute(sa.select(run_table.c.measured_at).where(run_table.c.id == run.id)).scalar_one() == AT
