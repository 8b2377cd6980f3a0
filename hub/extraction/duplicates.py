"""Removal of duplicate items of a document: when two items count as equal. Pure.

Two items are equal if they are of the same table, overlap in the text, have similar titles, and do not
contradict each other: "call Bob" on Monday and on Tuesday are two items, as are items for Anna and Ben. The
same words at another place are another item: a list may contain "call Bob" twice on purpose. But a sentence
that says no more than another place of its document is no item of its own. Nor are words of others that say
no more than those of a higher rank. Titles are similar if each
word of one has a similar word in the other. An additional word is a difference, except for stop words and the
names of the assignees.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from operator import itemgetter
from typing import Final

import msgspec

from hub.extraction.items import Dropped, Item
from hub.text.folding import fold, words_in, words_of
from hub.text.places import Place, place_at
from protocol.tables import (
    TABLES,
    DeviceTable,
    Kind,
    TableName,
    Tables,
)

_NEIGHBOURS: Final = 10  # compared on either side; one sentence has fewer items
_MIN_STEM_CHARS: Final = 4
_MAX_ENDING_CHARS: Final = 3  # "send" and "sending", "Angebot" and "Angebote"
_CYRILLIC: Final = "\u0400"
_Neighbour = tuple[int, int, tuple[str, ...]]  # start of a unique item, its index, the words of its title
_SPELLED: Final = (
    "a an the to of for on at in and please must should will has have be is do"
    " der die das den dem des ein eine einen einem einer zu zum zur und bitte muss soll wird"
    " le la les l un une des du de d et il faut doit el los las una y por favor debe hay que"
    " и в на к по для надо нужно пожалуйста должен должна 请 要 把 的 需 必 须"
)
_SMALL_WORDS: Final = frozenset(_SPELLED.split())
_OF_ROWS: Final = frozenset({TableName.TASKS, TableName.TIMELINES})


def deduplicate(
    items: Iterable[Item], tables: Tables = TABLES, rank_at: Callable[[int], int] = lambda place: 0
) -> tuple[tuple[Item, ...], tuple[Dropped, ...]]:
    """Return the first of equal items, in the given order, and a note for every other.

    A later item with more fields replaces an equal item of a model.

    Args:
        rank_at: returns the rank of the words at a place: those of the highest rank come first.
    """
    items = list(items)
    order = {id(item): nth for nth, item in enumerate(items)}
    unique: list[Item] = []
    doubles: list[Dropped] = []
    same: defaultdict[tuple[str, ...], list[Place]] = defaultdict(list)
    near: defaultdict[str, list[_Neighbour]] = defaultdict(list)
    by_words: dict[tuple[str, tuple[str, ...]], Item] = {}  # of their titles
    # Marked rows come first among the words of one rank.
    for item in sorted(items, key=lambda item: (-rank_at(item.start), _is_of_words(item))):
        neighbours, table = near[item.table], tables.of(item.table)
        title = fold(_title(item, table))
        words = _significant(title, item.data.get("assignee"))
        deciding = _deciding(table)
        is_new = _claim(same[_meaning(item, title, deciding)], (item.start, item.end))
        alike = _find_alike(neighbours, item, words, unique, deciding) if is_new else None
        first = by_words.setdefault((item.table, words), item)
        is_less = _is_of_words(item) or rank_at(item.start) < rank_at(first.start)
        is_repeated = first is not item and is_less and _covers(first, item, deciding)
        if not is_new or alike is not None or is_repeated:
            doubles.append(_double(item))
            if (
                alike is not None
                and unique[alike].origin == "model"
                and len(item.data) > len(unique[alike].data)
            ):
                order[id(item)] = order[id(unique[alike])]
                unique[alike] = item
            continue
        insort(neighbours, (item.start, len(unique), words))
        unique.append(item)
    unique.sort(key=lambda item: order[id(item)])
    return _deduplicate_by_key(unique, doubles, tables), tuple(doubles)


def _is_of_words(item: Item) -> bool:
    """Return True for an item of a sentence in which nothing but its words is evidence."""
    return item.is_of_prose and item.evidence is not None and item.evidence.mark == "words"


def _covers(other: Item, item: Item, deciding: Sequence[str]) -> bool:
    """Return True if *other* has the days and people of *item*, or more."""
    values = [(item.data.get(name), other.data.get(name)) for name in deciding]
    return not item.unresolved and all(mine is None or mine == theirs for mine, theirs in values)


def _deduplicate_by_key(unique: Iterable[Item], doubles: list[Dropped], tables: Tables) -> tuple[Item, ...]:
    """Remove items of an operator's tables that say no more than another one with the same key.

    Such a table declares what makes two rows the same, wherever a document has them.
    """
    distinct: dict[int, Item] = {}
    same: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, item in enumerate(unique):
        if item.table in TABLES:
            distinct[number] = item
            continue
        key = (item.table, *(fold(str(item.data.get(name) or "")) for name in tables.of(item.table).key))
        known = same[key][-_NEIGHBOURS:]
        if any(_has_all_of(distinct[other], item) for other in known):
            doubles.append(_double(item))
            continue
        less = [other for other in known if _has_all_of(item, distinct[other])]
        for other in less:
            doubles.append(_double(distinct[other]))
            del distinct[other]
        same[key][len(same[key]) - len(known) :] = [
            *(member for member in known if member not in less),
            number,
        ]
        distinct[number] = item
    return tuple(distinct.values())


def _double(item: Item) -> Dropped:
    return Dropped(table=item.table, reason="duplicate", start=item.start, end=item.end)


def _has_all_of(one: Item, other: Item) -> bool:
    """Return True if *one* has every value of *other*, without regard to spelling."""
    values = [(one.data.get(name), value) for name, value in other.data.items()]
    return other.unresolved.items() <= one.unresolved.items() and all(
        mine is not None and fold(str(mine)) == fold(str(value)) for mine, value in values
    )


def _claim(places: list[Place], place: Place) -> bool:
    """Add a place to ordered places that do not overlap; return False, without adding it, if it would.

    A table may repeat a value in each of its 20,000 rows; comparing all pairs would take seconds.
    """
    at = bisect_right(places, place[0], key=itemgetter(1))
    is_free = at == len(places) or place[1] <= places[at][0]
    if is_free:
        places.insert(at, place)
    return is_free


def _find_alike(
    neighbours: Sequence[_Neighbour],
    item: Item,
    words: tuple[str, ...],
    unique: Sequence[Item],
    deciding: Sequence[str],
) -> int | None:
    """Return the index of a unique item with nearly the same title at the same place, or None."""
    at = bisect_left(neighbours, (item.start, 0))
    for start, number, others in neighbours[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]:
        other = unique[number]
        is_here = start < item.end and item.start < other.end
        if is_here and are_alike(words, others) and not _contradict(item, other, deciding):
            return number
    return None


def _meaning(item: Item, title: str, deciding: Sequence[str]) -> tuple[str, ...]:
    """Return a key that is equal for items with the same folded title, dates and people."""
    values = [item.data.get(column) for column in deciding]
    return item.table, title, *("" if value is None else fold(str(value)) for value in values)


@lru_cache(maxsize=64)
def _deciding(table: DeviceTable) -> list[str]:
    """Return the columns by which items with similar titles differ: dates, people, and the table's key."""
    return [
        column.name
        for column in table.columns
        if column.kind in (Kind.EPOCH_MS, Kind.NAMES)
        or (column.name in table.key and column.name != table.title)
    ]


def _contradict(one: Item, other: Item, deciding: Sequence[str]) -> bool:
    for column in deciding:
        first, second = one.data.get(column), other.data.get(column)
        if first is None or second is None:
            continue
        if isinstance(first, list) and isinstance(second, list):
            if not set(map(fold, first)) & set(map(fold, second)):
                return True
        elif fold(str(first)) != fold(str(second)):
            return True
    return any(
        fold(words) != fold(other.unresolved.get(column, words)) for column, words in one.unresolved.items()
    )


def _title(item: Item, table: DeviceTable) -> str:
    title = item.data.get(table.title)
    return title if isinstance(title, str) else ""


def significant_words(title: str, people: object = None) -> tuple[str, ...]:
    """Return the significant words of a title, sorted and unique, without stop words and *people*."""
    return _significant(fold(title), people)


def _significant(folded: str, people: object) -> tuple[str, ...]:
    aside = set(words_of(" ".join(map(str, people)))) if isinstance(people, list) and people else set()
    words = set(words_in(folded))
    return tuple(sorted(words - _SMALL_WORDS - aside or words))


def are_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return True if two titles with these significant words are similar; the counts must be equal."""
    return len(one) == len(other) and all(map(_is_like, one, other))


def _is_like(word: str, other: str) -> bool:
    """Return True for equal words or other forms of a word, such as "send" and "sends"; not for numbers."""
    if word == other:
        return True
    stem = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, other, strict=False)))
    if stem < _MIN_STEM_CHARS or not (word.isalpha() and other.isalpha()):
        return False
    # Russian replaces endings, other languages add them: otherwise "Marie" would equal "Maria".
    is_added = stem == min(len(word), len(other)) or word[-1] >= _CYRILLIC
    return is_added and max(len(word), len(other)) - stem <= _MAX_ENDING_CHARS


def with_rows(found: Sequence[Item], rows: Sequence[Item], over: Sequence[Place]) -> list[Item]:
    """Return the items of sentences with those of rows that have none, and without those of what is done.

    An item of a sentence within a row has the row's evidence.
    """
    places = [(row.start, row.end) for row in rows]
    joined, filled = list[Item](), dict[int, int]()  # by row, the index of its item
    for item in found:
        nth, done = place_at(places, item.start), place_at(over, item.start)
        if done is not None or (nth is not None and item.table not in _OF_ROWS):
            continue
        if nth in filled:  # a row is one task, whatever its clauses are
            joined[filled[nth]] = rows[nth]
            continue
        if nth is not None:
            filled[nth] = len(joined)
            item = msgspec.structs.replace(item, evidence=rows[nth].evidence)
        joined.append(item)
    return [*joined, *(row for nth, row in enumerate(rows) if nth not in filled)]
