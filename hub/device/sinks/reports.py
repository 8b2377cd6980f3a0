"""Places of approved rows (note, calendar, list): for the owner, and which parts a hub gets.

A hub gets the name and kind of each place, its state and a word for a problem. It gets addresses of http, and
paths below shared folders without a name that begins with a dot, but no other address or path.
"""

import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from hub.device import declared_tables
from hub.device.schema import quoted
from protocol.calls import LINK_CHARACTERS, MAX_PLACES, PlacedRow, PlaceState, RowPlace, place_sentence

_MAX_BYTES: Final = 64 * 1024  # of the rows of a report
_HTTP: Final = re.compile(r"https?://[^\s/@]+(/\S*)?")
_WITH_LINK: Final = (PlaceState.ARRIVED, PlaceState.OUTDATED, PlaceState.LEAVING)
_HIDDEN: Final = re.compile(r"(^|/)\.")
_OF_HUB: Final = """
SELECT tbl, row_id, call_id, coalesce(places, '[]') AS places
FROM reviews LEFT JOIN place_reports USING (tbl, row_id) WHERE hub = ? ORDER BY number
"""
OWN_LINE: Final = "line:"  # digest of a line of the owner that is a row of the sink behind it
PLACED: Final = f"""(
SELECT iif(sink = '', substr(digest, {len(OWN_LINE) + 1}), sink) AS sink, key, tbl, row_id, place, base,
    digest, is_deleted, at_ms, link
FROM sink_rows
)"""
# of a row that its hub has deleted meanwhile, nothing is kept
_CONFIRM: Final = """
INSERT OR REPLACE INTO place_reports SELECT tbl, row_id, ?3 FROM reviews WHERE tbl = ?1 AND row_id = ?2
"""
# The error of a server that has no calendar any more names no place. A refused row has a problem of its own,
# which is none of the other rows.
_DESTINATIONS: Final = f"""
SELECT tbl, row_id, sink_rows.sink, kind, place, link, base IS NULL AS waits, digest, is_deleted,
    sink_rows.at_ms, coalesce(reason, iif(is_of_rows, '', problem)) AS problem,
    iif(reason IS NULL, iif(is_of_rows, '', why), 'refused') AS why, sink_states.at_ms AS problem_ms,
    place IN (SELECT value FROM json_each(missing)) OR (why = 'missing' AND missing = '[]') AS is_missing
FROM {PLACED} AS sink_rows JOIN
    (SELECT *, why = 'refused' AND sink IN (SELECT sink FROM sink_waits WHERE what = 'refused') AS is_of_rows
    FROM sink_states) AS sink_states USING (sink)
    LEFT JOIN (SELECT sink, key, reason FROM sink_waits WHERE what = 'refused' AND tries > 0) AS refused
    USING (sink, key)
"""


class Destination(NamedTuple):
    """Place of an approved row. *link*: the http address of the row there, or its file.

    *problem*: why it is not there as it is here, in words of this machine; *why*: in a word for hubs.
    """

    name: str
    kind: str
    state: PlaceState
    at_ms: int
    link: str
    problem: str
    why: str

    @property
    def sentence(self) -> str:
        """State in words, with the place or the problem."""
        detail = self.link if self.state is PlaceState.ARRIVED else self.problem
        return place_sentence(self.name, self.state, detail)


def destinations(
    db: sqlite3.Connection, ids: Collection[str] | None = None
) -> dict[tuple[str, str], list[Destination]]:
    """Return the places of rows by table and id, of all rows or of those with these *ids*."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sink_states'").fetchone() is None:
        return {}  # a file of an older version, or one whose tables are being made: this is the last one
    chosen = "(SELECT value FROM json_each(:ids))" if ids is not None else ""
    named = {"ids": declared_tables.json_text([*(ids or ())])}
    approved: dict[tuple[str, str], int] = {}
    for table in declared_tables.tables_of(db):
        only = f" AND id IN {chosen}" if chosen else ""
        query = f'SELECT id, "updatedAt" FROM {quoted(table)} WHERE "isApproved" = 1{only}'
        approved |= {(table, row_id): at_ms for row_id, at_ms in db.execute(query, named)}
    found: dict[tuple[str, str], list[Destination]] = {}
    only = f" WHERE row_id IN {chosen}" if chosen else ""
    for row in db.execute(f"{_DESTINATIONS}{only} ORDER BY sink_rows.sink", named):
        key = (row["tbl"], row["row_id"])
        if (state := _place_state(row, approved.get(key))) is not None:
            found.setdefault(key, []).append(_destination(row, state))
    return found


def _place_state(row: sqlite3.Row, changed_ms: int | None) -> PlaceState | None:
    """Return the state of a row, changed at *changed_ms* if it is approved; None: it was never there."""
    if changed_ms is None:
        return None if row["waits"] or row["is_deleted"] else PlaceState.LEAVING
    if row["is_deleted"]:
        return PlaceState.DELETED
    if row["waits"]:
        return PlaceState.WAITING
    if row["is_missing"]:
        return PlaceState.MISSING
    is_behind = row["problem"] and (row["digest"] == "" or changed_ms > row["at_ms"])
    return PlaceState.OUTDATED if is_behind else PlaceState.ARRIVED


def _destination(row: sqlite3.Row, state: PlaceState) -> Destination:
    is_good = state in (PlaceState.ARRIVED, PlaceState.DELETED)
    at_ms = row["problem_ms"] if state is PlaceState.MISSING else row["at_ms"]
    problem, why = ("", "") if is_good else (row["problem"], row["why"])
    return Destination(row["sink"], row["kind"], state, at_ms, row["link"] or row["place"], problem, why)


class Placed(NamedTuple):
    """Row that call *call_id* wrote, with its places."""

    tbl: str
    call_id: str
    row: PlacedRow


def places_of(found: Iterable[Destination], roots: Mapping[str, str]) -> list[RowPlace]:
    """Return the places of a row as a hub may know them. *roots*: names of shared folders by their paths."""
    shared = tuple(roots.items())
    return [
        RowPlace(
            name=place.name,
            kind=place.kind,
            state=place.state.value,
            at_ms=place.at_ms,
            problem=place.why or None,
            link=_known_link(place.link, shared) if place.state in _WITH_LINK else None,
        )
        for place in list(found)[:MAX_PLACES]
    ]


@lru_cache(maxsize=1_024)
def _known_link(link: str, roots: Sequence[tuple[str, str]]) -> str | None:
    """Return the address of a row at a place, or the path of its file, as far as a hub may know it."""
    known = link if _HTTP.fullmatch(link) else ""
    for root, name in () if known else roots:
        if Path(link).is_relative_to(root):
            below = Path(link).relative_to(root).as_posix()
            known = "" if _HIDDEN.search(below) else f"{name}/{below}"
    return known if 0 < len(known) <= LINK_CHARACTERS else None


def unreported(db: sqlite3.Connection, hub: str, roots: Mapping[str, str]) -> list[Placed]:
    """Return the rows of a hub whose places are not those that it has confirmed."""
    found = destinations(db)
    changed: list[Placed] = []
    for tbl, row_id, call_id, confirmed in db.execute(_OF_HUB, (hub,)):
        if (tbl, row_id) not in found and confirmed == "[]":
            continue
        places = places_of(found.get((tbl, row_id), ()), roots)
        if declared_tables.json_text(places) != confirmed:
            changed.append(Placed(tbl, call_id, PlacedRow(row_id, places)))
    return changed


def fitting(report: Sequence[Placed], most: int) -> Sequence[Placed]:
    """Return the first rows of a report, at most *most*, that fit into a request."""
    size = 0
    for count, one in enumerate(report[:most]):
        size += len(declared_tables.json_text(one.row))
        if count and size > _MAX_BYTES:
            return report[:count]
    return report[:most]


def note_reported(db: sqlite3.Connection, report: Sequence[Placed]) -> None:
    """Store the places that a hub has confirmed."""
    confirmed = [
        (place.tbl, place.row.row_id, declared_tables.json_text(place.row.places)) for place in report
    ]
    db.executemany(_CONFIRM, confirmed)
