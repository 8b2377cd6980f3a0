"""Verification of the audit log's hash chain and of stored rows, in small parts.

The hash chain of the audit log is verified in parts, and rows that another program broke are found.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.health.issues import Check, Finding, error
from storage import audit
from storage.audit import AuditBreak, ChainProgress, Link
from storage.kernel.migrate import FIRST_PLACE, SHOWN, BrokenRow, SearchPosition, broken_from
from storage.store import Store

CHAIN_EVERY: Final = timedelta(days=1)


CHAIN_PARTS: Final = 20  # reads of 500 entries in one check, each in about 10 ms


def check_chain(store: Store) -> Check:
    """Return the check for a modified audit log.

    Each check reads at most CHAIN_PARTS parts: first the entries that were written since the last check, then
    some of the whole log. A pass over the whole log begins at the start of the hub and daily. After a restart
    it goes on where it was, so that a hub that restarts often comes to its end too. A check never goes on
    behind a break, so the break is found again by every check, until it is corrected.
    """
    progress: ChainProgress | None = None

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
        progress = ChainProgress(newest, place, began_at)
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


ROWS_EVERY: Final = timedelta(hours=1)


ROWS_PAUSE: Final = 4


def check_rows(store: Store) -> Check:
    """Return the check for broken rows. All tables are searched from the start on and hourly, in parts.

    A search that takes many checks begins anew after ROWS_PAUSE times as long. While there are broken rows it
    begins anew at once, so that corrected rows are no issue any more.
    """
    place: SearchPosition | None = FIRST_PLACE
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
