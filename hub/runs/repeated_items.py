"""Waiting items of the ledger that are the same thing: found for lists, verdicts and reports of devices."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hub.text.rows.same_things import MAX_COMPARED, Thing, author_of, same_things
from protocol.ids import CallId, DeviceId, UserId
from protocol.items import Provenance
from protocol.tables import Tables
from storage.runs import calls, item_lists, item_verdicts
from storage.runs.calls import ReportedVerdict
from storage.runs.item_lists import ItemFilter
from storage.runs.items import ItemRow
from storage.store import Connection

Repeats = Mapping[str, Sequence[Thing]]  # others of the same thing, by the item that is shown first


def repeats_of(rows: Iterable[ItemRow], tables: Tables) -> Repeats:
    """Return the items that are the same thing as another of *rows*, on one device of one user."""
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
    """Return a filter without the items that are shown with another one, and those by that one.

    An item is shown by itself where the filter leaves the other one out.
    """
    rows = waiting_rows(c, chosen)
    found = repeats_of(rows.values(), tables)
    shown = (others for id, others in found.items() if item_lists.lets_through(chosen, rows[id]))
    without = frozenset(other.id for others in shown for other in others)
    return msgspec.structs.replace(chosen, without=without), found


def waiting_rows(c: Connection, chosen: ItemFilter) -> dict[str, ItemRow]:
    """Return the newest waiting items without an open verdict that the caller of a filter may see, by id."""
    waiting = ItemFilter(user_id=chosen.user_id, limits=chosen.limits, verdict="open")
    found = item_lists.list_items(c, waiting, limit=MAX_COMPARED).items
    decided = item_verdicts.items_under_way(c) if found else set()
    return {item.row.id: item.row for item in found if item.row.id not in decided}


def others_of(c: Connection, user_id: UserId, *, tables: Tables) -> dict[str, list[str]]:
    """Return the ids of waiting items of a user that are the same thing, by each of them."""
    found = repeats_of(waiting_rows(c, ItemFilter(user_id=user_id)).values(), tables)
    groups = ([id, *(other.id for other in others)] for id, others in found.items())
    return {id: [other for other in group if other != id] for group in groups for id in group}


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
    for first, others in repeats_of(rows.values(), tables).items():
        group = [rows[id] for id in (first, *(other.id for other in others))]
        approved = next((row.id for row in group if verdicts[row.call_id] == "approved"), None)
        rejected = [row.call_id for row in group if verdicts[row.call_id] == "rejected"]
        found |= {} if approved is None else dict.fromkeys(rejected, approved)
    return found
