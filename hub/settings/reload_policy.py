"""Field declarations of hub.toml, which say when a change takes effect.

A field is one line: ``runs: Whole = live(32, "Runs at once.")``. Its text is shown in the JSON Schema and in
editors.
"""

from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import Field

T = TypeVar("T")

REQUIRED: Final[Any] = ...  # in place of a default


class Effect(StrEnum):
    """Time at which a changed value takes effect."""

    LIVE = "live"  # at once, for everything in progress
    RECONNECT = "reconnect"  # for each connection opened from then on
    RESTART = "restart"  # after the next start


EFFECT: Final = "x-effect"  # its key in the JSON Schema


def live(default: T, told: str) -> T:
    """Declare a field whose change takes effect at once."""
    return _field(default, told, Effect.LIVE)


def reconnect(default: T, told: str) -> T:
    """Declare a field whose change takes effect for new connections."""
    return _field(default, told, Effect.RECONNECT)


def restart(default: T, told: str) -> T:
    """Declare a field whose change takes effect at the next start."""
    return _field(default, told, Effect.RESTART)


def _field(default: T, told: str, effect: Effect) -> T:
    # Typed as the default's type, like pydantic's Field.
    field: T = Field(default, description=told, json_schema_extra={EFFECT: effect.value})
    return field
