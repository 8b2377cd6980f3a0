"""How many connections of a port there are, and whether one more may come: counted before anything is read.

A connection takes a place from when it is accepted until its socket is gone. It is a
stranger's until it was welcomed. Loopback is a network like any other.
"""

from collections import Counter
from typing import Final, TypeVar

from hub.clock import Clock
from hub.links import open_files
from hub.links.bucket import Buckets
from hub.links.limits import PortLimits
from hub.metrics import Metrics
from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId

Key = TypeVar("Key")

RETRY_S: Final = 1.0  # what a connection is told that there is no room for


class TurnedAway(HubError):
    """A limit is reached.

    Attributes:
        limit: its name in ``[limits]``.
        reason: what the connection is told.
        retry_s: when it may try again.
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
    """What one connection takes up. Left once; leaving it again changes nothing."""

    __slots__ = ("_gate", "_is_stranger", "network", "user_id")

    def __init__(self, gate: "Gate") -> None:
        self._gate: Gate | None = gate
        self._is_stranger = True
        self.network: str | None = None  # unknown while a proxy has not said it
        self.user_id: UserId | None = None

    def name(self, network: str) -> None:
        """It comes from *network*. Asked once, or by the gate itself.

        Raises:
            TurnedAway: there are too many of it, or they come too fast; the place is still taken.
        """
        assert self._gate is not None
        self._gate.count_network(self, network)

    def welcome(self, user_id: UserId) -> None:
        """No stranger any more, but a device of *user_id*.

        Raises:
            TurnedAway: so many of the user's devices are connected.
        """
        assert self._gate is not None
        self._gate.count_user(self, user_id)
        self.vouch()

    def vouch(self) -> None:
        """No stranger any more; also of an operator, who is nobody's device."""
        if self._gate is not None and self._is_stranger:
            self._is_stranger = False
            self._gate.forget_stranger(self)

    def part(self) -> None:
        """The device's session is over, though its socket may be there a little longer."""
        if self._gate is not None and self.user_id is not None:
            self._gate.forget_user(self.user_id)
            self.user_id = None

    def leave(self) -> None:
        """The socket is gone."""
        if self._gate is None:
            return
        self.part()
        gate, self._gate = self._gate, None
        gate.forget(self, is_stranger=self._is_stranger)


class Gate:
    """The counts of one port.

    Attributes:
        limits: may be changed at any time; who is here already stays.

    Args:
        prefix: of the names that its limits have in ``[limits]``; none for the device port.
    """

    def __init__(self, limits: PortLimits, *, clock: Clock, metrics: Metrics, prefix: str = "") -> None:
        self._clock = clock
        self._prefix = prefix
        self._reached = metrics.limits_reached
        self._open = 0
        self._strangers = 0
        self._by_network: Counter[str] = Counter()
        self._strangers_by_network: Counter[str] = Counter()
        self._by_user: Counter[UserId] = Counter()
        self._arrivals: Buckets[str] = Buckets()
        self.limits = limits

    def __len__(self) -> int:
        """Connections that are open, however far they have come."""
        return self._open

    @property
    def strangers(self) -> int:
        """Connections that were not welcomed."""
        return self._strangers

    @property
    def most(self) -> int:
        """Connections there may be: as many as are allowed, or as there are files for."""
        files = open_files.limit()
        return min(self.limits.connections, files - open_files.spared(self.limits.spare_files, files))

    def enter(self, network: str | None) -> Place:
        """A place for a connection that was accepted.

        Args:
            network: where it comes from; ``None`` when that is a proxy, which says it later.

        Raises:
            TurnedAway: there is none.
        """
        if self._open >= (most := self.most):
            raise self.turn_away("connections", f"{most} connections are open, and no more may be")
        if self._strangers >= self.limits.strangers:
            told = f"{self._strangers} connections wait to be let in"
            raise self.turn_away("strangers", told, reason=ErrorCode.OVERLOADED)
        place = Place(self)
        self._open += 1
        self._strangers += 1
        if network is not None:
            try:
                place.name(network)
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
        """What to raise because *limit* is reached; it is counted."""
        self._reached.labels(limit if limit == "spare_files" else self._prefix + limit).inc()
        return TurnedAway(limit, message, reason=reason, retry_s=retry_s)

    # --- for places ---

    def count_network(self, place: Place, network: str) -> None:
        """*place* is one of *network*."""
        limits = self.limits
        if self._by_network[network] >= limits.connections_per_network:
            told = f"{self._by_network[network]} connections of {network} are open"
            raise self.turn_away("connections_per_network", told)
        wait_s = self._arrivals.take(
            network, self._clock.monotonic(), at_once=limits.new_at_once, per_s=limits.new_per_s
        )
        if wait_s:
            told = f"connections of {network} come faster than {limits.new_per_s:g} a second"
            raise self.turn_away(
                "new_connections_per_s", told, reason=ErrorCode.RATE_LIMITED, retry_s=max(wait_s, RETRY_S)
            )
        if self._strangers_by_network[network] >= limits.strangers_per_network:
            told = f"{self._strangers_by_network[network]} connections of {network} wait to be let in"
            raise self.turn_away("strangers_per_network", told, reason=ErrorCode.OVERLOADED)
        place.network = network
        self._by_network[network] += 1
        self._strangers_by_network[network] += 1

    def count_user(self, place: Place, user_id: UserId) -> None:
        """*place* is one of *user_id*'s."""
        if self._by_user[user_id] >= self.limits.connections_per_user:
            told = f"{self._by_user[user_id]} devices of this user are connected"
            raise self.turn_away("connections_per_user", told)
        place.user_id = user_id
        self._by_user[user_id] += 1

    def forget_stranger(self, place: Place) -> None:
        """*place* is not a stranger's any more."""
        self._strangers -= 1
        if place.network is not None:
            _take_one(self._strangers_by_network, place.network)

    def forget_user(self, user_id: UserId) -> None:
        """One of the user's devices is not connected any more."""
        _take_one(self._by_user, user_id)

    def forget(self, place: Place, *, is_stranger: bool) -> None:
        """*place* is free."""
        self._open -= 1
        if place.network is not None:
            _take_one(self._by_network, place.network)
        if is_stranger:
            self.forget_stranger(place)


def _take_one(counts: Counter[Key], key: Key) -> None:
    """One less; what is nought is not kept."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
