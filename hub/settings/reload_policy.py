"""When a change of a setting takes effect; each field of hub.toml says which.

A field is one line: ``runs: Whole = live(32, "Runs at once.")``. What it tells is
what the JSON Schema and people's editors show.
"""

from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import Field

T = TypeVar("T")

REQUIRED: Final[Any] = ...  # in place of a default


class Effect(StrEnum):
    """When a changed value is used."""

    LIVE = "live"  # at once, by all that goes on
    RECONNECT = "reconnect"  # by each connection that is made from then on
    RESTART = "restart"  # after the next start


EFFECT: Final = "x-effect"  # its key in the JSON Schema


def live(default: T, told: str) -> T:
    """A field whose change is used at once."""
    return _field(default, told, Effect.LIVE)


def reconnect(default: T, told: str) -> T:
    """A field whose change is used by connections made after it."""
    return _field(default, told, Effect.RECONNECT)


def restart(default: T, told: str) -> T:
    """A field whose change waits for the next start."""
    return _field(default, told, Effect.RESTART)


def _field(default: T, told: str, effect: Effect) -> T:
    # A field where its default belongs, as with pydantic's own Field: that is also typed so.
    field: T = Field(default, description=told, json_schema_extra={EFFECT: effect.value})
    return field
