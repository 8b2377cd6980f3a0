"""Why no hub answers at a URL: what was found there instead, as a failure with what to try."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx2

from hub.cli.failure import Exit, Failure

_KNOCK_S: Final = 2.0
WHERE: Final = "[listen.operator] of hub.toml says where it listens for operators"


def failure_of(url: str, error: httpx2.TransportError) -> Failure:
    """What a command tells of *error*, which a request to the hub at *url* ended in."""
    parts = httpx2.URL(url)
    where = parts.netloc.decode("ascii")
    told = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(told, ssl.SSLCertVerificationError):
        return Failure(
            f"the certificate of {where} is not trusted: {told.verify_message}",
            Exit.UNAVAILABLE,
            next_step="if it is the hub's own, trust it: SSL_CERT_FILE=CERTIFICATE hub ...",
        )
    if isinstance(error, httpx2.ConnectError) and (told is not None or _is_cut_off(error)):
        return Failure(
            f"no TLS is spoken at {where}",
            Exit.UNAVAILABLE,
            next_step=f"is it the port for operators? {WHERE}; on the hub's own machine http:// does",
        )
    if parts.scheme == "http" and _speaks_tls(parts.host, parts.port or 80):
        return Failure(
            f"the port of {where} speaks TLS", Exit.UNAVAILABLE, next_step=f"use https: --url https://{where}"
        )
    if isinstance(error, httpx2.ConnectError):
        return Failure(
            f"no hub answers at {url}: {error}",
            Exit.NOT_RUNNING,
            next_step=f"is the address right, and does the hub run? {WHERE}",
        )
    return Failure(
        f"the hub went away: {error or type(error).__name__}",
        Exit.TRY_AGAIN,
        next_step="is it still running? hub status",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error*, and what it was raised for; the library keeps some of that as an argument only."""
    yield error
    inner = [error.__cause__, *error.args]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _is_cut_off(error: httpx2.ConnectError) -> bool:
    """Whether somebody was there, and hung up on the first words of TLS."""
    return any(isinstance(cause, ConnectionResetError) for cause in _causes(error))


def _speaks_tls(host: str, port: int) -> bool:
    """Whether there is TLS; with whom does not matter, as nothing is said."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_KNOCK_S) as knocking,
            context.wrap_socket(knocking, server_hostname=host),
        ):
            return True
    except OSError:
        return False
