"""Database that measures how long each write takes until it is on the disk."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from storage.kernel.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class MeasuredDatabase:
    """Wrapper of *database* that measures its writes.

    Args:
        monotonic: clock, in seconds.
        on_write: callback with the seconds of each write, queueing included; also after a failed write.
    """

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float], on_write: Callable[[float], None]
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._on_write = on_write

    @property
    def is_shared(self) -> bool:
        """True if other hubs may write to the database too."""
        return self._database.is_shared

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        return await self._database.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction and measure its time; see ``Database.write``."""
        began = self._monotonic()
        try:
            return await self._database.write(fn, *args, **kwargs)
        finally:
            self._on_write(self._monotonic() - began)
