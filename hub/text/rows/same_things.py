"""Near repeats among waiting items: which of them, in several files, are the same thing. Pure.

Two tasks or events are the same if their titles have the same words in the same order. Small words and those
of their days do not count; numbers, names and endings must agree. A wrong join hides a task, so that each
doubt leaves items apart. Doubts are other days, people, states or authors, and the same table twice in one
file. So are a short title without a day, and several days to which an item without a day may belong.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.text.folding import fold, words_in
from protocol.items import Provenance, ProvenanceOrigin
from protocol.tables import DeviceTable, TableName

MAX_COMPARED: Final = 1_000  # newest waiting items of an owner
MAX_SAME: Final = 8  # items that are one thing; more are a habit, or a form
_SPELLED: Final = (
    "a an the to of for on at in and please must should will has have be is do"
    " der die das den dem des ein eine einen einem einer zu zum zur und bitte muss soll wird"
    " le la les l un une des du de d et il faut doit el los las una y por favor debe hay que"
    " и в на к по для надо нужно пожалуйста должен должна 请 要 把 的 需 必 须"
)
SMALL_WORDS: Final = frozenset(_SPELLED.split())
_SMALL: Final = SMALL_WORDS | {"need", "needs", "remember", "todo", "by", "until", "bis"}
_NAMES_OF_DAYS: Final = (
    "monday tuesday wednesday thursday friday saturday sunday today tomorrow tonight"
    " january february march april june july august september october november december"
    " montag dienstag mittwoch donnerstag freitag samstag sonntag heute morgen"
    " januar februar märz mai juni juli oktober dezember"
    " lundi mardi mercredi jeudi vendredi samedi dimanche demain"
    " lunes martes miércoles jueves viernes sábado domingo mañana"
)
_NTH: Final = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_OF_DAYS: Final = re.compile(
    r"\b(?:\d{4}-\d\d-\d\d|\d{1,2}:\d\d"
    rf"|(?:{_NTH} )?(?:{_NAMES_OF_DAYS.replace(' ', '|')})(?: {_NTH})?)(?!\w)"
)
_NUMBERS: Final = re.compile(r"\d+")
_DECIDING: Final = ("assignee", "projectId", "status")  # fields that contradict each other
_OF_ONE_KIND: Final = frozenset({TableName.TASKS, TableName.TIMELINES})
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
    def words(self) -> tuple[str, ...]:
        """Words by which its title is compared, in order."""
        return _content_words(self.title, has_day=self.at is not None)


def author_of(provenance: Provenance | None) -> str:
    """Return the author of a text as ``Thing`` has it; of an older hub, the owner."""
    if provenance is None or (provenance.trusted and provenance.origin is ProvenanceOrigin.OWN):
        return ""
    return f"{provenance.origin} {provenance.author or ''}"


def same_things(things: Iterable[Thing]) -> dict[str, Sequence[Thing]]:
    """Return the others that are the same thing, by the id of the one that is shown first.

    First is one with a time, else with a day, else with the most fields, else the first of *things*.
    """
    found: dict[str, Sequence[Thing]] = {}
    alike: defaultdict[tuple[object, ...], list[Thing]] = defaultdict(list)
    for thing in things:
        if thing.table.name in _OF_ONE_KIND and thing.words and not thing.is_marked:
            alike[thing.owner, thing.by, thing.words].append(thing)
    for near in alike.values():
        by_day: defaultdict[date | None, list[Thing]] = defaultdict(list)
        for thing in near:
            by_day[thing.at and thing.at.date()].append(thing)
        is_of_one_day = len(by_day.keys() - {None}) == 1 and _are_same(near)
        for group in [near] if is_of_one_day else by_day.values():
            if len(group) > 1 and _are_same(group):
                first, *others = sorted(group, key=_rank)
                found[first.id] = others
    return found


def _rank(thing: Thing) -> tuple[bool, bool, int]:
    return not _has_time(thing), thing.at is None, -len(thing.data)


def _has_time(thing: Thing) -> bool:
    return thing.at is not None and thing.at.time() != datetime.min.time()


def _is_specific(thing: Thing) -> bool:
    """Return True if a title says what it is about without a day: by a name, a number, or several words."""
    is_named = any(word[:1].isupper() or word.isdigit() for word in thing.title.split()[1:])
    return len(thing.words) >= MIN_WORDS or (is_named and len(thing.words) > 1)


def _are_same(things: Sequence[Thing]) -> bool:
    return len(things) <= MAX_SAME and all(_agree(*pair) for pair in combinations(things, 2))


def _agree(one: Thing, other: Thing) -> bool:
    """Return True if two things with the same words do not contradict each other."""
    if (one.path, one.table.name) == (other.path, other.table.name):
        return False
    values = ((one.data.get(name), other.data.get(name)) for name in _DECIDING)
    if any(mine is not None and theirs is not None and mine != theirs for mine, theirs in values):
        return False
    if one.at is not None and other.at is not None:
        is_of_times = _has_time(one) and _has_time(other)
        return one.at.date() == other.at.date() and (one.at == other.at or not is_of_times)
    # files of several days may each have what is to be done again
    numbers = [set(_NUMBERS.findall(thing.path)) for thing in (one, other)]
    are_of_one_day = not all(numbers) or numbers[0] == numbers[1]
    return are_of_one_day and _is_specific(one) and _is_specific(other)


@lru_cache(maxsize=4 * MAX_COMPARED)
def _content_words(title: str, *, has_day: bool) -> tuple[str, ...]:
    folded = fold(title)
    words = words_in(_OF_DAYS.sub(" ", folded) if has_day else folded)
    names = {word.casefold() for word in title.split()[1:] if word.isupper()}  # Plan A, vitamin D
    return tuple(word for word in words if word in names or word not in _SMALL)


def _zone(name: str | None) -> Any:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):  # this machine has no such zone
        return UTC
