"""Measurements of agents, as devices report them: samples, and what they may be called.

A sample belongs to a series: an agent, a name, and tags. All series of an agent with one name are
of one type.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import EpochMs, Id

MOST_SAMPLES: Final = 500  # in one report: one transaction of some 10 ms
MOST_TAGS: Final = 8  # of a series
NAME_CHARACTERS: Final = 255
TAG_CHARACTERS: Final = 64  # of a tag's name
TAG_VALUE_CHARACTERS: Final = 128
GREATEST: Final = 1e100  # of a value, either way; sums of such stay finite

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
OWN: Final = "hub."  # so begin the names of what the hub itself measures


class MetricType(StrEnum):
    """What the values of a series are."""

    COUNTER = "counter"  # how many more there are than before: increments, never below 0
    GAUGE = "gauge"  # how much there is now
    HISTOGRAM = "histogram"  # one of many like it, of which percentiles are asked


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One value.

    *agent_id* is the agent's id or name. Without *type* it is of the type that the metric has, or a
    gauge where it is new. Without *at_ms* it is of the moment in which it arrives.
    """

    agent_id: Id
    name: Annotated[str, Meta(min_length=1)]
    type: MetricType | None = None
    value: float
    tags: dict[str, str] = {}
    at_ms: EpochMs | None = None
