"""What is read for a question about measurements, and what it comes to."""

from typing import Any

import pytest

from hub.agents.measurements import Chart, Folding, Plan, Question, chosen, plan
from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from storage.agents.measurements import HOUR_MS, MINUTE_MS, BucketRow, SeriesRow, Sketch
from tests.support.coded import coded
from tests.support.families import each

COUNTER, GAUGE, HISTOGRAM = MetricType
DAY_MS = 24 * HOUR_MS
NOON = 20_000 * DAY_MS + 12 * HOUR_MS
MINUTES_FROM = NOON - 7 * DAY_MS


def planned(
    type: MetricType = COUNTER, *, points: int = 2_000, lines: int = 1, **asked: int | str | None
) -> Plan:
    question = Question(name="load", **asked)  # type: ignore[arg-type]
    return plan(question, type, now_ms=NOON, minutes_from=MINUTES_FROM, most_points=points, lines=lines)


def series(id: str, **tags: str) -> SeriesRow:
    return SeriesRow(id=id, name="load", type=GAUGE, tags=tags, created_at=0, last_at=0, last=None)


def bucket(at: int, *values: float, id: str = "s", last_at: int | None = None) -> BucketRow:
    sketch = Sketch.of(values).document()
    newest = at if last_at is None else last_at
    return BucketRow(id, at, len(values), sum(values), min(values), max(values), values[-1], newest, sketch)


def told(plan: Plan, *rows: BucketRow, lines: dict[str, str | None] | None = None, now: int = NOON) -> Chart:
    folding = Folding(plan, lines or {"s": None})
    folding.add(rows)
    return folding.chart("load", COUNTER, now_ms=now)


def values(plan: Plan, *rows: BucketRow) -> list[float | None]:
    return [point.value for point in told(plan, *rows).lines[0].points]


MONTH = {"since": NOON - 30 * DAY_MS}
PLANS: dict[str, tuple[MetricType, dict[str, Any], dict[str, Any]]] = {
    "without a period the last day": (
        COUNTER,
        {},
        {
            "since": NOON - DAY_MS,
            "until": NOON,
            "step_ms": 15 * MINUTE_MS,
            "size_ms": MINUTE_MS,
            "aggregate": "sum",
        },
    ),
    "an hour": (COUNTER, {"since": NOON - int(0.04 * DAY_MS)}, {"step_ms": MINUTE_MS, "size_ms": MINUTE_MS}),
    "three days": (COUNTER, {"since": NOON - 3 * DAY_MS}, {"step_ms": HOUR_MS, "size_ms": HOUR_MS}),
    "a month": (COUNTER, MONTH, {"step_ms": 6 * HOUR_MS, "size_ms": HOUR_MS}),
    "three months": (COUNTER, {"since": NOON - 90 * DAY_MS}, {"step_ms": DAY_MS, "size_ms": HOUR_MS}),
    "whole steps": (
        COUNTER,
        {"since": NOON - 90 * MINUTE_MS - 1, "until": NOON + 1, "step_ms": HOUR_MS},
        {"since": NOON - 2 * HOUR_MS, "until": NOON + HOUR_MS, "points": 3},
    ),
    "median": (HISTOGRAM, {}, {"percent": 50}),
    "percentile with a decimal": (HISTOGRAM, {"aggregate": "p99.9"}, {"percent": 99.9}),
    "most": (HISTOGRAM, {"aggregate": "p100"}, {"percent": 100}),
}


@each("case", PLANS)
def test_the_steps_of_an_answer_suit_its_range_and_its_metric(case: str) -> None:
    type, asked, expected = PLANS[case]
    found = planned(type, **asked)
    assert ({name: getattr(found, name) for name in expected}, found.points <= 121) == (expected, True)


@each("aggregate", ["p101", "p", "p-1", "p99.9999"])
def test_what_is_no_percentile_is_refused(aggregate: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="percentile as p95"):
        planned(HISTOGRAM, aggregate=aggregate)


def test_a_period_older_than_minutes_is_returned_by_the_hour() -> None:
    assert planned(since=MINUTES_FROM - HOUR_MS, until=MINUTES_FROM).size_ms == HOUR_MS
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_PARAMS), match=r"metric_minutes_days.*whole hours"
    ):
        planned(since=MINUTES_FROM - HOUR_MS, until=MINUTES_FROM, step_ms=MINUTE_MS)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"step_ms": 90_001}, "whole minutes, as in 5m or 1h; not 90.001 s"),
        (
            {"since": NOON, "until": NOON},
            "since: expected a time before until, which is 2024-10-04T12:00:00Z",
        ),
        ({"since": -1}, "since: expected a time"),
        ({"until": 2**53}, "until: is more than a day in the future"),
        ({"aggregate": "p95"}, "load is a counter; of such ask sum, rate, count; not 'p95'"),
        ({"aggregate": "mean"}, "not 'mean'"),
    ],
    ids=["step", "empty", "before-time", "ahead", "percentile", "word"],
)
def test_a_question_that_makes_no_sense_is_refused_with_what_would(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=words.replace("(", "\\(")):
        planned(COUNTER, **asked)


def test_more_points_than_an_answer_may_have_are_refused_with_a_step_that_would_do() -> None:
    with pytest.raises(
        CodedError, check=coded(ErrorCode.LIMIT_REACHED), match=r"1440 points.*metric_points.*step of 1 h"
    ) as refused:
        planned(step_ms=MINUTE_MS, points=1_000)
    assert refused.value.limit == "metric_points"
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="step of 2 h"):
        planned(step_ms=HOUR_MS, points=100, lines=6)


def test_steps_are_added_up_and_one_without_samples_says_so() -> None:
    asked = planned(since=NOON - 3 * HOUR_MS, step_ms=HOUR_MS)
    rows = (bucket(NOON - 3 * HOUR_MS, 1, 2), bucket(NOON - 3 * HOUR_MS, 3), bucket(NOON - HOUR_MS, 10))
    (line,) = told(asked, *rows).lines
    assert [(point.value, point.n) for point in line.points] == [(6, 3), (None, 0), (10, 1)]
    assert line.whole == 16


@pytest.mark.parametrize(
    ("type", "aggregate", "expected"),
    [
        (COUNTER, "sum", 12),
        (COUNTER, "count", 3),
        (COUNTER, "rate", 12 / 3_600),
        (GAUGE, "avg", 4),
        (GAUGE, "min", 1),
        (GAUGE, "max", 8),
        (GAUGE, "last", 3),
        (HISTOGRAM, "p0", 1),
        (HISTOGRAM, "p100", 8),
    ],
    ids=lambda of: str(of),
)
def test_each_aggregate_is_of_all_buckets_of_its_step(
    type: MetricType, aggregate: str, expected: float
) -> None:
    asked = planned(type, since=NOON - HOUR_MS, step_ms=HOUR_MS, aggregate=aggregate)
    rows = (bucket(NOON - HOUR_MS, 8, 3, last_at=NOON - 1), bucket(NOON - HOUR_MS, 1, last_at=NOON - 2))
    assert values(asked, *rows) == [pytest.approx(expected)]


def test_the_rate_of_a_step_that_is_not_over_is_of_the_time_that_has_passed() -> None:
    asked = planned(since=NOON, until=NOON + HOUR_MS, step_ms=HOUR_MS, aggregate="rate")
    (line,) = told(asked, bucket(NOON, 60), now=NOON + MINUTE_MS).lines
    assert line.points[0].value == line.whole == 1


def test_values_of_a_tag_are_separate_lines() -> None:
    rows = [series("a", kind="x", disk="1"), series("b", kind="x"), series("c", kind="y"), series("d")]
    lines = chosen(rows, Question(name="load", by="kind"))
    assert lines == {"a": "x", "b": "x", "c": "y", "d": ""}
    asked = planned(since=NOON - HOUR_MS, step_ms=HOUR_MS)
    found = told(asked, *(bucket(NOON - HOUR_MS, 1, id=id) for id in "abcd"), lines=lines).lines
    assert [(line.tag, line.whole) for line in found] == [("", 1), ("x", 2), ("y", 1)]


def test_series_with_a_tag_are_chosen_whatever_else_they_have() -> None:
    rows = [series("a", kind="x", disk="1"), series("b", kind="x"), series("c", kind="y")]
    assert chosen(rows, Question(name="load", tags={"kind": "x"})).keys() == {"a", "b"}
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.UNKNOWN_METRIC),
        match="no series of 'load' has kind=z; its tags: disk=1, kind=x, kind=y",
    ):
        chosen(rows, Question(name="load", tags={"kind": "z"}))
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_METRIC), match="no metric 'load'"):
        chosen([], Question(name="load"))
