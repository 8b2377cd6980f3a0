"""Measurements of agents, as an operator reads them."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

MeasurementType = Literal["counter", "gauge", "histogram"]


class SeriesView(View):
    """A series: a metric of an agent under certain tags. *last*: its newest value."""

    name: str
    type: MeasurementType
    tags: dict[str, str]
    last: float | None
    last_at: AwareDatetime


class PointView(View):
    """One step, from *at* on: its figure, missing where nothing was measured, and how many samples it has."""

    at: AwareDatetime
    value: float | None
    n: int


class LineView(View):
    """Steps in their order. *tag*: a value of the tag that was asked by; *whole*: the range as one step."""

    tag: str | None = None
    whole: float | None
    points: tuple[PointView, ...]


class ChartView(View):
    """A metric of an agent from *since* until before *until*, both moved to whole steps.

    *bucket_s*: what it is made of, minutes or hours. *error*: how far a percentile may be from the
    exact one, as a part of it.
    """

    agent: str
    name: str
    type: MeasurementType
    agg: str
    since: AwareDatetime
    until: AwareDatetime
    step_s: int
    bucket_s: int
    error: float | None = None
    lines: tuple[LineView, ...]
