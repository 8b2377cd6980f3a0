"""What asking a gateway may end with. One question decides most: may it have been done all the same?"""

from collections.abc import Mapping
from typing import Any

from protocol.errors import CATALOGUE, ErrorCode, HubError


class GatewayError(HubError):
    """A request to a gateway did not lead to an answer that can be used.

    Attributes:
        gateway: its name.
        dispatched: the gateway may have done it, in whole or in part: the frame may have left and no
            clear answer came. Then the same idempotency key goes again, or one looks first.
        reason: the most exact word for programs in the gateway's refusal; empty where there was none.
        details: what the refusal told besides; may be empty.
        retry_after_ms: the least to wait before the next try; ``None``: nothing was said.
    """

    code = ErrorCode.GATEWAY_REFUSED

    def __init__(
        self,
        message: str,
        *,
        gateway: str,
        dispatched: bool,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.gateway = gateway
        self.dispatched = dispatched
        self.reason = reason
        self.details: Mapping[str, Any] = details or {}
        self.retry_after_ms = retry_after_ms
        self._retryable = CATALOGUE[self.code].retryable if retryable is None else retryable

    @property
    def retryable(self) -> bool:
        """Whether trying again, unchanged, may help."""
        return self._retryable


class GatewayRefused(GatewayError):
    """The gateway said no."""


class GatewayForbidden(GatewayError):
    """We have not the scope for it; it was not done."""

    code = ErrorCode.GATEWAY_FORBIDDEN


class GatewayUnreachable(GatewayError):
    """No connection, or one that ended before the answer, or the gateway is busy just now."""

    code = ErrorCode.GATEWAY_UNREACHABLE


class GatewayTimedOut(GatewayError):
    """No answer within the deadline."""

    code = ErrorCode.GATEWAY_TIMED_OUT


class GatewayInvalid(GatewayError):
    """The gateway's answer is not what it has to be; the method may have run."""

    code = ErrorCode.GATEWAY_INVALID


class FileConflict(GatewayRefused):
    """The file is not what it was when it was read; nothing was written.

    *current_hash*: SHA-256 of what is there now, hex; ``None``: it is not there any more.
    """

    def __init__(
        self, message: str, *, gateway: str, current_hash: str | None, details: Mapping[str, Any]
    ) -> None:
        super().__init__(
            message, gateway=gateway, dispatched=False, reason="agent_file_conflict", details=details
        )
        self.current_hash = current_hash
