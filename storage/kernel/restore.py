"""A backup becomes the state of a hub again; what was there before is kept aside.

The order makes it safe to be interrupted: the old database is complete in its place
until the new one replaces it in one step, and a copy of it stands aside before that.
"""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from storage.kernel.backup import DATABASE, BackupRefused, Manifest, sync_folder, unpacked
from storage.kernel.database import Unavailable
from storage.kernel.database_file import held_alone

_LOGS = ("-wal", "-shm")  # what SQLite has beside a database that was not closed


class Restored(NamedTuple):
    """What a restore did. *aside*: the folder with what was there before; ``None``: nothing was."""

    manifest: Manifest
    aside: Path | None


def restore(file: Path, state: Path, *, database: Path, at: int) -> Restored:
    """Put the backup *file* in the place of what is in the folder *state*.

    Args:
        database: where the hub's database lies; the other files go into *state*.
        at: wall time, UTC epoch milliseconds; names the folder aside.

    Raises:
        Busy: a hub is running on it; stop it first.
        BackupRefused, Unavailable: the state is as it was.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held_alone(database), unpacked(file, state) as (manifest, folder):
        try:
            aside = _set_aside(state, database, manifest, at)
            for name in manifest.files.keys() - {DATABASE}:
                _put(folder / name, state / name, owner=state)
            _note_stopped(folder / DATABASE, at)
            _put(folder / DATABASE, database, owner=state)
        except OSError as error:
            raise Unavailable(f"cannot restore to {state}: {error.strerror}") from error
    return Restored(manifest, aside)


def _note_stopped(database: Path, at: int) -> None:
    """The hub that the backup was made of did not crash: its next start is none after a crash."""
    # An older database may have no such column yet; its hub then counts one crash too many.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as copy, copy:
        copy.execute("UPDATE nodes SET stopped_at = ? WHERE stopped_at IS NULL", (at,))


def _set_aside(state: Path, database: Path, manifest: Manifest, at: int) -> Path | None:
    """Copy what will be replaced; the database with all that its log holds, and no log beside it then."""
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
            old.execute("PRAGMA wal_checkpoint(truncate)")  # a damaged one is kept as it is, log and all
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
    """Restored by root, it still belongs to the hub's own user."""
    if os.geteuid() == 0:
        stat = owner.stat()
        os.chown(path, stat.st_uid, stat.st_gid)
