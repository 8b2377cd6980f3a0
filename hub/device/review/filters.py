"""Filters, counts and pages of the device's own review page."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Final, cast, get_args

import msgspec

from hub.device.held_items import HeldItem
from hub.device.items import DeviceItem, without_repeats
from hub.device.review.views import Fields, item_view, verdict_of
from protocol.items import RankedOrder, has_each, order_key, sought_in

DEFAULT_LIMIT: Final = 50  # items in a page
MAX_LIMIT: Final = 1_000
_DIGITS: Final = 9  # of a limit that count; Python reads no number of any length
MAX_FOLDERS: Final = 50  # in the counts: those with the most items
Query = Mapping[str, str]  # parameters of a request, by their names


def matches(item: DeviceItem, query: Query, *, without: str = "") -> bool:
    """Return whether the filters of a request let an item through, *without* one of them."""
    filters = {name: value for name, value in query.items() if name != without}
    verdict, table, warning = (filters.get(name) for name in ("verdict", "table", "warning"))
    if verdict not in (None, verdict_of(item)) or table not in (None, item.table):
        return False
    if warning not in (None, *_marks(item)) or not _is_below(
        item.source_path or "", filters.get("path") or ""
    ):
        return False
    # Items that agents list apart have a mark: marks are counted without this filter, too.
    apart = None if without == "warning" else query.get("apart")
    if apart is not None and (apart == "true") != ("apart" in item.remarks.warnings):
        return False
    values = (item.source_path or "", item.quote or "", *map(str, item.data.values()))
    return has_each(sought_in(filters.get("text") or ""), values)


def is_held_match(item: HeldItem, query: Query) -> bool:
    """Return whether the filters of a request let an item through that the hub holds."""
    texts = (item.path, item.title, item.quote, *map(str, item.data.values()))
    table = query.get("table")
    is_of_mark = query.get("warning") in (None, *(("any", *item.warnings) if item.warnings else ("none",)))
    is_of_text = has_each(sought_in(query.get("text") or ""), texts)
    return (
        table in (None, item.table)
        and is_of_mark
        and is_of_text
        and _is_below(item.path, query.get("path") or "")
    )


def _is_below(source: str, path: str) -> bool:
    """Return whether *source* is the file *path*, has that name, or is below it if it ends in a slash."""
    is_named = "/" not in path and source.endswith(f"/{path}")
    return path in ("", source) or is_named or (path.endswith("/") and source.startswith(path))


def _marks(item: DeviceItem) -> tuple[str, ...]:
    is_plain = not item.marks and item.proposal is None
    return ("none",) if is_plain else ("any", *item.marks)


def _folders(item: DeviceItem) -> tuple[str, ...]:
    folder = (item.source_path or "").rpartition("/")[0]
    return (f"{folder}/",) if folder else ()


def page_of(items: Iterable[DeviceItem], query: Query) -> Fields:
    """Return the page of the matching items that ``limit`` and ``cursor`` of a request ask for."""
    limit, after, order = query.get("limit") or "", None, query.get("order")
    size = min(MAX_LIMIT, int(limit[:_DIGITS])) if limit.isdecimal() else DEFAULT_LIMIT
    with suppress(msgspec.DecodeError):
        after = msgspec.json.decode(query.get("cursor") or "", type=tuple[int, str, int, int])
    keys = ((_key(item, order), item) for item in _shown(items, query))
    rest = sorted((pair for pair in keys if after is None or pair[0] > after), key=itemgetter(0))
    page = rest[:size]
    next_cursor = msgspec.json.encode(page[-1][0]).decode() if page and len(rest) > size else None
    return {"items": [item_view(item) for _, item in page], "next_cursor": next_cursor}


def _key(item: DeviceItem, order: str | None) -> tuple[int, str, int, int]:
    """Return the sort key of an item in the order that a request asks for; else the newest are first."""
    if order not in get_args(RankedOrder):
        return 0, "", 0, -item.number
    rank = order_key(
        cast(RankedOrder, order),
        marks=item.marks,
        day=item.declaration.day_in(item.data),
        path=item.source_path or "",
        source={"start": item.start, "found_by": item.remarks.found_by},
    )
    return *rank, item.number


def _shown(items: Iterable[DeviceItem], query: Query) -> list[DeviceItem]:
    """Return the matching items; of those that wait and are one thing, the first."""
    found = [item for item in items if matches(item, query)]
    is_folded = query.get("verdict") == "open" and query.get("each") != "true"
    return without_repeats(found) if is_folded else found


def counts_of(items: Iterable[DeviceItem], query: Query) -> Fields:
    """Count the items by the values of each filter, as all other filters let them through."""
    items = list(items)

    def count(without: str, values_of: Callable[[DeviceItem], Iterable[str]]) -> Counter[str]:
        found = (item for item in items if matches(item, query, without=without))
        return Counter(value for item in found for value in values_of(item))

    return {
        "total": len(_shown(items, query)),
        "is_complete": True,
        "tables": count("table", lambda item: (item.table,)),
        "devices": {},
        "agents": {},
        "warnings": count("warning", _marks),
        "folders": dict(count("path", _folders).most_common(MAX_FOLDERS)),
    }
