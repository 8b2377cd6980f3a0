"""Frames of greeting and parting: challenge, device_hello, welcome, error, goodbye."""

from typing import Annotated

import msgspec
from msgspec import Meta

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

SharedRoot = Annotated[str, Meta(min_length=1, max_length=1024)]
PairingCode = Annotated[str, Meta(pattern="^[A-Z0-9-]{4,16}$")]  # shown in a command line: nothing else in it


class VersionRange(msgspec.Struct, frozen=True, kw_only=True):
    """The protocol versions a peer speaks, both ends included."""

    min: Annotated[int, Meta(ge=0, le=1_000_000)]
    max: Annotated[int, Meta(ge=0, le=1_000_000)]


class Capability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something a peer says it can do, with a semantic version."""

    name: Name
    version: Name = "1.0.0"


class Client(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the device's program calls itself. Shown to people, believed by nobody."""

    name: Name = ""
    version: Name = ""
    platform: Name = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """An Ed25519 key made by the device and its signature over the hello."""

    public_key: Annotated[str, Meta(max_length=64)]  # base64url without padding
    signature: Annotated[str, Meta(max_length=128)]  # base64url without padding
    signed_at_ms: EpochMs  # a clock that is off is reported, not punished
    address: Annotated[str, Meta(max_length=300)] | None = (
        None  # of the hub, as dialled; absent: an older device
    )


class HubProof(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's Ed25519 key and its signature over the challenge, for a device that sent a nonce."""

    public_key: Annotated[str, Meta(max_length=64)]  # base64url without padding
    address: Annotated[str, Meta(max_length=300)]  # the hub's, as the device dialled it
    signature: Annotated[str, Meta(max_length=128)]  # base64url without padding


class AgentPresence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent as its device sees it."""

    agent_id: Id
    status: Name = "idle"


class GrantOfOwner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the device's owner allows this hub; the device itself enforces it."""

    name: Name
    tables: Annotated[list[Name], Meta(max_length=16)] = []  # of ``rows.read``: whose approved rows


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that the device still works on from an earlier connection."""

    run_id: Id
    fence: Fence


class StoreMark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a device's store has come: *counter* grows with every call that changed a row.

    In the hello: the store itself. In the welcome: how far the hub knows it.
    """

    id: Id  # of the store: another one after it was made anew, or found to be an older copy of itself
    counter: Count


class Challenge(Frame, frozen=True, kw_only=True, tag="challenge"):
    """hub -> device: the first frame of every connection.

    Answered by ``device_hello``; a device that shows a token may greet without waiting for it.
    """

    nonce: Annotated[str, Meta(max_length=64)]  # base64url of 32 bytes, used once
    hub_id: Id
    protocol: VersionRange
    ts_ms: EpochMs
    proof: HubProof | None = None  # where the connection's request had a ``Device-Nonce``


class DeviceHello(Frame, frozen=True, kw_only=True, tag="device_hello"):
    """device -> hub: who connects, and what it can do.

    Answered by ``welcome``, or by ``error`` and a close. At most 16 KiB, within 10 s.
    """

    device_id: Id | None = None  # a label: shown, and with a new key the name that it asks for
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
    grants: Annotated[list[GrantOfOwner], Meta(max_length=16)] = []


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub will take from this device; beyond it the connection ends."""

    max_message_bytes: Count = MAX_MESSAGE_BYTES
    max_piece_bytes: Count = MAX_PIECE_BYTES
    max_pending_calls: Count = MAX_PENDING_CALLS
    credit_pieces: Count = CREDIT_PIECES


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    """hub -> device: the session is open.

    Not answered. What belongs to an epoch below this one is dropped.
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
    store: StoreMark | None = None  # how far the hub knows the device's store, from its connections before


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    """both ways: something was refused, in words. A close may follow.

    Not answered.
    """

    code: Name
    message: Text = ""
    ref: Text | None = None  # the id or type that it is about
    pairing_code: PairingCode | None = None  # for a person to type at the hub
    retry_after_ms: Count | None = None
    hint: Text | None = None


class Goodbye(Frame, frozen=True, kw_only=True, tag="goodbye"):
    """hub -> device: before every close that the hub makes on purpose.

    Not answered; the close code that follows says whether to come back.
    """

    reason: Name
    retry_after_ms: Count | None = None
    message: Text | None = None


NONCE_HEADER = "Device-Nonce"  # of the request for the WebSocket: base64url of 32 bytes, used once
NONCE_CHARACTERS = 43
SIGNED_TEXT_HEADER = "hub-device-hello-v2"
OLDER_TEXT_HEADER = "hub-device-hello-v1"
CHALLENGE_HEADER = "hub-challenge-v1"


def challenge_text(challenge: Challenge, *, public_key: str, address: str, device_nonce: str) -> bytes:
    """Return what a hub signs with its Ed25519 key: seven lines, joined by newlines, as UTF-8.

    The header, hub_id, nonce, ts_ms, then the hub's public key, its address as the device dialled it and
    the device's nonce.

    Raises:
        ValueError: a part has a line break in it.
    """
    parts = (CHALLENGE_HEADER, challenge.hub_id, challenge.nonce, str(challenge.ts_ms))
    return _lines(*parts, public_key, address, device_nonce)


def signed_text(challenge: Challenge, hello: DeviceHello, signed_at_ms: int, *, address: str | None) -> bytes:
    """Return what a device signs with its Ed25519 key: eleven lines, joined by newlines, as UTF-8.

    The header, hub_id, nonce, device_id, client name, client version, protocol
    min, protocol max, *signed_at_ms*, the hub's public key and its address as the device dialled it.
    What the hello leaves out is an empty line, versions left out are 1. The nonce gives freshness; key and
    address make the signature worthless at any other hub.

    Args:
        address: None for the text of older devices, which has nine lines: no key and no address.

    Raises:
        ValueError: a part has a line break in it, so that two hellos could share one text; or the
            challenge has no proof of the hub.
    """
    client = hello.client or Client()
    versions = hello.protocol or VersionRange(min=1, max=1)
    if address is not None and challenge.proof is None:
        raise ValueError("an address is signed only after a challenge that proves the hub")
    bound = () if address is None or challenge.proof is None else (challenge.proof.public_key, address)
    return _lines(
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


def _lines(*parts: str) -> bytes:
    if any("\n" in part for part in parts):
        raise ValueError("a signed part must not contain a line break")
    return "\n".join(parts).encode()
