"""What devices report, what agents do for the hub, and what is asked about both."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from hub.agents import measurements as measuring
from hub.agents.measurement_charts import Chart, Folding, MeasurementQuery, QueryPlan, chosen, plan
from hub.agents.measurements import EVERY_S, PAUSE_S, MeasurementService
from hub.base.clock import epoch_ms
from hub.base.metrics import Metrics
from protocol.coordination import MetricType, Sample
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, NodeId
from protocol.lifecycles import RunState
from storage.agents import measurements
from storage.agents.measurements import (
    HOUR_MS,
    MINUTE_MS,
    BucketRetention,
    BucketRow,
    SampleRow,
    SeriesLimits,
    SeriesRow,
    Sketch,
    list_buckets,
    list_series,
    record,
)
from storage.schema import agent_metrics
from storage.store import Store, open_store
from tests.storage.rows import make_agent, make_run
from tests.support.clock import FakeClock
from tests.support.coded import coded
from tests.support.families import each
from tests.support.postgres import Postgres

COUNTER, GAUGE, HISTOGRAM = MetricType
INBOX = AgentId("agent-inbox")
MINE = {"inbox": INBOX, INBOX: INBOX}


class Bench:
    """A device with one agent."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.measurements = MeasurementService(store, clock=self.clock, metrics=self.metrics)

    def node(self, id: str, *, lags: Sequence[float] = ()) -> MeasurementService:
        """Another hub process on the same database, with three devices."""
        delays = iter(lags)
        return MeasurementService(
            self.store,
            clock=self.clock,
            metrics=self.metrics,
            node_id=NodeId(id),
            devices=lambda: 3,
            lag_s=lambda: next(delays, 0.0),
        )

    @property
    def now(self) -> int:
        return epoch_ms(self.clock.now())

    async def report(self, *samples: Sample, report_id: str | None = None) -> bool:
        return await self.measurements.report(samples, MINE, scope="desk", report_id=report_id)

    async def ask(self, name: str = "load", **asked: Any) -> Chart:
        return await self.measurements.ask(INBOX, MeasurementQuery(name=name, **asked))


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with ExitStack() as databases:
        database = "sqlite://"
        if getattr(request, "param", "sqlite") == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            database = databases.enter_context(server.database())
        async with open_store(database) as store:
            await store.write(make_agent)
            yield Bench(store)


ON_BOTH = pytest.mark.parametrize(
    "bench", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True
)


def sample(value: float = 1, **about: Any) -> Sample:
    given: dict[str, Any] = {"agent_id": "inbox", "name": "load", "value": value}
    return Sample(**(given | about))


async def test_reported_samples_are_returned_step_by_step(bench: Bench) -> None:
    hour_ago = bench.now - HOUR_MS
    await bench.report(sample(4, at_ms=hour_ago), sample(8, at_ms=hour_ago + 5), sample(3, agent_id=INBOX))
    chart = await bench.ask(since=hour_ago, until=bench.now + MINUTE_MS, step_ms=MINUTE_MS)
    (line,) = chart.lines
    told = [(point.at - hour_ago, point.value, point.n) for point in line.points if point.n]
    assert told == [(0, 6, 2), (HOUR_MS, 3, 1)]
    assert (chart.type, chart.plan.aggregate, line.whole, len(line.points)) == (GAUGE, "avg", 5, 61)


@pytest.mark.parametrize("at_once", [1, 3, 500])
async def test_chart_is_independent_of_the_read_batch_size(
    bench: Bench, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = bench.now - 30 * MINUTE_MS
    await bench.report(*(sample(n, type=COUNTER, at_ms=begin + n * 7_000) for n in range(200)))
    monkeypatch.setattr("hub.agents.measurements.AT_ONCE", at_once)
    chart = await bench.ask(since=begin, until=bench.now, step_ms=5 * MINUTE_MS)
    of_steps = [sum(n for n in range(200) if n * 7 // 300 == step) for step in range(5)]
    assert [point.value for point in chart.lines[0].points] == [*of_steps, None]


async def test_percentile_chart_reports_the_possible_error(bench: Bench) -> None:
    await bench.report(*(sample(n, type=HISTOGRAM) for n in range(1, 101)))
    chart = await bench.ask(aggregate="p95", until=bench.now + HOUR_MS)
    assert chart.error is not None and chart.error < 0.01
    assert chart.lines[0].whole == pytest.approx(95, rel=chart.error)
    assert (await bench.ask(aggregate="avg", until=bench.now + HOUR_MS)).error is None


async def test_clock_slightly_ahead_is_tolerated_and_a_clock_further_ahead_refused(
    bench: Bench,
) -> None:
    await bench.report(sample(at_ms=bench.now + 60_000))
    (series,) = await bench.measurements.series(INBOX)
    assert series.last_at == bench.now
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.BAD_PARAMS),
        match=r"samples\[0\].at_ms: .* 61 s ahead of the hub's clock; set the clock",
    ):
        await bench.report(sample(at_ms=bench.now + 61_000))


async def test_report_with_an_invalid_sample_stores_no_sample(bench: Bench) -> None:
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.UNKNOWN_AGENT),
        match=r"samples\[1\].agent_id: this device has no agent 'phone'",
    ):
        await bench.report(sample(), sample(agent_id="phone"))
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=r"samples\[1\].name"):
        await bench.report(sample(), sample(name="a b"))
    assert await bench.measurements.series(INBOX) == []
    (family,) = bench.metrics.samples.collect()
    assert {s.labels["outcome"]: s.value for s in family.samples} == {"refused": 4}


@each(
    ("about", "words"),
    [
        ({"name": "hub.runs"}, r"name: 'hub.runs' is of the hub"),
        ({"name": "7up"}, r"name: expected a letter, then"),
        ({"name": "a" * 256}, r"at most 255"),
        ({"value": float("nan")}, r"value: expected a number"),
        ({"value": float("inf")}, r"value: expected a number"),
        ({"value": 1e101}, r"value: expected a number from -1e\+100"),
        ({"tags": {str(n): "x" for n in range(9)}}, r"tags: expected at most 8 tags, not 9"),
        ({"tags": {"a b": "x"}}, r"tags: expected as a tag's name"),
        ({"tags": {"a": ""}}, r"tags.a: expected 1 to 128 printable characters"),
        ({"tags": {"a": "x\n"}}, r"tags.a: expected"),
        ({"at_ms": 1}, r"older than the 90 days .*metric_hours_days"),
    ],
)
async def test_invalid_sample_is_refused_with_the_index(
    bench: Bench, about: dict[str, Any], words: str
) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=rf"samples\[0\].*{words}"):
        await bench.report(sample(**about))


async def test_reached_metric_limit_is_counted_by_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SERIES": SeriesLimits(per_agent=1), "POINTS": 5, "BUCKETS": 100}.items():
        monkeypatch.setattr(measuring, name, value)
    await bench.report(sample())
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_MANY_SERIES)):
        await bench.report(sample(tags={"a": "b"}))
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)):
        await bench.ask(step_ms=HOUR_MS)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match=r"metric_buckets"):
        await bench.ask(since=bench.now - 120 * MINUTE_MS, step_ms=30 * MINUTE_MS)
    assert bench.metrics.reached() == {
        "metric_series_per_agent": 1,
        "metric_points": 1,
        "metric_buckets": 1,
    }


async def test_device_reporting_too_often_gets_the_time_of_the_next_report(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "REPORTS_AT_ONCE", 2)
    monkeypatch.setattr(measuring, "REPORTS_PER_S", 0.5)
    for _ in range(2):
        await bench.report(sample())
    with pytest.raises(
        CodedError, check=coded(ErrorCode.RATE_LIMITED), match=r"metric_reports_per_s.* in 2.0 s"
    ) as refused:
        await bench.report(sample())
    assert (refused.value.retry_after_s, bench.metrics.reached()) == (2, {"metric_reports_per_s": 1})
    await bench.measurements.report([sample()], MINE, scope="phone", report_id=None)
    bench.clock.advance(2)
    assert await bench.report(sample())


async def test_ended_runs_are_measured_every_quarter_of_a_minute(bench: Bench) -> None:
    async def runs() -> float | None:
        with anyio.fail_after(10):
            while not bench.clock.sleeping:  # what the database does takes real time
                await anyio.lowlevel.checkpoint()
        return (await bench.ask("hub.runs", until=bench.now + HOUR_MS)).lines[0].whole

    await bench.store.write(cancelled_run, "r-1", bench.now)
    async with anyio.create_task_group() as services:
        await services.start(bench.measurements.serve)
        assert await runs() == 1
        await bench.store.write(cancelled_run, "r-2", bench.now)
        bench.clock.advance(EVERY_S - 1)
        assert await runs() == 1
        bench.clock.advance(1)
        assert await runs() == 2
        services.cancel_scope.cancel()


async def test_all_unmeasured_work_is_measured_in_a_single_call_with_pauses(bench: Bench) -> None:
    def fill(c: sa.Connection) -> None:
        for n in range(measurements.AT_ONCE + 1):
            cancelled_run(c, f"r-{n}", bench.now)

    await bench.store.write(fill)
    done: list[int] = []

    async def measure() -> None:
        done.append(await bench.measurements.measure_work())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(measure)
        with anyio.fail_after(10):
            while not done:
                bench.clock.advance(PAUSE_S)
                await anyio.lowlevel.checkpoint()
    assert done == [measurements.AT_ONCE + 1]
    assert await bench.measurements.measure_work() == 0


def cancelled_run(c: sa.Connection, id: str, at: int) -> None:
    make_run(c, id, state=RunState.CANCELLED, at=at)


# --- the hub as a whole ---


@ON_BOTH
async def test_hub_metrics_have_gaps_without_a_running_node_and_zeros_without_work(
    bench: Bench,
) -> None:
    def end_two_runs(c: sa.Connection) -> None:
        for n, state in enumerate((RunState.CANCELLED, RunState.FAILED)):
            make_run(c, f"run-{bench.now}-{n}", state=state, at=bench.now)

    bench.measurements = bench.node("n-1")
    began = bench.now
    for hours, is_up in ((0, True), (1, True), (1, False), (1, True), (1, True)):
        bench.clock.advance(hours * 3_600)
        if is_up:
            await bench.measurements.measure_node()
        if hours == 0 or bench.now - began == 4 * HOUR_MS:
            await bench.store.write(end_two_runs)
            await bench.measurements.measure_work()
    found = await bench.measurements.ask_hub(since=began, until=bench.now + HOUR_MS, step_ms=HOUR_MS)
    by_name = {" ".join((line.name, *line.tags.values())): line for line in found}
    assert list(by_name["hub.runs cancelled"].values) == [1, 0, None, 0, 1]
    assert by_name["hub.runs error"].whole == 2
    assert list(by_name["hub.node_devices n-1"].values) == [3, 3, None, 3, 3]
    assert by_name["hub.node_cpu n-1"].values[0] is None, "nothing to compare with"
    assert (by_name["hub.node_memory_bytes n-1"].whole or 0) > 1e6
    only = await bench.measurements.ask_hub(name="hub.node_calls")
    assert [line.name for line in only] == ["hub.node_calls"]


async def test_a_node_is_sampled_once_in_five_minutes(bench: Bench) -> None:
    measurements = bench.node("n-1")
    for _ in range(41):  # ten minutes
        await measurements.measure_node()
        bench.clock.advance(EVERY_S)
    (series,) = await bench.store.read(list_series, None, name="hub.node_devices")
    found = await bench.store.read(list_buckets, [series.id], size_ms=MINUTE_MS, since=0, until=bench.now)
    assert [bucket.n for bucket in found] == [1, 1, 1]


async def test_hub_metric_series_beyond_the_limit_are_dropped_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "MAX_OF_HUB", 1)
    await bench.node("n-1").measure_node()
    await bench.store.write(cancelled_run, "run-1", bench.now)
    await bench.measurements.measure_work()
    assert bench.metrics.reached() == {"metric_series_of_hub": 4}
    assert [line.name for line in await bench.measurements.ask_hub()] == ["hub.node_devices"]


@ON_BOTH
async def test_work_is_summed_over_all_nodes_and_load_is_measured_per_node(
    bench: Bench,
) -> None:
    east, west = bench.node("east", lags=(0.2, 0.1)), bench.node("west", lags=(0.01, 0.02))
    for n in range(2):
        for node in (east, west):
            await node.measure_node()
            await bench.store.write(cancelled_run, f"run-{n}-{node is east}", bench.now)
            await node.measure_work()
        bench.clock.advance(300)
    begin = bench.now - 2 * 300_000
    by_five, by_hour = [
        {" ".join((line.name, *line.tags.values())): line for line in lines}
        for lines in (
            await east.ask_hub(since=begin, until=bench.now, step_ms=300_000),
            await west.ask_hub(since=begin, until=bench.now, step_ms=HOUR_MS),
        )
    ]
    assert (list(by_five["hub.runs cancelled"].values), by_hour["hub.runs cancelled"].whole) == ([2, 2], 4)
    for name in ("east", "west"):
        assert list(by_five[f"hub.node_devices {name}"].values) == [3, 3]
    assert list(by_five["hub.node_lag_seconds east"].values) == [0.2, 0.1]
    longest = {name: line.whole for name, line in by_hour.items() if "lag" in name}
    assert longest == {"hub.node_lag_seconds east": 0.2, "hub.node_lag_seconds west": 0.02}
    assert by_hour["hub.node_lag_seconds east"].plan.aggregate == "max"


async def test_monthly_hub_chart_reads_the_same_row_count_for_any_number_of_runs(bench: Bench) -> None:
    await bench.measurements.measure_node()
    begin = bench.now - 30 * 24 * HOUR_MS

    def month(c: sa.Connection, runs: int) -> None:
        samples = [
            SampleRow(agent_id=None, name="hub.runs", value=1, at=begin + hour * HOUR_MS + n, type=COUNTER)
            for hour in range(720)
            for n in range(runs)
        ]
        record(c, samples, at=bench.now, retention=BucketRetention(minutes_from=bench.now, hours_from=0))

    read = []
    for runs in (1, 20):
        await bench.store.write(month, runs)
        rows = await bench.store.read(
            lambda c: c.execute(sa.select(sa.func.count()).select_from(agent_metrics)).scalar_one()
        )
        (line,) = await bench.measurements.ask_hub(since=begin, step_ms=HOUR_MS)
        assert len(line.values) == 720
        read.append((rows, line.whole))
    assert read == [(720, 720), (720, 21 * 720)]


@each(
    ("asked", "says"),
    [
        ({"step_ms": 60_000}, "whole steps of 5 minutes"),
        ({"since": 1, "step_ms": HOUR_MS}, "points are more than the 744"),
        ({"since": 0, "until": 0}, "expected a time before until"),
    ],
)
async def test_hub_range_beyond_the_shown_limits_is_refused(
    bench: Bench, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(HubError, match=says):
        await bench.measurements.ask_hub(**asked)


COUNTER, GAUGE, HISTOGRAM = MetricType
DAY_MS = 24 * HOUR_MS
NOON = 20_000 * DAY_MS + 12 * HOUR_MS
MINUTES_FROM = NOON - 7 * DAY_MS


def planned(
    type: MetricType = COUNTER, *, points: int = 2_000, lines: int = 1, **asked: int | str | None
) -> QueryPlan:
    question = MeasurementQuery(name="load", **asked)  # type: ignore[arg-type]
    return plan(question, type, now_ms=NOON, minutes_from=MINUTES_FROM, most_points=points, lines=lines)


def series(id: str, **tags: str) -> SeriesRow:
    return SeriesRow(id=id, name="load", type=GAUGE, tags=tags, created_at=0, last_at=0, last=None)


def bucket(at: int, *values: float, id: str = "s", last_at: int | None = None) -> BucketRow:
    sketch = Sketch.of(values).document()
    newest = at if last_at is None else last_at
    return BucketRow(id, at, len(values), sum(values), min(values), max(values), values[-1], newest, sketch)


def told(
    plan: QueryPlan, *rows: BucketRow, lines: dict[str, str | None] | None = None, now: int = NOON
) -> Chart:
    folding = Folding(plan, lines or {"s": None})
    folding.add(rows)
    return folding.chart("load", COUNTER, now_ms=now)


def values(plan: QueryPlan, *rows: BucketRow) -> list[float | None]:
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
def test_chart_step_is_planned_by_range_and_metric_type(case: str) -> None:
    type, asked, expected = PLANS[case]
    found = planned(type, **asked)
    assert ({name: getattr(found, name) for name in expected}, found.points <= 121) == (expected, True)


@each("aggregate", ["p101", "p", "p-1", "p99.9999"])
def test_invalid_percentile_aggregate_is_refused(aggregate: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="percentile as p95"):
        planned(HISTOGRAM, aggregate=aggregate)


def test_chart_older_than_minute_retention_has_hourly_steps() -> None:
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
def test_invalid_metric_query_is_refused_with_the_valid_choices(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=words.replace("(", "\\(")):
        planned(COUNTER, **asked)


def test_points_beyond_the_limit_are_refused_with_a_sufficient_step() -> None:
    with pytest.raises(
        CodedError, check=coded(ErrorCode.LIMIT_REACHED), match=r"1440 points.*metric_points.*step of 1 h"
    ) as refused:
        planned(step_ms=MINUTE_MS, points=1_000)
    assert refused.value.limit == "metric_points"
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="step of 2 h"):
        planned(step_ms=HOUR_MS, points=100, lines=6)


def test_chart_sums_samples_per_step_and_marks_steps_without_samples() -> None:
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
def test_aggregate_covers_all_buckets_of_the_step(type: MetricType, aggregate: str, expected: float) -> None:
    asked = planned(type, since=NOON - HOUR_MS, step_ms=HOUR_MS, aggregate=aggregate)
    rows = (bucket(NOON - HOUR_MS, 8, 3, last_at=NOON - 1), bucket(NOON - HOUR_MS, 1, last_at=NOON - 2))
    assert values(asked, *rows) == [pytest.approx(expected)]


def test_rate_of_an_unfinished_step_is_calculated_over_the_elapsed_time() -> None:
    asked = planned(since=NOON, until=NOON + HOUR_MS, step_ms=HOUR_MS, aggregate="rate")
    (line,) = told(asked, bucket(NOON, 60), now=NOON + MINUTE_MS).lines
    assert line.points[0].value == line.whole == 1


def test_values_of_a_tag_are_separate_lines() -> None:
    rows = [series("a", kind="x", disk="1"), series("b", kind="x"), series("c", kind="y"), series("d")]
    lines = chosen(rows, MeasurementQuery(name="load", by="kind"))
    assert lines == {"a": "x", "b": "x", "c": "y", "d": ""}
    asked = planned(since=NOON - HOUR_MS, step_ms=HOUR_MS)
    found = told(asked, *(bucket(NOON - HOUR_MS, 1, id=id) for id in "abcd"), lines=lines).lines
    assert [(line.tag, line.whole) for line in found] == [("", 1), ("x", 2), ("y", 1)]


def test_series_are_chosen_by_tag_regardless_of_other_tags() -> None:
    rows = [series("a", kind="x", disk="1"), series("b", kind="x"), series("c", kind="y")]
    assert chosen(rows, MeasurementQuery(name="load", tags={"kind": "x"})).keys() == {"a", "b"}
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.UNKNOWN_METRIC),
        match="no series of 'load' has kind=z; its tags: disk=1, kind=x, kind=y",
    ):
        chosen(rows, MeasurementQuery(name="load", tags={"kind": "z"}))
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_METRIC), match="no metric 'load'"):
        chosen([], MeasurementQuery(name="load"))
