"""Refusals of devices: a sample for the audit log, and the last ones for a person who should see them.

The audit log gets one per network, reason and minute, with a count: otherwise unauthorized peers could fill
the disk. The first refusal is recorded at once. Later ones are counted, and recorded with the first refusal
after the minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hub.clock import Clock
from hub.printable import one_line
from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.handshake import Error
from protocol.ids import DeviceId

EVERY_S: Final = 60.0
ENTRIES: Final = 100  # per minute, over all networks; above this, the network is recorded as "others"
REMEMBERED: Final = 10_000
OTHERS: Final = "others"


class RefusalSamples:
    """Selects the refusals to record, with the number of refusals that each represents."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recorded_at: dict[tuple[str, str], float] = {}
        self._unrecorded: dict[tuple[str, str], int] = {}
        self._minute = 0.0
        self._in_minute = 0

    def take(self, network: str, reason: str) -> tuple[str, int] | None:
        """Count a refusal. Return the network and count to record, or None to record nothing now."""
        now = self._clock.monotonic()
        if now - self._minute >= EVERY_S:
            self._minute, self._in_minute = now, 0
        is_crowded = self._in_minute >= ENTRIES
        of = (OTHERS, reason) if is_crowded else (network, reason)
        count = self._unrecorded.pop(of, 0) + 1
        recorded_at = self._recorded_at.get(of)
        if recorded_at is not None and now - recorded_at < EVERY_S:
            self._unrecorded[of] = count
            return None
        self._recorded_at.pop(of, None)
        self._recorded_at[of] = now  # reinserted at the end, so the first entry is the oldest
        if len(self._recorded_at) > REMEMBERED:
            oldest = next(iter(self._recorded_at))
            del self._recorded_at[oldest]
            self._unrecorded.pop(oldest, None)
        self._in_minute += 1
        return of[0], count


REMEMBERED_S: Final = 86_400.0
MOST_NETWORKS: Final = 100  # without a known device; the one that tried longest ago makes room
MOST_DEVICES: Final = 1_000
LONGEST: Final = 300  # characters of a message
# Reasons that a person ends, at the hub or at the device; others end by themselves, or have an issue.
MENDED_BY_A_PERSON: Final = frozenset(
    {
        *(ErrorCode.AUTH_FAILED, ErrorCode.REVOKED, ErrorCode.PAIRING_REQUIRED, ErrorCode.NAME_TAKEN),
        *(ErrorCode.WRONG_HOST, ErrorCode.FOREIGN_ORIGIN, ErrorCode.UNTRUSTED_PROXY),
        *(ErrorCode.TOKEN_IN_URL, ErrorCode.VERSION_UNSUPPORTED),
    }
)


@dataclass(frozen=True, slots=True)
class RefusedPeer:
    """Peer that was refused *count* times for one reason.

    Attributes:
        device_id: the device whose key or token the peer proved to hold, if any.
        since: first time (aware, UTC).
        last: monotonic time of the last one.
    """

    network: str
    code: str
    message: str
    hint: str
    device_id: DeviceId | None
    since: datetime
    last: float
    count: int


class RefusedPeers:
    """Peers that were refused lately, until they are admitted: by device if one is known, else by network."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._devices: dict[str, dict[str, RefusedPeer]] = {}
        self._networks: dict[str, dict[str, RefusedPeer]] = {}

    def note(
        self, network: str, code: str, message: str, hint: str = "", device_id: DeviceId | None = None
    ) -> None:
        """Note a refusal, if a person can end its reason."""
        if code not in MENDED_BY_A_PERSON:
            return
        peers, subject, most = self._networks, network, MOST_NETWORKS
        if device_id is not None:
            peers, subject, most = self._devices, device_id, MOST_DEVICES
        reasons = peers.pop(subject, {})
        before = reasons.get(code)
        reasons[code] = RefusedPeer(
            network,
            code,
            one_line(message)[:LONGEST],
            hint or CATALOGUE[ErrorCode(code)].hint,
            device_id,
            self._clock.now() if before is None else before.since,
            self._clock.monotonic(),
            1 if before is None else before.count + 1,
        )
        peers[subject] = reasons  # at the end, so that the first is the one that tried longest ago
        if len(peers) > most:
            del peers[next(iter(peers))]

    def forget(self, network: str, device_id: DeviceId) -> None:
        """Forget the refusals of a device that was admitted, and those of its network without a device."""
        self._devices.pop(device_id, None)
        self._networks.pop(network, None)

    def current(self) -> Iterator[RefusedPeer]:
        """Yield the refused peers that tried within a day, those with a device and the latest ones first."""
        since = self._clock.monotonic() - REMEMBERED_S
        for peers in (self._devices, self._networks):
            for reasons in reversed(peers.values()):
                yield from (one for one in reasons.values() if one.last >= since)


class Refusal(HubError):
    """The hello is refused: send *error*, then close with *close*.

    Attributes:
        is_failure: True if it counts as a failed attempt of the network, and of *party* if set.
        party: the key or token of the device, once the device has proved to hold it.
        device_id: the device whose key or token it is, if it is one's.
    """

    def __init__(
        self,
        error: Error,
        close: CloseCode,
        *,
        is_failure: bool = True,
        party: str | None = None,
        device_id: DeviceId | None = None,
    ) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error
        self.close = close
        self.is_failure = is_failure
        self.party = party
        self.device_id = device_id


def refuse(
    code: ErrorCode,
    message: str,
    close: CloseCode,
    *,
    is_failure: bool = True,
    party: str | None = None,
    device_id: DeviceId | None = None,
    pairing_code: str | None = None,
    retry_after_ms: int | None = None,
    hint: str | None = None,
) -> Refusal:
    """Return the refusal for *code*, with the catalogue's hint unless *hint* is given."""
    error = Error(
        code=code,
        message=message,
        hint=hint or CATALOGUE[ErrorCode(code)].hint,
        pairing_code=pairing_code,
        retry_after_ms=retry_after_ms,
    )
    return Refusal(error, close, is_failure=is_failure, party=party, device_id=device_id)
