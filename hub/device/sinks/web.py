"""HTTP requests of sinks to a server: secrets, and waits after a refused password or a busy server.

``Polled`` has what CalDAV and REST targets have in common.
"""

import os
import socket
import ssl
import stat
import threading
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from anyio import from_thread

from hub.base.clock import Clock, SystemClock
from hub.base.outbound.addresses import UrlTarget, parse_target, unreached
from hub.base.outbound.refusal_reach import (
    MAX_REFUSALS,
    PRECONDITIONS,
    RefusalScope,
    precondition_in,
    scope_of_status,
)
from hub.base.outbound.rules import kind_of, retry_after
from hub.base.printable import shell_word
from hub.base.tls_faults import certificate_fault, certificate_fix
from hub.device.addresses import is_local
from hub.device.sinks.target import Snapshot, TargetChanged, Written
from hub.text.rows.row import Put, TargetFailed
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

if TYPE_CHECKING:
    import httpx2

POLL_S: Final = 60.0  # between two looks at a server that nothing is written to
SILENCE_S: Final = 15.0  # of a server, after which a request ends
_MAX_S: Final = 60.0  # for one answer
_TOO_SLOW: Final = "answers too slowly"
_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_REDIRECTS: Final = 3
_MOVED: Final = (301, 302, 307, 308)
_BUSY: Final = (429, 503)
_MAX_SUSPECTS: Final = 100  # rows whose latest answer was of the moment, or of the account
_REFUSED: Final = PlaceProblem.REFUSED
_PROBLEMS: Final = {
    401: PlaceProblem.DENIED,
    403: PlaceProblem.READ_ONLY,
    429: PlaceProblem.BUSY,
    503: PlaceProblem.BUSY,
    507: PlaceProblem.FULL,
}
_FULL: Final = ("quota-not-exceeded", "sufficient-disk-space")
_WORDS: Final = {
    401: "refuses the user or the password (401); many servers, as iCloud, want one made for programs",
    403: "does not allow it (403); is it read-only for this user?",
    429: "is busy (429)",
    503: "is busy (503)",
    507: "has no space left (507)",
}
_WAIT_S: Final = 30.0  # of a busy server that does not say how long
_LOCKED_S: Final = 300.0  # before a refused password is tried again, unless it was changed


class NoSecret(TargetFailed):
    """Password or token that cannot be read."""

    why = PlaceProblem.DENIED
    scope = RefusalScope.ACCOUNT


class PointsElsewhere(TargetFailed):
    """Answer that sends on to *url* at another server (empty: no address), which gets no password."""

    def __init__(self, host: str, url: str) -> None:
        target = origin_of(url)
        other = "no address" if target is None else f"{target.host}:{target.port}"
        super().__init__(f"{host} points to {other}: write its address, if you trust it")
        self.url = url if target else ""


class NotPublic(TargetFailed):
    """Server that a hub named, and whose address is *kind*, as in this network; nothing was sent there."""

    why = PlaceProblem.UNREACHABLE
    scope = RefusalScope.MOMENT

    def __init__(self, url: str, kind: str) -> None:
        named = f"name it at the device: hub places add calendar {shell_word(url)}"
        super().__init__(f"a hub reaches public servers alone, and this one is {kind}: {named}")


class SinkReply(NamedTuple):
    """Answer of a server; names of *headers* ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def secret_in(file: Path | None, variable: str | None) -> str:
    """Return a password from a file that only its owner can read, or from a variable of the environment.

    Raises:
        TargetFailed: there is none, or others can read it.
    """
    place = str(file or f"the environment variable {variable}")
    try:
        mode = stat.S_IFREG if file is None else file.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe would never end
            raise NoSecret(f"{place}: is no file")
        if mode & 0o077:
            raise NoSecret(f"{place}: other users can read it; run: chmod 600 {shell_word(place)}")
        text = os.environ.get(variable or "", "") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise NoSecret(f"{place}: cannot be read: {reason}") from None
    text = text.strip("\r\n")
    if not text or not text.isprintable():
        raise NoSecret(f"{place}: one line with the password or token is expected")
    return text


def basic_authorization(user: str, password: str) -> str:
    """Return the header's value for a user with a password (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


class Web:
    """Client of the server at *url*; it sends *authorization* to no other host.

    Args:
        authorization: returns the header's value; raises TargetFailed. Its secret is in no message.
        is_public: connect to public addresses alone.
    """

    def __init__(
        self,
        url: str,
        authorization: Callable[[], str],
        silence_s: float = SILENCE_S,
        *,
        is_public: bool = False,
    ) -> None:
        self._url, self._is_public = url, is_public
        self.clock: Clock = SystemClock()
        self.host = urlsplit(url).netloc
        self._origin = origin_of(url)
        self._is_local = is_local(url)
        self._authorization = authorization
        self._silence_s = silence_s
        self.is_late: Callable[[], bool] = lambda: False  # whether no answer is awaited any more
        self._client: httpx2.Client | None = None
        self._sockets: list[socket.socket] = []  # second handles of the connections of the client
        self._is_cut = False
        self._tls: ssl.SSLContext | None = None
        # until when, the error until then, and for which authorization
        self._wait: tuple[float, TargetFailed, str] = (float("-inf"), TargetFailed(""), "")
        self._accepted = 0  # answers that were no refusals
        self._suspects: dict[str, int] = {}  # number of accepted answers at the latest wait for each row

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Close the connections of the requests in the block at its end."""
        try:
            yield
        finally:
            if self._client is not None:
                self._client.close()
                self._client = None
            self._close_handles()

    def ask(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        row: str = "",
    ) -> SinkReply:
        """Send a request and return its answer: a successful one, or one with an accepted status.

        Args:
            row: what the request is about, where its address does not say it.

        Raises:
            TargetFailed: the server refuses it, or does not answer; its scope says how far that reaches. The
                request may have been carried out nevertheless.
        """
        row = row or url
        with suppress(RuntimeError):  # not in a worker thread
            from_thread.check_cancelled()
        authorization = self._authorization()
        until, error, refused = self._wait
        if self.clock.monotonic() < until and refused in ("", authorization):
            raise type(error)(str(error), error.why, error.scope)
        sent = {"Authorization": authorization, **(headers or {})}
        for _ in range(_MAX_REDIRECTS):
            if self._origin is None or origin_of(url) != self._origin:
                raise PointsElsewhere(self.host, url)
            try:
                answer = self._sent(method, url, body, sent)
            except TargetFailed as silence:
                silence.scope = self._narrowed(RefusalScope.MOMENT, row)
                raise
            if answer.status not in _MOVED:
                break
            try:
                url = urljoin(url, answer.headers.get("location", ""))
            except ValueError:
                break  # no address
        if 200 <= answer.status < 300 or answer.status in accept:
            self._accepted += 1
            self._suspects.pop(row, None)
            return answer
        raise self._failure(answer, authorization, row)

    def _narrowed(self, scope: RefusalScope, row: str) -> RefusalScope:
        """Return the scope of a refusal: of the row if the server accepted others since its last refusal."""
        if scope not in (RefusalScope.ACCOUNT, RefusalScope.MOMENT):
            return scope
        if self._suspects.get(row, self._accepted) < self._accepted:
            return RefusalScope.ROW
        self._suspects = dict([*self._suspects.items()][-_MAX_SUSPECTS:]) | {row: self._accepted}
        return scope

    def _sent(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> SinkReply:
        import httpx2  # imported with the first request: devices without such a sink do without

        if self._client is None:
            self._tls = self._tls or ssl.create_default_context()
            transport = None
            if self._is_public:
                from hub.base.outbound.pinned import PinnedTransport

                transport = PinnedTransport(partial(public_addresses, self._url), self._tls)
            self._client = httpx2.Client(
                verify=self._tls,
                timeout=self._silence_s,
                trust_env=not self._is_local,
                transport=transport,
            )
        if self.is_late():
            raise TargetFailed(f"{self.host}: {_TOO_SLOW}")
        end = self.clock.monotonic() + _MAX_S
        read = bytearray()
        self._is_cut = is_whole = False
        watch = threading.Timer(_MAX_S, self._cut)
        watch.daemon = True
        watch.start()
        noting = {"trace": self._note_connection}
        try:
            with self._client.stream(
                method, url, content=body, headers=headers, extensions=noting
            ) as response:
                for piece in response.iter_bytes():
                    read += piece
                    if len(read) > _MAX_BYTES or self.clock.monotonic() > end or self.is_late():
                        raise TargetFailed(f"{self.host}: its answer is too long, or too slow")
                is_whole = True
                return SinkReply(response.status_code, response.headers, bytes(read))
        except httpx2.TimeoutException:
            reason = f"does not answer within {self._silence_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # its text may have the secret
            reason = _TOO_SLOW if self._is_cut else _why_not(self.host, error)
        finally:
            watch.cancel()
            if not is_whole:
                self._close_handles()
        raise TargetFailed(f"{self.host}: {reason}", PlaceProblem.UNREACHABLE)

    def _note_connection(self, event: str, about: Mapping[str, Any]) -> None:
        if self._is_cut and event == "connection.connect_tcp.started":
            raise TargetFailed(f"{self.host}: {_TOO_SLOW}", PlaceProblem.UNREACHABLE)
        if event == "connection.connect_tcp.complete":
            self._close_handles()  # of connections that the server has closed: requests follow each other
            self._sockets.append(about["return_value"].get_extra_info("socket").dup())
            if self._is_cut:  # meanwhile
                self._cut()

    def _close_handles(self) -> None:
        while self._sockets:
            self._sockets.pop().close()

    def _cut(self) -> None:
        """End the connections, from another thread, which a byte now and then would keep."""
        self._is_cut = True
        for connection in [*self._sockets]:
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)

    def _failure(self, answer: SinkReply, authorization: str, row: str) -> TargetFailed:
        """Return the error of a refusal; a refused password, and a busy server, are left alone for a time."""
        now, condition = self.clock.monotonic(), precondition_in(answer.body)
        status = 507 if condition in _FULL else answer.status
        scope = self._narrowed(PRECONDITIONS.get(condition) or scope_of_status(status), row)
        of_row = f"{self.host}: refuses it ({condition or status})"
        if scope is RefusalScope.ROW:
            error = TargetFailed(of_row, _REFUSED, scope)
        else:
            what = _WORDS.get(status, f"answers with status {status}")
            error = TargetFailed(f"{self.host}: {what}", _PROBLEMS.get(status), scope)
            error.of_row = of_row
        if scope is RefusalScope.ACCOUNT and status == 401:
            self._wait = (now + _LOCKED_S, error, authorization)
        if scope is RefusalScope.MOMENT and status in _BUSY:
            wait = retry_after(answer.headers, self.clock.now())
            self._wait = (now + (_WAIT_S if wait is None else wait.seconds), error, "")
        return error


def origin_of(url: str) -> UrlTarget | None:
    """Return scheme, host and port, or None if it is no address that is called."""
    try:
        return parse_target(url)
    except ValueError:
        return None


def public_addresses(url: str) -> Sequence[str]:
    """Return the addresses of a server. Blocks.

    Raises:
        NotPublic: one of them is not on the internet.
        OSError, ValueError: it is not found.
    """
    _, host, port = parse_target(url)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [*dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)]
    for address in addresses:
        if kind := kind_of(ip_address(address.partition("%")[0])):
            raise NotPublic(url, kind)
    return addresses


def _why_not(host: str, error: BaseException | None) -> str:
    import httpx2

    reason = unreached(error) if isinstance(error, httpx2.ConnectError) else "the connection broke"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{certificate_fault(host, error)}; {certificate_fix(error)}"
        error = error.__cause__ or error.__context__
    return reason or "cannot be reached"


class Polled(ABC):
    """Target at a server: its rows are looked at once in *poll_s*, and before they are written, by need."""

    def __init__(self, web: Web, poll_s: float = POLL_S) -> None:
        self._web = web
        self._poll_s = poll_s
        self._looked_at = float("-inf")
        self._version: Hashable = None
        self._tables: Mapping[str, DeviceTable] = {}
        self._places: Collection[str] = ()
        self._left_out: dict[str, str] = {}  # why a row could not be read, by its key or place

    def end_when(self, is_late: Callable[[], bool]) -> None:
        """Cancel requests whose answers are awaited no more."""
        self._web.is_late = is_late

    def stamp(self, places: Collection[str]) -> Hashable:
        if places:
            try:
                with self._web.connected():
                    if self._update(places, self._tables):
                        self._version = self._state()
            except TargetFailed as error:
                self._version = str(error)  # so that a synchronization reports it
        return self._version

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        with self._web.connected():
            self._update(places, tables)
            return self._snapshot()

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        steps: list[tuple[str, Callable[[], Written]]] = [
            (put.key, partial(self._write_row, put)) for put in puts
        ]
        steps += [(key, partial(self._remove, key)) for key in removed]
        results: dict[str, Written] = {}
        in_a_row, is_over = 0, False
        with self._web.connected():
            for key, step in steps:
                if is_over:
                    results[key] = None
                    continue
                try:
                    if (found := step()) is not None:
                        results[key] = found
                    in_a_row = 0
                except TargetFailed as error:
                    self._forget()
                    results[key], in_a_row = error, in_a_row + 1
                    is_over = in_a_row == MAX_REFUSALS or error.is_of_all
        return results

    def _update(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> bool:
        """Look at the server if it is time; return True if it was."""
        self._places, self._tables = places, tables
        if self._web.clock.monotonic() - self._looked_at < self._poll_s:
            return False
        self._list_changes()
        self._looked_at = self._web.clock.monotonic()
        return True

    def _forget(self) -> None:
        """Look again before the next synchronization."""
        self._looked_at = float("-inf")

    def _leave_out(self, row: str, what: str, error: TargetFailed) -> None:
        """Note a row, by its key or place, that the server does not show, unlike others.

        Raises:
            TargetFailed: the *error*, if it is of all rows.
        """
        if error.is_of_all or len(self._left_out) >= MAX_REFUSALS:
            raise error
        self._left_out[row] = f"{what}: {error}"

    def _changed(self, what: str) -> TargetChanged:
        self._forget()
        return TargetChanged(f"{what}: another program changed it just now", scope=RefusalScope.ROW)

    @abstractmethod
    def _list_changes(self) -> None:
        """Update the rows."""

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """Return the rows."""

    @abstractmethod
    def _state(self) -> Hashable:
        """Return a value that differs once a row has changed."""

    @abstractmethod
    def _write_row(self, put: Put) -> Written:
        """Write a row; return what the server has then, where it differs. Raises TargetFailed."""

    @abstractmethod
    def _remove(self, key: str) -> None:
        """Remove a row. Raises TargetFailed."""
