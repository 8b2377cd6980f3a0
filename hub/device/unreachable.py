"""Explanation of a failed connection to a hub, as one sentence with a remedy.

Pure functions of the configured URL and the library's error.
"""

import socket
import ssl
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidMessage, InvalidProxy, InvalidStatus

PROBLEM: Final = "application/problem+json"  # used only by the operators' interface
_MOST_SAID: Final = 300  # characters of a hub's reason
SETTING: Final = "[listen.devices] in the hub's hub.toml says where it listens for devices"


def why_unreachable(url: str, error: Exception) -> str:
    """Explain *error* of a connection attempt to *url*."""
    parts = urlsplit(url)
    where = parts.netloc
    match error:
        case InvalidStatus():
            return _why_not_let_in(where, error)
        case InvalidProxy():
            # The full message repeats the proxy's URL, which may contain a password.
            return f"the proxy that the environment names cannot be used: {error.msg}"
        case InvalidMessage() if parts.scheme == "ws":
            return f"no hub answers at {where} without TLS; if its port speaks TLS, use wss://{where}"
        case ssl.SSLCertVerificationError():
            told = f"the certificate of {where} is not trusted ({error.verify_message})"
            return f"{told}; trust it: SSL_CERT_FILE=FILE hub connect ..."
        case ssl.SSLError() | ConnectionResetError() if parts.scheme == "wss":
            return f"no TLS is spoken at {where}; if it is the hub's port all the same, use ws://{where}"
        case ConnectionRefusedError():
            return f"nothing listens at {where}; is the hub running? {SETTING}"
        case socket.gaierror():
            return f"the host of {where} is not known ({error.strerror}); is its name spelled right?"
        case TimeoutError():
            return f"{where} does not answer; is the address right, and does a firewall let it through?"
        case _:
            return str(error) or type(error).__name__


def _why_not_let_in(where: str, error: InvalidStatus) -> str:
    status = error.response.status_code
    told = f"the hub's door answered {status}"
    if error.response.headers.get("Content-Type", "").startswith(PROBLEM):
        return f"{told}: {where} is its port for operators; {SETTING}"
    if status == HTTPStatus.NOT_FOUND:
        return f"{told}; is this the hub's device address? {SETTING}"
    return f"{told}: {said}" if (said := _said(error.response.body)) else told


def _said(body: bytes | bytearray | None) -> str:
    """Return the reason in a hub's error body, or an empty string if *body* is not a hub's."""
    try:
        return msgspec.json.decode(body or b"", type=_Refusal).error.message[:_MOST_SAID]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


class _Reason(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Reason
