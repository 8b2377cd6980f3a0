"""Pure: words about time into a moment, against the document's own date.

Every language that may have written the words reads them. What they read has to be the
same: "mar 4" is a Tuesday to some and a day of March to others, so it is no date.
What cannot be told with confidence stays words.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hub.extraction.when import chinese, english, french, german, russian, spanish
from hub.extraction.when.calendar import find_day
from hub.extraction.when.clock import find_time, find_zone
from hub.extraction.when.fold import fold, has_cyrillic, has_han, has_latin
from hub.extraction.when.iso import read_iso
from hub.extraction.when.moment import Moment, instant_of, local_day
from hub.extraction.when.said import Ambiguous, Said, together
from hub.extraction.when.tongue import Tongue

Anchor = datetime | date  # aware; a bare date is a day where the words are read
MOST_CHARS: Final = 120  # nobody needs more to tell a time; it bounds what a hostile text can cost
_LATIN: Final = (english.TONGUE, german.TONGUE, french.TONGUE, spanish.TONGUE)
_ALL: Final = (*_LATIN, russian.TONGUE, chinese.TONGUE)
MOST_SENTENCE_CHARS: Final = 400
_TELLING: Final = frozenset({"weekday", "days", "shift", "figures"})
_SHORT: Final = 3  # "in the sun", "el mar": so short a name of a day is other words too
_SECONDS: Final[Mapping[str, int]] = {"hour": 3600, "minute": 60}


class DateWords(NamedTuple):
    """Folded words of a text that tell a day.

    Attributes:
        before: the folded words before them in the text; likewise *after*.
        said: what they say.
        is_full: they tell the year, the month and the day.
    """

    words: str
    before: str
    after: str
    said: Said
    is_full: bool


def resolve(words: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> Moment | None:
    """The moment *words* stand for, or ``None`` when that cannot be told with confidence.

    Reads ISO 8601 and English, German, French, Spanish, Russian and Chinese. Words around a date
    ("by", "bis") change nothing, an interval is its start, a day without a time begins at midnight
    in *timezone*. The rules of the calendar stand in ``hub.extraction.when.calendar``, those of
    the clock in ``hub.extraction.when.clock``.

    Args:
        anchor: when the words were written: an aware moment, or a day where they are read, from which no
            hours are counted; without it only what names a year is resolved.
        is_due: the words tell a deadline, whether they say so ("by") or not.
        timezone: IANA name; what names no zone is local to it.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is no such zone.
    """
    if len(words) > MOST_CHARS:
        return None
    if moment := read_iso(words, timezone):
        return moment
    text, zone = fold(words), ZoneInfo(timezone)
    try:
        read = [_read(tongue, text, words, anchor, zone, is_due) for tongue in _tongues_of(text)]
    except (Ambiguous, OverflowError, ValueError):  # the last two: beyond what a calendar can hold
        return None
    moments = {moment.at_ms: moment for moment in read if moment}
    return next(iter(moments.values())) if len(moments) == 1 else None


def days_in(text: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> list[Moment]:
    """The moments that parts of *text*, a sentence or two, tell beyond doubt; each day once.

    Less is read than by ``resolve``: "the second draft" and "sat down" tell no day, so a day has to be
    told by its name, by its number and month, or by how far it is off.
    """
    found: dict[date, Moment] = {}
    for run, _ in _told_in(fold(text[:MOST_SENTENCE_CHARS])):
        if moment := resolve(run, anchor=anchor, timezone=timezone, is_due=is_due):
            found.setdefault(local_day(moment.at, ZoneInfo(timezone)), moment)
    return list(found.values())


def dates_in(text: str) -> list[DateWords]:
    """The words of *text*, a line or a sentence or two, that tell a day in one of its languages."""
    folded = fold(text[:MOST_SENTENCE_CHARS])
    found: dict[str, DateWords] = {}
    for run, said in _told_in(folded):
        before, _, after = folded.partition(run)
        found.setdefault(run, DateWords(run, before.strip(), after.strip(), said, _is_full(said)))
    return list(found.values())


def _told_in(folded: str) -> Iterator[tuple[str, Said]]:
    """The parts of a folded text that tell a day in one of its languages."""
    for tongue in _tongues_of(folded):
        for run in tongue.runs(folded):
            parts = tongue.parts(run)
            try:
                said = together(parts) if parts else None
            except ValueError:  # no date at all
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
    """What *text* means in one language."""
    parts = tongue.parts(text)
    said = together([*parts, Said(is_due=True)] if is_due else parts) if parts else None
    if said is None:
        return None
    if said.shift and said.shift[1] in _SECONDS:
        return _elapsed(said, words, anchor)
    if said.hour is not None and not said.about_day and find_time(said) is None:
        raise Ambiguous  # "at 3", and no day that would be told all the same
    day = find_day(said, anchor.astimezone(zone).date() if isinstance(anchor, datetime) else anchor)
    return _moment(said, day, words, zone) if day else None


def _elapsed(said: Said, words: str, anchor: Anchor | None) -> Moment | None:
    """ "In two hours": so much later by a clock that never jumps. Nothing else may be said then."""
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
        # A day is not the less sure of itself for beginning on such a night.
        return Moment(at=at, has_time=False, words=words, change=change)
    reading = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 - local
    told = find_zone(said.zone) if said.zone else zone
    if isinstance(told, ZoneInfo):
        at, change = instant_of(reading, told)
        return Moment(at=at, has_time=True, words=words, change=change)
    return Moment(at=reading.replace(tzinfo=told).astimezone(UTC), has_time=True, words=words)
