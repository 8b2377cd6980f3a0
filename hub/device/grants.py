"""Grants of a device's owner to each hub: stored at the device and enforced at every call.

Plain functions over a connection, inside the caller's transaction.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Final

import msgspec

from hub.device import declared_tables, schema
from protocol.errors import ErrorCode, HubError
from protocol.owner_grants import APPROVED, MARKED, OwnerGrant
from protocol.tables import TABLES

MAX_FOLDERS: Final = 16  # of a grant in a hello
_tables: Final = msgspec.json.Decoder(list[str])


class BadGrant(HubError):
    """Invalid change of a grant; ``str()`` gives the reason."""

    code = ErrorCode.BAD_PARAMS


def of_hub(db: sqlite3.Connection, hub: str) -> dict[str, list[str]]:
    """Return the tables or folders of each grant of *hub*, which is identified by its key."""
    found = db.execute("SELECT name, tables FROM owner_grants WHERE hub = ? ORDER BY name", (hub,))
    return {name: _tables.decode(tables) for name, tables in found}


def change(db: sqlite3.Connection, hub: str, changes: Sequence[str]) -> dict[str, list[str]]:
    """Change the grants of *hub* and return the new grants. Raises BadGrant as ``changed``."""
    folders = [name for (name,) in db.execute("SELECT name FROM roots ORDER BY rowid")]
    granted = changed(of_hub(db, hub), changes, declared_tables.tables_of(db), folders)
    for statement in schema.ANY_GRANT if schema.is_of_old_grants(db) else ():
        db.execute(statement)
    db.execute("DELETE FROM owner_grants WHERE hub = ?", (hub,))
    db.executemany(
        "INSERT INTO owner_grants VALUES (?, ?, ?)",
        [(hub, name, msgspec.json.encode(tables).decode()) for name, tables in granted.items()],
    )
    return granted


def changed(
    granted: Mapping[str, Sequence[str]],
    changes: Sequence[str],
    existing: Collection[str] = TABLES,
    folders: Collection[str] | None = None,
) -> dict[str, list[str]]:
    """Return *granted* after *changes*.

    Args:
        changes: such as ``+review.remote``, ``+review.remote=marked,approved``, ``+rows.read=tasks``,
            ``+files.read=notes``, ``+places``, ``-rows.read``.
        existing: names of the device's tables.
        folders: names of the shared folders; None: they are not known yet.

    Raises:
        BadGrant: a change is invalid.
    """
    after = {name: list(tables) for name, tables in granted.items()}
    for change in changes:
        sign, (name, has_tables, listed) = change[:1], change[1:].partition("=")
        tables = [table for table in listed.split(",") if table]
        is_known = sign in ("+", "-") and name in tuple(OwnerGrant)
        is_of_words = name == OwnerGrant.REVIEW_REMOTE and bool(tables) and {*tables} <= {MARKED, APPROVED}
        may_name = sign == "+" and (name in (OwnerGrant.ROWS_READ, OwnerGrant.FILES_READ) or is_of_words)
        if not is_known or (has_tables and not may_name):
            problem = f"{change!r} is no change of a grant: expected +review.remote[={MARKED},{APPROVED}]"
            raise BadGrant(
                f"{problem}, +rows.read=tasks,notes, +files.read=FOLDER,FOLDER, +{OwnerGrant.PLACES.value},"
                " or one with - before its name"
            )
        if sign == "+" and name == OwnerGrant.ROWS_READ and not (tables and {*tables} <= {*existing}):
            raise BadGrant(f"{change!r}: name the tables that may be read, of {', '.join(existing)}")
        if sign == "+" and name == OwnerGrant.FILES_READ:
            tables = [PurePath(folder).name for folder in tables]  # a path names its folder, too
            known = tables if folders is None else folders
            if not 0 < len(tables) <= MAX_FOLDERS or not {*tables} <= {*known}:
                listed = ", ".join(known) or "none yet: run 'hub connect' once"
                raise BadGrant(f"{change!r}: name 1 to {MAX_FOLDERS} of the shared folders: {listed}")
        after.pop(name, None)
        if sign == "+":
            after[name] = list(dict.fromkeys(tables))
    return after
