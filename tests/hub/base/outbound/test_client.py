"""The client of all that the hub calls, against servers that wish it ill."""

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import httpx2
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from hub.base.outbound.addresses import unreached
from hub.base.outbound.client import AnswerTooLarge, OutboundClient
from hub.base.outbound.rules import AddressRefused, OutboundRules
from tests.support.certificates import write_certificate
from tests.support.families import each

HERE = OutboundRules()
BY_ANY_NAME = OutboundRules.parse(["127.0.0.1"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each connection with the same bytes, then closes it, or does as *then* says."""

    def __init__(
        self,
        answer: bytes = OK,
        *,
        then: Literal["close", "more", "silence"] = "close",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self.asked: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._then = then
        self._tls = tls

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Server"]:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            self.port = listener.extra(SocketAttribute.local_port)
            tasks.start_soon(listener.serve, self._serve_one)
            yield self
            tasks.cancel_scope.cancel()

    async def _serve_one(self, raw: SocketStream) -> None:
        self.connections += 1
        async with raw:
            try:
                stream = raw if self._tls is None else await _with_tls(raw, self._tls)
                self.asked.append(await stream.receive())
                await stream.send(self._answer)
                while self._then == "more":
                    await stream.send(b"x" * 65_536)
                if self._then == "silence":
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
                pass  # the client has left


async def _with_tls(raw: SocketStream, context: ssl.SSLContext) -> ByteStream:
    return await TLSStream.wrap(raw, server_side=True, ssl_context=context, standard_compatible=False)


class Names:
    """A resolver that gives its answers one after the other, then the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def test_outbound_client_reads_the_complete_answer() -> None:
    async with Server().serving() as server, OutboundClient(HERE) as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/v1/models")
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_an_answer_with_headers_in_any_bytes_is_read() -> None:
    for value in (b"caf\xc3\xa9", b"caf\xe9", b"\xff\x01"):
        answer = OK.replace(b"\r\ncontent", b"\r\nserver: %b\r\ncontent" % value)
        async with Server(answer).serving() as server, OutboundClient(HERE) as client:
            found = await client.get(f"http://127.0.0.1:{server.port}/")
            assert (found.status_code, found.content, "server" in found.headers) == (200, b"ok", True)


@each("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Server().serving() as inner:
        elsewhere = (
            f"HTTP/1.1 {status} Go\r\nlocation: http://127.0.0.1:{inner.port}/\r\ncontent-length: 0\r\n\r\n"
        )
        async with Server(elsewhere.encode()).serving() as server, OutboundClient(HERE) as client:
            asked = client.build_request("GET", f"http://127.0.0.1:{server.port}/")
            answer = await client.send(asked, follow_redirects=True)
    assert (answer.status_code, inner.connections) == (status, 0)


async def test_name_resolving_into_the_private_network_is_not_called() -> None:
    refused: list[str] = []
    async with (
        Server().serving() as server,
        OutboundClient(
            HERE, insecure=True, resolve=Names(["127.0.0.1"]), on_refused=refused.append
        ) as client,
    ):
        with pytest.raises(
            AddressRefused, match=r"model\.example is not called: 127\.0\.0\.1 is this machine"
        ):
            await client.get(f"http://model.example:{server.port}/")
    assert (server.connections, refused) == (0, ["address"])


async def test_host_name_is_judged_again_on_each_resolution() -> None:
    """DNS rebinding: the first answer is harmless, the next one points inside."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with (
        Server().serving() as server,
        OutboundClient(BY_ANY_NAME, insecure=True, resolve=names) as client,
    ):
        assert (await client.get(f"http://model.example:{server.port}/")).text == "ok"
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
            await client.get(f"http://model.example:{server.port}/")
    assert server.connections == 1


async def test_connection_goes_to_the_judged_address() -> None:
    """The name is asked for once a connection: nothing can change between judging and connecting."""
    async with Server().serving() as server:
        names = Names(["127.0.0.1"], ["192.0.2.1"])
        async with OutboundClient(BY_ANY_NAME, insecure=True, resolve=names) as client:
            answer = await client.get(f"http://model.example:{server.port}/")
    assert answer.status_code == 200
    assert b"host: model.example" in server.asked[0].lower()


async def test_outbound_client_tries_the_next_address_of_a_host() -> None:
    async with Server().serving() as server:
        names = Names(["127.0.0.2", "127.0.0.1"])
        rules = OutboundRules.parse(["127.0.0.0/8"])
        async with OutboundClient(rules, insecure=True, resolve=names) as client:
            assert (await client.get(f"http://model.example:{server.port}/")).text == "ok"


@each(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "https://10.0.0.1/"],
)
async def test_metadata_and_private_addresses_are_not_called(url: str) -> None:
    async with OutboundClient(HERE, insecure=True) as client:
        with pytest.raises(AddressRefused):
            await client.get(url)


async def test_plain_http_to_another_machine_is_not_sent() -> None:
    async with OutboundClient(BY_ANY_NAME, resolve=Names(["127.0.0.1"])) as client:
        with pytest.raises(AddressRefused, match="require https"):
            await client.get("http://model.example/")


async def test_an_endless_body_is_cut_off() -> None:
    refused: list[str] = []
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    async with (
        Server(head, then="more").serving() as server,
        OutboundClient(HERE, on_refused=refused.append) as client,
    ):
        with pytest.raises(AnswerTooLarge):
            await client.get(f"http://127.0.0.1:{server.port}/")
    assert refused == ["too_large"]


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server().serving() as proxy, Server().serving() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with OutboundClient(HERE) as client:
            await client.get(f"http://127.0.0.1:{server.port}/")
    assert (server.connections, proxy.connections) == (1, 0)


async def test_outbound_request_to_a_silent_server_times_out() -> None:
    silent = Server(b"", then="silence")
    async with silent.serving() as server, OutboundClient(HERE, read_timeout_s=0.1) as client:
        with pytest.raises(httpx2.TimeoutException):
            await client.get(f"http://127.0.0.1:{server.port}/")


@each(
    ("cause", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name is not known: is it spelled"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "model.example: its name is not known"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no network leads there"),
        (OSError("the resolver is broken"), "model.example: it cannot be looked up: the resolver is broken"),
    ],
)
async def test_failed_look_up_is_a_network_error_told_in_words(cause: OSError, words: str) -> None:
    async def failing(host: str, port: int) -> Sequence[str]:
        raise cause

    async with OutboundClient(HERE, resolve=failing) as client:
        with pytest.raises(httpx2.TransportError, match=words) as raised:
            await client.get("https://model.example/")
    assert "Errno" not in str(raised.value)


@each(
    ("cause", "words"),
    [
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            "nothing accepts connections there",
        ),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no network leads there"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "it ended the connection"),
        (TimeoutError(), "it does not answer"),
        (ssl.SSLError(1, "wrong version number"), "it does not speak TLS there"),
        (ValueError("a fault of ours"), ""),
    ],
)
def test_cause_of_a_failed_connection_is_told_in_words(cause: Exception, words: str) -> None:
    assert unreached(httpx2.ConnectError(cause)).partition(":")[0] == words  # type: ignore[arg-type]


async def test_the_certificate_is_checked_against_the_name_though_the_address_is_pinned(
    tmp_path: Path,
) -> None:
    files = write_certificate(tmp_path, "model.example")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(*files)
    trusted = ssl.create_default_context(cafile=files.certificate)
    async with Server(tls=shown).serving() as server:
        for host, is_right in (("model.example", True), ("other.example", False)):
            client = OutboundClient(BY_ANY_NAME, resolve=Names(["127.0.0.1"]), tls=trusted)
            async with client:
                url = f"https://{host}:{server.port}/"
                if is_right:
                    assert (await client.get(url)).text == "ok"
                else:
                    with pytest.raises(httpx2.TransportError, match="certificate"):
                        await client.get(url)
