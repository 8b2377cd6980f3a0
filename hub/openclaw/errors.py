"""Errors of requests to gateways. Each reports whether the request may have been carried out."""

from collections.abc import Mapping
from typing import Any

from protocol.errors import CATALOGUE, ErrorCode, HubError


class GatewayError(HubError):
    """A request to a gateway without a usable answer.

    Attributes:
        gateway: its name.
        dispatched: True if the gateway may have carried out the request in whole or in part. Retry with the
            same idempotency key, or check the state first.
        reason: the most specific machine-readable word of the gateway's refusal, or empty.
        details: further data of the refusal, possibly empty.
        retry_after_ms: minimum wait before a retry; None if unknown.
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
        """True if an unchanged retry may succeed."""
        return self._retryable


class GatewayRefused(GatewayError):
    """The gateway refused the request."""


class GatewayForbidden(GatewayError):
    """The hub lacks the scope for the request, which was not carried out."""

    code = ErrorCode.GATEWAY_FORBIDDEN


class GatewayUnreachable(GatewayError):
    """The gateway is busy, not connected, or the connection ended before the answer."""

    code = ErrorCode.GATEWAY_UNREACHABLE


class GatewayTimedOut(GatewayError):
    """The gateway did not answer within the deadline."""

    code = ErrorCode.GATEWAY_TIMED_OUT


class GatewayInvalid(GatewayError):
    """The gateway's answer is malformed; the method may have been carried out."""

    code = ErrorCode.GATEWAY_INVALID


class FileConflict(GatewayRefused):
    """The file has changed since it was read; nothing was written.

    Attributes:
        current_hash: SHA-256 of the current file, hex; None if the file was deleted.
    """

    def __init__(
        self, message: str, *, gateway: str, current_hash: str | None, details: Mapping[str, Any]
    ) -> None:
        super().__init__(
            message, gateway=gateway, dispatched=False, reason="agent_file_conflict", details=details
        )
        self.current_hash = current_hash
