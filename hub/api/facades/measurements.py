"""Measurements of agents, as an operator asks for them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from hub.api.views.measurements import ChartView, SeriesView


class MeasurementFacade(Protocol):
    """What agents measure, and what the hub measures of them. Each method raises UnknownAgent."""

    async def series(self, agent: str) -> list[SeriesView]:
        """All series of the agent, by name and tags."""
        ...

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
        """One figure for each step of a range.

        Args:
            since: 24 hours before *until* by default.
            until: now by default.
            step_s: whole minutes; one that suits the range by default.
            aggregate: what suits the metric's type by default.
            tags: series that have these.
            by: a tag whose values are told apart.

        Raises:
            UnknownMetric, BadQuestion, TooMuch: what is wrong, and how to ask.
        """
        ...
