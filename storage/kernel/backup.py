"""A hub's state in one file: made while it runs, checked before it is believed.

The file is a tar archive: ``manifest.json`` first, then the database as one compact copy,
and the small files that go with it. Whatever interrupts a backup, the file is not there,
or is there and whole.
"""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from storage.audit.audit import Entry, append_entry
from storage.kernel.database import Unavailable, translated
from storage.kernel.migrate import revisions

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "hub.db"
MANIFEST_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_UNREADABLE: Final = {  # what a sound file answers too
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_AUTH,
}


class BackupRefused(HubError):
    """A backup cannot be made, is damaged, or does not fit; nothing was changed."""

    code = ErrorCode.BACKUP_REFUSED


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    Attributes:
        made_at: wall time, UTC epoch milliseconds.
        version: of the hub that made it; *revision*: of its tables.
        files: by their names.
    """

    format: Annotated[int, msgspec.Meta(ge=1)]
    made_at: int
    version: str
    revision: str
    hub_id: str
    files: dict[str, Kept]


def make(target: Path, *, database: Path, others: Mapping[str, bytes], at: int, version: str) -> Manifest:
    """Back up the database, whether a hub has it open or not, to the new file *target*.

    Args:
        others: small files that go along, by their names.

    Raises:
        BackupRefused: *target* is there already, or the copy is not sound.
        Unavailable: the database cannot be read, or *target* cannot be written; it is not there.
    """
    if target.exists():
        raise BackupRefused(f"{target} is there already, and was left as it is")
    if not database.is_file():
        raise Unavailable(f"there is no database {database}")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            folder = Path(name)
            copy = folder / DATABASE
            _copy(database, copy)
            hub_id, revision = checked(copy)
            for other, content in others.items():
                (folder / other).write_bytes(content)
            manifest = Manifest(
                format=FORMAT,
                made_at=at,
                version=version,
                revision=revision,
                hub_id=hub_id,
                files={file: _kept(folder / file) for file in (DATABASE, *others)},
            )
            packed = folder / "packed"
            _pack(packed, folder, manifest)
            os.link(packed, target)  # unlike a rename it replaces nothing
        sync_folder(target.parent)
    except FileExistsError as error:
        raise BackupRefused(f"{target} is there already, and was left as it is") from error
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"cannot back up to {target}: {_told(error)}") from error
    return manifest


def note(database: Path, entry: Entry) -> None:
    """Write into the audit log of *database* that it was backed up; a hub may have it open.

    Raises:
        Busy, Unavailable: it was not written.
    """
    engine = sa.create_engine(f"sqlite:///{database}", poolclass=sa.NullPool, connect_args={"timeout": 30.0})
    sa.event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as c:
            append_entry(c, entry)
    except sa.exc.DBAPIError as error:
        if (ours := translated(error)) is error:
            raise
        raise ours from error


def verify(file: Path) -> Manifest:
    """Check all of a backup: every byte of it against the manifest, and the database inside.

    Raises:
        BackupRefused: it is no backup, or is damaged; told where.
        Unavailable: it cannot be read, or there is no room to unpack it.
    """
    with unpacked(file) as (manifest, _):
        return manifest


@contextmanager
def unpacked(file: Path, folder: Path | None = None) -> Iterator[tuple[Manifest, Path]]:
    """The files of a backup that was checked, in a folder that is gone afterwards.

    Args:
        folder: where to make that folder; the system's for temporary files by default.

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
            raise Unavailable(f"cannot read the backup {file}: {_told(error)}") from error
        yield manifest, Path(name)


def _copy(database: Path, copy: Path) -> None:
    # mode=rw makes no database where none is; a statement of ours is all that is written, to the copy.
    with closing(
        sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)
    ) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)


def checked(database: Path) -> tuple[str, str]:
    """The id of the hub and the revision of its tables, once the whole file is found sound.

    Raises:
        BackupRefused: it is damaged; told how.
        Unavailable: it cannot be read, so nobody knows.
    """
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = [row[0] for row in opened.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise BackupRefused(f"the database is damaged: {'; '.join(found)}")
            if opened.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise BackupRefused("the database is damaged: rows refer to nothing")
            (hub_id,) = opened.execute("SELECT value FROM hub WHERE key = 'hub_id'").fetchone() or ("",)
            (revision,) = opened.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _UNREADABLE:
            raise Unavailable(f"cannot read the database {database}: {error}") from error
        raise BackupRefused(f"the database is damaged: {error}") from error
    return hub_id, revision


def _kept(file: Path) -> Kept:
    with file.open("rb") as opened:
        return Kept(bytes=file.stat().st_size, sha256=hashlib.file_digest(opened, "sha256").hexdigest())


def _pack(packed: Path, folder: Path, manifest: Manifest) -> None:
    with packed.open("xb") as out:
        packed.chmod(0o600)
        with tarfile.open(fileobj=out, mode="w") as archive:
            told = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            archive.addfile(_member(MANIFEST, len(told), manifest.made_at), BytesIO(told))
            for name, kept in manifest.files.items():
                with (folder / name).open("rb") as content:
                    archive.addfile(_member(name, kept.bytes, manifest.made_at), content)
        out.flush()
        os.fsync(out.fileno())


def _member(name: str, size: int, at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, at // 1000
    return member


def _unpack(file: Path, folder: Path) -> Manifest:
    with tarfile.open(file, "r:") as archive:
        manifest = _manifest(archive, file)
        for name, kept in manifest.files.items():
            content = _content(archive, name, file)
            with open(folder / name, "xb", opener=_for_us_alone) as out:
                shutil.copyfileobj(content, out, _PIECE_BYTES)
                out.flush()
                os.fsync(out.fileno())
            if _kept(folder / name) != kept:
                raise BackupRefused(f"{file} is damaged: {name} is not what was backed up")
    if manifest.revision not in revisions():
        raise BackupRefused(
            f"{file} is of a newer hub ({manifest.version}, tables of revision {manifest.revision})"
        )
    checked(folder / DATABASE)
    return manifest


def _for_us_alone(path: str, flags: int) -> int:
    """Opens what is restored, and put into its place as it is here."""
    return os.open(path, flags, 0o600)


def _manifest(archive: tarfile.TarFile, file: Path) -> Manifest:
    try:
        text = _content(archive, MANIFEST, file).read(MANIFEST_BYTES)
        manifest = msgspec.json.decode(text, type=Manifest)
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
    """What was put into *folder*, or taken out of it, is so after a power failure too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
