"""The other end of the wire: connect, greet, talk, come back.

The reader never waits for work: frames are handed to a handler that only takes
them. When a connection ends, all work of it ends; the hub hands runs out again
with a newer fence, so a device that greets never claims to hold any.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import anyio
from anyio.abc import TaskGroup, TaskStatus
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from hub.clock import Chance, Clock
from hub.device.line import Line
from hub.log import Channel
from protocol.backoff import Backoff
from protocol.codec import Codec, for_subprotocol
from protocol.device_session import DeviceSession
from protocol.errors import CATALOGUE, CLOSE_MEANINGS, CloseCode, ErrorCode, HubError
from protocol.events import Ended, Leaving, Received, Refused, SessionEvent, Welcomed
from protocol.frame import MAX_MESSAGE_BYTES, PATH, Frame
from protocol.handshake import DeviceHello, Error

_OPEN_TIMEOUT_S: Final = 10.0
_PING_S: Final = 15.0  # one to ask, one to answer: a dead connection is found in 30 s
_CLOSE_TIMEOUT_S: Final = 2.0
_STEADY_S: Final = 30.0  # a connection that lived so long was no failed try
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
_HANG_UP_S: Final = 5.0  # a hub that said goodbye closes at once; its close code is worth a short wait
_DONE: Final = Ended(CloseCode.NORMAL, "done")

log = Channel(__name__)

Handler = Callable[[Frame], None]
Attend = Callable[[Line, TaskGroup], Handler]


class TurnedAway(HubError):
    """The hub does not want this device back by itself; ``str()`` says why and what to do."""

    code = ErrorCode.FORBIDDEN

    def __init__(self, message: str, close: int) -> None:
        super().__init__(message)
        self.close = close


class BadAddress(HubError):
    """The hub's URL, or the file of the token, cannot be used."""

    code = ErrorCode.BAD_PARAMS


@dataclass
class _Visit:
    """How a connection went: what the hub said last, and how it ended."""

    was_welcome: bool = False
    close: int | None = None  # None: it just broke, or was never there
    said: str = ""
    retry_after_ms: int | None = None


class _Straight(connect):
    """Follows no redirect: the token is for the hub whose address the owner wrote."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Client:
    """Keeps a device connected to its hub.

    Args:
        url: ``ws://`` or ``wss://``; without a path, the hub's own is meant.
        token: it, or the file that has it, read anew for each connection.
        hello: what to greet with, given the token.
        attend: called once a session is open; starts its work in the group, gives what takes its frames.
        told: is told what happens, for the person at the desktop.

    Raises:
        BadAddress: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        codec: Codec,
        token: str | Path,
        hello: Callable[[str], DeviceHello],
        attend: Attend,
        clock: Clock,
        chance: Chance,
        told: Callable[[str], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._url = address_of(url)
        self._is_local = urlsplit(self._url).hostname in _LOOPBACK
        self._codec = codec
        self._token = token
        self._hello = hello
        self._attend = attend
        self._clock = clock
        self._chance = chance
        self._told = told
        self._backoff = backoff or Backoff()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Stay connected until cancelled; *started* after the first welcome.

        Raises:
            TurnedAway: the hub closed with a code that says not to come back.
        """
        if not (self._is_local or self._url.startswith("wss:")):
            self._told("warning: the line to this hub is not encrypted; wss:// is")
        attempt = 0
        while True:
            began = self._clock.monotonic()
            visit = _Visit()
            await self._visit(visit, task_status)
            if visit.was_welcome:
                task_status = anyio.TASK_STATUS_IGNORED
                if self._clock.monotonic() - began >= _STEADY_S:
                    attempt = 0
            draw = self._chance.uniform(0.0, 1.0)
            wait_s = self._backoff.after_close(visit.close, attempt, draw, visit.retry_after_ms)
            if wait_s is None:
                raise TurnedAway(_farewell(visit), visit.close or 0)
            if visit.close != CloseCode.RESTARTING:
                attempt += 1
            log.info("device.connection.lost", close=visit.close, wait_s=round(wait_s, 1))
            self._told(f"not connected ({_farewell(visit)}); next try in {wait_s:.1f} s")
            await self._clock.sleep(wait_s)

    async def _visit(self, visit: _Visit, task_status: TaskStatus[None]) -> None:
        try:
            token = read_token(self._token)
            socket = await _Straight(
                self._url,
                subprotocols=[Subprotocol(self._codec.name)],
                compression=None,
                proxy=None if self._is_local else True,
                open_timeout=_OPEN_TIMEOUT_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
            )
        except InvalidStatus as error:
            visit.said = f"the hub's door answered {error.response.status_code}"
            if error.response.status_code == HTTPStatus.NOT_FOUND:
                visit.said += "; is this the hub's device address?"
        except InvalidProxy as error:
            # Its own words repeat the proxy's address, and that may hold a password.
            visit.said = f"the proxy that the environment names cannot be used: {error.msg}"
        except (OSError, WebSocketException, BadAddress, ValueError, ImportError) as error:
            # A ValueError: a name or port, of the proxy too, that nothing can be looked up by.
            # An ImportError: a SOCKS proxy is asked for, and what speaks to one is not installed.
            visit.said = str(error) or type(error).__name__
        else:
            await self._talk(socket, token, visit, task_status)

    async def _talk(
        self, socket: ClientConnection, token: str, visit: _Visit, task_status: TaskStatus[None]
    ) -> None:
        session = DeviceSession(codec=for_subprotocol(socket.subprotocol), now=self._clock.monotonic())
        line = Line(session, socket)
        ended: Ended | None = None
        try:
            async with anyio.create_task_group() as tasks:
                talk = _Talk(line, visit, tasks, self._attend, self._clock, task_status)
                tasks.start_soon(line.write)
                tasks.start_soon(self._mind_the_time, session, talk)
                session.greet(self._hello(token))
                line.wake()
                await self._read(socket, session, talk)
                ended = talk.ended
                tasks.cancel_scope.cancel()
        finally:
            # Also when we are cancelled: the hub need not wait for a ping to know that we left.
            with anyio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await _close(socket, line, ended or session.leave() or _DONE)
            session.receive_eof(self._clock.monotonic())
            visit.close = socket.close_code if socket.close_code != 1006 else None

    async def _read(self, socket: ClientConnection, session: DeviceSession, talk: "_Talk") -> None:
        with talk.reading:
            try:
                while talk.ended is None:
                    message = await socket.recv()
                    talk.take(session.receive_data(message, self._clock.monotonic()))
            except ConnectionClosed:
                return

    async def _mind_the_time(self, session: DeviceSession, talk: "_Talk") -> None:
        while (deadline := session.next_deadline()) is not None:
            await self._clock.sleep(deadline - self._clock.monotonic())
            talk.take(session.tick(self._clock.monotonic()))


class _Talk:
    """What a session's events mean for the connection it runs over."""

    def __init__(
        self,
        line: Line,
        visit: _Visit,
        tasks: TaskGroup,
        attend: Attend,
        clock: Clock,
        task_status: TaskStatus[None],
    ) -> None:
        self.ended: Ended | None = None
        self.reading = anyio.CancelScope()
        self._line = line
        self._visit = visit
        self._tasks = tasks
        self._attend = attend
        self._clock = clock
        self._task_status = task_status
        self._handle: Handler = lambda frame: None

    def take(self, events: list[SessionEvent]) -> None:
        """Act on *events*; never waits."""
        for event in events:
            match event:
                case Received(frame):
                    self._handle(frame)
                case Welcomed():
                    self._visit.was_welcome = True
                    self._handle = self._attend(self._line, self._tasks)
                    self._task_status.started()
                case Refused(error):
                    self._visit.said = _sentence(error)
                    self._visit.retry_after_ms = error.retry_after_ms
                case Leaving(goodbye):
                    self._visit.said = goodbye.message or self._visit.said or goodbye.reason
                    self._visit.retry_after_ms = goodbye.retry_after_ms or self._visit.retry_after_ms
                    self._tasks.start_soon(self._hang_up)
                case Ended():
                    self.ended = event
                    self._visit.said = event.reason
                    self.reading.cancel()
        self._line.wake()

    async def _hang_up(self) -> None:
        await self._clock.sleep(_HANG_UP_S)
        self.reading.cancel()


def address_of(url: str) -> str:
    """The hub's address, with the path that devices connect to.

    Raises:
        BadAddress: it is no ``ws://`` or ``wss://`` URL, or it carries more than an address.
    """
    try:
        parse_uri(url)
    except (InvalidURI, ValueError) as error:
        hint = (
            "which looks like wss://hub.example" if "://" in url or not url else f"did you mean ws://{url}?"
        )
        raise BadAddress(f"{url!r} is no address of a hub, {hint}") from error
    parts = urlsplit(url)
    try:
        (parts.hostname or "").encode("idna")  # as the look-up will; it fails alike at every try
    except UnicodeError as error:
        raise BadAddress(f"the host of {url!r} cannot be looked up: {error}") from error
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise BadAddress("the address of a hub has no query and no user; a token goes into a file")
    return urlunsplit(parts._replace(path=parts.path if parts.path not in ("", "/") else PATH))


def read_token(token: str | Path) -> str:
    """The token, or what its file says now.

    Raises:
        BadAddress: the file cannot be read, or there is nothing in it.
    """
    try:
        text = token.read_text("utf-8") if isinstance(token, Path) else token
    except (OSError, UnicodeDecodeError) as error:
        raise BadAddress(f"the token cannot be read: {error}") from error
    if not text.strip():
        raise BadAddress("the token is empty")
    return text.strip()


async def _close(socket: ClientConnection, line: Line, ended: Ended) -> None:
    """Say what is left to say, and close. Changes nothing where the hub closed already."""
    with contextlib.suppress(ConnectionClosed):
        await line.flush()
    await socket.close(ended.code, ended.reason_text)


def _sentence(error: Error) -> str:
    known = next((info for code, info in CATALOGUE.items() if code == error.code), None)
    hint = error.hint or (known.hint if known else "")
    return "; ".join(part for part in (error.message or error.code, hint) if part)


def _farewell(visit: _Visit) -> str:
    meaning = next((text for code, text in CLOSE_MEANINGS.items() if code == visit.close), "")
    return ": ".join(part for part in (meaning, visit.said) if part) or "the connection broke"
