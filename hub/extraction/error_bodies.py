"""Parsing of error responses in the formats of model providers and proxies. Pure.

Known forms: ``error`` as an object or a text, in the body, in its first choice, or in a list; the fields
of an error at the top; ``detail``; a page of a proxy; plain text.
"""

import re
from codecs import BOM_UTF8
from typing import Any, Final

import msgspec

from hub.base.log import foreign_words
from protocol.frame import NO_JSON

# Of the codes and words of an error: the text is too long for the model, or was refused for its content.
_TOO_LARGE: Final = "request too large for"  # of a rate limit: it could never be kept
_TOO_LONG: Final = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|(?:prompt|input) is too (?:long|large)|input token count"
    rf"|too many (?:input )?tokens|{_TOO_LARGE}",
    re.I,
)
_DECLINED: Final = re.compile(
    r"content[ _-]?(?:management[ _-]?)?(?:filter|polic)|responsibleai|data_inspection|moderation|flagged"
    r"|usage polic|safety system|guardrail",
    re.I,
)
_OF_ACCOUNT: Final = frozenset({401, 402, 429})  # with these, few words are about the text
_MAX_BYTES: Final = 65_536  # of an error; only the first words of a longer body are read
_TAG: Final = re.compile(r"<style\b.*?(?:</style|\Z)[^<>]*+>?|<[^<>]*+>", re.I | re.S)  # a style is no text
_ERROR_EVENT: Final = re.compile(rb"""^data:\s*+(\{"error".*)""", re.M)  # of a stream
_PAGE: Final = re.compile(r"\s*+<(?:!doctype|html|head|body|title)\b", re.I)


class ReportedError(msgspec.Struct, frozen=True, kw_only=True):
    """Error that an endpoint reports.

    Attributes:
        status: of the response; of an error in a response without one, as a 200, that which it names.
        codes: its code and type, and those inside of it.
        param: refused parameter, if it names one.
        words: its message, printable and bounded, without secrets.
        is_too_long: the text was too long: it may be asked about in parts, and waiting does not help.
        is_declined: the text was refused for its content: the same question has the same answer.
    """

    status: int
    codes: list[str]
    param: Any
    words: str
    is_too_long: bool
    is_declined: bool

    def __str__(self) -> str:
        code = " ".join((f"HTTP {self.status}", *self.codes[:1]))
        return f"{code}: {self.words}" if self.words else code


def reported_error(body: bytes, status: int, *, secret: str = "") -> ReportedError | None:
    """Return the error in *body*; None for a success without one.

    Of a success without JSON, a page is an error, and an event of a stream may be one. Another body may be an
    answer with the text of a document, as a part of JSON has it: its words are shown nowhere.

    Args:
        secret: key of the endpoint, which its words may repeat.
    """
    body = body.removeprefix(BOM_UTF8)
    if event := _ERROR_EVENT.search(body):
        body = event[1]
    is_page = body.lstrip()[:1] == b"<"  # of a proxy, which knows no text
    try:
        top = msgspec.json.decode(body[:_MAX_BYTES])
    except NO_JSON:
        page = body[:8_192].decode("utf-8", "replace")
        if status < 300 and not _PAGE.match(page):
            return None
        top = {"error": first} if (first := _TAG.sub(" ", page).strip()) else ""
    top = top[0] if isinstance(top, list) and top else top
    choices = member(top, "choices")
    error = member(top, "error") or (isinstance(choices, list) and choices and member(choices[0], "error"))
    if status < 300 and not error:
        return None
    error = error or top
    message = member(error, "message") or _without_input(member(error, "detail")) or error
    codes = [member(error, "code"), member(error, "type"), member(member(error, "innererror"), "code")]
    if status < 300 and codes[0] in range(400, 600):
        status = codes[0]
    parts = (message, member(member(error, "metadata"), "raw") or "")
    texts = [part if isinstance(part, str) else msgspec.json.encode(part).decode() for part in parts if part]
    words = foreign_words(" ".join(" ".join(texts).split()), secret=secret)
    names = [foreign_words(code) for code in codes if isinstance(code, str)]
    known = "" if is_page else " ".join((*names, words))
    is_about_text = status not in (*_OF_ACCOUNT, 404, 408) and status < 500  # not a filter that is away
    is_too_large = _TOO_LARGE in known.lower()
    return ReportedError(
        status=status,
        codes=names,
        param=member(error, "param"),
        words=words,
        is_too_long=is_too_large or (status not in _OF_ACCOUNT and _TOO_LONG.search(known) is not None),
        is_declined=is_about_text and _DECLINED.search(known) is not None,
    )


def _without_input(detail: Any) -> Any:
    """Return what a server says of invalid fields, without their values, which may be a document."""
    if not isinstance(detail, list):
        return detail
    return [
        {"loc": member(problem, "loc"), "msg": member(problem, "msg")}
        for problem in detail
        if member(problem, "msg")
    ]


def member(value: Any, *names: str) -> Any:
    """Return the member at the path *names* of foreign JSON; None if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
