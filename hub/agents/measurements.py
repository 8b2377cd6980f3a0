"""Measurements of agents: reports of devices, the hub's own measurements, and queries over both."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.agents.charts import Chart, Folding, Plan, Question, TooMuch, chosen, plan
from hub.clock import Clock, epoch_ms
from hub.links.attempts import Buckets
from hub.log import Channel
from hub.metrics import Metrics
from hub.settings.limit_settings import RetentionSettings
from hub.turns import Turns
from protocol.coordination import MOST_TAGS, Sample
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.agents import measurements
from storage.agents.agents import UnknownAgent
from storage.agents.measurements import (
    OWN,
    BucketRetention,
    SampleRow,
    SeriesLimits,
    SeriesRow,
)
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 15.0  # maximum delay of the measurement of agents' work
PAUSE_S: Final = 0.05  # between batches: after an upgrade, ninety days of work are measured
AT_ONCE: Final = 500  # buckets per read: some milliseconds of the loop
NAME_CHARACTERS: Final = 255
TAG_CHARACTERS: Final = 64  # of a tag's name
TAG_VALUE_CHARACTERS: Final = 128
GREATEST: Final = 1e100  # of a value's magnitude; sums stay finite
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


class MeasurementRules(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on measurements and queries."""

    series: SeriesLimits = SeriesLimits()
    reports_at_once: int = 50  # per device
    reports_per_s: float = 5.0
    points: int = 2_000  # per answer, all lines together
    buckets: int = 100_000  # read per answer


class TooManyReports(HubError):
    """A device, or a user over REST, exceeds the rate of reports; no sample of the report was stored."""

    code = ErrorCode.RATE_LIMITED
    limit = "metric_reports_per_s"

    def __init__(self, retry_after_s: float, rules: MeasurementRules) -> None:
        often = f"{rules.reports_per_s:g} reports a second (metric_reports_per_s)"
        super().__init__(f"accepted are {often}; send this one in {retry_after_s:.1f} s, or more in one")
        self.retry_after_s = retry_after_s


class Measurements:
    """Stores samples, and answers queries over them."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        keep: RetentionSettings | None = None,
    ) -> None:
        self.turns = Turns(clock)
        self.keep = keep or RetentionSettings()
        self.rules = MeasurementRules()
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._samples = metrics.samples
        self._buckets: Buckets[str] = Buckets()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure the work of agents, until cancelled."""
        task_status.started()
        while True:
            self.turns.work()
            try:
                await self.measure_work()
            except Exception as exc:  # the loop must survive any error
                log.error("measurements.failed", exc=exc)  # retried in the next round
            self.turns.wait(EVERY_S)
            await self._clock.sleep(EVERY_S)

    async def measure_work(self) -> int:
        """Measure ended runs and answered model questions. Return the number of both."""
        total = 0
        if not await self._store.read(measurements.has_unmeasured):
            return total
        while True:
            self.turns.work()
            at, retained = epoch_ms(self._clock.now()), self._retained()
            measured = await self._store.write(measurements.measure, at=at, retention=retained)
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
            TooManyReports, BadSample, UnknownAgent, TypeDiffers, BelowZero, ReportDiffers,
                TooManySeries: no sample was stored.
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
                    limits=self.rules.series,
                )
        except HubError:
            self._samples.labels("refused").inc(len(samples))
            raise
        self._samples.labels("taken" if is_new else "known").inc(len(samples))
        return is_new

    async def series(self, agent_id: AgentId) -> list[SeriesRow]:
        """Return the series of an agent, by name and tags."""
        return await self._store.read(measurements.list_series, agent_id)

    async def ask(self, agent_id: AgentId, question: Question) -> Chart:
        """Return the result of a query over a metric of an agent.

        Raises:
            UnknownMetric, BadQuestion, TooMuch: the query is invalid; the message says how to correct it.
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
                most_points=self.rules.points,
                lines=len(set(lines.values())),
            )
            self._check_size(planned, len(lines))
        folding = Folding(planned, lines)
        window = planned.size_ms * max(1, AT_ONCE // len(lines))
        oldest = retained.hours_from - retained.hours_from % planned.step_ms
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
        return folding.chart(question.name, rows[0].type, now_ms=now_ms)

    def _check_rate(self, scope: str) -> None:
        rules = self.rules
        now = self._clock.monotonic()
        wait_s = self._buckets.take(scope, now, at_once=rules.reports_at_once, per_s=rules.reports_per_s)
        if wait_s:
            raise TooManyReports(wait_s, rules)

    def _check_size(self, planned: Plan, series: int) -> None:
        buckets = (planned.until - planned.since) // planned.size_ms * series
        if buckets > self.rules.buckets:
            problem = (
                f"{buckets} buckets are more than the {self.rules.buckets} that one answer may be made of"
            )
            raise TooMuch(
                f"{problem} (metric_buckets); ask for less time, for fewer tags, or in whole hours",
                "metric_buckets",
            )

    def _retained(self) -> BucketRetention:
        now_ms = epoch_ms(self._clock.now())
        return BucketRetention(
            minutes_from=now_ms - self.keep.metric_minutes_days * DAY_MS,
            hours_from=now_ms - self.keep.metric_hours_days * DAY_MS,
        )


AHEAD_MS: Final = 60_000  # maximum lead of a device's clock
DAY_MS: Final = 86_400_000


class BadSample(HubError):
    """A sample is invalid; no sample of its report was stored."""

    code = ErrorCode.BAD_PARAMS


def checked(
    samples: Sequence[Sample], agents: Mapping[str, AgentId], *, now_ms: int, oldest_ms: int
) -> list[SampleRow]:
    """Return the samples in stored form.

    Args:
        agents: the device's agents, by name and by id.
        oldest_ms: older samples are refused, because they would not be kept.

    Raises:
        BadSample, UnknownAgent: a sample is invalid; the message says which, and how to correct it.
    """
    rows = []
    for place, sample in enumerate(samples):
        where = f"samples[{place}]"
        agent_id = agents.get(sample.agent_id)
        if agent_id is None:
            raise UnknownAgent(f"{where}.agent_id: this device has no agent {sample.agent_id!r}")
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
        raise BadSample(f"{where}.name: {name!r} is of the hub; a name may not begin with {OWN!r}")
    if not NAME.fullmatch(name) or len(name) > NAME_CHARACTERS:
        expected = f"a letter, then letters, digits, '_', '.' or '-', at most {NAME_CHARACTERS}"
        raise BadSample(f"{where}.name: expected {expected}; not {name[:NAME_CHARACTERS]!r}")


def _check_value(value: float, where: str) -> None:
    if not math.isfinite(value) or abs(value) > GREATEST:
        raise BadSample(f"{where}.value: expected a number from -{GREATEST:g} to {GREATEST:g}")


def _check_tags(tags: Mapping[str, str], where: str) -> None:
    if len(tags) > MOST_TAGS:
        raise BadSample(f"{where}.tags: expected at most {MOST_TAGS} tags, not {len(tags)}")
    for name, value in sorted(tags.items()):
        _check_tag(name, value, where)


def _check_tag(name: str, value: str, where: str) -> None:
    if not TAG.fullmatch(name) or len(name) > TAG_CHARACTERS:
        expected = f"a letter or '_', then letters, digits, '_', '.' or '-', at most {TAG_CHARACTERS}"
        raise BadSample(f"{where}.tags: expected as a tag's name {expected}; not {name[:TAG_CHARACTERS]!r}")
    if not value or len(value) > TAG_VALUE_CHARACTERS or not value.isprintable():
        expected = f"1 to {TAG_VALUE_CHARACTERS} printable characters"
        raise BadSample(f"{where}.tags.{name}: expected {expected}")


def _check_time(at: int, where: str, now_ms: int, oldest_ms: int) -> None:
    if at > now_ms + AHEAD_MS:
        problem = f"{(at - now_ms) / 1_000:.0f} s ahead of the hub's clock; set the clock of the device"
        raise BadSample(f"{where}.at_ms: {at} is {problem}")
    if at < oldest_ms:
        problem = f"older than the {(now_ms - oldest_ms) // DAY_MS} days that measurements are kept"
        raise BadSample(f"{where}.at_ms: {at} is {problem} (retention.metric_hours_days); leave it out")
