"""Refusals over HTTP: problem details (RFC 9457) with the codes of ``protocol.errors``.

The one map from error code to HTTP status is the catalogue's ``http_status``.
"""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from protocol.errors import CATALOGUE, ErrorCode, HubError

MEDIA_TYPE = "application/problem+json"
_CODES = {
    404: ErrorCode.UNKNOWN_METHOD,
    405: ErrorCode.UNKNOWN_METHOD,
    413: ErrorCode.TOO_LARGE,
}


class Problem(JSONResponse):
    """A refusal as a response: what happened, its stable code, what a person can do.

    *status* differs from the catalogue's only where HTTP has a number of its own
    for the case (405, 421).
    """

    media_type = MEDIA_TYPE

    def __init__(self, code: ErrorCode, detail: str, *, status: int | None = None) -> None:
        info = CATALOGUE[code]
        status = status or info.http_status
        body = {
            "type": f"urn:hub:error:{code}",
            "title": str(code).replace("_", " "),
            "status": status,
            "detail": detail,
            "code": str(code),
            "retryable": info.retryable,
            "hint": info.hint,
        }
        super().__init__(body, status_code=status)


def answer_errors(app: FastAPI) -> None:
    """Make every error that leaves a route a problem."""
    app.exception_handler(HubError)(_hub_error)
    app.exception_handler(RequestValidationError)(_bad_request)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_fault)


async def _hub_error(_: Request, error: HubError) -> Response:
    return Problem(error.code, str(error))


async def _bad_request(_: Request, error: RequestValidationError) -> Response:
    told = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    return Problem(ErrorCode.BAD_PARAMS, told)


async def _http_error(_: Request, error: HTTPException) -> Response:
    """What the framework refused: no such route, not this method, a body too large."""
    code = _CODES.get(error.status_code, ErrorCode.BAD_PARAMS)
    return Problem(code, str(error.detail), status=error.status_code)


async def _fault(_: Request, error: Exception) -> Response:
    # Raised again behind this answer by the framework, and logged by the server with its traceback.
    return Problem(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")
