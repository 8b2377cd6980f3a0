"""Filters, counts and pages of the device's own review page."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hub.device.held_items import HeldItem
from hub.device.items import DeviceItem
from hub.device.review.views import Fields, item_view, verdict_of

DEFAULT_LIMIT: Final = 50  # items in a page
MAX_LIMIT: Final = 1_000
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
    text = (filters.get("text") or "").casefold()
    values = (item.source_path or "", *item.data.values())
    return not text or any(text in str(value).casefold() for value in values)


def is_held_match(item: HeldItem, query: Query) -> bool:
    """Return whether the filters of a request let an item through that the hub holds."""
    texts = (item.path, item.title, *map(str, item.data.values()))
    text, table = (query.get("text") or "").casefold(), query.get("table")
    is_of_mark = query.get("warning") in (None, *(("any", *item.warnings) if item.warnings else ("none",)))
    is_of_text = any(text in part.casefold() for part in texts)
    return (
        table in (None, item.table)
        and is_of_mark
        and is_of_text
        and _is_below(item.path, query.get("path") or "")
    )


def _is_below(source: str, path: str) -> bool:
    """Return whether *source* is the file *path*, or a file below it if it ends in a slash."""
    return path in ("", source) or (path.endswith("/") and source.startswith(path))


def _marks(item: DeviceItem) -> tuple[str, ...]:
    is_plain = not item.remarks.warnings and item.proposal is None
    return ("none",) if is_plain else ("any", *item.remarks.warnings)


def _folders(item: DeviceItem) -> tuple[str, ...]:
    folder = (item.source_path or "").rpartition("/")[0]
    return (f"{folder}/",) if folder else ()


def page_of(items: Iterable[DeviceItem], query: Query) -> Fields:
    """Return the page of the matching items that ``limit`` and ``cursor`` of a request ask for."""
    found = [item for item in items if matches(item, query)]
    limit, cursor = query.get("limit") or "", query.get("cursor") or ""
    size = min(MAX_LIMIT, int(limit)) if limit.isdecimal() else DEFAULT_LIMIT
    before = int(cursor) if cursor.isdecimal() else math.inf
    rest = [item for item in found if item.number < before]
    page = rest[:size]
    next_cursor = str(page[-1].number) if page and len(rest) > size else None
    return {"items": [item_view(item) for item in page], "next_cursor": next_cursor}


def counts_of(items: Iterable[DeviceItem], query: Query) -> Fields:
    """Count the items by the values of each filter, as all other filters let them through."""
    items = list(items)

    def count(without: str, values_of: Callable[[DeviceItem], Iterable[str]]) -> Counter[str]:
        found = (item for item in items if matches(item, query, without=without))
        return Counter(value for item in found for value in values_of(item))

    return {
        "total": sum(matches(item, query) for item in items),
        "is_complete": True,
        "tables": count("table", lambda item: (item.table,)),
        "devices": {},
        "agents": {},
        "warnings": count("warning", _marks),
        "folders": dict(count("path", _folders).most_common(MAX_FOLDERS)),
    }
