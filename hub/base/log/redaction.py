"""Removal of secrets and document text from log entries: which forms and fields are recognized.

Tokens and keys are recognized by their form, passwords by their context, and document content by the name of
its field. This is the last line of defence: callers should not log any of it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from hub.base.printable import one_line
from protocol.secret_rules import REDACTED, SECRET_FIELD, redact_secrets

MAX_TEXT: Final = 2_000  # characters of one value


_MAX_READ: Final = 65_536  # characters of one value; the middle of a longer one is never shown


# Names of fields with document content, logged only with log.content = true.
CONTENT_FIELDS: Final = frozenset(
    {"completion", "content", "data", "document", "item", "items_found", "prompt", "quote", "text"}
)


LAST_WORDS: Final = "; its last words: "  # of a program that reads documents: before them in a message


_ID: Final = re.compile(r"[0-9a-f-]{1,40}\Z")  # most values are ids, and no secret has this form


# Pydantic's quotation of invalid input.
_QUOTED_INPUT: Final = re.compile(r"(input_value=).*?(?=, input_type=|\]$|\Z)", re.DOTALL)


def redact(text: str, *, content: bool = False) -> str:
    """Return *text* without secrets; also without content that an error quotes, unless *content*."""
    text = redact_secrets(text)
    before, mark, words = text.partition(LAST_WORDS)
    text = f"{before}{mark}{REDACTED}" if words and not content else text
    return text if content or "input_value=" not in text else _QUOTED_INPUT.sub(rf"\1{REDACTED}", text)


def redact_fields(fields: Mapping[str, object], *, content: bool = False) -> dict[str, object]:
    """Return *fields* as plain values, redacted, each text at most MAX_TEXT characters.

    Args:
        content: True if document content may be logged.
    """
    return {
        name: REDACTED if _is_hidden(name, value, content) else _plain(value, content)
        for name, value in fields.items()
    }


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """Return *text*, or its two ends if it is longer than *most* characters."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end]} [{len(text) - most} characters cut] {text[-end:]}"


def _is_hidden(name: object, value: object, content: bool) -> bool:
    if value is None or isinstance(value, bool | int | float):
        return False  # a count of tokens is not a token
    return _is_secret(str(name)) or (not content and name in CONTENT_FIELDS)


@lru_cache(maxsize=1_024)
def _is_secret(field: str) -> bool:
    return SECRET_FIELD.search(field[-256:]) is not None


def _plain(value: object, content: bool) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value) if _ID.match(value) else _short(value, content)
        case Mapping():
            return redact_fields({str(name): inner for name, inner in value.items()}, content=content)
        case list() | tuple() | set() | frozenset():
            return [_plain(inner, content) for inner in value]
        case _:
            return _short(str(value), content)


def _short(text: str, content: bool) -> str:
    """Return *text* redacted, and then shortened, as half a secret would not be recognized."""
    return shortened(redact(shortened(text, _MAX_READ), content=content))


MAX_FOREIGN_CHARS: Final = 400  # of a message of another program


def foreign_words(text: str, *, secret: str = "") -> str:
    """Return a message of another program as one printable line of bounded length without secrets.

    Args:
        secret: of the connection to that program, which may have any form.
    """
    text = text[: 10 * MAX_FOREIGN_CHARS]  # half a secret would not be recognized
    text = text.replace(secret, REDACTED) if len(secret) > 5 else text
    text = one_line(redact_secrets(text)).strip()
    return text if len(text) <= MAX_FOREIGN_CHARS else f"{text[:MAX_FOREIGN_CHARS]}…"
