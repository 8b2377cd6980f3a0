"""Receivers of notifications: an HTTP server that keeps what it gets, and a mail server."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.support.asgi import serving


class Got(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


class Receiver:
    """Keeps all requests, and answers each by *answer*; a status, and headers if there are any."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[Got], int | Response] = lambda got: 204
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = dict(request.headers.items())
        got = Got(request.method, request.scope["raw_path"].decode(), headers, await request.body())
        self.got.append(got)
        answer = self.answer(got)
        await (Response(status_code=answer) if isinstance(answer, int) else answer)(scope, receive, send)

    @property
    def events(self) -> list[str]:
        """The events of webhooks, in their order."""
        return [one.event["type"] for one in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver) as url:
        receiver.url = url
        yield receiver


class MailServer:
    """A mail server: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA.

    Args:
        tls: of STARTTLS, or of the first byte if *is_implicit*; None: it offers none.
        on_data: answer after a mail.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        is_implicit: bool = False,
        on_data: str = "250 taken",
        greeting: str = "220 mail.test",
    ) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.commands: list[str] = []
        self._tls = tls
        self._is_implicit = is_implicit
        self._on_data = on_data
        self._greeting = greeting

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["MailServer"]:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            self.port = listener.extra(SocketAttribute.local_port)
            tasks.start_soon(listener.serve, self._serve)
            yield self
            tasks.cancel_scope.cancel()

    async def _serve(self, raw: SocketStream) -> None:
        async with raw:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead, ssl.SSLError):
                await self._talk(raw)

    async def _wrap(self, raw: ByteStream) -> ByteStream:
        return await TLSStream.wrap(raw, server_side=True, ssl_context=self._tls, standard_compatible=False)

    async def _talk(self, raw: ByteStream) -> None:
        stream = await self._wrap(raw) if self._is_implicit else raw
        is_encrypted = self._is_implicit
        if not self._greeting:
            await anyio.sleep_forever()
        await stream.send(f"{self._greeting}\r\n".encode())
        lines = BufferedByteReceiveStream(stream)
        while True:
            line = (await lines.receive_until(b"\r\n", 1_000)).decode()
            self.commands.append(line)
            match line.partition(" ")[0].upper():
                case "EHLO":
                    offers = ["STARTTLS"] if self._tls and not is_encrypted else []
                    offered = [*offers, "AUTH PLAIN LOGIN", "8BITMIME"]
                    said = "".join(f"250-{one}\r\n" for one in offered[:-1]) + f"250 {offered[-1]}\r\n"
                    await stream.send(f"250-mail.test\r\n{said}".encode())
                case "STARTTLS":
                    await stream.send(b"220 go\r\n")
                    stream, is_encrypted = await self._wrap(stream), True
                    lines = BufferedByteReceiveStream(stream)
                case "AUTH":
                    await stream.send(b"235 welcome\r\n")
                case "DATA":
                    await stream.send(b"354 end with a dot\r\n")
                    text = await lines.receive_until(b"\r\n.\r\n", 1_000_000)
                    if self._on_data.startswith("2"):
                        unstuffed = (b"\r\n" + text).replace(b"\r\n..", b"\r\n.")[2:]
                        self.mails.append(message_from_bytes(unstuffed, policy=policy.default))
                    await stream.send(f"{self._on_data}\r\n".encode())
                case "QUIT":
                    await stream.send(b"221 bye\r\n")
                    return
                case _:
                    await stream.send(b"250 ok\r\n")


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
