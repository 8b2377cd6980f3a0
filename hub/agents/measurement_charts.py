"""Charts of measurements: step sizes, number of points, and aggregation of samples. Pure functions.

Pure functions: the buckets that a query needs, and their aggregation.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from hub.base.clock import from_epoch_ms
from hub.base.name_lists import listed
from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from storage.agents.measurements import (
    HOUR_MS,
    MINUTE_MS,
    BucketRow,
    SeriesRow,
    Sketch,
)

DAY_MS: Final = 24 * HOUR_MS

# The default step is the first of these with at most MAX_POINTS points.
STEPS_MS: Final = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS)

MAX_POINTS: Final = 120

MAX_TAGS_NAMED: Final = 20  # tags listed in the error for an unknown tag

# Allowed aggregates by type, the default first; a histogram also allows any percentile.
AGGREGATES: Final[Mapping[MetricType, tuple[str, ...]]] = {
    MetricType.COUNTER: ("sum", "rate", "count"),
    MetricType.GAUGE: ("avg", "min", "max", "last", "count"),
    MetricType.HISTOGRAM: ("p50", "avg", "min", "max", "last", "sum", "count"),
}

_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?|100)", re.ASCII)


class MeasurementQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query over one metric of an agent.

    Attributes:
        since, until: epoch milliseconds; by default the last 24 hours.
        step_ms: whole minutes; by default a step that suits the range.
        aggregate: an entry of ``AGGREGATES``, or a percentile: ``p95``, ``p99.9``.
        tags: tags that a series must have, possibly among others.
        by: a tag; each of its values gets its own line.
    """

    name: str
    since: int | None = None
    until: int | None = None
    step_ms: int | None = None
    aggregate: str | None = None
    tags: Mapping[str, str] = {}
    by: str | None = None


class QueryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Buckets to read for a query: of *size_ms*, from *since* until before *until*."""

    since: int
    until: int
    step_ms: int
    size_ms: int
    aggregate: str
    percent: float | None  # for a percentile

    @property
    def points(self) -> int:
        """Number of steps."""
        return (self.until - self.since) // self.step_ms


class ChartPoint(msgspec.Struct, frozen=True):
    """Figure of one step that begins at *at*, with its number of samples; None without samples."""

    at: int
    value: float | None
    n: int


class ChartLine(msgspec.Struct, frozen=True, kw_only=True):
    """Points for one value of the tag in ``MeasurementQuery.by``; *whole* is that of the whole range."""

    tag: str | None
    whole: float | None
    points: tuple[ChartPoint, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a query.

    Attributes:
        error: relative error of a percentile; None for other aggregates.
    """

    name: str
    type: MetricType
    plan: QueryPlan
    error: float | None
    lines: tuple[ChartLine, ...]


def plan(
    question: MeasurementQuery,
    type: MetricType,
    *,
    now_ms: int,
    minutes_from: int,
    most_points: int,
    lines: int,
) -> QueryPlan:
    """Return the buckets to read.

    Args:
        minutes_from: time since when buckets of a minute are kept.
        lines: number of lines in the result.

    Raises:
        CodedError: the query is invalid; the message says how to correct it.
    """
    until = now_ms if question.until is None else question.until
    since = until - DAY_MS if question.since is None else question.since
    if until > now_ms + DAY_MS:
        raise CodedError(
            ErrorCode.BAD_PARAMS, "until: is more than a day in the future; leave it out for the newest data"
        )
    if not 0 <= since < until:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"since: expected a time before until, which is {_moment(until)}"
        )
    step_ms = question.step_ms or _suitable(since, until, minutes_from)
    if step_ms <= 0 or step_ms % MINUTE_MS:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"step: expected whole minutes, as in 5m or 1h; not {step_ms / 1_000:g} s"
        )
    first, end = since - since % step_ms, until + -until % step_ms
    points = (end - first) // step_ms * lines
    if points > most_points:
        least = math.ceil((until - since) * lines / most_points / HOUR_MS) * HOUR_MS
        message = f"{points} points are more than the {most_points} of one answer (metric_points)"
        raise CodedError(
            ErrorCode.LIMIT_REACHED,
            f"{message}; ask with a step of {least // HOUR_MS} h or more",
            limit="metric_points",
        )
    size_ms = MINUTE_MS if step_ms % HOUR_MS else HOUR_MS
    if size_ms == MINUTE_MS and since < minutes_from - step_ms:
        limit_text = f"minutes are kept since {_moment(minutes_from)} only (retention.metric_minutes_days)"
        raise CodedError(ErrorCode.BAD_PARAMS, f"step: {limit_text}; ask with whole hours, or for less time")
    aggregate, percent = _aggregate(question, type)
    return QueryPlan(
        since=first, until=end, step_ms=step_ms, size_ms=size_ms, aggregate=aggregate, percent=percent
    )


def _moment(at: int) -> str:
    return f"{from_epoch_ms(at):%Y-%m-%dT%H:%M:%SZ}"


def _suitable(since: int, until: int, minutes_from: int) -> int:
    fine = STEPS_MS if since >= minutes_from else STEPS_MS[STEPS_MS.index(HOUR_MS) :]
    return next((step for step in fine if until - since <= step * MAX_POINTS), DAY_MS)


def _aggregate(question: MeasurementQuery, type: MetricType) -> tuple[str, float | None]:
    known = AGGREGATES[type]
    asked = question.aggregate or known[0]
    percentile = _PERCENTILE.fullmatch(asked)
    if percentile is not None and type is MetricType.HISTOGRAM:
        return asked, float(percentile[1])
    if percentile is not None or asked not in known:
        also = " or a percentile as p95 or p99.9" if type is MetricType.HISTOGRAM else ""
        problem = f"{question.name} is a {type}; of such ask {', '.join(known)}{also}"
        raise CodedError(ErrorCode.BAD_PARAMS, f"agg: {problem}; not {asked!r}")
    return asked, None


def chosen(rows: Sequence[SeriesRow], question: MeasurementQuery) -> dict[str, str | None]:
    """Return the line of each series, by the id of the series.

    Raises:
        CodedError (UNKNOWN_METRIC): no series matches; the message lists the existing tags.
    """
    if not rows:
        raise CodedError(ErrorCode.UNKNOWN_METRIC, f"this agent has no metric {question.name!r}")
    tags = question.tags.items()
    found = [row for row in rows if tags <= row.tags.items()]
    if not found:
        known = sorted({f"{name}={value}" for row in rows for name, value in row.tags.items()})
        asked = ", ".join(f"{name}={value}" for name, value in tags)
        shown = listed(known, MAX_TAGS_NAMED) or "none"
        raise CodedError(
            ErrorCode.UNKNOWN_METRIC, f"no series of {question.name!r} has {asked}; its tags: {shown}"
        )
    if question.by is None:
        return {row.id: None for row in found}
    if not any(question.by in row.tags for row in found):
        names = ", ".join(sorted({name for row in found for name in row.tags}))
        raise CodedError(
            ErrorCode.UNKNOWN_METRIC,
            f"by: {question.name!r} has no tag {question.by!r}; its tags: {names or 'none'}",
        )
    return {row.id: row.tags.get(question.by, "") for row in found}


class _Sum(msgspec.Struct, eq=False):
    """Aggregate of several buckets."""

    n: int = 0
    sum: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    last: float = 0.0
    last_at: int = -1
    sketch: Sketch = msgspec.field(default_factory=Sketch)

    def add(self, row: BucketRow) -> None:
        self.n += row.n
        self.sum += row.sum
        self.min, self.max = min(self.min, row.min), max(self.max, row.max)
        if row.last_at > self.last_at:
            self.last, self.last_at = row.last, row.last_at
        if row.sketch is not None:
            self.sketch.merge(Sketch.of_document(row.sketch))

    def figure(self, plan: QueryPlan, seconds: float) -> float | None:
        """Return the figure for the plan's aggregate, or None without samples."""
        if not self.n:
            return None
        if plan.percent is not None:
            value = self.sketch.percentile(plan.percent)
            return None if value is None else min(max(value, self.min), self.max)
        match plan.aggregate:
            case "rate":
                return self.sum / seconds
            case "avg":
                return self.sum / self.n
            case "count":
                return float(self.n)
            case aggregate:
                figure: float = getattr(self, aggregate)
                return figure


class Folding:
    """Incremental aggregation of buckets into lines and steps."""

    def __init__(self, plan: QueryPlan, lines: Mapping[str, str | None]) -> None:
        self._plan = plan
        self._lines = lines
        self._steps: dict[tuple[str | None, int], _Sum] = {}
        self._whole: dict[str | None, _Sum] = {line: _Sum() for line in lines.values()}

    def add(self, rows: Iterable[BucketRow]) -> None:
        """Add further buckets of the plan."""
        for row in rows:
            line = self._lines[row.series_id]
            step = row.at - row.at % self._plan.step_ms
            self._steps.setdefault((line, step), _Sum()).add(row)
            self._whole[line].add(row)

    def steps(self) -> set[int]:
        """Return the steps with samples of any line."""
        return {at for _, at in self._steps}

    def chart(self, name: str, type: MetricType, *, now_ms: int) -> Chart:
        """Return the result, line by line. The rate of the current step covers the elapsed time only."""
        lines = tuple(
            ChartLine(
                tag=tag,
                whole=self._whole[tag].figure(
                    self._plan, self._seconds(self._plan.since, self._plan.until, now_ms)
                ),
                points=tuple(self._points(tag, now_ms)),
            )
            for tag in sorted(self._whole, key=str)
        )
        coarsest = max((total.sketch.error for total in self._whole.values()), default=0.0)
        error = None if self._plan.percent is None else coarsest
        return Chart(name=name, type=type, plan=self._plan, error=error, lines=lines)

    def _points(self, line: str | None, now_ms: int) -> Iterator[ChartPoint]:
        plan = self._plan
        for at in range(plan.since, plan.until, plan.step_ms):
            step = self._steps.get((line, at))
            if step is None:
                yield ChartPoint(at, None, 0)
            else:
                yield ChartPoint(at, step.figure(plan, self._seconds(at, at + plan.step_ms, now_ms)), step.n)

    @staticmethod
    def _seconds(begin: int, end: int, now_ms: int) -> float:
        """Return the elapsed seconds of the time from *begin* to *end*."""
        return max(1.0, (min(end, now_ms) - begin) / 1_000)
