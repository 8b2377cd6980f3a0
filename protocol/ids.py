"""Ids of rows: format, time order, and derivation of item and call ids.

Fresh ids are UUIDv7 text (RFC 9562, 5.7), so that they sort by the time of their creation. The caller passes
time and randomness.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NewType

UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)
AgentId = NewType("AgentId", str)
RunId = NewType("RunId", str)
CallId = NewType("CallId", str)
ConnectionId = NewType("ConnectionId", str)
NodeId = NewType("NodeId", str)
BootId = NewType("BootId", str)
TokenId = NewType("TokenId", str)
KeyId = NewType("KeyId", str)  # base32 of the SHA-256 of a device's public key: protocol.keys
PairingId = NewType("PairingId", str)
InvitationId = NewType("InvitationId", str)
TemplateId = NewType("TemplateId", str)
GatewayId = NewType("GatewayId", str)
BoardId = NewType("BoardId", str)
MemoryId = NewType("MemoryId", str)
MessageId = NewType("MessageId", str)
BroadcastId = NewType("BroadcastId", str)
QuestionId = NewType("QuestionId", str)
SoulWriteId = NewType("SoulWriteId", str)

_TAKEN = "t-"
_DIGEST_BYTES = 16  # of derived ids
CHANCE_BYTES = 10  # input of spell_id: 74 random bits, rounded up


def spell_id(now_ms: int, chance: bytes) -> str:
    """Return a UUIDv7 from *now_ms* (UTC epoch milliseconds) and ten random bytes.

    Raises:
        ValueError: *chance* has another length, or *now_ms* does not fit 48 bits.
    """
    if len(chance) != CHANCE_BYTES:
        raise ValueError(f"an id takes {CHANCE_BYTES} random bytes, not {len(chance)}")
    rand = int.from_bytes(chance, "big")
    rand_a, rand_b = (rand >> 62) & 0xFFF, rand & ((1 << 62) - 1)
    value = int.from_bytes(now_ms.to_bytes(6, "big"), "big") << 80
    value |= 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derive_item_ids(*, user_id: UserId, agent_id: AgentId, unit_key: str) -> Callable[[str, int], str]:
    """Return a function that returns the id of an item of a unit, the *nth* of its *likeness* there."""
    of_unit = hashlib.blake2b(_framed(user_id, agent_id, unit_key), digest_size=_DIGEST_BYTES)

    def item_id(likeness: str, nth: int) -> str:
        digest = of_unit.copy()
        digest.update(_framed(likeness, str(nth)))
        return f"i-{digest.hexdigest()}"

    return item_id


def derive_taken_item_id(*, device_id: DeviceId, call_id: str) -> str:
    """Return the id of an item that its device reported to the hub, which has it by *call_id*."""
    return f"{_TAKEN}{_digest('taken', device_id, call_id)}"


def is_taken_item_id(item_id: str) -> bool:
    """Return True if the item's device reported it to the hub."""
    return item_id.startswith(_TAKEN)


def derive_call_id(*, item_id: str, version: int, content: str) -> CallId:
    """Return the idempotency key of the delivery of an item's version.

    Derived from the content and not from the run. So a call repeated after a crash, or by a later run, has
    the same id. *content* is a digest of the version's text: a hub that lost its ledger gives another
    text another id.
    """
    return CallId(f"c-{_digest(item_id, str(version), content)}")


def content_of(data: Mapping[str, Any]) -> str:
    """Return a digest of all columns of an item."""
    import msgspec  # for the sake of the command line, which imports this module and starts without it

    columns = msgspec.json.encode(dict(sorted(data.items())))
    return hashlib.sha256(columns).hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.blake2b(_framed(*parts), digest_size=_DIGEST_BYTES).hexdigest()


def _framed(*parts: str) -> bytes:
    """Return texts with their lengths, so that different tuples are never the same bytes."""
    framed = b""
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        framed += len(raw).to_bytes(8, "big") + raw
    return framed


# Trace ids of runs, for following a run across processes (W3C Trace Context, 3.2). A run is a trace. Its id
# and the ids of its spans are derived, so nothing is stored, and a restart of either end yields the same ids.

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_TRACE_VERSION: Final = "00"
_SAMPLED: Final = "01"


def trace_id_of(run_id: RunId) -> str:
    """Return the trace id of a run, 32 hexadecimal digits: its own id without hyphens if that is a UUID."""
    if _UUID.match(run_id):
        return run_id.replace("-", "")
    return _hex_digest(16, run_id)


def traceparent(run_id: RunId, *about: str) -> str:
    """Return the ``trace`` of a frame of the run: the run's trace, and the span for *about*."""
    return traceparent_of(trace_id_of(run_id), *about)


def traceparent_of(trace_id: str, *about: str) -> str:
    """Return the ``trace`` of a frame that belongs to no run."""
    return f"{_TRACE_VERSION}-{trace_id}-{span_id_of(*about)}-{_SAMPLED}"


def span_id_of(*about: str) -> str:
    """Return the id of the span for *about* in its trace, 16 hexadecimal digits."""
    return _hex_digest(8, *about)


def _hex_digest(size: int, *parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
