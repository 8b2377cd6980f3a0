"""A database file with the tables of this release, as the process migrated one once; and damage to it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.kernel.migrate import upgrade


def new_database(path: Path) -> None:
    """Write the file *path* as a hub's first start leaves it, without the 0.7 s that migrating takes."""
    path.write_bytes(_migrated())
    path.chmod(0o600)


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "hub.db"
        upgrade(path)
        return path.read_bytes()


def overwrite(tree: str, which: int) -> Callable[[Path], object]:
    """Return the fault that a page of *tree*, a table, holds something else: 0 its root, -1 its last leaf."""

    def cause(file: Path) -> None:
        with closing(sqlite3.connect(file, timeout=30)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # no page is in the log alone
            (size,) = database.execute("PRAGMA page_size").fetchone()
        page = _pages_of(file, tree, size)[which]
        with file.open("r+b") as out:
            out.seek((page - 1) * size)
            out.write(b"\xa5" * size)

    return cause


def _pages_of(file: Path, tree: str, size: int) -> list[int]:
    """Return the root page of a table or an index, and its last leaf."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (tree,)).fetchone()
    pages, content = [root], file.read_bytes()
    while True:
        page = content[(pages[-1] - 1) * size :][:size]
        if page[0] not in (2, 5):  # no inner page
            return sorted({pages[0], pages[-1]})
        pages.append(int.from_bytes(page[8:12]))
