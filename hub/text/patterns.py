r"""Linear-time regular expressions for patterns of owners, refused if they match empty text. Pure functions.

Python's ``re`` backtracks: some texts of thirty characters keep it busy for days, and it cannot be
interrupted. Here all alternatives are followed at once (K. Thompson, Regular expression search algorithm,
CACM 11, 1968; R. Cox, Regular expression matching can be simple and fast, 2007), and transitions are cached.
The price is that constructs which need to look back are not supported: ``\1``, ``(?=``, ``(?<=``.

A pattern consists of characters, ``.``, ``\d \w \s`` and their opposites, ``[...]``, groups, ``|``, ``* + ?
{m,n}``, ``\b``, and ``^ $`` for the ends of a line; the prefix ``(?i)`` ignores case. Of all matches with the
same start, the longest is returned, never an empty one.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

_MAX_CHARS: Final = 1_000  # of a pattern
_MAX_REPEATS: Final = 200

_REPEAT: Final = re.compile(r"\*|\+|\?|\{(\d{1,9})(?:(,)(\d{1,9})?)?\}")
_CHAR_CLASS: Final = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_AMBIGUOUS_IN_CLASS: Final = re.compile(r"(?<!\\)\[|--|&&|\|\||~~")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_KINDS_OF_CHARS: Final = "dDwWsS"
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r"}


class BadPattern(ValueError):
    """Unusable pattern; the message names the problem and its character, counted from 1."""


class _PatternState(NamedTuple):
    """State that consumes a character matching *test*, checks an *edge*, or neither; then *then* follows."""

    test: re.Pattern[str] | None
    edge: str
    then: list[int]


_Reached = frozenset[int]


class Pattern:
    """Compiled pattern. *source* is the owner's text."""

    def __init__(self, source: str) -> None:
        """Compile a pattern. Raises BadPattern."""
        self.source = source
        self._states, self._first = _Parser(source).parse()
        self._last = 0
        self._settled: dict[tuple[_Reached, str, str], tuple[_Reached, bool]] = {}
        self._steps: dict[tuple[_Reached, str], _Reached] = {}
        start = frozenset((self._first,))
        if any(self._settle(start, before, after)[1] for before in "^wo" for after in "^wo"):
            raise BadPattern("it also matches empty text; it has to match at least one character")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield every match, in order and without overlaps."""
        begins = self._begins(text)
        at = 0
        while begins is not None and (possible := begins.search(text, at)) is not None:
            start = possible.start()
            end = self._longest(text, start)
            if end is None:
                at = start + 1
            else:
                yield start, end
                at = end

    def _begins(self, text: str) -> re.Pattern[str] | None:
        """Return an expression for the characters of *text* that can start a match; ``None`` without any."""
        ways = [
            self._settle(frozenset((self._first,)), before, after)[0] for before in "^wo" for after in "wo"
        ]
        states = frozenset().union(*ways)
        fitting = [char for char in sorted(set(text)) if self._step(states, char)]
        return re.compile(f"[{''.join(map(re.escape, fitting))}]") if fitting else None

    def _longest(self, text: str, start: int) -> int | None:
        reached, longest = frozenset((self._first,)), None
        before = _edge_kind(text, start - 1)
        # The limit of a match bounds the work per character of the worst text.
        for at in range(start, min(start + 512, len(text)) + 1):
            after = _edge_kind(text, at)
            reached, is_match = self._settle(reached, before, after)
            if is_match:
                longest = at
            if at == len(text) or not reached:
                break
            reached, before = self._step(reached, text[at]), after
        return longest

    def _settle(self, reached: _Reached, before: str, after: str) -> tuple[_Reached, bool]:
        """Return the states that wait for a character, and whether the end was reached."""
        key = reached, before, after
        known = self._settled.get(key)
        if known is None:
            known = self._settled[key] = self._follow(reached, before, after)
            _forget(self._settled)
        return known

    def _follow(self, reached: _Reached, before: str, after: str) -> tuple[_Reached, bool]:
        todo, seen = list(reached), set(reached)
        while todo:
            state = self._states[todo.pop()]
            if state.test is None and _is_at(state.edge, before, after):
                fresh = [following for following in state.then if following not in seen]
                seen.update(fresh)
                todo += fresh
        waiting = frozenset(number for number in seen if self._states[number].test is not None)
        return waiting, self._last in seen

    def _step(self, reached: _Reached, char: str) -> _Reached:
        key = reached, char
        known = self._steps.get(key)
        if known is None:
            fitting = [self._states[number] for number in reached]
            known = frozenset(
                following
                for state in fitting
                if state.test is not None and state.test.match(char)
                for following in state.then
            )
            self._steps[key] = known
            _forget(self._steps)
        return known


@lru_cache(maxsize=256)
def pattern_of(source: str) -> Pattern:
    """Return the compiled pattern for *source*, cached.

    Raises:
        BadPattern: the pattern is invalid.
    """
    return Pattern(source)


class _Parser:
    """Parser of a pattern; builds the states from the end."""

    def __init__(self, source: str) -> None:
        self._flags = re.NOFLAG
        self._source = source
        self._at = 0
        self._states: list[_PatternState] = [_PatternState(None, "end", [])]

    def parse(self) -> tuple[list[_PatternState], int]:
        if len(self._source) > _MAX_CHARS:
            raise BadPattern(f"longer than {_MAX_CHARS} characters")
        if self._source.startswith("(?i)"):
            self._flags, self._at = re.IGNORECASE, 4
        tree = self._choice()
        if self._at < len(self._source):
            raise self._bad("a ) that closes nothing; write \\) for the sign itself")
        return self._states, self._build(tree, 0)

    def _choice(self) -> "_Node":
        options = [self._row()]
        while self._has("|"):
            options.append(self._row())
        return options[0] if len(options) == 1 else _Alternatives(options)

    def _row(self) -> "_Node":
        parts: list[_Node] = []
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            part = self._part()
            if (counted := _REPEAT.match(self._source, self._at)) is not None:
                part = self._repeat(part, counted)
            parts.append(part)
        return _Sequence(parts)

    def _repeat(self, part: "_Node", counted: re.Match[str]) -> "_Node":
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(counted.group(), (0, 0))
        if counted[1] is not None:
            least = int(counted[1])
            most = (int(counted[3]) if counted[3] else None) if counted[2] else least
        if max(least, most or 0) > _MAX_REPEATS or (most is not None and most < least):
            raise self._bad(f"a count must be from 0 to {_MAX_REPEATS}, the smaller first")
        if isinstance(part, _Edge):
            raise self._bad("an edge cannot be repeated")
        self._at = counted.end()
        if self._source[self._at : self._at + 1] in ("*", "+", "?"):
            raise self._bad("one count after the other; the longest is found anyhow")
        return _Repeat(part, least, most)

    def _part(self) -> "_Node":
        char = self._source[self._at]
        if char == "(":
            return self._group()
        if char == "[":
            return self._char_class()
        if char == "\\":
            return self._escaped()
        if char in "*+?{":
            raise self._bad(f"a {char} that counts nothing; write \\{char} for the sign itself")
        self._at += 1
        if char in "^$":
            return _Edge(char)
        return self._single(r"[^\r\n]" if char == "." else re.escape(char))

    def _group(self) -> "_Node":
        opened = self._at
        self._at += 1
        if self._has("?") and not self._has(":"):
            raise self._bad("only ( and (?: open a group; looking ahead or back is not possible here")
        if self._source.count("(", 0, opened) > _MAX_REPEATS:
            raise self._bad("too many groups")
        inner = self._choice()
        if not self._has(")"):
            raise BadPattern(
                f"the ( at character {opened + 1} is never closed; write \\( for the sign itself"
            )
        return inner

    def _char_class(self) -> "_Node":
        match = _CHAR_CLASS.match(self._source, self._at)
        if match is None:
            raise self._bad("a [ that is never closed; write \\[ for the sign itself")
        if _AMBIGUOUS_IN_CLASS.search(match.group(), 1):
            raise self._bad("inside [...] write \\ before [ - & | ~")
        node = self._single(match.group())
        self._at = match.end()
        return node

    def _escaped(self) -> "_Node":
        char = self._source[self._at + 1 : self._at + 2]
        if not char:
            raise self._bad("a \\ with nothing behind it")
        if (
            char.isascii()
            and char.isalnum()
            and char not in _KINDS_OF_CHARS
            and char not in ("b", *_CONTROLS)
        ):
            raise self._bad(f"\\{char} is not known here")
        self._at += 2
        if char == "b":
            return _Edge("b")
        return self._single(f"\\{char}" if char in _KINDS_OF_CHARS else re.escape(_CONTROLS.get(char, char)))

    def _single(self, source: str) -> "_Node":
        try:
            return _Single(re.compile(source, self._flags))
        except re.error as error:
            raise self._bad(error.msg) from None

    def _has(self, sign: str) -> bool:
        is_here = self._source.startswith(sign, self._at)
        self._at += len(sign) * is_here
        return is_here

    def _bad(self, what: str) -> BadPattern:
        return BadPattern(f"{what} (character {self._at + 1})")

    def _build(self, node: "_Node", then: int) -> int:
        """Add the states for *node* followed by state *then*; return the start state."""
        match node:
            case _Single(test):
                return self._add(_PatternState(test, "", [then]))
            case _Edge(kind):
                return self._add(_PatternState(None, kind, [then]))
            case _Sequence(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case _Alternatives(options):
                return self._add(_PatternState(None, "", [self._build(option, then) for option in options]))
            case _Repeat(part, least, most):
                begin = then
                if most is None:
                    begin = self._add(_PatternState(None, "", [then]))
                    self._states[begin].then.append(self._build(part, begin))
                else:
                    for _ in range(most - least):
                        begin = self._add(_PatternState(None, "", [self._build(part, begin), then]))
                for _ in range(least):
                    begin = self._build(part, begin)
                return begin

    def _add(self, state: _PatternState) -> int:
        if len(self._states) >= 2_000:  # limit of the expansion of {m,n} and groups
            raise BadPattern("its counts make it too large; count less, or fewer times")
        self._states.append(state)
        return len(self._states) - 1


class _Single(NamedTuple):
    test: re.Pattern[str]


class _Edge(NamedTuple):
    kind: str


class _Sequence(NamedTuple):
    parts: "list[_Node]"


class _Alternatives(NamedTuple):
    options: "list[_Node]"


class _Repeat(NamedTuple):
    part: "_Node"
    least: int
    most: int | None


_Node = _Single | _Edge | _Sequence | _Alternatives | _Repeat


def _edge_kind(text: str, at: int) -> str:
    """Return the kind of a character for edges: ``^`` line end, ``w`` letter or digit, ``o`` other."""
    if not 0 <= at < len(text) or text[at] in "\r\n":
        return "^"
    return "w" if text[at].isalnum() or text[at] == "_" else "o"


def _is_at(edge: str, before: str, after: str) -> bool:
    match edge:
        case "b":
            return (before == "w") != (after == "w")
        case "^":
            return before == "^"
        case "$":
            return after == "^"
        case _:
            return True


def _forget(remembered: dict[_Key, _Value]) -> None:
    if len(remembered) > 20_000:  # cached transitions; beyond that, the cache is cleared
        remembered.clear()
