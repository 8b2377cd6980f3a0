"""Limits of a port and of its connections: places, rates and deadlines; and counters of failed attempts.

A connection counts from its acceptance until its socket is closed. It counts as a stranger until it is
welcomed. Loopback counts as a network like any other. If no place is free, a new connection gets that
of the stranger that has let the hub wait longest. So half-open connections do not fill a port.

Rate limits: token buckets, and waits after failed attempts, per network and per proved key or token. The
length of a wait is decided in ``storage.devices.attempts``.

A token bucket allows a burst of limited size, and then a limited rate per second.

A success does not reset the count: the holder of one valid token could otherwise keep guessing. A waiting
party with a valid credential is still admitted, because the caller checks credentials first. So no device can
be locked out by the attempts of others. The records are bounded in time and number.

Limits of a connection: deadlines of waits, and its rate of frames and bytes.

A coarse wheel of deadlines for all waits on devices.

A timer or cancel scope per call costs more than the rest of the call: a third of the throughput. Here a
deadline is an entry in the set of its quarter of a second. Adding and removing are set operations, and
deadlines are never early, only up to one tick late. While there is no entry, the wheel sleeps.

Rate limit of one connection in frames and bytes per second.

Each frame and each read reduces the remaining allowance. The clock is only read when the allowance is used
up: the accrued allowance is added, and if that is not enough, reading pauses. No data is dropped, and no
connection is closed. Messages that the hub requested are credited back, so a device is never slowed down by
fast answers.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskStatus

from hub.base import open_files
from hub.base.call_coalescer import Together
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.open_files import SPARE_FILES
from hub.base.periodic_loop import Rounds
from hub.links.streams import MEMORY_BYTES
from hub.settings.limit_settings import DEFAULTS
from protocol.errors import ErrorCode, HubError
from protocol.frame import HELLO_TIMEOUT_S, MAX_HELLO_BYTES, MAX_MESSAGE_BYTES, MAX_PENDING_CALLS
from storage.devices import attempts
from storage.devices.attempts import AttemptLimits, Failures
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

Key = TypeVar("Key", bound=Hashable)

BUCKETS: Final = 10_000  # keys; the least recently used one is dropped for a new one
_NOTHING_S: Final = 1e-9  # tolerance for rounding errors


class Buckets(Generic[Key]):
    """Token buckets by key, full at first."""

    def __init__(self, *, remembered: int = BUCKETS) -> None:
        self._remembered = remembered
        self._full_at: dict[Key, float] = {}  # when each bucket is full again, least recently used first

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, now: float, *, at_once: int, per_s: float) -> float:
        """Take a token from the bucket of *key*. Return 0.0, or the seconds until a token is available.

        Args:
            at_once: capacity of a bucket.
            per_s: tokens added per second.
        """
        full_at = max(self._full_at.pop(key, now), now)
        # With n tokens taken, a bucket is full again in n / per_s.
        missing_s = full_at - now - (at_once - 1) / per_s
        if missing_s > _NOTHING_S:
            self._full_at[key] = full_at
            return missing_s
        self._full_at[key] = full_at + 1 / per_s
        if len(self._full_at) > self._remembered:
            del self._full_at[next(iter(self._full_at))]
        return 0.0


REMEMBERED: Final = 10_000  # parties; the entry with the oldest failure is dropped for a new one
AT_ONCE: Final = 200  # attempts of one transaction
IPV6_NETWORK_BITS: Final = 64  # network size of one household


class FailedAttempts:
    """Counter of failures by party; a party is a network, token or key, given as a string.

    Each counted failure is written, so that all hubs on the database count together, and go on after a
    restart. A wait is kept in memory: during it nothing is written.

    Args:
        kind: of the attempts; those of different kinds are counted apart.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        kind: str,
        limits: AttemptLimits | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kind = kind
        self.limits = limits or AttemptLimits()
        self._remembered = remembered
        self._failures: dict[str, Failures] = {}  # by row; the oldest failure first
        self._waits_until: dict[str, float] = {}  # monotonic, likewise
        self._dropped: list[str] = []  # rows to delete
        self._counting = Together[Sequence[str], float](self._count, most=AT_ONCE)

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, party: str) -> float:
        """Return the seconds that *party* has to wait, as far as this hub knows; 0 if it has not."""
        return max(0.0, self._waits_until.get(self._row(party), 0.0) - self._clock.monotonic())

    async def read_wait_s(self, party: str) -> float:
        """Return the seconds that *party* has to wait, whichever hub made it wait; 0 if it has not."""
        row = self._row(party)
        return (await self._store.read(attempts.wait_ms, row, limits=self.limits, at=self._at())) / 1000

    async def fail(self, *parties: str) -> float:
        """Count a failed attempt, of one or several parties.

        Returns:
            0.0, or the seconds that one of them has to wait since before: the attempt was not counted then.
        """
        return max(map(self.wait_s, parties)) or await self._counting.run([*map(self._row, parties)])

    def waiting(self) -> Iterator[tuple[str, float]]:
        """Yield each party that this hub lets wait, with the seconds that it has to wait."""
        for row in list(self._waits_until):
            party = row.removeprefix(self._row(""))
            if wait_s := self.wait_s(party):
                yield party, wait_s

    async def _count(self, failed: Sequence[Sequence[str]]) -> Sequence[float]:
        dropped, self._dropped = self._dropped, []
        try:
            counted = await self._store.write(
                attempts.count, failed, limits=self.limits, at=self._at(), dropped=dropped
            )
        except StorageError as exc:  # this hub alone counts meanwhile
            log.warning("attempts.not_written", code=exc.code)
            counted = attempts.add(self._failures, failed, at=now_ms(self._clock), limits=self.limits)
        now = self._clock.monotonic()
        for row, failures in counted.failures.items():
            for known in (self._failures, self._waits_until):
                known.pop(row, None)  # inserted again at the end
            self._failures[row] = failures
            if wait_ms := failures.wait_ms(counted.at, self.limits):
                self._waits_until[row] = now + wait_ms / 1000
        while len(self._failures) > self._remembered:
            oldest = next(iter(self._failures))
            self._dropped.append(oldest)
            del self._failures[oldest]
            self._waits_until.pop(oldest, None)
        return [wait_ms / 1000 for wait_ms in counted.waits]

    def _row(self, party: str) -> str:
        return f"{self._kind} {party}"

    def _at(self) -> int | None:
        return None if self._store.is_shared else now_ms(self._clock)


def network_of(address: str) -> str:
    """Return the network that belongs to one party: an IPv4 address, or 64 bits of an IPv6 address.

    Both notations of an IPv4 address give the same result. A string that is not an address, as for a Unix
    socket, is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)


HEAD_BYTES: Final = 16 * 1024  # of the WebSocket upgrade request
OUTGOING_BYTES: Final = 1024 * 1024  # unsent bytes per device; above this the device counts as not reading
# queued until the end of one turn of the event loop; afterwards only bytes count
OUTGOING_FRAMES: Final = 1024
MAX_FRAGMENTS: Final = 4096  # per message; more is an attack on memory
WRITE_DEADLINE_S: Final = 10.0  # time for which the outgoing queue may stay full
STRANGERS: Final = 256  # each holds memory and a deadline before it is known who it is
STRANGERS_PER_NETWORK: Final = 16  # so that one address cannot take the places of all strangers
CLOSE_S: Final = 5.0  # for the peer's part of the closing handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """Limits of one connection. A change applies to later connections.

    Attributes:
        frames_per_s, bytes_per_s: rates of reading; excess data waits on the device's side.
        spool_dir: None for the system's folder of temporary files.
    """

    hello_timeout_s: float = HELLO_TIMEOUT_S
    hello_bytes: int = MAX_HELLO_BYTES
    message_bytes: int = MAX_MESSAGE_BYTES
    message_fragments: int = MAX_FRAGMENTS
    frames_per_s: float = DEFAULTS.frames_per_s
    bytes_per_s: float = DEFAULTS.bytes_per_s
    outgoing_bytes: int = OUTGOING_BYTES
    outgoing_frames: int = OUTGOING_FRAMES
    pending_calls: int = MAX_PENDING_CALLS
    write_deadline_s: float = WRITE_DEADLINE_S
    close_s: float = CLOSE_S
    spool_dir: Path | None = None
    spool_memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """Limits on the connections of a port, of devices or of operators.

    Attributes:
        connections: in total; fewer if the process may not open as many files.
        strangers: connections that are not welcomed yet.
        new_at_once, new_per_s: capacity and rate of the token bucket of each network.
        spare_files: files that the process may open in addition to connections.
    """

    connections: int = DEFAULTS.connections
    connections_per_network: int = DEFAULTS.connections_per_network
    strangers: int = STRANGERS
    strangers_per_network: int = STRANGERS_PER_NETWORK
    new_at_once: int = 2 * int(DEFAULTS.new_connections_per_s)
    new_per_s: float = DEFAULTS.new_connections_per_s
    spare_files: int = SPARE_FILES


OPEN_FILES: Final = "open_files"  # the limit of the system, not one of the settings
RETRY_S: Final = 1.0  # suggested wait of a connection refused for lack of room


class TurnedAway(HubError):
    """A connection limit is reached.

    Attributes:
        limit: its name.
        reason: error code sent to the peer.
        retry_s: seconds after which the peer may retry.
    """

    code = ErrorCode.TOO_MANY_CONNECTIONS

    def __init__(
        self, limit: str, message: str, *, reason: ErrorCode = code, retry_s: float = RETRY_S
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.reason = reason
        self.retry_s = retry_s


class Place:
    """Counted place of one connection. Leaving it twice has no further effect.

    Attributes:
        network: None until a proxy has named the client.
        give_way: closes the connection of a stranger with a reason, and returns True, unless the stranger
            waits for the hub; None: nothing can close it.
    """

    __slots__ = ("_gate", "_is_stranger", "give_way", "network")

    def __init__(self, gate: "Gate | None") -> None:
        self._gate = gate
        self._is_stranger = True
        self.network: str | None = None
        self.give_way: Callable[[TurnedAway], bool] | None = None

    def name(self, network: str) -> None:
        """Count the place for *network*. Called once, or by the gate itself.

        Raises:
            TurnedAway: a limit of the network is reached; the place is still taken.
        """
        assert self._gate is not None
        self._gate.count_network(self, network)

    def vouch(self) -> None:
        """Count the place no longer as a stranger."""
        if self._gate is not None and self._is_stranger:
            self._is_stranger = False
            self._gate.forget_stranger(self)

    def leave(self) -> None:
        """Release the place after the socket is closed."""
        if self._gate is None:
            return
        gate, self._gate = self._gate, None
        gate.forget(self, is_stranger=self._is_stranger)


class LivenessPlace(Place):
    """Place of a connection that was turned away, and may ask for nothing but whether the hub lives.

    Attributes:
        turned: why it was turned away.
    """

    __slots__ = ("_taken", "turned")

    def __init__(self, turned: TurnedAway, taken: "dict[LivenessPlace, None]") -> None:
        super().__init__(None)
        self.turned = turned
        self._taken = taken
        taken[self] = None

    def leave(self) -> None:
        """Release the place."""
        self._taken.pop(self, None)


class Gate:
    """Connection counts and limits of one port.

    Attributes:
        limits: may be replaced at any time; open connections stay.

    Args:
        prefix: prefix of the names of the limits; empty for the device port.
    """

    def __init__(self, limits: PortLimits, *, clock: Clock, metrics: Metrics, prefix: str = "") -> None:
        self._clock = clock
        self._prefix = prefix
        self._reached = metrics.limits_reached
        self._open = 0
        self._by_network: Counter[str] = Counter()
        self._strangers: dict[str | None, dict[Place, None]] = {}  # by network, the oldest first
        self._arrivals: Buckets[str] = Buckets()
        self.limits = limits

    def __len__(self) -> int:
        """Return the number of open connections in any state."""
        return self._open

    @property
    def strangers(self) -> int:
        """Number of connections that are not welcomed yet."""
        return sum(map(len, self._strangers.values()))

    @property
    def most(self) -> int:
        """Maximum number of connections, by configuration and by the limit of open files."""
        files = open_files.limit()
        return min(self.limits.connections, files - open_files.spared(self.limits.spare_files, files))

    def enter(self, network: str | None) -> Place:
        """Return a place for an accepted connection.

        Args:
            network: source of the connection; None if it comes from a proxy, which names the client later.

        Raises:
            TurnedAway: a limit is reached.
        """
        place = Place(self)
        self._open += 1
        self._strangers.setdefault(None, {})[place] = None
        try:
            if network is not None:
                place.name(network)
            if self._open > (most := self.most):
                message = f"{most} connections are open, and no more may be"
                limit = "connections" if most == self.limits.connections else OPEN_FILES
                turned = self.turn_away(limit, message)
                turned.limit = "connections"  # for which accepting need not pause
                self._make_room(turned)
            if (count := self.strangers) > self.limits.strangers:
                message = f"{count - 1} connections wait to be let in"
                self._make_room(self.turn_away("strangers", message, reason=ErrorCode.OVERLOADED))
        except TurnedAway:
            place.leave()
            raise
        return place

    def turn_away(
        self,
        limit: str,
        message: str,
        *,
        reason: ErrorCode = ErrorCode.TOO_MANY_CONNECTIONS,
        retry_s: float = RETRY_S,
    ) -> TurnedAway:
        """Count a refusal by *limit* and return the error to raise."""
        self._reached.labels(limit if limit == OPEN_FILES else self._prefix + limit).inc()
        return TurnedAway(limit, message, reason=reason, retry_s=retry_s)

    # --- called by places ---

    def count_network(self, place: Place, network: str) -> None:
        """Count *place* for *network*. Raises TurnedAway if a limit of the network is reached."""
        limits = self.limits
        wait_s = self._arrivals.take(
            network, self._clock.monotonic(), at_once=limits.new_at_once, per_s=limits.new_per_s
        )
        if wait_s:
            message = f"connections of {network} come faster than {limits.new_per_s:g} a second"
            raise self.turn_away(
                "new_connections_per_s", message, reason=ErrorCode.RATE_LIMITED, retry_s=max(wait_s, RETRY_S)
            )
        if (count := self._by_network[network]) >= limits.connections_per_network:
            message = f"{count} connections of {network} are open"
            self._make_room(self.turn_away("connections_per_network", message), network)
        if (count := len(self._strangers.get(network, ()))) >= limits.strangers_per_network:
            message = f"{count} connections of {network} wait to be let in"
            turned = self.turn_away("strangers_per_network", message, reason=ErrorCode.OVERLOADED)
            self._make_room(turned, network)
        self.forget_stranger(place)
        place.network = network
        self._by_network[network] += 1
        self._strangers.setdefault(network, {})[place] = None

    def _make_room(self, turned: TurnedAway, network: str | None = None) -> None:
        """Close the oldest stranger of *network*, or of the network that has most; else raise *turned*."""
        if network is None:
            network = max(self._strangers, key=lambda one: len(self._strangers[one]))
        for place in list(self._strangers.get(network, ())):
            if place.give_way is not None and place.give_way(turned):
                place.leave()
                return
        raise turned

    def forget_stranger(self, place: Place) -> None:
        """Count *place* no longer as a stranger."""
        del self._strangers[place.network][place]
        if not self._strangers[place.network]:
            del self._strangers[place.network]

    def forget(self, place: Place, *, is_stranger: bool) -> None:
        """Subtract *place* from all counts."""
        self._open -= 1
        if place.network is not None:
            self._by_network[place.network] -= 1
            if not self._by_network[place.network]:
                del self._by_network[place.network]
        if is_stranger:
            self.forget_stranger(place)


TICK_S: Final = 0.25  # maximum delay of a deadline
_LONGEST_TICKS: Final = 14_400  # of a sleep without entries: an hour


class Timed(Protocol):
    """Object with a deadline on the wheel. Compared by identity."""

    def run_late(self) -> None:
        """Handle the passed deadline, already removed from the wheel. Must not wait or raise."""
        ...


Slot = set[Timed]


class DeadlineWheel:
    """Deadlines in slots of one tick each. One wheel serves a whole hub."""

    __slots__ = ("_clock", "_slots", "_tick_s", "_turned_to", "_waits_for", "turns")

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self.turns = Rounds(clock)
        self._clock = clock
        self._tick_s = tick_s
        self._slots: dict[int, Slot] = {}
        self._waits_for = 0  # number of the slot until which the wheel sleeps
        self._turned_to = int(clock.monotonic() / tick_s)

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def add(self, timed: Timed, deadline: float) -> Slot:
        """Call ``timed.run_late`` after *deadline* (monotonic seconds).

        Return the slot of the entry: ``slot.discard(timed)`` removes it.
        """
        # at least the next slot, because the current slot was processed already
        number = max(int(deadline / self._tick_s), self._turned_to) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if number < self._waits_for:
                self.turns.wake()
        slot.add(timed)
        return slot

    def add_after(self, timed: Timed, seconds: float) -> Slot:
        """Add a deadline counted from now, as ``add`` does."""
        return self.add(timed, self._clock.monotonic() + seconds)

    def turn(self) -> None:
        """Process all deadlines that have passed."""
        now = int(self._clock.monotonic() / self._tick_s)
        due = [number for number in self._slots if number <= now]
        self._turned_to = now  # before the callbacks, which may add deadlines
        for number in sorted(due):
            slot = self._slots.pop(number)
            while slot:  # a callback may remove other entries
                slot.pop().run_late()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Turn the wheel whenever a slot is due, until cancelled."""
        task_status.started()
        await self.turns.serve(self._turn_due, of="deadlines", every_s=self._tick_s)

    async def _turn_due(self) -> float:
        """Process the deadlines that have passed. Return the seconds until the next one."""
        self.turn()
        self._waits_for = min(self._slots, default=self._turned_to + _LONGEST_TICKS)
        return max(self._tick_s / 10, self._waits_for * self._tick_s - self._clock.monotonic())


STRANGER_FRAMES: Final = 32  # a hello, possibly in fragments; pings count too
HELLO_ROOM: Final = 4  # times the longest hello, so that a hello that is too long gets an error message
MIN_WAIT_S: Final = 0.05  # pausing and resuming a socket for each frame would cost more than the frames
MAX_WAIT_S: Final = 5.0  # less than the time limit of a pong, so that a slowed device is not considered dead


class Intake:
    """Remaining allowance of one connection.

    A stranger gets the size of its request and then of a hello; ``welcome`` sets the rates of a device.
    """

    __slots__ = ("_bytes_per_s", "_filled_at", "_frames_per_s", "bytes_left", "frames_left")

    def __init__(self, head_bytes: int) -> None:
        self.frames_left: float = STRANGER_FRAMES
        self.bytes_left: float = head_bytes
        self._frames_per_s = self._bytes_per_s = 0.0
        self._filled_at = 0.0

    @property
    def is_stranger(self) -> bool:
        """True if the connection is not welcomed yet."""
        return not self._frames_per_s

    @property
    def is_spent(self) -> bool:
        """True if more was received than allowed."""
        return self.frames_left < 0 or self.bytes_left < 0

    def greet(self, hello_bytes: int) -> None:
        """Set the allowance for a hello, after the request."""
        self.frames_left = STRANGER_FRAMES
        self.bytes_left = HELLO_ROOM * hello_bytes

    def welcome(self, frames_per_s: float, bytes_per_s: float, now: float) -> None:
        """Set the rates of a device from *now* on, with bursts of one second."""
        self._frames_per_s, self._bytes_per_s = frames_per_s, bytes_per_s
        self.frames_left, self.bytes_left = frames_per_s, bytes_per_s
        self._filled_at = now

    def give_back(self, octets: int) -> None:
        """Return the allowance for a message of *octets* bytes that the hub requested."""
        frames_left, bytes_left = self.frames_left + 1, self.bytes_left + octets
        self.frames_left = frames_left if frames_left < self._frames_per_s else self._frames_per_s
        self.bytes_left = bytes_left if bytes_left < self._bytes_per_s else self._bytes_per_s

    def refill(self, now: float) -> float:
        """Add the accrued allowance. Return the seconds for which reading must pause, or 0.0."""
        passed_s, self._filled_at = now - self._filled_at, now
        frames, octets = self._frames_per_s, self._bytes_per_s
        self.frames_left = min(frames, self.frames_left + passed_s * frames)
        self.bytes_left = min(octets, self.bytes_left + passed_s * octets)
        wait_s = max(-self.frames_left / frames, -self.bytes_left / octets)
        return min(wait_s, MAX_WAIT_S) if wait_s > 0 else 0.0

    @property
    def limit(self) -> str:
        """Name of the exceeded limit; read it before ``refill``."""
        return "frames_per_s" if self.frames_left < 0 else "bytes_per_s"
