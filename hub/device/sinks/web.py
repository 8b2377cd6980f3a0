"""Requests to the server of a sink, and waits after a refused password or a busy answer. All calls block.

``Polled`` has what CalDAV and REST targets have in common.
"""

import os
import ssl
import stat
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from anyio import from_thread

from hub.clock import Clock, SystemClock
from hub.device.addresses import is_local
from hub.device.sinks.target import Found, Put, Snapshot, TargetChanged, TargetFailed
from hub.outbound.addresses import Target, parse_target
from hub.outbound.rules import retry_after
from hub.tls_faults import certificate_fault, certificate_fix
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

if TYPE_CHECKING:
    import httpx2

POLL_S: Final = 60.0  # between two looks at a server that nothing is written to
SILENCE_S: Final = 15.0  # of a server, after which a request ends
_MOST_S: Final = 60.0  # for one answer
_MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_REDIRECTS: Final = 3
_MOVED: Final = (301, 302, 307, 308)
_OF_ONE_ROW: Final = (400, 409, 413, 415, 422)  # statuses by which a server refuses a row, not its writer
_BUSY: Final = (429, 503)
_WAIT_S: Final = 30.0  # of a busy server that does not say how long
_LOCKED_S: Final = 300.0  # before a refused password is tried again, unless it was changed


class Refused(TargetFailed):
    """Row that a server refuses; it takes others."""

    why = PlaceProblem.REFUSED


class NoSecret(TargetFailed):
    """Password or token that cannot be read, or that a server refuses."""

    why = PlaceProblem.DENIED


class Answer(NamedTuple):
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
            raise NoSecret(f"{place}: other users can read it; run: chmod 600 {place}")
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
    """

    def __init__(
        self,
        url: str,
        authorization: Callable[[], str],
        silence_s: float = SILENCE_S,
    ) -> None:
        self.clock: Clock = SystemClock()
        self.host = urlsplit(url).netloc
        self._origin = _origin(url)
        self._is_local = is_local(url)
        self._authorization = authorization
        self._silence_s = silence_s
        self._client: httpx2.Client | None = None
        self._tls: ssl.SSLContext | None = None
        # until when, the error until then, and for which authorization
        self._wait: tuple[float, TargetFailed, str] = (float("-inf"), TargetFailed(""), "")

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Close the connections of the requests in the block at its end."""
        try:
            yield
        finally:
            if self._client is not None:
                self._client.close()
                self._client = None

    def ask(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Send a request and return its answer: a successful one, or one with an accepted status.

        Raises:
            Refused: the server refuses this row.
            TargetFailed: all else; the request may have been carried out nevertheless.
        """
        with suppress(RuntimeError):  # not in a worker thread
            from_thread.check_cancelled()
        authorization = self._authorization()
        until, error, refused = self._wait
        if self.clock.monotonic() < until and refused in ("", authorization):
            raise type(error)(str(error), error.why)
        sent = {"Authorization": authorization, **(headers or {})}
        for _ in range(_MOST_REDIRECTS):
            if (origin := _origin(url)) is None or origin != self._origin:
                other = "no address" if origin is None else f"{origin.host}:{origin.port}"
                raise TargetFailed(f"{self.host} points to {other}: write its address, if you trust it")
            answer = self._sent(method, url, body, sent)
            if answer.status not in _MOVED:
                break
            try:
                url = urljoin(url, answer.headers.get("location", ""))
            except ValueError:
                break  # no address
        if 200 <= answer.status < 300 or answer.status in accept:
            return answer
        raise self._failure(answer, authorization)

    def _sent(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        import httpx2  # imported with the first request: devices without such a sink do without

        if self._client is None:
            self._tls = self._tls or ssl.create_default_context()
            self._client = httpx2.Client(
                verify=self._tls, timeout=self._silence_s, trust_env=not self._is_local
            )
        end = self.clock.monotonic() + _MOST_S
        read = bytearray()
        try:
            with self._client.stream(method, url, content=body, headers=headers) as response:
                for piece in response.iter_bytes():
                    read += piece
                    if len(read) > _MOST_BYTES or self.clock.monotonic() > end:
                        raise TargetFailed(f"{self.host}: its answer is too long, or too slow")
                return Answer(response.status_code, response.headers, bytes(read))
        except httpx2.TimeoutException:
            reason = f"does not answer within {self._silence_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # its text may have the secret
            reason = _why_not(self.host, error)
        raise TargetFailed(f"{self.host}: {reason}; the next attempt follows", PlaceProblem.UNREACHABLE)

    def _failure(self, answer: Answer, authorization: str) -> TargetFailed:
        status, now = answer.status, self.clock.monotonic()
        if status == 401:
            error: TargetFailed = NoSecret(
                f"{self.host}: refuses the user or the password (401); correct them"
            )
            self._wait = (now + _LOCKED_S, error, authorization)
            return error
        if status in _BUSY:
            wait = retry_after(answer.headers, self.clock.now())
            why = f"{self.host}: is busy ({status}); the next attempt follows when it allows"
            error = TargetFailed(why, PlaceProblem.BUSY)
            self._wait = (now + (_WAIT_S if wait is None else wait.seconds), error, "")
            return error
        if status == 403:
            what = f"{self.host}: does not allow it (403); is it read-only for this user?"
            return TargetFailed(what, PlaceProblem.READ_ONLY)
        if status in _OF_ONE_ROW:
            return Refused(f"{self.host} refuses it ({status})")
        return TargetFailed(f"{self.host}: answers with status {status}; the next attempt follows")


def _origin(url: str) -> Target | None:
    """Return scheme, host and port, or None if it is no address that is called."""
    try:
        return parse_target(url)
    except ValueError:
        return None


def _why_not(host: str, error: BaseException | None) -> str:
    import httpx2

    reason = "cannot be reached" if isinstance(error, httpx2.ConnectError) else "the connection broke"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{certificate_fault(host, error)}; {certificate_fix(error)}"
        error = error.__cause__ or error.__context__
    return reason


class Polled(ABC):
    """Target at a server: its rows are looked at once in *poll_s*, and before they are written, by need."""

    def __init__(self, web: Web, poll_s: float = POLL_S) -> None:
        self._web = web
        self._poll_s = poll_s
        self._looked_at = float("-inf")
        self._version: Hashable = None
        self._tables: Mapping[str, DeviceTable] = {}
        self._places: Collection[str] = ()

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

    def write(self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]) -> Mapping[str, Found]:
        refused = ""
        other: dict[str, Found] = {}
        try:
            with self._web.connected():
                for put in puts:
                    try:
                        if (found := self._put(put)) is not None:
                            other[put.key] = found
                    except Refused as error:
                        refused = refused or f"{put.fields.get(put.table.title, '')[:80]!r}: {error}"
                for key in removed:
                    self._remove(key)
        except TargetFailed:
            self._forget()
            raise
        if refused:
            raise Refused(refused)
        return other

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

    def _changed(self, what: str) -> TargetChanged:
        self._forget()
        return TargetChanged(f"{what}: another program changed it just now")

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
    def _put(self, put: Put) -> Found | None:
        """Write a row; return what the server has then, where it differs."""

    @abstractmethod
    def _remove(self, key: str) -> None:
        """Remove a row."""
