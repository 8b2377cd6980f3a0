"""Near repeats among waiting items: which of them, in several files, are the same thing. Pure.

Two tasks or events are the same if their titles have the same characters. Case, blanks, articles, the end and
words of their own day do not count. Of two events at one time, one title may have more words. No other field
may differ. A wrong join hides a task, so that each doubt leaves items apart. Doubts are other days, people,
states or authors, and the same table twice in one file. So are a short title without a day, and several days
to which an item without a day may belong.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, Final
from unicodedata import normalize
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.text.folding import words_in
from protocol.items import Provenance, Rank
from protocol.tables import SUGGESTED, DeviceTable, TableName

MAX_COMPARED: Final = 1_000  # newest waiting items of an owner
MAX_SAME: Final = 8  # items that are one thing; more are a habit, or a form
_ARTICLES: Final = "a an the der die das den dem des ein eine einen einem einer le la les un une el los las"
_SMALL: Final = frozenset(f"{_ARTICLES} please bitte пожалуйста".split())
_IN_MONTHS: Final = (
    "january february march april may june july august september october november december"
    " januar februar märz april mai juni juli august september oktober november dezember"
)
_IN_WEEKS: Final = (
    "monday tuesday wednesday thursday friday saturday sunday"
    " montag dienstag mittwoch donnerstag freitag samstag sonntag"
    " lundi mardi mercredi jeudi vendredi samedi dimanche"
    " lunes martes miércoles jueves viernes sábado domingo"
)
_MONTHS: Final = _IN_MONTHS.split()
_WEEKDAYS: Final = _IN_WEEKS.split()
_MONTH: Final = "|".join(_MONTHS)
_DAYS: Final = re.compile(
    r"(?<!\S)(?:(?:by|on|until|due|at|bis|am|um) )?(?:(?P<iso>\d{4}-\d\d-\d\d)|(?P<time>\d{1,2}:\d\d)"
    rf"|(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)? (?P<month>{_MONTH})(?: (?P<year>\d{{4}}))?"
    rf"|(?P<month_first>{_MONTH}) (?P<day_last>\d{{1,2}})(?:st|nd|rd|th)?"
    rf"|(?P<weekday>{'|'.join(_WEEKDAYS)}))(?!\S)"
)
_BEFORE_DAYS: Final = "by on until due at bis am um"
_SPELLED: Final = f"{_ARTICLES} please bitte пожалуиста {_IN_MONTHS} {_IN_WEEKS} {_BEFORE_DAYS} st nd rd th"
_ROUGH: Final = frozenset(_SPELLED.translate(str.maketrans("äéá", "aea")).split())
_END: Final = " .,;:!?…。\uff01\uff1f"  # no part of what a title says
_SIGNS: Final = _END + "()[]\"'\u2013\u2014-"  # beside words
_NUMBERS: Final = re.compile(r"\d+")
_IF_BOTH: Final = frozenset({"priority", "status"})  # fields that contradict each other only if both have one
_OF_ONE_KIND: Final = frozenset({TableName.TASKS, TableName.TIMELINES})
_NO: Final = (
    "no not cancelled without nicht kein keine ohne abgesagt pas sans annulé sin cancelado не без отмена"
)
_NEGATED: Final = frozenset(_NO.split())
_OF_TIMES: Final = frozenset(["at", "um", "uhr", "h", "à", "a", "las", "um", "в"])
MIN_WORDS: Final = 3  # of a title without a name or number that says enough without a day


class Thing(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Waiting item, as it is compared with others of its *owner*.

    Attributes:
        by: author of its text; empty: its owner.
        is_marked: never joined.
    """

    id: str
    owner: str
    table: DeviceTable
    data: Mapping[str, Any]
    path: str
    line: int | None = None
    timezone: str | None = None
    by: str = ""
    is_marked: bool = False

    @cached_property
    def title(self) -> str:
        """Its title as it is shown."""
        return str(self.data.get(self.table.title) or "")

    @cached_property
    def at(self) -> datetime | None:
        """Its day or time in its zone; None without one."""
        at_ms = self.table.day_in(self.data)
        return None if at_ms is None else from_epoch_ms(at_ms).astimezone(_zone(self.timezone))

    @cached_property
    def whole(self) -> tuple[str, ...]:
        """Words of its title with those of its day, in order."""
        return _content_words(self.title)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words by which its title is compared, in order: without those that say its own day or time."""
        at = self.at
        if at is None:
            return self.whole
        own = _DAYS.sub(lambda found: "" if _is_at(found, at) else found[0], " ".join(self.whole))
        return tuple(own.split())

    @property
    def fields(self) -> dict[str, object]:
        """Its other fields with values, as they are compared."""
        names = {self.table.title, *self.table.days, *SUGGESTED, "id", "createdAt", "updatedAt"}
        found = {name: _folded(value) for name, value in self.data.items() if name not in names}
        return {name: value for name, value in found.items() if value not in (None, "", [])}


def author_of(provenance: Provenance | None) -> str:
    """Return the author of a text as ``Thing`` has it; of an older hub, the owner."""
    if provenance is None or provenance.rank is Rank.OWN:
        return ""
    return f"{provenance.origin} {provenance.author or ''}"


def same_things(things: Iterable[Thing]) -> list[Sequence[Thing]]:
    """Return the groups of those that are the same thing, each with the one that is shown first at its begin.

    First is one with a time, else with a day, else with the most fields, else the first of *things*.
    """
    found: list[Sequence[Thing]] = []
    alike: defaultdict[tuple[object, ...], list[Thing]] = defaultdict(list)
    at_once: defaultdict[tuple[str, str, datetime], list[tuple[str, ...]]] = defaultdict(list)
    for thing in things:
        if thing.table.name in _OF_ONE_KIND and not thing.is_marked and thing.words:
            alike[thing.owner, thing.by, thing.words].append(thing)
            if thing.at is not None and thing.table.name == TableName.TIMELINES and _has_time(thing):
                at_once[thing.owner, thing.by, thing.at].append(thing.words)
    for (owner, by, at), titles in at_once.items():
        for less in set(titles) if 1 < len(titles) <= MAX_SAME else ():
            longer = {more for more in titles if extends_title(more, less, at)}
            if len(longer) == 1 and all(thing.at == at for thing in alike[owner, by, less]):
                alike[owner, by, *longer] += alike.pop((owner, by, less))
    for near in alike.values():
        by_day: defaultdict[date | None, list[Thing]] = defaultdict(list)
        for thing in near if len(near) > 1 else ():
            by_day[thing.at and thing.at.date()].append(thing)
        is_of_one_day = len(by_day.keys() - {None}) == 1 and _are_same(near)
        groups = [near] if is_of_one_day else by_day.values()
        found += [sorted(group, key=_rank) for group in groups if len(group) > 1 and _are_same(group)]
    return found


def extends_title(more: Iterable[str], less: Iterable[str], at: datetime) -> bool:
    """Return True if a title has all words of another one, and beside them no number, letter or "not".

    Args:
        at: time of both, which one may tell.
    """
    most, least = ({word.strip(_SIGNS) for word in words} - {""} for words in (more, less))
    own = {f"{at:%H}", f"{at:%M}", str(at.hour), f"{at.hour}h", f"{at:%H:%M}", f"{at.hour}:{at:%M}"}
    additional = most - least - own - _OF_TIMES
    return (
        bool(least)
        and least < most
        and not any(word in _NEGATED or len(word) == 1 or not word.isalpha() for word in additional)
    )


def rough_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return those words of a title, without marks on letters, that do not depend on its day."""
    return tuple(word for word in words if word not in _ROUGH and not word.isdigit())


def others_in(groups: Iterable[Sequence[Thing]]) -> dict[str, Sequence[Thing]]:
    """Return the others of its group for each thing, by id."""
    return {thing.id: [other for other in group if other is not thing] for group in groups for thing in group}


def _rank(thing: Thing) -> tuple[bool, bool, int]:
    return not _has_time(thing), thing.at is None, -len(thing.data)


def _has_time(thing: Thing) -> bool:
    return thing.at is not None and thing.at.time() != datetime.min.time()


def _is_specific(thing: Thing) -> bool:
    """Return True if a title says what it is about without a day: by a name, a number, or several words."""
    is_named = any(word[:1].isupper() or word.isdigit() for word in thing.title.split()[1:])
    count = len(words_in(" ".join(thing.words)))
    return count >= MIN_WORDS or (is_named and count > 1)


def _are_same(things: Sequence[Thing]) -> bool:
    return len(things) <= MAX_SAME and all(_agree(*pair) for pair in combinations(things, 2))


def _agree(one: Thing, other: Thing) -> bool:
    """Return True if two things with the same words do not contradict each other."""
    if (one.path, one.table.name) == (other.path, other.table.name) or _differ(one, other):
        return False
    if one.at is not None and other.at is not None:
        is_of_times = _has_time(one) and _has_time(other)
        return one.at.date() == other.at.date() and (one.at == other.at or not is_of_times)
    # a day that only one has may be of another author, who writes into another folder
    is_own = one.by == "" and one.path.rpartition("/")[0] == other.path.rpartition("/")[0]
    if one.whole != other.whole or ((one.at is None) != (other.at is None) and not is_own):
        return False
    # files of several days may each have what is to be done again
    numbers = [set(_NUMBERS.findall(thing.path)) for thing in (one, other)]
    are_of_one_day = not all(numbers) or numbers[0] == numbers[1]
    return are_of_one_day and _is_specific(one) and _is_specific(other)


def _differ(one: Thing, other: Thing) -> bool:
    """Return True if a field that the tables of both have is another, or only one of both has it."""
    mine, theirs = one.fields, other.fields
    declared = [{column.name for column in thing.table.columns} for thing in (one, other)]
    names = (mine.keys() | theirs.keys()) & declared[0] & declared[1]
    other_values = {name for name in names if mine.get(name) != theirs.get(name)}
    return any(name not in _IF_BOTH or (name in mine and name in theirs) for name in other_values)


def _is_at(found: re.Match[str], at: datetime) -> bool:
    """Return True if the words of a title name this day or, of a row with a time, this time."""
    if found["iso"]:
        return found["iso"] == at.date().isoformat()
    if found["time"]:
        return at.time() != datetime.min.time() and found["time"].zfill(5) == f"{at:%H:%M}"
    if found["weekday"]:
        return _WEEKDAYS.index(found["weekday"]) % 7 == at.weekday()
    month, day = found["month"] or found["month_first"], found["day"] or found["day_last"]
    is_of_year = found["year"] in (None, str(at.year))
    return is_of_year and (_MONTHS.index(month) % 12 + 1, int(day)) == (at.month, at.day)


def _folded(value: object) -> object:
    """Return a text without case, blanks and its final punctuation."""
    if not isinstance(value, str):
        return value
    return " ".join(normalize("NFC", value).casefold().split()).rstrip(_END)


@lru_cache(maxsize=4 * MAX_COMPARED)
def _content_words(title: str) -> tuple[str, ...]:
    words = normalize("NFC", title).rstrip(_END).split()
    folded = [(word.casefold(), at > 0 and word.isupper()) for at, word in enumerate(words)]  # Plan A
    return tuple(word for word, is_name in folded if is_name or word not in _SMALL)


def _zone(name: str | None) -> Any:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):  # this machine has no such zone
        return UTC
