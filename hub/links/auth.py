"""Who a device is: from its hello and its token to an admission, or a refusal in words.

What a device says about itself is shown, never believed: the token decides. Only
the SHA-256 of a token is known here and in the database; tokens are long and
made by chance, so a slow hash would only help who wants to keep us busy.
"""

import hashlib
import ipaddress
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from hub.clock import Clock, epoch_ms
from hub.metrics import Metrics
from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.handshake import DeviceHello, Error
from protocol.ids import DeviceId, NodeId, UserId
from storage.store import Store, TokenRevoked, UnknownDevice, devices

FAILURES: Final = 10  # of one address in FAILURE_WINDOW_S; after that it waits
FAILURE_WINDOW_S: Final = 60.0
REMEMBERED_ADDRESSES: Final = 10_000  # the one that failed longest ago is forgotten for a new one
IPV6_NETWORK_BITS: Final = 64  # what one household gets


@dataclass(frozen=True, slots=True)
class Admission:
    """Who has connected, and the number of this connection among all of the device's."""

    device_id: DeviceId
    user_id: UserId
    epoch: int


class Refusal(HubError):
    """The hello is refused: say *error*, then close with *close*."""

    def __init__(self, error: Error, close: CloseCode) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error
        self.close = close


class FailedAttempts:
    """Which addresses have failed too often lately. Bounded in time and in number."""

    def __init__(self, clock: Clock, *, most_addresses: int = REMEMBERED_ADDRESSES) -> None:
        self._clock = clock
        self._most_addresses = most_addresses
        self._by_network: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._by_network)

    def wait_s(self, network: str) -> float:
        """How long *network* has to wait before the next try; 0 when it need not."""
        times = self._by_network.get(network)
        if times is None or len(times) < FAILURES:
            return 0.0
        return max(0.0, times[0] + FAILURE_WINDOW_S - self._clock.monotonic())

    def record(self, network: str) -> None:
        """One more failure of *network*."""
        times = self._by_network.pop(network, None) or deque(maxlen=FAILURES)
        times.append(self._clock.monotonic())
        self._by_network[network] = times  # at the end: the others are older
        if len(self._by_network) > self._most_addresses:
            del self._by_network[next(iter(self._by_network))]

    def forgive(self, network: str) -> None:
        """A good token came from there."""
        self._by_network.pop(network, None)


class Authenticator:
    """Tokens against the database."""

    def __init__(
        self, store: Store, *, clock: Clock, metrics: Metrics, node_id: NodeId | None = None
    ) -> None:
        """*node_id*: of the hub that keeps the connections."""
        self._store = store
        self._node_id = node_id
        self._clock = clock
        self._metrics = metrics
        self._failed = FailedAttempts(clock)

    async def admit(self, hello: DeviceHello, token: str | None, *, address: str) -> Admission:
        """Find out who this is and open its session in the database.

        Args:
            token: from the hello or the ``Authorization`` header.
            address: where the connection comes from, as the socket tells it.

        Raises:
            Refusal: with the words and the close code; nothing was written.
        """
        network = network_of(address)
        if wait_s := self._failed.wait_s(network):
            raise self._refuse(
                ErrorCode.RATE_LIMITED,
                f"{FAILURES} attempts failed in {FAILURE_WINDOW_S:g} s",
                CloseCode.TOO_MANY_ATTEMPTS,
                retry_after_ms=math.ceil(wait_s * 1000),
            )
        try:
            admission = await self._judge(hello, token)
        except Refusal:
            self._failed.record(network)
            raise
        self._failed.forgive(network)
        return admission

    async def release(self, admission: Admission) -> None:
        """The connection is over: the device is offline unless a newer one is here."""
        at_ms = epoch_ms(self._clock.now())
        await self._store.write(devices.close_session, admission.device_id, admission.epoch, at_ms)

    async def _judge(self, hello: DeviceHello, token: str | None) -> Admission:
        if not token:
            raise self._refuse(
                ErrorCode.PAIRING_REQUIRED,
                "this hub does not know the device" if hello.identity else "the device showed no token",
                CloseCode.PAIRING_REQUIRED,
            )
        owner = await self._store.read(devices.find_token, hash_token(token))
        at_ms = epoch_ms(self._clock.now())
        if owner is None:
            raise self._refuse(ErrorCode.AUTH_FAILED, "nobody has this token", CloseCode.AUTH_FAILED)
        if owner.device_revoked_at is not None:
            raise self._refuse(ErrorCode.REVOKED, "the device was revoked", CloseCode.REVOKED)
        if owner.token_revoked_at is not None:
            raise self._refuse(ErrorCode.REVOKED, "the token was revoked", CloseCode.REVOKED)
        if owner.expires_at is not None and owner.expires_at <= at_ms:
            raise self._refuse(ErrorCode.AUTH_FAILED, "the token has expired", CloseCode.AUTH_FAILED)
        platform = hello.client.platform if hello.client else ""
        try:
            epoch = await self._store.write(
                devices.open_session,
                owner.device_id,
                platform=platform,
                at=at_ms,
                token_id=owner.token_id,
                node_id=self._node_id,
            )
        except (TokenRevoked, UnknownDevice) as exc:  # between the look and the opening
            raise self._refuse(ErrorCode.REVOKED, str(exc), CloseCode.REVOKED) from exc
        return Admission(owner.device_id, owner.user_id, epoch)

    def _refuse(
        self, code: ErrorCode, message: str, close: CloseCode, *, retry_after_ms: int | None = None
    ) -> Refusal:
        self._metrics.auth_failures.labels(code).inc()
        error = Error(code=code, message=message, hint=CATALOGUE[code].hint, retry_after_ms=retry_after_ms)
        return Refusal(error, close)


def hash_token(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def network_of(address: str) -> str:
    """*address*, or the part of it that one party holds: of IPv6 the first 64 bits.

    What is no address, as over a Unix socket, is one party of its own.
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
