"""Queries of agents' measurements: series and their buckets."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from protocol.measurements import MetricType
from storage.agents.measurements import HOUR_MS
from storage.kernel.rows import columns_of, fill
from storage.schema import agent_metrics, agents, metric_series


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
_figures = columns_of(BucketRow, agent_metrics, at=agent_metrics.c.bucket_at, sketch=None)
_WITHIN = (
    agent_metrics.c.series_id.in_(sa.bindparam("listed", expanding=True)),
    agent_metrics.c.bucket_ms == sa.bindparam("size"),
    agent_metrics.c.bucket_at >= sa.bindparam("since"),
    agent_metrics.c.bucket_at < sa.bindparam("until"),
)
BUCKETS = sa.select(*_figures).where(*_WITHIN)
BUCKETS_WITH_SKETCHES = sa.select(*_figures, agent_metrics.c.hist.label("sketch")).where(*_WITHIN)


AGENTS_OF_DEVICE = sa.select(agents.c.id, agents.c.name).where(
    agents.c.device_id == sa.bindparam("device"), agents.c.deleted_at.is_(None)
)


def agents_of_device(c: sa.Connection, device_id: DeviceId) -> dict[str, AgentId]:
    """Return the agents that a device may report about, by name and by id."""
    rows = c.execute(AGENTS_OF_DEVICE, {"device": device_id}).all()
    return {row.name: AgentId(row.id) for row in rows} | {row.id: AgentId(row.id) for row in rows}


def list_series(c: sa.Connection, agent_id: AgentId, *, name: str | None = None) -> list[SeriesRow]:
    """Return the agent's series, by name and tags; optionally only those of one metric."""
    query = SERIES if name is None else SERIES_NAMED
    given: dict[str, str] = {"agent": agent_id} | ({} if name is None else {"metric": name})
    rows = [fill(SeriesRow, row) for row in c.execute(query, given)]
    return sorted(rows, key=lambda row: (row.name, sorted(row.tags.items())))


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
    return [fill(BucketRow, row) for row in c.execute(query, within)]
