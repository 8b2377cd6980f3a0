"""Meaning of gateway errors: connection state, shortest wait, and whether a request may have taken effect.

Decisions use only structure: exception type, HTTP status, close code, ``code``, ``details.code``,
``retryable``, ``retryAfterMs``. Messages are never used, because gateways may change their wording. The close
codes are OpenClaw's; those of this hub (``protocol.errors``) have other meanings. Pure functions.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from hub.base.outbound.addresses import unreached
from hub.base.outbound.rules import bounded, bounded_wait
from hub.base.tls_faults import certificate_fault, certificate_fix
from hub.openclaw.frames import BadFrame, RefusalBody
from hub.openclaw.gateway_interface import GatewayProblem, GatewayState
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
    """The file has changed since it was read; nothing was written."""


PARKED_S: Final = 60.0  # a pairing request expires at the gateway after 5 min, so retries keep it alive
REFUSED_S: Final = 300.0  # time for which a gateway locks out an address after ten attempts in a minute

ABNORMAL_CLOSE: Final = 1006  # broken without a close frame
SILENT: Final = 4000  # close code sent after two ticks without data

_AUTHORITY: Final = "write its authority's certificate to a file, and name it in ca_file of the gateway"
_MAX_QUOTE: Final = 300  # characters of a gateway's own message


class ConnectionEnd(msgspec.Struct, frozen=True, kw_only=True):
    """End of a connection or of an attempt to connect.

    Attributes:
        state: WAITING, PARKED or REFUSED; STOPPED if the hub ended the connection.
        wait_s: minimum wait before the next attempt.
        was_shown: True if the presented credential was rejected; another credential may succeed.
        is_device_lost: True if the gateway's token for this hub's key is invalid; the gateway's own token may
            still work.
    """

    state: GatewayState
    problem: GatewayProblem
    wait_s: float = 0.0
    was_shown: bool = False
    is_device_lost: bool = False


# Ended by the hub: it stops, the gateway is no longer in hub.toml, or the connection was idle.
STOPPED: Final = ConnectionEnd(
    state="stopped", problem=GatewayProblem("stopped", "the hub is not connected to it")
)


# --- connections ---


def of_opening(where: str, error: Exception) -> ConnectionEnd:
    """Return the end for an error while connecting to *where*."""
    match error:
        case InvalidStatus():
            return _of_status(where, error)
        case ssl.SSLCertVerificationError():
            message = certificate_fault(where, error)
            return _refused("certificate_not_trusted", message, certificate_fix(error, _AUTHORITY))
        case ssl.SSLError():
            return _refused("no_tls", f"{where} does not speak TLS", "check its url in hub.toml")
        case InvalidMessage() | InvalidHandshake():
            return _waiting("no_websocket", f"the server at {where} does not speak WebSocket")
        case ConnectionRefusedError():
            return _waiting("connection_refused", f"nothing listens at {where}", "is the gateway running?")
        case ConnectionResetError():
            hint = "ws:// and wss:// differ: does it speak TLS?"
            return _waiting("connection_reset", f"{where} ended the connection at once", hint)
        case socket.gaierror():
            hint = "is it spelled right in hub.toml, and is this machine online?"
            return _waiting("unknown_host", f"the host of {where} is not known", hint)
        case TimeoutError():
            return _waiting("no_answer", f"{where} does not answer")
        case HubError():  # a forbidden address, or a key that cannot be stored
            return _refused(error.code, str(error), "")
        case BadFrame():
            return _waiting("unreadable", f"{where} does not speak the protocol of gateways")
        case OSError():
            message = unreached(error) or error.strerror or str(error) or type(error).__name__
            return _waiting("connection_failed", f"no connection to {where}: {message}")
        case _:
            return _waiting("connection_failed", f"no connection to {where}: {error or type(error).__name__}")


def _of_status(where: str, error: InvalidStatus) -> ConnectionEnd:
    status = error.response.status_code
    code, message = f"http_{status}", f"{where} answered HTTP {status}"
    if status == 429 or status >= 500:  # 503 is a draining gateway; others come from a proxy in front of it
        after = error.response.headers.get("Retry-After")  # for a date, the usual wait is enough
        return _waiting(code, message, wait_s=bounded(after, least=0.0, most=REFUSED_S, default=0.0))
    return _refused(code, message, "is this the gateway's address? check its url in hub.toml")


def of_refusal(refusal: RefusalBody) -> ConnectionEnd:
    """Return the end for a gateway's refusal, which says more than the close code after it."""
    wait_s, note = bounded_wait((refusal.retry_after_ms or 0.0) / 1000)
    word, message = refusal.word, _quoted(refusal) + note
    if refusal.detail("code") == "PAIRING_REQUIRED":
        return _parked(refusal)
    if refusal.code == "UNAVAILABLE" or refusal.retryable:
        return _waiting(word, message, wait_s=wait_s)
    if word == "AUTH_RATE_LIMITED":
        hint = "the gateway locks this address out for some minutes"
        return _refused(word, message, hint, wait_s=wait_s)
    if word.startswith("DEVICE_AUTH_"):  # the signature was rejected: another token does not help
        return _refused(word, message, _HINTS.get(word, "is a clock wrong, the gateway's or this machine's?"))
    if word == "AUTH_DEVICE_TOKEN_MISMATCH":
        return _refused(word, message, "approve this hub again at the gateway", is_device_lost=True)
    if word.startswith("AUTH_"):
        hint = _HINTS.get(word, "correct the gateway's token in hub.toml")
        return _refused(word, message, hint, wait_s=wait_s, was_shown=True)
    return _refused(word, message, _HINTS.get(word, ""), wait_s=wait_s)


def of_close(code: int | None) -> ConnectionEnd:
    """Return the end for a close code; None means that the connection broke."""
    match code or ABNORMAL_CLOSE:
        case 1012:
            return _waiting("service_restart", "the gateway restarts")
        case 1013:
            return _waiting("try_again_later", "the gateway is starting")
        case 4000:
            return _waiting("silent", "the gateway was silent for two ticks")
        case 4001:
            hint = "the hub's device was removed or given a new token there; approve it again"
            message = "the gateway ended this device's access"
            return _refused("device_removed", message, hint, is_device_lost=True)
        case 1002:
            hint = "is the gateway much older or newer than this hub?"
            return _refused("protocol_error", "the gateway does not speak our protocol", hint)
        case 1008:
            return _waiting("policy_violation", "the gateway ended the connection (1008)")
        case 1009:
            return _waiting("too_large", "a message was too large for one of both")
        case 1000 | 1001:
            return _waiting("closed", "the gateway closed the connection")
        case 1006:
            return _waiting("connection_lost", "the connection broke")
        case other:
            return _waiting("closed", f"the gateway closed the connection ({other})")


_SCOPES_HINT: Final = "approve the scopes that this hub asks for at the gateway: openclaw devices list"
_HINTS: Final = {
    "PROTOCOL_MISMATCH": "update the older of the two: this hub speaks version 4",
    "DEVICE_IDENTITY_REQUIRED": (
        "give the gateway's token in hub.toml, or set device_identity = true for this gateway"
    ),
    "AUTH_TOKEN_MISSING": "give the gateway's token in hub.toml",
    "AUTH_TOKEN_NOT_CONFIGURED": "the gateway has no token of its own; configure one there",
    "AUTH_SCOPE_MISMATCH": _SCOPES_HINT,
    "OPERATOR_ACCESS_DENIED": "ask who runs the gateway to grant this hub access",
    "CONTROL_UI_ORIGIN_NOT_ALLOWED": "something between hub and gateway adds an Origin header; remove it",
}


def _parked(refusal: RefusalBody) -> ConnectionEnd:
    request = refusal.detail("requestId")
    message = {
        "scope-upgrade": "this hub asks for more scopes than were approved",
        "role-upgrade": "this hub asks for another role than was approved",
        "metadata-upgrade": "the gateway requires a new approval of this hub",
    }.get(str(refusal.detail("reason")), "this hub is not approved at the gateway yet")
    is_id = isinstance(request, str) and len(request) <= 128 and request.replace("-", "").isalnum()
    command = f"openclaw devices approve {request}" if is_id else "openclaw devices list"
    problem = GatewayProblem("PAIRING_REQUIRED", message, f"on the gateway's machine: {command}")
    return ConnectionEnd(state="parked", problem=problem, wait_s=PARKED_S)


def _waiting(code: str, message: str, hint: str = "", *, wait_s: float = 0.0) -> ConnectionEnd:
    return ConnectionEnd(state="waiting", problem=GatewayProblem(code, message, hint), wait_s=wait_s)


def _refused(
    code: str,
    message: str,
    hint: str,
    *,
    wait_s: float = 0.0,
    was_shown: bool = False,
    is_device_lost: bool = False,
) -> ConnectionEnd:
    return ConnectionEnd(
        state="refused",
        problem=GatewayProblem(code, message, hint),
        wait_s=max(wait_s, REFUSED_S),
        was_shown=was_shown,
        is_device_lost=is_device_lost,
    )


# --- requests ---


def of_answer(gateway: str, method: str, refusal: RefusalBody) -> GatewayError:
    """Return the error for a refused request.

    Refusals with ``retryable`` or a time to wait happened before the method ran. Any other UNAVAILABLE is an
    error inside the method, which may have been carried out in part.
    """
    wait = bounded_wait((refusal.retry_after_ms or 0.0) / 1000)
    context: dict[str, Any] = {
        "gateway": gateway,
        "reason": refusal.word,
        "details": refusal.details if isinstance(refusal.details, dict) else {},
        "retry_after_ms": None if refusal.retry_after_ms is None else int(wait.seconds * 1000),
    }
    message = f"gateway {gateway}: {method}: {_quoted(refusal)}{wait.note}"
    if refusal.code == "FORBIDDEN" and refusal.detail("code") == "MISSING_SCOPE":
        missing = refusal.detail("missingScope")
        message = (
            f"gateway {gateway} does not let this hub call {method}: the scope {missing} is missing;"
            f" {_SCOPES_HINT}, or give the gateway's own token in hub.toml"
        )
        return GatewayForbidden(message, dispatched=False, **context)
    if refusal.code in ("FORBIDDEN", "NOT_PAIRED"):
        return GatewayForbidden(message, dispatched=False, **context)
    dispatched = _was_dispatched(refusal)
    if refusal.retryable or (refusal.code == "UNAVAILABLE" and refusal.retry_after_ms is not None):
        return GatewayUnreachable(message, dispatched=bool(dispatched), **context)
    if refusal.code == "UNAVAILABLE":
        return GatewayRefused(message, dispatched=dispatched is not False, **context)
    return GatewayRefused(message, dispatched=bool(dispatched), **context)


def _was_dispatched(refusal: RefusalBody) -> bool | None:
    """Return the gateway's own statement whether execution began, or None."""
    was_dispatched = refusal.detail("nodeCommandDispatched")
    if isinstance(was_dispatched, bool):
        return was_dispatched
    return {"not_started": False, "may_have_executed": True}.get(str(refusal.detail("execution")))


def _quoted(refusal: RefusalBody) -> str:
    """Return the gateway's own message on one line, truncated."""
    words = " ".join(refusal.message.split())
    return words if len(words) <= _MAX_QUOTE else f"{words[:_MAX_QUOTE]}..."
