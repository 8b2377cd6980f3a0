"""Base of the bodies of the REST interface, which ``--json`` prints too, and types of their fields.

A field is added, never renamed. Times are aware UTC unless they say otherwise; ids are text.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

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


def moment(at: int | None) -> datetime | None:
    """Convert epoch milliseconds of a row to an aware UTC time; None stays None."""
    return None if at is None else from_epoch_ms(at)
