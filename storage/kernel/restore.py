"""Restore of a backup as the state of a hub; the previous state is copied to a separate folder.

The order of steps makes an interruption safe: a copy of the old database is complete before the restored one
replaces it in one atomic step.
"""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from storage.kernel.backup import DATABASE, BackupRefused, Manifest, sync_folder, unpacked, worded
from storage.kernel.database import Unavailable
from storage.kernel.database_file import held_alone

_LOGS = ("-wal", "-shm")  # files next to a SQLite database that was not closed


class Restored(NamedTuple):
    """Result of a restore. *aside*: folder with a copy of the previous state, or ``None`` without one."""

    manifest: Manifest
    aside: Path | None


def restore(file: Path, state: Path, *, database: Path, at: int) -> Restored:
    """Replace the state in the folder *state* with the backup *file*.

    Args:
        database: path of the hub's database; the other files go into *state*.
        at: wall time, UTC epoch milliseconds; part of the name of the folder with the previous state.

    Raises:
        Busy: a hub is running on the database.
        BackupRefused, Unavailable: the state is unchanged.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held_alone(database), unpacked(file, state) as (manifest, folder):
        try:
            aside = _set_aside(state, database, manifest, at)
            for name in manifest.files.keys() - {DATABASE}:
                _put(folder / name, state / name, owner=state)
            _note_stopped(folder / DATABASE, at)
            _put(folder / DATABASE, database, owner=state)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"cannot restore to {state}: {worded(error)}") from error
    return Restored(manifest, aside)


def _note_stopped(database: Path, at: int) -> None:
    """Mark the backed-up hub as stopped, so that its next start does not count as a crash."""
    with closing(sqlite3.connect(database)) as copy, copy:
        copy.execute("UPDATE nodes SET stopped_at = ? WHERE stopped_at IS NULL", (at,))


def _set_aside(state: Path, database: Path, manifest: Manifest, at: int) -> Path | None:
    """Copy the files that will be replaced to a new folder, and merge SQLite's log into the database."""
    others = [state / name for name in manifest.files.keys() - {DATABASE}]
    present = [path for path in (database, *others) if path.exists()]
    if not present:
        return None
    aside = state / f"before-restore-{datetime.fromtimestamp(at / 1000, UTC):%Y%m%dT%H%M%SZ}"
    try:
        aside.mkdir(mode=0o700)
    except FileExistsError as error:
        raise BackupRefused(f"{aside} is there already; move it away") from error
    if database.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as old:
            # a damaged database is kept unchanged, with its log
            old.execute("PRAGMA wal_checkpoint(truncate)")
    for path in (*present, *(path for log in _LOGS if (path := Path(f"{database}{log}")).exists())):
        shutil.copy2(path, aside / path.name)
    for log in _LOGS:
        Path(f"{database}{log}").unlink(missing_ok=True)
    _own(aside, state)
    sync_folder(aside)
    return aside


def _put(new: Path, place: Path, *, owner: Path) -> None:
    _own(new, owner)
    os.replace(new, place)
    sync_folder(place.parent)


def _own(path: Path, owner: Path) -> None:
    """Give the file the owner of the state folder if root runs the restore."""
    if os.geteuid() == 0:
        stat = owner.stat()
        os.chown(path, stat.st_uid, stat.st_gid)
