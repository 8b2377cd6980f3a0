"""A database with a stopwatch: how long each write took until it was on the disk."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from storage.kernel.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class MeasuredDatabase:
    """What *database* is, and promises.

    Args:
        monotonic: the clock, in seconds.
        on_write: told how long each write took, waiting for its turn included; also one that failed.
    """

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float], on_write: Callable[[float], None]
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._on_write = on_write

    @property
    def is_shared(self) -> bool:
        """See ``Database.is_shared``."""
        return self._database.is_shared

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.read``."""
        return await self._database.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.write``."""
        began = self._monotonic()
        try:
            return await self._database.write(fn, *args, **kwargs)
        finally:
            self._on_write(self._monotonic() - began)
