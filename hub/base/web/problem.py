"""Error responses over HTTP as problem details (RFC 9457), with the status of each error code.

The one map from error code to HTTP status is the catalogue's ``http_status``.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Self

from starlette.responses import JSONResponse

from hub.base.printable import shortened
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.secret_rules import redact_keys

MEDIA_TYPE = "application/problem+json"
BUSY: Final = (429, 503)  # statuses that say when to ask again
RETRY_AFTER: Final = "1"  # seconds, where the end of the cause is not known


class ProblemResponse(JSONResponse):
    """A refusal as a response: what happened, its stable code, what a person can do.

    *status* replaces the catalogue's where HTTP has a more specific number (400, 405, 431, 501).
    *hint* replaces the catalogue's with a more specific hint; *members* are further fields.
    A status of ``BUSY`` always has ``Retry-After``.
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
        body = self.content(code, detail, status=status, hint=hint) | dict(members or {})
        given = dict(headers or {})
        if status == 401:
            given["www-authenticate"] = "Bearer"
        if status in BUSY:
            given.setdefault("retry-after", RETRY_AFTER)
        super().__init__(body, status_code=status, headers=given)

    def render(self, content: Any) -> bytes:
        """Encode the body, without keys that a request or a peer had in its words."""
        return redact_keys(super().render(content).decode()).encode()

    @staticmethod
    def content(code: ErrorCode, detail: str, *, status: int, hint: str = "") -> dict[str, Any]:
        """Return the body of a problem."""
        info = CATALOGUE[code]
        return {
            "type": f"urn:hub:error:{code}",
            "title": str(code).replace("_", " "),
            "status": status,
            "detail": shortened(detail),
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
