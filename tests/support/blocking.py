"""A plain SQLAlchemy engine on PostgreSQL: asyncpg in a thread of its own, waited for.

Functions of storage take a ``sa.Connection`` and are tested with one, without a
loop. On SQLite that is sqlite3; for PostgreSQL the hub has asyncpg alone, which
needs a loop. Here each call that waits for the server is handed to one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import greenlet_spawn

from storage.kernel.columns import json_text

_WAITING = {
    "execute",
    "executemany",
    "commit",
    "rollback",
    "close",
    "terminate",
    "ping",
    "set_isolation_level",
}


def blocking_engine(url: str, portal: BlockingPortal, **options: Any) -> sa.Engine:
    """An engine for the database at *url* (``postgresql://...``), whose driver lives in *portal*'s loop."""
    return sa.create_engine(
        "postgresql+blocking://",
        connect_args={"dsn": url, "portal": portal},
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        **options,
    )


class _Blocking:
    """SQLAlchemy's connection or cursor over asyncpg, whose waiting methods block."""

    def __init__(self, portal: BlockingPortal, inner: Any) -> None:
        vars(self).update(portal=portal, inner=inner)

    def cursor(self, *args: Any) -> "_Blocking":
        return _Blocking(self.portal, self.inner.cursor(*args))

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["inner"], name)
        return partial(_wait, self.portal, value) if name in _WAITING else value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.inner, name, value)


def _wait(portal: BlockingPortal, call: Callable[..., Any], *args: Any) -> Any:
    return portal.call(partial(greenlet_spawn, call, *args))


class BlockingDialect(PGDialect_asyncpg):
    """``postgresql+blocking``."""

    is_async = False
    supports_statement_cache = True

    def connect(self, *args: Any, portal: BlockingPortal, **options: Any) -> Any:
        """A connection that blocks."""
        return _Blocking(portal, _wait(portal, partial(super().connect, *args, **options)))

    def on_connect(self) -> Callable[[Any], None]:
        """What is said to a new connection."""
        greet = super().on_connect()  # type: ignore[no-untyped-call]
        return lambda connection: _wait(connection.portal, greet, connection.inner)


registry.register("postgresql.blocking", __name__, BlockingDialect.__name__)
