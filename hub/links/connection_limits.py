"""Limits of connections to a port: in total, per network, and new ones per second.

A connection counts from its acceptance until its socket is closed. It counts as a stranger until it is
welcomed. Loopback counts as a network like any other. If no place is free, a new connection gets that
of the longest idle HTTP connection. Without one it gets that of the oldest stranger. So neither idle nor
half-open connections fill a port.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.base import open_files
from hub.base.clock import Clock
from hub.base.metrics import Metrics
from hub.base.open_files import SPARE_FILES
from hub.base.token_buckets import Buckets
from hub.base.toml.limits import DEFAULTS
from protocol.errors import ErrorCode, HubError

HEAD_BYTES: Final = 16 * 1024  # of the WebSocket upgrade request
STRANGERS: Final = 256  # each holds memory and a deadline before it is known who it is
STRANGERS_PER_NETWORK: Final = 16  # so that one address cannot take the places of all strangers


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


class AdmissionRefused(HubError):
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


class ConnectionSlot:
    """Counted place of one connection. Leaving it twice has no further effect.

    Attributes:
        network: None until a proxy has named the client.
        give_way: closes a connection that is idle or a stranger's, with a reason, and returns True, unless
            it waits for the hub; None: nothing can close it.
    """

    __slots__ = ("_gate", "_is_stranger", "give_way", "network")

    def __init__(self, gate: "Gate | None") -> None:
        self._gate = gate
        self._is_stranger = True
        self.network: str | None = None
        self.give_way: Callable[[AdmissionRefused], bool] | None = None

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

    def rest(self) -> None:
        """Count the connection as idle from now on."""
        if self._gate is not None:
            self._gate.idle[self] = None

    def wake(self) -> None:
        """Count the connection as idle no longer."""
        if self._gate is not None:
            self._gate.idle.pop(self, None)

    def leave(self) -> None:
        """Release the place after the socket is closed."""
        self.wake()
        if self._gate is None:
            return
        gate, self._gate = self._gate, None
        gate.forget(self, is_stranger=self._is_stranger)


class LivenessSlot(ConnectionSlot):
    """Place of a connection that was turned away, and may ask for nothing but whether the hub lives.

    Attributes:
        turned: why it was turned away.
    """

    __slots__ = ("_taken", "turned")

    def __init__(self, turned: AdmissionRefused, taken: "dict[LivenessSlot, None]") -> None:
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
        idle: places of HTTP connections without a request, the longest idle one first.

    Args:
        prefix: prefix of the names of the limits; empty for the device port.
    """

    def __init__(self, limits: PortLimits, *, clock: Clock, metrics: Metrics, prefix: str = "") -> None:
        self._clock = clock
        self._prefix = prefix
        self._reached = metrics.limits_reached
        self._open = 0
        self._by_network: Counter[str] = Counter()
        self._strangers: dict[str | None, dict[ConnectionSlot, None]] = {}  # by network, the oldest first
        self._arrivals: Buckets[str] = Buckets()
        self.idle: dict[ConnectionSlot, None] = {}
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

    def enter(self, network: str | None) -> ConnectionSlot:
        """Return a place for an accepted connection.

        Args:
            network: source of the connection; None if it comes from a proxy, which names the client later.

        Raises:
            TurnedAway: a limit is reached.
        """
        place = ConnectionSlot(self)
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
        except AdmissionRefused:
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
    ) -> AdmissionRefused:
        """Count a refusal by *limit* and return the error to raise."""
        self._reached.labels(limit if limit == OPEN_FILES else self._prefix + limit).inc()
        return AdmissionRefused(limit, message, reason=reason, retry_s=retry_s)

    # --- called by places ---

    def count_network(self, place: ConnectionSlot, network: str) -> None:
        """Count *place* for *network*. Raises TurnedAway if a limit of the network is reached."""
        limits = self.limits
        wait_s = self._arrivals.acquire(
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

    def _make_room(self, turned: AdmissionRefused, network: str | None = None) -> None:
        """Close a connection of *network*, or of all; raise *turned* if none can be closed.

        That is the longest idle one, else the oldest stranger: of all, one of the network that has most. An
        idle one that was welcomed makes no room among strangers.
        """
        is_of_strangers = turned.reason is ErrorCode.OVERLOADED
        idle = [] if is_of_strangers else [at for at in self.idle if network in (None, at.network)]
        if network is None:
            network = max(self._strangers, key=lambda one: len(self._strangers[one]))
        for place in (*idle, *self._strangers.get(network, ())):
            if place.give_way is not None and place.give_way(turned):
                place.leave()
                return
        raise turned

    def forget_stranger(self, place: ConnectionSlot) -> None:
        """Count *place* no longer as a stranger."""
        del self._strangers[place.network][place]
        if not self._strangers[place.network]:
            del self._strangers[place.network]

    def forget(self, place: ConnectionSlot, *, is_stranger: bool) -> None:
        """Subtract *place* from all counts."""
        self._open -= 1
        if place.network is not None:
            self._by_network[place.network] -= 1
            if not self._by_network[place.network]:
                del self._by_network[place.network]
        if is_stranger:
            self.forget_stranger(place)


MIN_WAIT_S: Final = 0.05  # pausing and resuming a socket for each frame would cost more than the frames
