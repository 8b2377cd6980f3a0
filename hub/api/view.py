"""Base of the bodies of the REST interface, which ``--json`` prints too, and types of their fields.

A field is added, never renamed. Times are aware UTC unless they say otherwise; ids are text.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args

from msgspec import UNSET, Meta, Struct
from msgspec.structs import fields

from hub.api.sentences import Refusal
from hub.clock import from_epoch_ms

# For URLs and command lines, as in hub.toml. Python's ``$`` alone would allow a line feed after the name.
Name = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,63}$(?!\n)")]
Instant = Annotated[datetime, Meta(tz=True)]


class View(Struct, forbid_unknown_fields=True):
    """Base of the bodies of requests and responses.

    Attributes:
        refused_keys: keys of a body that are no fields, with a message and a hint for each.
    """

    refused_keys: ClassVar[Mapping[str, Refusal]] = {}

    @classmethod
    def from_row(cls, source: object, /, **own: Any) -> Self:
        """Return a view of a row or another object: its attributes that are fields of the view, and *own*.

        Epoch milliseconds of an ``Instant`` are converted to an aware UTC time.
        """
        instants = _instants(cls)
        for name in cls.__struct_fields__:
            if name not in own and (value := getattr(source, name, UNSET)) is not UNSET:
                own[name] = from_epoch_ms(value) if name in instants and isinstance(value, int) else value
        return cls(**own)


@cache
def _instants(kind: type[View]) -> frozenset[str]:
    """Return the names of the fields that hold a time."""
    return frozenset(field.name for field in fields(kind) if _has_time(field.type))


def _has_time(hint: object) -> bool:
    return hint is datetime or any(_has_time(part) for part in get_args(hint))


def moment(at: int | None) -> datetime | None:
    """Convert epoch milliseconds of a row to an aware UTC time; None stays None."""
    return None if at is None else from_epoch_ms(at)
