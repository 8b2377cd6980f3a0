"""Measurements of agents, as operators are told of them."""

from collections.abc import Mapping
from datetime import datetime

from hub.agents.charts import Chart, Question
from hub.agents.measurements import Measurements
from hub.api.views.measurements import ChartView, LineView, PointView, SeriesView
from hub.clock import epoch_ms, from_epoch_ms
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from storage.store import Store


class MeasurementOperations(Seen):
    """Implements ``api.facades.MeasurementFacade``."""

    def __init__(self, store: Store, measurements: Measurements) -> None:
        self._store = store
        self._measurements = measurements

    async def series(self, agent: str) -> list[SeriesView]:
        """All series of the agent, by name and tags."""
        row = await agent_named(self._store, agent, self.user_id)
        return [
            SeriesView(
                name=one.name,
                type=one.type.value,
                tags=dict(one.tags),
                last=one.last,
                last_at=from_epoch_ms(one.last_at),
            )
            for one in await self._measurements.series(row.id)
        ]

    async def chart(
        self,
        agent: str,
        metric: str,
        *,
        since: datetime | None,
        until: datetime | None,
        step_s: float | None,
        aggregate: str | None,
        tags: Mapping[str, str],
        by: str | None,
    ) -> ChartView:
        """One figure for each step of a range."""
        row = await agent_named(self._store, agent, self.user_id)
        question = Question(
            name=metric,
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
            step_ms=None if step_s is None else round(step_s * 1_000),
            aggregate=aggregate,
            tags=tags,
            by=by,
        )
        return _view(row.name, await self._measurements.ask(row.id, question))


def _view(agent: str, chart: Chart) -> ChartView:
    plan = chart.plan
    return ChartView(
        agent=agent,
        name=chart.name,
        type=chart.type.value,
        agg=plan.aggregate,
        since=from_epoch_ms(plan.since),
        until=from_epoch_ms(plan.until),
        step_s=plan.step_ms // 1_000,
        bucket_s=plan.size_ms // 1_000,
        error=chart.error,
        lines=tuple(
            LineView(
                tag=line.tag,
                whole=line.whole,
                points=tuple(
                    PointView(at=from_epoch_ms(point.at), value=point.value, n=point.n)
                    for point in line.points
                ),
            )
            for line in chart.lines
        ),
    )
