"""Search for keys and passwords in a text, before it leaves the device.

The rules are those of gitleaks (``gitleaks.toml``, unchanged) and our own in the same form
(``own_secrets.toml``), matched by RE2: in linear time, whatever a text holds. A rule is compiled when one of
its keywords occurs for the first time. A line with ``gitleaks:allow`` is left out, as by gitleaks. The forms
of a text are searched too: what is coded in it, and cells and items behind their label.
"""

import html
import io
import math
import re
import tomllib
import zipfile
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import re2

from hub.device.text_forms import forms_of
from hub.text.files import NotConvertible

_FILES: Final = ("own_secrets.toml", "gitleaks.toml")
_ALLOW: Final = re.compile(r"(?<!\w)gitleaks:allow(?!\w)")
_AROUND: Final = 200  # bytes of a line around a match in which a mark makes it harmless
# Characters within a secret that a reader does not see, and escapes of Markdown.
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]|\\\\(?=[_*-])")
# A shorter name without a mark before a value has room for no secret; a run may list a million names.
_SHORTEST: Final = 16
_has_mark: Final = re.compile(r"[:=\uff1a|\s]").search
_ENDING: Final = re.compile(r"\.\w{1,5}$")  # of a name; many rules want the end of a word before it
_MAX_UNPACKED: Final = 64 * 1024 * 1024
_PARAGRAPH_END: Final = re.compile(rb"</(?:w:p|text:p|a:p|row|si|c)>")
_TAG: Final = re.compile(rb"<[^<>]*>")


class Secret(NamedTuple):
    """Key or password that was found. *rule*: id of the rule; *line*: from 1."""

    rule: str
    line: int


class _Found(NamedTuple):
    """Match of a rule: the secret, the words that matched, and what is around them in their line."""

    secret: bytes
    match: bytes
    line: bytes


class _Allowed:
    """Exception from rules: texts that look like a secret and are none."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._is_all = table.get("condition") == "AND"
        self._target = table.get("regexTarget", "secret")
        self._stopwords = [word.encode() for word in table.get("stopwords", ())]
        self._regexes = table.get("regexes", [])
        self._paths = table.get("paths", [])

    @cached_property
    def _patterns(self) -> Any:
        return _any_of(self._regexes)

    @cached_property
    def _path_patterns(self) -> Any:
        return _any_of(self._paths)

    def covers(self, found: _Found, path: str) -> bool:
        """Return True if the match is none of a secret."""
        checks = []
        if self._regexes:
            checks.append(self._patterns.search(getattr(found, self._target)) is not None)
        if self._paths:
            checks.append(self._path_patterns.search(path.encode()) is not None)
        if self._stopwords:
            lowered = found.secret.lower()
            checks.append(any(word in lowered for word in self._stopwords))
        return (all if self._is_all else any)(checks)


class _Rule:
    """Rule of one kind of secret."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.id: str = table["id"]
        self.keywords = tuple(word.encode() for word in table.get("keywords", ()))
        self._regex = table["regex"].encode()
        self._path = table.get("path")
        self._entropy = float(table.get("entropy", 0))
        self._group = table.get("secretGroup", 0)
        self._allowed = [_Allowed(one) for one in table.get("allowlists", ())]

    @cached_property
    def _pattern(self) -> Any:
        return re2.compile(self._regex)

    @cached_property
    def _path_pattern(self) -> Any:
        return re2.compile(self._path)

    def matches(self, data: bytes, path: str, allowed: Sequence[_Allowed]) -> Iterator[int]:
        """Yield the places of secrets of this kind."""
        if self._path is not None and self._path_pattern.search(path) is None:
            return
        for match in self._pattern.finditer(data):
            secret = match[self._group] if self._group else next(filter(None, match.groups()), match[0])
            begin, end = max(0, match.start() - _AROUND), match.end() + _AROUND
            before, after = data[begin : match.start()], data[match.end() : end]
            line = before.rpartition(b"\n")[2] + match[0] + after.partition(b"\n")[0]
            found = _Found(secret, match[0], line)
            if self._entropy and _entropy(secret) <= self._entropy:
                continue
            if not any(one.covers(found, path) for one in (*self._allowed, *allowed)):
                yield match.start() + match[0].find(secret)


class _Rules(NamedTuple):
    rules: Sequence[_Rule]
    allowed: Sequence[_Allowed]
    keywords: Sequence[bytes]


def find_secrets(text: str, path: str = "") -> Iterator[Secret]:
    """Yield the secrets in a text by rule.

    Args:
        path: path of a file whose text was not converted: rules may be for a format.
    """
    rules, allowed, keywords = _loaded()
    text = _UNSEEN.sub("", text)
    allowing = {number for number, line in enumerate(text.split("\n"), 1) if _ALLOW.search(line)}
    for form in forms_of(text):
        data = form.text.encode(errors="replace")
        lowered = data.lower()
        present = {word for word in keywords if word in lowered}
        for rule in rules:
            if present.isdisjoint(rule.keywords):
                continue
            counted = row = 0
            for place in rule.matches(data, path, allowed):
                row += data.count(b"\n", counted, place)
                counted = place
                if (line := form.lines[row]) not in allowing:
                    yield Secret(rule.id, line)


def secret_names(names: Sequence[str]) -> dict[str, str]:
    """Return the names of files or folders with a secret in them, and its rule."""
    searched = [name for name in names if len(name) >= _SHORTEST or _has_mark(name)]
    lines = [_ENDING.sub(r"\n\g<0>", name.replace("\n", " "), 1) for name in searched]
    starts = list(accumulate((line.count("\n") + 2 for line in lines), initial=1))
    found = find_secrets("\n\n".join(lines)) if lines else ()
    return {searched[bisect(starts, secret.line) - 1]: secret.rule for secret in found}


def xml_text(data: bytes, check: Callable[[], None]) -> str:
    """Return the text of the XML in an archive, as office files are, without its tags; empty for other files.

    Raises:
        NotConvertible: it unpacks to more than _MAX_UNPACKED bytes.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return ""
    texts, left = [], _MAX_UNPACKED
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if not name.endswith((".xml", ".rels")):
                continue
            check()
            with archive.open(name) as member:
                text = member.read(left + 1)
            left -= len(text)
            if left < 0:
                raise NotConvertible(f"it unpacks to more than {_MAX_UNPACKED} bytes")
            texts.append(_PARAGRAPH_END.sub(b"\n", text))
    return html.unescape(_TAG.sub(b"", b"\n".join(texts)).decode(errors="replace"))


@cache
def _loaded() -> _Rules:
    rules, allowed = [], []
    for name in _FILES:
        with Path(__file__).with_name(name).open("rb") as file:
            tables = tomllib.load(file)
        rules += [_Rule(table) for table in tables["rules"] if "regex" in table]  # else it is one of names
        allowed.append(_Allowed(tables["allowlist"] | {"paths": ()}))  # no ending makes a text harmless
    keywords = {word for rule in rules for word in rule.keywords}
    return _Rules(rules, allowed, sorted(keywords))


def _any_of(regexes: Sequence[str]) -> Any:
    return re2.compile("|".join(f"(?:{regex})" for regex in regexes).encode())


def _entropy(secret: bytes) -> float:
    """Return the Shannon entropy in bits per byte."""
    counts = Counter(secret).values()
    return -sum(count / len(secret) * math.log2(count / len(secret)) for count in counts)
