"""Forms of a text in which a secret is spelled otherwise: decoded, or behind the label of its column or list.

Each form knows the lines of the text that its own lines come from. The time grows with the text.
"""

import base64
import binascii
import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import re2

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
_LABEL: Final = rf"(?:[\w-]{{1,20}}[ _-])?{_WORD}(?:[ _-][\w-]{{1,20}}| \([^()]{{1,30}}\))?"
_has_label: Final = re2.compile(f"(?i){_WORD}").search
_is_label: Final = re2.compile(f"(?i){_LABEL}").fullmatch
_head: Final = re2.compile(
    rf"(?i)(?P<indent>\s*)(?:- )?[\"']?(?P<label>{_LABEL})[\"']?\s*[:=]\s*(?P<bracket>\[?)(?P<items>.*)"
).fullmatch
_item: Final = re2.compile(
    r"(?P<indent>\s*)(?P<mark>- +|[\"'])(?:[\w. -]{1,40}: +)?(?P<value>[^\s\[{].*)"
).fullmatch
_is_name: Final = re2.compile(r"[\p{L}_][\p{L}\d_ .()/-]*").fullmatch  # of a column
_DELIMITERS: Final = "\t|;,"


class Form(NamedTuple):
    """Spelling of a text. *lines*: for each of its lines, the number of the line it comes from, from 1."""

    text: str
    lines: Sequence[int]


def forms_of(text: str) -> Iterator[Form]:
    """Yield a text, then its other forms: cells and items with their labels, and codes that are decoded."""
    form = Form(text, range(1, text.count("\n") + 2))
    yield form
    if (labelled := _labelled(form)) is not None:
        yield labelled
    for _ in range(_DEPTH):
        decoded = _decoded(form)
        if decoded is None:
            return
        yield (form := decoded)


def _decoded(form: Form) -> Form | None:
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
    return Form("".join((*parts, form.text[end:])), lines)


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


class _Table(NamedTuple):
    """Table with columns of passwords. *labels*: the names of those columns by their number."""

    delimiter: str
    width: int
    labels: dict[int, str]


class _List(NamedTuple):
    """List of passwords. *mark*: how an item begins, or several ways."""

    label: str
    indent: int
    mark: str


def _labelled(form: Form) -> Form | None:
    """Return the cells and items below a label such as ``password``, each behind it in a line of its own."""
    if _has_label(form.text) is None:
        return None
    found: list[tuple[str, int]] = []
    table: _Table | None = None
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
                    found += [(f"{head['label']}: {_bare(one)}", number) for one in head["items"].split(",")]
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
    return Form("\n".join(text for text, _ in found), [number for _, number in found]) if found else None


def _table_under(line: str) -> _Table | None:
    """Return the table that a line of names begins, or None."""
    delimiter = next((mark for mark in _DELIMITERS if mark in line), None)
    cells = [] if delimiter is None else _cells(line, delimiter)
    labels = {at: cell for at, cell in enumerate(cells) if _is_label(cell)}
    if not labels or delimiter is None or not all(map(_is_name, cells)):
        return None
    return _Table(delimiter, len(cells), labels)


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
