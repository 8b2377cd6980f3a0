"""Detection of keys and passwords in a text before it leaves the device.

The rules are those of gitleaks (``gitleaks.toml``, unchanged) and our own in the same form
(``own_secrets.toml``), matched by RE2: in linear time, whatever a text holds. A rule is compiled when one of
its keywords occurs for the first time. A line with ``gitleaks:allow`` is left out, as by gitleaks. The forms
of a text are searched too: what is coded in it, and cells and items behind their label. Each form knows the
lines of the text that its own lines come from. The time grows with the text.
"""

import base64
import binascii
import csv
import html
import io
import math
import re
import tomllib
import zipfile
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import re2

from hub.device.exclusion import QUIET
from hub.text.files import NotConvertible

_compile: Final = partial(re2.compile, options=QUIET)
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


_DEPTH: Final = 3  # codings around each other
_LINE_END: Final = r"(?:\r?\n|\\r\\n|\\n)[ \t]*+"
_RUN: Final = re.compile(
    rf"[A-Za-z0-9+/_-]{{40,}}+(?>(?:{_LINE_END}[A-Za-z0-9+/_-]{{4,}}+)+)={{0,2}}"
    r"|[A-Za-z0-9+/_-]{16,}+={0,2}"
)
_BREAKS: Final = re.compile(_LINE_END)
_PIECE: Final = re.compile(r"[A-Za-z0-9+_-]{16,}+={0,2}")  # of a run with slashes, such as a path
_HEX: Final = re.compile(r"(?>(?:[0-9A-Fa-f]{2}){16,})")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_BLANKS: Final = str.maketrans("\r\n\t", "   ")

_WORD: Final = (
    r"(?:passwor[dt]s?|passwörter|passphrases?|passcodes?|passwd|pwd|pw|pass|kennwort|kennwörter"
    r"|mots? de passe|mdp|contraseñas?|claves?|senhas?|wachtwoord(?:en)?|hasł[oa]|lösenord"
    r"|парол[ьи]|密码|口令)"
)
_LABEL: Final = rf"(?:[\w-]{{1,20}}[ _-])?{_WORD}(?:(?:[ _-][\p{{L}}\d_-]{{1,20}}){{0,3}}| \([^()]{{1,30}}\))"
_has_label: Final = _compile(f"(?i){_WORD}").search
_is_label: Final = _compile(f"(?i){_LABEL}").fullmatch
_head: Final = _compile(
    rf"(?i)(?P<indent>\s*)(?:- )?[\"']?(?P<label>{_LABEL})[\"']?\s*[:=]\s*(?P<bracket>\[?)(?P<items>.*)"
).fullmatch
_item: Final = _compile(
    r"(?P<indent>\s*)(?P<mark>- +|[\"'])(?:[\w. -]{1,40}: +)?(?P<value>[^\s\[{].*)"
).fullmatch
_is_name: Final = _compile(r"[\p{L}_][\p{L}\d_ .()/-]*").fullmatch  # of a column
_DELIMITERS: Final = "\t|;,"


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
        self._regexes = tuple(table.get("regexes", ()))
        self._paths = tuple(table.get("paths", ()))

    def covers(self, found: _Found, path: str) -> bool:
        """Return True if the match is none of a secret."""
        checks = []
        if self._regexes:
            checks.append(_any_of(self._regexes).search(getattr(found, self._target)) is not None)
        if self._paths:
            checks.append(_any_of(self._paths).search(path.encode()) is not None)
        if self._stopwords:
            lowered = found.secret.lower()
            checks.append(any(word in lowered for word in self._stopwords))
        return (all if self._is_all else any)(checks)


class _SecretRule:
    """Rule of one kind of secret."""

    def __init__(self, table: Mapping[str, Any], shared: Sequence[Mapping[str, Any]]) -> None:
        self.id: str = table["id"]
        self.keywords = tuple(word.encode() for word in table.get("keywords", ()))
        self._regex = table["regex"].encode()
        self._path = table.get("path")
        self._entropy = float(table.get("entropy", 0))
        self._group = table.get("secretGroup", 0)
        of_several = (allowlist for allowlist in shared if self.id in allowlist["targetRules"])
        self._allowed = [_Allowed(allowlist) for allowlist in (*table.get("allowlists", ()), *of_several)]

    @cached_property
    def _pattern(self) -> Any:
        return _compile(self._regex)

    def matches(self, data: bytes, path: str, allowed: Sequence[_Allowed]) -> Iterator[int]:
        """Yield the places of secrets of this kind."""
        if self._path is not None and re2.search(self._path, path) is None:
            return
        for match in self._pattern.finditer(data):
            secret = match[self._group] if self._group else next(filter(None, match.groups()), match[0])
            begin, end = max(0, match.start() - _AROUND), match.end() + _AROUND
            before, after = data[begin : match.start()], data[match.end() : end]
            line = before.rpartition(b"\n")[2] + match[0] + after.partition(b"\n")[0]
            found = _Found(secret, match[0], line)
            if self._entropy and _entropy(secret) <= self._entropy:
                continue
            if not any(allowlist.covers(found, path) for allowlist in (*self._allowed, *allowed)):
                yield match.start() + match[0].find(secret)


class _Rules(NamedTuple):
    rules: Sequence[_SecretRule]
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
    for form in _forms_of(text):
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
        rules += [
            _SecretRule(table, tables.get("allowlists", ())) for table in tables["rules"] if "regex" in table
        ]  # else it is one of names
        allowed.append(_Allowed(tables["allowlist"] | {"paths": ()}))  # no ending makes a text harmless
    keywords = {word for rule in rules for word in rule.keywords}
    return _Rules(rules, allowed, sorted(keywords))


@cache
def _any_of(regexes: tuple[str, ...]) -> Any:
    return _compile("|".join(f"(?:{regex})" for regex in regexes).encode())


def _entropy(secret: bytes) -> float:
    """Return the Shannon entropy in bits per byte."""
    counts = Counter(secret).values()
    return -sum(count / len(secret) * math.log2(count / len(secret)) for count in counts)


class _Form(NamedTuple):
    """Spelling of a text. *lines*: for each of its lines, the number of the line it comes from, from 1."""

    text: str
    lines: Sequence[int]


def _forms_of(text: str) -> Iterator[_Form]:
    """Yield a text, then its other forms: cells and items with their labels, and codes that are decoded."""
    form = _Form(text, range(1, text.count("\n") + 2))
    yield form
    if (labelled := _labelled(form)) is not None:
        yield labelled
    for _ in range(_DEPTH):
        decoded = _decoded(form)
        if decoded is None:
            return
        yield (form := decoded)


def _decoded(form: _Form) -> _Form | None:
    """Return the form with its codes replaced by their text, or None if it has none."""
    parts: list[str] = []
    lines = [form.lines[0]]
    end = at = 0  # of the text that is taken on, and its line
    for start, stop, inner in _codes(form.text):
        before, code = form.text[end:start], form.text[start:stop]
        lines += form.lines[at + 1 : at + 1 + before.count("\n")]
        at += before.count("\n")
        lines += [form.lines[at]] * inner.count("\n")
        at += code.count("\n")
        parts += before, inner
        end = stop
    if not parts:
        return None
    lines += form.lines[at + 1 :]
    return _Form("".join((*parts, form.text[end:])), lines)


def _codes(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and text of each code."""
    for run in _RUN.finditer(text):
        if (inner := _text_in(run[0])) is not None:
            yield *run.span(), inner
            continue
        for piece in _PIECE.finditer(text, *run.span()):
            if piece.span() != run.span() and (inner := _text_in(piece[0])) is not None:
                yield *piece.span(), inner


def _text_in(code: str) -> str | None:
    """Return the text that base64 or hex has, or None if it is none that a person reads."""
    code = _BREAKS.sub("", code)
    try:
        if _HEX.fullmatch(code):
            data = bytes.fromhex(code)
        else:
            bare = code.rstrip("=").translate(_URL_SAFE)
            data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        if not any(data[1::2]):
            data = data[::2]  # UTF-16, as of PowerShell
        text = data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if text.translate(_BLANKS).isprintable() else None


class _PasswordTable(NamedTuple):
    """Table with columns of passwords. *labels*: the names of those columns by their number."""

    delimiter: str
    width: int
    labels: dict[int, str]


class _List(NamedTuple):
    """List of passwords. *mark*: how an item begins, or several ways."""

    label: str
    indent: int
    mark: str


def _labelled(form: _Form) -> _Form | None:
    """Return the cells and items below a label such as ``password``, each behind it in a line of its own."""
    if _has_label(form.text) is None:
        return None
    found: list[tuple[str, int]] = []
    table: _PasswordTable | None = None
    items: _List | None = None
    for line, number in zip(form.text.split("\n"), form.lines, strict=True):
        if not line.strip():
            table = None
            continue
        if _has_label(line) is not None:
            table = _table_under(line) or table
            if (head := _head(line)) is not None:
                items = None
                if head["bracket"]:
                    found += [
                        (f"{head['label']}: {_bare(item)}", number) for item in head["items"].split(",")
                    ]
                if not head["items"].strip():
                    items = _List(head["label"], len(head["indent"]), "\"'" if head["bracket"] else "-")
                continue
        if table is not None and len(cells := _cells(line, table.delimiter)) == table.width:
            found += [(f"{label}: {cells[at]}", number) for at, label in table.labels.items()]
        if items is not None:
            item = _item(line)
            if item is None or item["mark"][0] not in items.mark or len(item["indent"]) < items.indent:
                items = None
            else:
                found.append((f"{items.label}: {_bare(item['value'])}", number))
    return _Form("\n".join(text for text, _ in found), [number for _, number in found]) if found else None


def _table_under(line: str) -> _PasswordTable | None:
    """Return the table that a line of names begins, or None."""
    delimiter = next((mark for mark in _DELIMITERS if mark in line), None)
    cells = [] if delimiter is None else _cells(line, delimiter)
    labels = {at: cell for at, cell in enumerate(cells) if _is_label(cell)}
    if not labels or delimiter is None or not all(map(_is_name, cells)):
        return None
    return _PasswordTable(delimiter, len(cells), labels)


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "|":
        line = line.strip().strip("|")
    cells = line.split(delimiter)
    if '"' in line:
        with suppress(csv.Error):
            cells = next(csv.reader([line], delimiter=delimiter))
    return [cell.strip(' \t\r*`"') for cell in cells]


def _bare(item: str) -> str:
    return item.strip(" \t\r\"',]")
