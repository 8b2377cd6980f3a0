"""What is kept: the database's log file, backups, and whether the audit log was changed."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hub.clock import from_epoch_ms
from hub.ops.issues import Check, Finding, error, notice, warning
from storage.store import Store, audit, size, users

WAL_BYTES: Final = 256 * 1024 * 1024  # the hub's own checkpoints keep it far below
BACKUP_AGE: Final = timedelta(days=8)
CHAIN_EVERY: Final = timedelta(days=1)


def check_wal(store: Store) -> Check:
    """Whether the write-ahead log of a SQLite file grows without end: somebody reads for hours."""

    async def look(now: datetime) -> Iterable[Finding]:
        log_bytes = (await store.read(size.measure)).log
        if log_bytes < WAL_BYTES:
            return []
        told = f"{log_bytes // 1_000_000} MB were written that cannot be taken into the database file"
        fix = "end whatever else has the database open, as a shell or a copy that is under way"
        return [warning("database.wal", told, fix=fix)]

    return look


def check_backup(store: Store) -> Check:
    """Whether there is a backup that is not too old. A hub that is younger than that needs none yet."""

    async def look(now: datetime) -> Iterable[Finding]:
        made = await store.read(audit.list_entries, limit=1, event="backup.made")
        last = from_epoch_ms(made[0].at) if made else None
        if last is not None and now - last <= BACKUP_AGE:
            return []
        everybody = await store.read(users.list_users)
        first_at = min((from_epoch_ms(user.created_at) for user in everybody), default=now)
        if now - first_at <= BACKUP_AGE:
            return []
        told = "there is no backup" if last is None else f"the last backup is of {last:%Y-%m-%d}"
        return [
            notice(
                "backup.old",
                f"{told}: what the disk loses is lost",
                fix="hub backup FILE, on another disk; and let something do that every day",
                since=(last or first_at) + BACKUP_AGE,
            )
        ]

    return look


def check_chain(store: Store) -> Check:
    """Whether somebody changed the audit log; looked at in full once a day."""
    looked_at: datetime | None = None
    known: list[Finding] = []

    async def look(now: datetime) -> Iterable[Finding]:
        nonlocal looked_at, known
        if looked_at is None or now - looked_at >= CHAIN_EVERY:
            known, looked_at = await _broken(store), now
        return known

    return look


async def _broken(store: Store) -> list[Finding]:
    part = await store.read(audit.check_part)
    while not part.breaks and not part.is_last:
        part = await store.read(audit.check_part, part.end)
    return [
        error(
            "audit.broken",
            f"the audit log was changed: {found.what}",
            fix="'hub audit verify' shows all of it; find out who has had the database in hand",
        )
        for found in part.breaks[:1]
    ]
