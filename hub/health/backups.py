"""Daily backups: when they are made, which are kept, and issues about them.

The newest backup of each recent day and week is kept. These backups are on the same disk as the database:
``hub backup FILE`` writes one elsewhere.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.base.printable import shell_word
from hub.base.toml.limits import BackupSettings
from hub.base.version import VERSION
from hub.health.issues import Finding, notice
from protocol.errors import HubError
from storage import audit
from storage.devices import users
from storage.kernel import backup, identity
from storage.kernel.address import SERVER
from storage.kernel.backup import BackupManifest, BackupRefused
from storage.kernel.database import StorageError, file_of
from storage.kernel.verify import schema_version_of
from storage.store import Connection, Store

log = Channel(__name__)

FOLDER: Final = "backups"
SUFFIX: Final = ".hub-backup"
ALONG: Final = ("node_id", "last-good.toml")  # small files of the state folder, as far as they are there
DAILY: Final = timedelta(hours=24)
FIRST_AFTER_S: Final = 600.0  # a hub that starts has other things to do
CHECK_EVERY_S: Final = 3_600.0
_NAMED: Final = "%Y%m%dT%H%M%SZ"


class Made(NamedTuple):
    """Completed backup. *sha256* is the digest of the file."""

    path: Path
    manifest: BackupManifest
    size_bytes: int
    sha256: str


class Backups:
    """Service that makes backups, one at a time.

    Args:
        database: the database file, or None if the database is not a file of this hub.

    Attributes:
        keep: retention; may be changed at any time.
    """

    def __init__(
        self,
        store: Store,
        state: Path,
        database: Path | None,
        *,
        clock: Clock,
        keep: BackupSettings | None = None,
    ) -> None:
        self.keep = keep or BackupSettings()
        self.loop = LoopReports(clock)
        self._store = store
        self._folder = state / FOLDER
        self._along = [state / name for name in ALONG]
        self._database = database
        self._clock = clock
        self._one_at_a_time = anyio.Lock()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Make one backup a day until cancelled."""
        task_status.started()
        wait_s = FIRST_AFTER_S
        while True:
            self.loop.wait(wait_s)
            await self._clock.sleep(wait_s)
            wait_s = CHECK_EVERY_S
            self.loop.wait()  # a large database takes its time, in a thread
            try:
                if await self._is_due():
                    await self.make(actor="hub")
            except (HubError, OSError) as exc:
                log.error("backup.failed", exc=exc)  # tried again with the next look

    async def make(self, *, actor: str) -> Made:
        """Make a backup now, and remove expired ones. The hub continues to work meanwhile.

        Raises:
            BackupRefused: there is no file to back up, or it is damaged.
            Unavailable: there is no room.
        """
        database = self._database
        if database is None:
            raise BackupRefused("the database is not a file of this hub; back it up where it is (pg_dump)")
        async with self._one_at_a_time:
            now = self._clock.now()
            target = _free_name(self._folder, now)
            made = await anyio.to_thread.run_sync(
                partial(_make, target, database, epoch_ms(now), self._along)
            )
            own, _ = await sort_backups(self._store, self._folder)
            for old in superfluous(own, keep=self.keep, now=now):
                old.unlink(missing_ok=True)
        broken = made.manifest.has_broken_rows
        log.info("backup.made", file=target.name, size_bytes=made.size_bytes, has_broken_rows=broken)
        await self._store.write(audit.append_entry, entry_of(made, actor=actor))
        return made

    async def keep_saved(self, file: Path) -> Path:
        """Make a backup of a database that lost its name, and delete *file*. Return where its data is.

        Raises:
            BackupRefused, Unavailable: *file* stays, because it is damaged, or there is no room.
        """
        now = self._clock.now()
        target = _free_name(self._folder, now)
        await anyio.to_thread.run_sync(partial(_make, target, file, epoch_ms(now), self._along))
        await anyio.to_thread.run_sync(file.unlink)
        return target

    async def way_to_restore(self) -> str:
        """Return the commands that replace the database; see the function."""
        return await way_to_restore(self._folder.parent)

    async def _is_due(self) -> bool:
        own, _ = await sort_backups(self._store, self._folder)
        now, made = self._clock.now(), filter(None, map(made_when, own))
        newest = max((when for when in made if when <= now), default=None)
        is_old = newest is None or now - newest >= DAILY
        return self.keep.daily and self._database is not None and is_old


async def sort_backups(store: Store, folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the backups in a folder that its database continues, and the others, each newest first.

    The others are of another hub or of days that the database does not know, or damaged.
    """
    manifests = await anyio.to_thread.run_sync(manifests_in, folder)

    def find_own(c: Connection) -> list[Path]:
        hub_id = identity.find_hub_id(c)
        return [
            file
            for file, manifest in manifests.items()
            if manifest is not None
            and manifest.hub_id == hub_id
            and audit.continues(c, manifest.audit_seq, manifest.audit_hash)
        ]

    own = await store.read(find_own)
    return own, [file for file in manifests if file not in own]


def manifests_in(folder: Path) -> dict[Path, BackupManifest | None]:
    """Return the manifests of the backups in a folder, the newest first by their names; None: damaged."""
    files = sorted(folder.glob(f"*{SUFFIX}"), reverse=True)
    return {file: backup.read_manifest(file) for file in files}


async def find_restorable(state: Path) -> Path | None:
    """Return the newest good backup in a state folder of the hub that the folder belongs to, or None."""
    manifests = await anyio.to_thread.run_sync(manifests_in, state / FOLDER)
    known = hubs_of(state, manifests)
    of_hub = [file for file, manifest in manifests.items() if manifest and manifest.hub_id in known]
    return await anyio.to_thread.run_sync(lambda: next(filter(_is_good, of_hub), None))


async def way_to_restore(state: Path) -> str:
    """Return the commands that replace a lost database, for a hub that has stopped."""
    newest = await find_restorable(state)
    anew = "begin anew, without its data: hub restore --anew"
    if newest is None:
        return f"restore a backup from where you keep some: hub restore FILE; or {anew}"
    return f"restore the newest backup: hub restore {shell_word(newest)}; or {anew}"


def hubs_of(state: Path, manifests: Mapping[Path, BackupManifest | None]) -> set[str]:
    """Return the ids of the hubs to which a state folder belongs: of its last use, else of its backups."""
    saved = {manifest.hub_id for manifest in manifests.values() if manifest}
    return {read_hub_id(state)} - {""} or saved - {""}


def read_hub_id(state: Path) -> str:
    """Return the id of the hub that used a state folder last, or an empty string."""
    with suppress(FileNotFoundError):
        return (state / backup.HUB_ID).read_text("utf-8", "replace").strip()
    return ""


def _is_good(file: Path) -> bool:
    with suppress(BackupRefused, StorageError):
        backup.verify(file)
        return True
    return False


async def backup_before_upgrade(url: str, *, state: Path, clock: Clock) -> Made | None:
    """Back up the database at *url* if it is a file with tables of an older release.

    The file lies with the daily backups of the state folder.

    Raises:
        BackupRefused, Unavailable: see ``Backups.make``; nothing was upgraded.
    """
    version = await schema_version_of(url, base=state)
    if version.current is None or not version.missing:
        return None
    database = None if url.startswith(SERVER) else file_of(url, state)
    if database is None:
        return None
    now = clock.now()
    target = _free_name(state / FOLDER, now)
    along = [state / name for name in ALONG]
    made = await anyio.to_thread.run_sync(partial(_make, target, database, epoch_ms(now), along))
    log.warning(
        "database.upgrading",
        revision=version.current,
        missing=list(version.missing),
        backup=str(made.path),
    )
    return made


def _free_name(folder: Path, now: datetime) -> Path:
    """Return the name of a backup of this time, which is that of a later second if it is taken."""
    while (target := folder / f"{now.astimezone(UTC):{_NAMED}}{SUFFIX}").exists():
        now += timedelta(seconds=1)
    return target


def _make(target: Path, database: Path, at: int, along: Iterable[Path]) -> Made:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    others = files_along(along)
    manifest = backup.make(target, database=database, others=others, at=at, version=VERSION)
    return made_at(target, manifest)


def made_at(path: Path, manifest: BackupManifest) -> Made:
    """Return the description of the backup at *path*."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Made(path, manifest, path.stat().st_size, digest)


def entry_of(made: Made, *, actor: str) -> audit.AuditEntry:
    """Return the audit entry of a backup."""
    return audit.AuditEntry(
        at=made.manifest.made_at,
        actor=actor,
        event="backup.made",
        subject=made.path.name,
        detail={"sha256": made.sha256, "size_bytes": made.size_bytes},
    )


def files_along(files: Iterable[Path]) -> dict[str, bytes]:
    """Return the contents of those *files* that exist, by name."""
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def superfluous(files: Collection[Path], *, keep: BackupSettings, now: datetime) -> set[Path]:
    """Return the backups that need not be kept, ignoring files with other names.

    Those that a clock ahead has named later than *now* count as the oldest.
    """
    ours = {file: when for file in files if (when := made_when(file)) is not None}
    newest_first = sorted(ours, key=lambda file: (ours[file] <= now, ours[file]), reverse=True)
    by_day: dict[object, Path] = {}
    by_week: dict[object, Path] = {}
    for file in newest_first:
        by_day.setdefault(ours[file].date(), file)
        by_week.setdefault(ours[file].isocalendar()[:2], file)
    retained = {*list(by_day.values())[: keep.keep_days], *list(by_week.values())[: keep.keep_weeks]}
    return set(newest_first[1:]) - retained


def made_when(file: Path) -> datetime | None:
    """Return when a backup was made according to its name, or None if it is not a backup's name."""
    try:
        return datetime.strptime(file.name.removesuffix(SUFFIX), _NAMED).replace(tzinfo=UTC)
    except ValueError:
        return None


BACKUP_AGE: Final = timedelta(days=8)


async def check_backup(store: Store, now: datetime) -> Iterable[Finding]:
    """Find a missing or old backup. A hub younger than BACKUP_AGE needs none yet."""
    made_at = await store.read(audit.last_backup_at)
    last = None if made_at is None else from_epoch_ms(made_at)
    if last is not None and timedelta() <= now - last <= BACKUP_AGE:
        return []
    everybody = await store.read(users.list_users)
    first_at = min((from_epoch_ms(user.created_at) for user in everybody), default=now)
    if now - first_at <= BACKUP_AGE:
        return []
    explanation = "there is no backup" if last is None else f"the last backup is of {last:%Y-%m-%d}"
    make = "pg_dump, then hub backup --record FILE" if store.is_shared else "hub backup FILE, on another disk"
    return [
        notice(
            "backup.old",
            f"{explanation}: what the disk loses is lost",
            fix=f"{make}; and let something do that every day",
            since=(last or first_at) + BACKUP_AGE,
        )
    ]


async def check_other_backups(store: Store, folder: Path, now: datetime) -> Iterable[Finding]:
    """Find backups that the database does not continue: no rule for old backups deletes them."""
    _, others = await sort_backups(store, folder)
    if not others:
        return []
    size_mb = sum(file.stat().st_size for file in others if file.exists()) / 1_000_000
    explanation = (
        f"{len(others)} backups ({size_mb:,.1f} MB) in {folder} are damaged, of another hub, or of days that"
        f" the database does not know; they stay, the newest is {others[0].name}"
    )
    fix = "go on from one: hub restore FILE; or move them to another disk, or delete them"
    return [notice("backup.other", explanation, fix=fix)]
