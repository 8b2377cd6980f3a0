"""Metrics: a million samples over thirty virtual days, reported as devices do, into a real file.

Four agents report six metrics each, a few seconds at a time; one sample in a hundred comes up to
three days late. The hub's own housekeeping prunes every virtual hour. At the end each percentile is
held against the exact one of all samples.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from time import perf_counter, process_time
from typing import Final

import msgspec
import sqlalchemy as sa

from hub.agents.measurement_charts import MeasurementQuery
from hub.agents.measurements import MeasurementService
from hub.base.clock import epoch_ms
from hub.base.metrics import Metrics
from hub.runs.housekeeping import Housekeeping
from protocol.coordination import MAX_SAMPLES, MetricType, Sample
from protocol.ids import AgentId, BootId
from storage.agents.measurements import HOUR_MS, MINUTE_MS
from storage.store import Store, open_store
from tests.evaluation.figures import Figure, Told, at_most, exactly, only
from tests.storage.rows import make_agent
from tests.support.clock import FakeClock

SAMPLES: Final = 1_000_000
DAYS: Final = 30
AGENTS: Final = ("inbox", "letters", "calendar", "notes")
PERCENTS: Final = (50, 90, 95, 99, 99.9)
MIB: Final = 1024 * 1024
DAY_MS: Final = 24 * HOUR_MS
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_LATE_MS: Final = 3 * DAY_MS
_MAX_MIB: Final = 128.0
_ERROR: Final = 0.01
_NORMAL: Final = NormalDist()

# What each metric is made of a number from 0 to 1: times of very different spreads, steps, a level.
METRICS: Final[dict[str, tuple[MetricType, Callable[[float], float]]]] = {
    "answer_ms": (MetricType.HISTOGRAM, lambda u: math.exp(4 + 1.5 * _NORMAL.inv_cdf(u))),
    "wait_s": (MetricType.HISTOGRAM, lambda u: -30 * math.log(1 - u)),
    "size_bytes": (MetricType.HISTOGRAM, lambda u: 100 + u if u < 0.7 else 5e6 * u**3),
    "requests": (MetricType.COUNTER, lambda u: math.floor(u * 10)),
    "bytes": (MetricType.COUNTER, lambda u: math.floor(u * 65_536)),
    "queue": (MetricType.GAUGE, lambda u: 40 * u),
}


class Exact:
    """Every sample, as a database would keep it that throws nothing away."""

    def __init__(self) -> None:
        self._days: defaultdict[tuple[str, str, int], list[tuple[int, float]]] = defaultdict(list)

    def add(self, agent: str, metric: str, at: int, value: float) -> None:
        self._days[agent, metric, at // DAY_MS].append((at, value))

    def of(self, agent: str, metric: str, since: int, until: int) -> list[float]:
        """The values from *since* until before *until*, in their order."""
        days = range(since // DAY_MS, (until - 1) // DAY_MS + 1)
        found = (sample for day in days for sample in self._days.get((agent, metric, day), ()))
        return sorted(value for at, value in found if since <= at < until)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a month came to."""

    cpu_s: float  # of taking all samples in and pruning, by this process
    ask_ms: float  # for a percentile of the whole month
    largest_mib: float  # the file, at any time
    end_mib: float
    rows: int
    pruned: int
    error: float  # the largest of any percentile, as a part of the exact value
    percentiles: int  # that were compared
    wrong: int  # sums, counts, least and greatest values that are not exact


async def measure(told: Told) -> list[Figure]:
    """A month, and the same samples as one row each."""
    with tempfile.TemporaryDirectory() as folder:
        month = await a_month(Path(folder) / "hub.db", samples=SAMPLES, told=told)
        told("now the same as one row a sample, with five indexes, a report to a transaction")
        row_s, row_mib, row_ask_ms = await _rows(Path(folder) / "rows.db")
    return [
        at_most("percentiles: largest error against the exact value", month.error, _ERROR, ".4f"),
        only("percentiles compared", month.percentiles, "d"),
        exactly("sums, counts, least and greatest values that differ", month.wrong),
        at_most("the database file at its largest, MiB", month.largest_mib, _MAX_MIB, ".1f"),
        only("the same at the end, MiB", month.end_mib, ".1f"),
        only("the same as one row a sample, MiB", row_mib, ".1f"),
        only("rows at the end", f"{month.rows:,}"),
        only("rows that went", f"{month.pruned:,}"),
        only("samples in a second of one core, pruning included", SAMPLES / month.cpu_s, ",.0f"),
        only("the same as one row a sample, nothing pruned", SAMPLES / row_s, ",.0f"),
        only("p99 of a metric over the month, ms", month.ask_ms, ".1f"),
        only("the same as one row a sample, sorted by SQLite, ms", row_ask_ms, ".1f"),
    ]


async def a_month(
    path: Path, *, samples: int, told: Told = lambda line: None, lookup_ms: int = HOUR_MS
) -> Outcome:
    """Report so many samples over thirty days, and compare what is told of them with what they were.

    Args:
        lookup_ms: so often the housekeeping looks; less than a day, or it does not believe the clock.
    """
    exact = Exact()
    async with _opened(path) as (store, clock):
        measurements = MeasurementService(store, clock=clock, metrics=Metrics())
        housekeeping = Housekeeping(store, clock=clock, boot_id=BootId("boot"), pause_s=0)
        begin = epoch_ms(clock.now())
        feed = _samples(samples, begin, exact)
        agents = {name: AgentId(f"agent-{name}") for name in AGENTS}
        largest = pruned = looks = 0
        began = process_time()
        while batch := list(islice(feed, min(MAX_SAMPLES, samples * lookup_ms // (DAYS * DAY_MS)))):
            newest = max(sample.at_ms or 0 for sample in batch)
            clock.advance(max(0.0, (newest - epoch_ms(clock.now())) / 1_000 + 1))
            await measurements.report(batch, agents, scope="desk", report_id=f"r-{newest}")
            if newest // lookup_ms != looks:
                looks = newest // lookup_ms
                went = await housekeeping.prune()
                pruned += went["measurements"]
                largest = max(largest, _size(path))
        cpu_s = process_time() - began
        told(f"{samples:,} samples in {cpu_s:.0f} s of one core; now they are asked for")
        end = begin + DAYS * DAY_MS
        clock.advance((end + HOUR_MS - epoch_ms(clock.now())) / 1_000)
        ask_ms = await _ask_ms(measurements, begin, end)
        error, compared = await _percentiles(measurements, exact, begin, end)
        wrong = await _sums(measurements, exact, begin, end)
        rows = await store.read(
            lambda c: c.execute(sa.text("SELECT count(*) FROM agent_metrics")).scalar_one()
        )
        return Outcome(
            cpu_s=cpu_s,
            ask_ms=ask_ms,
            largest_mib=largest / MIB,
            end_mib=_size(path) / MIB,
            rows=rows,
            pruned=pruned,
            error=error,
            percentiles=compared,
            wrong=wrong,
        )


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[tuple[Store, FakeClock]]:
    clock = FakeClock()
    async with open_store(f"sqlite:///{path}", now_ms=lambda: epoch_ms(clock.now())) as store:

        def make(c: sa.Connection) -> None:
            for name in AGENTS:
                make_agent(c, name)

        await store.write(make)
        yield store, clock


def _samples(count: int, begin: int, exact: Exact) -> Iterator[Sample]:
    """So many samples, evenly over the days, each agent and metric in turn; some come late."""
    series = [(agent, metric) for agent in AGENTS for metric in METRICS]
    for n in range(count):
        agent, metric = series[n % len(series)]
        type, shape = METRICS[metric]
        value = shape(((n // len(series) + 1) * _GOLDEN + len(metric) / 10) % 1)
        at = begin + n * DAYS * DAY_MS // count
        if n % 100 == 37:
            at = max(begin, at - _LATE_MS * (n % 1_000) // 1_000)
        exact.add(agent, metric, at, value)
        yield Sample(agent_id=agent, name=metric, type=type, value=value, at_ms=at)


async def _ask_ms(measurements: MeasurementService, begin: int, end: int) -> float:
    question = MeasurementQuery(name="answer_ms", since=begin, until=end, step_ms=DAY_MS, aggregate="p99")
    began = perf_counter()
    await measurements.ask(AgentId("agent-inbox"), question)
    return (perf_counter() - began) * 1_000


async def _percentiles(
    measurements: MeasurementService, exact: Exact, begin: int, end: int
) -> tuple[float, int]:
    """The largest error: of the month, of each of its days, and of the minutes that are kept."""
    ranges = ((begin, end, DAY_MS), (end - 6 * DAY_MS, end - 6 * DAY_MS + 2 * HOUR_MS, 15 * MINUTE_MS))
    worst, compared = 0.0, 0
    for agent in AGENTS:
        for metric in (name for name, (type, _) in METRICS.items() if type is MetricType.HISTOGRAM):
            for since, until, step in ranges:
                for percent in PERCENTS:
                    question = MeasurementQuery(
                        name=metric, since=since, until=until, step_ms=step, aggregate=f"p{percent}"
                    )
                    (line,) = (await measurements.ask(AgentId(f"agent-{agent}"), question)).lines
                    found = [(since, until, line.whole)]
                    found += [(point.at, point.at + step, point.value) for point in line.points]
                    for first, last, value in found:
                        values = exact.of(agent, metric, first, last)
                        if value is None or not values:
                            assert value is None and not values
                            continue
                        is_so = values[math.floor(percent / 100 * (len(values) - 1))]
                        worst = max(worst, abs(value - is_so) / is_so)
                        compared += 1
    return worst, compared


async def _sums(measurements: MeasurementService, exact: Exact, begin: int, end: int) -> int:
    """How many days have another sum, count, least or greatest value than their samples."""
    wrong = 0
    for agent in AGENTS:
        for metric, aggregate, figure in (
            ("requests", "sum", sum),
            ("bytes", "sum", sum),
            ("queue", "min", min),
            ("queue", "max", max),
            ("answer_ms", "count", len),
        ):
            question = MeasurementQuery(
                name=metric, since=begin, until=end, step_ms=DAY_MS, aggregate=aggregate
            )
            (line,) = (await measurements.ask(AgentId(f"agent-{agent}"), question)).lines
            for point in line.points:
                values = exact.of(agent, metric, point.at, point.at + DAY_MS)
                is_so = figure(values) if values else None
                wrong += point.value != is_so
    return wrong


_BASELINE: Final = (
    "CREATE TABLE samples (id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, metric_name TEXT NOT NULL,"
    " metric_value REAL NOT NULL, metric_type TEXT NOT NULL, tags TEXT, recorded_at INTEGER NOT NULL)",
    "CREATE INDEX samples_agent ON samples (agent_id)",
    "CREATE INDEX samples_name ON samples (metric_name)",
    "CREATE INDEX samples_recorded ON samples (recorded_at)",
    "CREATE INDEX samples_agent_name ON samples (agent_id, metric_name)",
    "CREATE INDEX samples_agent_recorded ON samples (agent_id, recorded_at)",
)
_INSERT: Final = sa.text("INSERT INTO samples VALUES (:id, :agent, :name, :value, :type, '{}', :at)")
_PERCENTILE: Final = sa.text(
    "SELECT metric_value FROM samples WHERE agent_id = 'inbox' AND metric_name = 'answer_ms'"
    " ORDER BY metric_value LIMIT 1 OFFSET :place"
)


async def _rows(path: Path) -> tuple[float, float, float]:
    """The table of the foundation seed: seconds of one core, MiB, and ms for a percentile of the month."""
    async with _opened(path) as (store, clock):

        def make(c: sa.Connection) -> None:
            for statement in _BASELINE:
                c.exec_driver_sql(statement)

        def insert(c: sa.Connection, rows: Sequence[Mapping[str, object]]) -> None:
            c.execute(_INSERT, rows)

        await store.write(make)
        feed = enumerate(_samples(SAMPLES, epoch_ms(clock.now()), Exact()))
        began = process_time()
        while batch := list(islice(feed, MAX_SAMPLES)):
            rows = [
                {
                    "id": f"{n:032x}",
                    "agent": sample.agent_id,
                    "name": sample.name,
                    "value": sample.value,
                    "type": str(sample.type),
                    "at": sample.at_ms,
                }
                for n, sample in batch
            ]
            await store.write(insert, rows)
        cpu_s = process_time() - began
        began = perf_counter()
        place = math.floor(0.99 * (SAMPLES // len(AGENTS) // len(METRICS) - 1))
        await store.read(lambda c: c.execute(_PERCENTILE, {"place": place}).scalar_one())
        return cpu_s, _size(path) / MIB, (perf_counter() - began) * 1_000


def _size(path: Path) -> int:
    """The file and its log."""
    wal = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
