"""Blocking exchange of IMAP commands and responses with a server, and the size limit of a response.

``imaplib`` opens the connection, starts TLS and transports the bytes. ``imap_connection`` runs the transport
outside the event loop.
"""

import contextlib
import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final, Literal, TypeVar

import msgspec

from hub.base.outbound.addresses import connect_to_first, unreached
from hub.connectors.imap_syntax import Lost

T = TypeVar("T")
MAX_LITERAL_BYTES: Final = 32 * 1024 * 1024  # of one literal; same limit as for a provider's answers
_MAX_CHALLENGES: Final = 5
_LITERAL: Final = re.compile(rb"\{(\d+)\+?\}\r?\n$")
_TAGGED: Final = re.compile(rb"(\S+) (OK|NO|BAD)(?: \[([^\]]*)\])? ?(.*)", re.IGNORECASE | re.DOTALL)
Tls = Literal["implicit", "starttls", "none"]

# During IDLE the server may be silent; after two minutes without an answer the kernel ends the connection.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))  # seconds, and times


class TooLong(Lost):
    """Answer longer than the hub's limit. A smaller request may succeed."""


class ImapRefused(Exception):
    """Answer NO or BAD of the server.

    Attributes:
        code: response code such as ``NONEXISTENT``; empty if missing.
        text: the server's text, on one line.
    """

    def __init__(self, status: str, code: str, text: str) -> None:
        super().__init__(f"{status} [{code}] {text}" if code else f"{status} {text}")
        self.status = status
        self.code = code
        self.text = text


class ImapResponse(msgspec.Struct, frozen=True):
    """Answer to one command.

    Attributes:
        untagged: each untagged response in pieces; every second piece is a literal.
        status, code, said: parts of the tagged line.
    """

    untagged: list[list[bytes]]
    status: str
    code: str
    text: str

    def named(self, name: bytes) -> Iterator[list[bytes]]:
        """Yield untagged responses of the form ``* <name> ...``, without these words."""
        before = b"* " + name
        for first, *others in self.untagged:
            if first[: len(before)].upper() == before and first[len(before) : len(before) + 1] in (b" ", b""):
                yield [first[len(before) :], *others]

    def codes(self) -> dict[str, str]:
        """Return the response codes of untagged OK lines, as in ``UIDNEXT`` -> ``12``."""
        found = {}
        for first, *_ in self.untagged:
            match = _TAGGED.match(first)
            if match and match[1] == b"*" and match[3]:
                name, _, value = match[3].decode("ascii", "replace").partition(" ")
                found[name.upper()] = value
        return found


class _Imap(imaplib.IMAP4):
    """Connection of ``imaplib`` to one of the *addresses* of a host; *tls*: from the first byte on."""

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._addresses, self._tls = addresses, tls
        super().__init__(host, port, timeout_s)

    def _create_socket(self, timeout: float) -> socket.socket:
        opened = connect_to_first(self._addresses, self.port, timeout)
        return opened if self._tls is None else self._tls.wrap_socket(opened, server_hostname=self.host)


class BlockingImapTransport:
    """IMAP connection for one thread at a time; only ``cut`` may be called from another thread.

    Raises:
        Lost: from each method: the connection ended, timed out, or does not speak IMAP.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: Tls,
        trust: ssl.SSLContext | None,
        timeout_s: float,
        addresses: Sequence[str],
    ) -> None:
        self._busy = threading.Lock()
        self._is_cut = False
        try:
            self._imap = _Imap(host, port, timeout_s, addresses, trust if tls == "implicit" else None)
            self._imap.socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):  # else the system's own times apply
                    self._imap.socket().setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, imaplib.IMAP4.error) as error:
            raise Lost(unreached(error) or f"not reached: {error}") from error
        self._numbers = count(1)
        try:
            if tls == "starttls":
                self._imap.starttls(trust)
        except ssl.SSLCertVerificationError:
            self.close()
            raise
        except (OSError, imaplib.IMAP4.error) as error:
            self.close()
            raise Lost(f"no TLS: {unreached(error) or error}") from error
        self.capabilities = frozenset(self._imap.capabilities)

    def run(self, work: Callable[["BlockingImapTransport"], T]) -> T:
        """Run an operation; close the connection afterwards if it was cut meanwhile."""
        try:
            with self._busy:
                return work(self)
        finally:
            if self._is_cut:
                self.close()

    def leave(self) -> None:
        """Cut and close the connection; a waiting thread gets ``Lost``."""
        self.cut()
        if self._busy.acquire(blocking=False):  # otherwise the busy thread closes it, as it is cut
            self._busy.release()
            self.close()

    def cut(self) -> None:
        """Cut the connection; a waiting thread gets ``Lost``."""
        self._is_cut = True
        with contextlib.suppress(OSError):  # it has ended already
            # Bypasses the TLS methods, which would wait for the server and are not thread-safe.
            socket.socket.shutdown(self._imap.socket(), socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection without a LOGOUT, since the server may hang."""
        self.cut()
        with contextlib.suppress(OSError):
            self._imap.file.close()
            self._imap.socket().close()

    def wait_for(self, seconds: float | None) -> None:
        """Set the maximum silence of the server from now on."""
        self._imap.socket().settimeout(seconds)

    def command(self, *words: bytes) -> ImapResponse:
        """Send one command and return its answer.

        Raises:
            Refused: NO or BAD.
        """
        return self.finish(self.send(*words))

    def send(self, *words: bytes) -> bytes:
        """Send a command without waiting; pass the returned tags to ``finish`` in the order of sending."""
        tag = b"h%d" % next(self._numbers)
        self._send(tag + b" " + b" ".join(words) + b"\r\n")
        return tag

    def finish(
        self, tag: bytes, *, may_refuse: bool = False, first: list[bytes] | None = None
    ) -> ImapResponse:
        """Read the answer to a command.

        Args:
            may_refuse: accept NO and BAD as answers.
            first: a response that was read already.
        """
        untagged = []
        while True:
            pieces, first = first or self.response(), None
            if pieces[0].startswith(b"* "):
                if pieces[0][2:5].upper() == b"BYE":
                    raise Lost(f"the server hung up: {_line(pieces[0][6:])}")
                untagged.append(pieces)
                continue
            match = _TAGGED.match(pieces[0])
            if match is None or match[1] != tag:
                raise Lost("the server answers something else than it was asked")
            return self._judged(match, untagged, may_refuse=may_refuse)

    def _judged(
        self, match: re.Match[bytes], untagged: list[list[bytes]], *, may_refuse: bool
    ) -> ImapResponse:
        status = match[2].decode().upper()
        code = (match[3] or b"").decode("ascii", "replace").partition(" ")[0].upper()
        if status != "OK" and not may_refuse:
            raise ImapRefused(status, code, _line(match[4]))
        return ImapResponse(untagged, status, code, _line(match[4]))

    def finish_asked(self, tag: bytes, *lines: bytes) -> ImapResponse:
        """Read the answer like ``finish``, sending a line for each ``+``; after the last line, empty ones.

        A server that refuses a token sends the reason in a challenge, which requires an empty line.
        """
        todo = list(lines)
        asked = 0
        while True:
            pieces = self.response()
            if not pieces[0].startswith(b"+"):
                return self.finish(tag, first=pieces)
            asked += 1
            if asked > _MAX_CHALLENGES:
                raise Lost("the server asks without end")
            self.send_line(todo.pop(0) if todo else b"")

    def send_line(self, line: bytes) -> None:
        """Send a line inside a command: the reply to a ``+``, or DONE."""
        self._send(line + b"\r\n")

    def response(self) -> list[bytes]:
        """Read the next response, including ``+``: a line, or lines with literals between them."""
        pieces = []
        try:
            while True:
                line = self._imap.readline()
                if not line.endswith(b"\n"):
                    raise Lost("the connection ended")
                literal = _LITERAL.search(line)
                if literal is None:
                    pieces.append(line.rstrip(b"\r\n"))
                    return pieces
                pieces += [line[: literal.start()], self._literal(int(literal[1]))]
        except imaplib.IMAP4.error as error:  # raised for no other reason while a line is read
            raise TooLong("the server's answer has a line of more than 1,000,000 bytes") from error
        except (OSError, ValueError) as error:
            raise Lost(f"the connection ended: {type(error).__name__}") from error

    def _literal(self, size: int) -> bytes:
        if size > MAX_LITERAL_BYTES:
            raise TooLong(f"the server wants to send {size} bytes at once, {MAX_LITERAL_BYTES} are taken")
        data = self._imap.read(size) if size else b""
        if len(data) != size:
            raise Lost("the connection ended")
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._imap.send(data)
        except (OSError, ValueError) as error:
            raise Lost(f"the connection ended: {type(error).__name__}") from error


def _line(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())[:200]
