"""Refusals over HTTP: problem details (RFC 9457) with the codes of ``protocol.errors``.

The one map from error code to HTTP status is the catalogue's ``http_status``.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from hub.settings.problems import spell
from hub.settings.sentences import sentence
from protocol.errors import CATALOGUE, ErrorCode, HubError

MEDIA_TYPE = "application/problem+json"
_CODES = {
    404: ErrorCode.UNKNOWN_METHOD,
    408: ErrorCode.HELLO_TIMEOUT,
    405: ErrorCode.UNKNOWN_METHOD,
    413: ErrorCode.TOO_LARGE,
}


class Problem(JSONResponse):
    """A refusal as a response: what happened, its stable code, what a person can do.

    *status* replaces the catalogue's where HTTP has a more specific number (400, 405, 411, 431).
    *hint* replaces the catalogue's with a more specific hint; *members* are further fields.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        status: int | None = None,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        status = status or CATALOGUE[code].http_status
        body = self.told(code, detail, status=status, hint=hint) | dict(members or {})
        given = dict(headers or {})
        if status == 401:
            given["www-authenticate"] = "Bearer"
        super().__init__(body, status_code=status, headers=given)

    @staticmethod
    def told(code: ErrorCode, detail: str, *, status: int, hint: str = "") -> dict[str, Any]:
        """Return the body of a problem."""
        info = CATALOGUE[code]
        return {
            "type": f"urn:hub:error:{code}",
            "title": str(code).replace("_", " "),
            "status": status,
            "detail": detail,
            "code": str(code),
            "retryable": info.retryable,
            "hint": hint or info.hint,
        }

    @classmethod
    def of(cls, error: HubError) -> Self:
        """Return the problem for *error*, with the error's own ``hint`` if it has one.

        The error's ``retry_after_s`` becomes ``Retry-After``; its ``members`` become extension members
        (RFC 9457, 3.2).
        """
        retry_after_s = getattr(error, "retry_after_s", None)
        headers = None if retry_after_s is None else {"retry-after": str(max(1, math.ceil(retry_after_s)))}
        return cls(
            error.code,
            str(error),
            hint=getattr(error, "hint", ""),
            headers=headers,
            members=getattr(error, "members", None),
        )


def refusals(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route for its own refusals, in addition to those of every route."""
    told: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        answer = told.setdefault(CATALOGUE[code].http_status, {"description": "", "x-codes": []})
        answer["x-codes"].append(str(code))
        answer["description"] = ", ".join(answer["x-codes"])
    return told


def answer_errors(app: FastAPI) -> None:
    """Register handlers that convert every error of a route to a problem."""
    app.exception_handler(HubError)(_hub_error)
    app.exception_handler(RequestValidationError)(_bad_request)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_fault)


async def _hub_error(_: Request, error: HubError) -> Response:
    return Problem.of(error)


def _blamed(found: Any) -> tuple[int | str, ...]:
    """Return the location of an error, with the key that a validator of a whole table names."""
    key = found.get("ctx", {}).get("key")
    return (*found["loc"], *(() if key is None else str(key).split(".")))


def _is_told_inside(found: Any, error: RequestValidationError) -> bool:
    """Return whether a list is too short only because of invalid elements, which are reported themselves."""
    place = found["loc"]
    return found["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in error.errors()
    )


async def _bad_request(_: Request, error: RequestValidationError) -> Response:
    wrong = [
        (spell(_blamed(found)), sentence(found["type"], found["msg"], found["input"], found.get("ctx", {})))
        for found in error.errors()
        if not _is_told_inside(found, error)
    ]
    told = "; ".join(f"{where}: {what.message}" for where, what in wrong)
    hints = dict.fromkeys(what.hint for _, what in wrong if what.hint)  # each once
    return Problem(ErrorCode.BAD_PARAMS, told, hint="; ".join(hints))


async def _http_error(_: Request, error: HTTPException) -> Response:
    """Answer a request that the framework refused: unknown route, wrong method, or too large a body."""
    code = _CODES.get(error.status_code, ErrorCode.BAD_PARAMS)
    return Problem(code, str(error.detail), status=error.status_code, headers=error.headers)


async def _fault(_: Request, error: Exception) -> Response:
    # The framework raises the error again after this response; the server logs it with its traceback.
    return Problem(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")
