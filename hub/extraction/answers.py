"""Tolerant parser of a model's answer; which broken answers count as complete. Pure functions.

Strict JSON is parsed as such. Otherwise the parser tolerates fences, chatter, thoughts, comments, unquoted
names, trailing commas and missing brackets. The one rule: a truncated answer is never taken for a complete
one. Its complete records are returned, with a flag for the truncation.
"""

import json
import re
from typing import Final

import msgspec

# Some models output thoughts first, and some templates drop the opening tag. In an answer that starts with
# JSON, the closing tag can only be a quotation.
_THOUGHTS: Final = re.compile(r"\A\s*+(?![\[{`]).*?</think>", re.DOTALL)
_FENCE: Final = re.compile(r"\A```\w*\s++|```\Z")
_MAX_BROKEN: Final = 50  # brackets in chatter that are tried
# Limit of the total parsing work, as a multiple of the answer's length, which keeps it linear.
_WORK_FACTOR: Final = 4
_DECODER: Final = json.JSONDecoder(strict=False)

_BLANKS: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.{0,300}?\*/)*", re.DOTALL)
_BARE: Final = re.compile(r"[^\s,:{}\[\]\"'\u201c\u201d]+")
_BARE_KEY: Final = re.compile(r"[\w-]++\s*+:")
_QUOTED_KEY: Final = re.compile(r"[\"'\u201c][\w-]+[\"'\u201d]\s*:")
_POINTS: Final = re.compile(r"u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*")  # two escapes may encode one character
_NUMBER: Final = re.compile(r"-?\d{1,18}(?:\.\d+)?")
_CLOSED_BY: Final = {'"': '"', "'": "'", "\u201c": "\u201d", "`": "`"}
_STOPS: Final = {closer: re.compile(rf"[{closer}\\]") for closer in _CLOSED_BY.values()}
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WORDS: Final[dict[str, object]] = {
    "null": None,
    "none": None,
    "undefined": None,
    "true": True,
    "false": False,
}


class UnreadableAnswer(Exception):
    """Answer without a list of records. The message does not quote it, as it may contain the document."""


class ParsedRecords(msgspec.Struct, frozen=True):
    """Complete records of an answer, in order.

    *is_cut*: the answer is truncated after them, or a part of it could not be parsed.
    """

    records: list[object]
    is_cut: bool = False


def read(text: str) -> ParsedRecords:
    """Parse the records of an answer.

    Raises:
        Unreadable: the answer has no records, and not even an empty or truncated list.
    """
    content = _FENCE.sub("", without_thoughts(text).strip()).strip()
    if content == "[]":  # only as the whole answer; elsewhere it may be chatter or a part of a value
        return ParsedRecords([])
    strict = _strictly(content)
    return ParsedRecords(strict) if strict is not None else _tolerantly(content)


def without_thoughts(text: str) -> str:
    """Return *text* from the end of its thoughts on; empty if these never ended."""
    text = _THOUGHTS.sub("", text)
    return "" if text.lstrip().startswith("<think>") else text


def is_whole(text: str) -> bool:
    """Return True if *text* can be parsed as a complete answer."""
    try:
        return not read(text).is_cut
    except UnreadableAnswer:
        return False


def _strictly(text: str) -> list[object] | None:
    """Parse records from valid JSON with surrounding chatter; return ``None`` otherwise."""
    bare: list[object] = []
    is_empty = False
    at, broken, left = 0, 0, _WORK_FACTOR * len(text)
    while broken < _MAX_BROKEN and left >= 0 and (at := _next_bracket(text, at)) >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:  # a ValueError also for a number that is too long
            left -= getattr(error, "pos", len(text)) - at
            at, broken = at + 1, broken + 1
            continue
        if isinstance(value, dict) and isinstance(value.get("items"), list):
            if value["items"]:
                return list(value["items"])
            is_empty = True  # or an example of the format: the answer may follow
        elif isinstance(value, list) and all(isinstance(part, dict) for part in value):
            bare += value
        elif isinstance(value, dict) and "table" in value:
            bare.append(value)
        at = end
    # After a parse error, these may be parts of a broken value, whose other records would be lost silently.
    return bare if not broken and (bare or is_empty) else None


def _tolerantly(text: str) -> ParsedRecords:
    """Parse the records of the first value in *text* that resembles an answer."""
    at, left, is_torn = 0, _WORK_FACTOR * len(text), False
    found: list[object] = []
    for _ in range(_MAX_BROKEN):
        if (at := _next_bracket(text, at)) < 0 or left < 0:
            break
        reader = _JsonReader(text, at)
        try:
            reader.take_value(depth=0, is_list_of_records=True)
        except _Cut:
            if reader.is_an_answer or found:
                return ParsedRecords(found + reader.records, is_cut=True)
            at += 1
        except _BrokenJson:
            is_torn |= reader.is_an_answer or bool(found)
            at += 1
        else:
            if reader.is_list:
                return ParsedRecords(found + reader.records, is_cut=is_torn)
            found += reader.records
            at = reader.at
        left -= reader.at - at
    if found:
        return ParsedRecords(found, is_cut=is_torn)
    raise UnreadableAnswer("no list of records in it")


class _Cut(Exception):
    """Text that ends inside a value."""


class _BrokenJson(Exception):
    """Text that is not JSON even by the tolerant rules."""


class _JsonReader:
    """Tolerant parser of the value at *at*.

    Attributes:
        records: complete records: of a list, or a single object.
        is_list: the value is a list of records, with or without the enclosing object.
        is_an_answer: the text parsed so far must be an answer.
    """

    def __init__(self, text: str, at: int) -> None:
        self.at = at
        self.records: list[object] = []
        self.is_list = False
        self.is_an_answer = False
        self._text = text

    def take_value(self, *, depth: int, is_list_of_records: bool) -> object:
        """Parse the value at the current position."""
        if depth > 24:  # a record has three levels
            raise _BrokenJson
        match self._next():
            case "{":
                return self._take_object(depth, is_outermost=depth == 0)
            case "[":
                return self._take_list(depth, of_records=is_list_of_records)
            case mark if mark in _CLOSED_BY:
                return self._take_string(is_key=False)
            case _:
                return self._take_bare()

    def _take_object(self, depth: int, *, is_outermost: bool) -> dict[str, object]:
        fields: dict[str, object] = {}
        self.at += 1
        while True:
            match self._next():
                case "}":
                    self.at += 1
                    break
                case ",":
                    self.at += 1
                case "]" | "{" if fields:  # a closing brace is missing
                    break
                case _:
                    name = self._take_key()
                    is_items = is_outermost and name == "items"
                    self.is_an_answer |= is_items or (is_outermost and name in ("table", "quote"))
                    fields[name] = self.take_value(depth=depth + 1, is_list_of_records=is_items)
        if is_outermost and "table" in fields and not self.is_list:
            self.records.append(fields)
        return fields

    def _take_list(self, depth: int, *, of_records: bool) -> list[object]:
        values: list[object] = []
        self.at += 1
        while True:
            match self._next():
                case "]":
                    self.at += 1
                    break
                case "}" if depth > 0:  # a closing bracket is missing
                    break
                case ",":
                    self.at += 1
                case _:
                    value = self.take_value(depth=depth + 1, is_list_of_records=False)
                    values.append(value)
                    if of_records and isinstance(value, dict):
                        self.records.append(value)
                        self.is_an_answer |= "table" in value or "quote" in value
        if of_records and (depth > 0 or self.records):
            self.is_list = True
        return values

    def _take_key(self) -> str:
        if self._next() in _CLOSED_BY:
            name = self._take_string(is_key=True)
        elif bare := _BARE.match(self._text, self.at):
            name, self.at = bare.group(), bare.end()
        else:
            raise _BrokenJson
        if self._next() not in (":", "="):
            raise _BrokenJson
        self.at += 1
        return name

    def _take_bare(self) -> object:
        """Parse a number, null, true, false, or a string without quotes."""
        bare = _BARE.match(self._text, self.at)
        if bare is None:
            raise _BrokenJson
        if bare.end() == len(self._text):
            self.at = bare.end()
            raise _Cut
        word, self.at = bare.group(), bare.end()
        if number := _NUMBER.fullmatch(word):
            return float(word) if "." in number.group() else int(word)
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        while self._next() not in (",", "}", "]"):  # further words of an unquoted string
            more = _BARE.match(self._text, self.at)
            if more is None:
                raise _BrokenJson
            word, self.at = f"{word} {more.group()}", more.end()
        return word

    def _take_string(self, *, is_key: bool) -> str:
        """Parse a quoted string; an unescaped quote inside it does not end it."""
        closer = _CLOSED_BY[self._text[self.at]]
        self.at += 1
        parts: list[str] = []
        begin = self.at
        while True:
            match = _STOPS[closer].search(self._text, self.at)
            if match is None:
                self.at = len(self._text)
                raise _Cut
            stop = match.start()
            parts.append(self._text[begin:stop])
            if self._text[stop] == "\\":
                parts.append(self._take_escaped(stop + 1))
                begin = self.at
            elif self._ends_at(stop, is_key=is_key):
                self.at = stop + 1
                return "".join(parts)
            else:
                begin, self.at = stop, stop + 1

    def _take_escaped(self, at: int) -> str:
        if at >= len(self._text):
            self.at = at
            raise _Cut
        if points := _POINTS.match(self._text, at):
            self.at = points.end()
            return str(json.loads(f'"\\{points.group()}"'))
        char, self.at = self._text[at], at + 1
        return _ESCAPED.get(char, char)

    def _ends_at(self, closer: int, *, is_key: bool) -> bool:
        """Return True if the quote ends the string, judged by the text after it."""
        after = _skipped(self._text, closer + 1)
        following = self._text[after : after + 1]
        if is_key:
            return following in (":", "=", "")
        if following != ",":
            return (
                following in ("", "}", "]")
                or "\n" in self._text[closer + 1 : after]
                or bool(_QUOTED_KEY.match(self._text, after))
            )
        after = _skipped(self._text, after + 1)
        following = self._text[after : after + 1]
        return following in ("", "}", "]", "{", "[", *_CLOSED_BY) or bool(_BARE_KEY.match(self._text, after))

    def _next(self) -> str:
        """Skip blanks and comments, and return the next character without consuming it."""
        self.at = _skipped(self._text, self.at)
        if self.at >= len(self._text):
            raise _Cut
        return self._text[self.at]


def _skipped(text: str, at: int) -> int:
    if at < len(text) and text[at] != "/" and not text[at].isspace():  # fast path: nothing to skip
        return at
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _next_bracket(text: str, at: int) -> int:
    found = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(found, default=-1)
