"""Two sessions with a wire between them that does what wires do, and worse.

TCP keeps order and doubles nothing within one connection; a peer that lies, or a
proxy gone wrong, does not have to. What was said on an earlier connection can be
said again on a later one.
"""

from collections.abc import Callable

from protocol.codec import JSON, Codec
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import DeviceSession, HelloReceived, HubSession, SessionEvent
from tests.support.script import HELLO, NONCE, OPENED_AT, TS_MS


class Wire:
    """One direction: messages under way, and all that ever went over it."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self.under_way: list[bytes] = []
        self.past: list[bytes] = []
        self._receive = receive

    def take(self, messages: list[bytes]) -> None:
        self.under_way += messages
        self.past += messages

    def deliver(self, position: int = 0) -> None:
        """The message at *position* arrives; another than the first is out of order."""
        if self.under_way:
            self._receive(self.under_way.pop(position % len(self.under_way)))

    def drop(self, position: int = 0) -> None:
        if self.under_way:
            self.under_way.pop(position % len(self.under_way))

    def duplicate(self, position: int = 0) -> None:
        if self.under_way:
            position %= len(self.under_way)
            self.under_way.insert(position, self.under_way[position])

    def replay(self, position: int) -> None:
        """Something said before, perhaps on an earlier connection, is said again."""
        if self.past:
            self.under_way.append(self.past[position % len(self.past)])

    def garble(self, position: int, byte: int) -> None:
        """One byte of the first message turns into *byte*."""
        if self.under_way and self.under_way[0]:
            first = bytearray(self.under_way[0])
            first[position % len(first)] = byte
            self.under_way[0] = bytes(first)


class Pair:
    """A hub and a device, connected. ``epoch`` grows with each ``connect``, as at the real hub."""

    def __init__(self, codec: Codec = JSON) -> None:
        self.codec = codec
        self.now = OPENED_AT
        self.epoch = 0
        self.hub_saw: list[SessionEvent] = []
        self.device_saw: list[SessionEvent] = []
        self.to_hub = Wire(self._at_hub)
        self.to_device = Wire(self._at_device)
        self.connect()

    def connect(self) -> None:
        """A new connection: new sessions, nothing under way. What came before can still be replayed."""
        self.epoch += 1
        self.hub = HubSession(codec=self.codec, hub_id="hub-1", nonce=NONCE, now=self.now, ts_ms=TS_MS)
        self.device = DeviceSession(codec=self.codec, now=self.now)
        self.to_hub.under_way.clear()
        self.to_device.under_way.clear()
        self.device.greet(HELLO)
        self.flush()

    def flush(self) -> None:
        """What both sides have queued goes on its way."""
        self.to_device.take(self.hub.data_to_send())
        self.to_hub.take(self.device.data_to_send())

    def settle(self) -> None:
        """Everything arrives, in order, until nobody has anything more to say."""
        self.flush()
        while self.to_hub.under_way or self.to_device.under_way:
            self.to_hub.deliver()
            self.to_device.deliver()

    def cut(self) -> None:
        """The connection breaks; what was under way is lost."""
        self.to_hub.under_way.clear()
        self.to_device.under_way.clear()
        self.hub_saw += self.hub.receive_eof(self.now)
        self.device_saw += self.device.receive_eof(self.now)

    def clock_moves(self, seconds: float) -> None:
        self.now += seconds
        self.hub_saw += self.hub.tick(self.now)
        self.device_saw += self.device.tick(self.now)
        self.flush()

    def _at_hub(self, data: bytes) -> None:
        events = self.hub.receive_data(data, self.now)
        self.hub_saw += events
        if any(isinstance(event, HelloReceived) for event in events):
            self.hub.accept(
                user_id=UserId("user-1"),
                device_id=DeviceId("device-1"),
                connection_id=ConnectionId(f"connection-{self.epoch}"),
                epoch=self.epoch,
                ts_ms=TS_MS,
                now=self.now,
            )
        self.flush()

    def _at_device(self, data: bytes) -> None:
        self.device_saw += self.device.receive_data(data, self.now)
        self.flush()
