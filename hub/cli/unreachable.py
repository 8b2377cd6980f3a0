"""Reasons why no hub answers at a URL, as failures with next steps."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx2

from hub.cli.failure import WHERE, Exit, Failure

_KNOCK_S: Final = 2.0


def failure_of(url: str, error: httpx2.TransportError) -> Failure:
    """Convert *error* of a request to the hub at *url* into a failure."""
    parts = httpx2.URL(url)
    where = parts.netloc.decode("ascii")
    tls_error = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls_error, ssl.SSLCertVerificationError):
        return Failure(
            f"the certificate of {where} is not trusted: {tls_error.verify_message}",
            Exit.UNAVAILABLE,
            next_step="if it is the hub's own, trust it: SSL_CERT_FILE=CERTIFICATE hub ...",
        )
    if isinstance(error, httpx2.ConnectError) and (tls_error is not None or _is_cut_off(error)):
        return Failure(
            f"{where} does not use TLS",
            Exit.UNAVAILABLE,
            next_step=f"is it the port for operators? {WHERE}; on the hub's own machine use http://",
        )
    if parts.scheme == "http" and _speaks_tls(parts.host, parts.port or 80):
        return Failure(f"{where} uses TLS", Exit.UNAVAILABLE, next_step=f"use https: --url https://{where}")
    if isinstance(error, httpx2.ConnectError):
        return Failure(
            f"no hub answers at {url}: {error}",
            Exit.NOT_RUNNING,
            next_step=f"is the address right, and does the hub run? {WHERE}",
        )
    return Failure(
        f"the connection to the hub was lost: {error or type(error).__name__}",
        Exit.TRY_AGAIN,
        next_step="is it still running? hub status",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes, of which the library keeps some as arguments only."""
    yield error
    inner = [error.__cause__, *error.args]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _is_cut_off(error: httpx2.ConnectError) -> bool:
    """Return True if the peer reset the connection at the beginning of TLS."""
    return any(isinstance(cause, ConnectionResetError) for cause in _causes(error))


def _speaks_tls(host: str, port: int) -> bool:
    """Return True if the port uses TLS, with any certificate: no data is sent."""
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
