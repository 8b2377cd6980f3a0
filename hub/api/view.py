"""Base of the bodies of the REST interface, which ``--json`` prints too, and types of their fields.

A field is added, never renamed. Times are aware UTC unless they say otherwise; ids are text.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import product
from typing import Annotated, Any, ClassVar, Final, Self, get_args

from msgspec import Meta, Struct
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
        aliases: names that fields have in other documents, which a body may use instead, with their fields.
    """

    refused_keys: ClassVar[Mapping[str, Refusal]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def from_row(cls, *sources: object, **own: Any) -> Self:
        """Return a view of rows or other objects: their attributes that are fields of the view, and *own*.

        The first source with an attribute gives it. Without an attribute ``device``, that field is taken from
        ``device_name``, else from ``device_id``. Epoch milliseconds of an ``Instant`` become an aware time.
        """
        kinds = (cls, *map(type, sources))
        if kinds not in _ATTRIBUTES:
            _ATTRIBUTES[kinds] = list(_attributes(cls, sources))
        for field, number, attribute in _ATTRIBUTES[kinds]:
            if field not in own:
                own[field] = getattr(sources[number], attribute)
        for field in _instants(cls):
            if isinstance(own.get(field), int):
                own[field] = from_epoch_ms(own[field])
        return cls(**own)


# Of each view and its sources: fields, numbers of sources, and attributes. Looked up once, not in each row.
_ATTRIBUTES: Final[dict[tuple[type, ...], list[tuple[str, int, str]]]] = {}


def _attributes(view: type[View], sources: Sequence[object]) -> Iterator[tuple[str, int, str]]:
    for field in view.__struct_fields__:
        for attribute, number in product((field, f"{field}_name", f"{field}_id"), range(len(sources))):
            if hasattr(sources[number], attribute):
                yield field, number, attribute
                break


@cache
def _instants(kind: type[View]) -> frozenset[str]:
    """Return the names of the fields that hold a time."""
    return frozenset(field.name for field in fields(kind) if _has_time(field.type))


def _has_time(hint: object) -> bool:
    return hint is datetime or any(_has_time(part) for part in get_args(hint))
