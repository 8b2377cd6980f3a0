"""Items in a device's file as review and export show them. All functions block."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote as quoted_for_url

import msgspec

from hub.base.clock import from_epoch_ms
from hub.base.dates import dates_as_texts, rfc3339
from hub.device import declared_tables, owner_requests, proposals, rows, verdicts
from hub.device.device_file import BUSY_TIMEOUT_S, DeviceFileError, check_file, connect_shared, has_tables
from hub.device.proposals import Proposal
from hub.device.schema import quoted
from hub.device.sinks.reports import Destination, destinations
from hub.device.sources import Sources, SourceState
from hub.device.titled_rows import titles_of_referred
from hub.device.verdicts import Remarks, Review
from hub.text.excerpt import Excerpt
from hub.text.rows.same_things import MAX_COMPARED, Thing, author_of, others_in, same_things
from protocol.calls import RowState
from protocol.coordination import Method
from protocol.frame import Record
from protocol.items import with_missing
from protocol.tables import TABLES, DeviceTable, ExportedItem, ExportedPlace, Tables

# The source of a change is that of its call, if it has a quote, as of an item in ``_item``.
_WAITING: Final = """
SELECT number, row.{title}, calls.source_path FROM reviews
JOIN {table} AS row ON row.id = reviews.row_id
LEFT JOIN proposals USING (tbl, row_id)
LEFT JOIN calls AS proposed ON proposed.call_id = proposals.call_id AND proposed.quote IS NOT NULL
    AND NOT is_rejected
JOIN calls ON calls.call_id = coalesce(proposed.call_id, reviews.call_id)
WHERE reviews.tbl = ? AND (NOT row."isApproved" OR NOT is_rejected)
AND NOT EXISTS (SELECT 1 FROM json_each(calls.remarks, '$.warnings') WHERE value = 'apart')
"""


_MAX_TITLES: Final = 3  # of a notification


class Repeat(msgspec.Struct, frozen=True):
    """Waiting item that is the same thing as another one."""

    number: int
    label: str
    path: str
    line: int | None


class DeviceItem(msgspec.Struct, frozen=True, kw_only=True):
    """Inserted row with its source and its owner's verdict.

    Attributes:
        declaration: of its table.
        data: columns with a value, without id and time stamps, as on the wire.
        quote: ``text[start:end]`` of the file at *source_path*, if the hub sent it.
        at: when its newest content was received, aware UTC.
        number: permanent number of the item.
        label: the item's number; after a change, with a point and the revision.
        remarks: notes for the reviewer.
        proposal: a pending change that waits for the owner. Source, quote and remarks are then those of the
            change, if it has a quote.
        belongs_to: titles of the rows that this row refers to, by column.
        source_state: for a suggestion, how its source file has changed, if this machine can tell.
        source_candidates: files that its source may be now; *source_path* follows a single one.
        goes_to: the places of the approved row outside of the device's file.
        also: other waiting items that are the same thing.
        below: number of the one of them that lists show in its place, if they have that; None: itself.
    """

    number: int
    label: str
    declaration: DeviceTable
    table: str
    row_id: str
    title: str
    data: Record
    source_path: str | None
    quote: str | None
    start: int | None
    end: int | None
    at: datetime
    verdict: RowState
    remarks: Remarks
    proposal: Proposal | None = None
    belongs_to: dict[str, str] = {}
    source_state: SourceState | None = None
    source_candidates: list[str] = []
    goes_to: list[Destination] = []
    also: list[Repeat] = []
    below: int | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """Marks, with which no item is approved together with others."""
        return with_missing(self.remarks.warnings, is_missing=self.source_state is not None)


class OthersProposal(msgspec.Struct, frozen=True):
    """Verdict that another caller proposes at the hub for the item of a row, as ``ProposalView`` has it."""

    row_id: str
    verdict: Literal["approve", "edit", "reject"]
    why: str
    by: str
    created_at: datetime
    data: dict[str, Any] = {}
    unsupported: tuple[str, ...] = ()


def proposed_by_others(path: Path) -> dict[str, list[OthersProposal]]:
    """Return what others propose at the hub, by row; nothing while the device is not connected."""
    try:
        listed = owner_requests.ask_hub(
            path.with_suffix(owner_requests.SUFFIX), Method.PROPOSALS_LIST, {}
        ).result
        proposed = msgspec.convert(listed.get("proposals", []), list[OthersProposal])
    except (OSError, AttributeError, msgspec.ValidationError):  # some systems have no such sockets
        return {}
    by_row: dict[str, list[OthersProposal]] = {}
    for proposal in proposed:
        by_row.setdefault(proposal.row_id, []).append(proposal)
    return by_row


def read_items(path: Path) -> list[DeviceItem]:
    """Return the inserted rows that still exist, the oldest first; empty without a file or rows.

    May run while a device serves the file.

    Raises:
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    with _opened(path) as db:
        if db is None:
            return []
        found = sorted(verdicts.reviews(db), key=lambda review: review.number)
        sources, places = sources_of(db), destinations(db)
        items = [_item(db, sources, places, review, review.row) for review in found if review.row is not None]
        return _with_repeats(items)


def _with_repeats(items: Sequence[DeviceItem]) -> list[DeviceItem]:
    """Return items, each with those of the newest waiting ones that are the same thing."""
    waiting = {str(item.number): item for item in items if waits(item)}
    newest = list(islice(reversed(waiting.values()), MAX_COMPARED))
    groups = same_things(map(_thing, newest))
    others = others_in(groups)
    below = {thing.id: int(group[0].id) for group in groups for thing in group[1:]}
    return [
        msgspec.structs.replace(
            item,
            also=[_repeat(waiting[other.id]) for other in others.get(str(item.number), ())],
            below=below.get(str(item.number)),
        )
        for item in items
    ]


def _repeat(item: DeviceItem) -> Repeat:
    return Repeat(item.number, item.label, item.source_path or "", item.remarks.line)


def _thing(item: DeviceItem) -> Thing:
    return Thing(
        id=str(item.number),
        owner="",
        table=item.declaration,
        data=item.data,
        path=item.source_path or "",
        timezone=item.remarks.timezone,
        by=author_of(item.remarks.provenance),
        is_marked=bool(item.marks) or item.proposal is not None or item.source_path is None,
    )


def without_repeats(items: Iterable[DeviceItem]) -> list[DeviceItem]:
    """Return items without those that are shown with another one of them."""
    items = list(items)
    numbers = {item.number for item in items}
    return [item for item in items if item.below not in numbers]


def shown_repeats(items: Iterable[DeviceItem], number: int, also: Collection[str]) -> list[DeviceItem]:
    """Return those of *also*, by labels that the owner saw, that are the same thing as the item *number*."""
    by_number = {item.number: item for item in items}
    if number not in by_number:
        return []
    return [by_number[other.number] for other in by_number[number].also if other.label in also]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Yield a connection that only reads a device's file; None without a file or tables."""

    url = f"file:{quoted_for_url(str(path.absolute()))}?mode=ro"
    try:
        if not path.exists():
            yield None
            return
        with closing(sqlite3.connect(url, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
            db.row_factory = sqlite3.Row
            if db.execute("SELECT 1 FROM sqlite_schema").fetchone() is None:
                yield None  # a device is just creating it
                return
            check_file(db, path)
            if not has_tables(db):  # a file of an older release
                with connect_shared(path):
                    pass
            yield db
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


class WaitingItems(NamedTuple):
    """Items that wait for the owner, counted without those that agents list apart.

    Attributes:
        items: number of suggested items and changes.
        files: number of files of shared folders that they are from.
        others: number of other sources, as mails.
        titles: of the newest items.
    """

    items: int
    files: int
    others: int
    titles: Sequence[str]


def count_waiting(path: Path) -> WaitingItems:
    """Count the items that wait, without opening their files. Raises DeviceFileError."""
    found: list[tuple[int, str, str | None]] = []
    with _opened(path) as db:
        if db is None:
            return WaitingItems(0, 0, 0, ())
        roots = {name for (name,) in db.execute("SELECT name FROM roots")}
        for table in declared_tables.tables_of(db).values():
            waiting = _WAITING.format(title=quoted(table.title), table=quoted(table.name))
            found.extend(map(tuple, db.execute(waiting, (table.name,))))
    sources = {source for _, _, source in found if source is not None}
    files = sum(source.partition("/")[0] in roots for source in sources)
    newest = nlargest(_MAX_TITLES, found)
    return WaitingItems(len(found), files, len(sources) - files, [title for _, title, _ in newest])


_EXPORTED: Final = """
SELECT own.*, reviews.written AS "_written", calls.agent_id AS "_agent", calls.run_id AS "_run",
calls.source_path AS "_path", calls.quote AS "_quote", calls.remarks AS "_remarks"
FROM {table} AS own LEFT JOIN reviews ON reviews.tbl = ?1 AND reviews.row_id = own.id
LEFT JOIN calls ON calls.call_id = reviews.call_id
WHERE own."createdAt" >= ?2 AND (?3 IS NULL OR own."isApproved" = ?3) ORDER BY own.rowid"""


@contextmanager
def exported(
    path: Path, *, table: str | None = None, since: int = 0, is_approved: bool | None = None
) -> Iterator[tuple[Tables, Iterator[ExportedItem]]]:
    """Yield the tables of a device's file, and its rows one by one, also those that its owner wrote.

    Args:
        table: only rows of this table; *since*: only those from then on, epoch milliseconds.

    Raises:
        DeviceFileError: see ``read_items``.
    """
    with _opened(path) as db:
        if db is None:
            yield TABLES, iter(())
            return
        tables = declared_tables.tables_of(db)
        chosen = [declared for name, declared in tables.items() if table in (None, name)]
        approved = None if is_approved is None else int(is_approved)
        yield tables, _exported_rows(db, chosen, (since, approved), destinations(db))


def _exported_rows(
    db: sqlite3.Connection,
    tables: Iterable[DeviceTable],
    limits: tuple[int, int | None],
    places: Mapping[tuple[str, str], list[Destination]],
) -> Iterator[ExportedItem]:
    """Yield the rows of some tables. *limits*: earliest time; 1 or 0: approved or not."""
    for table in tables:
        statement = _EXPORTED.format(table=quoted(table.name))
        for row in db.execute(statement, (str(table.name), *limits)):
            yield _exported(table, row, places.get((table.name, row["id"]), ()))


def _exported(table: DeviceTable, row: sqlite3.Row, places: Iterable[Destination]) -> ExportedItem:
    stored = {column.name: row[column.name] for column in table.columns}
    record = rows.on_the_wire(table, stored)
    remarks = verdicts.read_remarks(row["_remarks"])
    data = {column.name: value for column in table.fields if (value := record[column.name]) is not None}
    is_edited = row["_written"] is not None and verdicts.state_of(table, record, row["_written"]) == "edited"
    return ExportedItem(
        id=str(record["id"]),
        table=str(table.name),
        state="approved" if record["isApproved"] else "suggested",
        is_edited=is_edited,
        title=str(record[table.title]),
        data=dates_as_texts(table, data, remarks.timezone),
        agent=row["_agent"],
        run_id=row["_run"],
        row_id=str(record["id"]),
        path=row["_path"],
        quote=row["_quote"],
        found_by=remarks.found_by,
        found_at=rfc3339(int(str(record["createdAt"]))),
        places=[
            ExportedPlace(
                name=place.name,
                kind=place.kind,
                state=place.state.value,
                since=rfc3339(place.at_ms),
                problem=place.why or None,
                link=place.link,
            )
            for place in places
        ],
    )


def read_excerpt(path: Path, item: DeviceItem) -> Excerpt | None:
    """Return the lines around an item's quote, if this machine has its file still. Raises DeviceFileError."""
    with connect_shared(path) as db:
        return sources_of(db).excerpt(item.source_path, item.quote, item.start)


def sources_of(db: sqlite3.Connection) -> Sources:
    """Return the files of the shared folders that a device's file knows."""
    return Sources({name: Path(root) for root, name in db.execute("SELECT path, name FROM roots")}, db)


def lost_lines(sources: Sources, items: Iterable[DeviceItem]) -> frozenset[str]:
    """Return the rows of approved items whose quote is not in its file, where no line has their title."""
    return frozenset(
        item.row_id
        for item in items
        if sources.state(item.source_path, item.quote) is SourceState.WORDS_MISSING
        and not sources.has_line_of(item.source_path, item.title)
    )


def _item(
    db: sqlite3.Connection,
    sources: Sources,
    places: Mapping[tuple[str, str], list[Destination]],
    review: Review,
    row: Record,
) -> DeviceItem:
    proposal = proposals.of_row(db, review.table.name, review.row_id)
    call = db.execute(
        "SELECT * FROM calls WHERE call_id = ?1 OR (call_id = ?2 AND quote IS NOT NULL)"
        " ORDER BY call_id = ?1 LIMIT 1",
        (review.call_id, None if proposal is None else proposal.call_id),
    ).fetchone()
    own = ("id", "createdAt", "updatedAt")
    path, is_open = call["source_path"], not row["isApproved"] and proposal is None
    candidates = sources.moved(path) if is_open else ()
    path = candidates[0] if len(candidates) == 1 else path
    return DeviceItem(
        number=review.number,
        label=review.label,
        declaration=review.table,
        table=review.table.name,
        row_id=review.row_id,
        title=str(row[review.table.title]),
        data={name: value for name, value in row.items() if value is not None and name not in own},
        source_path=path,
        quote=call["quote"],
        start=call["quote_start"],
        end=call["quote_end"],
        at=from_epoch_ms(call["at"]),
        verdict=review.state,
        remarks=verdicts.read_remarks(call["remarks"]),
        proposal=proposal,
        belongs_to=titles_of_referred(db, review.table, row),
        source_state=sources.state(path, call["quote"]) if is_open else None,
        source_candidates=list(candidates) if len(candidates) > 1 else [],
        goes_to=places.get((review.table.name, review.row_id), []),
    )


def is_apart(item: DeviceItem) -> bool:
    """Return whether the agent lists the item apart: it is of an unknown author."""
    return "apart" in item.remarks.warnings


def waits(item: DeviceItem) -> bool:
    """Return whether the owner has yet to decide: on the item, or on a change of it."""
    return not item.data.get("isApproved") or item.proposal is not None
