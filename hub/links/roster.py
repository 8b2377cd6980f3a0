"""Connected devices: one connection each; which connection ends when a second arrives.

A newer epoch ends the older connection, and an older epoch that arrives late is refused. Events are passed to
one callable, ``on_event``. It must not wait, because it is called by the socket's reader.

The newest connection of a device replaces the older one, whose goodbye forbids a reconnect. Two machines with
one key that something else restarts would still replace each other for ever. So after several takeovers, the
current connection stays, and new ones are refused for a while.

A revocation at this hub ends the connection directly, and so does a newer connection. ``revocation_watch``
covers what happens at other hubs on the same database, and connections that were being admitted meanwhile.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from posixpath import normpath
from typing import Final, Protocol

import anyio.lowlevel

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.links.device_link import DeviceLink
from protocol.capabilities import CapabilityName
from protocol.coordination import Heartbeat, Request
from protocol.errors import CloseCode, DeviceSlow, ErrorCode, LinkLost
from protocol.handshake import DeviceHello, Goodbye, Hubs
from protocol.ids import DeviceId

# Actions and capabilities of every device: early devices list nothing.
TAKEOVERS: Final = 6  # of a device in the window; further ones are refused for a while
TAKEOVER_WINDOW_S: Final = 60.0
TAKEOVER_WAIT_S: Final = 300.0
log = Channel(__name__)

SENT_AT_ONCE: Final = 100  # frames to different devices, which block the event loop for a few milliseconds
DRAIN_S: Final = 5.0  # maximum delay of a drain by a silent peer
OVERTAKEN: Final = Goodbye(
    reason="overtaken",
    message="a newer connection of this device ended before it was ready; connect again",
    retry_after_ms=0,
)
REMEMBERED: Final = 10_000  # devices, of which shared folders and takeovers are kept


class SharedRoots:
    """Folders that each device named at its last connection, since this start of the hub."""

    def __init__(self) -> None:
        self._of: dict[DeviceId, tuple[str, ...]] = {}

    def record(self, device_id: DeviceId, roots: Sequence[str]) -> None:
        """Store the shared folders from the hello of a device."""
        self._of.pop(device_id, None)
        # reinserted at the end, so the first entry is the oldest
        self._of[device_id] = tuple(map(normpath, roots))
        if len(self._of) > REMEMBERED:
            del self._of[next(iter(self._of))]

    @property
    def devices(self) -> list[DeviceId]:
        """Devices that share folders, the one that connected longest ago first."""
        return [device_id for device_id, roots in self._of.items() if roots]

    def of(self, device_id: DeviceId) -> tuple[str, ...]:
        """Return the folders that a device shares; empty if unknown."""
        return self._of.get(device_id, ())

    def outside(self, device_id: DeviceId, paths: Sequence[str]) -> list[str]:
        """Return those of an agent's *paths* that are certainly outside the device's shared folders."""
        roots = self.of(device_id)
        return [path for path in paths if roots and _is_outside(path, roots)]


def _is_outside(path: str, roots: Sequence[str]) -> bool:
    """Return True if *path* is outside all roots. A relative path begins at a root, so it is not."""
    # otherwise the device's system has other kinds of paths
    are_posix = all(root.startswith(("~", "/")) for root in roots)
    if not are_posix or not path.startswith(("~", "/")) or ".." in path.split("/"):
        return False
    path = normpath(path)
    alike = [root for root in roots if root[:1] == path[:1]]
    if any(_touch(path, root) for root in alike):
        return False
    # A path below "/" may be below the home folder, whose place only the device knows.
    return path.startswith("~") or len(alike) == len(roots)


def _touch(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root.rstrip('/')}/") or f"{root}/".startswith(f"{path.rstrip('/')}/")


class Takeovers:
    """Takeovers by device, and the devices that cannot be taken over for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_at: dict[DeviceId, deque[float]] = {}
        self._waits_until: dict[DeviceId, float] = {}

    def record(self, device_id: DeviceId) -> None:
        """Record that a connection of the device replaced another one."""
        now = self._clock.monotonic()
        times = self._taken_at.pop(device_id, None) or deque()
        times.append(now)
        self._taken_at[device_id] = times  # reinserted at the end, so the first entry is the oldest
        if len(self._taken_at) > REMEMBERED:
            del self._taken_at[next(iter(self._taken_at))]
        while times[0] <= now - TAKEOVER_WINDOW_S:
            times.popleft()
        if len(times) >= TAKEOVERS:
            times.clear()
            self._waits_until[device_id] = now + TAKEOVER_WAIT_S

    def wait_s(self, device_id: DeviceId) -> float:
        """Return the seconds during which the device cannot be taken over; 0 if it can."""
        until = self._waits_until.get(device_id)
        if until is None:
            return 0.0
        wait_s = until - self._clock.monotonic()
        if wait_s <= 0:
            del self._waits_until[device_id]
        return max(0.0, wait_s)

    def waiting(self) -> dict[DeviceId, float]:
        """Return the devices that cannot be taken over now, with the seconds left."""
        return {
            device_id: wait_s for device_id in list(self._waits_until) if (wait_s := self.wait_s(device_id))
        }


@dataclass(frozen=True, slots=True)
class DeviceReady:
    """A device is connected and welcomed."""

    link: DeviceLink
    hello: DeviceHello


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A welcomed connection has ended; another connection of the device may be ready already."""

    device_id: DeviceId
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A device sent the state of its agents."""

    link: DeviceLink
    frame: Heartbeat


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A device sent a request; answer with a ``response`` over this link."""

    link: DeviceLink
    frame: Request


@dataclass(frozen=True, slots=True)
class AgentsSilent:
    """Three heartbeats are missing on a live connection: the device's agents count as offline."""

    link: DeviceLink


LinkEvent = DeviceReady | DeviceLost | HeartbeatReceived | RequestReceived | AgentsSilent


class LocalLink(DeviceLink, Protocol):
    """A link whose connection is in this process.

    Attributes:
        expires_at: when the credential of the connection expires (epoch milliseconds); None if never.
    """

    expires_at: int | None

    @property
    def pending_calls(self) -> int: ...

    @property
    def buffered_bytes(self) -> int: ...

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """End the connection: calls and streams now, the socket soon. Safe to call twice."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        ...


class Roster:
    """Connected devices of this process."""

    def __init__(
        self,
        on_event: Callable[[LinkEvent], None],
        *,
        metrics: Metrics,
        takeovers: Takeovers | None = None,
        may_send: Callable[[], bool] | None = None,
        is_cut_off: Callable[[], bool] = lambda: False,
        hubs: Sequence[str] = (),
    ) -> None:
        """Set up the roster.

        Args:
            takeovers: counts and limits takeovers; None for no limit.
            may_send: returns False while the lease of this node is over: no work is sent to devices. None:
                there is no lease.
            is_cut_off: returns True while this node has given its devices to others: none is accepted.
            hubs: addresses of all nodes, for the welcome.
        """
        self._on_event = on_event
        self._takeovers = takeovers
        self._metrics = metrics
        self._links: dict[DeviceId, LocalLink] = {}
        # heap of expiry, device and epoch; also of connections that have ended
        self._expiring: list[tuple[int, DeviceId, int]] = []
        self._entered: list[Callable[[], None]] = []
        self.is_draining = False
        self.may_send = may_send
        self.is_cut_off = is_cut_off
        self.hubs = hubs
        self._outdated: list[LocalLink] = []  # devices that know other addresses
        metrics.pending_calls.set_function(lambda: sum(link.pending_calls for link in self._links.values()))
        buffered = metrics.outbound_bytes
        buffered.labels("sum").set_function(lambda: sum(self._buffered()))
        buffered.labels("max").set_function(lambda: max(self._buffered(), default=0))

    def __len__(self) -> int:
        return len(self._links)

    @property
    def has_expiring(self) -> bool:
        """True if the credential of a connection expires, or if one did that has ended."""
        return bool(self._links and self._expiring)

    def listen(self, entered: Callable[[], None]) -> None:
        """Call *entered* after a device was welcomed."""
        self._entered.append(entered)

    def find(self, device_id: DeviceId) -> DeviceLink | None:
        """Return the device's link, or None if it is not connected."""
        return self._links.get(device_id)

    def connected(self) -> list[DeviceLink]:
        """Return all links in the order of connection."""
        return list(self._links.values())

    def local(self) -> list[LocalLink]:
        """Return all links with the interface for their own process."""
        return list(self._links.values())

    async def name_hubs(self, hubs: Sequence[str]) -> None:
        """Welcome devices with the addresses of all nodes, and send them to those that know others."""
        if hubs != self.hubs:
            self.hubs = hubs
            self._outdated = [
                link for link in self._links.values() if CapabilityName.HUBS in link.capabilities
            ]
        links, self._outdated = self._outdated, []
        for number, link in enumerate(links, 1):
            try:
                await link.send(Hubs(hubs=list(hubs)))
            except DeviceSlow:
                self._outdated.append(link)  # until the next call
            except LinkLost:
                pass
            if number % SENT_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    def unsent_bytes(self, device_id: DeviceId) -> int:
        """Return the bytes for the device that have not left the process; 0 if not connected."""
        link = self._links.get(device_id)
        return 0 if link is None else link.buffered_bytes

    def notify(self, event: LinkEvent) -> None:
        """Pass *event* on. An error of the listener is logged and does not end the connection."""
        try:
            self._on_event(event)
        except Exception as exc:
            log.error("roster.listener_failed", exc=exc, event_type=type(event).__name__)

    def supersede(self, device_id: DeviceId, epoch: int) -> bool:
        """End an older connection of the device. Return False if a newer one than *epoch* exists.

        The older connection gets a goodbye, and its calls and streams end at once.
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
        """Return the seconds during which the device cannot be taken over; 0 if it can."""
        if self._takeovers is None or device_id not in self._links:
            return 0.0
        return self._takeovers.wait_s(device_id)

    def enter(self, link: LocalLink, hello: DeviceHello) -> None:
        """Add a welcomed device; ``supersede`` was called in the same turn of the event loop."""
        self._links[link.device_id] = link
        if link.expires_at is not None:
            heappush(self._expiring, (link.expires_at, link.device_id, link.epoch))
            if len(self._expiring) > 2 * len(self._links) + 64:  # most of them have left
                self._expiring = sorted(
                    (link.expires_at, link.device_id, link.epoch)
                    for link in self._links.values()
                    if link.expires_at is not None
                )
        for entered in self._entered:
            entered()
        self.notify(DeviceReady(link, hello))

    def leave(self, link: LocalLink, reason: str) -> None:
        """Remove a connection that has ended."""
        if self._links.get(link.device_id) is link:
            del self._links[link.device_id]
        self.notify(DeviceLost(link.device_id, link.epoch, reason))

    def end(
        self, device_id: DeviceId, goodbye: Goodbye, close: CloseCode, *, until: int | None = None
    ) -> None:
        """End the device's connection, if any; *until*: only one that is no newer than this epoch."""
        link = self._links.get(device_id)
        if link is not None and (until is None or link.epoch <= until):
            link.end(goodbye, close)

    def abandon(self, device_id: DeviceId, epoch: int) -> None:
        """End the connection that a newer one with this *epoch* replaced in the database, and then ended.

        The newer one may have ended before its welcome, while the older one goes on: the database has the
        device as disconnected then. The device comes back by itself.
        """
        self.end(device_id, OVERTAKEN, CloseCode.RESTARTING, until=epoch)

    def end_revoked(self, device_id: DeviceId, credential: str | None = None) -> bool:
        """End the device's connection if opened by *credential*; None matches any credential."""
        link = self._links.get(device_id)
        if link is None or credential not in (None, link.credential):
            return False
        link.end(Goodbye(reason=ErrorCode.REVOKED), CloseCode.REVOKED)
        return True

    def end_expired(self, at: int) -> list[DeviceId]:
        """End every connection whose token has expired by *at* (epoch ms). Return their devices."""
        ended: list[DeviceId] = []
        while self._expiring and self._expiring[0][0] <= at:
            _, device_id, epoch = heappop(self._expiring)
            link = self._links.get(device_id)
            if link is not None and link.epoch == epoch:
                message = "the token has expired"
                link.end(Goodbye(reason=ErrorCode.AUTH_FAILED, message=message), CloseCode.AUTH_FAILED)
                ended.append(device_id)
        return ended

    async def drain(
        self, goodbye: Callable[[], Goodbye], close: CloseCode, *, within_s: float = DRAIN_S
    ) -> None:
        """End all connections and refuse new ones. Return when all are closed, or after *within_s*.

        Args:
            goodbye: returns the goodbye for one connection.
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
