"""A conversation with a session, line by line.

``Script`` talks to a ``HubSession``, ``DeviceScript`` to a ``DeviceSession``. Each line is
something the peer does, something the owner does, or what must have followed:
``*_says`` of the session's own side takes all it has queued and compares it,
``*_sees`` takes all events since the last look. The same conversation runs in either codec.
"""

from typing import Self

from protocol.codec import JSON, Codec
from protocol.errors import CloseCode
from protocol.frame import Frame
from protocol.handshake import SPOKEN, Challenge, DeviceHello, Error, Goodbye, Limits, Welcome
from protocol.ids import CallId, ConnectionId, DeviceId, UserId
from protocol.session import DeviceSession, HubSession, Session, SessionEvent, SessionState
from protocol.tool_calls import Answer

NONCE = bytes(range(32))
OPENED_AT = 1_000.0
TS_MS = 1_767_603_600_000
CHALLENGE = Challenge(
    nonce="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", hub_id="hub-1", protocol=SPOKEN, ts_ms=TS_MS
)
HELLO = DeviceHello(token="hub_dev_secret")
WELCOME = Welcome(
    protocol=1,
    hub_id="hub-1",
    connection_id="connection-1",
    user_id="user-1",
    device_id="device-1",
    epoch=7,
    server_ts_ms=TS_MS,
)


class Side:
    """Side of a conversation, and what its peer does; each subclass names both."""

    session: Session

    def __init__(self) -> None:
        self.now = OPENED_AT
        self._seen: list[SessionEvent] = []

    def hears(self, *messages: Frame | bytes | str) -> Self:
        """Each message as the peer would put it on the wire; bytes and text go as they are."""
        for message in messages:
            data = self.session.codec.encode(message) if isinstance(message, Frame) else message
            self._seen += self.session.receive_data(data, self.now)
        return self

    def peer_hangs_up(self) -> Self:
        self._seen += self.session.receive_eof(self.now)
        return self

    def sends(self, *frames: Frame) -> Self:
        for frame in frames:
            self.session.send(frame)
        return self

    def clock_moves(self, seconds: float) -> Self:
        """Time passes; a driver wakes the session at its deadline."""
        self.now += seconds
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= self.now:
            self._seen += self.session.tick(self.now)
        return self

    def sees(self, *events: SessionEvent) -> Self:
        """Exactly these events came since the last look."""
        seen, self._seen = self._seen, []
        assert seen == list(events)
        return self

    def has_state(self, state: SessionState) -> Self:
        assert self.session.state is state
        return self


class Script(Side):
    """The hub's side, spoken to by a device. Its challenge is taken and checked at once."""

    session: HubSession
    device_says, device_hangs_up = Side.hears, Side.peer_hangs_up
    hub_sends, hub_sees, hub_is = Side.sends, Side.sees, Side.has_state

    def __init__(self, codec: Codec = JSON, *, bearer: str | None = None) -> None:
        super().__init__()
        self.session = HubSession(
            codec=codec, hub_id="hub-1", nonce=NONCE, now=self.now, ts_ms=TS_MS, bearer=bearer
        )
        self.hub_says(CHALLENGE)

    def accept(self, *, epoch: int = 7, limits: Limits = WELCOME.limits) -> Self:
        """The hub takes the device in."""
        self.session.accept(
            user_id=UserId("user-1"),
            device_id=DeviceId("device-1"),
            connection_id=ConnectionId("connection-1"),
            epoch=epoch,
            ts_ms=TS_MS,
            limits=limits,
            now=self.now,
        )
        return self

    def refuse(self, error: Error, close: CloseCode) -> Self:
        if ended := self.session.refuse(error, close):
            self._seen.append(ended)
        return self

    def hub_ends(self, goodbye: Goodbye, close: CloseCode) -> Self:
        if ended := self.session.end(goodbye, close):
            self._seen.append(ended)
        return self

    def hub_says(self, *frames: Frame) -> Self:
        """Exactly these frames are queued."""
        said = [self.session.codec.decode_from_hub(data) for data in self.session.data_to_send()]
        assert said == list(frames)
        return self


class DeviceScript(Side):
    """The device's side, spoken to by a hub."""

    session: DeviceSession
    hub_says, hub_hangs_up = Side.hears, Side.peer_hangs_up
    device_sends, device_sees, device_is = Side.sends, Side.sees, Side.has_state

    def __init__(self, codec: Codec = JSON) -> None:
        super().__init__()
        self.session = DeviceSession(codec=codec, now=self.now)

    def greet(self, hello: DeviceHello = HELLO) -> Self:
        self.session.greet(hello)
        return self

    def device_answers(self, call_id: str, answer: Answer) -> Self:
        self.session.answer([(CallId(call_id), answer, None)])
        return self

    def leave(self) -> Self:
        if ended := self.session.leave():
            self._seen.append(ended)
        return self

    def device_says(self, *frames: Frame) -> Self:
        """Exactly these frames are queued."""
        said = [self.session.codec.decode_from_device(data) for data in self.session.data_to_send()]
        assert said == list(frames)
        return self
