"""A gateway's wire, version 4, as far as a client needs it: what we send and what we read.

What we send is closed, for a gateway refuses a frame with a key that it does not
know. What we read is lenient: a newer gateway may say more.
"""

import json
import re
from typing import Any, Final

import msgspec

from protocol.json_bounds import check_numbers

PROTOCOL: Final = 4  # operators must offer exactly this one
CLIENT_ID: Final = "gateway-client"  # out of a closed set; another is refused
CLIENT_MODE: Final = "backend"
ROLE: Final = "operator"
PLATFORM: Final = "linux"  # of every hub for ever: a gateway asks a person again when it changes

MAX_FRAME_BYTES: Final = 26_214_400  # as gateways announce it in policy.maxPayload
FIRST_FRAME_BYTES: Final = 65_536  # before we are known
TICK_S: Final = 30.0  # what a gateway keeps to that announces nothing
MAX_TRACEPARENT: Final = 128  # characters

CHALLENGE: Final = "connect.challenge"


# --- what we send ---


class RequestFrame(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="req"
):
    """client -> gateway: one request. Answered by exactly one response with its *id*."""

    id: str
    method: str
    params: Any
    traceparent: str | None = None


class ClientInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who connects, in words that a gateway takes."""

    id: str = CLIENT_ID
    version: str
    platform: str = PLATFORM
    mode: str = CLIENT_MODE


class ConnectAuth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is shown: one of the two."""

    token: str | None = None
    device_token: str | None = None

    def __repr__(self) -> str:
        return "ConnectAuth(...)"


class DeviceProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who we are as a device, signed over the gateway's challenge."""

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


# --- what we read ---


class Refusal(msgspec.Struct, frozen=True, rename="camel"):
    """Why a gateway refused. *message* is for people; nothing is decided by it."""

    code: str = ""
    message: str = ""
    details: Any = None
    retryable: bool = False
    retry_after_ms: float | None = None

    def detail(self, name: str) -> Any:
        """What stands in the details under *name*; ``None``: nothing."""
        return self.details.get(name) if isinstance(self.details, dict) else None

    @property
    def word(self) -> str:
        """The most exact word that programs are given."""
        for name in ("code", "reason", "type"):
            if isinstance(word := self.detail(name), str) and word:
                return word
        return self.code


class Response(msgspec.Struct, frozen=True, tag_field="type", tag="res"):
    """gateway -> client: the answer to the request with this *id*."""

    id: str
    ok: bool
    payload: Any = None
    error: Refusal | None = None


class Event(msgspec.Struct, frozen=True, tag_field="type", tag="event"):
    """gateway -> client: something happened. *seq* grows by one with each event of a connection."""

    event: str
    payload: Any = None
    seq: int | None = None


class Challenge(msgspec.Struct, frozen=True):
    """What a connection begins with: sign this."""

    nonce: str
    ts: int


class ServerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Which gateway it is. Its *boot_id* is another one after each start."""

    version: str = ""
    boot_id: str = ""
    conn_id: str = ""


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """What a gateway holds us to."""

    max_payload: int = MAX_FRAME_BYTES
    tick_interval_ms: float = TICK_S * 1000


class Granted(msgspec.Struct, frozen=True, rename="camel"):
    """What we may do, and the token that this device may come back with."""

    scopes: list[str] = []
    device_token: str | None = None

    def __repr__(self) -> str:
        return f"Granted(scopes={self.scopes!r}, ...)"


class HelloOk(msgspec.Struct, frozen=True):
    """The answer to ``connect``."""

    protocol: int
    server: ServerInfo = ServerInfo()
    auth: Granted = Granted()
    policy: Policy = Policy()


class Unreadable(ValueError):
    """What came is no frame of this protocol."""


class _Kind(msgspec.Struct):
    type: str


_encoder = msgspec.json.Encoder()
_incoming = msgspec.json.Decoder(Response | Event)
_kind = msgspec.json.Decoder(_Kind)
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")  # escaped: of a whole character two stand together


def encode(frame: RequestFrame) -> bytes:
    """*frame* as it goes over the wire, in a text message."""
    return _encoder.encode(frame)


def decode(data: str | bytes) -> Response | Event | None:
    """One message from the wire; ``None``: a kind of frame that we do not know.

    Half a character, which a gateway makes where it cuts a text, is told as U+FFFD.

    Raises:
        Unreadable: it is not JSON, or not what a frame of its kind has to be.
    """
    try:
        return _decoded(data)
    except Unreadable:
        if (mended := _mended(data)) is None:
            raise
        return _decoded(mended)


def _decoded(data: str | bytes) -> Response | Event | None:
    try:
        check_numbers(data if isinstance(data, bytes) else data.encode())
        frame: Response | Event = _incoming.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        try:
            kind = _kind.decode(data).type
        except (msgspec.DecodeError, UnicodeError):
            kind = None
        if kind is not None and kind not in ("res", "event"):
            return None
        raise Unreadable(str(error)) from error
    return frame


def _mended(data: str | bytes) -> str | None:
    """The message without halves of characters; ``None``: that is not what is wrong with it.

    JavaScript cuts texts between the two halves, and tells each as an escape of its own. Left as it is,
    such a row would end every connection on which it is read.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        if not _HALF.search(text):
            return None
        whole = json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
