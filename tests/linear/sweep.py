"""Searching for texts for which an expression takes more time than their length.

Only processor time of this process counts, as a multiple of a plain scan. A text is judged by the growth of
its time, measured again where it seems to be too much, so that a busy machine changes nothing.
"""

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any, Final, NamedTuple, TypeVar

# Both are of the standard library and not in its types: named in an import, they are an error that depends on
# what else is checked.
sre: Final[Any] = import_module("re._constants")
_parser: Final[Any] = import_module("re._parser")

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
_MAX_SAMPLES: Final = 12  # of one part
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
            [text + one for text in texts for one in following][:_MAX_SAMPLES]
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
            return [one for branch in argument[1] for one in _samples(list(branch))[:3]][:_MAX_SAMPLES]
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
        return probe[:_MAX_SAMPLES] or ["a"]
    found: list[str] = []
    for operator, argument in members:
        match operator:
            case sre.LITERAL:
                found.append(chr(argument))
            case sre.RANGE:
                found.append(chr(argument[0]))
            case sre.CATEGORY:
                found += _KINDS[argument]
    return found[:_MAX_SAMPLES]


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


KIB_64: Final = 65_536
_FEW: Final = 512  # characters with which every text is tried
_TIMES: Final = 4  # factor between two lengths of one text
_MAX_GROWTH: Final = 8.0  # of the time for that factor; sixteen is quadratic, four is linear
_MAX_SUSPECTS: Final = 5  # texts of one expression whose growth is followed
_SUSPECT_S: Final = 0.000_06
_SURE_S: Final = 0.002  # of the longer text, before its growth counts
_ENDLESS_S: Final = 1.0
_MAX_SCANS: Final = 8.0  # plain scans of 64 K characters that one bounded text may cost


class TooLong(Exception):
    """Raised in a match that takes too long; ``re`` looks for signals while it backtracks."""


class Worst(NamedTuple):
    """Near miss with the largest time, and the verdict.

    Attributes:
        scans: its time as a multiple of that of a plain scan of as many characters.
    """

    text: NearMiss
    scans: float
    is_linear: bool


Work = Callable[[str], None]


def worst_of(pattern: re.Pattern[Any], ways: frozenset[str], *, bound: int | None, most_chars: int) -> Worst:
    """Return the worst near miss of an expression.

    Args:
        ways: how the product matches.
        bound: length to which the callers hold; a text of it must be cheap, however its time grows.
        most_chars: length up to which growth is followed where there is no such bound.
    """
    work = _work(pattern, ways)
    chars = min(_FEW, bound or _FEW)
    timed = sorted(((_cpu_s(work, text, chars), text) for text in near_misses(pattern)), reverse=True)
    if bound is not None:
        most = _MAX_SCANS * plain_s(KIB_64)
        took, text = max((_least_cpu_s(work, text, bound, most), text) for _, text in timed[:3])
        return Worst(text, took / plain_s(bound), took <= most)
    for took, text in timed[:_MAX_SUSPECTS]:
        if took > _SUSPECT_S and not _is_linear(work, text, most_chars):
            return Worst(text, _cpu_s(work, text, 8 * _FEW) / plain_s(8 * _FEW), is_linear=False)
    return Worst(timed[0][1], _cpu_s(work, timed[0][1], 32 * _FEW) / plain_s(32 * _FEW), is_linear=True)


def _is_linear(work: Work, text: NearMiss, most_chars: int) -> bool:
    """Follow the time of a text up to a length at which it can be judged."""
    chars = _FEW
    before = min(_cpu_s(work, text, chars) for _ in range(3))
    while chars < most_chars and before < _ENDLESS_S:
        chars *= _TIMES
        after = _cpu_s(work, text, chars)
        for _ in range(3):
            if after < _MAX_GROWTH * before:
                break
            before = max(before, _cpu_s(work, text, chars // _TIMES))
            after = min(after, _cpu_s(work, text, chars))
        if after == _ENDLESS_S or after >= max(_SURE_S, _MAX_GROWTH * before):
            return False
        if after > 5 * _SURE_S and chars < most_chars < KIB_64:
            return True
        before = after
    return before < _ENDLESS_S


def _work(pattern: re.Pattern[Any], ways: frozenset[str]) -> Work:
    def work(text: str) -> None:
        given = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text
        if "search" in ways:
            for _ in pattern.finditer(given):
                pass
        if "tokens" in ways:
            _tokens(pattern, given)
        if "match" in ways:
            pattern.match(given)
        if "fullmatch" in ways:
            pattern.fullmatch(given)

    return work


def _tokens(pattern: re.Pattern[Any], text: Any) -> None:
    """Match one after the other; where that ends, go on at the next line."""
    at, line_end = 0, b"\n" if isinstance(text, bytes) else "\n"
    while at < len(text):
        match = pattern.match(text, at)
        if match is not None and match.end() > at:
            at = match.end()
        elif (at := text.find(line_end, at) + 1) == 0:
            break


@cache
def plain_s(chars: int) -> float:
    """Return the processor time of a search that looks at each of *chars* characters once."""
    pattern, text = re.compile(r"[^\W\d]\d"), "a" * chars
    return min(_timed(lambda: pattern.search(text)) for _ in range(5))


def _cpu_s(work: Work, text: NearMiss, chars: int) -> float:
    given = text.text(chars)
    return _timed(lambda: work(given))


def _least_cpu_s(work: Work, text: NearMiss, chars: int, enough: float) -> float:
    """Return the least time of several tries, fewer once one takes no more than *enough*."""
    least = _ENDLESS_S
    for _ in range(5):
        least = min(least, _cpu_s(work, text, chars))
        if least <= enough:
            break
    return least


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()

    def ring(number: int, frame: FrameType | None) -> None:
        if time.process_time() - began > _ENDLESS_S:
            raise TooLong

    # Of wall-clock time: a timer of processor time makes that clock as coarse as its ticks.
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _ENDLESS_S, _ENDLESS_S)
    try:
        work()
    except TooLong:
        return _ENDLESS_S
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return time.process_time() - began
