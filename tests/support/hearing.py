"""Devices that are told events: links in a real roster, which keep what they were sent."""

from collections.abc import Iterable

from hub.base.metrics import Metrics
from hub.links.device_events import DeviceEvents
from hub.links.roster import LocalLink, Roster
from protocol.coordination import Event
from protocol.errors import CloseCode, DeviceSlow
from protocol.frame import Frame
from protocol.handshake import DeviceHello, Goodbye
from tests.support.clock import FakeClock
from tests.support.link import FakeLink


class HearingLink(FakeLink):
    """A connection that may be slow: with *buffered_bytes* unsent, or with a queue that is full."""

    def __init__(
        self,
        device_id: str,
        *,
        user_id: str = "me",
        epoch: int = 1,
        capabilities: Iterable[str] = (),
    ) -> None:
        super().__init__(device_id, user_id=user_id, epoch=epoch, capabilities=capabilities)
        self.expires_at: int | None = None
        self.pending_calls = 0
        self.buffered_bytes = 0
        self.is_full = False

    @property
    def heard(self) -> list[Event]:
        """The events that it was told, in order."""
        return [frame for frame in self.sent if isinstance(frame, Event)]

    async def send(self, frame: Frame) -> None:
        if self.is_full:
            raise DeviceSlow("the device does not read")
        await super().send(frame)

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        self.cut()

    async def wait_closed(self) -> None:
        await self.gone.wait()


class Hearers:
    """A roster and what tells the devices in it."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.metrics = Metrics()
        self.clock = clock or FakeClock()
        self.roster = Roster(lambda _: None, metrics=self.metrics)
        self.events = DeviceEvents(self.roster, clock=self.clock, metrics=self.metrics)

    def enter(
        self,
        device_id: str,
        *,
        user_id: str = "me",
        epoch: int = 1,
        capabilities: Iterable[str] = (),
    ) -> HearingLink:
        """A device connects."""
        link = HearingLink(device_id, user_id=user_id, epoch=epoch, capabilities=capabilities)
        entering: LocalLink = link
        self.roster.enter(entering, DeviceHello())
        return link

    def leave(self, link: HearingLink) -> None:
        """Its connection ends."""
        link.cut()
        self.roster.leave(link, "gone")

    @property
    def lost(self) -> int:
        """How many events were lost."""
        return self.metrics.reached().get("device_events", 0)
