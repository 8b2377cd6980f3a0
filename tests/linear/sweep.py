"""Searching for texts for which an expression takes more time than their length.

Only processor time of this process counts, as a multiple of a plain scan. A text is judged by the growth of
its time, measured again where it seems to be too much, so that a busy machine changes nothing.
"""

import re
import signal
import time
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, Final, NamedTuple

from tests.linear.near_misses import NearMiss, near_misses

KIB_64: Final = 65_536
_FEW: Final = 512  # characters with which every text is tried
_TIMES: Final = 4  # factor between two lengths of one text
_MOST_GROWTH: Final = 8.0  # of the time for that factor; sixteen is quadratic, four is linear
_MOST_SUSPECTS: Final = 5  # texts of one expression whose growth is followed
_SUSPECT_S: Final = 0.000_06
_SURE_S: Final = 0.002  # of the longer text, before its growth counts
_ENDLESS_S: Final = 1.0
_MOST_SCANS: Final = 8.0  # plain scans of 64 K characters that one bounded text may cost


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
        most = _MOST_SCANS * plain_s(KIB_64)
        took, text = max((_least_cpu_s(work, text, bound, most), text) for _, text in timed[:3])
        return Worst(text, took / plain_s(bound), took <= most)
    for took, text in timed[:_MOST_SUSPECTS]:
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
            if after < _MOST_GROWTH * before:
                break
            before = max(before, _cpu_s(work, text, chars // _TIMES))
            after = min(after, _cpu_s(work, text, chars))
        if after == _ENDLESS_S or after >= max(_SURE_S, _MOST_GROWTH * before):
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
