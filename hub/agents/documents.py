"""JSON objects that come from outside and are kept: bounded, and with nothing that a database cannot keep."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from protocol.errors import ErrorCode, HubError
from protocol.frame import MAX_RESULT_DEPTH, Parameters

NUL: Final = b"\\u0000"  # as JSON spells it; PostgreSQL keeps none in a text


class _Held(msgspec.Struct):
    """A document as the field of a struct: msgspec caches those, a bare union costs it 12 ms each time."""

    value: Parameters


class BadDocument(HubError):
    """It is no JSON object as it is kept here."""

    code = ErrorCode.BAD_PARAMS


class DocumentTooLarge(HubError):
    """It has more bytes than are kept. *limit* is the name of the bound."""

    code = ErrorCode.TOO_LARGE

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


def document(name: str, given: Mapping[str, Any], *, most: int, limit: str) -> dict[str, Any]:
    """*given*, checked.

    Args:
        name: what it is called where it came in.
        most: bytes as JSON; *limit* is how ``[limits]`` calls them.

    Raises:
        BadDocument: it is too deep, or has a number or a character that is not kept.
        DocumentTooLarge
    """
    try:
        checked: dict[str, Any] = msgspec.convert({"value": given}, _Held).value
        told = msgspec.json.encode(checked)
    except msgspec.ValidationError as exc:
        expected = f"expected a JSON object whose values have at most {MAX_RESULT_DEPTH} levels"
        raise BadDocument(f"{name}: {expected}: {str(exc).replace('$.value', '$')}") from exc
    except UnicodeEncodeError as exc:
        raise BadDocument(f"{name}: half a character, which no text has: {exc.object[exc.start]!a}") from exc
    if NUL in told:
        raise BadDocument(f"{name}: a null character, which cannot be kept; leave it out")
    if len(told) > most:
        kept = f"{len(told)} bytes as JSON, and {most} are kept ({limit})"
        raise DocumentTooLarge(f"{name}: {kept}; leave out what is not needed", limit=limit)
    return checked
