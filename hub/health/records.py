"""Checks of stored data: write-ahead log, backups, audit log, and agreement with the devices' stores."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hub.api.door.roles import Scope
from hub.clock import epoch_ms, from_epoch_ms
from hub.health.issues import Check, Finding, Fix, error, notice, warning
from storage import audit
from storage.audit import Break, Checked, Link
from storage.devices import devices, nodes
from storage.devices.devices import DeviceRow
from storage.kernel import database
from storage.kernel.migrate import FIRST_PLACE, SHOWN, BrokenRow, Place, broken_from
from storage.runs import agreement
from storage.runs.agreement import StoreRow
from storage.store import Store

MOST_NODES: Final = 1_000
WAL_BYTES: Final = 256 * 1024 * 1024  # the hub's own checkpoints keep the log far smaller
BACKUP_AGE: Final = timedelta(days=8)
AGREEMENT_REPORTED: Final = timedelta(days=1)  # for so long a restored agreement is reported
CHAIN_EVERY: Final = timedelta(days=1)
CHAIN_PARTS: Final = 20  # reads of 500 entries in one check, each in about 10 ms
ROWS_EVERY: Final = timedelta(hours=1)
ROWS_OF_PART: Final = 1_000  # searched in one read, in about 20 ms
FULL_PARTS: Final = 10  # such reads in one check, and one for the end of each table
ROWS_PAUSE: Final = 4


async def check_nodes(store: Store, now: datetime) -> Iterable[Finding]:
    """Find nodes that ended without a stop, or do not reach the database."""
    if not store.is_shared:
        return []
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
        for node in await store.read(nodes.list_nodes, limit=MOST_NODES)
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
        return map(_about_break, broken[:1])

    return check


async def _checked(store: Store, place: Link, parts: int) -> tuple[Link, int, list[Break], bool]:
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


def _about_break(found: Break) -> Finding:
    return error(
        "audit.broken",
        f"the audit log was changed: {found.what}",
        fix="'hub audit verify' shows all of it; find out who has had the database in hand",
    )


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
        parts = FULL_PARTS
        while place is not None and parts > 0:
            rows, place = await store.read(broken_from, place, most=ROWS_OF_PART)
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
