"""Connection to an IMAP server, reopened on demand: its settings, for async code, and the syntax on the wire.

A wait can be cancelled at any time, even if the server hangs: the connection is then cut, which ends the
waiting thread. All failures are raised as ``ConnectorFailure``.

Synchronous IMAP connection for one thread, and IMAP syntax: folder names, strings, dates, sets of numbers.

``imaplib`` opens the connection, starts TLS and transports the bytes. Its parser does not support literals in
answers, so commands are formatted and answers parsed here (RFC 9051, RFC 3501). ``imap_line`` runs it outside
the event loop.
"""

import base64
import binascii
import contextlib
import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import count, groupby
from typing import Annotated, Final, Literal, NoReturn, Self, TypeVar

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from hub.base.name_lists import listed
from hub.base.outbound.addresses import connect_to_first, parse_host
from hub.base.outbound.rules import is_this_machine
from hub.base.tls_faults import ca_file_fault, trusting
from hub.connectors.calling import (
    ConnectorFailure,
    FileUnusable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.connector import Context, Filter, OAuth, ProviderSettings, SettingsFile, Words
from hub.connectors.mime import GOOGLE, MICROSOFT
from protocol.errors import did_you_mean

MAX_LITERAL_BYTES: Final = 32 * 1024 * 1024  # of one literal; same limit as for a provider's answers
_MAX_DEPTH: Final = 60  # of parentheses; a valid mail is not nested deeper
_MAX_CHALLENGES: Final = 5
_MAX_DIGITS: Final = 18  # below 2**63
_LITERAL: Final = re.compile(rb"\{(\d+)\+?\}\r?\n$")
_TAGGED: Final = re.compile(rb"(\S+) (OK|NO|BAD)(?: \[([^\]]*)\])? ?(.*)", re.IGNORECASE | re.DOTALL)
_TOKEN: Final = re.compile(
    rb'([()])|"((?>(?:[^"\\]++|\\.)*))(?:"|\\?\Z)|((?:BODY|BINARY)\[[^\[\]]*+\](?:<\d+>)?|[^\s()"]+)',
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)

T = TypeVar("T")
Tls = Literal["implicit", "starttls", "none"]
Value = bytes | None | list["Value"]  # an atom or string, NIL, or a parenthesized list

# During IDLE the server may be silent; after two minutes without an answer the kernel ends the connection.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))  # seconds, and times

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHIFTED: Final = re.compile(r"&([^&-]*+)-")
_NOT_PRINTED: Final = re.compile(r"&|[^\x20-\x7e]+")


class Lost(Exception):
    """Unusable connection: closed, or its data cannot be parsed."""


class TooLong(Lost):
    """Answer longer than the hub's limit. A smaller request may succeed."""


class Refused(Exception):
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


class Answer(msgspec.Struct, frozen=True):
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


class Wire:
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

    def command(self, *words: bytes) -> Answer:
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

    def finish(self, tag: bytes, *, may_refuse: bool = False, first: list[bytes] | None = None) -> Answer:
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

    def _judged(self, match: re.Match[bytes], untagged: list[list[bytes]], *, may_refuse: bool) -> Answer:
        status = match[2].decode().upper()
        code = (match[3] or b"").decode("ascii", "replace").partition(" ")[0].upper()
        if status != "OK" and not may_refuse:
            raise Refused(status, code, _line(match[4]))
        return Answer(untagged, status, code, _line(match[4]))

    def finish_asked(self, tag: bytes, *lines: bytes) -> Answer:
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


def values(pieces: Sequence[bytes]) -> list[Value]:
    """Parse a response with its literals.

    Raises:
        Lost: parentheses do not match, or are nested too deeply.
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
                if len(stack) > _MAX_DEPTH:
                    raise Lost(f"the server's answer nests deeper than {_MAX_DEPTH} levels")
            elif sign:
                stack.pop()
                if not stack:
                    raise Lost("the server's answer cannot be understood")
            else:
                stack[-1].append(_ESCAPED.sub(rb"\1", string) if b"\\" in string else string)
    if len(stack) > 1:
        raise Lost("the server's answer cannot be understood")
    return top


def number_of(value: Value) -> int | None:
    """Parse a number of at most 63 bits (RFC 9051, 9); None for a value that is no text.

    Raises:
        Lost: the text is no such number.
    """
    if not isinstance(value, bytes):
        return None
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise Lost("the server's answer cannot be understood")
    return int(value)


def _line(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())[:200]


def quoted(text: str) -> bytes:
    """Encode *text* as a quoted string.

    Raises:
        ValueError: line ends or non-ASCII characters.
    """
    if not text.isascii() or any(char in text for char in "\r\n\0"):
        raise ValueError("no line ends and only ASCII letters in a quoted string")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def folder_word(name: str) -> bytes:
    """Encode a folder's name: modified UTF-7, quoted (RFC 3501, 5.1.3)."""

    def shifted(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        encoded = binascii.b2a_base64(match[0].encode("utf-16-be", "replace"), newline=False)
        return f"&{encoded.decode().rstrip('=').replace('/', ',')}-"

    return quoted(_NOT_PRINTED.sub(shifted, name))


def folder_name(word: bytes) -> str:
    """Decode a folder's name; invalid sequences are kept."""

    def unshifted(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        padded = match[1].replace(",", "/") + "=" * (-len(match[1]) % 4)
        try:
            return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
        except ValueError:
            return match[0]

    return _SHIFTED.sub(unshifted, word.decode("utf-8", "replace"))


def day(of: date) -> bytes:
    """Format a date for SEARCH, in English for any locale."""
    return f"{of.day}-{_MONTHS[of.month - 1]}-{of.year}".encode()


def iso_of(internal: str) -> str:
    """Spell an INTERNALDATE as ISO 8601, which is parsed much faster; return other texts as they are."""
    if len(internal) != len("17-Jul-1996 02:44:25 -0700") or internal[3:6] not in _MONTHS:
        return internal
    month = f"{_MONTHS.index(internal[3:6]) + 1:02}"
    date = f"{internal[7:11]}-{month}-{internal[:2].replace(' ', '0')}"
    return f"{date}T{internal[12:20]}{internal[21:24]}:{internal[24:]}"


def set_of(uids: Sequence[int]) -> bytes:
    """Format sorted numbers as a set: ``1:3,7``."""
    pieces = []
    # Consecutive numbers have the same distance to their index.
    for _, run in groupby(enumerate(uids), lambda pair: pair[1] - pair[0]):
        ends = [uid for _, uid in run]
        pieces.append(f"{ends[0]}:{ends[-1]}" if len(ends) > 1 else str(ends[0]))
    return ",".join(pieces).encode()


PORT: Final = 143
OneLine = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\r\n\x00]+$")]

_MICROSOFT: Final = "https://login.microsoftonline.com/common/oauth2/v2.0"
_KNOWN: Final = {
    "imap.gmail.com": OAuth(
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",
        revoke_url="https://oauth2.googleapis.com/revoke",
        scopes=("https://mail.google.com/",),
        authorize=(("access_type", "offline"), ("prompt", "consent")),
    ),
    "outlook.office365.com": OAuth(
        authorize_url=f"{_MICROSOFT}/authorize",
        token_url=f"{_MICROSOFT}/token",
        device_url=f"{_MICROSOFT}/devicecode",
        scopes=("https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"),
        loopback="localhost",
    ),
}


class OAuthSettings(BaseModel):
    """OAuth endpoints of servers that the hub does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authorize_url: OneLine = Field(description="Where the browser goes.")
    token_url: OneLine = Field(description="Where tokens are got.")
    device_url: OneLine | None = Field(default=None, description="Of the device grant, if there is one.")
    revoke_url: OneLine | None = Field(default=None, description="Where tokens are given back.")
    scopes: Words = Field(default=(), description="What is asked for.")


class ImapSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider imap."""

    host: OneLine = Field(description="The server's name, which its certificate has to bear.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="993 with TLS from the start, else 143."
    )
    tls: Literal["implicit", "starttls", "none"] = Field(
        default="implicit", description='"none" only for this machine, or with insecure = true.'
    )
    username: OneLine = Field(description="As the server knows the owner; often the address.")
    auth: Literal["password", "xoauth2"] = Field(default="password", description="How the owner signs in.")
    ca_file: SettingsFile | None = Field(
        default=None, description="Certificates (PEM) that are trusted instead of this machine's."
    )
    insecure: bool = Field(
        default=False, description="Let the password travel to another machine unprotected."
    )
    authserv_id: OneLine | None = Field(
        default=None,
        description="Name with which the server's own Authentication-Results begin; without it no sender is"
        " verified, except at Google and Microsoft.",
    )
    oauth: OAuthSettings | None = Field(
        default=None, description="For auth = xoauth2, where the server is neither Google's nor Microsoft's."
    )

    @field_validator("username")
    @classmethod
    def _is_no_control(cls, username: str) -> str:
        if "\x01" in username:
            raise ValueError("no control characters in a user name")
        return username

    @model_validator(mode="after")
    def _fits(self) -> Self:
        host = self.at_host
        if self.tls == "none" and not self.insecure and not is_this_machine(host):
            raise ValueError(
                'tls = "none" would send the password unprotected; use "starttls", or insecure = true'
            )
        if self.auth == "xoauth2" and self.sign_in() is None:
            raise ValueError(
                f'auth = "xoauth2" at {self.host} needs oauth = {{authorize_url, token_url, scopes}}'
            )
        return self

    @property
    def at_host(self) -> str:
        """Host as it is judged and called. Raises ValueError: it is none."""
        return parse_host(self.host)

    @property
    def at_port(self) -> int:
        """Configured or default port."""
        return self.port or (993 if self.tls == "implicit" else PORT)

    @property
    def own_authserv_id(self) -> str | None:
        """Configured or known name of the server in Authentication-Results; None: unknown."""
        if self.authserv_id is not None:
            return self.authserv_id
        return {"imap.gmail.com": GOOGLE, "outlook.office365.com": MICROSOFT}.get(self.host.lower())

    def sign_in(self) -> OAuth | None:
        """Return the OAuth parameters, or None for a sign-in by password."""
        if self.auth == "password":
            return None
        if self.oauth is None:
            return _KNOWN.get(self.host.lower())
        return OAuth(**self.oauth.model_dump())

    def problem_of_files(self) -> str | None:
        """Return why this node cannot use *ca_file*, or None."""
        if self.ca_file is None:
            return None
        try:
            trusting(self.ca_file)
        except OSError as error:
            return ca_file_fault(self.ca_file, error)
        return None


class ImapFilter(Filter):
    """Table ``filter`` of an agent that reads a mailbox over IMAP."""

    folders: Words = Field(default=("INBOX",), description="As a mail program shows them.")
    special_use: tuple[
        Literal["all", "archive", "drafts", "flagged", "important", "junk", "sent", "trash"], ...
    ] = Field(default=(), description="Folders by what the server says that they are for, beside those.")
    flags_none: Words = Field(
        default=(), description=r'Flags that it must not have, as in "\\Flagged", "$Junk".'
    )
    header: dict[OneLine, Annotated[str, StringConstraints(max_length=300)]] = Field(
        default={}, max_length=20, description="Headers, and text that each has to contain."
    )

    @field_validator("header")
    @classmethod
    def _are_names(cls, header: dict[str, str]) -> dict[str, str]:
        for name in header:
            if not all("!" <= char <= "~" and char not in ':"()[]{}\\' for char in name):
                raise ValueError(f"{name!r} is no header's name")
        return {name.lower(): value for name, value in header.items()}

    @model_validator(mode="after")
    def _names_a_folder(self) -> Self:
        if not self.folders and not self.special_use:
            raise ValueError("folders and special_use are both empty: nothing would be read")
        return self


CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_TIMEOUT_S: Final = 60.0  # of the server inside a command
WORK_TIMEOUT_S: Final = 300.0  # of one operation: a server may also send very slowly
_STALE_S: Final = 20.0  # idle time after which servers or firewalls may have dropped the connection
_SHOWN_FOLDERS: Final = 20
_STATUS_WORD: Final = re.compile(r"(?i)(temporar|try again|unavailable|internal|too many|in use)")


class AnswerTooLong(Unavailable):
    """Answer longer than the hub's limit: less must be requested."""


class Folder(msgspec.Struct, frozen=True):
    """Folder in LIST; *flags* in lower case, including ``\\sent`` and other special uses."""

    name: str
    flags: frozenset[str]


class FolderStatus(msgspec.Struct, frozen=True):
    """Data of STATUS. *modseq*: ``None`` without CONDSTORE."""

    uidvalidity: int
    uidnext: int
    modseq: int | None
    messages: int


class Line:
    """Connection for one user at a time, reopened on demand."""

    def __init__(
        self, settings: ImapSettings, context: Context, *, silence_timeout_s: float = SILENCE_TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._context = context
        self._silence_timeout_s = silence_timeout_s
        self._threads = CapacityLimiter(1)
        self._wire: Wire | None = None
        self._used_at = 0.0
        self._folder: tuple[str, int] | None = None  # selected folder with its UIDVALIDITY

    @property
    def offers(self) -> frozenset[str]:
        """Server's capabilities, in upper case; empty before the connection is open."""
        return frozenset() if self._wire is None else self._wire.capabilities

    async def open(self) -> None:
        """Connect and sign in, unless already done."""
        if self._wire is not None and self._context.clock.monotonic() - self._used_at > _STALE_S:
            try:
                await self._do(self._wire, lambda wire: wire.command(b"NOOP"))
            except Unavailable:
                await self.aclose()
        if self._wire is None:
            self._wire = await self._signed_in()
            self._used_at = self._context.clock.monotonic()

    async def work(self, work: Callable[[Wire], T], *, timeout_s: float | None = WORK_TIMEOUT_S) -> T:
        """Run an operation on the wire in a thread.

        Args:
            timeout_s: ``None``: no limit, and the server may be silent.
        """
        await self.open()
        assert self._wire is not None
        try:
            return await self._do(self._wire, work, timeout_s=timeout_s)
        except Refused as refused:
            raise failure_of(refused, "the server refused what it was asked") from refused

    async def apart(self, work: Callable[[], T]) -> T:
        """Run a long operation without the wire in the connection's thread."""
        return await to_thread.run_sync(work, limiter=self._threads)

    async def status(self, name: str) -> FolderStatus:
        """Return the status of a folder without opening it."""
        await self.open()
        asked = b"(UIDVALIDITY UIDNEXT MESSAGES%b)" % (
            b" HIGHESTMODSEQ" if "CONDSTORE" in self.offers else b""
        )
        answer = await self._in_folder(name, b"STATUS", asked)
        for pieces in answer.named(b"STATUS"):
            items = _understood(pieces)[-1]
            if isinstance(items, list):
                numbers = {
                    bytes(word).upper(): number_of(value) or 0
                    for word, value in zip(items[::2], items[1::2], strict=False)
                    if isinstance(word, bytes) and isinstance(value, bytes) and value.isdigit()
                }
                return FolderStatus(
                    numbers.get(b"UIDVALIDITY", 0),
                    numbers.get(b"UIDNEXT") or await self._next(name, numbers.get(b"UIDVALIDITY", 0)),
                    numbers.get(b"HIGHESTMODSEQ") or None,
                    numbers.get(b"MESSAGES", 0),
                )
        raise Unavailable("the server's answer cannot be understood")

    async def enter(self, name: str, uidvalidity: int) -> None:
        """Open a folder read-only.

        Raises:
            Unavailable: the folder was recreated under the same name.
        """
        await self.open()
        if self._folder is None or self._folder[0] != name:
            self._folder = None
            answer = await self._in_folder(name, b"EXAMINE")
            current = answer.codes().get("UIDVALIDITY", "0").encode()
            self._folder = (name, (number_of(current) or 0) if current.isdigit() else 0)
        if self._folder[1] != uidvalidity:
            self._folder = None
            raise Unavailable(f"the folder {name} was made anew while it was read")

    async def folders(self) -> list[Folder]:
        """Return all folders of the account."""
        await self.open()
        words = [b"LIST", b'""', b'"*"']
        if "SPECIAL-USE" in self.offers and "LIST-EXTENDED" in self.offers:
            words += [b"RETURN", b"(SPECIAL-USE)"]
        answer = await self.work(lambda wire: wire.command(*words))
        found = []
        for pieces in answer.named(b"LIST"):
            match _understood(pieces):
                case [list() as flags, _, bytes() as name, *_]:
                    lowered = frozenset(
                        flag.decode("ascii", "replace").lower() for flag in flags if isinstance(flag, bytes)
                    )
                    found.append(Folder(folder_name(name), lowered))
        return found

    async def wait(self, seconds: float) -> bool:
        """Wait in the open folder until the server reports a change (RFC 2177).

        Returns:
            False if the time is up; the connection is then closed.
        """
        with anyio.move_on_after(seconds):
            await self.work(_idle, timeout_s=None)
            return True
        await self.aclose()
        return False

    async def aclose(self) -> None:
        """Close the connection."""
        wire, self._wire, self._folder = self._wire, None, None
        if wire is not None:
            wire.leave()

    async def _next(self, name: str, uidvalidity: int) -> int:
        """Return the next UID from a server that does not report UIDNEXT."""
        await self.enter(name, uidvalidity)
        answer = await self.work(lambda wire: wire.command(b"UID", b"SEARCH", b"UID", b"*"))
        found = (word for pieces in answer.named(b"SEARCH") for word in pieces[0].split() if word.isdigit())
        return max(map(int, found), default=0) + 1

    async def _in_folder(self, name: str, verb: bytes, *words: bytes) -> Answer:
        assert self._wire is not None
        try:
            return await self._do(self._wire, lambda wire: wire.command(verb, folder_word(name), *words))
        except Refused as refused:
            await self._explain(name, refused)

    async def _explain(self, name: str, refused: Refused) -> NoReturn:
        """Raise a failure that explains why a folder cannot be opened, if the folder is at fault."""
        existing = [folder for folder in await self.folders() if r"\nonexistent" not in folder.flags]
        names = [folder.name for folder in existing]
        if any(folder.name == name and r"\noselect" in folder.flags for folder in existing):
            raise Misconfigured(f"the folder {name} holds only other folders, no messages") from refused
        if name in names or name == "INBOX":
            raise failure_of(refused, f"the folder {name} cannot be opened") from refused
        hint = did_you_mean(name, names)
        raise Misconfigured(
            f"there is no folder {name}{'; ' + hint if hint else '.'}"
            f" There are: {listed(names, _SHOWN_FOLDERS)}"
        ) from refused

    async def _do(
        self, wire: Wire, work: Callable[[Wire], T], *, timeout_s: float | None = WORK_TIMEOUT_S
    ) -> T:
        """Run an operation. Raises ``Refused``, or ``Unavailable`` if the connection is lost and closed."""
        is_done = False
        try:
            with anyio.fail_after(timeout_s):
                wire.wait_for(None if timeout_s is None else self._silence_timeout_s)
                done = await to_thread.run_sync(
                    lambda: wire.run(work), abandon_on_cancel=True, limiter=self._threads
                )
            is_done = True
            self._used_at = self._context.clock.monotonic()
            return done
        except Refused:
            is_done = True
            raise
        except TooLong as error:
            raise AnswerTooLong(str(error)) from error
        except (Lost, OSError, TimeoutError) as error:  # TimeoutError is an OSError; listed for clarity
            raise Unavailable(f"{self._settings.host}: {_why(error)}") from error
        finally:
            if not is_done:
                self._drop(wire)

    def _drop(self, wire: Wire) -> None:
        wire.leave()  # also ends a thread that waits for the server
        if wire is self._wire:
            self._wire = self._folder = None

    async def _signed_in(self) -> Wire:
        """Connect and sign in. A refused token is replaced by another one, once."""
        if self._settings.auth == "password":
            if self._context.secret is None:
                raise SignInNeeded(f"{self._context.account} has no password: add secret to hub.toml")
            return await self._try(self._context.secret())
        if self._context.tokens is None:
            raise SignInNeeded(f"not signed in yet: hub connectors login {self._context.account}")
        token = await self._context.tokens.token()
        try:
            return await self._try(token)
        except SignInNeeded:
            another = await self._context.tokens.token(rejected=token)
            if another == token:
                raise
        return await self._try(another)

    async def _try(self, secret: str) -> Wire:
        wire = await self._connected()
        try:
            await self._do(wire, lambda wire: _sign_in(wire, self._settings, secret))
        except Refused as refused:
            wire.leave()
            raise _sign_in_failure(refused, self._settings) from refused
        return wire

    async def _connected(self) -> Wire:
        settings = self._settings
        given_up = threading.Event()
        addresses = await self._context.caller.permitted(settings.at_host, settings.at_port)

        def connect() -> Wire:
            wire = Wire(
                settings.host,
                settings.at_port,
                tls=settings.tls,
                trust=None if settings.tls == "none" else trusting(settings.ca_file),
                timeout_s=CONNECT_TIMEOUT_S,
                addresses=addresses,
            )
            if given_up.is_set():
                wire.close()
            return wire

        try:
            # The TCP connection, TLS and the greeting may each take the timeout.
            with anyio.fail_after(3 * CONNECT_TIMEOUT_S):
                return await to_thread.run_sync(connect, abandon_on_cancel=True, limiter=self._threads)
        except ssl.SSLCertVerificationError as error:
            raise Misconfigured(
                f"{settings.host} shows a certificate that is not trusted: {error.verify_message}"
            ) from error
        except (Lost, TimeoutError) as error:
            raise Unavailable(f"{settings.host}: {_why(error)}") from error
        except OSError as error:
            raise FileUnusable(ca_file_fault(settings.ca_file, error)) from error
        finally:
            given_up.set()


def failure_of(refused: Refused, what: str) -> ConnectorFailure:
    """Interpret a NO (RFC 5530) to a command other than a sign-in."""
    match refused.code:
        case "AUTHENTICATIONFAILED" | "EXPIRED":
            return SignInNeeded(f"{what} [{refused.code}]")
        case "NOPERM" | "AUTHORIZATIONFAILED" | "CONTACTADMIN":
            return PermissionMissing(f"{what} [{refused.code}]")
        case "NONEXISTENT" | "PRIVACYREQUIRED":
            return Misconfigured(f"{what} [{refused.code}]")
        case "LIMIT":
            return ProviderBusy(f"{what} [{refused.code}]")
        case "OVERQUOTA":
            return QuotaSpent(f"{what} [{refused.code}]")
        case "":
            return Unavailable(what)
        case code:
            return Unavailable(f"{what} [{code[:40]}]")


def _sign_in_failure(refused: Refused, settings: ImapSettings) -> ConnectorFailure:
    # The server's text is not passed on: some servers repeat the credentials.
    what = f"{settings.host} does not let {settings.username} in"
    if refused.code in ("", "ALERT"):
        if refused.status == "BAD":
            return Misconfigured(f"{what}: it does not know this way to sign in (auth = {settings.auth!r})")
        if _STATUS_WORD.search(refused.text):
            return Unavailable(f"{what} now")
        return SignInNeeded(what)
    return failure_of(refused, what)


def _sign_in(wire: Wire, settings: ImapSettings, secret: str) -> None:
    user = settings.username
    if settings.auth == "xoauth2":
        _authenticate(wire, "XOAUTH2", f"user={user}\x01auth=Bearer {secret}\x01\x01")
    elif "AUTH=PLAIN" in wire.capabilities:
        _authenticate(wire, "PLAIN", f"\0{user}\0{secret}")
    elif "LOGINDISABLED" in wire.capabilities:
        raise Refused("NO", "PRIVACYREQUIRED", "")
    else:
        try:
            words = quoted(user), quoted(secret)
        except ValueError:
            raise Refused("BAD", "", "") from None
        wire.command(b"LOGIN", *words)
    for pieces in wire.command(b"CAPABILITY").named(b"CAPABILITY"):
        wire.capabilities = frozenset(pieces[0].decode("ascii", "replace").upper().split())


def _authenticate(wire: Wire, mechanism: str, answer: str) -> None:
    encoded = base64.b64encode(answer.encode())
    if "SASL-IR" in wire.capabilities:
        tag = wire.send(b"AUTHENTICATE", mechanism.encode(), encoded)
        wire.finish_asked(tag)
        return
    tag = wire.send(b"AUTHENTICATE", mechanism.encode())
    wire.finish_asked(tag, encoded)


def _idle(wire: Wire) -> None:
    tag = wire.send(b"IDLE")
    while not (first := wire.response()[0]).startswith(b"+"):
        if not first.startswith(b"* "):
            raise Refused("BAD", "", "")
    while True:
        pieces = wire.response()
        words = pieces[0].upper().split()
        if words[1:2] == [b"BYE"]:
            raise Lost("the server hung up")
        if words[2:3] and words[2] in (b"EXISTS", b"FETCH"):
            break
    wire.send_line(b"DONE")
    wire.wait_for(SILENCE_TIMEOUT_S)
    wire.finish(tag)


def _understood(pieces: Sequence[bytes]) -> list[Value]:
    """Parse a complete answer. Raises Unavailable."""
    try:
        return values(pieces)
    except Lost as error:
        raise Unavailable(str(error)) from error


def _why(error: Exception) -> str:
    return "it does not answer" if isinstance(error, TimeoutError) else str(error)
