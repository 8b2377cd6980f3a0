"""IMAP connection for async code: time limits, cancellation, reopening after a failure.

A wait can be cancelled at any time, even if the server hangs: the connection is then cut, which ends the
waiting thread. All failures are raised as ``ConnectorFailure``.
"""

import base64
import re
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, TypeVar

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread

from hub.base.name_lists import listed
from hub.base.outbound.addresses import unreached
from hub.base.tls_faults import ca_file_fault, certificate_fix, trusting
from hub.connectors.blocking_imap_transport import BlockingImapTransport, ImapRefused, ImapResponse, TooLong
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
from hub.connectors.connector import Context
from hub.connectors.imap_settings import ImapSettings
from hub.connectors.imap_syntax import Lost, Value, folder_name, folder_word, number_of, quoted, values
from protocol.similar_names import did_you_mean

T = TypeVar("T")
CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_TIMEOUT_S: Final = 60.0  # of the server inside a command
WORK_TIMEOUT_S: Final = 300.0  # of one operation: a server may also send very slowly
_STALE_S: Final = 20.0  # idle time after which servers or firewalls may have dropped the connection
_SHOWN_FOLDERS: Final = 20
_STATUS_WORD: Final = re.compile(r"(?i)(temporar|try again|unavailable|internal|too many|in use)")


class AnswerTooLong(Unavailable):
    """Answer longer than the hub's limit: less must be requested."""


class ImapFolder(msgspec.Struct, frozen=True):
    """Folder in LIST; *flags* in lower case, including ``\\sent`` and other special uses."""

    name: str
    flags: frozenset[str]


class FolderStatus(msgspec.Struct, frozen=True):
    """Data of STATUS. *modseq*: ``None`` without CONDSTORE."""

    uidvalidity: int
    uidnext: int
    modseq: int | None
    messages: int


class ImapConnection:
    """Connection for one user at a time, reopened on demand."""

    def __init__(
        self, settings: ImapSettings, context: Context, *, silence_timeout_s: float = SILENCE_TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._context = context
        self._silence_timeout_s = silence_timeout_s
        self._threads = CapacityLimiter(1)
        self._wire: BlockingImapTransport | None = None
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

    async def work(
        self, work: Callable[[BlockingImapTransport], T], *, timeout_s: float | None = WORK_TIMEOUT_S
    ) -> T:
        """Run an operation on the wire in a thread.

        Args:
            timeout_s: ``None``: no limit, and the server may be silent.
        """
        await self.open()
        assert self._wire is not None
        try:
            return await self._do(self._wire, work, timeout_s=timeout_s)
        except ImapRefused as refused:
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

    async def folders(self) -> list[ImapFolder]:
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
                    found.append(ImapFolder(folder_name(name), lowered))
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

    async def _in_folder(self, name: str, verb: bytes, *words: bytes) -> ImapResponse:
        assert self._wire is not None
        try:
            return await self._do(self._wire, lambda wire: wire.command(verb, folder_word(name), *words))
        except ImapRefused as refused:
            await self._explain(name, refused)

    async def _explain(self, name: str, refused: ImapRefused) -> NoReturn:
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
        self,
        wire: BlockingImapTransport,
        work: Callable[[BlockingImapTransport], T],
        *,
        timeout_s: float | None = WORK_TIMEOUT_S,
    ) -> T:
        """Run an operation. Raises ``ImapRefused``; ``Unavailable`` if the connection is lost and closed."""
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
        except ImapRefused:
            is_done = True
            raise
        except TooLong as error:
            raise AnswerTooLong(str(error)) from error
        except (Lost, OSError, TimeoutError) as error:  # TimeoutError is an OSError; listed for clarity
            raise Unavailable(f"{self._settings.host}: {_why(error)}") from error
        finally:
            if not is_done:
                self._drop(wire)

    def _drop(self, wire: BlockingImapTransport) -> None:
        wire.leave()  # also ends a thread that waits for the server
        if wire is self._wire:
            self._wire = self._folder = None

    async def _signed_in(self) -> BlockingImapTransport:
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

    async def _try(self, secret: str) -> BlockingImapTransport:
        wire = await self._connected()
        try:
            await self._do(wire, lambda wire: _sign_in(wire, self._settings, secret))
        except ImapRefused as refused:
            wire.leave()
            raise _sign_in_failure(refused, self._settings) from refused
        return wire

    async def _connected(self) -> BlockingImapTransport:
        settings = self._settings
        given_up = threading.Event()
        addresses = await self._context.caller.permitted(settings.at_host, settings.at_port)

        def connect() -> BlockingImapTransport:
            wire = BlockingImapTransport(
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
            name = self._context.account
            own = (
                "if it is its own, save it in a file:"
                f" hub config set connectors.{name}.settings.ca_file=FILE; then: hub connectors login {name}"
            )
            raise Misconfigured(
                f"{settings.host} shows a certificate that is not trusted: {error.verify_message};"
                f" {certificate_fix(error, own)}"
            ) from error
        except (Lost, TimeoutError) as error:
            raise Unavailable(f"{settings.host}: {_why(error)}") from error
        except OSError as error:
            raise FileUnusable(ca_file_fault(settings.ca_file, error)) from error
        finally:
            given_up.set()


def failure_of(refused: ImapRefused, what: str) -> ConnectorFailure:
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


def _sign_in_failure(refused: ImapRefused, settings: ImapSettings) -> ConnectorFailure:
    # The server's text is not passed on: some servers repeat the credentials.
    what = f"{settings.host} does not let {settings.username} in"
    if refused.code in ("", "ALERT"):
        if refused.status == "BAD":
            return Misconfigured(f"{what}: it does not know this way to sign in (auth = {settings.auth!r})")
        if _STATUS_WORD.search(refused.text):
            return Unavailable(f"{what} now")
        return SignInNeeded(what)
    return failure_of(refused, what)


def _sign_in(wire: BlockingImapTransport, settings: ImapSettings, secret: str) -> None:
    user = settings.username
    if settings.auth == "xoauth2":
        _authenticate(wire, "XOAUTH2", f"user={user}\x01auth=Bearer {secret}\x01\x01")
    elif "AUTH=PLAIN" in wire.capabilities:
        _authenticate(wire, "PLAIN", f"\0{user}\0{secret}")
    elif "LOGINDISABLED" in wire.capabilities:
        raise ImapRefused("NO", "PRIVACYREQUIRED", "")
    else:
        try:
            words = quoted(user), quoted(secret)
        except ValueError:
            raise ImapRefused("BAD", "", "") from None
        wire.command(b"LOGIN", *words)
    for pieces in wire.command(b"CAPABILITY").named(b"CAPABILITY"):
        wire.capabilities = frozenset(pieces[0].decode("ascii", "replace").upper().split())


def _authenticate(wire: BlockingImapTransport, mechanism: str, answer: str) -> None:
    encoded = base64.b64encode(answer.encode())
    if "SASL-IR" in wire.capabilities:
        tag = wire.send(b"AUTHENTICATE", mechanism.encode(), encoded)
        wire.finish_asked(tag)
        return
    tag = wire.send(b"AUTHENTICATE", mechanism.encode())
    wire.finish_asked(tag, encoded)


def _idle(wire: BlockingImapTransport) -> None:
    tag = wire.send(b"IDLE")
    while not (first := wire.response()[0]).startswith(b"+"):
        if not first.startswith(b"* "):
            raise ImapRefused("BAD", "", "")
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
    return str(error) if isinstance(error, Lost) else unreached(error) or str(error)
