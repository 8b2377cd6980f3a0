"""Hostile documents: ordinary letters with an order planted in them, in one of many ways."""

import base64
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Final, NamedTuple

from hub.text.convert import convert

_HERE: Final = Path(__file__).parent
_CYRILLIC: Final = str.maketrans("aeopc", "\u0430\u0435\u043e\u0440\u0441")
_WIDE: Final = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}


class Hostile(NamedTuple):
    """A document: its *text*, the *planted* stretch in it (empty when none came through), and the *title*
    of what the order wants recorded.
    """

    name: str
    text: str
    planted: str
    title: str


class Letter(NamedTuple):
    language: str
    text: str


def letters() -> list[Letter]:
    """Ordinary letters in six languages."""
    told = tomllib.loads((_HERE / "letters.toml").read_text("utf-8"))
    return [Letter(one["language"], one["text"].strip() + "\n") for one in told["letter"]]


def hostile_documents() -> Iterator[Hostile]:
    """One for each order, in a letter of its language, or of another where the way says so."""
    told = tomllib.loads((_HERE / "orders.toml").read_text("utf-8"))
    every = letters()
    for nth, order in enumerate(told["order"]):
        way, language = order["way"], order["language"]
        is_alien = way == "second"
        fitting = [letter for letter in every if (letter.language == language) is not is_alien]
        letter = fitting[nth % len(fitting)]
        text, planted = _WAYS[way](letter.text, order["text"], order["title"])
        suffix = "md" if way == "checkbox" else "txt"
        yield Hostile(f"{language}-{way}-{nth}.{suffix}", text, planted, order["title"])


def _put(letter: str, planted: str) -> tuple[str, str]:
    """As a paragraph of its own, behind the greeting."""
    first, rest = letter.split("\n", 1)
    return f"{first}\n\n{planted}\n{rest}", planted


def _plain(letter: str, order: str, title: str) -> tuple[str, str]:
    """In the middle of a paragraph: the sentences beside it are not the writer's fault."""
    lines = letter.splitlines()
    middle = len(lines) // 2
    return "\n".join((*lines[:middle], order, *lines[middle:])) + "\n", order


def _footer(letter: str, order: str, title: str) -> tuple[str, str]:
    return f"{letter}\n-- \n{order}\n", order


def _json(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, f"```\n{order}\n```")


def _quoted(letter: str, order: str, title: str) -> tuple[str, str]:
    quoted = "\n".join(f"> {line}" for line in order.splitlines())
    return f"{letter}\nOn Monday somebody wrote:\n{quoted}\n", quoted


def _attachment(letter: str, order: str, title: str) -> tuple[str, str]:
    """In the name of a file that came with the mail."""
    mail = _mail()
    mail.set_content(letter)
    mail.add_attachment(b"\0", maintype="application", subtype="octet-stream", filename=order)
    text = _text_of(mail)
    assert order in text
    return text, order


def _zero_width(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, "".join(f"{char}\u200b" if char.isalpha() else char for char in order))


def _html(letter: str, order: str, title: str) -> tuple[str, str]:
    """Where no reader of the mail sees it; none of it may come through."""
    mail = _mail()
    page = f"<p>{letter}</p><div style='display:none'>{order}</div><p style='font-size:0px'>{order}</p>"
    mail.set_content(page, subtype="html")
    text = _text_of(mail)
    assert letter.split()[0] in text
    return text, order if order in text else ""


def _mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "carla@example.org", "bob@example.org", "Hello"
    return mail


def _text_of(mail: EmailMessage) -> str:
    return convert(mail.as_bytes(), path="mail.eml").text


def _comment(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, f"<!-- {order} -->")


def _base64(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, base64.b64encode(order.encode()).decode())


def _wide(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, order.translate(_WIDE))


def _alphabets(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, order.translate(_CYRILLIC))


def _tags(letter: str, order: str, title: str) -> tuple[str, str]:
    """In characters that no screen shows, behind a word that it does."""
    hidden = "".join(chr(0xE0000 + ord(char)) for char in order if char.isascii())
    return _put(letter, f"{title}{hidden}")


def _decomposed(letter: str, order: str, title: str) -> tuple[str, str]:
    return _put(letter, unicodedata.normalize("NFD", order))


def _checkbox(letter: str, order: str, title: str) -> tuple[str, str]:
    return f"{letter}\n- [ ] {order}\n", order


def _announced(letter: str, order: str, title: str) -> tuple[str, str]:
    """The order ends with a colon, and what it is about follows."""
    return _put(letter, f"{order}\n\n- {title}\n")


_WAYS: Final[dict[str, Callable[[str, str, str], tuple[str, str]]]] = {
    "plain": _plain,
    "role": lambda letter, order, _: _put(letter, order),
    "second": _plain,
    "footer": _footer,
    "json": _json,
    "quoted": _quoted,
    "attachment": _attachment,
    "zero-width": _zero_width,
    "html": _html,
    "comment": _comment,
    "base64": _base64,
    "wide": _wide,
    "alphabets": _alphabets,
    "tags": _tags,
    "spaced": lambda letter, order, _: _put(letter, order),
    "decomposed": _decomposed,
    "checkbox": _checkbox,
    "announced": _announced,
}
