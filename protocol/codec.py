"""Bytes to frames and back: JSON or MessagePack by one table.

Nothing above this module knows which is in use. Whatever a peer sends comes out
as a frame or as a ``RemoteProtocolError`` that names what was wrong with it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args

import msgspec
from msgspec import UNSET, UnsetType

from protocol.coordination import Event, Heartbeat, Request, Response
from protocol.errors import ErrorCode, HubError, LocalProtocolError, RemoteProtocolError
from protocol.frame import (
    MAX_PARAMS,
    MAX_PARAMS_BYTES,
    MAX_RESULT_BYTES,
    MAX_RESULT_DEPTH,
    Frame,
    Parameter,
    value_of_depth,
)
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    ToolCall,
    ToolResult,
)

FromDevice = (
    DeviceHello
    | AgentAck
    | AgentManifest
    | AgentData
    | AgentComplete
    | ToolResult
    | Request
    | Heartbeat
    | Error
)
FromHub = (
    Challenge
    | Welcome
    | Error
    | Goodbye
    | AgentRun
    | AgentFetch
    | AgentCredit
    | AgentCancel
    | ToolCall
    | Response
    | Event
)
FROM_DEVICE: tuple[type[Frame], ...] = get_args(FromDevice)
FROM_HUB: tuple[type[Frame], ...] = get_args(FromHub)

_TOLD_CHARACTERS = 300  # of a decoder's complaint: it may quote what the peer sent
# What msgspec raises over a peer's bytes: bad UTF-8 is no MsgspecError, nor is too deep a nesting.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def type_of(frame: type[Frame]) -> str:
    """How *frame* is spelled in ``type``."""
    return str(frame.__struct_config__.tag)


class BadFrame(RemoteProtocolError):
    """The bytes are not a frame. The message has the path, as in ``$.files[0].path``."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BAD_FRAME, message[:_TOLD_CHARACTERS])


class UnknownType(RemoteProtocolError):
    """A frame of a type that nobody here knows: the peer may be newer. Not a reason to end."""

    def __init__(self, spelled: str) -> None:
        self.type = spelled[:_TOLD_CHARACTERS]
        super().__init__(ErrorCode.UNKNOWN_TYPE, f"there is no frame of type {self.type!r}")


class WrongWay(RemoteProtocolError):
    """A frame that only the other side may send."""

    def __init__(self, spelled: str) -> None:
        super().__init__(ErrorCode.WRONG_STATE, f"{spelled} does not go this way")


class _Typed(msgspec.Struct):
    type: str


class _Decoder(Protocol):
    def decode(self, buf: Any, /) -> Any: ...


_Value = value_of_depth(MAX_RESULT_DEPTH)
# A tool_result whose open value is read in the same pass as its frame. Reading it by itself, as
# ToolResult leaves it, costs as much again: kept for frames of a size that may hold too large a value.
ReadResult: type[ToolResult] = msgspec.defstruct(  # type: ignore[assignment]
    "ReadResult",
    [("result", _Value | UnsetType, UNSET)],
    bases=(ToolResult,),
    tag="tool_result",
    frozen=True,
    kw_only=True,
)
# A request of a size that may hold too many values: they are read once they were counted.
LargeRequest: type[Request] = msgspec.defstruct(  # type: ignore[assignment]
    "LargeRequest",
    [("params", dict[str, msgspec.Raw], {})],
    bases=(Request,),
    tag="request",
    frozen=True,
    kw_only=True,
)


class TooLargeParams(HubError):
    """The parameters of a request are more than may be decoded."""

    code = ErrorCode.TOO_LARGE


class Codec:
    """One way to spell frames. *name* is its WebSocket subprotocol.

    Attributes:
        is_text: whether its messages are WebSocket text messages, else binary.
        encode: a frame to the bytes of one message. Raises what msgspec raises over
            a value that cannot be spelled, such as a lone surrogate.
    """

    def __init__(
        self,
        name: str,
        *,
        is_text: bool,
        encode: Callable[[Any], bytes],
        decoder_of: Callable[[Any], _Decoder],
        text_marks: bytes,
    ) -> None:
        self.name = name
        self.is_text = is_text
        self.encode = encode
        self._text_marks = text_marks  # the first bytes that a text may have
        self._from_device = decoder_of(_with(LargeRequest)).decode
        self._small_from_device = decoder_of(_with(ReadResult)).decode
        self._parameter = decoder_of(Parameter).decode
        self._from_hub = decoder_of(FromHub).decode
        self._type = decoder_of(_Typed).decode
        self._value = decoder_of(_Value).decode

    def decode_from_device(self, data: bytes) -> FromDevice:
        """The frame that a device sent.

        Raises:
            BadFrame: not an object with a ``type``, or a field is not what it has to be.
            UnknownType: nobody here knows that type.
            WrongWay: only a hub may send it.
        """
        decode = self._small_from_device if len(data) <= MAX_RESULT_BYTES else self._from_device
        try:
            return decode(data)  # type: ignore[no-any-return]
        except _UNREADABLE as error:
            raise self._explain(error, data, FROM_DEVICE) from None

    def decode_from_hub(self, data: bytes) -> FromHub:
        """The frame that a hub sent.

        Raises:
            BadFrame, UnknownType, WrongWay: as ``decode_from_device``.
        """
        try:
            return self._from_hub(data)  # type: ignore[no-any-return]
        except _UNREADABLE as error:
            raise self._explain(error, data, FROM_HUB) from None

    def pack(self, value: object) -> msgspec.Raw:
        """An open value, as ``ToolResult.result`` carries it."""
        return msgspec.Raw(self.encode(value))

    def unpack(self, raw: msgspec.Raw) -> Any:
        """The value in ``ToolResult.result``, which was not looked into before.

        Raises:
            BadFrame: it is not a JSON value of at most MAX_RESULT_DEPTH levels.
        """
        try:
            return self._value(raw)
        except _UNREADABLE as error:
            raise BadFrame(f"result: {error}") from None

    def unpack_request(self, request: Request) -> Request:
        """Decode the parameters of a ``LargeRequest``; return any other as it is.

        Raises:
            TooLargeParams: there are more than MAX_PARAMS, or those that are no texts have more than
                MAX_PARAMS_BYTES.
            BadFrame: one is not what a parameter may be.
        """
        if type(request) is Request:
            return request
        raw: dict[str, Any] = request.params  # of msgspec.Raw
        if len(raw) > MAX_PARAMS:
            raise TooLargeParams(f"a request has at most {MAX_PARAMS} parameters")
        views = {name: memoryview(value) for name, value in raw.items()}
        values = sum(view.nbytes for view in views.values() if view[0] not in self._text_marks)
        if values > MAX_PARAMS_BYTES:
            told = f"parameters that are no texts have at most {MAX_PARAMS_BYTES} bytes, not {values}"
            raise TooLargeParams(told)
        try:
            params = {name: self._parameter(view) for name, view in views.items()}
        except _UNREADABLE as error:
            raise BadFrame(f"params: {error}") from None
        return Request(id=request.id, method=request.method, params=params, trace=request.trace)

    def _explain(self, error: Exception, data: bytes, expected: Sequence[type[Frame]]) -> RemoteProtocolError:
        """Why *data* is none of the *expected* frames; only looked at once decoding has failed."""
        try:
            spelled = self._type(data).type
        except _UNREADABLE:
            return BadFrame(str(error))
        if spelled not in _KNOWN:
            return UnknownType(spelled)
        if all(spelled != type_of(frame) for frame in expected):
            return WrongWay(spelled)
        return BadFrame(str(error))


def _with(variant: type[Frame]) -> Any:
    """Return the union of a device's frames, with *variant* in the place of its base."""
    union: Any = variant
    for frame in FROM_DEVICE:
        if not issubclass(variant, frame):
            union = union | frame
    return union


_KNOWN = frozenset(type_of(frame) for frame in FROM_DEVICE + FROM_HUB)

JSON = Codec(
    "hub.v1.json",
    is_text=True,
    encode=msgspec.json.Encoder().encode,
    decoder_of=msgspec.json.Decoder,
    text_marks=b'"',
)
MSGPACK = Codec(
    "hub.v1.msgpack",
    is_text=False,
    encode=msgspec.msgpack.Encoder().encode,
    decoder_of=msgspec.msgpack.Decoder,
    text_marks=bytes(range(0xA0, 0xC0)) + b"\xd9\xda\xdb",  # fixstr, str 8, 16, 32
)
CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}
SUBPROTOCOLS = tuple(CODECS)  # in the order of preference


def for_subprotocol(name: str | None) -> Codec:
    """The codec of the subprotocol that was agreed on; ``None``, no agreement, is JSON.

    Raises:
        LocalProtocolError: the listener agreed on a subprotocol that is not one of SUBPROTOCOLS.
    """
    if name is None:
        return JSON
    try:
        return CODECS[name]
    except KeyError:
        raise LocalProtocolError(f"there is no codec for the subprotocol {name!r}") from None
