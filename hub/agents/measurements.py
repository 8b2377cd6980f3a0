"""Measurements: checks of reported samples, the hub's own samples, and answers to queries."""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.agents.measurement_charts import (
    DAY_MS,
    Chart,
    ChartLine,
    Folding,
    MeasurementQuery,
    QueryPlan,
    chosen,
    plan,
)
from hub.base.clock import Clock, epoch_ms
from hub.base.metrics import Metrics, value_of
from hub.base.periodic_loop import PeriodicLoop
from hub.base.token_buckets import Buckets
from hub.base.toml.limits import RetentionSettings
from protocol.coordination import MAX_TAGS, MetricType, Sample
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, NodeId
from storage.agents import measurements
from storage.agents.measurements import (
    HOUR_MS,
    OWN,
    BucketRetention,
    SampleRow,
    SeriesLimits,
    SeriesRow,
)
from storage.kernel.columns import Key
from storage.store import Store

EVERY_S: Final = 15.0  # maximum delay of the measurement of agents' work
PAUSE_S: Final = 0.05  # between batches: after an upgrade, ninety days of work are measured
AT_ONCE: Final = 500  # buckets per read: some milliseconds of the loop
NAME_CHARACTERS: Final = 255
TAG_CHARACTERS: Final = 64  # of a tag's name
TAG_VALUE_CHARACTERS: Final = 128
MAX_HUB_POINTS: Final = 744  # of each series of the hub: the hours of 31 days
SLOT_MS: Final = 300_000  # each node is sampled once in it
# The default step of the hub's series is the first of these with at most 60 points.
HUB_STEPS_MS: Final = (SLOT_MS, 3 * SLOT_MS, HOUR_MS, 6 * HOUR_MS)
HUB_POINTS: Final = 60
NODE_LAG: Final = "hub.node_lag_seconds"
HUB_AGGREGATES: Final = {NODE_LAG: "max"}  # of metrics whose figure is not the default one of their type
REPORTS_AT_ONCE: Final = 50  # of a device
REPORTS_PER_S: Final = 5.0
POINTS: Final = 2_000  # of an answer, all lines together
BUCKETS: Final = 100_000  # that are read for an answer
SERIES: Final = SeriesLimits()
GREATEST: Final = 1e100  # of a value's magnitude; sums stay finite
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


class HubLine(msgspec.Struct, frozen=True, kw_only=True):
    """A series of the hub as a whole: a value for each step of the plan.

    Attributes:
        values: None: no node ran, or nothing was measured.
        whole: the range as one step.
    """

    name: str
    type: MetricType
    tags: Mapping[str, str]
    plan: QueryPlan
    whole: float | None
    values: tuple[float | None, ...]


class MeasurementService:
    """Stores samples, and answers queries over them.

    Args:
        node_id: of this node, whose figures are sampled.
        devices: returns the number of devices that are connected to this node.
        lag_s: returns the longest delay of the event loop since the previous call.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        keep: RetentionSettings | None = None,
        node_id: NodeId | None = None,
        devices: Callable[[], int] = int,
        lag_s: Callable[[], float] = float,
    ) -> None:
        self._node_id = node_id
        self._devices = devices
        self._lag_s = lag_s
        self._sampled: tuple[int, float, float] | None = None  # slot, time and CPU time
        self.loop = PeriodicLoop(clock)
        self.keep = keep or RetentionSettings()
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._samples = metrics.samples
        self._buckets: Buckets[str] = Buckets()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure the work of agents, until cancelled."""
        task_status.started()
        await self.loop.serve(self._measure, of="measurements", every_s=EVERY_S)

    async def _measure(self) -> None:
        await self.measure_node()
        await self.measure_work()

    async def measure_node(self) -> None:
        """Record the load of this node, once in each slot of five minutes."""
        at, now = epoch_ms(self._clock.now()), self._clock.monotonic()
        slot, cpu_s = at // SLOT_MS, self._metrics.process.cpu_s()
        if self._node_id is None or (self._sampled is not None and self._sampled[0] == slot):
            return
        figures = {
            "hub.node_devices": float(self._devices()),
            "hub.node_calls": value_of(self._metrics.pending_calls),
            NODE_LAG: self._lag_s(),
        }
        with suppress(OSError, ValueError):
            figures["hub.node_memory_bytes"] = float(self._metrics.process.memory_bytes()[1])
        if self._sampled is not None and now > self._sampled[1]:
            figures["hub.node_cpu"] = (cpu_s - self._sampled[2]) / (now - self._sampled[1])
        tags = {"node": self._node_id}
        samples = [
            SampleRow(agent_id=None, name=name, value=value, at=at, type=MetricType.GAUGE, tags=tags)
            for name, value in figures.items()
        ]
        self._count_left_out(
            await self._store.write(measurements.record, samples, at=at, retention=self._retained())
        )
        self._sampled = (slot, now, cpu_s)

    def _count_left_out(self, samples: int) -> None:
        if samples:
            self._metrics.limits_reached.labels("metric_series_of_hub").inc(samples)

    async def measure_work(self) -> int:
        """Measure ended runs, answered model questions and verdicts. Return the number of all."""
        total = 0
        if not await self._store.read(
            measurements.has_unmeasured, at=epoch_ms(self._clock.now()), retention=self._retained()
        ):
            return total
        while True:
            self.loop.work()
            at, retained = epoch_ms(self._clock.now()), self._retained()
            measured, left_out = await self._store.write(measurements.measure, at=at, retention=retained)
            self._count_left_out(left_out)
            total += measured
            if measured < measurements.AT_ONCE:
                return total
            await self._clock.sleep(PAUSE_S)

    async def report(
        self,
        samples: Sequence[Sample],
        agents: Mapping[str, AgentId],
        *,
        scope: str,
        report_id: str | None,
    ) -> bool:
        """Store the samples of a report in one transaction. Return False if it was stored before.

        Args:
            agents: agents allowed in samples, by name and by id.
            scope: the reporter; report ids are unique per scope.

        Raises:
            CodedError (BAD_PARAMS, KEY_USED), CodedError:
                no sample was stored.
        """
        retained, now_ms = self._retained(), epoch_ms(self._clock.now())
        try:
            with self._metrics.count_limits():
                self._check_rate(scope)
                rows = checked(samples, agents, now_ms=now_ms, oldest_ms=retained.hours_from)
                is_new = await self._store.write(
                    measurements.report,
                    rows,
                    scope=scope,
                    report_id=report_id,
                    digest=hashlib.sha256(msgspec.json.encode(samples, order="sorted")).hexdigest(),
                    at=now_ms,
                    retention=retained,
                    limits=SERIES,
                )
        except HubError:
            self._samples.labels("refused").inc(len(samples))
            raise
        self._samples.labels("taken" if is_new else "known").inc(len(samples))
        return is_new

    async def series(self, agent_id: AgentId) -> list[SeriesRow]:
        """Return the series of an agent, by name and tags."""
        return await self._store.read(measurements.list_series, agent_id)

    async def ask(self, agent_id: AgentId, question: MeasurementQuery) -> Chart:
        """Return the result of a query over a metric of an agent.

        Raises:
            CodedError: the query is invalid; the message says how to correct it.
        """
        rows = await self._store.read(measurements.list_series, agent_id, name=question.name)
        lines = chosen(rows, question)
        now_ms, retained = epoch_ms(self._clock.now()), self._retained()
        with self._metrics.count_limits():
            planned = plan(
                question,
                rows[0].type,
                now_ms=now_ms,
                minutes_from=retained.minutes_from,
                most_points=POINTS,
                lines=len(set(lines.values())),
            )
            self._check_size(planned, len(lines))
        folding = await self._fold(planned, lines)
        return folding.chart(question.name, rows[0].type, now_ms=now_ms)

    async def ask_hub(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        step_ms: int | None = None,
        name: str | None = None,
        limit: int | None = None,
        after: Key | None = None,
    ) -> list[HubLine]:
        """Return series of the hub as a whole, by name and tags, with a value for each step.

        A counter without a sample is 0 in a step in which a node ran. Other steps have no value.

        Raises:
            CodedError: the query is invalid; the message says how to correct it.
        """
        rows, of_nodes = await self._store.read(
            lambda c: (
                measurements.list_series(c, None, name=name, limit=limit, after=after),
                measurements.list_series(c, None, name="hub.node_devices"),
            )
        )
        now_ms, retained = epoch_ms(self._clock.now()), self._retained()
        end = now_ms if until is None else until
        begin = end - DAY_MS if since is None else since
        if step_ms is None:
            step_ms = next((step for step in HUB_STEPS_MS if end - begin <= step * HUB_POINTS), DAY_MS)
            step_ms = step_ms if begin >= retained.minutes_from else max(step_ms, HOUR_MS)
        if step_ms <= 0 or step_ms % SLOT_MS:
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"step: expected whole steps of 5 minutes; not {step_ms / 1_000:g} s"
            )
        question = MeasurementQuery(name="", since=begin, until=end, step_ms=step_ms)

        def planned(type: MetricType, aggregate: str | None = None) -> QueryPlan:
            return plan(
                msgspec.structs.replace(question, aggregate=aggregate),
                type,
                now_ms=now_ms,
                minutes_from=retained.minutes_from,
                most_points=MAX_HUB_POINTS,
                lines=1,
            )

        with self._metrics.count_limits():
            of_gauges = planned(MetricType.GAUGE)
            self._check_size(of_gauges, max(len(rows), len(of_nodes)))
        observed = (await self._fold(of_gauges, {row.id: None for row in of_nodes})).steps()
        observed.add(now_ms - now_ms % step_ms)
        found: list[HubLine] = []
        for (type, aggregate), group in groupby(rows, lambda row: (row.type, HUB_AGGREGATES.get(row.name))):
            its_plan, same = planned(type, aggregate), list(group)
            size = max(1, POINTS // its_plan.points)  # lines without a pause for others
            for first in range(0, len(same), size):
                part = same[first : first + size]
                folding = await self._fold(its_plan, {row.id: row.id for row in part})
                lines = {line.tag: line for line in folding.chart("", type, now_ms=now_ms).lines}
                found += [_hub_line(row, its_plan, lines[row.id], observed) for row in part]
        return found

    async def _fold(self, planned: QueryPlan, lines: Mapping[str, str | None]) -> Folding:
        """Return the buckets of these series, read in windows so that no read is long."""
        folding = Folding(planned, lines)
        if not lines:
            return folding
        window = planned.size_ms * max(1, AT_ONCE // len(lines))
        oldest = self._retained().hours_from
        oldest -= oldest % planned.step_ms
        for since in range(max(planned.since, oldest), planned.until, window):
            folding.add(
                await self._store.read(
                    measurements.list_buckets,
                    list(lines),
                    size_ms=planned.size_ms,
                    since=since,
                    until=min(since + window, planned.until),
                    with_sketches=planned.percent is not None,
                )
            )
        return folding

    def _check_rate(self, scope: str) -> None:
        now = self._clock.monotonic()
        wait_s = self._buckets.acquire(scope, now, at_once=REPORTS_AT_ONCE, per_s=REPORTS_PER_S)
        if wait_s:
            often = f"{REPORTS_PER_S:g} reports a second (metric_reports_per_s)"
            raise CodedError(
                ErrorCode.RATE_LIMITED,
                f"accepted are {often}; send this one in {wait_s:.1f} s, or more in one",
                limit="metric_reports_per_s",
                retry_after_s=wait_s,
            )

    def _check_size(self, planned: QueryPlan, series: int) -> None:
        buckets = (planned.until - planned.since) // planned.size_ms * series
        if buckets > BUCKETS:
            problem = f"{buckets} buckets are more than the {BUCKETS} that one answer may be made of"
            raise CodedError(
                ErrorCode.LIMIT_REACHED,
                f"{problem} (metric_buckets); ask for less time, for fewer tags, or in whole hours",
                limit="metric_buckets",
            )

    def _retained(self) -> BucketRetention:
        now_ms = epoch_ms(self._clock.now())
        return BucketRetention(
            minutes_from=now_ms - self.keep.metric_minutes_days * DAY_MS,
            hours_from=now_ms - self.keep.metric_hours_days * DAY_MS,
        )


def _hub_line(row: SeriesRow, planned: QueryPlan, line: ChartLine, observed: Collection[int]) -> HubLine:
    is_counter = row.type is MetricType.COUNTER
    return HubLine(
        name=row.name,
        type=row.type,
        tags=row.tags,
        plan=planned,
        whole=line.whole,
        values=tuple(
            0.0 if point.value is None and is_counter and point.at in observed else point.value
            for point in line.points
        ),
    )


AHEAD_MS: Final = 60_000  # maximum lead of a device's clock


def checked(
    samples: Sequence[Sample], agents: Mapping[str, AgentId], *, now_ms: int, oldest_ms: int
) -> list[SampleRow]:
    """Return the samples in stored form.

    Args:
        agents: the device's agents, by name and by id.
        oldest_ms: older samples are refused, because they would not be kept.

    Raises:
        CodedError: a sample is invalid; the message says which, and how to correct it.
    """
    rows = []
    for place, sample in enumerate(samples):
        where = f"samples[{place}]"
        agent_id = agents.get(sample.agent_id)
        if agent_id is None:
            raise CodedError(
                ErrorCode.UNKNOWN_AGENT, f"{where}.agent_id: this device has no agent {sample.agent_id!r}"
            )
        _check_name(sample.name, where)
        _check_value(sample.value, where)
        _check_tags(sample.tags, where)
        at = now_ms if sample.at_ms is None else sample.at_ms
        _check_time(at, where, now_ms, oldest_ms)
        rows.append(
            SampleRow(
                agent_id=agent_id,
                name=sample.name,
                value=sample.value,
                at=min(at, now_ms),  # a clock that is slightly ahead must not create a future bucket
                type=sample.type,
                tags=sample.tags,
            )
        )
    return rows


def _check_name(name: str, where: str) -> None:
    if name.startswith(OWN):
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{where}.name: {name!r} is of the hub; a name may not begin with {OWN!r}"
        )
    if not NAME.fullmatch(name) or len(name) > NAME_CHARACTERS:
        expected = f"a letter, then letters, digits, '_', '.' or '-', at most {NAME_CHARACTERS}"
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{where}.name: expected {expected}; not {name[:NAME_CHARACTERS]!r}"
        )


def _check_value(value: float, where: str) -> None:
    if not math.isfinite(value) or abs(value) > GREATEST:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{where}.value: expected a number from -{GREATEST:g} to {GREATEST:g}"
        )


def _check_tags(tags: Mapping[str, str], where: str) -> None:
    if len(tags) > MAX_TAGS:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{where}.tags: expected at most {MAX_TAGS} tags, not {len(tags)}"
        )
    for name, value in sorted(tags.items()):
        _check_tag(name, value, where)


def _check_tag(name: str, value: str, where: str) -> None:
    if not TAG.fullmatch(name) or len(name) > TAG_CHARACTERS:
        expected = f"a letter or '_', then letters, digits, '_', '.' or '-', at most {TAG_CHARACTERS}"
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"{where}.tags: expected as a tag's name {expected}; not {name[:TAG_CHARACTERS]!r}",
        )
    if not value or len(value) > TAG_VALUE_CHARACTERS or not value.isprintable():
        expected = f"1 to {TAG_VALUE_CHARACTERS} printable characters"
        raise CodedError(ErrorCode.BAD_PARAMS, f"{where}.tags.{name}: expected {expected}")


def _check_time(at: int, where: str, now_ms: int, oldest_ms: int) -> None:
    if at > now_ms + AHEAD_MS:
        problem = f"{(at - now_ms) / 1_000:.0f} s ahead of the hub's clock; set the clock of the device"
        raise CodedError(ErrorCode.BAD_PARAMS, f"{where}.at_ms: {at} is {problem}")
    if at < oldest_ms:
        problem = f"older than the {(now_ms - oldest_ms) // DAY_MS} days that measurements are kept"
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"{where}.at_ms: {at} is {problem} (retention.metric_hours_days); leave it out",
        )
