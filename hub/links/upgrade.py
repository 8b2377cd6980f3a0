"""Check of the WebSocket upgrade request, with error messages for refusals.

Refuses wrong host names (DNS rebinding), foreign origins, tokens in the URL and untrusted forwarding headers,
before any message is exchanged.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from hub.links.hosts import FORWARDING, BadForwarding, Hosts, TrustedProxies
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.frame import PATH
from protocol.handshake import NONCE_CHARACTERS, NONCE_HEADER

_NONCE: Final = re.compile(rf"[A-Za-z0-9_-]{{{NONCE_CHARACTERS}}}")


class RequestRefused(HubError):
    """The upgrade request is refused. *reason* is the error code sent with *status*."""

    code = ErrorCode.FORBIDDEN

    def __init__(
        self,
        reason: ErrorCode,
        message: str,
        *,
        status: HTTPStatus | None = None,
        retry_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status or HTTPStatus(CATALOGUE[reason].http_status)
        self.retry_s = retry_s

    def response(self) -> Response:
        """Return the response for the WebSocket library."""
        headers, body = self._content()
        return Response(self.status.value, self.status.phrase, Headers(headers), body)

    def spelled(self) -> bytes:
        """Return the response as bytes, for a socket from which nothing was read."""
        headers, body = self._content()
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _content(self) -> tuple[dict[str, str], bytes]:
        error = {"code": self.reason, "message": self.message, "hint": CATALOGUE[self.reason].hint}
        body = msgspec.json.encode({"error": error})
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        if self.retry_s is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_s)))
        return headers, body


class UpgradeRules:
    """Rules for upgrade requests.

    Args:
        hosts: names of this listener, in addition to loopback names and addresses.
        origins: origins of web pages that may connect; devices send none.
        proxies: proxies whose forwarding headers are trusted.
    """

    def __init__(
        self,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        proxies: TrustedProxies | None = None,
    ) -> None:
        self._hosts = Hosts(hosts)
        self._origins = frozenset(origin.lower() for origin in origins)
        self.proxies = proxies or TrustedProxies()

    def dialled(self, request: Request, local: tuple[str, int]) -> tuple[str, str] | None:
        """Return the dialled address and the device's nonce, or None if no proof of the hub is requested.

        Args:
            local: address and port of this end of the connection.

        Raises:
            RequestRefused: the address is not this hub's, or the nonce is malformed.
        """
        nonces = request.headers.get_all(NONCE_HEADER)
        if not nonces:
            return None
        host = request.headers["Host"].strip().lower()
        if len(nonces) != 1 or not _NONCE.fullmatch(nonces[0]):
            raise RequestRefused(ErrorCode.BAD_PARAMS, f"{NONCE_HEADER} is base64url of 32 bytes, once")
        if not self._hosts.are_of(host, local):
            raise self._wrong_host(host)
        return host, nonces[0]

    def client(self, request: Request, peer: str) -> str:
        """Return the client address of *request* after checking that it may become a WebSocket.

        Args:
            peer: the other end of the socket.

        Raises:
            RequestRefused: the request breaks a rule.
        """
        path, _, query = request.path.partition("?")
        if path != PATH:
            message = f"devices connect to {PATH}"
            raise RequestRefused(ErrorCode.BAD_PARAMS, message, status=HTTPStatus.NOT_FOUND)
        if _has_token(query):
            raise RequestRefused(ErrorCode.TOKEN_IN_URL, "a token in the URL ends up in logs")
        headers = request.headers
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise self._wrong_host(" ".join(hosts))
        if any(origin.lower() not in self._origins for origin in headers.get_all("Origin")):
            raise RequestRefused(ErrorCode.FOREIGN_ORIGIN, "a page of this origin may not connect")
        forwarding = {name: values for name in FORWARDING if (values := headers.get_all(name))}
        try:
            return self.proxies.client(peer, forwarding)
        except BadForwarding as error:
            raise RequestRefused(ErrorCode.UNTRUSTED_PROXY, str(error)) from error

    def _wrong_host(self, host: str) -> RequestRefused:
        return RequestRefused(ErrorCode.WRONG_HOST, self._hosts.refusal(host, "devices"))


def bearer(headers: Headers) -> str | None:
    """Return the token of the ``Authorization`` header, or None."""
    for value in headers.get_all("Authorization"):
        kind, _, token = value.partition(" ")
        if kind.lower() == "bearer":
            return token.strip() or None
    return None


def _has_token(query: str) -> bool:
    """Return True if a name or value in a URL's query looks like a token."""
    return any(
        "token" in name.lower() or value.startswith(("hub_", "Bearer"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
