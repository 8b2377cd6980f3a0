"""Measurements of agents: which there are, and what they come to over time."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from hub.api.deps import Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.measurements import ChartView, SeriesView
from hub.api.views.view import View
from protocol.errors import ErrorCode, HubError
from protocol.measurements import MOST_TAGS

router = NounRouter(prefix="/v1/agents", tags=["agents"])


class BadTag(HubError):
    """A tag is not told as ``name=value``."""

    code = ErrorCode.BAD_PARAMS


class Series(View):
    """Some series."""

    series: tuple[SeriesView, ...]
    next_cursor: str | None = None


@router.get("/{name}/metrics", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def list_series(hub: Hub, name: str, paging: Paging) -> Series:
    """What is measured of an agent, with the newest value of each series.

    Names that begin with ``hub.`` are what the hub measures of it, the others its device reports.
    """
    page = paging.cut(await hub.measurements.series(name), key=_key)
    return Series(series=page.items, next_cursor=page.next_cursor)


@router.get(
    "/{name}/metrics/{metric}",
    responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_METRIC, ErrorCode.LIMIT_REACHED),
)
async def get_chart(
    hub: Hub,
    name: str,
    metric: str,
    since: Annotated[
        AwareDatetime | None, Query(description="24 hours before *until* by default; moved to a whole step.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not included; now by default.")] = None,
    step_s: Annotated[
        float | None,
        Query(gt=0, le=1e9, description="Of one step: whole minutes; what suits the range by default."),
    ] = None,
    agg: Annotated[
        str | None,
        Query(
            max_length=20,
            description="``sum``, ``rate`` (a second), ``count`` of a counter; ``avg``, ``min``, ``max``,"
            " ``last``, ``count`` of a gauge; all but ``rate``, and ``p50`` to ``p99.9``, of a histogram.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        Query(max_length=MOST_TAGS, description="Of series with this tag alone: ``name=value``."),
    ] = None,
    by: Annotated[str | None, Query(max_length=64, description="A tag; its values are told apart.")] = None,
) -> ChartView:
    """One figure for each step of a range; ``value`` is null where nothing was measured."""
    return await hub.measurements.chart(
        name,
        metric,
        since=since,
        until=until,
        step_s=step_s,
        aggregate=agg,
        tags=_tags(tag or ()),
        by=by,
    )


def _tags(told: Sequence[str]) -> Mapping[str, str]:
    tags = {}
    for text in told:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise BadTag(f"tag: expected name=value, not {text!r}")
        tags[name] = value
    return tags


def _key(series: SeriesView) -> tuple[str, ...]:
    return (series.name, *(part for tag in sorted(series.tags.items()) for part in tag))
