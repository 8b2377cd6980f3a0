"""Dates and times in figures, which all languages write similarly. Pure functions.

With points, the day comes first everywhere. With slashes or dashes, the order differs by country: then both
readings are candidates, and the date counts only if a single reading is valid.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from hub.extraction.when.expressions import Figures

# Sayings of all languages. The placeholders are those of ``hub.extraction.when.language``.
_ZONE: Final = (
    r"(?P<zone>(?:utc|gmt)(?: ?[+-] ?\d{1,2}(?::?[0-5]\d)?)?|z|[+]\d\d:?[0-5]\d|-\d\d[0-5]\d"
    r"|cest|cet|mesz|mez|bst|est|edt|et|cdt|pst|pdt|pt|jst|ist|msk|мск)"
)
SAYINGS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    (r"(?P<a>[12]\d{3})(?P<s>[-./])(?P<b>\d{1,2})(?P=s)(?P<c>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>[12]\d{3}|\d{2})\.?", {}),
    (r"(?P<a>\d{1,2})(?P<s>/)(?P<b>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>\.) ?(?P<b>\d{1,2})\.", {}),
    # 3.-5.5.2025
    (r"(?P<a>\d{1,2})\.? ?- ?\d{1,2}(?P<s>\.)(?P<b>\d{1,2})\.(?P<c>[12]\d{3}|\d{2})?\.?", {}),
    (r"(?P<mo>1[0-2]|0?[1-9])[./]{y}", {}),
    (r"{y}-(?P<mo>1[0-2]|0[1-9])", {}),
    (r"{y}-?w(?P<w>5[0-3]|[1-4]\d|0[1-9])", {}),
    (rf"{{h}}:{{min}}(?::[0-5]\d(?:\.\d{{1,6}})?)?(?: ?{_ZONE})?", {}),
    (_ZONE, {}),
    ("-", {"is_to": True}),
)
_CENTURY: Final = 2000  # of a year with two digits


def candidates(match: re.Match[str], day_comes_first: bool | None) -> tuple[Figures, ...]:
    """Return all readings of a date in figures, valid or not."""
    a, b, c = (match.groupdict().get(place) for place in "abc")
    assert a is not None  # by the patterns above
    assert b is not None
    if len(a) == 4:
        return ((int(a), int(b), int(c or 0)),)
    year = None if c is None else int(c) if len(c) == 4 else _CENTURY + int(c)
    day_first, month_first = (year, int(b), int(a)), (year, int(a), int(b))
    if match["s"] == "." or day_comes_first:
        return (day_first,)
    if day_comes_first is False:
        return (month_first,)
    year_first = [(_CENTURY + int(a), int(b), int(c))] if c is not None and len(c) == 2 else []
    return (day_first, month_first, *year_first)


def day_of(figures: Figures, default_year: int) -> date | None:
    """Return the day, in *default_year* if the figures have no year; ``None`` if it is invalid."""
    year, month, day = figures
    try:
        return date(year or default_year, month, day)
    except ValueError:
        return None
