"""Resolution of words about time to a moment, relative to the document's date. Pure functions.

All languages in which the words may be written parse them, and must agree: "mar 4" is a Tuesday in one and a
day of March in another, so it is not resolved. Ambiguous words stay unresolved.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hub.extraction.when import chinese, english, french, german, russian, spanish
from hub.extraction.when.calendar import find_day
from hub.extraction.when.clock import find_time, find_zone
from hub.extraction.when.expressions import Ambiguous, Said, together
from hub.extraction.when.fold import fold, has_cyrillic, has_han, has_latin
from hub.extraction.when.iso import read_iso
from hub.extraction.when.language import Tongue
from hub.extraction.when.moment import Moment, instant_of, local_day

Anchor = datetime | date  # aware; a plain date is a day in the reader's time zone
MOST_CHARS: Final = 120  # longer than any informal date; bounds the cost of hostile text
_LATIN: Final = (english.TONGUE, german.TONGUE, french.TONGUE, spanish.TONGUE)
_ALL: Final = (*_LATIN, russian.TONGUE, chinese.TONGUE)
MOST_SENTENCE_CHARS: Final = 400
_TELLING: Final = frozenset({"weekday", "days", "shift", "figures"})
_SHORT: Final = 3  # "in the sun", "el mar": such short names of days have other meanings
_SECONDS: Final[Mapping[str, int]] = {"hour": 3600, "minute": 60}


class DateWords(NamedTuple):
    """Folded words of a text for a day.

    Attributes:
        before: folded words before them in the text; likewise *after*.
        said: parsed words.
        is_full: True if they contain year, month and day.
    """

    words: str
    before: str
    after: str
    said: Said
    is_full: bool


def resolve(words: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> Moment | None:
    """Resolve *words* to a moment; return ``None`` if they are ambiguous.

    Supports ISO 8601 and English, German, French, Spanish, Russian and Chinese. Words around a date ("by",
    "bis") are ignored, an interval is its start, and a day without a time starts at midnight in *timezone*.
    The rules of the calendar are in ``hub.extraction.when.calendar``, those of the clock in
    ``hub.extraction.when.clock``.

    Args:
        anchor: time of writing: an aware moment, or a local day, from which hours cannot be counted; without
            it, only words with a year are resolved.
        is_due: True if the words are a deadline, even without a word such as "by".
        timezone: IANA name, for words without a time zone.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: the time zone is unknown.
    """
    if len(words) > MOST_CHARS:
        return None
    if moment := read_iso(words, timezone):
        return moment
    text, zone = fold(words), ZoneInfo(timezone)
    try:
        read = [_read(tongue, text, words, anchor, zone, is_due) for tongue in _tongues_of(text)]
    # OverflowError, ValueError: outside the range of the calendar.
    except (Ambiguous, OverflowError, ValueError):
        return None
    moments = {moment.at_ms: moment for moment in read if moment}
    return next(iter(moments.values())) if len(moments) == 1 else None


def days_in(text: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> list[Moment]:
    """Return the unambiguous moments in *text*, a sentence or two; each day once.

    Stricter than ``resolve``: "the second draft" and "sat down" are no days, so a day needs a name, a number
    with a month, or a distance.
    """
    found: dict[date, Moment] = {}
    for run, _ in _told_in(fold(text[:MOST_SENTENCE_CHARS])):
        if moment := resolve(run, anchor=anchor, timezone=timezone, is_due=is_due):
            found.setdefault(local_day(moment.at, ZoneInfo(timezone)), moment)
    return list(found.values())


def dates_in(text: str) -> list[DateWords]:
    """Return the words for days in *text*, a line or some sentences, in any of its languages."""
    folded = fold(text[:MOST_SENTENCE_CHARS])
    found: dict[str, DateWords] = {}
    for run, said in _told_in(folded):
        before, _, after = folded.partition(run)
        found.setdefault(run, DateWords(run, before.strip(), after.strip(), said, _is_full(said)))
    return list(found.values())


def _told_in(folded: str) -> Iterator[tuple[str, Said]]:
    """Yield the parts of a folded text that denote a day, with their parsed form."""
    for tongue in _tongues_of(folded):
        for run in tongue.runs(folded):
            parts = tongue.parts(run)
            try:
                said = together(parts) if parts else None
            except ValueError:  # no date
                continue
            if said is not None and _tells_a_day(said, run):
                yield run, said


def _is_full(said: Said) -> bool:
    return said.about_day >= {"year", "month", "day"} or (
        said.figures is not None and all(figures[0] is not None for figures in said.figures)
    )


def _tells_a_day(said: Said, run: str) -> bool:
    if said.about_day == {"weekday"} and not has_han(run):
        return any(len(word) > _SHORT for word in run.split())
    return bool(said.about_day & _TELLING) or said.about_day >= {"day", "month"}


def _tongues_of(text: str) -> Sequence[Tongue]:
    if has_han(text):
        return (chinese.TONGUE,)
    if has_cyrillic(text):
        return (russian.TONGUE,)
    return _LATIN if has_latin(text) else _ALL


def _read(
    tongue: Tongue, text: str, words: str, anchor: Anchor | None, zone: ZoneInfo, is_due: bool
) -> Moment | None:
    """Resolve *text* in one language."""
    parts = tongue.parts(text)
    said = together([*parts, Said(is_due=True)] if is_due else parts) if parts else None
    if said is None:
        return None
    if said.shift and said.shift[1] in _SECONDS:
        return _elapsed(said, words, anchor)
    if said.hour is not None and not said.about_day and find_time(said) is None:
        raise Ambiguous  # "at 3", without a day that would still be resolved
    day = find_day(said, anchor.astimezone(zone).date() if isinstance(anchor, datetime) else anchor)
    return _moment(said, day, words, zone) if day else None


def _elapsed(said: Said, words: str, anchor: Anchor | None) -> Moment | None:
    """Resolve "in two hours" on a clock without changes; no other part is permitted."""
    if said.shift is None or said.about_day != {"shift"} or said.about_time:
        return None
    if not isinstance(anchor, datetime):  # a day has no hour to count from
        return None
    count, unit = said.shift
    at = anchor.astimezone(UTC) + timedelta(seconds=count * _SECONDS[unit])
    return Moment(at=at, has_time=True, words=words)


def _moment(said: Said, day: date, words: str, zone: ZoneInfo) -> Moment | None:
    minutes = find_time(said)
    if minutes is None:
        at, change = instant_of(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local
        # A clock change at the start of a day does not make the day ambiguous.
        return Moment(at=at, has_time=False, words=words, change=change)
    reading = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 - local
    told = find_zone(said.zone) if said.zone else zone
    if isinstance(told, ZoneInfo):
        at, change = instant_of(reading, told)
        return Moment(at=at, has_time=True, words=words, change=change)
    return Moment(at=reading.replace(tzinfo=told).astimezone(UTC), has_time=True, words=words)
