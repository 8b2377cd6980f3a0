import hashlib

import pytest
import sqlalchemy as sa

from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from storage.agents import measurements
from storage.agents.agents import AgentRow
from storage.agents.measurements import (
    ERROR,
    HOUR_MS,
    MINUTE_MS,
    BucketRetention,
    SampleRow,
    SeriesLimits,
    Sketch,
)
from storage.schema import agent_metrics, metric_series
from tests.storage.rows import make_agent, some
from tests.support.coded import coded

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


def test_samples_of_a_minute_become_one_bucket_and_those_of_an_hour_another(
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


def test_a_sum_has_all_the_digits_of_a_float(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 16_777_217.25, type=COUNTER))
    record(c, sample(agent, 1, type=COUNTER))
    assert buckets(c, agent.id)[0].sum == 16_777_218.25


def test_a_histogram_has_a_sketch_that_gives_percentiles(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, value, type=HISTOGRAM) for value in range(1, 51)))
    record(c, *(sample(agent, value) for value in range(51, 102)))
    kept = some(buckets(c, agent.id, HOUR_MS)[0].sketch)
    assert Sketch.of_document(kept).percentile(50) == pytest.approx(51, rel=ERROR)
    assert kept == Sketch.of(range(1, 102)).document()


def test_a_sample_that_comes_late_changes_its_own_time_and_not_the_newest_value(
    c: sa.Connection, agent: AgentRow
) -> None:
    record(c, sample(agent, 5))
    record(c, sample(agent, 7, at=NOON - HOUR_MS))
    assert [(row.at, row.last) for row in buckets(c, agent.id)] == [(NOON - HOUR_MS, 7), (NOON, 5)]
    assert [(series.last, series.last_at) for series in measurements.list_series(c, agent.id)] == [(5, NOON)]


def test_what_is_older_than_minutes_are_kept_goes_into_its_hour_alone(
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


def test_a_metric_keeps_its_type_under_all_tags(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1, type=COUNTER))
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.BAD_PARAMS),
        match=r"samples\[1\].type: the metric 'load' of this agent is a counter, not a gauge",
    ):
        record(c, sample(agent, 1), sample(agent, 1, type=GAUGE, kind="b"))
    assert [row.type for row in measurements.list_series(c, agent.id)] == [COUNTER]


def test_an_agent_has_so_many_series_and_no_more(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, 1, kind=str(n)) for n in range(3)))
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.TOO_MANY_SERIES),
        match=r'load\{"kind":"3"\}.*3 \(metric_series_per_agent\)',
    ) as refused:
        record(c, sample(agent, 1, kind="3"))
    assert refused.value.limit == "metric_series_per_agent"
    record(c, sample(agent, 2, kind="0"), sample(make_agent(c, "other"), 1))


def test_all_agents_together_have_so_many_series_and_no_more(c: sa.Connection) -> None:
    for name in ("one", "two"):
        record(c, *(sample(make_agent(c, name), 1, kind=str(n)) for n in range(2)))
    third = make_agent(c, "three")
    record(c, sample(third, 1))
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_MANY_SERIES), match=r"metric_series\)"):
        record(c, sample(third, 1, kind="b"))


def test_what_the_hub_itself_measures_takes_no_room(c: sa.Connection, agent: AgentRow) -> None:
    record(c, *(sample(agent, 1, name="hub.runs", kind=str(n)) for n in range(9)), limits=None)
    record(c, *(sample(agent, 1, kind=str(n)) for n in range(3)))
    assert counted(c) == 12


def test_a_report_that_comes_twice_counts_once(c: sa.Connection, agent: AgentRow) -> None:
    assert report(c, "r-1", sample(agent, 5)) is True and report(c, "r-1", sample(agent, 5)) is False
    assert report(c, "r-2", sample(agent, 5)) is True
    assert buckets(c, agent.id)[0].n == 2


def test_a_report_without_an_id_counts_each_time(c: sa.Connection, agent: AgentRow) -> None:
    assert report(c, None, sample(agent, 5)) is report(c, None, sample(agent, 5)) is True
    assert buckets(c, agent.id)[0].n == 2


def test_another_report_with_a_known_id_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    report(c, "r-1", sample(agent, 5))
    with pytest.raises(CodedError, check=coded(ErrorCode.KEY_USED), match="r-1"):
        report(c, "r-1", sample(agent, 6))
    assert buckets(c, agent.id)[0].n == 1


def test_many_samples_at_once_find_all_their_buckets_again(c: sa.Connection, agent: AgentRow) -> None:
    many = [sample(agent, 1, type=COUNTER, at=NOON - n * MINUTE_MS) for n in range(500)]
    record(c, *many)
    record(c, *many)
    assert {row.n for row in buckets(c, agent.id)} == {2}
    assert sum(row.sum for row in buckets(c, agent.id, HOUR_MS)) == 1_000


def test_old_buckets_go_in_small_steps_and_a_series_with_its_last_one(
    c: sa.Connection, agent: AgentRow
) -> None:
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


def test_a_bucket_goes_only_when_all_of_it_is_old(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1))
    assert measurements.prune_buckets(c, size_ms=HOUR_MS, before=NOON + HOUR_MS - 1) == 0


def test_measurements_go_with_their_agent(c: sa.Connection, agent: AgentRow) -> None:
    record(c, sample(agent, 1))
    c.exec_driver_sql("DELETE FROM agents")
    assert counted(c) == counted(c, agent_metrics) == 0
