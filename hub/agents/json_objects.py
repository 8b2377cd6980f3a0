"""Validation of the JSON objects that devices and people store with an agent."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from protocol.errors import CodedError, ErrorCode
from protocol.frame import MAX_RESULT_DEPTH, Parameters

NUL: Final = b"\\u0000"  # JSON escape of the null character, which PostgreSQL cannot store in text


class _Held(msgspec.Struct):
    """Wrapper of a document: msgspec caches decoders of structs, but not of unions (12 ms each)."""

    value: Parameters


def validated_object(name: str, given: Mapping[str, Any], *, most: int, limit: str) -> dict[str, Any]:
    """Return a validated copy of *given*.

    Args:
        name: name of the field, for error messages.
        most: limit in bytes as JSON, called *limit* in a refusal.

    Raises:
        CodedError (BAD_PARAMS): too deeply nested, or has a number or character that cannot be stored.
        CodedError (TOO_LARGE): larger than *most*.
    """
    try:
        checked: dict[str, Any] = msgspec.convert({"value": given}, _Held).value
        encoded = msgspec.json.encode(checked)
    except msgspec.ValidationError as exc:
        expected = f"expected a JSON object whose values have at most {MAX_RESULT_DEPTH} levels"
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{name}: {expected}: {str(exc).replace('$.value', '$')}"
        ) from exc
    except UnicodeEncodeError as exc:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{name}: half a character, which no text has: {exc.object[exc.start]!a}"
        ) from exc
    if NUL in encoded:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{name}: a null character, which cannot be kept; leave it out"
        )
    if len(encoded) > most:
        problem = f"{len(encoded)} bytes as JSON, and {most} are kept ({limit})"
        raise CodedError(ErrorCode.TOO_LARGE, f"{name}: {problem}; leave out what is not needed", limit=limit)
    return checked
