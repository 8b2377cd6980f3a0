"""Backup files: creation while the hub runs, verification and restore.

A backup is a tar archive: ``manifest.json`` first, then a compact copy of the database, then small additional
files. An interrupted backup leaves either no file or a complete file. A restore first copies the files that
it replaces to a folder of its own.
"""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, Final, NamedTuple

import msgspec

from protocol.errors import ErrorCode, HubError
from storage.kernel.database import DatabaseUnavailable, StorageError, check_in_place, held_alone, translated
from storage.kernel.migrate import refusal
from storage.kernel.sqlite import find_damages

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "hub.db"
HUB_ID: Final = "hub_id"  # file of the state folder: the hub whose database belongs there
MANIFEST_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 1024 * 1024


class BackupRefused(HubError):
    """Error: a backup cannot be written, is damaged or does not fit. Nothing was changed."""

    code = ErrorCode.BACKUP_REFUSED


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """Size in bytes and checksum of a file in a backup."""

    bytes: int
    sha256: str


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of a backup.

    Attributes:
        made_at: wall time, UTC epoch milliseconds.
        version: version of the hub that wrote the backup.
        revision: schema revision of its tables.
        audit_seq: number of the last entry of the audit log, and its hash in hexadecimal: a database has that
            entry only if it continues this backup. 0 in backups of earlier hubs.
        has_broken_rows: True if rows violate constraints of their tables; ``hub migrate verify`` names them.
        files: files of the backup, keyed by their names.
    """

    format: Annotated[int, msgspec.Meta(ge=1)]
    made_at: int
    version: str
    revision: str
    hub_id: str
    files: dict[str, StoredFile]
    has_broken_rows: bool = False
    audit_seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    audit_hash: str = ""


def make(
    target: Path, *, database: Path, others: Mapping[str, bytes], at: int, version: str
) -> BackupManifest:
    """Back up the database, which a hub may have open, to the new file *target*.

    Rows that violate constraints are copied as they are: the others must not go without a backup for them.

    Args:
        others: contents of small additional files, keyed by their names.

    Raises:
        BackupRefused: *target* exists already, or the copy is not sound.
        Unavailable: the database cannot be read, or *target* cannot be written; no file is left.
        Unavailable: a hub has another file open.
    """
    if target.exists():
        raise BackupRefused(f"{target} is there already, and was left as it is")
    if not database.is_file():
        raise DatabaseUnavailable(f"there is no database {database}")
    check_in_place(database)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            folder = Path(name)
            copy = folder / DATABASE
            _copy(database, copy)
            found = checked(copy)
            for other, content in others.items():
                (folder / other).write_bytes(content)
            manifest = BackupManifest(
                format=FORMAT,
                made_at=at,
                version=version,
                revision=found.revision,
                hub_id=found.hub_id,
                files={file: _stored_file(folder / file) for file in (DATABASE, *others)},
                has_broken_rows=found.has_broken_rows,
                audit_seq=found.end[0],
                audit_hash=found.end[1].hex(),
            )
            packed = folder / "packed"
            _pack(packed, folder, manifest)
            os.link(packed, target)  # unlike a rename it replaces nothing
        sync_folder(target.parent)
    except FileExistsError as error:
        raise BackupRefused(f"{target} is there already, and was left as it is") from error
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error):
            checked(database)  # SQLite blames the copy for damages of the database, too
        raise DatabaseUnavailable(f"cannot back up to {target}: {worded(error)}") from error
    return manifest


def verify(file: Path) -> BackupManifest:
    """Verify all bytes of a backup against its manifest, and the database inside.

    Raises:
        BackupRefused: the file is no backup, or is damaged; the message says where.
        Unavailable: the file cannot be read, or the disk has no room to unpack it.
    """
    with unpacked(file) as (manifest, _):
        return manifest


def read_manifest(file: Path) -> BackupManifest | None:
    """Return what a backup says about itself, or None if that cannot be read. Its files are not checked."""
    with suppress(BackupRefused, tarfile.TarError, OSError), tarfile.open(file, "r:") as archive:
        return _manifest(archive, file)
    return None


@contextmanager
def unpacked(file: Path, folder: Path | None = None) -> Iterator[tuple[BackupManifest, Path]]:
    """Unpack and verify a backup into a folder that is deleted after the block.

    Args:
        folder: parent of that folder; by default the system's folder for temporary files.

    Raises:
        BackupRefused, Unavailable: see ``verify``.
    """
    with ExitStack() as open_folder:
        try:
            name = open_folder.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".backup."))
            manifest = _unpack(file, Path(name))
        except tarfile.TarError as error:
            raise BackupRefused(f"{file} is no backup of a hub, or is cut off: {error}") from error
        except OSError as error:
            raise DatabaseUnavailable(f"cannot read the backup {file}: {worded(error)}") from error
        yield manifest, Path(name)


def _copy(database: Path, copy: Path) -> None:
    # mode=rw does not create a missing database. Only VACUUM INTO writes, and only to the copy.
    with closing(
        sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)
    ) as source:
        try:
            source.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            raise _unreadable(database, error) from error
        source.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)


def _unreadable(database: Path, error: sqlite3.Error) -> DatabaseUnavailable:
    """Return the error about a database that cannot be read; SQLite has to write in its folder even then."""
    why = "" if os.access(database.parent, os.W_OK) else f"; {database.parent} is read-only for this user"
    return DatabaseUnavailable(f"cannot read the database {database}: {error}{why}")


class CheckedDatabase(NamedTuple):
    """Result of ``checked``. *end*: number and hash of the last audit entry; see ``BackupManifest``."""

    hub_id: str
    revision: str
    has_broken_rows: bool
    end: tuple[int, bytes]


def checked(database: Path) -> CheckedDatabase:
    """Check the whole database file.

    Raises:
        BackupRefused: the file is damaged; the message says how.
        Unavailable: the database cannot be read, so its state is unknown.
    """
    try:
        # nothing is written; with mode=ro SQLite would not check constraints
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as opened:
            has_broken_rows = opened.execute("PRAGMA foreign_key_check").fetchone() is not None
            # by default, the search ends at 100 values
            damages, has_broken_values = find_damages(opened, "integrity_check(2147483647)")
            if damages:
                raise BackupRefused(f"the database is damaged: {'; '.join(damages)}")
            (hub_id,) = opened.execute("SELECT value FROM hub WHERE key = 'hub_id'").fetchone() or ("",)
            (revision,) = opened.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
            end = opened.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        if not isinstance(ours := translated(error), StorageError) or ours.trouble == "damaged":
            raise BackupRefused(f"the database is damaged: {error}") from error
        raise _unreadable(database, error) from error
    return CheckedDatabase(hub_id, revision, has_broken_rows or has_broken_values, end or (0, b""))


def _stored_file(file: Path) -> StoredFile:
    with file.open("rb") as opened:
        return StoredFile(bytes=file.stat().st_size, sha256=hashlib.file_digest(opened, "sha256").hexdigest())


def _pack(packed: Path, folder: Path, manifest: BackupManifest) -> None:
    with packed.open("xb") as out:
        packed.chmod(0o600)
        with tarfile.open(fileobj=out, mode="w") as archive:
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            archive.addfile(_member(MANIFEST, len(text), manifest.made_at), BytesIO(text))
            for name, stored in manifest.files.items():
                with (folder / name).open("rb") as content:
                    archive.addfile(_member(name, stored.bytes, manifest.made_at), content)
        out.flush()
        os.fsync(out.fileno())


def _member(name: str, size: int, at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, at // 1000
    return member


def _unpack(file: Path, folder: Path) -> BackupManifest:
    with tarfile.open(file, "r:") as archive:
        manifest = _manifest(archive, file)
        for name, stored in manifest.files.items():
            content = _content(archive, name, file)
            with open(folder / name, "xb", opener=_for_us_alone) as out:
                shutil.copyfileobj(content, out, _PIECE_BYTES)
                out.flush()
                os.fsync(out.fileno())
            if _stored_file(folder / name) != stored:
                raise BackupRefused(f"{file} is damaged: {name} is not what was backed up")
    if (why := refusal(manifest.revision)) is not None:
        raise BackupRefused(f"cannot use {file} of hub {manifest.version}: {why}")
    checked(folder / DATABASE)
    return manifest


def _for_us_alone(path: str, flags: int) -> int:
    """Open a file that only the hub's user may read: it is moved into place with these permissions."""
    return os.open(path, flags, 0o600)


def _manifest(archive: tarfile.TarFile, file: Path) -> BackupManifest:
    try:
        text = _content(archive, MANIFEST, file).read(MANIFEST_BYTES)
        manifest = msgspec.json.decode(text, type=BackupManifest)
    except msgspec.DecodeError as error:
        raise BackupRefused(f"{file} is no backup of a hub: {MANIFEST}: {error}") from error
    if manifest.format > FORMAT:
        raise BackupRefused(f"{file} is of a newer hub ({manifest.version})")
    if DATABASE not in manifest.files or any(Path(name).name != name for name in manifest.files):
        raise BackupRefused(f"{file} is no backup of a hub: {MANIFEST} names other files")
    return manifest


def _content(archive: tarfile.TarFile, name: str, file: Path) -> IO[bytes]:
    try:
        content = archive.extractfile(name)
    except KeyError:
        content = None
    if content is None:
        raise BackupRefused(f"{file} is no backup of a hub: it has no {name}")
    return content


def sync_folder(folder: Path) -> None:
    """Flush *folder* to disk, so that created and removed entries survive a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def worded(error: OSError | sqlite3.Error) -> str:
    """Return the cause of *error* for an error message."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


RESTORED: Final = ".restored"
_LOGS = ("-wal", "-shm")  # files next to a SQLite database that was not closed


def restore(
    file: Path, state: Path, *, database: Path, at: int, unchanged: Collection[str] = ()
) -> tuple[BackupManifest, Path | None]:
    """Replace the state in the folder *state* with the backup *file*; the old state is copied first.

    An interruption is safe: the copy of the old database is complete before the restored one replaces it, in
    one atomic step.

    Args:
        database: path of the hub's database; the other files go into *state*.
        at: wall time, UTC epoch milliseconds; part of the name of the folder with the previous state.
        unchanged: names of files in *state* that stay; the file of the backup gets a name with ``RESTORED``.

    Returns:
        The backup's manifest, and the folder with the previous state, or None without one.

    Raises:
        Busy: a hub is running on the database.
        BackupRefused, Unavailable: the state is unchanged.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held_alone(database), unpacked(file, state) as (manifest, folder):
        try:
            others = manifest.files.keys() - {DATABASE}
            aside = _set_aside(state, database, others - {*unchanged}, at)
            with open(folder / HUB_ID, "w", encoding="utf-8", opener=_for_us_alone) as written:
                written.write(manifest.hub_id)
            for name in (*others, HUB_ID):
                _replace_file(
                    folder / name, state / (name + RESTORED if name in unchanged else name), owner=state
                )
            # The backed-up hub has stopped, so that its next start does not count as a crash.
            with closing(sqlite3.connect(folder / DATABASE)) as copy, copy:
                copy.execute("UPDATE nodes SET stopped_at = ? WHERE stopped_at IS NULL", (at,))
            _replace_file(folder / DATABASE, database, owner=state)
        except (OSError, sqlite3.Error) as error:
            raise DatabaseUnavailable(f"cannot restore to {state}: {worded(error)}") from error
    return manifest, aside


def remove_database(state: Path, database: Path, at: int) -> Path | None:
    """Move a database aside that no hub has open; see ``restore``.

    Returns:
        The folder where it is then, or None if there was none.

    Raises:
        BackupRefused, Unavailable: the state is unchanged.
    """
    try:
        aside = _set_aside(state, database, (), at)
        database.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot move {database} aside: {worded(error)}") from error
    return aside


def _set_aside(state: Path, database: Path, others: Iterable[str], at: int) -> Path | None:
    """Copy the files that will be replaced to a new folder, and merge SQLite's log into the database."""
    present = [path for path in (database, *(state / name for name in others)) if path.exists()]
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


def _replace_file(new: Path, place: Path, *, owner: Path) -> None:
    _own(new, owner)
    os.replace(new, place)
    sync_folder(place.parent)


def _own(path: Path, owner: Path) -> None:
    """Give the file the owner of the state folder if root runs the restore."""
    if os.geteuid() == 0:
        stat = owner.stat()
        os.chown(path, stat.st_uid, stat.st_gid)
