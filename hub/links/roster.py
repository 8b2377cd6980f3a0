"""Who is connected now, and what the rest of the hub is told about it.

One connection a device: a newer epoch ends the older connection, and an older
one that comes late is the one that loses. What travels up goes through one
callable, ``on_event``, which must not wait: it is called by the socket's reader.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from hub.links.link import DeviceLink
from hub.links.takeovers import Takeovers
from hub.log import Channel
from hub.metrics import Metrics
from protocol.coordination import Heartbeat, Request
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import DeviceHello, Goodbye
from protocol.ids import DeviceId

log = Channel(__name__)

DRAIN_S: Final = 5.0  # what a silent peer may hold up a drain


@dataclass(frozen=True, slots=True)
class DeviceReady:
    """A device is connected and welcomed."""

    link: DeviceLink
    hello: DeviceHello


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A connection that was ready has ended; another of the device may be ready already."""

    device_id: DeviceId
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A device says how its agents are."""

    link: DeviceLink
    frame: Heartbeat


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A device asks something; answer with a ``response`` over this link."""

    link: DeviceLink
    frame: Request


@dataclass(frozen=True, slots=True)
class AgentsSilent:
    """Three heartbeats did not come, though the connection is alive: its agents count as offline."""

    link: DeviceLink


LinkEvent = DeviceReady | DeviceLost | HeartbeatReceived | RequestReceived | AgentsSilent


class LocalLink(DeviceLink, Protocol):
    """A link whose connection is in this process. What opened it counts until *expires_at* (epoch ms)."""

    expires_at: int | None

    @property
    def pending_calls(self) -> int: ...

    @property
    def buffered_bytes(self) -> int: ...

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """End the connection on purpose: calls and streams now, the socket soon. Twice is once."""
        ...

    async def wait_closed(self) -> None:
        """Until the socket is gone."""
        ...


class Roster:
    """The connected devices of this process."""

    def __init__(
        self,
        on_event: Callable[[LinkEvent], None],
        *,
        metrics: Metrics,
        takeovers: Takeovers | None = None,
    ) -> None:
        """*takeovers* counts them; without it a device may be taken over as often as it likes."""
        self._on_event = on_event
        self._takeovers = takeovers
        self._metrics = metrics
        self._links: dict[DeviceId, LocalLink] = {}
        self.is_draining = False
        metrics.pending_calls.set_function(lambda: sum(link.pending_calls for link in self._links.values()))
        buffered = metrics.outbound_bytes
        buffered.labels("sum").set_function(lambda: sum(self._buffered()))
        buffered.labels("max").set_function(lambda: max(self._buffered(), default=0))

    def __len__(self) -> int:
        return len(self._links)

    def find(self, device_id: DeviceId) -> DeviceLink | None:
        """The device's link, or ``None`` while it is not connected."""
        return self._links.get(device_id)

    def connected(self) -> list[DeviceLink]:
        """Every link, in the order of connecting."""
        return list(self._links.values())

    def local(self) -> list[LocalLink]:
        """Every link, with what only its own process knows of it."""
        return list(self._links.values())

    def unsent_bytes(self, device_id: DeviceId) -> int:
        """Bytes on their way to the device that have not left the process; 0 when it is not connected."""
        link = self._links.get(device_id)
        return 0 if link is None else link.buffered_bytes

    def tell(self, event: LinkEvent) -> None:
        """Pass *event* on. A listener that breaks does not take a connection down with it."""
        try:
            self._on_event(event)
        except Exception as exc:
            log.error("roster.listener_failed", exc=exc, event_type=type(event).__name__)

    def supersede(self, device_id: DeviceId, epoch: int) -> bool:
        """Make room for the connection of *epoch*; false when a newer one is here already.

        The older connection is told goodbye and loses its calls and streams at once.
        """
        present = self._links.get(device_id)
        if present is None:
            return True
        if present.epoch >= epoch:
            return False
        self._metrics.takeovers.inc()
        if self._takeovers is not None:
            self._takeovers.record(device_id)
        log.info("device.replaced", device_id=device_id, epoch=present.epoch, by_epoch=epoch)
        present.end(Goodbye(reason="replaced"), CloseCode.REPLACED)
        return True

    def takeover_wait_s(self, device_id: DeviceId) -> float:
        """How long nobody may take the device over; 0 when it is not connected, or anybody may."""
        if self._takeovers is None or device_id not in self._links:
            return 0.0
        return self._takeovers.wait_s(device_id)

    def enter(self, link: LocalLink, hello: DeviceHello) -> None:
        """A device is welcomed; ``supersede`` was asked in the same turn."""
        self._links[link.device_id] = link
        self.tell(DeviceReady(link, hello))

    def leave(self, link: LocalLink, reason: str) -> None:
        """A connection that had entered is over."""
        if self._links.get(link.device_id) is link:
            del self._links[link.device_id]
        self.tell(DeviceLost(link.device_id, link.epoch, reason))

    def end(self, device_id: DeviceId, goodbye: Goodbye, close: CloseCode) -> None:
        """End the device's connection on purpose, if it has one."""
        link = self._links.get(device_id)
        if link is not None:
            link.end(goodbye, close)

    def end_revoked(self, device_id: DeviceId, credential: str | None = None) -> bool:
        """End the device's connection, if *credential* opened it, or in any case if that is ``None``."""
        link = self._links.get(device_id)
        if link is None or credential not in (None, link.credential):
            return False
        link.end(Goodbye(reason=ErrorCode.REVOKED), CloseCode.REVOKED)
        return True

    def end_expired(self, at: int) -> list[DeviceId]:
        """End every connection whose token has expired by *at* (epoch ms); whose they were."""
        expired = [
            link for link in self._links.values() if link.expires_at is not None and link.expires_at <= at
        ]
        for link in expired:
            link.end(
                Goodbye(reason=ErrorCode.AUTH_FAILED, message="the token has expired"), CloseCode.AUTH_FAILED
            )
        return [link.device_id for link in expired]

    async def drain(
        self, goodbye: Callable[[], Goodbye], close: CloseCode, *, within_s: float = DRAIN_S
    ) -> None:
        """End every connection and let nobody in any more. Returns when all are gone, or after *within_s*.

        Args:
            goodbye: makes the goodbye of one connection.
        """
        self.is_draining = True
        leaving = list(self._links.values())
        for link in leaving:
            link.end(goodbye(), close)
        with anyio.move_on_after(within_s):
            for link in leaving:
                await link.wait_closed()

    def _buffered(self) -> list[int]:
        return [link.buffered_bytes for link in self._links.values()]
