"""Measurements in the database: buckets per minute and hour, percentiles, retention, limits of series.

A sample is added to both of its buckets in the transaction that receives it; percentiles are kept as
sketches. So buckets of either size are always exact, and late samples need no special case. A sample older
than the retention of minutes is added only to its hour. Writers lock the agents' rows, so that two hubs add
to a bucket one after the other.

A series without an agent is of the hub as a whole: sums of the work of all agents, verdicts on items, and
figures of its nodes. So an answer about the hub reads as many rows, whatever the number of its items.

Sketch of many values for percentiles with a known relative error.

The magnitude of a value selects its bin: bin *i* holds values in ``(BASE**(i-1), BASE**i]``. So the middle of
a bin differs by at most ``ERROR`` of the value, however many values there are and however they spread.
Negative values have separate bins. Merging two sketches adds their bins, in any order, with the same result.

A sketch has at most ``MAX_BINS`` bins. A sketch that would need more joins all its bins in pairs and becomes
coarser: its ``level`` grows, and ``error`` returns the new bound. That happens only for values that lie
densely over seven powers of ten.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, Final, NamedTuple, Self

import msgspec
import sqlalchemy as sa

from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId
from storage.devices import idempotency
from storage.kernel.columns import IN_LIST, Key, columns_of, execute_among, fetch_page, paged, structs_from
from storage.schema import ANSWERED, agent_metrics, agents, items, metric_series, model_calls, runs

ERROR: Final = 1 / 128  # relative, at level 0
BASE: Final = (1 + ERROR) / (1 - ERROR)
MAX_BINS: Final = 1_024  # a row of about 8 kB at worst
TINY: Final = 1e-100  # smaller magnitudes count as zero

_LOG_BASE: Final = math.log(BASE)


class Sketch:
    """Histogram of values over the bins."""

    def __init__(self, level: int = 0) -> None:
        self.level = level  # each level joins the bins of the previous level in pairs
        self._zeros = 0
        self._positive: Counter[int] = Counter()
        self._negative: Counter[int] = Counter()

    def __len__(self) -> int:
        """Return the number of bins."""
        return len(self._positive) + len(self._negative) + bool(self._zeros)

    @property
    def error(self) -> float:
        """Maximum relative error of a percentile."""
        return math.tanh(_LOG_BASE * 2**self.level / 2)  # (base - 1) / (base + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        if abs(value) < TINY:
            self._zeros += 1
            return
        bins = self._positive if value > 0 else self._negative
        bins[_joined(math.ceil(math.log(abs(value)) / _LOG_BASE), self.level)] += 1
        self._fit()

    def merge(self, other: "Sketch") -> None:
        """Add all counts of *other*."""
        self._coarsen(other.level)
        joins = self.level - other.level
        for mine, theirs in ((self._positive, other._positive), (self._negative, other._negative)):
            for bin, count in theirs.items():
                mine[_joined(bin, joins)] += count
        self._zeros += other._zeros
        self._fit()

    def percentile(self, percent: float) -> float | None:
        """Return the value below or at which *percent* (0 to 100) of all values lie; None if empty.

        It approximates the sorted value at position ``percent / 100 * (n - 1)``, rounded down, of all *n*
        values.
        """
        total = self._zeros + self._positive.total() + self._negative.total()
        place = math.floor(percent / 100 * max(0, total - 1))
        for value, count in self._in_order():
            if place < count:
                return value
            place -= count
        return None

    def document(self) -> dict[str, Any]:
        """Return the stored form, without empty parts.

        A bin is stored as its distance from the previous one, followed by its count.
        """
        document = {
            "level": self.level,
            "zeros": self._zeros,
            "positive": _packed(self._positive),
            "negative": _packed(self._negative),
        }
        return {name: value for name, value in document.items() if value}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Restore a sketch from ``document``."""
        sketch = cls(document.get("level", 0))
        sketch._zeros = document.get("zeros", 0)
        sketch._positive = _unpacked(document.get("positive", ()))
        sketch._negative = _unpacked(document.get("negative", ()))
        return sketch

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Build a sketch of these values."""
        sketch = cls()
        for value in values:
            sketch.add(value)
        return sketch

    def _in_order(self) -> Iterator[tuple[float, int]]:
        """Iterate over the representative value of each bin, ascending, with its count."""
        log_base = _LOG_BASE * 2**self.level
        middle = 2 / (1 + math.exp(log_base))
        for bin in sorted(self._negative, reverse=True):
            yield -math.exp(bin * log_base) * middle, self._negative[bin]
        yield 0.0, self._zeros
        for bin in sorted(self._positive):
            yield math.exp(bin * log_base) * middle, self._positive[bin]

    def _fit(self) -> None:
        while len(self) > MAX_BINS:
            self._coarsen(self.level + 1)

    def _coarsen(self, level: int) -> None:
        """Join the bins in pairs until this level is reached."""
        if level <= self.level:
            return
        self._positive = _all_joined(self._positive, level - self.level)
        self._negative = _all_joined(self._negative, level - self.level)
        self.level = level


def _joined(bin: int, times: int) -> int:
    """Return the bin that holds *bin* after joining in pairs *times* times."""
    return -(-bin >> times)  # rounded up: bins exclude their lower bound


def _all_joined(bins: Mapping[int, int], times: int) -> Counter[int]:
    joined: Counter[int] = Counter()
    for bin, count in bins.items():
        joined[_joined(bin, times)] += count
    return joined


def _packed(bins: Mapping[int, int]) -> list[int]:
    packed: list[int] = []
    before = 0
    for bin in sorted(bins):
        packed += (bin - before, bins[bin])
        before = bin
    return packed


def _unpacked(packed: Sequence[int]) -> Counter[int]:
    bins = accumulate(packed[::2])
    return Counter(dict(zip(bins, packed[1::2], strict=True)))


OWN: Final = "hub."  # prefix of the names of the hub's own metrics
VERDICTS: Final = "hub.verdicts"
MAX_OF_HUB: Final = 500  # series of the hub as a whole: one for each outcome, model and node
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
SIZES_MS: Final = (MINUTE_MS, HOUR_MS)


class SeriesLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on series; series of the hub's own work do not count."""

    per_agent: int = 50
    total: int = 2_000  # may be exceeded by a few if two hubs create series at the same time


class BucketRetention(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest instants for which buckets are kept, in epoch milliseconds."""

    minutes_from: int
    hours_from: int


class SampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """Validated sample; *at* in epoch milliseconds. Without *type*: its metric's type, or gauge.

    *agent_id*: None for a sample of the hub as a whole.
    """

    agent_id: AgentId | None
    name: str
    value: float
    at: int
    type: MetricType | None = None
    tags: Mapping[str, str] = {}


class _Key(msgspec.Struct, frozen=True):
    agent_id: AgentId | None
    name: str
    tags_key: str

    @property
    def series_id(self) -> str:
        """Hash of the series' identity, equal whichever hub creates it."""
        identity = "\0".join((self.agent_id or "", self.name, self.tags_key))
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


class _Bucket:
    """Aggregate of samples of a series within a minute or an hour."""

    def __init__(self) -> None:
        self.n = 0
        self.sum = 0.0
        self.min = self.max = self.last = 0.0
        self.last_at = 0
        self.sketch: Sketch | None = None

    def add(self, value: float, at: int, *, is_spread: bool) -> None:
        self.min = min(self.min, value) if self.n else value
        self.max = max(self.max, value) if self.n else value
        if not self.n or at >= self.last_at:
            self.last, self.last_at = value, at
        self.n += 1
        self.sum += value
        if is_spread:
            self.sketch = self.sketch or Sketch()
            self.sketch.add(value)

    def add_stored(self, row: sa.Row[Any]) -> None:
        """Add the aggregate of a stored row."""
        self.n += row.n
        self.sum += row.sum
        self.min, self.max = min(self.min, row.min), max(self.max, row.max)
        if row.last_at > self.last_at:
            self.last, self.last_at = row.last, row.last_at
        if row.hist is not None:
            retention = Sketch.of_document(row.hist)
            if self.sketch is not None:
                retention.merge(self.sketch)
            self.sketch = retention

    def values(self) -> dict[str, Any]:
        """Return the columns of its row."""
        hist = None if self.sketch is None else self.sketch.document()
        values = {"n": self.n, "sum": self.sum, "min": self.min, "max": self.max}
        return values | {"last": self.last, "last_at": self.last_at, "hist": hist}


_BucketKey = tuple[str, int, int]  # series, size, begin

LOCK_AGENTS = (
    sa.select(agents.c.id)
    .where(agents.c.id.in_(sa.bindparam("agents", expanding=True)))
    .order_by(agents.c.id)
    .with_for_update(key_share=True)
)
_SERIES = sa.select(
    metric_series.c.id,
    metric_series.c.agent_id,
    metric_series.c.name,
    metric_series.c.metric_type,
    metric_series.c.tags_key,
)
KNOWN_SERIES = _SERIES.where(
    metric_series.c.agent_id.in_(sa.bindparam("agents", expanding=True)),
    metric_series.c.name.in_(sa.bindparam("names", expanding=True)),
)
_of_hub = metric_series.c.agent_id.is_(None)
KNOWN_SERIES_OF_HUB = _SERIES.where(_of_hub)
HUB_LOCK: Final = 0x6875_7404  # key of PostgreSQL's advisory lock on the hub's own series
ADVANCE_SERIES = (
    sa.update(metric_series)
    .where(metric_series.c.id == sa.bindparam("series"), metric_series.c.last_at < sa.bindparam("newest"))
    .values(last_at=sa.bindparam("newest"))
)
KNOWN_BUCKETS = sa.select(agent_metrics).where(
    agent_metrics.c.series_id == sa.bindparam("series"),
    agent_metrics.c.bucket_ms == sa.bindparam("size"),
    agent_metrics.c.bucket_at.in_(sa.bindparam("begins", expanding=True)),
)
GROW_BUCKET = (
    sa.update(agent_metrics)
    .where(
        agent_metrics.c.series_id == sa.bindparam("series"),
        agent_metrics.c.bucket_ms == sa.bindparam("size"),
        agent_metrics.c.bucket_at == sa.bindparam("begin"),
    )
    .values({name: sa.bindparam(name) for name in ("n", "sum", "min", "max", "last", "last_at", "hist")})
)


def report(
    c: sa.Connection,
    samples: Sequence[SampleRow],
    *,
    scope: str,
    report_id: str | None,
    digest: str,
    at: int,
    retention: BucketRetention,
    limits: SeriesLimits,
) -> bool:
    """Record a report, all or nothing. Return False if it was recorded before.

    Args:
        scope: namespace of the report ids.
        report_id: id of this report; without an id, each delivery counts.
        digest: digest of the report's content, which identifies a different report with the same id.

    Raises:
        CodedError (BAD_PARAMS, KEY_USED), CodedError: nothing was written.
    """
    if report_id is not None:
        known = idempotency.find_answer(c, scope, report_id)
        if known is not None and known.request_hash != digest:
            raise CodedError(
                ErrorCode.KEY_USED, f"another report came with the report_id {report_id!r} before"
            )
        if known is not None:
            return False
    record(c, samples, at=at, retention=retention, limits=limits)
    if report_id is not None:
        response = {"samples": len(samples)}
        idempotency.keep_answer(c, scope, report_id, request_hash=digest, response=response, at=at)
    return True


def record(
    c: sa.Connection,
    samples: Sequence[SampleRow],
    *,
    at: int,
    retention: BucketRetention,
    limits: SeriesLimits | None = None,
) -> int:
    """Add samples to their buckets. Samples older than the retention of hours are ignored.

    Returns:
        Number of samples of the hub as a whole that were left out, because it has too many series.

    Args:
        limits: limits on the series of agents; None: unlimited, for the hub's own work.

    Raises:
        CodedError (BAD_PARAMS), CodedError: nothing was written.
    """
    samples = [sample for sample in samples if sample.at >= retention.hours_from]
    known = _lock(c, {sample.agent_id for sample in samples})
    samples, left_out = _with_room(samples, known)
    keys = [_Key(sample.agent_id, sample.name, tags_key(sample.tags)) for sample in samples]
    types = _begin_series(c, samples, keys, at, limits, known)
    buckets: dict[_BucketKey, _Bucket] = {}
    newest: dict[str, int] = {}
    for sample, key in zip(samples, keys, strict=True):
        series_id = key.series_id
        newest[series_id] = max(sample.at, newest.get(series_id, 0))
        is_spread = types[key.agent_id, key.name] is MetricType.HISTOGRAM
        for size, first in zip(SIZES_MS, (retention.minutes_from, retention.hours_from), strict=True):
            if sample.at >= first:
                bucket_key = (series_id, size, sample.at - sample.at % size)
                bucket = buckets.setdefault(bucket_key, _Bucket())
                bucket.add(sample.value, sample.at, is_spread=is_spread)
    _write(c, buckets)
    if newest:
        c.execute(ADVANCE_SERIES, [{"series": id, "newest": moment} for id, moment in sorted(newest.items())])
    return left_out


def _lock(c: sa.Connection, agent_ids: Collection[AgentId | None]) -> dict[_Key, MetricType]:
    """Lock these agents, and with None the hub's own series. Return the types of the latter."""
    execute_among(c, LOCK_AGENTS, "agents", sorted(id for id in agent_ids if id is not None))
    if None not in agent_ids:
        return {}
    if c.dialect.name == "postgresql":  # also where there is no series yet
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(HUB_LOCK)))
    return _types(c.execute(KNOWN_SERIES_OF_HUB))


def _types(rows: Iterable[sa.Row[Any]]) -> dict[_Key, MetricType]:
    return {_Key(row.agent_id, row.name, row.tags_key): MetricType(row.metric_type) for row in rows}


def _with_room(samples: Sequence[SampleRow], known: Collection[_Key]) -> tuple[Sequence[SampleRow], int]:
    """Return the samples for which the hub has a series or room for one, and the number of the others."""
    room = MAX_OF_HUB - len(known)
    fresh: set[_Key] = set()
    accepted = []
    for sample in samples:
        key = _Key(sample.agent_id, sample.name, tags_key(sample.tags))
        if sample.agent_id is None and key not in known and key not in fresh:
            if len(fresh) >= room:
                continue
            fresh.add(key)
        accepted.append(sample)
    return accepted, len(samples) - len(accepted)


def _begin_series(
    c: sa.Connection,
    samples: Sequence[SampleRow],
    keys: Sequence[_Key],
    at: int,
    limits: SeriesLimits | None,
    of_hub: Mapping[_Key, MetricType],
) -> dict[tuple[AgentId | None, str], MetricType]:
    """Insert the new series. Return the type of each metric of each agent, and of the hub."""
    known = dict(of_hub)
    names = sorted({key.name for key in keys})
    ids = sorted({key.agent_id for key in keys if key.agent_id is not None})
    known |= _types(execute_among(c, KNOWN_SERIES, "agents", ids, {"names": names}))
    types = {(key.agent_id, key.name): type for key, type in known.items()}
    for place, (sample, key) in enumerate(zip(samples, keys, strict=True)):
        is_of = types.setdefault((key.agent_id, key.name), sample.type or MetricType.GAUGE)
        if sample.type not in (None, is_of):
            problem = f"the metric {key.name!r} of this agent is a {is_of}, not a {sample.type}"
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"samples[{place}].type: {problem}; report it under another name"
            )
        if is_of is MetricType.COUNTER and sample.value < 0:
            problem = f"the value of a counter is by how much it grew, and {sample.value:g} is below 0"
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"samples[{place}].value: {problem}; report a gauge where it may fall"
            )
        if key not in known:
            if limits is not None:
                _check_room(c, key, place, limits)
            _begin(c, key, is_of, sample, at)
            known[key] = is_of
    return types


def _begin(c: sa.Connection, key: _Key, type: MetricType, sample: SampleRow, at: int) -> None:
    c.execute(
        sa.insert(metric_series),
        {
            "id": key.series_id,
            "agent_id": key.agent_id,
            "name": key.name,
            "metric_type": str(type),
            "tags_key": key.tags_key,
            "tags": dict(sample.tags),
            "created_at": at,
            "last_at": sample.at,
        },
    )


def _check_room(c: sa.Connection, key: _Key, place: int, limits: SeriesLimits) -> None:
    problem = f"samples[{place}]: no room for the series {key.name}{key.tags_key}: "
    everything = sa.select(sa.func.count()).where(metric_series.c.name.not_like(f"{OWN}%"))
    own = everything.where(metric_series.c.agent_id == key.agent_id)
    if c.execute(own).scalar_one() >= limits.per_agent:
        most = f"an agent may have {limits.per_agent}"
        raise CodedError(
            ErrorCode.TOO_MANY_SERIES,
            f"{problem}{most} (metric_series_per_agent)",
            limit="metric_series_per_agent",
        )
    if c.execute(everything).scalar_one() >= limits.total:
        most = f"all agents together may have {limits.total}"
        raise CodedError(ErrorCode.TOO_MANY_SERIES, f"{problem}{most} (metric_series)", limit="metric_series")


def _write(c: sa.Connection, buckets: Mapping[_BucketKey, _Bucket]) -> None:
    """Merge these buckets into the stored ones."""
    keys = sorted(buckets)
    known: set[_BucketKey] = set()
    for (series, size), of_series in groupby(keys, key=lambda key: key[:2]):
        begins = [begin for _, _, begin in of_series]
        for row in c.execute(KNOWN_BUCKETS, {"series": series, "size": size, "begins": begins}):
            buckets[series, size, row.bucket_at].add_stored(row)
            known.add((series, size, row.bucket_at))
    grown = [
        {"series": series, "size": size, "begin": begin} | buckets[series, size, begin].values()
        for series, size, begin in keys
        if (series, size, begin) in known
    ]
    fresh = [
        {"series_id": series, "bucket_ms": size, "bucket_at": begin} | buckets[series, size, begin].values()
        for series, size, begin in keys
        if (series, size, begin) not in known
    ]
    if grown:
        c.execute(GROW_BUCKET, grown)
    if fresh:
        c.execute(sa.insert(agent_metrics), fresh)


def tags_key(tags: Mapping[str, str]) -> str:
    """Return the same text for the same tags: ``{"model":"small"}``; empty without tags."""
    return msgspec.json.encode(tags, order="sorted").decode() if tags else ""


_bucket = sa.tuple_(agent_metrics.c.series_id, agent_metrics.c.bucket_ms, agent_metrics.c.bucket_at)
_old_bucket = (
    sa.select(agent_metrics.c.series_id, agent_metrics.c.bucket_ms, agent_metrics.c.bucket_at)
    .where(
        agent_metrics.c.bucket_ms == sa.bindparam("size"), agent_metrics.c.bucket_at < sa.bindparam("before")
    )
    .order_by(agent_metrics.c.bucket_at)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
DROP_BUCKETS = sa.delete(agent_metrics).where(_bucket.in_(_old_bucket))
_has_no_bucket = ~sa.exists().where(agent_metrics.c.series_id == metric_series.c.id)


def prune_buckets(c: sa.Connection, *, size_ms: int, before: int, rows: int = IN_LIST) -> int:
    """Delete buckets of this size that began before the bucket of *before*. Return the number deleted."""
    first = before - before % size_ms
    return c.execute(DROP_BUCKETS, {"size": size_ms, "before": first, "rows": rows}).rowcount


def prune_series(c: sa.Connection, *, before: int, rows: int = IN_LIST) -> int:
    """Delete series without buckets and without samples since *before*. Return the number deleted."""
    old = c.execute(
        sa.select(metric_series.c.id, metric_series.c.agent_id)
        .where(metric_series.c.last_at < before, _has_no_bucket)
        .order_by(metric_series.c.last_at)
        .limit(rows)
    ).all()
    if not old:
        return 0
    _lock(c, {row.agent_id for row in old})  # prevents new buckets meanwhile
    return c.execute(
        sa.delete(metric_series).where(
            metric_series.c.id.in_([row.id for row in old]), metric_series.c.last_at < before, _has_no_bucket
        )
    ).rowcount


class SeriesRow(msgspec.Struct, frozen=True, kw_only=True):
    """Series with its newest stored value."""

    id: str
    name: str
    type: MetricType
    tags: Mapping[str, str]
    created_at: int
    last_at: int
    last: float | None


class BucketRow(msgspec.Struct, frozen=True):
    """Aggregate of the samples of a series from *at* on; *sketch*: only for histograms."""

    series_id: str
    at: int
    n: int
    sum: float
    min: float
    max: float
    last: float
    last_at: int
    sketch: Mapping[str, Any] | None = None


_newest = sa.and_(
    agent_metrics.c.series_id == metric_series.c.id,
    agent_metrics.c.bucket_ms == HOUR_MS,
    agent_metrics.c.bucket_at == metric_series.c.last_at - metric_series.c.last_at % HOUR_MS,
)
SERIES = (
    sa.select(*columns_of(SeriesRow, metric_series, agent_metrics, type=metric_series.c.metric_type))
    .outerjoin_from(metric_series, agent_metrics, _newest)
    .where(metric_series.c.agent_id == sa.bindparam("agent"))
)
SERIES_NAMED = SERIES.where(metric_series.c.name == sa.bindparam("metric"))
SERIES_OF_HUB = (
    sa.select(*columns_of(SeriesRow, metric_series, agent_metrics, type=metric_series.c.metric_type))
    .outerjoin_from(metric_series, agent_metrics, _newest)
    .where(_of_hub)
)
SERIES_OF_HUB_NAMED = SERIES_OF_HUB.where(metric_series.c.name == sa.bindparam("metric"))
_figures = columns_of(BucketRow, agent_metrics, at=agent_metrics.c.bucket_at, sketch=None)
_WITHIN = (
    agent_metrics.c.series_id.in_(sa.bindparam("listed", expanding=True)),
    agent_metrics.c.bucket_ms == sa.bindparam("size"),
    agent_metrics.c.bucket_at >= sa.bindparam("since"),
    agent_metrics.c.bucket_at < sa.bindparam("until"),
)
BUCKETS = sa.select(*_figures).where(*_WITHIN)
BUCKETS_WITH_SKETCHES = sa.select(*_figures, agent_metrics.c.hist.label("sketch")).where(*_WITHIN)


def agents_of_device(c: sa.Connection, device_id: DeviceId) -> dict[str, AgentId]:
    """Return the agents that a device may report about, by name and by id."""
    rows = c.execute(
        sa.select(agents.c.id, agents.c.name).where(
            agents.c.device_id == device_id, agents.c.deleted_at.is_(None)
        )
    ).all()
    return {row.name: AgentId(row.id) for row in rows} | {row.id: AgentId(row.id) for row in rows}


def list_series(
    c: sa.Connection,
    agent_id: AgentId | None,
    *,
    name: str | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[SeriesRow]:
    """Return the series of an agent or of the hub, by name and tags; optionally only those of one metric."""
    if agent_id is None:
        query = SERIES_OF_HUB if name is None else SERIES_OF_HUB_NAMED
    else:
        query = SERIES if name is None else SERIES_NAMED
    given = {} if agent_id is None else {"agent": str(agent_id)}
    given |= {} if name is None else {"metric": name}
    query = paged(query, metric_series.c.name, metric_series.c.tags_key, limit=limit, after=after)
    return fetch_page(c, SeriesRow, query, limit, given)


def list_buckets(
    c: sa.Connection,
    series_ids: Sequence[str],
    *,
    size_ms: int,
    since: int,
    until: int,
    with_sketches: bool = False,
) -> list[BucketRow]:
    """Return buckets of this size that begin in [*since*, *until*), in no particular order."""
    query = BUCKETS_WITH_SKETCHES if with_sketches else BUCKETS
    within = {"listed": list(series_ids), "size": size_ms, "since": since, "until": until}
    return structs_from(BucketRow, c.execute(query, within))


AT_ONCE: Final = 50  # runs, and as many requests, in one transaction of about 20 ms

_most = sa.bindparam("most", type_=sa.Integer)
UNMEASURED_RUNS = (
    sa.select(
        runs.c.id,
        runs.c.agent_id,
        runs.c.state,
        runs.c.outcome,
        runs.c.started_at,
        runs.c.completed_at,
        runs.c.units_done,
        (runs.c.units_skipped + runs.c.units_unchanged).label("units_skipped"),
        runs.c.units_failed,
        runs.c.items_created,
        runs.c.items_updated,
        runs.c.items_known,
    )
    .where(runs.c.completed_at.is_not(None), runs.c.measured_at.is_(None))
    .order_by(runs.c.completed_at)
    .limit(_most)
    .with_for_update(skip_locked=True)
)
UNMEASURED_CALLS = (
    sa.select(
        model_calls.c.id,
        model_calls.c.agent_id,
        model_calls.c.at,
        model_calls.c.model,
        model_calls.c.outcome,
        model_calls.c.requests,
        model_calls.c.prompt_tokens,
        model_calls.c.completion_tokens,
        model_calls.c.cost_nanos,
        model_calls.c.took_ms,
    )
    .where(model_calls.c.measured_at.is_(None))
    .order_by(model_calls.c.at)
    .limit(_most)
    .with_for_update(skip_locked=True)
)
_listed: sa.BindParameter[str] = sa.bindparam("listed", expanding=True)
MARK_RUNS = sa.update(runs).where(runs.c.id.in_(_listed)).values(measured_at=sa.bindparam("now"))
MARK_CALLS = (
    sa.update(model_calls).where(model_calls.c.id.in_(_listed)).values(measured_at=sa.bindparam("now"))
)


DECIDED: Final = ("approved", "edited", "rejected")
SETTLED_MS: Final = 60_000  # after which every verdict of an earlier moment is committed, by any node's clock
NEWEST_VERDICTS = sa.select(metric_series.c.tags_key, metric_series.c.last_at).where(
    _of_hub, metric_series.c.name == VERDICTS
)
# In the order of an index, whose condition is repeated here.
VERDICTS_SINCE = (
    sa.select(items.c.verdict_at, sa.func.count().label("number"))
    .where(
        items.c.verdict == sa.bindparam("given"),
        items.c.verdict_at > sa.bindparam("since"),
        items.c.verdict_at <= sa.bindparam("until"),
        sa.text("verdict_at IS NOT NULL AND length(id) > 0"),
    )
    .group_by(items.c.verdict_at)
    .order_by(items.c.verdict_at)
    .limit(_most)
)


class MeasurementCount(NamedTuple):
    """Number of rows that were measured, and of samples that were left out, as there are too many series."""

    rows: int
    left_out: int


def has_unmeasured(c: sa.Connection, *, at: int, retention: BucketRetention) -> bool:
    """Return True if rows are left to measure; writes nothing."""
    unmeasured = sa.or_(
        sa.exists().where(runs.c.completed_at.is_not(None), runs.c.measured_at.is_(None)),
        sa.exists().where(model_calls.c.measured_at.is_(None)),
    )
    return bool(c.execute(sa.select(unmeasured)).scalar_one() or _decided(c, at, retention, most=1))


def measure(
    c: sa.Connection, *, at: int, retention: BucketRetention, most: int = AT_ONCE
) -> MeasurementCount:
    """Measure ended runs, requests to models, and verdicts: of their agents, and of the hub as a whole."""
    ended = c.execute(UNMEASURED_RUNS, {"most": most}).all()
    asked = c.execute(UNMEASURED_CALLS, {"most": most}).all()
    samples = [sample for row in ended for sample in _of_run(row)]
    samples += [sample for row in asked for sample in _of_call(row)]
    totals = [msgspec.structs.replace(sample, agent_id=None) for sample in samples]
    _lock(c, {sample.agent_id for sample in samples} | {None})  # of all nodes, one counts the verdicts
    decided = _decided(c, at, retention, most=most)
    left_out = record(c, [*samples, *totals, *decided], at=at, retention=retention)
    for mark, rows in ((MARK_RUNS, ended), (MARK_CALLS, asked)):
        if rows:
            c.execute(mark, {"listed": [row.id for row in rows], "now": at})
    return MeasurementCount(len(ended) + len(asked) + (0 if left_out else len(decided)), left_out)


def _decided(c: sa.Connection, at: int, retention: BucketRetention, *, most: int) -> list[SampleRow]:
    """Return how many items got each verdict after its newest sample, at each moment.

    A verdict that is taken back within ``SETTLED_MS`` does not count.
    """
    newest = {row.tags_key: row.last_at for row in c.execute(NEWEST_VERDICTS)}
    samples = []
    for verdict in DECIDED:
        tags = {"verdict": verdict}
        since = max(newest.get(tags_key(tags), 0), retention.hours_from - 1)
        within = {"given": verdict, "since": since, "until": at - SETTLED_MS, "most": most}
        for row in c.execute(VERDICTS_SINCE, within):
            sample = SampleRow(
                agent_id=None,
                name=VERDICTS,
                value=row.number,
                at=row.verdict_at,
                type=MetricType.COUNTER,
                tags=tags,
            )
            samples.append(sample)
    return samples


def _of_run(run: Any) -> Iterator[SampleRow]:
    def sample(name: str, value: float, type: MetricType = MetricType.COUNTER, **tags: str) -> SampleRow:
        return SampleRow(
            agent_id=run.agent_id, name=name, value=value, at=run.completed_at, type=type, tags=tags
        )

    yield sample("hub.runs", 1, outcome=str(run.outcome or run.state).lower())
    if run.started_at is not None:
        took_s = max(0, run.completed_at - run.started_at) / 1_000
        yield sample("hub.run_seconds", took_s, MetricType.HISTOGRAM)
    ends = {"done": run.units_done, "skipped": run.units_skipped, "failed": run.units_failed}
    yield from (sample("hub.files", count, end=end) for end, count in ends.items() if count)
    items = {"created": run.items_created, "updated": run.items_updated, "known": run.items_known}
    yield from (sample("hub.items", count, end=end) for end, count in items.items() if count)


def _of_call(call: Any) -> Iterator[SampleRow]:
    def sample(name: str, value: float, type: MetricType = MetricType.COUNTER, **tags: str) -> SampleRow:
        values = {"model": call.model} | tags
        return SampleRow(agent_id=call.agent_id, name=name, value=value, at=call.at, type=type, tags=values)

    yield sample("hub.model_requests", call.requests, outcome=call.outcome)
    if call.outcome == ANSWERED:
        yield sample("hub.model_seconds", call.took_ms / 1_000, MetricType.HISTOGRAM)
    tokens = {"prompt": call.prompt_tokens, "completion": call.completion_tokens}
    yield from (sample("hub.model_tokens", count, kind=kind) for kind, count in tokens.items() if count)
    if call.cost_nanos:
        yield sample("hub.model_cost_usd", call.cost_nanos / 1e9)
