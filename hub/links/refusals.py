"""Refused devices: which refusals enter the audit log, and which a person sees.

The audit log gets one per network, reason and minute, with a count: otherwise unauthorized peers could fill
the disk. The first refusal is recorded at once. Later ones are counted, and recorded with the first refusal
after the minute.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hub.base.clock import Clock
from hub.base.printable import one_line
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

    def count(self, network: str, reason: str) -> tuple[str, int] | None:
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
MAX_PEERS: Final = 500  # devices, and networks of unknown ones
MAX_OF_ONE: Final = 10  # distinct refusals of one device or network; more are counted together
SHOWN: Final = 20  # peers that a person sees one by one
LONGEST: Final = 300  # characters of a message
# Reasons that a person ends, at the hub or at the device; others end by themselves, or have an issue.
MENDED_BY_A_PERSON: Final = frozenset(
    {
        *(ErrorCode.AUTH_FAILED, ErrorCode.REVOKED, ErrorCode.PAIRING_REQUIRED, ErrorCode.NAME_TAKEN),
        *(ErrorCode.WRONG_HOST, ErrorCode.FOREIGN_ORIGIN, ErrorCode.UNTRUSTED_PROXY),
        *(ErrorCode.TOKEN_IN_URL, ErrorCode.VERSION_UNSUPPORTED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Peer of a connection, as far as it is known.

    Attributes:
        network: its address as one party, or OTHERS.
        device_id: the device whose key or token it proved to hold, if any.
        credential: ``token:ID`` or ``key:ID`` that it proved to hold; empty: none.
        name, store: its own name and the id of its file, as its hello states them; empty: none.
    """

    network: str
    device_id: DeviceId | None = None
    credential: str = ""
    name: str = ""
    store: str = ""


@dataclass(frozen=True, slots=True)
class RefusedPeer:
    """Peer that was refused *count* times for one reason.

    Attributes:
        since: first time (aware, UTC).
        last: monotonic time of the last one.
    """

    peer: Peer
    code: str
    message: str
    hint: str
    since: datetime
    last: float
    count: int


_Reasons = dict[tuple[str, str], RefusedPeer]  # by reason, and credential or name


class RefusedPeers:
    """Peers that were refused lately, until they are admitted: by device if one is known, else by network.

    A full table drops the oldest network of the most frequent neighbourhood. So a flood from neighbouring
    addresses displaces only itself. Dropped refusals are counted by their reasons.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._peers: dict[str, _Reasons] = {}
        self._others: _Reasons = {}

    def note(self, peer: Peer, code: str, message: str, hint: str = "") -> None:
        """Note a refusal, if a person can end its reason."""
        if code not in MENDED_BY_A_PERSON:
            return
        subject = peer.device_id or peer.network
        reasons = self._peers.pop(subject, {})
        of = (code, peer.credential or peer.name)
        if of not in reasons and len(reasons) >= MAX_OF_ONE:
            peer, of = Peer(network=peer.network, device_id=peer.device_id), (code, "")
        refused = RefusedPeer(
            peer,
            code,
            one_line(message)[:LONGEST],
            hint or CATALOGUE[ErrorCode(code)].hint,
            self._clock.now(),
            self._clock.monotonic(),
            1,
        )
        _add(reasons, of, refused)
        self._peers[subject] = reasons  # at the end, so that the first is the one that tried longest ago
        if len(self._peers) > MAX_PEERS:
            crowds = Counter(map(_neighbourhood, self._peers))
            victim = max(self._peers, key=lambda one: crowds[_neighbourhood(one)])
            _add_to_others(self._others, self._peers.pop(victim).values())

    def forget(self, admitted: Peer) -> None:
        """Forget the refusals that an admission ends.

        These are the refusals of its device, and of the same credential, name or file behind its address.
        Refusals of another machine with the device's credential stay.
        """
        for subject in (admitted.device_id, admitted.network):
            reasons = self._peers.pop(subject or "", {})
            if left := {of: one for of, one in reasons.items() if not _is_ended(one.peer, admitted)}:
                self._peers[subject or ""] = left

    def current(self) -> list[RefusedPeer]:
        """Return the refused peers that tried within a day, those with a device and the latest ones first.

        Those after the first SHOWN are counted together by their reasons.
        """
        since = self._clock.monotonic() - REMEMBERED_S
        found = [
            reason for reasons in self._peers.values() for reason in reasons.values() if reason.last >= since
        ]
        found.sort(key=lambda one: (one.peer.device_id is None, -one.last))
        others = {of: one for of, one in self._others.items() if one.last >= since}
        _add_to_others(others, found[SHOWN:])
        return [*found[:SHOWN], *others.values()]


def _add_to_others(others: _Reasons, refused: Iterable[RefusedPeer]) -> None:
    for peer in refused:
        _add(others, (peer.code, ""), replace(peer, peer=Peer(network=OTHERS)))


def _add(reasons: _Reasons, of: tuple[str, str], one: RefusedPeer) -> None:
    """Add a refusal to earlier ones of the same reason and identity; the newer message stays."""
    if (before := reasons.pop(of, None)) is not None:
        newest = max(before, one, key=lambda refused: refused.last)
        one = replace(newest, since=min(before.since, one.since), count=before.count + one.count)
    reasons[of] = one


def _is_ended(refused: Peer, admitted: Peer) -> bool:
    if refused.device_id is not None:
        return refused.credential != admitted.credential or refused.store == admitted.store
    return any(
        getattr(refused, mark) == getattr(admitted, mark) != "" for mark in ("credential", "name", "store")
    )


def _neighbourhood(subject: str) -> str:
    """Return the first three bytes of an IPv4 address, the first 48 bits of an IPv6 one, or another text."""
    return subject.rpartition(".")[0] or ":".join(subject.split(":")[:3])


class HelloRefusal(HubError):
    """The hello is refused: send *error*, then close with *close*.

    Attributes:
        is_failure: True if it counts as a failed attempt of the network, and of *party* if set.
        party: the key or token of the device, once the device has proved to hold it.
        device_id: the device whose key or token it is, if it is one's.
    """

    def __init__(
        self,
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
    ) -> None:
        """Create the refusal for *code*, with the catalogue's hint unless *hint* is given."""
        super().__init__(f"{code}: {message}")
        self.error = Error(
            code=code,
            message=message,
            hint=hint or CATALOGUE[ErrorCode(code)].hint,
            pairing_code=pairing_code,
            retry_after_ms=retry_after_ms,
        )
        self.close = close
        self.is_failure = is_failure
        self.party = party
        self.device_id = device_id
