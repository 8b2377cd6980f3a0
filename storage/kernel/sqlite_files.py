"""Files of an open SQLite database, which other programs may damage, replace or remove meanwhile.

SQLite goes on with the files that it opened. A backup, or the next start of the hub, opens other ones by the
same names then, and would mix the pages of two databases.
"""

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from storage.kernel.database import WAL, Damaged, Replaced, Unavailable, translation
from storage.schema import metadata

_MAGIC: Final = b"SQLite format 3\0"
_COUNTER: Final = slice(24, 28)  # of the header: grows with the commits, as far as they left the log
# what SQLite's check of a file says about values that a constraint forbids: the file itself is sound
_ABOUT_VALUES: Final = re.compile(r"CHECK constraint failed in |(NULL|NUMERIC|TEXT|non-\w+) value in ")
_NAMED_DAMAGES: Final = 3
TABLE_NAMES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class SqliteFiles:
    """Database file at *path*, its log and its index, as they were when they were first seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Open until SQLite has closed the file: to close any descriptor of it releases SQLite's locks.
        try:
            self._opened = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot open the database {path}: {error.strerror}") from error
        file = os.fstat(self._opened)
        self._seen = {str(path): (file.st_dev, file.st_ino)}
        self._counter = 0

    def check(self) -> None:
        """Compare device and inode of each file. Raises Replaced, Unavailable."""
        for name in (str(self.path), f"{self.path}{WAL}", f"{self.path}-shm"):
            known = self._seen.get(name)
            try:
                found = os.stat(name)
            except FileNotFoundError:
                if known is not None:
                    raise Replaced(f"{name} was removed while the hub had it open") from None
            except OSError as error:
                raise Unavailable(f"the file of the database cannot be opened: {error}") from error
            else:
                if self._seen.setdefault(name, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
                    raise Replaced(f"{name} was replaced by another file while the hub had it open")

    def check_header(self) -> None:
        """Check that the file has the header of a database, and that no older copy overwrote it.

        Raises:
            Damaged: otherwise.
        """
        header = os.pread(self._opened, 100, 0)
        if not header.startswith(_MAGIC):
            raise Damaged(f"the database is damaged: {self.path} does not begin as a database")
        counter = int.from_bytes(header[_COUNTER])
        if counter < self._counter:
            raise Damaged(f"{self.path} was overwritten by an older copy while the hub had it open")
        self._counter = counter

    def check_pages(self) -> None:
        """Read all pages, other than through the caches of the open database. Blocks.

        Raises:
            StorageError: Damaged if a page is not what was written.
        """
        self.check()
        with translation(), closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
            if damages := find_damages(opened, "quick_check(2147483647)")[0]:
                raise Damaged(f"the database is damaged: {'; '.join(damages)}")

    def damaged_tables(self) -> list[str]:
        """Return the names of tables of which not all pages can be read. Blocks."""
        return [name for name in self._table_names() if self._is_damaged(name)]

    def _table_names(self) -> list[str]:
        """Return the tables of the file, or those of the schema if their list is damaged."""
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
                return [name for (name,) in opened.execute(TABLE_NAMES)]
        except sqlite3.Error:
            return list(metadata.tables)

    def _is_damaged(self, table: str) -> bool:
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
                return bool(find_damages(opened, f"quick_check({table})")[0])
        except sqlite3.Error:
            return True

    @property
    def is_lost(self) -> bool:
        """True if the name of the database leads to another file, or to none."""
        opened = os.fstat(self._opened)
        with suppress(OSError):
            found = os.stat(self.path)
            return (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino)
        return True

    def close(self) -> None:
        """Close the file, after SQLite has."""
        os.close(self._opened)


def find_damages(opened: sqlite3.Connection, check: str) -> tuple[list[str], bool]:
    """Run the PRAGMA *check*. Return the first damages, and True if values violate constraints.

    Such values damage no page: another program wrote them, and the other rows are sound.
    """
    has_broken_rows = False
    damages: list[str] = []
    for (found,) in opened.execute(f"PRAGMA {check}"):
        if _ABOUT_VALUES.match(found):
            has_broken_rows = True
        elif found != "ok":
            damages.append(found)
        if len(damages) == _NAMED_DAMAGES:
            break
    return damages, has_broken_rows
