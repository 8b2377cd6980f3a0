"""Pure: many patterns looked for at once, each only where a word begins as it does.

One great alternation is tried whole at every letter of a text, which takes twenty times as
long. For this the beginnings of a pattern are read off it, so it has to begin with
letters: in groups, choices and sets of letters, optional ones too.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

LETTER: Final = "[a-zß-ÿа-яё0-9A]"  # of the scripts whose words stand apart

BLANK: Final = r"(?:[\W_]{1,4})"  # between two words, whatever it is

_MOST_LETTERS: Final = 5  # of a beginning, a blank as one: "the a" rules out what "the" does not
_BLANK: Final = re.compile(BLANK)
_NO_LETTER: Final = LETTER.replace("[", "[^")
_IS_END: Final = rf"(?:(?!{LETTER})|(?<!{LETTER}))"
_GROUP: Final = re.compile(r"\(\?:")
_LOOK: Final = re.compile(r"\(\?<?[=!]")
_SET: Final = re.compile(r"\[([^\]\\^-]+)\]")
_COUNT: Final = re.compile(r"([?*]|\{0,\d*\}|\{\d+(?:,\d*)?\}|\+)?[?+]?")


class Wording:
    """Finds whole words: where a script has no blanks, nothing parts them."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError for a pattern that begins with no letter."""
        self._options = [
            (option, _beginnings(option)) for pattern in patterns for option, _ in _options(pattern)
        ]
        self._patterns: dict[str, re.Pattern[str]] = {}  # by beginnings; made when a text has one
        begins = {begin for _, begins in self._options for begin in begins}
        spaced = set(filter(re.compile(LETTER).match, begins))
        # Letters before words are passed over in one go, so a word is told by what stands before it.
        self._spaced = re.compile(rf"{_NO_LETTER}(?=({_one_of(spaced)}))")
        self._unspaced = re.compile(_one_of({begin[0] for begin in begins - spaced}))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Every place, in order; one that begins inside another is passed over."""
        begins = [(match.start(), _BLANK.sub(" ", match[1])) for match in self._spaced.finditer(f"\n{text}")]
        begins += [(match.start(), match[0]) for match in self._unspaced.finditer(text)]
        after = 0
        for start, begin in sorted(begins):
            if start >= after and (match := self._pattern(begin).match(text, start)):
                after = match.end()
                yield match.span()

    def _pattern(self, begin: str) -> re.Pattern[str]:
        """All that a word which begins like this may be."""
        if (pattern := self._patterns.get(begin)) is None:
            options = [option for option, begins in self._options if _may_be(begin, begins)]
            pattern = re.compile(rf"(?:{'|'.join(options)}){_IS_END}", re.MULTILINE)
            self._patterns[begin] = pattern
        return pattern


def _may_be(begin: str, begins: Iterable[str]) -> bool:
    return any(begin.startswith(one) or one.startswith(begin) for one in begins)


def _one_of(words: set[str]) -> str:
    """A pattern for any of *words*, the longest that fits; no letter is looked at twice."""
    firsts = sorted({word[0] for word in words if word})
    if not firsts:
        return "" if words else "(?!)"
    options = (
        (BLANK if one == " " else re.escape(one)) + _one_of({word[1:] for word in words if word[:1] == one})
        for one in firsts
    )
    return f"(?:{'|'.join(options)}){'?' if '' in words else ''}"


def _options(pattern: str) -> list[tuple[str, int]]:
    """The choices at the top of *pattern*, and where each ends."""
    options, begin, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "|":
            options.append((pattern[begin:at], at))
            begin = at + 1
        at = _after(pattern, at)
    return [*options, (pattern[begin:], len(pattern))]


def _beginnings(option: str) -> set[str]:
    """The first letters of whatever *option* matches; fewer than the most where anything may follow them."""
    cut, whole = _begun(option)
    if "" in cut | whole:
        raise ValueError(f"it may begin with nothing, or with anything: {option}")
    return cut | whole


def _begun(option: str) -> tuple[set[str], set[str]]:
    """Beginnings that anything may follow; and whole matches that are no longer than a beginning."""
    cut: set[str] = set()
    whole = {""}
    at = 0
    while at < len(option) and whole:
        end = _after(option, at)
        if _LOOK.match(option, at):
            at = end
            continue
        part_cut, part_whole = _begun_by(option[at:end])
        count = _COUNT.match(option, end)
        assert count is not None  # it may be empty
        times = count[1] or ""
        if times not in ("", "?"):
            part_cut, part_whole = part_cut | part_whole, set()
        if part_whole == {" "}:
            cut |= {begin for begin in whole if begin.endswith(" ")}  # where one ends is not told from there
            whole = {begin for begin in whole if not begin.endswith(" ")}
        longer = {begin + more for begin in whole for more in part_whole}
        cut |= {(begin + more)[:_MOST_LETTERS] for begin in whole for more in part_cut}
        cut |= {begin[:_MOST_LETTERS] for begin in longer if len(begin) >= _MOST_LETTERS}
        is_optional = times[:2] in ("?", "*", "{0")
        whole = {begin for begin in longer if len(begin) < _MOST_LETTERS} | (whole if is_optional else set())
        at = count.end()
    return cut, whole


def _begun_by(part: str) -> tuple[set[str], set[str]]:
    """The same of a sign, a set of letters or a group."""
    if part == BLANK:
        return set(), {" "}
    if _GROUP.match(part):
        begun = [_begun(option) for option, _ in _options(part[3:-1])]
        return set().union(*(cut for cut, _ in begun)), set().union(*(whole for _, whole in begun))
    if (found := _SET.fullmatch(part)) and found[1].isalnum():
        return set(), set(found[1])
    if len(part) == 1 and part.isalnum():
        return set(), {part}
    return {""}, set()


def _after(pattern: str, at: int) -> int:
    """Behind the sign, the set or the group that stands at a place."""
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] == "[":
        return pattern.index("]", at + 2) + 1
    if pattern[at] != "(":
        return at + 1
    at += 1
    while pattern[at] != ")":
        at = _after(pattern, at)
    return at + 1
