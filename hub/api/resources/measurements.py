"""Routes of measurements: series, charts, and samples reported by agents."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from hub.agents.measurement_charts import Chart, MeasurementQuery
from hub.agents.measurements import MeasurementService as MeasurementStore
from hub.api.binding import BodyField
from hub.api.device import Link, OwnAgent, object_of
from hub.api.resource import ALL, Instant, ListPart, Resource, View, audited, command, device, listed, route
from hub.base.clock import epoch_ms
from hub.base.roles import Scope
from protocol.coordination import MAX_SAMPLES, MAX_TAGS, Method, Sample
from protocol.errors import CodedError, ErrorCode
from protocol.frame import Count, Id
from protocol.similar_names import did_you_mean
from storage.agents import agents, measurements
from storage.agents.measurements import tags_key
from storage.devices import nodes
from storage.kernel.columns import struct_from
from storage.store import Store

MAX_LINES: Final = 60  # of a page; a day of them is read by the minute within the limit of buckets
MeasurementType = Literal["counter", "gauge", "histogram"]


class SeriesView(View):
    """A series: a metric of an agent under certain tags. *last*: its newest value."""

    name: str
    type: MeasurementType
    tags: dict[str, str]
    last: float | None
    last_at: Instant


class PointView(View):
    """A step from *at* on: its number of samples and its value; null: nothing was measured."""

    at: Instant
    value: float | None
    n: int


class LineView(View, kw_only=True):
    """Steps in order. *tag*: a value of the requested tag; *whole*: the range as one step."""

    tag: str | None = None
    whole: float | None
    points: tuple[PointView, ...]


class ChartView(View, kw_only=True):
    """A metric of an agent from *since* until before *until*, both moved to whole steps.

    *bucket_s*: size of the stored buckets, minutes or hours. *error*: relative error of a percentile.
    """

    agent: str
    name: str
    type: MeasurementType
    agg: str
    since: Instant
    until: Instant
    step_s: int
    bucket_s: int
    error: float | None = None
    lines: tuple[LineView, ...]


class HubSeriesView(View, kw_only=True):
    """A series of the whole hub from *since* until before *until*, both moved to whole steps.

    *values*: for each step the figure that *agg* names: the sum of a counter, the average or maximum of a
    gauge, the median of a histogram; null: no node ran, or nothing was measured. *whole*: of the range as
    one step. *node*: name of the node that the figure is of; null: of all nodes together.
    """

    name: str
    type: MeasurementType
    tags: dict[str, str]
    node: str | None = None
    agg: str
    since: Instant
    until: Instant
    step_s: int
    whole: float | None
    values: tuple[float | None, ...]


class SampleRequest(View, kw_only=True):
    """Sample of the agent in the path, as in ``metrics.report`` of a device.

    *agent_id*: id or name of this agent, or left out. Without *type*: the metric's type, or gauge if it is
    new. Without *at_ms*: the time of arrival.
    """

    agent_id: Id | None = None
    name: Annotated[str, Meta(min_length=1)]
    type: MeasurementType | None = None
    value: float
    tags: dict[str, str] = {}
    at_ms: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None


_REPORT_REQUEST: Final = BodyField(
    "ReportRequest",
    "Samples of an agent. *report_id*: a report of the same user that is known is not stored again.",
)


class ReportedView(View):
    """Number of samples that were stored, or that were known because their report was stored before."""

    taken: int
    known: int


class MeasurementReport(Struct, frozen=True):
    """Samples of the agents of a device. *report_id*: a report that is known is not stored again."""

    samples: Annotated[list[Sample], Meta(max_length=MAX_SAMPLES)]
    report_id: Id | None = None


class ChartRequest(Struct, frozen=True):
    """The metric that a device asks for, and its range; without a name, all series."""

    name: Id | None = None
    since_ms: Count | None = None
    until_ms: Count | None = None
    step_ms: Count | None = None
    agg: str | None = None
    tags: dict[str, str] = {}
    by: str | None = None


HUB_METRICS: Final = (
    *("hub.files", "hub.items", "hub.model_cost_usd", "hub.model_requests", "hub.model_seconds"),
    *("hub.model_tokens", "hub.node_calls", "hub.node_cpu", "hub.node_devices", "hub.node_lag_seconds"),
    *("hub.node_memory_bytes", "hub.run_seconds", "hub.runs", "hub.verdicts"),
)
_SERIES = object_of("name", "type", "tags", "last_at as last_at_ms", "last")
_LINE = object_of("tag", "whole")
_CHART = object_of(
    *("name", "type", "plan.aggregate as agg", "plan.since as since_ms", "plan.until as until_ms"),
    *("plan.step_ms as step_ms", "error"),
)


class MeasurementsResource(Resource):
    """Measurements that devices report of agents, and that the hub makes of them."""

    name, path = "series", "/v1/agents/{name}/metrics"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, measurements: MeasurementStore) -> None:
        self._store = store
        self._measurements = measurements

    @listed(
        "",
        Scope.READ,
        key=lambda series: (series.name, tags_key(series.tags)),
    )
    async def series(self, name: str, part: ListPart = ALL) -> list[SeriesView]:
        """List the series of an agent, with the newest value of each.

        The hub measures those whose names begin with ``hub.``; the agent's device reports the others.
        """
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            measurements.list_series,
            limit=part.limit,
            after=part.after,
        )
        return [SeriesView.from_row(row, tags=dict(row.tags)) for row in rows]

    @route("POST", "", Scope.RUN, errors=[ErrorCode.LIMIT_REACHED, ErrorCode.RATE_LIMITED])
    @audited("metrics.reported", is_often=True)
    async def write(
        self,
        name: str,
        samples: Annotated[list[SampleRequest], Meta(max_length=MAX_SAMPLES), _REPORT_REQUEST],
        report_id: Annotated[Id | None, _REPORT_REQUEST] = None,
    ) -> ReportedView:
        """Store samples of an agent, all or none, by the rules and limits of reports of a device."""
        agent = await self._agent_called(name)
        own = {agent.id: agent.id, agent.name: agent.id, name: agent.id}
        for place, sample in enumerate(samples):
            if sample.agent_id is not None and sample.agent_id not in own:
                where = f"samples[{place}].agent_id"
                raise CodedError(
                    ErrorCode.UNKNOWN_AGENT,
                    f"{where}: expected {agent.name!r} as in the path, not {sample.agent_id!r}",
                )
        filled = [struct_from(Sample, sample, agent_id=sample.agent_id or agent.id) for sample in samples]
        scope = f"metrics:user:{agent.user_id}"
        is_new = await self._measurements.report(filled, own, scope=scope, report_id=report_id)
        count = len(samples)
        return ReportedView(taken=count if is_new else 0, known=0 if is_new else count)

    @device(Method.METRICS_REPORT, "its own agents")
    @audited("metrics.reported", is_often=True)
    async def report(self, link: Link, report: MeasurementReport) -> dict[str, Any]:
        """Store the samples of a report, unless it is known already. Raises CodedError."""
        is_new = await self._measurements.report(
            report.samples,
            await self._store.read(measurements.agents_of_device, link.device_id),
            scope=f"metrics:{link.device_id}",
            report_id=report.report_id,
        )
        count = len(report.samples)
        return {"taken": count if is_new else 0, "known": 0 if is_new else count}

    @device(Method.METRICS_QUERY, "its own agents")
    async def query(self, agent: OwnAgent, asked: ChartRequest) -> dict[str, Any]:
        """Return the series of an agent of a device, or a chart of one metric."""
        if asked.name is None:
            return {"series": list(map(_SERIES, await self._measurements.series(agent.id)))}
        question = MeasurementQuery(
            name=asked.name,
            since=asked.since_ms,
            until=asked.until_ms,
            step_ms=asked.step_ms,
            aggregate=asked.agg,
            tags=asked.tags,
            by=asked.by,
        )
        chart = await self._measurements.ask(agent.id, question)
        lines = [_LINE(line) | {"values": [point.value for point in line.points]} for line in chart.lines]
        return _CHART(chart) | {"lines": lines}

    @route("GET", "/{metric}", Scope.READ, errors=[ErrorCode.UNKNOWN_METRIC, ErrorCode.LIMIT_REACHED])
    async def chart(
        self,
        name: str,
        metric: str,
        since: Annotated[
            Instant, Meta(description="24 hours before *until* by default; moved to a whole step.")
        ]
        | None = None,
        until: Annotated[Instant, Meta(description="Not included; now by default.")] | None = None,
        step_s: Annotated[
            float,
            Meta(
                gt=0,
                le=1e9,
                description="Of one step: whole minutes; what suits the range by default.",
                extra_json_schema={"multipleOf": 60},
            ),
        ]
        | None = None,
        agg: Annotated[
            str,
            Meta(
                max_length=20,
                description="``sum``, ``rate`` (a second), ``count`` of a counter; ``avg``, ``min``, ``max``,"
                " ``last``, ``count`` of a gauge; all but ``rate``, and ``p50`` to ``p99.9``, of a"
                " histogram.",
            ),
        ]
        | None = None,
        tag: Annotated[
            list[str],
            Meta(max_length=MAX_TAGS, description="Of series with this tag alone: ``name=value``."),
        ]
        | None = None,
        by: Annotated[str, Meta(max_length=64, description="A tag, with a line for each of its values.")]
        | None = None,
    ) -> ChartView:
        """Return a value for each step of a range; null: nothing was measured."""
        question = MeasurementQuery(
            name=metric,
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
            step_ms=None if step_s is None else round(step_s * 1_000),
            aggregate=agg,
            tags=_tags(tag or ()),
            by=by,
        )
        agent = await self._agent_called(name)
        return _view(agent.name, await self._measurements.ask(agent.id, question))


class HubSeriesResource(Resource):
    """Series of the hub as a whole."""

    name, list_key, path = "hub-series", "series", "/v1/metrics/series"

    def __init__(self, store: Store, measurements: MeasurementStore) -> None:
        self._store = store
        self._measurements = measurements

    @command(
        "metrics",
        example="hub metrics --since 7d",
        json="hub-series",
        help="Show how the hub went over time: runs, verdicts, models, load of its nodes.",
        options={
            "since": "--since=24h: Values from then on.",
            "until": "Values until then, a day included.",
            "step_s": "--step: Length of one step, as in 15min or 1h; what suits the range by default.",
            "name": "Only series of this metric, as in hub.runs.",
        },
        table=(
            "name as metric",
            "*|series_of as of",
            "agg",
            "whole|figure as whole",
            "values|course as course",
        ),
        empty="nothing was measured yet",
    )
    @listed("", Scope.READ, key=lambda series: (series.name, tags_key(series.tags)), most=MAX_LINES)
    async def all(
        self,
        since: Annotated[Instant, Meta(description="24 hours before *until* by default.")] | None = None,
        until: Annotated[Instant, Meta(description="Not included; now by default.")] | None = None,
        step_s: Annotated[
            float,
            Meta(
                gt=0,
                le=1e9,
                description="Whole steps of 5 minutes; what suits the range by default.",
                extra_json_schema={"multipleOf": 300},
            ),
        ]
        | None = None,
        name: Annotated[str, Meta(max_length=255, description="Series of this metric alone.")] | None = None,
        part: ListPart = ALL,
    ) -> list[HubSeriesView]:
        """List the series of the whole hub, each with a value for each step, of which there are at most 744.

        Work counts when it ended, a verdict when it was given, whichever node did it. Each node samples its
        own load every 5 minutes.
        """
        if name is not None and name not in HUB_METRICS:
            hint = did_you_mean(name, HUB_METRICS) or f"there are {', '.join(HUB_METRICS)}"
            raise CodedError(ErrorCode.BAD_PARAMS, f"name: the hub has no metric {name!r}", hint=hint)
        lines = await self._measurements.ask_hub(
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
            step_ms=None if step_s is None else round(step_s * 1_000),
            name=name,
            limit=part.limit,
            after=part.after,
        )
        known = await self._store.read(nodes.list_nodes)
        names = {str(node.id): node.name or node.id for node in known}
        views = []
        for line in lines:
            node_id = line.tags.get("node")  # None: of the whole hub
            view = HubSeriesView.from_row(
                line,
                line.plan,
                tags=dict(line.tags),
                node=None if node_id is None else names.get(node_id, node_id),
                agg=line.plan.aggregate,
                step_s=line.plan.step_ms // 1_000,
            )
            views.append(view)
        return views


def _tags(texts: Iterable[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise CodedError(ErrorCode.BAD_PARAMS, f"tag: expected name=value, not {text!r}")
        tags[name] = value
    return tags


def _view(agent: str, chart: Chart) -> ChartView:
    plan = chart.plan
    return ChartView.from_row(
        chart,
        plan,
        agent=agent,
        agg=plan.aggregate,
        step_s=plan.step_ms // 1_000,
        bucket_s=plan.size_ms // 1_000,
        lines=tuple(
            LineView.from_row(line, points=tuple(map(PointView.from_row, line.points)))
            for line in chart.lines
        ),
    )
