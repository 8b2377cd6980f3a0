"""Connected devices of this process: the interface ``DeviceLink``, and the end of revoked connections.

Each device has one connection: a newer epoch ends the older connection, and an older epoch that arrives late
is refused. Events are passed to one callable, ``on_event``. It must not wait, because it is called by the
socket's reader.

The newest connection of a device replaces the older one, whose goodbye forbids a reconnect. Two machines with
one key that something else restarts would still replace each other for ever. So after several takeovers, the
current connection stays, and new ones are refused for a while.

A revocation at this hub ends the connection directly, and so does a newer connection. ``EndsElsewhere``
covers what happens at other hubs on the same database, and connections that were being admitted meanwhile.

Interface of a connected device, the same for connections in this process and elsewhere.

Guarantees of every implementation:

- Each call ends exactly once, with an answer or with one of the named errors.
- When the connection ends, all open calls and streams end at once with ``LinkLost``. A link is never
  reused: the presence returns the device's next link.
- Frames of one run arrive in the order in which the device sent them.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from heapq import heappop, heappush
from posixpath import normpath
from typing import Final, NamedTuple, Protocol

import anyio.lowlevel
from anyio.abc import TaskStatus

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import Rounds
from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.coordination import Heartbeat, Request
from protocol.errors import CloseCode, DeliveryError, DeviceSlow, ErrorCode, LinkLost
from protocol.frame import Frame
from protocol.handshake import Client, DeviceHello, Goodbye, Hubs
from protocol.ids import BootId, DeviceId, UserId
from protocol.work import (
    Action,
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    AgentRun,
    Answer,
    ToolCall,
)
from storage.devices import devices, nodes
from storage.effects import sessions
from storage.effects.sessions import Taken
from storage.store import Store

# Actions and capabilities of every device: early devices list nothing.
TAKEOVERS: Final = 6  # of a device in the window; further ones are refused for a while
TAKEOVER_WINDOW_S: Final = 60.0
TAKEOVER_WAIT_S: Final = 300.0
ALWAYS_ACTIONS: Final = (Action.INSERT, Action.UPDATE, Action.DELETE, Action.QUERY)
ALWAYS: Final = frozenset[str]({*ALWAYS_ACTIONS, *(CAPABILITY_OF[action] for action in ALWAYS_ACTIONS)})

# Capabilities of devices that answer a repeated call as before, by its id; others may do it again.
IDEMPOTENT: Final = frozenset[str]({CapabilityName.TOOL_INSERT, CapabilityName.TOOL_CALLS})

RunFrame = AgentAck | AgentManifest | AgentData | AgentComplete


class RoundTrip(NamedTuple):
    """Time from a keepalive ping to its pong, which came *age_s* ago."""

    seconds: float
    age_s: float


class RunTooLarge(DeliveryError):
    """A device exceeded the size limit of a run. The connection stays open."""

    code = ErrorCode.TOO_LARGE


class SpoolFailed(DeliveryError):
    """Frames of a run could not be spooled to disk. The connection stays open."""

    code = ErrorCode.OVERLOADED


class RunStream(Protocol):
    """Frames of one run in order; iterate over it once.

    The iteration stops after ``agent_complete``. It raises ``LinkLost`` if the connection ends before, and
    ``RunTooLarge`` or ``SpoolFailed`` if the hub had to stop reading the run.
    """

    def __aiter__(self) -> "RunStream": ...

    async def __anext__(self) -> RunFrame: ...

    async def fetch(self, paths: Sequence[str], *, last: bool) -> None:
        """Request files of the manifest. A long list is sent in several frames.

        Raises:
            LinkLost, DeviceSlow: some of the paths may have been requested.
        """
        ...

    async def grant(self, pieces: int) -> None:
        """Allow the device to send *pieces* more; call it once after as many were processed.

        Does nothing for a device without credit support.

        Raises:
            LinkLost, DeviceSlow: no credit was granted.
        """
        ...


class DeviceLink(Protocol):
    """Connection of a device.

    Attributes:
        credential: ``token:ID`` or ``key:ID`` that opened the connection; updated when the device replaces
            its key.
    """

    credential: str

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def user_id(self) -> UserId: ...

    @property
    def epoch(self) -> int:
        """Number that increases with each connection of the device."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """Capability names from the device's hello."""
        ...

    @property
    def offers(self) -> Mapping[str, str]:
        """Capabilities with their versions, as written by the device."""
        ...

    @property
    def owner_grants(self) -> Mapping[str, Collection[str]]:
        """Grants of the device's owner to this hub, from the hello: tables by grant."""
        ...

    @property
    def client(self) -> Client | None:
        """Program of the device, as its hello names it."""
        ...

    @property
    def skew(self) -> str:
        """Difference between the protocol of the hub and of the device, as ``skew_of`` describes it."""
        ...

    @property
    def roots(self) -> Sequence[str]:
        """Folders that the device shares, from the hello."""
        ...

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection, or None before the first."""
        ...

    def can(self, capability: str) -> bool:
        """Return True if the device has a capability, or supports an action of ``tool_call``.

        Insert, update, delete and query are always supported.
        """
        ...

    async def call(self, frame: ToolCall) -> Answer:
        """Send a call to the device and wait up to ``frame.deadline_ms`` for its answer.

        Raises:
            CallUnsupported, CallNotGranted, TooManyCalls, DeviceSlow: the frame was not sent.
            LinkLost: the connection ended; ``dispatched`` is True if the frame may have been sent.
            CallTimedOut: no answer in time; the effect is unknown.
        """
        ...

    async def call_many(self, frames: Sequence[ToolCall]) -> list[Answer | DeliveryError]:
        """Send calls together, and wait until each is answered, or its deadline has passed.

        A device that can take several calls in a frame gets one frame; the calls' texts fit into it
        (``batches_of``). A device that may not keep the ids of calls gets none twice on its connection.

        Returns:
            For each call the answer, or CallTimedOut, LinkLost or DeviceSlow, as ``call`` raises them.

        Raises:
            CallUnsupported, CallNotGranted, TooManyCalls, DeviceSlow, LinkLost: nothing was sent.
        """
        ...

    def open_run(self, frame: AgentRun) -> AbstractAsyncContextManager[RunStream]:
        """Send ``agent_run`` and return the stream of the device's frames.

        Leaving the block closes the stream, and sends ``agent_cancel`` unless ``agent_complete`` was
        received.

        Raises:
            LinkLost, DeviceSlow: on entering; the frame was not sent.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Send a frame that has no answer.

        Raises:
            LinkLost, DeviceSlow: the frame was not sent.
        """
        ...


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
    ) -> None:
        """Set up the roster.

        Args:
            takeovers: counts and limits takeovers; None for no limit.
        """
        self._on_event = on_event
        self._takeovers = takeovers
        self._metrics = metrics
        self._links: dict[DeviceId, LocalLink] = {}
        # heap of expiry, device and epoch; also of connections that have ended
        self._expiring: list[tuple[int, DeviceId, int]] = []
        self._entered = anyio.Event()
        self.is_draining = False
        # while the lease of this node is over, no work is sent to devices
        self.may_send: Callable[[], bool] = lambda: True
        # while this node has given its devices to others, none is accepted
        self.is_cut_off: Callable[[], bool] = lambda: False
        self.hubs: Sequence[str] = ()  # addresses of all nodes, for the welcome
        self._outdated: list[LocalLink] = []  # devices that know other addresses
        metrics.pending_calls.set_function(lambda: sum(link.pending_calls for link in self._links.values()))
        buffered = metrics.outbound_bytes
        buffered.labels("sum").set_function(lambda: sum(self._buffered()))
        buffered.labels("max").set_function(lambda: max(self._buffered(), default=0))

    def __len__(self) -> int:
        return len(self._links)

    async def wait_for_link(self) -> None:
        """Wait until a device is connected."""
        while not self._links:
            self._entered = anyio.Event()
            await self._entered.wait()

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
            self._outdated = [one for one in self._links.values() if CapabilityName.HUBS in one.capabilities]
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
                    (one.expires_at, one.device_id, one.epoch)
                    for one in self._links.values()
                    if one.expires_at is not None
                )
        self._entered.set()
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


EVERY_S: Final = 0.5  # a revocation or expiry takes effect within a second on any hub
COMPARE_EVERY_S: Final = 10.0  # all connections with their rows, on a shared database
OVERLAP_MS: Final = 60_000  # read again each time, because clocks of two hubs may differ by this much


FROZEN: Final = Goodbye(
    reason="frozen",
    message="this hub was frozen for so long that others took it for dead; connect again",
    retry_after_ms=0,
)


class EndsElsewhere:
    """Watch that ends connections for a reason that other hubs know; it looks twice a second.

    Their token, key or device was revoked, or their device has a newer connection at another hub. It also
    closes rows of devices that left while the database was away.
    """

    def __init__(self, store: Store, *, roster: Roster, boot_id: BootId, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._boot_id = boot_id
        self._clock = clock
        self._polled_at = now_ms(clock)
        self._compare_at = clock.monotonic() + COMPARE_EVERY_S
        self._ghosts: frozenset[tuple[DeviceId, int]] = frozenset()  # this hub has them by their rows alone
        self.turns = Rounds(clock)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        task_status.started()
        await self.turns.serve(self._watch, of="revocations", every_s=EVERY_S)

    async def _watch(self) -> None:
        """End connections that must not stay open; without any, wait for the first one."""
        if len(self._roster) or self._store.is_shared:
            self.end_expired()
            await self.poll()  # the next successful read includes what one that failed missed
        else:
            self.turns.wait()
            await self._roster.wait_for_link()
            self._polled_at = now_ms(self._clock)

    def end_expired(self) -> None:
        """End every connection whose token has expired, without reading the database."""
        for device_id in self._roster.end_expired(now_ms(self._clock)):
            log.info("device.expired", device_id=device_id)

    async def poll(self) -> None:
        """Read recent revocations and newer connections once, and end their connections here.

        Raises:
            StorageError: the database is unavailable; the next call covers the same period.
        """
        at = now_ms(self._clock)
        revoked = await self._store.read(devices.revoked_since, min(at, self._polled_at) - OVERLAP_MS)
        for device_id, credential in revoked:
            if self._roster.end_revoked(device_id, credential):
                log.info("device.revoked", device_id=device_id)
        self._polled_at = at
        if not self._store.is_shared:
            return
        if taken := await self._store.read(sessions.taken_from, self._boot_id):
            self._end_taken(taken)
            await self._store.write(sessions.note_taken, self._boot_id, taken)
        if self._clock.monotonic() >= self._compare_at:
            await self._compare(at)
            self._compare_at = self._clock.monotonic() + COMPARE_EVERY_S

    def _end_taken(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            if not one.is_elsewhere:
                self._roster.end(one.device_id, FROZEN, CloseCode.RESTARTING, until=one.epoch)
            self._roster.supersede(one.device_id, one.epoch)

    async def _compare(self, at: int) -> None:
        """End what a lost record or write has left between the connections of this hub and their rows.

        A row is closed only if it is found twice: a device is welcomed some time after its row is written.
        """
        here = [link.device_id for link in self._roster.local()]
        await self._roster.name_hubs(await self._store.read(nodes.addresses))
        taken, ghosts = await self._store.read(sessions.apart, self._boot_id, here)
        self._end_taken(taken)
        for device_id, epoch in ghosts:
            if (device_id, epoch) in self._ghosts:
                log.warning("device.not_there", device_id=device_id, epoch=epoch)
                await self._store.write(sessions.close_session, device_id, epoch, at)
        self._ghosts = frozenset(ghosts)
