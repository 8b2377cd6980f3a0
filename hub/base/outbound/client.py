"""HTTP client of the hub: checked addresses, no redirects or proxies, time limits and answer size.

Redirects are not followed. The environment's proxies are not used: the hub could not check the address that a
proxy calls.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import anyio
import httpcore2
import httpx2
from httpx2 import DecodingError as DecodingError  # with the next two: errors that callers handle
from httpx2 import InvalidURL as InvalidURL
from httpx2 import TransportError as TransportError

from hub.base.outbound.addresses import Resolve, is_own, parse_target, resolve, unreached
from hub.base.outbound.rules import AddressRefused, OutboundRules

CONNECT_TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
CONNECTIONS: Final = 8


class AnswerTooLarge(Exception):
    """Answer with this *status*, longer than the client's limit; the rest was not read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}, and too long")
        self.status = status


class OutboundClient(httpx2.AsyncClient):
    """HTTP client that enforces the outbound rules and reads answers whole.

    Args:
        insecure: also allow plain http to other machines.
        read_timeout_s: the longest silence of the server, in seconds.
        connections: number of concurrent connections.
        max_answer_bytes: limit of an answer's body after decompression, in bytes.
        body_s: seconds to read a body that the caller does not need; what follows them, or a body that breaks
            off or is too long, is left out. None: the body is needed.
        on_refused: called with "address" or "too_large" for each call that a rule ended.
        resolve: resolver of host names; this machine's by default.
        tls: TLS context; this machine's trust store by default.
    """

    def __init__(
        self,
        rules: OutboundRules,
        *,
        insecure: bool = False,
        read_timeout_s: float = 60.0,
        connections: int = CONNECTIONS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        body_s: float | None = None,
        on_refused: Callable[[str], None] = lambda _: None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._network = _Network(rules, resolve)
        super().__init__(
            transport=_Transport(
                rules, insecure=insecure, connections=connections, network=self._network, tls=tls
            ),
            timeout=httpx2.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
            # One client serves many accounts: a cookie of one account must not be sent for another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._max_answer_bytes = max_answer_bytes
        self._body_s = body_s
        self._on_refused = on_refused

    async def permitted(self, host: str, port: int) -> Sequence[str]:
        """Resolve *host* to the addresses that may be called, for a client of another protocol.

        Raises:
            AddressRefused: a rule forbids all of them.
            OSError: it cannot be resolved.
        """
        return await self._network.permitted(host, port)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send *request* and read its answer whole.

        Raises:
            AddressRefused: a rule forbids the address; nothing was sent.
            AnswerTooLarge: the answer is longer than the limit.
        """
        try:
            response = await super().send(request, **{**options, "stream": True, "follow_redirects": False})
            body = b""
            if self._body_s is None:
                body = await _read(response, self._max_answer_bytes)
            else:
                faults = (AnswerTooLarge, TransportError, DecodingError)
                with suppress(*faults), anyio.move_on_after(self._body_s):
                    await _read(response, self._max_answer_bytes)
        except AddressRefused:
            self._on_refused("address")
            raise
        except AnswerTooLarge:
            self._on_refused("too_large")
            raise
        # As bytes: the library decodes headers in any encoding, and encodes ASCII alone.
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_TRANSFER]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


_OF_TRANSFER: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


async def _read(response: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > most:
                raise AnswerTooLarge(response.status_code)
    finally:
        await response.aclose()
    return bytes(body)


class _Transport(httpx2.AsyncBaseTransport):
    """Transport over connections of ``_Network``; checks each URL before the request is sent."""

    def __init__(
        self,
        rules: OutboundRules,
        *,
        insecure: bool,
        connections: int,
        network: "_Network",
        tls: ssl.SSLContext | None,
    ) -> None:
        self._rules = rules
        self._insecure = insecure
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or trust_store(),
            max_connections=connections,
            max_keepalive_connections=connections,
            network_backend=network,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            target = parse_target(str(request.url))
        except ValueError as error:
            raise AddressRefused(f"{request.url.host} is not called: {error}") from error
        self._rules.judge_url(target.scheme, target.host, insecure=self._insecure)
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=target.scheme,
                host=target.host,
                port=target.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await self._pool.handle_async_request(asked)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_ResponseBody(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _ResponseBody(httpx2.AsyncByteStream):
    """Remaining stream of an answer's body."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Network(httpcore2.AsyncNetworkBackend):
    """Network that connects to checked addresses, never to a name, which could resolve differently.

    TLS still checks the certificate against the name.
    """

    def __init__(self, rules: OutboundRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of the library
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of *host* that answers, all within *timeout* seconds.

        Raises:
            AddressRefused: no address of the host may be called.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: no address answered.
        """
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        with _in_time(timeout):
            try:
                permitted = await self.permitted(host, port)
            except OSError as error:
                why = unreached(error) or f"it cannot be looked up: {error}"
                raise httpcore2.ConnectError(f"{host}: {why}") from None
            for address in permitted:
                try:
                    return await self._sockets.connect_tcp(
                        address, port, local_address=local_address, socket_options=socket_options
                    )
                except httpcore2.ConnectError as error:
                    failure = error
        raise failure

    async def permitted(self, host: str, port: int) -> Sequence[str]:
        """Resolve *host* to the addresses that may be called. Raises AddressRefused and OSError."""
        permitted = self._rules.judge(host, await self._resolve(host, port))
        may_be_own = self._rules.may_call_here or self._rules.lists(host)
        if not may_be_own and any(map(is_own, permitted)):
            raise AddressRefused(f"{host} is not called: it is this machine")
        return permitted

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@cache
def trust_store() -> ssl.SSLContext:
    """Return the TLS context shared by all clients: loading the trust store blocks the loop for 40 ms."""
    return httpx2.create_ssl_context()


def was_never_sent(error: BaseException | None) -> bool:
    """Return True if the call failed before its first byte was sent, as no connection was established."""
    return error is not None and isinstance(
        error.__cause__, httpcore2.ConnectError | httpcore2.ConnectTimeout | httpcore2.PoolTimeout
    )


@contextmanager
def _in_time(seconds: float | None) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout(f"not connected within {seconds} s") from error


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Convert the connections' errors to the errors of the client's library."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.TimeoutException(_words(error)) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise httpx2.TransportError(_words(error)) from error


# Where the library gives a class alone, or words about itself.
_WORDS: Final = {
    httpcore2.ConnectTimeout: "it cannot be reached: is its address right, and does a firewall let it in?",
    httpcore2.PoolTimeout: "all connections to it are in use",
    httpcore2.ReadTimeout: "it does not answer",
    httpcore2.WriteTimeout: "it takes no data",
    httpcore2.ReadError: "it ended the connection: does it speak this protocol there?",
    httpcore2.WriteError: "it ended the connection: does it speak this protocol there?",
}


def _words(error: Exception) -> str:
    """Return what a failure of a connection means, and what to do."""
    text, cause = str(error), error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}): renew it, or trust its authority"
    if isinstance(error, httpcore2.ConnectError) and (why := unreached(error)):
        return why
    words = _WORDS.get(type(error), "" if text else "the connection broke")
    return ": ".join(filter(None, (text, words)))
