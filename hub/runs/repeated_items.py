"""Waiting items of the ledger that are the same thing: found for lists, verdicts and reports of devices."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hub.text.rows.same_things import (
    MAX_COMPARED,
    MAX_SAME,
    Thing,
    author_of,
    others_in,
    rough_words,
    same_things,
)
from protocol.ids import CallId, DeviceId, UserId
from protocol.items import Provenance
from protocol.tables import Tables
from storage.runs import calls, item_lists, item_verdicts
from storage.runs.calls import ReportedVerdict
from storage.runs.item_lists import ItemFilter
from storage.runs.items import ItemRow
from storage.store import Connection

Repeats = Mapping[str, Sequence[Thing]]  # others of the same thing, by each of it


def groups_of(rows: Iterable[ItemRow], tables: Tables) -> list[Sequence[Thing]]:
    """Return the groups of *rows* that are the same thing, on one device of one user, the first one first."""
    return same_things(_thing(row, tables) for row in rows)


def _thing(row: ItemRow, tables: Tables) -> Thing:
    source = row.source or {}
    found = source.get("provenance")
    return Thing(
        id=row.id,
        owner=f"{row.user_id} {row.device_id}",
        table=tables.of(row.target_table),
        data=row.data,
        path=row.unit_key,
        line=source.get("line"),
        timezone=source.get("timezone"),
        by=author_of(None if found is None else msgspec.convert(found, Provenance)),
        is_marked=bool(row.warnings) or row.source is None,
    )


def folded_filter(c: Connection, chosen: ItemFilter, tables: Tables) -> tuple[ItemFilter, Repeats]:
    """Return a filter without the items that are shown with another one, and the others of each.

    Of the items of a thing that the filter lets through, the first is shown.
    """
    rows = waiting_rows(c, chosen)
    groups = groups_of(rows.values(), tables)
    let_through = (
        [thing.id for thing in group if item_lists.lets_through(chosen, rows[thing.id])] for group in groups
    )
    without = frozenset(id for ids in let_through for id in ids[1:])
    return msgspec.structs.replace(chosen, without=without), others_in(groups)


def waiting_rows(c: Connection, chosen: ItemFilter) -> dict[str, ItemRow]:
    """Return those of the newest waiting items of a filter's caller with titles alike, or one time, by id.

    An item with an open verdict is not among them.
    """
    waiting = ItemFilter(user_id=chosen.user_id, limits=chosen.limits, verdict="open")
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    titles = item_lists.waiting_titles(c, waiting, MAX_COMPARED)
    at_once: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for id, owner, words, at_ms in titles:
        alike[owner, *rough_words(words.split())].append(id)
        if at_ms is not None:
            at_once[owner, at_ms].append(id)
    ids = {id for near in alike.values() if len(near) > 1 for id in near}
    ids |= {id for near in at_once.values() if 1 < len(near) <= MAX_SAME for id in near}
    decided = item_verdicts.items_under_way(c) if ids else set()
    return item_lists.rows_of(c, [id for id, *_ in titles if id in ids - decided])


def others_of(c: Connection, user_id: UserId, *, tables: Tables) -> Repeats:
    """Return the waiting items of a user that are the same thing, by each of them."""
    return others_in(groups_of(waiting_rows(c, ItemFilter(user_id=user_id)).values(), tables))


def repeats_in_report(
    c: Connection, device_id: DeviceId, report: Sequence[ReportedVerdict], tables: Tables
) -> dict[CallId, str]:
    """Return which rejected items of a device's report its owner removed for another that was approved.

    They are by call, with the id of the other item.
    """
    verdicts = {verdict.call_id: verdict.verdict for verdict in report}
    if len(set(verdicts.values()) - {"edited"}) < 2:
        return {}
    rows = {row.id: row for row in calls.waiting_of_calls(c, device_id, sorted(verdicts))}
    found: dict[CallId, str] = {}
    for things in groups_of(rows.values(), tables):
        group = [rows[thing.id] for thing in things]
        approved = next((row.id for row in group if verdicts[row.call_id] == "approved"), None)
        rejected = [row.call_id for row in group if verdicts[row.call_id] == "rejected"]
        found |= {} if approved is None else dict.fromkeys(rejected, approved)
    return found
