"""A mailbox on the real server, the connector that reads it, and a wire between them that can fail."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import anyio

from hub.base.clock import Clock, SystemChance, SystemClock
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import AccessTokens, ProviderCaller, ProviderQuota, Throttle, Unread
from hub.connectors.connector import Context, Cursor, Message, Page, documents_of
from hub.connectors.imap import Imap
from hub.connectors.imap_connection import ImapConnection
from hub.connectors.imap_settings import ImapFilter, ImapSettings
from hub.document import Document
from tests.support.dovecot import PASSWORD, Dovecot

LONG_AGO = timedelta(days=365)


def mail(number: int, text: str = "Please do it by Friday.", **headers: str) -> bytes:
    """A plain mail."""
    made = EmailMessage(policy=SMTP)
    told = {
        "From": f"Ana <ana{number}@example.org>",
        "To": "me@example.org",
        "Subject": f"Task {number}",
        "Message-ID": f"<{number}@example.org>",
        "Date": "Tue, 03 Jun 2025 10:00:00 +0200",
    }
    for name, value in {**told, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
        if value:
            made[name] = value
    made.set_content(text)
    return made.as_bytes()


def settings_of(dovecot: Dovecot, user: str, **more: Any) -> ImapSettings:
    """How the server of the tests is reached."""
    return ImapSettings(
        **{"host": dovecot.host, "port": dovecot.port, "tls": "none", "username": user, **more}
    )


def imap(
    settings: ImapSettings,
    filter: ImapFilter | None = None,
    *,
    secret: str = PASSWORD,
    tokens: AccessTokens | None = None,
    clock: Clock | None = None,
    silence_s: float = 10.0,
    client: OutboundClient | None = None,
) -> Imap:
    """A connector."""
    clock = clock or SystemClock()
    caller = ProviderCaller(
        client or OutboundClient(OutboundRules()),
        tokens=None,
        throttle=Throttle(ProviderQuota(), clock),
        origins=(),
        clock=clock,
        chance=SystemChance(),
    )
    context = Context(
        account="work",
        clock=clock,
        chance=SystemChance(),
        caller=caller,
        tokens=tokens,
        secret=lambda: secret,
    )
    line = ImapConnection(settings, context, silence_timeout_s=silence_s)
    return Imap(context, settings, filter or ImapFilter(), line=line)


async def pages(
    connector: Imap, cursor: Cursor | None = None, *, since: datetime | None = None
) -> list[Page]:
    """A whole round; the connection is closed behind it."""
    since = since or SystemClock().now() - LONG_AGO
    try:
        return [page async for page in connector.pages(cursor, since)]
    finally:
        await connector.aclose()


def listed(found: Sequence[Page]) -> list[Message]:
    """All messages of a round."""
    return [message for page in found for message in page.messages]


def subjects(found: Sequence[Page]) -> list[str]:
    """Of all messages of a round."""
    return [message.subject for message in listed(found)]


def last_cursor(found: Sequence[Page]) -> Cursor:
    """What is stored when all of the round is settled."""
    return [page.cursor for page in found if page.cursor is not None][-1]


async def texts(connector: Imap, messages: Sequence[Message]) -> dict[str, Document | Unread]:
    """What ``read`` gives, by key; the connection is closed behind it."""
    try:
        return {message.key: read async for message, read in documents_of(connector, messages)}
    finally:
        await connector.aclose()


class Wire:
    """Passes bytes on between a client and a server until it is told to stop.

    Attributes:
        on_answer: looks at what the server sends, before it arrives; false stops the wire.
        cuts_every: of all commands, each of that number is not passed on, and its connection ends; 0: none.
        piece: bytes that are passed on at once, at most.
        is_silent: when it stops, it stays open, and nothing is read any more; else it is cut.
        passed: bytes of the server that went through.
        asked: what clients have said.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.on_answer: Callable[[bytes], bool] = lambda _: True
        self.is_silent = False
        self.cuts_every = self._commands = 0
        self.piece = 65_536
        self.passed = 0
        self.asked = b""
        self._left = threading.Event()  # a client has hung up
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    async def has_asked(self, words: bytes) -> None:
        """Wait until the client has said these words."""
        while words not in self.asked:  # noqa: ASYNC110 - a thread carries it
            await anyio.sleep(0.01)

    async def was_left(self) -> bool:
        """Wait until a client disconnects. Return False if it does not."""
        return await anyio.to_thread.run_sync(self._left.wait, 5.0)

    def cut(self) -> None:
        """Let all connections end."""
        for one in self._open:
            self._end(one)

    def close(self) -> None:
        """End all of it."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._open += [client, server]
            for way in ((client, server, False), (server, client, True)):
                self._threads.append(threading.Thread(target=self._pump, args=way))
                self._threads[-1].start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(self.piece):
                if not is_answer and self._is_cut_by(data):
                    break
                if not is_answer:
                    self.asked += data
                elif not self.on_answer(data):
                    if self.is_silent:
                        return
                    break
                else:
                    self.passed += len(data)
                target.sendall(data)
        if not is_answer:
            self._left.set()
        self._end(source)
        self._end(target)

    def _is_cut_by(self, data: bytes) -> bool:
        before = self._commands
        self._commands += data.count(b"\r\n")
        return bool(self.cuts_every) and before // self.cuts_every < self._commands // self.cuts_every

    def _end(self, one: socket.socket) -> None:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A wire to a server on this machine."""
    made = Wire(port)
    try:
        yield made
    finally:
        made.close()
