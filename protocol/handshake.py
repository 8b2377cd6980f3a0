"""Frames of connection start and end (hello, welcome, goodbye), and protocol version negotiation."""

from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.errors import ErrorCode, ProtocolError
from protocol.frame import (
    CREDIT_PIECES,
    HEARTBEAT_INTERVAL_MS,
    MAX_MESSAGE_BYTES,
    MAX_PENDING_CALLS,
    MAX_PIECE_BYTES,
    Count,
    EpochMs,
    Fence,
    Frame,
    Id,
    Name,
    Text,
)
from protocol.keys import signed_lines

SharedRoot = Annotated[str, Meta(min_length=1, max_length=1024)]
# shown in a command line: no other characters
# of a node of the hub, as ``hub connect`` takes it: a ws:// or wss:// URL
HubAddress = Annotated[str, Meta(min_length=1, max_length=300)]
PairingCode = Annotated[str, Meta(pattern="^[A-Z0-9-]{4,16}$")]


class VersionRange(msgspec.Struct, frozen=True, kw_only=True):
    """Protocol versions that a peer supports, both ends included."""

    min: Annotated[int, Meta(ge=0, le=1_000_000)]
    max: Annotated[int, Meta(ge=0, le=1_000_000)]


class Capability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Capability that a peer offers, with a semantic version."""

    name: Name
    version: Name = "1.0.0"


class Client(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Self-description of the device's program. Shown to people, never trusted."""

    name: Name = ""
    version: Name = ""
    platform: Name = ""
    host: Name = ""  # name of the machine
    instance: Name = ""  # of this process: another one at each start of the program


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Ed25519 key of the device and its signature over the hello."""

    public_key: Annotated[str, Meta(max_length=64)]  # base64url without padding
    signature: Annotated[str, Meta(max_length=128)]  # base64url without padding
    signed_at_ms: EpochMs  # a wrong clock is reported, not refused
    address: Annotated[str, Meta(max_length=300)] | None = (
        None  # the hub's, as dialled; absent: an older device
    )


class HubProof(msgspec.Struct, frozen=True, kw_only=True):
    """Ed25519 key of the hub and its signature over the challenge, for a device that sent a nonce."""

    public_key: Annotated[str, Meta(max_length=64)]  # base64url without padding
    address: Annotated[str, Meta(max_length=300)]  # the hub's, as the device dialled it
    signature: Annotated[str, Meta(max_length=128)]  # base64url without padding


class AgentPresence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Agent as its device sees it."""

    agent_id: Id
    status: Name = "idle"


class GrantOfOwner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Permission that the device's owner grants this hub; the device itself enforces it."""

    name: Name
    # of ``rows.read``: the readable tables; of ``files.read``: the readable shared folders, by their names on
    # the wire; of ``review.remote``: ``marked``, ``approved``, both or nothing; of ``places``: nothing
    tables: Annotated[list[Name], Meta(max_length=16)] = []


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """Run that the device still executes from an earlier connection."""

    run_id: Id
    fence: Fence


class StoreMark(msgspec.Struct, frozen=True, kw_only=True):
    """State of a device's store: *counter* grows with every call that changed a row.

    In the hello: the store's own state. In the welcome: the state known to the hub.
    """

    id: Id  # of the store; changes when it is created again, or detected to be an older copy of itself
    counter: Count


class Challenge(Frame, frozen=True, kw_only=True, tag="challenge"):
    """hub -> device: the first frame of every connection.

    Answered by ``device_hello``; a device with a token may send that without waiting.
    """

    nonce: Annotated[str, Meta(max_length=64)]  # base64url of 32 bytes, used once
    hub_id: Id
    protocol: VersionRange
    ts_ms: EpochMs
    proof: HubProof | None = None  # if the connection's request had a ``Device-Nonce``


class DeviceHello(Frame, frozen=True, kw_only=True, tag="device_hello"):
    """device -> hub: identity and capabilities of the device.

    Answered by ``welcome``, or by ``error`` and a close. At most 16 KiB, within 10 s.
    """

    device_id: Id | None = None  # a label for display; with a new key the requested name
    protocol: VersionRange | None = None  # absent: version 1 alone
    token: Annotated[str, Meta(max_length=256)] | None = None
    identity: Identity | None = None
    invitation: Annotated[str, Meta(max_length=256)] | None = None  # with an identity that is not known yet
    client: Client | None = None
    capabilities: Annotated[list[Capability], Meta(max_length=128)] = []
    agents: Annotated[list[AgentPresence], Meta(max_length=1024)] = []
    runs: Annotated[list[HeldRun], Meta(max_length=256)] = []
    store: StoreMark | None = None  # of a device that lists rows.list
    roots: Annotated[list[SharedRoot], Meta(max_length=64)] = []  # all shared folders, as ~/notes; or none
    missing: Annotated[list[SharedRoot], Meta(max_length=64)] = []  # folders to share that are not there
    grants: Annotated[list[GrantOfOwner], Meta(max_length=16)] = []


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the hub for this device; exceeding them ends the connection."""

    max_message_bytes: Count = MAX_MESSAGE_BYTES
    max_piece_bytes: Count = MAX_PIECE_BYTES
    max_pending_calls: Count = MAX_PENDING_CALLS
    credit_pieces: Count = CREDIT_PIECES


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    """hub -> device: the session is open.

    Not answered. Data of earlier epochs is dropped.
    """

    protocol: Count
    hub_id: Id
    connection_id: Id
    user_id: Id
    device_id: Id
    epoch: Count
    server_ts_ms: EpochMs
    heartbeat_interval_ms: Count = HEARTBEAT_INTERVAL_MS
    limits: Limits = Limits()
    store: StoreMark | None = None  # the device's store as known to the hub from earlier connections
    hubs: Annotated[list[HubAddress], Meta(max_length=64)] = []  # addresses of all nodes; absent: none known


class Hubs(Frame, frozen=True, kw_only=True, tag="hubs"):
    """hub -> device: the addresses of all nodes, instead of those of the welcome.

    Only to a device that lists the capability, when a node was added or removed. Not answered.
    """

    hubs: Annotated[list[HubAddress], Meta(max_length=64)]


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    """both ways: a refusal, in words. A close may follow.

    Not answered.
    """

    code: Name
    message: Text = ""
    ref: Text | None = None  # the id or type that it refers to
    pairing_code: PairingCode | None = None  # for a person to type at the hub
    retry_after_ms: Count | None = None
    hint: Text | None = None


class Goodbye(Frame, frozen=True, kw_only=True, tag="goodbye"):
    """hub -> device: the last frame before every close that the hub makes on purpose.

    Not answered; the close code that follows says whether to reconnect.
    """

    reason: Name
    retry_after_ms: Count | None = None
    message: Text | None = None
    to: HubAddress | None = None  # another node, which has room: connect there after ``retry_after_ms``


NONCE_HEADER = "Device-Nonce"  # header of the WebSocket request: base64url of 32 bytes, used once
NONCE_SUBPROTOCOL = "hub.nonce."  # with the nonce behind it, of a browser, which cannot send the header
NONCE_CHARACTERS = 43
SIGNED_TEXT_HEADER = "hub-device-hello-v2"
OLDER_TEXT_HEADER = "hub-device-hello-v1"
CHALLENGE_HEADER = "hub-challenge-v1"


def challenge_text(challenge: Challenge, *, public_key: str, address: str, device_nonce: str) -> bytes:
    """Return the text that a hub signs with its Ed25519 key: seven lines, joined by newlines, as UTF-8.

    The header, hub_id, nonce, ts_ms, then the hub's public key, its address as the device dialled it and the
    device's nonce.

    Raises:
        ValueError: a part contains a line break.
    """
    parts = (CHALLENGE_HEADER, challenge.hub_id, challenge.nonce, str(challenge.ts_ms))
    return signed_lines(*parts, public_key, address, device_nonce)


def signed_text(challenge: Challenge, hello: DeviceHello, signed_at_ms: int, *, address: str | None) -> bytes:
    """Return the text that a device signs with its Ed25519 key: eleven lines, joined by newlines, as UTF-8.

    The header, hub_id, nonce, device_id, client name, client version, protocol min, protocol max,
    *signed_at_ms*. Then the hub's public key and its address as the device dialled it. Absent values are
    empty lines, absent versions are 1. The nonce gives freshness; key and address make the signature
    worthless at any other hub.

    Args:
        address: None for the text of older devices, which has nine lines, without key and address.

    Raises:
        ValueError: a part contains a line break, so that two hellos could share one text; or the challenge
            has no proof of the hub.
    """
    client = hello.client or Client()
    versions = hello.protocol or VersionRange(min=1, max=1)
    if address is not None and challenge.proof is None:
        raise ValueError("an address is signed only after a challenge that proves the hub")
    bound = () if address is None or challenge.proof is None else (challenge.proof.public_key, address)
    return signed_lines(
        SIGNED_TEXT_HEADER if bound else OLDER_TEXT_HEADER,
        challenge.hub_id,
        challenge.nonce,
        hello.device_id or "",
        client.name,
        client.version,
        str(versions.min),
        str(versions.max),
        str(signed_at_ms),
        *bound,
    )


# Versions and capabilities

SPOKEN = VersionRange(min=1, max=1)  # supported by this code, on either side


class VersionMismatch(ProtocolError):
    """Error: a hub and a device have no version in common."""

    code = ErrorCode.VERSION_UNSUPPORTED

    def __init__(self, ours: VersionRange, theirs: VersionRange) -> None:
        older = "hub" if ours.max < theirs.max else "device"
        super().__init__(
            f"the hub speaks versions {ours.min} to {ours.max} of the protocol, the device {theirs.min} to"
            f" {theirs.max}: update the {older}"
        )
        self.ours = ours
        self.theirs = theirs


def skew_of(hub: VersionRange, device: VersionRange | None) -> str:
    """Describe a hub and a device of which one speaks newer versions; empty if both speak the same newest."""
    newest = 1 if device is None else device.max
    if hub.max == newest:
        return ""
    older = "hub" if hub.max < newest else "device"
    versions = f"the hub speaks the protocol up to version {hub.max}, the device up to {newest}"
    return f"{versions}: update the {older}"


def agree(ours: VersionRange, theirs: VersionRange | None) -> int:
    """Return the highest version that both support.

    Args:
        ours: the hub's.
        theirs: the device's.

    Raises:
        VersionMismatch: no common version; the message names both ranges.
    """
    theirs = theirs or VersionRange(min=1, max=1)
    highest = min(ours.max, theirs.max)
    if highest < max(ours.min, theirs.min):
        raise VersionMismatch(ours, theirs)
    return highest
