"""Checks of stored data and of the database: files, pages, backups, audit log, devices' stores."""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.clock import Clock, epoch_ms, from_epoch_ms, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import Rounds
from hub.base.roles import Scope
from hub.health.backups import sort_backups
from hub.health.issues import Check, Finding, Fix, error, notice, warning
from storage import audit
from storage.audit import AuditBreak, Checked, Link
from storage.devices import devices, nodes
from storage.devices.devices import DeviceRow
from storage.devices.nodes import LostLease, NodeRow
from storage.kernel import database
from storage.kernel.database import StorageError, Trouble
from storage.kernel.migrate import FIRST_PLACE, SHOWN, BrokenRow, Place, broken_from
from storage.kernel.sqlite import SqliteDatabase, SqliteFiles
from storage.runs import agreement
from storage.runs.agreement import StoreRow
from storage.store import Connection, ObservedDatabase, Store

WAL_BYTES: Final = 256 * 1024 * 1024  # the hub's own checkpoints keep the log far smaller
BACKUP_AGE: Final = timedelta(days=8)
AGREEMENT_REPORTED: Final = timedelta(days=1)  # for so long a restored agreement is reported
CHAIN_EVERY: Final = timedelta(days=1)
CHAIN_PARTS: Final = 20  # reads of 500 entries in one check, each in about 10 ms
ROWS_EVERY: Final = timedelta(hours=1)
ROWS_PAUSE: Final = 4


async def check_nodes(
    list_nodes: Callable[[], Awaitable[Iterable[NodeRow]]], now: datetime
) -> Iterable[Finding]:
    """Find nodes that ended without a stop, or do not reach the database."""
    return [
        warning(
            "node.dead",
            f"node {node.name or node.id} is dead: it ended without a word, or its database is out of reach",
            fix=f"start it; if it is gone for good: hub nodes rm {node.id[-6:]}",
            subject=node.id,
            fixes=(
                Fix(
                    "Remove the node",
                    f"hub nodes rm {node.id[-6:]}",
                    "DELETE",
                    f"/v1/nodes/{node.id}",
                    Scope.SYSTEM,
                    is_final=True,
                ),
            ),
        )
        for node in await list_nodes()
        if node.expires_at is None and node.stopped_at is None
    ]


async def check_wal(store: Store, now: datetime) -> Iterable[Finding]:
    """Find a SQLite write-ahead log that keeps growing because of a long read."""
    log_bytes = (await store.read(database.measure_size)).log
    if log_bytes < WAL_BYTES:
        return []
    explanation = f"{log_bytes // 1_000_000} MB were written that cannot be taken into the database file"
    fix = "end whatever else has the database open, as a shell or a copy that is under way"
    return [warning("database.wal", explanation, fix=fix)]


async def check_backup(store: Store, now: datetime) -> Iterable[Finding]:
    """Find a missing or old backup. A hub younger than BACKUP_AGE needs none yet."""
    made_at = await store.read(audit.last_backup_at)
    last = None if made_at is None else from_epoch_ms(made_at)
    if last is not None and timedelta() <= now - last <= BACKUP_AGE:
        return []
    everybody = await store.read(devices.list_users)
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


_CAUSES: Final[Mapping[str, str]] = {
    "store_older": "the file of device {name} is older than it was: it was restored",
    "store_replaced": "device {name} has another file than before: it was lost, or replaced",
    "hub_older": "device {name} has rows that this hub did not know: the hub was restored, or is a new one",
    "asked": "the rows of device {name} are compared on request",
    "first": "the rows of device {name} are compared for the first time",
}


async def check_agreements(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices whose rows differed from the ledger after a restore or a loss."""
    since = epoch_ms(now - AGREEMENT_REPORTED)
    rows = await store.read(agreement.differing_stores, agreed_since=since)
    found_devices = await store.read(devices.devices_of, [row.device_id for row in rows])
    names = {device.id: device for device in found_devices}
    found: list[Finding] = []
    for row in rows:
        device = names.get(row.device_id)
        if device is None:
            continue  # its row is broken, which is an issue of its own
        if device.revoked_at is None and (finding := _about_agreement(row, device, now)) is not None:
            found.append(finding)
    return found


def _about_agreement(row: StoreRow, device: DeviceRow, now: datetime) -> Finding | None:
    began_at = from_epoch_ms(row.began_at)
    why = _CAUSES[row.cause].format(name=device.name)
    counts = f"{row.sent} rows were sent again, {row.taken} learnt of, {row.refused} refused by the device"
    if row.agreed_at is None:
        if row.cause == "first" and row.problem is None:
            return None
        because = f"; the last try ended with: {row.problem}" if row.problem else ""
        explanation = f"{why}. Its runs wait until both agree: {counts}{because}"
        fix = f"let the device connect; if that does not end it: hub logs --device {device.name}"
        return warning(
            "device.past", explanation, fix=fix, subject=device.id, user_id=device.user_id, since=began_at
        )
    is_reported = (
        now - from_epoch_ms(row.agreed_at) <= AGREEMENT_REPORTED and row.sent + row.taken + row.refused
    )
    if row.cause in ("first", "asked") or not is_reported:
        return None
    fix = f"nothing, if you restored it; what was done: hub devices show {device.name}"
    explanation = f"{why}. Both agree again: {counts}"
    return notice(
        "device.past", explanation, fix=fix, subject=device.id, user_id=device.user_id, since=began_at
    )


def check_chain(store: Store) -> Check:
    """Return the check for a modified audit log.

    Each check reads at most CHAIN_PARTS parts: first the entries that were written since the last check, then
    some of the whole log. A pass over the whole log begins at the start of the hub and daily. After a restart
    it goes on where it was, so that a hub that restarts often comes to its end too. A check never goes on
    behind a break, so the break is found again by every check, until it is corrected.
    """
    progress: Checked | None = None

    async def check(now: datetime) -> Iterable[Finding]:
        nonlocal progress
        before = await store.read(audit.find_checked) if progress is None else progress
        newest, place, began_at = before.newest, before.place, before.began_at
        is_due = progress is None or not timedelta() <= now - from_epoch_ms(began_at) < CHAIN_EVERY
        if place is None and is_due:
            place, began_at = audit.START, epoch_ms(now)
        newest, left, broken, _ = await _checked(store, newest, CHAIN_PARTS)
        if place is not None and not broken:
            place, _, broken, is_whole = await _checked(store, place, left)
            place = None if is_whole else place
        progress = Checked(newest, place, began_at)
        if progress != before:
            await store.write(audit.note_checked, progress)
        return [
            error(
                "audit.broken",
                f"the audit log was changed: {found.what}",
                fix="'hub audit verify' shows all of it; find out who has had the database in hand",
            )
            for found in broken[:1]
        ]

    return check


async def _checked(store: Store, place: Link, parts: int) -> tuple[Link, int, list[AuditBreak], bool]:
    """Check up to *parts* parts of the chain behind *place*.

    Return the last entry without a break before it, the parts that are left, the breaks, and True at the end.
    """
    while parts > 0:
        part = await store.read(audit.check_part, place)
        parts -= 1
        if part.breaks:
            return place, parts, list(part.breaks), False
        place = part.end or place
        if part.is_last:
            return place, parts, [], True
    return place, parts, [], False


def check_rows(store: Store) -> Check:
    """Return the check for broken rows. All tables are searched from the start on and hourly, in parts.

    A search that takes many checks begins anew after ROWS_PAUSE times as long. While there are broken rows it
    begins anew at once, so that corrected rows are no issue any more.
    """
    place: Place | None = FIRST_PLACE
    began_at: datetime | None = None
    due_at: datetime | None = None
    known: list[BrokenRow] = []
    found: list[BrokenRow] = []

    async def check(now: datetime) -> Iterable[Finding]:
        nonlocal place, began_at, due_at, known, found
        if place is None and (known or due_at is None or now >= due_at):
            place, found, began_at = FIRST_PLACE, [], None
        began_at = began_at or now
        parts = 10  # and one for the end of each table
        while place is not None and parts > 0:
            rows, place = await store.read(broken_from, place, most=1_000)  # some 20 ms
            found += rows
            if place is None:
                known, due_at = found, now + max(ROWS_EVERY, ROWS_PAUSE * (now - began_at))
            elif place.after is not None:  # a table that goes on
                parts -= 1
        return map(_about_row, (known or found)[:SHOWN])

    return check


def _about_row(row: BrokenRow) -> Finding:
    return error(
        "row.broken",
        f"another program or a damaged disk broke a row, which the hub leaves out: {row}",
        fix="'hub migrate verify' lists all: correct the row with SQL, delete it, or restore a backup",
        subject=f"{row.table} {row.key}: {row.what}",
    )


log = Channel(__name__)

EVERY_S: Final = 5.0
WRITE_EVERY_S: Final = 15.0  # an idle hub writes, to learn whether it can
ANSWER_S: Final = 0.03  # of the 50 ms that a load balancer waits for readiness
FRESH_S: Final = 1.0  # its route is public: the database is asked at most this often
SILENT_S: Final = 2.0  # a write that has no answer for so long is an issue
VALID_S: Final = 30.0  # and for so long the hub takes work all the same, as on a busy machine
PAGES_EVERY_S: Final = 10.0
NAMED: Final = 5  # damaged tables
PAGES_REST: Final = 50  # times as long as all pages took to read: 2 % of one core at most


class DatabaseWatch:
    """Service that checks the database, whose jobs report errors too, and describes its condition.

    Attributes:
        on_change: called when a condition begins or ends.
    """

    def __init__(
        self,
        store: ObservedDatabase,
        write: Callable[[Connection], object],
        *,
        clock: Clock,
    ) -> None:
        """Create the service. *write*: a job that changes a page each time."""
        self.turns = Rounds(clock)
        self.on_change: Callable[[], None] = lambda: None
        self._store = store
        self._write = write
        self._clock = clock
        self._files = store.database.files if isinstance(store.database, SqliteDatabase) else None
        self._pages_at = self._write_at = clock.monotonic()
        self._answered_at = -math.inf  # monotonic time of the last write that was answered
        self._silent: tuple[float, datetime] | None = (
            None  # monotonic and wall time of the first that was not
        )
        self._more = ""  # about a lasting condition
        store.health.on_change = self._changed

    def _changed(self) -> None:
        if (condition := self._store.health.condition) is None:
            log.info("database.works")
        else:
            log.error("database.fails", trouble=condition.trouble, detail=str(condition.error))
            self.turns.wake()
        self.on_change()

    @property
    def finding(self) -> Finding | None:
        """The condition in which the database does not work; None: it works."""
        condition = self._store.health.condition
        if condition is None:
            return self._silence
        stopped = ": the hub writes no more, and starts no run" if condition.is_lasting else ""
        return error(
            f"database.{condition.trouble}",
            f"{condition.error}{self._more}{stopped}",
            fix=condition.error.hint,
            since=from_epoch_ms(condition.since_ms),
            is_stop=True,
        )

    @property
    def _silence(self) -> Finding | None:
        if self._silent is None or (asked_s := self._clock.monotonic() - self._silent[0]) < SILENT_S:
            return None
        return error(
            "database.silent",
            f"the database has not answered a write for {asked_s:.0f} s",
            fix="see whether its disk or server hangs: hub logs --level error; the hub continues by itself",
            since=self._silent[1],
            is_stop=asked_s >= VALID_S,
        )

    async def probe(self, within_s: float | None = None) -> None:
        """Write once, within the time of a load balancer, unless the database has answered just now.

        While there is no answer, ``finding`` says so.
        """
        health = self._store.health
        if health.condition is None and self._clock.monotonic() - self._answered_at >= FRESH_S:
            try:
                with anyio.move_on_after(within_s or ANSWER_S):
                    await self._ask(nodes.touch)
            except StorageError as exc:
                health.failed(exc, is_write=True)
            except LostLease:
                pass  # another service ends this process

    async def _ask(self, write: Callable[[Connection], object]) -> None:
        self._silent = self._silent or (self._clock.monotonic(), self._clock.now())
        await self._store.database.write(write)  # not through *store*: it is no news
        self._silent, self._answered_at = None, self._clock.monotonic()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check until cancelled."""
        task_status.started()
        await self.turns.serve(self.check, of="database", every_s=EVERY_S)

    async def check(self) -> None:
        """Check once; the results are the condition of the database."""
        health, files = self._store.health, self._files
        try:
            are_pages_read = files is None
            if files is not None:
                files.check()
                if health.condition is not None and health.condition.trouble == "replaced":
                    health.end_condition()  # the file was put back
                files.check_header()
                are_pages_read = await self._check_pages(files)
            condition = health.condition
            if condition is not None or self._clock.monotonic() >= self._write_at:
                self._write_at = self._clock.monotonic() + WRITE_EVERY_S
                health.check_writable()
                await self._ask(self._write)
                if condition is not None and (condition.is_of_write or are_pages_read):
                    health.end_condition()
        except StorageError as exc:
            health.failed(exc, is_write=True)
        except LostLease:
            pass  # another service ends this process
        if health.condition is None:
            self._more = ""
        elif health.condition.is_lasting and not self._more:
            self._more = await self._find_more(health.condition.trouble)

    async def _check_pages(self, files: SqliteFiles) -> bool:
        """Read all pages, if that is due. Return True if they could be read now."""
        began = self._clock.monotonic()
        condition = self._store.health.condition
        if began < self._pages_at or (condition is not None and condition.is_lasting):
            return False
        self.turns.wait()  # a large file takes its time, in a thread
        try:
            await anyio.to_thread.run_sync(files.check_pages)
        except StorageError as exc:
            self._store.health.failed(exc, is_write=False)
            return False
        finally:
            ended = self._clock.monotonic()
            self._pages_at = ended + max(PAGES_EVERY_S, PAGES_REST * (ended - began))
        return True

    async def _find_more(self, trouble: Trouble) -> str:
        """Save the data if a file was replaced, else name the damaged tables. Return words about it."""
        database = self._store.database
        if not isinstance(database, SqliteDatabase) or database.files is None:
            return ""
        file = database.files.path
        if trouble == "damaged":
            tables = await anyio.to_thread.run_sync(database.files.damaged_tables)
            return f"; tables: {', '.join(tables[:NAMED])}" if tables else ""
        copy = file.with_name(f"{file.name}.saved-{now_ms(self._clock)}")
        try:
            saved = copy if await database.save_replaced(copy) else file
        except (StorageError, OSError) as exc:
            log.error("database.not_saved", exc=exc)
            return ""
        log.warning("database.saved", file=str(saved))
        return f"; what it had is in {saved}"
