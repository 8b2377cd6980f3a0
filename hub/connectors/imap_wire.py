"""A conversation with an IMAP server, in one thread that may wait: commands, and what is answered.

Bytes go through ``imaplib``, which also opens the connection and begins TLS; what its own parser does to
an answer is not for those who have literals in it, so commands are spelled and answers are read here.
Nothing in here is async; ``imap_line`` keeps it off the event loop.
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

MOST_LITERAL_BYTES: Final = 32 * 1024 * 1024  # of one; the same as an outbound answer of a provider
_MOST_DEPTH: Final = 60  # of parentheses: what nests deeper is no mail
_MOST_CHALLENGES: Final = 5
_LITERAL: Final = re.compile(rb"\{(\d+)\+?\}\r?\n$")
_TAGGED: Final = re.compile(rb"(\S+) (OK|NO|BAD)(?: \[([^\]]*)\])? ?(.*)", re.IGNORECASE | re.DOTALL)
_TOKEN: Final = re.compile(
    rb'([()])|"((?:[^"\\]|\\.)*)"|((?:BODY|BINARY)\[[^\]]*\](?:<\d+>)?|[^\s()"]+)', re.IGNORECASE
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)

T = TypeVar("T")
Tls = Literal["implicit", "starttls", "none"]
Value = bytes | None | list["Value"]  # an atom or string, NIL, or what stands in parentheses


class Lost(Exception):
    """The connection is gone, or what came over it cannot be understood: it is of no use any more."""


class TooLong(Lost):
    """The server said more at once than the hub takes. Asked for less, it may do so in parts."""


class Refused(Exception):
    """The server said NO or BAD.

    Attributes:
        code: of the answer, as in ``NONEXISTENT``; empty where it gave none.
        said: its words, on one line.
    """

    def __init__(self, status: str, code: str, said: str) -> None:
        super().__init__(f"{status} [{code}] {said}" if code else f"{status} {said}")
        self.status = status
        self.code = code
        self.said = said


class Answer(msgspec.Struct, frozen=True):
    """What came for one command.

    Attributes:
        untagged: each answer in pieces; every second piece is a literal.
        status, code, said: of the tagged line.
    """

    untagged: list[list[bytes]]
    status: str
    code: str
    said: str

    def named(self, name: bytes) -> Iterator[list[bytes]]:
        """Untagged answers of the form ``* <name> ...``, without these words."""
        before = b"* " + name
        for first, *others in self.untagged:
            if first[: len(before)].upper() == before and first[len(before) : len(before) + 1] in (b" ", b""):
                yield [first[len(before) :], *others]

    def codes(self) -> dict[str, str]:
        """Response codes of untagged OK lines, as in ``UIDNEXT`` -> ``12``."""
        found = {}
        for first, *_ in self.untagged:
            match = _TAGGED.match(first)
            if match and match[1] == b"*" and match[3]:
                name, _, value = match[3].decode("ascii", "replace").partition(" ")
                found[name.upper()] = value
        return found


class Wire:
    """One connection. A thread at a time; ``cut`` alone may come from another.

    Raises:
        Lost: from each method: it ended, the time is up, or this is no IMAP.
    """

    def __init__(
        self, host: str, port: int, *, tls: Tls, trust: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        self._busy = threading.Lock()
        self._is_cut = False
        try:
            if tls == "implicit":
                self._imap: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    host, port, ssl_context=trust, timeout=timeout_s
                )
            else:
                self._imap = imaplib.IMAP4(host, port, timeout=timeout_s)
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, imaplib.IMAP4.error) as error:
            raise Lost(f"not reached: {error}") from error
        self._numbers = count(1)
        try:
            if tls == "starttls":
                self._imap.starttls(trust)
        except ssl.SSLCertVerificationError:
            self.close()
            raise
        except (OSError, imaplib.IMAP4.error) as error:
            self.close()
            raise Lost(f"no TLS: {error}") from error
        self.capabilities = frozenset(self._imap.capabilities)

    def run(self, work: Callable[["Wire"], T]) -> T:
        """Do something with it; closes it behind itself where it was cut meanwhile."""
        try:
            with self._busy:
                return work(self)
        finally:
            if self._is_cut:
                self.close()

    def leave(self) -> None:
        """End it now and let go of it; who waits for the server is let go with ``Lost``."""
        self.cut()
        if self._busy.acquire(blocking=False):  # else whoever is busy closes it, for it is cut
            self._busy.release()
            self.close()

    def cut(self) -> None:
        """End it now; who waits for the server is let go with ``Lost``."""
        self._is_cut = True
        with contextlib.suppress(OSError):  # it has ended already
            # Past the methods of TLS, which would wait for the other side and are not for two threads.
            socket.socket.shutdown(self._imap.socket(), socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it; without a word, for it may be hung."""
        self.cut()
        with contextlib.suppress(OSError):
            self._imap.file.close()
            self._imap.socket().close()

    def wait_for(self, seconds: float | None) -> None:
        """How long the server may be silent from here on."""
        self._imap.socket().settimeout(seconds)

    def command(self, *words: bytes) -> Answer:
        """Send one command and read to its end.

        Raises:
            Refused: NO or BAD.
        """
        return self.finish(self.send(*words))

    def send(self, *words: bytes) -> bytes:
        """Send one, without waiting; ``finish`` wants what is returned, in the order of sending."""
        tag = b"h%d" % next(self._numbers)
        self._send(tag + b" " + b" ".join(words) + b"\r\n")
        return tag

    def finish(self, tag: bytes, *, may_refuse: bool = False, first: list[bytes] | None = None) -> Answer:
        """What is answered to a command.

        Args:
            may_refuse: NO is an answer as well.
            first: what was read of it already.
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

    def _judged(self, match: re.Match[bytes], untagged: list[list[bytes]], *, may_refuse: bool) -> Answer:
        status = match[2].decode().upper()
        code = (match[3] or b"").decode("ascii", "replace").partition(" ")[0].upper()
        if status == "BAD" or (status == "NO" and not may_refuse):
            raise Refused(status, code, _line(match[4]))
        return Answer(untagged, status, code, _line(match[4]))

    def finish_asked(self, tag: bytes, *lines: bytes) -> Answer:
        """As ``finish``, with a line for each ``+``; when they run out, empty ones.

        A server that refuses a token tells why in a challenge, and wants an empty line for it.
        """
        todo = list(lines)
        asked = 0
        while True:
            pieces = self.response()
            if not pieces[0].startswith(b"+"):
                return self.finish(tag, first=pieces)
            asked += 1
            if asked > _MOST_CHALLENGES:
                raise Lost("the server asks without end")
            self.send_line(todo.pop(0) if todo else b"")

    def send_line(self, line: bytes) -> None:
        """A line inside a command: what was asked for by a ``+``, or DONE."""
        self._send(line + b"\r\n")

    def response(self) -> list[bytes]:
        """The next answer, a ``+`` included: a line, or lines with a literal between each two."""
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
        except imaplib.IMAP4.error as error:  # for no other reason, while a line is read
            raise TooLong("the server's answer has a line of more than 1,000,000 bytes") from error
        except (OSError, ValueError) as error:
            raise Lost(f"the connection ended: {type(error).__name__}") from error

    def _literal(self, size: int) -> bytes:
        if size > MOST_LITERAL_BYTES:
            raise TooLong(f"the server wants to send {size} bytes at once, {MOST_LITERAL_BYTES} are taken")
        data = self._imap.read(size) if size else b""
        if len(data) != size:
            raise Lost("the connection ended")
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._imap.send(data)
        except (OSError, ValueError) as error:
            raise Lost(f"the connection ended: {type(error).__name__}") from error


def values(pieces: Sequence[bytes]) -> list[Value]:
    """What an answer says, literals and all.

    Raises:
        Lost: its parentheses do not match, or nest too deeply.
    """
    top: list[Value] = []
    stack = [top]
    for at, piece in enumerate(pieces):
        if at % 2:
            stack[-1].append(piece)
            continue
        for sign, string, atom in _TOKEN.findall(piece):
            if atom:
                stack[-1].append(None if atom in (b"NIL", b"nil") else atom)
            elif sign == b"(":
                inner: list[Value] = []
                stack[-1].append(inner)
                stack.append(inner)
                if len(stack) > _MOST_DEPTH:
                    raise Lost(f"the server's answer nests deeper than {_MOST_DEPTH} levels")
            elif sign:
                stack.pop()
                if not stack:
                    raise Lost("the server's answer cannot be understood")
            else:
                stack[-1].append(_ESCAPED.sub(rb"\1", string) if b"\\" in string else string)
    if len(stack) > 1:
        raise Lost("the server's answer cannot be understood")
    return top


def _line(said: bytes) -> str:
    return " ".join(said.decode("utf-8", "replace").split())[:200]
