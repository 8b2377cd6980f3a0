"""A client for every URL that the hub calls: it resolves, judges and pins addresses, and reads only so much.

Redirects are not followed. Proxies of the environment are not used: behind one
nobody could say which address is called.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from socket import SOCK_STREAM
from typing import Any, Final

import anyio
import httpcore2
import httpx2

from hub.outbound.rules import AddressRefused, OutboundRules

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
CONNECTIONS: Final = 8

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class AnswerTooLarge(Exception):
    """The other side sent more than we read; the rest was left."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of *host*, as this machine's resolver orders them. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class OutboundClient(httpx2.AsyncClient):
    """Calls what the rules allow. Answers are read whole, up to *max_answer_bytes* after decompression.

    Args:
        insecure: plain http may be used for other machines too.
        read_timeout_s: the longest silence of the other side.
        connections: at once.
        max_answer_bytes: the rest of a longer answer is not read.
        on_refused: told a word for each call that a rule ended: "address" or "too_large".
        resolve: who is asked about names; this machine by default.
        tls: who is trusted; what this machine trusts by default.
    """

    def __init__(
        self,
        rules: OutboundRules,
        *,
        insecure: bool = False,
        read_timeout_s: float = READ_TIMEOUT_S,
        connections: int = CONNECTIONS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_refused: Callable[[str], None] = lambda _: None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            transport=_Transport(rules, insecure=insecure, connections=connections, resolve=resolve, tls=tls),
            timeout=httpx2.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
            # One client calls for many accounts: what one was told to remember is not shown for another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._max_answer_bytes = max_answer_bytes
        self._on_refused = on_refused

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send *request* and read its answer whole.

        Raises:
            AddressRefused: a rule is against it; nothing was sent.
            AnswerTooLarge: there was more of it than is read.
        """
        try:
            response = await super().send(request, **{**options, "stream": True, "follow_redirects": False})
            body = await _read(response, self._max_answer_bytes)
        except AddressRefused:
            self._on_refused("address")
            raise
        except AnswerTooLarge:
            self._on_refused("too_large")
            raise
        headers = [(name, value) for name, value in response.headers.items() if name not in _OF_TRANSFER]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


_OF_TRANSFER: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


async def _read(response: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > most:
                raise AnswerTooLarge
    finally:
        await response.aclose()
    return bytes(body)


class _Transport(httpx2.AsyncBaseTransport):
    """Connections that are made by ``_Network``; a URL is judged before it is asked."""

    def __init__(
        self,
        rules: OutboundRules,
        *,
        insecure: bool,
        connections: int,
        resolve: Resolve,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._rules = rules
        self._insecure = insecure
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or _trust_store(),
            max_connections=connections,
            max_keepalive_connections=connections,
            network_backend=_Network(rules, resolve),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._rules.judge_url(request.url.scheme, request.url.host, insecure=self._insecure)
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
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
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    """What is still to be read of an answer."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Network(httpcore2.AsyncNetworkBackend):
    """Makes connections to addresses that were judged, never to a name: it could resolve otherwise then.

    The name stays what TLS checks the certificate against.
    """

    def __init__(self, rules: OutboundRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library has it so
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of *host* that answers, all within *timeout* seconds.

        Raises:
            AddressRefused: it has none that may be called.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: none of them answered.
        """
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        with _in_time(timeout):
            try:
                found = await self._resolve(host, port)
            except OSError as error:
                raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from error
            for address in self._rules.judge(host, found):
                try:
                    return await self._sockets.connect_tcp(
                        address, port, local_address=local_address, socket_options=socket_options
                    )
                except httpcore2.ConnectError as error:
                    failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@cache
def _trust_store() -> ssl.SSLContext:
    """Return the TLS context of all clients: reading the certificate authorities takes 40 ms of the loop."""
    return httpx2.create_ssl_context()


def was_never_sent(error: httpx2.TransportError) -> bool:
    """Whether the call failed before a byte of it had left: no connection was made."""
    return isinstance(
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
    """Errors of the connections as those of the client's library."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.TimeoutException(str(error)) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise httpx2.TransportError(str(error)) from error
