"""What an end means: of a connection, when to come back; of a request, whether it may go again.

Decided by structure alone: exception type, HTTP status, close code, ``code``, ``details.code``,
``retryable``, ``retryAfterMs``. Never by a message, which a gateway words anew whenever it likes.
The numbers of close codes are OpenClaw's; ours (``protocol.errors``) mean other things. Pure.
"""

import socket
import ssl
from typing import Any, Final

import msgspec
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from hub.openclaw.errors import GatewayError, GatewayForbidden, GatewayRefused, GatewayUnreachable
from hub.openclaw.frames import Refusal, Unreadable
from hub.openclaw.gateway import GatewayState, Problem
from protocol.errors import HubError

PARKED_S: Final = 60.0  # a request to be let in expires after 5 min at the gateway: asked again, it stays
REFUSED_S: Final = 300.0  # a gateway locks out for so long who tries ten times a minute

GONE: Final = 1006  # it broke, without a word
RESTARTS: Final = 1012
SILENT: Final = 4000  # what we close with when nothing was heard for two ticks
_REMOVED: Final = 4001

_MAX_QUOTE: Final = 300  # characters of a gateway's own words


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection, or the try to get one, ended.

    Attributes:
        state: WAITING, PARKED or REFUSED; of one that we ended, STOPPED.
        wait_s: the least to wait before the next try.
        was_shown: what we showed opens nothing; if there is something else to show, that may.
        is_device_lost: the token that the gateway gave this hub's key is dead; its own may let us in again.
    """

    state: GatewayState
    problem: Problem
    wait_s: float = 0.0
    was_shown: bool = False
    is_device_lost: bool = False


# We ended it: the hub stops, the gateway is not in hub.toml any more, nobody used the connection.
STOPPED: Final = Ending(
    state=GatewayState.STOPPED, problem=Problem("stopped", "the hub is not connected to it")
)


# --- connections ---


def of_opening(where: str, error: Exception) -> Ending:
    """Why there is no socket to *where*."""
    match error:
        case InvalidStatus():
            return _of_status(where, error)
        case ssl.SSLCertVerificationError():
            said = f"the certificate of {where} is not trusted ({error.verify_message})"
            return _refused("certificate_not_trusted", said, "let this machine trust it: SSL_CERT_FILE")
        case ssl.SSLError():
            return _refused("no_tls", f"no TLS is spoken at {where}", "look at its url in hub.toml")
        case InvalidMessage() | InvalidHandshake():
            return _waiting("no_websocket", f"what listens at {where} does not speak WebSocket")
        case ConnectionRefusedError():
            return _waiting("connection_refused", f"nothing listens at {where}", "is the gateway running?")
        case ConnectionResetError():
            hint = "ws:// and wss:// differ: does it speak TLS?"
            return _waiting("connection_reset", f"{where} ended the connection at once", hint)
        case socket.gaierror():
            said = f"the host of {where} is not known ({error.strerror})"
            return _waiting("unknown_host", said, "is it spelled right in hub.toml?")
        case TimeoutError():
            return _waiting("no_answer", f"{where} does not answer")
        case HubError():  # an address that may not be called, a key that cannot be kept
            return _refused(error.code, str(error), "")
        case Unreadable():
            return _waiting("unreadable", f"what {where} says is not the protocol of gateways")
        case OSError():
            said = error.strerror or str(error) or type(error).__name__
            return _waiting("connection_failed", f"no connection to {where}: {said}")
        case _:
            return _waiting("connection_failed", f"no connection to {where}: {error or type(error).__name__}")


def _of_status(where: str, error: InvalidStatus) -> Ending:
    status = error.response.status_code
    code, said = f"http_{status}", f"{where} answered HTTP {status}"
    if status == 429 or status >= 500:  # 503 is a gateway that drains; others are of a proxy before it
        return _waiting(code, said, wait_s=_retry_after_s(error.response.headers.get("Retry-After")))
    return _refused(code, said, "is this the gateway's address? look at its url in hub.toml")


def of_refusal(refusal: Refusal) -> Ending:
    """Why the gateway did not let us in. The close code behind it says less."""
    word, said = refusal.word, _quoted(refusal)
    wait_s = (refusal.retry_after_ms or 0.0) / 1000
    if refusal.detail("code") == "PAIRING_REQUIRED":
        return _parked(refusal)
    if refusal.code == "UNAVAILABLE" or refusal.retryable:
        return _waiting(word, said, wait_s=wait_s)
    if word == "AUTH_RATE_LIMITED":
        hint = "the gateway locks this address out for some minutes"
        return _refused(word, said, hint, wait_s=wait_s)
    if word.startswith("DEVICE_AUTH_"):  # what we signed: another token does not help
        return _refused(word, said, _HINTS.get(word, "is a clock wrong, the gateway's or this machine's?"))
    if word == "AUTH_DEVICE_TOKEN_MISMATCH":
        return _refused(word, said, "approve this hub again at the gateway", is_device_lost=True)
    if word.startswith("AUTH_"):
        hint = _HINTS.get(word, "correct the gateway's token in hub.toml")
        return _refused(word, said, hint, wait_s=wait_s, was_shown=True)
    return _refused(word, said, _HINTS.get(word, ""), wait_s=wait_s)


def of_close(code: int | None) -> Ending:
    """Why a connection ended that nothing was said about before. ``None``: it broke."""
    match code or GONE:
        case 1012:
            return _waiting("service_restart", "the gateway restarts")
        case 1013:
            return _waiting("try_again_later", "the gateway is starting")
        case 4000:
            return _waiting("silent", "nothing was heard of the gateway for two ticks")
        case 4001:
            hint = "the hub's device was removed or given a new token there; approve it again"
            said = "the gateway ended this device's access"
            return _refused("device_removed", said, hint, is_device_lost=True)
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


def _parked(refusal: Refusal) -> Ending:
    request = refusal.detail("requestId")
    told = {
        "scope-upgrade": "this hub asks for more scopes than were approved",
        "role-upgrade": "this hub asks for another role than was approved",
        "metadata-upgrade": "the gateway wants this hub approved again",
    }.get(str(refusal.detail("reason")), "this hub is not approved at the gateway yet")
    is_id = isinstance(request, str) and len(request) <= 128 and request.replace("-", "").isalnum()
    command = f"openclaw devices approve {request}" if is_id else "openclaw devices list"
    problem = Problem("PAIRING_REQUIRED", told, f"on the gateway's machine: {command}")
    return Ending(state=GatewayState.PARKED, problem=problem, wait_s=PARKED_S)


def _waiting(code: str, message: str, hint: str = "", *, wait_s: float = 0.0) -> Ending:
    return Ending(state=GatewayState.WAITING, problem=Problem(code, message, hint), wait_s=wait_s)


def _refused(
    code: str,
    message: str,
    hint: str,
    *,
    wait_s: float = 0.0,
    was_shown: bool = False,
    is_device_lost: bool = False,
) -> Ending:
    return Ending(
        state=GatewayState.REFUSED,
        problem=Problem(code, message, hint),
        wait_s=max(wait_s, REFUSED_S),
        was_shown=was_shown,
        is_device_lost=is_device_lost,
    )


# --- requests ---


def of_answer(gateway: str, method: str, refusal: Refusal) -> GatewayError:
    """What a refused request is to whoever asked.

    What the gateway asks to send again (``retryable``, or a time to wait) it refused before the
    method ran. Any other UNAVAILABLE is a fault inside the method: it may have done half of it.
    """
    told: dict[str, Any] = {
        "gateway": gateway,
        "reason": refusal.word,
        "details": refusal.details if isinstance(refusal.details, dict) else {},
        "retry_after_ms": None if refusal.retry_after_ms is None else int(refusal.retry_after_ms),
    }
    said = f"gateway {gateway}: {method}: {_quoted(refusal)}"
    if refusal.code == "FORBIDDEN" and refusal.detail("code") == "MISSING_SCOPE":
        missing = refusal.detail("missingScope")
        said = (
            f"gateway {gateway} does not let this hub call {method}: the scope {missing} is missing;"
            f" {_SCOPES_HINT}, or give the gateway's own token in hub.toml"
        )
        return GatewayForbidden(said, dispatched=False, **told)
    if refusal.code in ("FORBIDDEN", "NOT_PAIRED"):
        return GatewayForbidden(said, dispatched=False, **told)
    dispatched = _was_dispatched(refusal)
    if refusal.retryable or (refusal.code == "UNAVAILABLE" and refusal.retry_after_ms is not None):
        return GatewayUnreachable(said, dispatched=bool(dispatched), **told)
    if refusal.code == "UNAVAILABLE":
        return GatewayRefused(said, dispatched=dispatched is not False, **told)
    return GatewayRefused(said, dispatched=bool(dispatched), **told)


def _was_dispatched(refusal: Refusal) -> bool | None:
    """What the gateway itself says about whether it was begun; ``None``: nothing."""
    told = refusal.detail("nodeCommandDispatched")
    if isinstance(told, bool):
        return told
    return {"not_started": False, "may_have_executed": True}.get(str(refusal.detail("execution")))


def _quoted(refusal: Refusal) -> str:
    """The gateway's own words, on one line and not too many of them."""
    words = " ".join(refusal.message.split())
    return words if len(words) <= _MAX_QUOTE else f"{words[:_MAX_QUOTE]}..."


def _retry_after_s(header: str | None) -> float:
    """Seconds out of a Retry-After header; a date there is passed over."""
    return min(float(header), REFUSED_S) if header is not None and header.isdecimal() else 0.0
