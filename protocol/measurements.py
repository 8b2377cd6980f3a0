"""Measurements of agents as devices report them: samples, and the rules for their names.

A sample belongs to a series: an agent, a name, and tags. All series of an agent with one name have one type.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import EpochMs, Id

MOST_SAMPLES: Final = 500  # in one report: one transaction of about 10 ms
MOST_TAGS: Final = 8  # of a series
NAME_CHARACTERS: Final = 255
TAG_CHARACTERS: Final = 64  # of a tag's name
TAG_VALUE_CHARACTERS: Final = 128
GREATEST: Final = 1e100  # of a value's magnitude; sums stay finite

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
OWN: Final = "hub."  # prefix of the names of the hub's own metrics


class MetricType(StrEnum):
    """Meaning of the values of a series."""

    COUNTER = "counter"  # increments since the last sample, never below 0
    GAUGE = "gauge"  # a current level
    HISTOGRAM = "histogram"  # single observations, evaluated by percentiles


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Sample of a metric.

    *agent_id*: the agent's id or name. Without *type*: the metric's type, or gauge if it is new. Without
    *at_ms*: the time of arrival.
    """

    agent_id: Id
    name: Annotated[str, Meta(min_length=1)]
    type: MetricType | None = None
    value: float
    tags: dict[str, str] = {}
    at_ms: EpochMs | None = None
