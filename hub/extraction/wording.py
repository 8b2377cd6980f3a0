"""Search for many patterns at once, each only at words with its initial letters. Pure functions.

A single alternation would be tried at every letter of a text, which takes twenty times as long. So the
initial letters of each pattern are derived from it, and it must start with letters: in groups, alternatives
and sets, also optional ones.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

LETTER: Final = "[a-zß-ÿа-яё0-9A]"  # of scripts whose words are separated

BLANK: Final = r"(?:[\W_]{1,4})"  # any separator between two words

_MOST_LETTERS: Final = 5  # of an initial part, counting a blank as one: "the a" excludes what "the" does not
_BLANK: Final = re.compile(BLANK)
_NO_LETTER: Final = LETTER.replace("[", "[^")
_IS_END: Final = rf"(?:(?!{LETTER})|(?<!{LETTER}))"
_GROUP: Final = re.compile(r"\(\?:")
_LOOKAROUND: Final = re.compile(r"\(\?<?[=!]")
_SET: Final = re.compile(r"\[([^\]\\^-]+)\]")
_COUNT: Final = re.compile(r"([?*]|\{0,\d*\}|\{\d+(?:,\d*)?\}|\+)?[?+]?")


class Wording:
    """Search for whole words; in scripts without blanks, words have no borders."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile the patterns. Raises ValueError for a pattern that does not start with a letter."""
        self._options = [
            (option, _beginnings(option)) for pattern in patterns for option, _ in _options(pattern)
        ]
        # By initial letters; compiled when a text contains them.
        self._patterns: dict[str, re.Pattern[str]] = {}
        begins = {begin for _, begins in self._options for begin in begins}
        spaced = set(filter(re.compile(LETTER).match, begins))
        # Letters inside words are skipped, so a word is recognized by the character before it.
        self._spaced = re.compile(rf"{_NO_LETTER}(?=({_one_of(spaced)}))")
        self._unspaced = re.compile(_one_of({begin[0] for begin in begins - spaced}))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield all matches in order; a match that starts inside another is skipped."""
        begins = [(match.start(), _BLANK.sub(" ", match[1])) for match in self._spaced.finditer(f"\n{text}")]
        begins += [(match.start(), match[0]) for match in self._unspaced.finditer(text)]
        after = 0
        for start, begin in sorted(begins):
            if start >= after and (match := self._pattern(begin).match(text, start)):
                after = match.end()
                yield match.span()

    def _pattern(self, begin: str) -> re.Pattern[str]:
        """Return the pattern of all options that may start with *begin*."""
        if (pattern := self._patterns.get(begin)) is None:
            options = [option for option, begins in self._options if _may_be(begin, begins)]
            pattern = re.compile(rf"(?:{'|'.join(options)}){_IS_END}", re.MULTILINE)
            self._patterns[begin] = pattern
        return pattern


def _may_be(begin: str, begins: Iterable[str]) -> bool:
    return any(begin.startswith(one) or one.startswith(begin) for one in begins)


def _one_of(words: set[str]) -> str:
    """Return a pattern for any of *words*, the longest match first, as a trie without repeated prefixes."""
    firsts = sorted({word[0] for word in words if word})
    if not firsts:
        return "" if words else "(?!)"
    options = (
        (BLANK if one == " " else re.escape(one)) + _one_of({word[1:] for word in words if word[:1] == one})
        for one in firsts
    )
    return f"(?:{'|'.join(options)}){'?' if '' in words else ''}"


def _options(pattern: str) -> list[tuple[str, int]]:
    """Return the top-level alternatives of *pattern*, with their ends."""
    options, begin, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "|":
            options.append((pattern[begin:at], at))
            begin = at + 1
        at = _after(pattern, at)
    return [*options, (pattern[begin:], len(pattern))]


def _beginnings(option: str) -> set[str]:
    """Return the initial letters of all matches of *option*, shortened before parts that match anything."""
    cut, whole = _begun(option)
    if "" in cut | whole:
        raise ValueError(f"it may begin with nothing, or with anything: {option}")
    return cut | whole


def _begun(option: str) -> tuple[set[str], set[str]]:
    """Return initial parts that may be followed by anything, and matches shorter than an initial part."""
    cut: set[str] = set()
    whole = {""}
    at = 0
    while at < len(option) and whole:
        end = _after(option, at)
        if _LOOKAROUND.match(option, at):
            at = end
            continue
        part_cut, part_whole = _begun_by(option[at:end])
        count = _COUNT.match(option, end)
        assert count is not None  # it may be empty
        times = count[1] or ""
        if times not in ("", "?"):
            part_cut, part_whole = part_cut | part_whole, set()
        if part_whole == {" "}:
            cut |= {begin for begin in whole if begin.endswith(" ")}  # the end of a blank is unknown then
            whole = {begin for begin in whole if not begin.endswith(" ")}
        longer = {begin + more for begin in whole for more in part_whole}
        cut |= {(begin + more)[:_MOST_LETTERS] for begin in whole for more in part_cut}
        cut |= {begin[:_MOST_LETTERS] for begin in longer if len(begin) >= _MOST_LETTERS}
        is_optional = times[:2] in ("?", "*", "{0")
        whole = {begin for begin in longer if len(begin) < _MOST_LETTERS} | (whole if is_optional else set())
        at = count.end()
    return cut, whole


def _begun_by(part: str) -> tuple[set[str], set[str]]:
    """Return the same for a single character, a set of letters or a group."""
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
    """Return the position after the character, set or group at a position."""
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
