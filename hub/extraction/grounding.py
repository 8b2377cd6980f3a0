"""Search for a quote in a piece of text, exact or approximate. Pure functions.

Three methods, the strictest first: equal characters; equal when folded, ignoring markup of emphasis, replies
or captions; and, for quotes that are long enough, at most one different character in ten. The result is
always a place of the text, and only the text's own words are shown. The last method compares only a few
places, found by the rarest words of the quote: its work grows with the quote, not with the text. A different
number or negation is never a typo.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Final, NamedTuple

from hub.extraction.chunk import is_readable
from hub.extraction.folding import Folded, folded_alone, splits

LEAST_QUOTE_CHARS: Final = 12  # shorter quotes are ambiguous: the whole sentence is shown

# Characters that models put around quotes.
_ASIDE: Final = "\"'\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb.\u2026 \t\r\n"
_CHARS_PER_SLIP: Final = 10  # a similarity of 0.9 at least
_MOST_QUOTE_CHARS: Final = 400  # twice the limit of a quote; a longer one is no typo
_MOST_SEEDS: Final = 64  # positions of its words that are examined
_MOST_WINDOWS: Final = 8  # windows compared character by character
# Part of a word: a typo in a long word leaves its other parts unchanged.
_PART: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]|[^\W\u0e00-\u9fff]{1,5}|\w"
)

_LEFT_OUT: Final = re.compile(r"\s*+[\[(]?(?:\.{3,}|\u2026)[\])]?\s*+")
_MOST_PARTS: Final = 4
_LEAST_PART_CHARS: Final = 8
_WIDEST_GAP_CHARS: Final = 200  # length of an omission in a quote

_NUMBER: Final = re.compile(r"\d+")
_NOT: Final = re.compile(
    r"\b(?:not|no|never|nor|without|cannot|nicht|kein\w*|nie|niemals|ohne|pas|jamais|aucune?|sans|nunca|jam\u00e1s"
    r"|ning[u\u00fa]n\w*|sin|\u043d\u0435|\u043d\u0435\u0442|\u043d\u0438|\u043d\u0438\u043a\u043e\u0433\u0434\u0430|\u0431\u0435\u0437)\b"
    r"|n't\b|[\u4e0d\u6ca1\u6c92\u522b\u52ff\u672a\u65e0]"
)


class Place(NamedTuple):
    """Range ``text[start:end]``; *is_near*: the quote differs from it."""

    start: int
    end: int
    is_near: bool = False


class Grounding:
    """Search for quotes in ``text[start:end]``; all places are places of *text*."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._piece = text[start:end]
        self._offset = start

    def places(self, quote: str, *, is_folded: bool = False) -> list[Place]:
        """Return every place of *quote*, in order, by the strictest method with a result.

        With *is_folded*, the exact method is skipped, because repeated text may be spelled differently.
        """
        bare = quote.strip(_ASIDE)
        if not is_readable(bare):
            return []
        for words in (quote.strip(), bare):
            found = [] if is_folded or len(words) < LEAST_QUOTE_CHARS else self._to_the_letter(words)
            if found := found or list(self._folded.find(words)):
                return self._placed(found, is_near=False)
        return self._placed(self._with_gaps(bare) or self._with_slips(folded_alone(bare)), is_near=True)

    @cached_property
    def _folded(self) -> Folded:
        # Costs a hundred times the rest, and most pieces have no record, or only exact quotes.
        return Folded(self._piece)

    @cached_property
    def _parts(self) -> dict[str, list[int]]:
        """Positions of each part of a word in the folded letters."""
        found: dict[str, list[int]] = {}
        for match in _PART.finditer(self._folded.letters):
            found.setdefault(match.group(), []).append(match.start())
        return found

    def _placed(self, found: list[tuple[int, int]], *, is_near: bool) -> list[Place]:
        return [Place(self._offset + start, self._offset + end, is_near) for start, end in found]

    def _to_the_letter(self, quote: str) -> list[tuple[int, int]]:
        found = [match.span() for match in re.finditer(re.escape(quote), self._piece)]
        return [place for place in found if not any(splits(self._piece, edge) for edge in place)]

    def _with_gaps(self, quote: str) -> list[tuple[int, int]]:
        """Find a quote with marked omissions: its parts in close succession."""
        parts = _LEFT_OUT.split(quote)
        if not 1 < len(parts) <= _MOST_PARTS or any(len(part) < _LEAST_PART_CHARS for part in parts):
            return []
        found: list[tuple[int, int]] = []
        places = [list(self._folded.find(part)) for part in parts]
        for start, end in places[0]:
            for following in places[1:]:
                nth = bisect_left(following, (end, 0))
                if nth == len(following) or following[nth][0] - end > _WIDEST_GAP_CHARS:
                    break
                end = following[nth][1]
            else:
                if not found or start >= found[-1][1]:
                    found.append((start, end))
        return found

    def _with_slips(self, quote: str) -> list[tuple[int, int]]:
        most = len(quote) // _CHARS_PER_SLIP
        if not most or len(quote) > _MOST_QUOTE_CHARS:
            return []
        letters = self._folded.letters
        checked: list[tuple[int, int]] = []
        found: list[tuple[int, int]] = []
        for begin, stop in self._windows(quote, most):
            for start, end in _alike(quote, letters[begin:stop], most):
                if any(first <= begin + start and begin + end <= last for first, last in checked):
                    continue
                place = self._folded.whole_words(begin + start, begin + end)
                checked.append(place)
                is_new = all(place[1] <= first or last <= place[0] for first, last in found)
                if is_new and _has_same_facts(quote, letters[slice(*place)]):
                    found.append(place)
        return [self._folded.place(*place) for place in sorted(found)]

    def _windows(self, quote: str, slips: int) -> list[tuple[int, int]]:
        """Return the windows that may contain *quote*, ordered by the weight of its rare parts in them."""
        parts = [
            (places, match.start())
            for match in _PART.finditer(quote)
            if (places := self._parts.get(match.group()))
        ]
        begins: list[tuple[int, float]] = []  # start of the quote, and the weight of the part
        for places, at in sorted(parts, key=lambda part: len(part[0])):
            begins += [(place - at, 1 / len(places)) for place in places[: _MOST_SEEDS - len(begins)]]
        windows: list[tuple[float, int, int]] = []  # with the first and the last start
        for begin, weight in sorted(begins):
            if windows and begin - windows[-1][1] <= slips:
                windows[-1] = windows[-1][0] + weight, windows[-1][1], begin
            else:
                windows.append((weight, begin, begin))
        best = sorted(windows, key=lambda window: -window[0])[:_MOST_WINDOWS]
        return [(max(first - slips, 0), last + len(quote) + slips + 1) for _, first, last in best]


def _has_same_facts(quote: str, found: str) -> bool:
    """Return True if numbers and negations are equal in both, whatever else differs."""
    return all(Counter(p.findall(quote)) == Counter(p.findall(found)) for p in (_NUMBER, _NOT))


def _alike(quote: str, letters: str, slips: int) -> list[tuple[int, int]]:
    """Return the places in *letters* within an edit distance of *slips*, the nearest of each, in order."""
    found: list[tuple[int, int]] = []
    best: tuple[int, int] | None = None  # distance and end of the nearest so far, among those that overlap
    for end, distance in enumerate(_distances(quote, letters), 1):
        if best is not None and end - best[1] > len(quote) // 2:
            found.append((_start_of(quote, letters, best[1], slips), best[1]))
            best = None
        if distance <= slips and (best is None or distance < best[0]):
            best = distance, end
    if best is not None:
        found.append((_start_of(quote, letters, best[1], slips), best[1]))
    return found


def _start_of(quote: str, letters: str, end: int, slips: int) -> int:
    """Return the start of the place that ends at *end*, by the same search backwards."""
    before = letters[max(end - len(quote) - slips, 0) : end][::-1]
    lengths = enumerate(_distances(quote[::-1], before, is_anchored=True), 1)
    _, _, length = min((distance, abs(length - len(quote)), length) for length, distance in lengths)
    return end - length


def _distances(quote: str, letters: str, *, is_anchored: bool = False) -> Iterator[int]:
    """Yield the edit distance of *quote* to the best text before each end in *letters*.

    With *is_anchored*, the text starts at the beginning of *letters*.

    G. Myers, A fast bit-vector algorithm for approximate string matching (JACM 46, 1999): a column of the
    usual table is stored in two numbers, so that each character costs a dozen operations for any length.
    """
    ones, last = (1 << len(quote)) - 1, 1 << (len(quote) - 1)
    masks: dict[str, int] = {}
    for at, char in enumerate(quote):
        masks[char] = masks.get(char, 0) | 1 << at
    more, less, distance = ones, 0, len(quote)
    for char in letters:
        equal = masks.get(char, 0)
        across = (((equal & more) + more) ^ more) | equal
        up = less | (ones & ~(across | more))
        down = more & across
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | is_anchored) & ones, (down << 1) & ones
        below = equal | less
        more, less = down | (ones & ~(below | up)), up & below
        yield distance
