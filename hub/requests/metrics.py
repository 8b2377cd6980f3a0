"""Requests about measurements: a device reports and queries those of its agents."""

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.agents.charts import Chart, Line, Question
from hub.agents.measurements import Measurements
from hub.links.link import DeviceLink
from hub.requests.params import BadParams, Methods, params_as, text_in
from protocol.coordination import Method
from protocol.frame import Count, Id, Parameters
from protocol.ids import AgentId, DeviceId
from protocol.measurements import MOST_SAMPLES, Sample
from storage.agents import measurements
from storage.agents.agents import UnknownAgent
from storage.agents.measurements import SeriesRow
from storage.store import Store


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    samples: list[Sample]
    report_id: Id | None = None


class _Ask(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: Id
    name: Id | None = None
    since_ms: Count | None = None
    until_ms: Count | None = None
    step_ms: Count | None = None
    agg: str | None = None
    tags: dict[str, str] = {}
    by: str | None = None


class MetricRequests:
    """Handlers of ``metrics.*``."""

    def __init__(self, store: Store, measurements: Measurements) -> None:
        self._store = store
        self._measurements = measurements

    @property
    def methods(self) -> Methods:
        return {Method.METRICS_REPORT: self._report, Method.METRICS_QUERY: self._query}

    async def _report(self, link: DeviceLink, params: Parameters) -> Parameters:
        samples = params.get("samples")
        if isinstance(samples, list) and len(samples) > MOST_SAMPLES:
            raise BadParams(f"samples: expected at most {MOST_SAMPLES} in one report, not {len(samples)}")
        report = params_as(params, _Report)
        is_new = await self._measurements.report(
            report.samples,
            await self._agents(link.device_id),
            scope=f"metrics:{link.device_id}",
            report_id=report.report_id,
        )
        return {"taken": len(report.samples) if is_new else 0, "known": 0 if is_new else len(report.samples)}

    async def _query(self, link: DeviceLink, params: Parameters) -> Parameters:
        text_in(params, "agent_id")
        ask = params_as(params, _Ask)
        agent_id = (await self._agents(link.device_id)).get(ask.agent_id)
        if agent_id is None:
            raise UnknownAgent(f"this device has no agent {ask.agent_id!r}")
        if ask.name is None:
            return {"series": [_series(row) for row in await self._measurements.series(agent_id)]}
        question = Question(
            name=ask.name,
            since=ask.since_ms,
            until=ask.until_ms,
            step_ms=ask.step_ms,
            aggregate=ask.agg,
            tags=ask.tags,
            by=ask.by,
        )
        return _chart(await self._measurements.ask(agent_id, question))

    async def _agents(self, device_id: DeviceId) -> Mapping[str, AgentId]:
        return await self._store.read(measurements.agents_of_device, device_id)


def _series(row: SeriesRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "type": str(row.type),
        "tags": dict(row.tags),
        "last_at_ms": row.last_at,
        "last": row.last,
    }


def _chart(chart: Chart) -> Parameters:
    return {
        "name": chart.name,
        "type": str(chart.type),
        "agg": chart.plan.aggregate,
        "since_ms": chart.plan.since,
        "until_ms": chart.plan.until,
        "step_ms": chart.plan.step_ms,
        "error": chart.error,
        "lines": [_line(line) for line in chart.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    """Return the value of each step in order; null for a step without a sample."""
    return {"tag": line.tag, "whole": line.whole, "values": [point.value for point in line.points]}
