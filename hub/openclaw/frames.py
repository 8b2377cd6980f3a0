"""The wire protocol of gateways, version 4: the frames that the hub sends and reads.

Sent frames have exactly the known keys, because a gateway refuses others. Reading is lenient, because a newer
gateway may send more.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.base.printable import with_whole_characters
from protocol.frame import check_numbers

PROTOCOL: Final = 4  # operators must offer exactly this version
CLIENT_ID: Final = "gateway-client"  # one of a closed set
CLIENT_MODE: Final = "backend"
ROLE: Final = "operator"
PLATFORM: Final = "linux"  # must never change, because a gateway then asks for another approval

MAX_FRAME_BYTES: Final = 26_214_400  # announced by gateways in policy.maxPayload
FIRST_FRAME_BYTES: Final = 65_536  # before authentication
TICK_S: Final = 30.0  # default of gateways that announce none
MAX_TRACEPARENT: Final = 128  # characters

CHALLENGE: Final = "connect.challenge"


# --- sent frames ---


class RequestFrame(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="req"
):
    """client -> gateway: a request, answered by exactly one response with its *id*."""

    id: str
    method: str
    params: Any
    traceparent: str | None = None


class ClientInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Description of the client in the gateway's vocabulary."""

    id: str = CLIENT_ID
    version: str
    platform: str = PLATFORM
    mode: str = CLIENT_MODE


class ConnectAuth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Credential of the client: either of the tokens."""

    token: str | None = None
    device_token: str | None = None

    def __repr__(self) -> str:
        return "ConnectAuth(...)"


class DeviceProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The hub's device identity, with a signature over the gateway's challenge."""

    id: str
    public_key: str
    signature: str
    signed_at: int
    nonce: str


class ConnectParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """client -> gateway: the first request of a connection."""

    min_protocol: int
    max_protocol: int
    client: ClientInfo
    role: str
    scopes: list[str]
    caps: list[str]
    auth: ConnectAuth | None = None
    device: DeviceProof | None = None


# --- received frames ---

MAX_LISTED: Final = 10_000  # of a list in an answer
Word = Annotated[str, Meta(max_length=1_000)]  # an id, a name, a state
Explanation = Annotated[str, Meta(max_length=100_000)]  # for people, who are shown less


class RefusalBody(msgspec.Struct, frozen=True, rename="camel"):
    """A gateway's refusal. *message* is for people only."""

    code: Word = ""
    message: Explanation = ""
    details: Any = None
    retryable: bool = False
    retry_after_ms: float | None = None

    def detail(self, name: str) -> Any:
        """Return the value of *name* in the details, or None."""
        return self.details.get(name) if isinstance(self.details, dict) else None

    @property
    def word(self) -> str:
        """The most specific machine-readable word."""
        for name in ("code", "reason", "type"):
            if isinstance(word := self.detail(name), str) and word:
                return word
        return self.code


class ResponseFrame(msgspec.Struct, frozen=True, tag_field="type", tag="res"):
    """gateway -> client: the answer to the request with this *id*."""

    id: Word
    ok: bool
    payload: Any = None
    error: RefusalBody | None = None


class EventFrame(msgspec.Struct, frozen=True, tag_field="type", tag="event"):
    """gateway -> client: an event. *seq* grows by one with each event of a connection."""

    event: Word
    payload: Any = None
    seq: int | None = None


class GatewayChallenge(msgspec.Struct, frozen=True):
    """Challenge at the start of a connection, to be signed."""

    nonce: Word
    ts: int


class ServerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Identity of the gateway. *boot_id* changes with each start."""

    version: Word = ""
    boot_id: Word = ""


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """Limits of a gateway for its clients."""

    max_payload: int = MAX_FRAME_BYTES
    tick_interval_ms: float = TICK_S * 1000


class GrantedScopes(msgspec.Struct, frozen=True, rename="camel"):
    """Granted scopes, and a token with which this device may reconnect."""

    scopes: Annotated[list[Word], Meta(max_length=MAX_LISTED)] = []
    device_token: Word | None = None

    def __repr__(self) -> str:
        return f"Granted(scopes={self.scopes!r}, ...)"


class HelloOk(msgspec.Struct, frozen=True):
    """The answer to ``connect``."""

    protocol: int
    server: ServerInfo = ServerInfo()
    auth: GrantedScopes = GrantedScopes()
    policy: Policy = Policy()


class BadFrame(ValueError):
    """The data is not a frame of this protocol."""


class _Kind(msgspec.Struct):
    type: Word


_encoder = msgspec.json.Encoder()
_incoming = msgspec.json.Decoder(ResponseFrame | EventFrame)
_kind = msgspec.json.Decoder(_Kind)


def encode(frame: RequestFrame) -> bytes:
    """Encode *frame* as a text message."""
    return _encoder.encode(frame)


def decode(data: str | bytes) -> ResponseFrame | EventFrame | None:
    """Decode one message; return None for an unknown kind of frame.

    A lone surrogate, as produced by a gateway that truncates text, becomes U+FFFD.

    Raises:
        Unreadable: the message is not JSON, or not a valid frame of its kind.
    """
    try:
        return _decoded(data)
    except BadFrame:
        if (mended := with_whole_characters(data)) is None:
            raise
        return _decoded(mended)


def _decoded(data: str | bytes) -> ResponseFrame | EventFrame | None:
    try:
        check_numbers(data if isinstance(data, bytes) else data.encode())
        frame: ResponseFrame | EventFrame = _incoming.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        try:
            kind = _kind.decode(data).type
        except (msgspec.DecodeError, UnicodeError):
            kind = None
        if kind is not None and kind not in ("res", "event"):
            return None
        raise BadFrame(str(error)) from error
    return frame
