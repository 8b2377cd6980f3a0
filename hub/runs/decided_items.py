"""Pairs of items with rows that other rules had found and their owner has decided about. Pure functions.

Rules that have changed find the same work in another quote, or under another title. A pair is of one table.
Both are at the same place of the unchanged text, or one quote has the other, or their titles share their
words. A rejected row has no place: its title may be among the words of the item's quote. Of two texts with
other numbers, or the same in another order, neither is the other: page 2 of 12 is not page 12 of 2. The same
holds for words of titles: what is sent to Anna is not what is sent to Bob, nor what Anna sends to Bob.

Candidates are found by place and by the rarest words that they share, so that time is linear in the number
of items.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from typing import Final, NamedTuple

from hub.extraction.duplicates import significant_words
from hub.runs.found_items import MAX_QUOTE_CHARS, main_of
from hub.runs.item_ranks import may_pair
from hub.text.folding import words_of
from storage.runs.items import FoundItem, ItemRow, KnownItem

SAME_PLACE: Final = 0.7  # least share of the shorter quote that both have
SAME_WORDS: Final = 0.7  # least share of the shorter title that both have
MIN_WORDS: Final = 2  # that two titles share
MAX_CANDIDATES: Final = 40  # rows that are compared with an item by its words, and as many by its place
MAX_POSTINGS: Final = 200  # rows of a word, of which the candidates are chosen


class _Words(NamedTuple):
    title: frozenset[str]
    quote: tuple[str, ...]
    significant: tuple[str, ...]  # words of the title, in order: no articles and the like, no single letters
    title_numbers: tuple[str, ...]  # in order, with those that repeat
    quote_numbers: tuple[str, ...]


def decided_pairs(
    items: Sequence[FoundItem], rows: Iterable[KnownItem]
) -> Iterator[tuple[FoundItem, KnownItem]]:
    """Yield the pairs, the best first; each item and row is in at most one."""
    of_table: dict[str, list[KnownItem]] = defaultdict(list)
    for decided in rows:
        of_table[decided.row.target_table].append(decided)
    for table, known in of_table.items():
        mine = [item for item in items if item.table == table]
        yield from _pairs_of_table(mine, known) if mine else ()


def _pairs_of_table(
    items: Sequence[FoundItem], rows: Sequence[KnownItem]
) -> Iterator[tuple[FoundItem, KnownItem]]:
    declaration = items[0].declaration
    words = [_words(main_of(declaration, decided.row.data), decided.row.source) for decided in rows]
    index = _Index(rows, words)
    scored = list[tuple[float, float, int, int]]()
    for nth, item in enumerate(items):
        mine = _words(item.main, item.source)
        for place in index.candidates(item, mine):
            if not may_pair(item, rows[place].row):
                continue
            overlap, share = overlap_of(item, rows[place].row), _share(mine, words[place])
            is_named = rows[place].row.verdict == "rejected" and _has_title(mine, words[place])
            if overlap >= SAME_PLACE or share >= SAME_WORDS:
                scored.append((-overlap, -share, nth, place))
            elif is_named:
                scored.append((0.0, 0.0, nth, place))
    items_paired, rows_paired = set[int](), set[int]()
    for *_, nth, place in sorted(scored):
        if nth not in items_paired and place not in rows_paired:
            items_paired.add(nth)
            rows_paired.add(place)
            yield items[nth], rows[place]


def _words(title: str, source: dict[str, object] | None) -> _Words:
    in_title, in_quote = words_of(title), words_of(str((source or {}).get("quote") or ""))
    significant = significant_words(title)
    return _Words(
        frozenset(in_title),
        tuple(in_quote),
        tuple(word for word in in_title if word in significant and len(word) > 1),
        _numbers(in_title),
        _numbers(in_quote),
    )


def _numbers(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word[0].isdigit())


class _Index:
    """Rows by the start of their quote, and by the words of their title."""

    def __init__(self, rows: Sequence[KnownItem], words: Sequence[_Words]) -> None:
        placed = (
            (decided.row.source["start"], nth) for nth, decided in enumerate(rows) if decided.row.source
        )
        self._placed: list[tuple[int, int]] = sorted(placed)
        self._of_word: dict[str, list[int]] = defaultdict(list)
        for nth, some in enumerate(words):
            for word in some.title:
                self._of_word[word].append(nth)

    def candidates(self, item: FoundItem, words: _Words) -> set[int]:
        """Return the rows that may be the item: those near its place, and those with its rarest words."""
        start, end = item.source["start"], item.source["end"]
        until = bisect_left(self._placed, (end, -1))
        since = bisect_left(self._placed, (start - MAX_QUOTE_CHARS, -1))
        near = {nth for _, nth in self._placed[max(since, until - MAX_CANDIDATES) : until]}
        rows_of = {
            word: self._of_word[word] for word in words.title.union(words.quote) if word in self._of_word
        }
        weights: dict[int, float] = defaultdict(float)
        for word in sorted(rows_of, key=lambda word: (len(rows_of[word]), word)):
            for nth in rows_of[word][:MAX_POSTINGS]:
                weights[nth] += 1 / len(rows_of[word])
            if len(weights) >= MAX_POSTINGS:
                break
        return near | {*nlargest(MAX_CANDIDATES, weights, key=weights.__getitem__)}


def overlap_of(item: FoundItem, row: ItemRow) -> float:
    """Return the part of the shorter quote that both share; in a changed text, 1.0 if the other has it whole.

    It is 0.0 for a row that was rejected, which has no source.
    """
    mine, other = item.source, row.source
    if not mine or not other:
        return 0.0
    if mine["sha256"] == other["sha256"]:
        start, end = max(mine["start"], other["start"]), min(mine["end"], other["end"])
        shortest: int = min(mine["end"] - mine["start"], other["end"] - other["start"])
        shared = [
            source["quote"][start - source["start"] : end - source["start"]] for source in (mine, other)
        ]
        # Another release may have converted the file to another text; the ledger may lack the quote.
        is_same_text = shared[0] == shared[1] or not (mine["quote"] and other["quote"])
        return max(0, end - start) / max(1, shortest) if is_same_text else 0.0
    shorter, longer = sorted((mine["quote"], other["quote"]), key=len)
    return float(len(shorter.split()) >= MIN_WORDS and shorter in longer)


def _share(mine: _Words, other: _Words) -> float:
    """Return the share of the shorter title's words in the other; 0.0 if the titles are of other work."""
    shorter, longer = sorted((mine, other), key=lambda words: len(words.title))
    shared = shorter.title & longer.title
    if len(shared) < MIN_WORDS or not _are_among(shorter.title_numbers, longer.title_numbers):
        return 0.0
    if not (longer.title.issuperset(shorter.significant) or shorter.title.issuperset(longer.significant)):
        return 0.0
    in_order = _are_among(tuple(word for word in shorter.significant if word in shared), longer.significant)
    return len(shared) / len(shorter.title) if in_order else 0.0


def _has_title(mine: _Words, other: _Words) -> bool:
    is_named = len(other.title) >= MIN_WORDS and other.title <= {*mine.quote}
    return is_named and all(
        _are_among(some, words)
        for some, words in ((other.significant, mine.quote), (other.title_numbers, mine.quote_numbers))
    )


def _are_among(some: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Return True if *words* has each of *some*, in the same order and as often."""
    rest = iter(words)
    return all(word in rest for word in some)
