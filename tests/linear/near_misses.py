"""Texts that nearly match a regular expression, made from its parsed form.

The worst texts of a backtracking engine repeat what a part of the expression repeats and then break, or
repeat the beginning of a match so that each place is a start whose end never comes.
"""

import re
from collections.abc import Iterator, Sequence
from re import _constants as sre
from re import _parser
from typing import Any, Final, NamedTuple, TypeVar

_BLANKS: Final = " \t\n\v\r\x1c\x85\xa0\u2009\u202f\u3000"
_KINDS: Final[dict[Any, str]] = {
    sre.CATEGORY_DIGIT: "1\u0663",
    sre.CATEGORY_NOT_DIGIT: "a -",
    sre.CATEGORY_SPACE: _BLANKS,
    sre.CATEGORY_NOT_SPACE: "a1-",
    sre.CATEGORY_WORD: "a1_\u00e9\u0436\u65e5",
    sre.CATEGORY_NOT_WORD: " -.\n\xa0",
}
_EXAMPLES: Final = "a1 -.\n\t\"'<(:,@\\x\u00e9\u65e5"
_MOST_SAMPLES: Final = 12  # of one part
_MOST: Final = 60  # of each kind

_T = TypeVar("_T")


class NearMiss(NamedTuple):
    """Text that is *head*, then *pump* as often as fits, then *tail*."""

    head: str
    pump: str
    tail: str

    def text(self, chars: int) -> str:
        """Return the text with about *chars* characters."""
        return self.head + self.pump * (chars // len(self.pump)) + self.tail


def near_misses(pattern: re.Pattern[Any]) -> list[NearMiss]:
    """Return the near misses of an expression, each once."""
    source = pattern.pattern
    parsed = _parser.parse(
        source.decode("latin-1") if isinstance(source, bytes) else source, pattern.flags & ~re.DEBUG
    )
    parts = list(parsed)
    found: dict[NearMiss, None] = {}
    pumps: dict[str, None] = dict.fromkeys(_BLANKS[:4])
    for head, pump in _repeats(parts, ""):
        if pump:
            pumps.setdefault(pump)
            found |= dict.fromkeys((NearMiss(head, pump, "\0"), NearMiss("", head + pump * 2, "")))
            found |= dict.fromkeys((NearMiss(head, pump, ""), NearMiss(head + pump, pump, head)))
    found = dict.fromkeys(
        [*_spread(list(found)), *(NearMiss("", pump, "\0") for pump in list(pumps)[:_MOST])]
    )
    starts = [prefix for prefix in dict.fromkeys(_prefixes(parts)) if prefix]
    for prefix in _spread(starts):
        found |= dict.fromkeys((NearMiss("", prefix, "\0"), NearMiss("", f"{prefix}\0", "")))
        found.setdefault(NearMiss(prefix, prefix[-1:], "\0"))
    return list(found)


def _spread(given: Sequence[_T]) -> Sequence[_T]:
    """Return at most ``_MOST``, taken evenly."""
    return given[:: 1 + len(given) // _MOST]


def _prefixes(items: Sequence[Any]) -> Iterator[str]:
    """Yield the beginnings of a match, longer by a part each, and those of each alternative."""
    ways = [""]
    for item in items:
        following = _samples([item])
        yield from (way + one for way in ways[:3] for one in following)
        for inner in _inner(item):
            for prefix in _prefixes(inner):
                yield ways[0] + prefix
        ways = list(dict.fromkeys(way + one for way in ways for one in following[:2]))[:4]


def _repeats(items: Sequence[Any], head: str) -> Iterator[tuple[str, str]]:
    """Yield each repeated part: what comes before it, and a sample of the part itself."""
    for at, item in enumerate(items):
        operator, argument = item
        if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            _, most, body = argument
            if most > 3:
                after = next((one for one in _samples(items[at + 1 : at + 2]) if one), "")
                for sample in _samples(list(body)):
                    yield head, sample
                    if after:
                        yield head, sample + after
        for inner in _inner(item):
            yield from _repeats(inner, head)
        head += _samples([item])[0]


def _inner(item: Any) -> list[list[Any]]:
    """Return the sequences of parts within a part."""
    operator, argument = item
    match operator:
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            return [list(argument[2])]
        case sre.SUBPATTERN:
            return [list(argument[3])]
        case sre.ATOMIC_GROUP:
            return [list(argument)]
        case sre.BRANCH:
            return [list(branch) for branch in argument[1]]
        case sre.ASSERT | sre.ASSERT_NOT:
            return [list(argument[1])]
        case sre.GROUPREF_EXISTS:
            return [list(one) for one in argument[1:] if one is not None]
    return []


def _samples(items: Sequence[Any]) -> list[str]:
    """Return some texts that the parts match one after the other, never none."""
    texts = [""]
    for item in items:
        following = _of_one(item) or [""]
        texts = (
            [text + one for text in texts for one in following][:_MOST_SAMPLES]
            if len(texts) == 1
            else [text + following[at % len(following)] for at, text in enumerate(texts)]
        )
    return list(dict.fromkeys(texts))


def _of_one(item: Any) -> list[str]:
    operator, argument = item
    match operator:
        case sre.LITERAL:
            return [chr(argument)]
        case sre.NOT_LITERAL:
            return [char for char in _EXAMPLES if ord(char) != argument][:4]
        case sre.ANY:
            return ["a", " ", "1", "-"]
        case sre.IN:
            return _of_class(argument)
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            least, _, body = argument
            times = min(max(least, 1), 8)
            return [one * times for one in _samples(list(body))] + ([""] if least == 0 else [])
        case sre.BRANCH:
            return [one for branch in argument[1] for one in _samples(list(branch))[:3]][:_MOST_SAMPLES]
        case sre.SUBPATTERN:
            return _samples(list(argument[3]))
        case sre.ATOMIC_GROUP:
            return _samples(list(argument))
        case sre.ASSERT:
            return [""]
        case sre.GROUPREF_EXISTS:
            return _samples(list(argument[1]))
    return [""]


def _of_class(members: Sequence[Any]) -> list[str]:
    if members[0][0] is sre.NEGATE:
        probe = [
            char
            for char in dict.fromkeys(_EXAMPLES + _BLANKS)
            if not any(_is_in(char, one) for one in members[1:])
        ]
        return probe[:_MOST_SAMPLES] or ["a"]
    found: list[str] = []
    for operator, argument in members:
        match operator:
            case sre.LITERAL:
                found.append(chr(argument))
            case sre.RANGE:
                found.append(chr(argument[0]))
            case sre.CATEGORY:
                found += _KINDS[argument]
    return found[:_MOST_SAMPLES]


def _is_in(char: str, member: Any) -> bool:
    operator, argument = member
    match operator:
        case sre.LITERAL:
            return bool(ord(char) == argument)
        case sre.RANGE:
            return bool(argument[0] <= ord(char) <= argument[1])
        case sre.CATEGORY:
            kind = {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s"}
            kind |= {sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W"}
            return re.match(kind[argument], char) is not None
    return False
