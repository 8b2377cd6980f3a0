"""Copy of a whole database from SQLite to PostgreSQL or back, all or nothing.

The copy is complete or empty: its rows are written, read again and compared in one transaction. They are
compared in one form, because a server keeps no U+0000 in a text and no order of keys in a JSON value.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio.to_thread
import msgspec
import sqlalchemy as sa

from storage.change_triggers import drop_triggers, make_triggers
from storage.kernel.address import SERVER, shown
from storage.kernel.columns import BrokenDocument, json_text
from storage.kernel.database import Busy, Conflict, DatabaseUnavailable, file_of, held_alone
from storage.kernel.migrate import change_file, revision_in, revisions, upgrade
from storage.leases import LIVING_NODES
from storage.schema import changes, leases, metadata, notify_targets

ROWS: Final = 500  # of one INSERT
# The numbers of changes mean nothing at another database; who follows them begins anew at each start.
TABLES: Final = tuple(table for table in metadata.sorted_tables if table is not changes)
# A lease is of a process at the old database, and a cursor of its changes.
_LEFT_OUT: Final[dict[str, dict[str, Any]]] = {
    leases.name: {"holder_boot_id": None, "acquired_at": None, "expires_at": 0},
    notify_targets.name: {"cursor": 0},
}


class NotEmpty(Conflict):
    """Error: the target of a copy has rows; nothing was written."""

    hint = "name an empty database: another one; or move the file away that is not needed any more"


class Copied(NamedTuple):
    """Table that was copied, with the digest of its rows in hexadecimal, equal at both databases."""

    table: str
    rows: int
    digest: str


async def copy_database(
    source: str, target: str, *, base: Path | None = None, on_table: Callable[[Copied], None]
) -> None:
    """Copy every row of the database at *source* to the empty database at *target*; see ``open_store``.

    Args:
        on_table: called with each table once it was written and compared.

    Raises:
        Unavailable: the databases are of one kind, or one of them cannot be opened, is of another release, or
            has broken rows.
        Busy: a hub is running on one of them.
        NotEmpty: *target* has rows. Nothing was written.
        Conflict: the copy differs. Nothing was written.
    """
    if source.startswith(SERVER) is target.startswith(SERVER):
        raise DatabaseUnavailable(
            "one database is to be a file and the other one on a server; use 'hub backup' for two files,"
            " and pg_dump for two servers"
        )
    to_server = target.startswith(SERVER)
    path = file_of(source if to_server else target, base)
    if path is None:
        raise DatabaseUnavailable("a database in memory cannot be copied")
    if to_server and not path.exists():
        raise DatabaseUnavailable(f"there is no database {path}")

    def with_server(server: sa.Connection) -> None:
        def with_file(file: sa.Connection) -> None:
            one, other = (file, server) if to_server else (server, file)
            _fill_copy(one, other, names=(shown(source), shown(target)), on_table=on_table)

        change_file(path, with_file)

    with held_alone(path):
        if not to_server:
            await anyio.to_thread.run_sync(upgrade, path)
        from storage.kernel.postgres import run_once  # only with the extra [cluster]

        await run_once(target if to_server else source, with_server, migrates=to_server)


def _fill_copy(
    source: sa.Connection,
    target: sa.Connection,
    *,
    names: tuple[str, str],
    on_table: Callable[[Copied], None],
) -> None:
    for name, c in zip(names, (source, target), strict=True):
        if (current := revision_in(c)) != revisions()[-1]:
            raise DatabaseUnavailable(
                f"the tables of {name} are at revision {current}: run 'hub migrate up' first"
            )
        if c.dialect.name == "postgresql" and c.execute(LIVING_NODES).first() is not None:
            raise Busy(f"a hub is running on {name}: stop it first, or wait 30 s after it died")
    for table in metadata.sorted_tables:
        if target.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise NotEmpty(f"the database {names[1]} is not empty: its table {table.name} has rows")
    drop_triggers(target)
    for table in TABLES:
        rows = _rows_of(source, table)
        written = _Digest(table)
        while part := list(islice(rows, ROWS)):
            written.add(part)
            target.execute(sa.insert(table), part)
        found = _Digest(table)
        for row in _rows_of(target, table):
            found.add([row])
        if (found.rows, found.text) != (written.rows, written.text):
            raise Conflict(f"the rows of {table.name} differ after they were copied; nothing was kept")
        on_table(Copied(table.name, written.rows, written.text))
    make_triggers(target)


def _rows_of(c: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    left_out = _LEFT_OUT.get(table.name, {})
    for row in c.execute(sa.select(table), execution_options={"yield_per": ROWS}).mappings():
        plain = {name: _on_server(value) for name, value in row.items()} | left_out
        if any(isinstance(value, BrokenDocument) for value in plain.values()):
            raise DatabaseUnavailable(
                f"the table {table.name} has a broken row, which 'hub migrate verify' names"
            )
        yield plain


def _on_server(value: Any) -> Any:
    """Return *value* as a server keeps it."""
    return value.replace("\0", "\ufffd") if type(value) is str else value


class _Digest:
    """Number of rows, and a digest that does not depend on their order, which differs between databases."""

    def __init__(self, table: sa.Table) -> None:
        self.rows = 0
        self._sum = 0
        self._short = {column.name for column in table.columns if type(column.type) is sa.REAL}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows*."""
        for row in rows:
            values = [self._spelled(name, value) for name, value in sorted(row.items())]
            text = json_text(msgspec.json.decode(msgspec.json.encode(values, order="deterministic")))
            self._sum += int.from_bytes(hashlib.sha256(text.encode()).digest())
        self.rows += len(rows)

    @property
    def text(self) -> str:
        """Digest in hexadecimal."""
        return f"{self._sum % 2**128:032x}"

    def _spelled(self, name: str, value: Any) -> Any:
        """Return a REAL in the four bytes that it has on a server, and whole numbers in one form."""
        if name in self._short and value is not None:
            return struct.unpack("f", struct.pack("f", value))[0]
        return _numbered(value) if isinstance(value, dict | list) else value


def _numbered(value: Any) -> Any:
    match value:
        case dict():
            return {key: _numbered(one) for key, one in value.items()}
        case list():
            return [_numbered(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
