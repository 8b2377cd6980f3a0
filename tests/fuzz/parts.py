"""Readers of a part of a foreign text, each with the shapes that once took it long; see ``doubling``."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from hub.connectors.mime import read_head
from hub.device.sinks.text_file import TextFile
from hub.text.html import TooTangled, text_of_html
from hub.text.rows.lines import Markdown
from protocol.frame import MAX_CONTAINERS, MAX_EXTREME_NUMBERS, check_numbers, check_value
from protocol.tables import TABLES

Shape = Callable[[int], str]


class Part(NamedTuple):
    """Function that reads a text, and the shapes of its texts by name."""

    read: Callable[[str], object]
    shapes: Mapping[str, Shape]


def between(before: str, pump: str, behind: str = "") -> Shape:
    """Return the shape of *pump* over and over between two texts."""
    return lambda chars: f"{before}{pump * (chars // len(pump))}{behind}"


_ENTERED: Final = "1e308," * (MAX_EXTREME_NUMBERS + 1) + "[" * (MAX_CONTAINERS + 1)  # the checks look closer
_JSON: Final = (
    *('\\"', "\\", '\\\\"', '"', '""', '"a', '"a",', '"\\"', '["', '{"a":"\\"b', '"[",', "[", "1e308,"),
    *('\\u0022"', '"\\\\",', '\n"', '\x00"', '"\\"\\""'),
)
_MAIL: Final = (
    *'"(<,;:@\\\v\xa0',
    *("\\(", '"\\', "a <", "a@b ", "x:", "g: a@b;", "<a@b>", "\r\n ", "[("),
    *("=?", "=?utf-8?q?a", "=?utf-8?b?", "=?x?q?=41?= ", "=?punycode?q?a9?=", "é"),
)
_FIELDS: Final = (
    *("from", "to", "cc", "subject", "date", "message-id", "list-id", "authentication-results"),
)
_PAGES: Final = {
    "rules": lambda chars: f"<style>{'p{color:red}' * (chars // 24)}</style>{'<p>a' * (chars // 8)}",
    "rules of all elements": lambda chars: (
        f"<style>{'b * * * * *{color:red}' * (chars // 44)}</style>{'<i>' * 90}{'<p>a' * (chars // 8)}"
    ),
    "open brackets": between("<style>", "(", "</style><p>a"),
    "blocks in blocks": between("<style>", "a{", "</style><p>a"),
    "conditions in conditions": between("<style>", "@media screen{", "</style><p>a"),
    "comments": between("<style>", "/*", "</style><p>a"),
    "long inline style": between("<p style='", "color:red;", "'>a"),
    "open colours": between("<p style='color:", "rgb(", "'>a"),
    "open moves": between("<p style='transform:", "translate(", "'>a"),
    "inline styles": between("", "<p style='color:rgb(1,0,0);background:#000'>a"),
    "scopes": lambda chars: "".join(f"<div style='--a{n}:{n}'>" for n in range(chars // 24)),
}
_ROW_KEY: Final = re.compile("hub-[a-z2-7]{16}")


def _check(check: Callable[[bytes], None], text: str) -> None:
    with suppress(msgspec.DecodeError):
        check(f"{_ENTERED}{text}".encode())


def _read_head(text: str) -> None:
    head = read_head(dict.fromkeys(_FIELDS, text))
    head.fields(named=["from"])
    head.is_verified("mx")


def _read_page(text: str) -> None:
    with suppress(TooTangled):
        text_of_html(text)


def _read_rows(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "there"
        path.write_text(text)
        keys = dict.fromkeys(_ROW_KEY.findall(text), TABLES["tasks"])
        TextFile(path, Markdown()).read([str(path)], keys)


def _broken_rows(chars: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    keys = (
        "".join(letters[number // 32**place % 32] for place in range(16)) for number in range(chars // 90)
    )
    return "".join(f"broken {'-' * 60} hub-{key}\n" for key in keys)


PARTS: Final = {
    "values of JSON": Part(
        partial(_check, check_value),
        {f"{begin}{pump}": between(begin, pump) for begin, pump in product(("", '"'), _JSON)},
    ),
    "numbers of JSON": Part(
        partial(_check, check_numbers),
        {f"{begin}{pump}": between(begin, pump) for begin, pump in product(("", '"'), _JSON)},
    ),
    "head of a mail": Part(
        _read_head,
        {
            f"{before}{pump}{behind}": between(before, pump, behind)
            for pump in _MAIL
            for before, behind in (("", ""), ("a <", "b>"), ('"', ""), ("", "<a@b.c>"))
        },
    ),
    "styles of a page": Part(_read_page, _PAGES),
    "rows of a target": Part(_read_rows, {"broken rows": _broken_rows}),
}
