"""A configured sink: its target, and the tables whose rows go there."""

from collections.abc import Collection
from datetime import datetime

import msgspec

from hub.device.sinks.target import SearchingTarget, Target


class Sink(msgspec.Struct, frozen=True):
    """Target with the names of its tables; *back*: what is changed at the target is changed here."""

    name: str
    target: Target
    tables: tuple[str, ...]
    back: bool = True
    kind: str = ""

    def places_to_read(self, places: Collection[str], now: datetime) -> frozenset[str]:
        """Return the *places* of rows, and the newest place, to which rows may have been moved."""
        is_searched = places and isinstance(self.target, SearchingTarget)
        return frozenset({*places, self.target.fresh_place(now)} if is_searched else places)
