"""Inbox of a device's owner: the items that wait, their sources, and decisions that can be taken back.

It works over the device's file, as ``hub.device.owner`` does. All functions block.

Items of a device's file as their owner sees them, and the state of their source files.

The device compares suggestions with their files, not the hub: the files are on this machine. All functions
block. Files over 4 MiB are not compared.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from heapq import nlargest
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote as quoted_for_url

import msgspec

from hub.base.clock import from_epoch_ms
from hub.base.dates import dates_as_texts, rfc3339
from hub.base.system.files import stamp_of_file
from hub.device import pages, proposals, rows
from hub.device.inserts import BUSY_TIMEOUT_S, DeviceFileError, check_file, connect_shared
from hub.device.moved_files import MovedFiles
from hub.device.owner import Decided, approve, edit, reject
from hub.device.proposals import Proposal
from hub.device.rows import Refusal, Remarks, Review, ReviewState
from hub.device.schema import quoted, transaction
from hub.device.sinks.reports import Destination, destinations
from hub.text import archives
from hub.text.decoding import decode
from hub.text.excerpt import Excerpt, Excerpts
from hub.text.files import AUDIO, HTML, MAIL, MBOX, OFFICE, PICTURES, NotConvertible, media_type_of
from protocol.coordination import Method
from protocol.frame import Record
from protocol.tables import TABLES, DeviceTable, ExportedItem, ExportedPlace, Tables

MAX_BYTES: Final = 4 << 20  # of a file that is searched for a quote; the state of larger files is unknown
MAX_CACHED: Final = 16  # files whose text is cached
_CONVERTED: Final = (
    OFFICE | AUDIO | PICTURES | {HTML, MAIL, MBOX}
)  # media types whose bytes are not their text


class SourceState(StrEnum):
    """Difference between an item's source and the file that the hub read."""

    FILE_MISSING = "file_gone"
    WORDS_MISSING = "words_gone"


class Sources:
    """Files in shared folders, by their names on the wire.

    Args:
        roots: folders by their names on the wire.
        db: the device's file, which knows the files that were moved.
    """

    def __init__(self, roots: Mapping[str, Path], db: sqlite3.Connection | None = None) -> None:
        self._roots = roots
        self._text = lru_cache(maxsize=MAX_CACHED)(_text)
        self._moved = None if db is None else MovedFiles(db, roots, self._plain)

    def moved(self, path: str | None) -> tuple[str, ...]:
        """Return the files that a missing file may be, by its source path: one if it is certain."""
        root, file = self._place(path)
        if self._moved is None or path is None or root is None or not root.is_dir():
            return ()  # a folder that is not there may be on a disk that is away
        return () if os.path.lexists(file) else self._moved.find(path)

    def state(self, path: str | None, quote: str | None) -> SourceState | None:
        """Return what is missing: the file *path* or *quote* in it. None: nothing, or unknown."""
        root, file = self._place(path)
        if root is None:
            return None
        try:
            if not root.is_dir():  # for example on an unmounted disk
                return None
            if not file.exists():
                return SourceState.FILE_MISSING
        except OSError:  # invalid name, or a folder that cannot be read
            return None
        text = self._plain(file) if quote else None
        return None if text is None or not quote or quote in text else SourceState.WORDS_MISSING

    def excerpt(self, path: str | None, quote: str | None, start: int | None) -> Excerpt | None:
        """Return the lines around a quote; None where the file no longer has it once or at *start*."""
        found = self._found(path, quote, start)
        return None if found is None else Excerpts(found[0]).around(*found[1:])

    def line(self, path: str | None, quote: str | None, start: int | None) -> str | None:
        """Return the line in which a quote begins, up to its end; None as for ``excerpt``."""
        found = self._found(path, quote, start)
        if found is None:
            return None
        text, begin, end = found
        return text[text.rfind("\n", 0, begin) + 1 : end]

    def _found(self, path: str | None, quote: str | None, start: int | None) -> tuple[str, int, int] | None:
        """Return the text of a file with the start and the end of a quote in it."""
        root, file = self._place(path)
        text = self._plain(file) if root is not None and quote else None
        if text is None or not quote:
            return None
        if start is None or not text.startswith(quote, start):
            start = text.find(quote)
            if start < 0 or text.find(quote, start + 1) >= 0:
                return None
        return text, start, start + len(quote)

    def file(self, path: str | None) -> Path | None:
        """Return the file of a source path; None if it is of no shared folder."""
        root, file = self._place(path)
        return None if root is None else file

    def _place(self, path: str | None) -> tuple[Path, Path] | tuple[None, Path]:
        """Return the shared folder of a path and the file, or no folder."""
        name, _, below = (path or "").partition("/")
        root = self._roots.get(name)
        if root is None or not below or below.startswith("/") or ".." in below.split("/"):
            return None, Path()  # a mail, for example, or a hub's attempt to probe other paths
        return root, root / below

    def _plain(self, file: Path) -> str | None:
        """Return the text of a file whose bytes are its text, as the hub reads it."""
        kind = media_type_of(file.name)
        text = None if kind in _CONVERTED else self._text(file)
        if (
            text is None
            or archives.kind_in(text[: archives.HEAD_BYTES].encode("utf-8", "replace"), kind) != kind
        ):
            return None
        return text


def _text(file: Path) -> str | None:
    """Return the text of a plain-text file as the hub decodes it; None if it is too large or not text."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        return decode(file.read_bytes())
    except (OSError, NotConvertible):
        return None


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
    verdict: ReviewState
    remarks: Remarks
    proposal: Proposal | None = None
    belongs_to: dict[str, str] = {}
    source_state: SourceState | None = None
    source_candidates: list[str] = []
    goes_to: list[Destination] = []


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
        listed = pages.ask_hub(path.with_suffix(pages.SUFFIX), Method.PROPOSALS_LIST, {}).result
        proposed = msgspec.convert(listed.get("proposals", []), list[OthersProposal])
    except (OSError, AttributeError, msgspec.ValidationError):  # some systems have no such sockets
        return {}
    return {one.row_id: [other for other in proposed if other.row_id == one.row_id] for one in proposed}


def read_items(path: Path) -> list[DeviceItem]:
    """Return the inserted rows that still exist, the oldest first; empty without a file or rows.

    May run while a device serves the file.

    Raises:
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    with _opened(path) as db:
        if db is None:
            return []
        found = sorted(rows.reviews(db), key=lambda review: review.number)
        sources, places = sources_of(db), destinations(db)
        return [_item(db, sources, places, review, review.row) for review in found if review.row is not None]


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
            yield db
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


class Waiting(NamedTuple):
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


def count_waiting(path: Path) -> Waiting:
    """Count the items that wait, without opening their files. Raises DeviceFileError."""
    found: list[tuple[int, str, str | None]] = []
    with _opened(path) as db:
        if db is None:
            return Waiting(0, 0, 0, ())
        roots = {name for (name,) in db.execute("SELECT name FROM roots")}
        for table in rows.tables_of(db).values():
            waiting = _WAITING.format(title=quoted(table.title), table=quoted(table.name))
            found.extend(map(tuple, db.execute(waiting, (table.name,))))
    sources = {source for _, _, source in found if source is not None}
    files = sum(source.partition("/")[0] in roots for source in sources)
    newest = nlargest(_MAX_TITLES, found)
    return Waiting(len(found), files, len(sources) - files, [title for _, title, _ in newest])


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
        tables = TABLES if db is None else rows.tables_of(db)
        named = [one for name, one in tables.items() if db is not None and table in (None, name)]
        places = {} if db is None else destinations(db)
        yield (
            tables,
            (
                _exported(one, row, places.get((one.name, row["id"]), ()))
                for one in named
                for row in (
                    db.execute(
                        _EXPORTED.format(table=quoted(one.name)),
                        (str(one.name), since, None if is_approved is None else int(is_approved)),
                    )
                    if db
                    else ()
                )
            ),
        )


def _exported(table: DeviceTable, row: sqlite3.Row, places: Iterable[Destination]) -> ExportedItem:
    stored = {column.name: row[column.name] for column in table.columns}
    record = rows.on_the_wire(table, stored)
    remarks = rows.read_remarks(row["_remarks"])
    data = {column.name: value for column in table.fields if (value := record[column.name]) is not None}
    is_edited = row["_written"] is not None and rows.state_of(table, record, row["_written"]) == "edited"
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
    belongs_to: dict[str, str] = {}
    for column in review.table.columns:
        if column.refers_to is not None and (id := row.get(column.name)) is not None:
            other = TABLES[column.refers_to]
            if (found := rows.find(db, other, str(id))) is not None:
                belongs_to[column.name] = str(found[other.title])
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
        remarks=rows.read_remarks(call["remarks"]),
        proposal=proposal,
        belongs_to=belongs_to,
        source_state=sources.state(path, call["quote"]) if is_open else None,
        source_candidates=list(candidates) if len(candidates) > 1 else [],
        goes_to=places.get((review.table.name, review.row_id), []),
    )


Verdict = Literal["approve", "edit", "reject"]
MAX_SAVED: Final = 10_000  # decisions that can be taken back
MAX_TITLES: Final = 200  # rows that an item may be put under


class NotDecided(DeviceFileError):
    """A decision that was refused; nothing was changed."""


class _Saved(NamedTuple):
    """A row before and after a decision; *after* is None where the row was removed."""

    table: DeviceTable
    before: Record
    after: Record | None


class Inbox:
    """Items of the device's file at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: dict[int, _Saved] = {}
        self._known: tuple[object, list[DeviceItem]] | None = None

    @property
    def version(self) -> object:
        """A value that changes with the file."""
        return tuple(stamp_of_file(self.path.with_name(self.path.name + end)) for end in ("", "-wal"))

    def items(self) -> list[DeviceItem]:
        """Return all items, the newest first, and unsure ones below. Raises DeviceFileError."""
        version = self.version
        if self._known is None or self._known[0] != version:
            self._known = version, sorted(read_items(self.path), key=place_of)
        return self._known[1]

    def judge(
        self, item: DeviceItem, verdict: Verdict, fields: Mapping[str, str] | None = None, *, at_ms: int
    ) -> str:
        """Decide about an item as it was listed. Return a sentence about what was done.

        Args:
            fields: values to fill in, as for ``owner.edit``.

        Raises:
            NotDecided: the decision is refused.
            DeviceFileError: the item has changed since, or the disk fails.
        """
        table = item.declaration
        before = self._row(table, item.row_id)
        if verdict == "approve":
            decided = approve(self.path, [item.label], at_ms=at_ms, fields=fields)
        elif verdict == "edit":
            decided = edit(self.path, [item.label], fields or {}, at_ms=at_ms)
        else:
            decided = reject(self.path, [item.label])
        self._known = None
        if before is not None and item.proposal is None and decided.done:
            self._saved[item.number] = _Saved(table, before, self._row(table, item.row_id))
            if len(self._saved) > MAX_SAVED:
                del self._saved[next(iter(self._saved))]
        return _sentence(decided)

    def undo(self, number: int) -> None:
        """Take the last decision about an item back.

        Raises:
            NotDecided: there is none, or the item has been changed since.
            DeviceFileError: the disk fails.
        """
        saved = self._saved.pop(number, None)
        if saved is None:
            raise NotDecided("this decision cannot be taken back")
        row_id = str(saved.before["id"])
        with connect_shared(self.path) as db, transaction(db):
            is_proposed = proposals.of_row(db, saved.table.name, row_id) is not None
            if is_proposed or rows.find(db, saved.table, row_id) != saved.after:
                raise NotDecided("the item has been changed since the decision")
            try:
                rows.restore(db, saved.table, saved.before)
            except Refusal as refusal:
                raise NotDecided(str(refusal)) from refusal
            # the next decision is reported to the hub, whatever was reported of this one
            db.execute(
                "UPDATE reviews SET reported = NULL WHERE tbl = ? AND row_id = ?", (saved.table.name, row_id)
            )
        self._known = None

    def titles(self, table: DeviceTable) -> list[tuple[str, str]]:
        """Return the ids and titles of the newest approved rows of *table*."""
        query = (
            f"SELECT id, {quoted(table.title)} FROM {quoted(table.name)} WHERE isApproved"
            " ORDER BY createdAt DESC LIMIT ?"
        )
        with connect_shared(self.path) as db:
            return [(row[0], row[1]) for row in db.execute(query, (MAX_TITLES,))]

    def _row(self, table: DeviceTable, row_id: str) -> Record | None:
        with connect_shared(self.path) as db:
            return rows.find(db, table, row_id)


def is_apart(item: DeviceItem) -> bool:
    """Return whether the agent lists the item apart: it is of an unknown author."""
    return "apart" in item.remarks.warnings


def is_unsure(item: DeviceItem) -> bool:
    """Return whether a rule found the item in a text of a kind in which rules are often wrong."""
    return item.remarks.unsure is not None


def place_of(item: DeviceItem) -> tuple[bool, int]:
    """Return the key by which items are listed: the newest first, and unsure ones below."""
    return is_unsure(item), -item.number


def waits(item: DeviceItem) -> bool:
    """Return whether the owner has yet to decide: on the item, or on a change of it."""
    return not item.data.get("isApproved") or item.proposal is not None


def _sentence(decided: Decided) -> str:
    if decided.refused:
        raise NotDecided(decided.refused[0])
    return decided.done[0]
