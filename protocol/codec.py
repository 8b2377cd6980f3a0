"""Bytes to frames and back: JSON or MessagePack by one table.

Nothing above this module knows which is in use. Whatever a peer sends comes out
as a frame or as a ``RemoteProtocolError`` that names what was wrong with it.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from protocol.coordination import AgentBeat, Event, Heartbeat, Request, Response
from protocol.errors import ErrorCode, HubError, LocalProtocolError, RemoteProtocolError
from protocol.frame import (
    MAX_PARAMS,
    MAX_PARAMS_BYTES,
    MAX_RESULT_BYTES,
    MAX_RESULT_DEPTH,
    MAX_USAGE_BYTES,
    Frame,
    Parameter,
    Record,
    value_of_depth,
)
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.json_bounds import check_numbers, check_value
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
# A request or a heartbeat of a size that may hold too many values: they are read once they were counted.
LargeRequest: type[Request] = msgspec.defstruct(  # type: ignore[assignment]
    "LargeRequest",
    [("params", msgspec.Raw | UnsetType, UNSET)],
    bases=(Request,),
    tag="request",
    frozen=True,
    kw_only=True,
)
_LargeBeat = msgspec.defstruct(
    "_LargeBeat",
    [("resource_usage", msgspec.Raw | UnsetType, UNSET)],
    bases=(AgentBeat,),
    frozen=True,
    kw_only=True,
)
LargeHeartbeat: type[Heartbeat] = msgspec.defstruct(  # type: ignore[assignment]
    "LargeHeartbeat",
    [("agents", Annotated[list[_LargeBeat], Meta(max_length=1024)], [])],  # type: ignore[valid-type]
    bases=(Heartbeat,),
    tag="heartbeat",
    frozen=True,
    kw_only=True,
)
_MOST_NAMES = MAX_PARAMS + MAX_PARAMS_BYTES // 3  # in JSON: those of parameters, and texts as short as ,""
_RawParams = Annotated[dict[str, msgspec.Raw], Meta(max_length=MAX_PARAMS)]


class TooLargeValue(HubError):
    """The open values of a frame are more than may be decoded."""

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
        check: Callable[[bytes], None],
        check_from_hub: Callable[[bytes], None],
    ) -> None:
        self.name = name
        self.is_text = is_text
        self.encode = encode
        self._text_marks = text_marks  # the first bytes that a text may have
        self._check = check  # before a device's data is decoded; raises what a decoder raises
        self._check_from_hub = check_from_hub
        self._from_device = decoder_of(_with(LargeRequest, LargeHeartbeat)).decode
        self._small_from_device = decoder_of(_with(ReadResult)).decode
        self._raw_params = decoder_of(_RawParams).decode
        self._parameter = decoder_of(Parameter).decode
        self._record = decoder_of(Record).decode
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
        try:
            if len(data) > MAX_RESULT_BYTES:
                return self._from_device(data)  # type: ignore[no-any-return]
            self._check(data)
            return self._small_from_device(data)  # type: ignore[no-any-return]
        except _UNREADABLE as error:
            raise self._explain(error, data, FROM_DEVICE) from None

    def decode_from_hub(self, data: bytes) -> FromHub:
        """The frame that a hub sent.

        Raises:
            BadFrame, UnknownType, WrongWay: as ``decode_from_device``.
        """
        try:
            self._check_from_hub(data)
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
            self._check(bytes(raw))
            return self._value(raw)
        except _UNREADABLE as error:
            raise BadFrame(f"result: {error}") from None

    def unpack_request(self, request: Request) -> Request:
        """Decode the parameters of a ``LargeRequest``; return any other as it is.

        Raises:
            TooLargeValue: there are more than MAX_PARAMS, or those that are no texts have more than
                MAX_PARAMS_BYTES.
            BadFrame: one is not what a parameter may be.
        """
        if type(request) is Request:
            return request
        raw: Any = request.params
        if raw is not UNSET and self.is_text and _names(bytes(raw)) > _MOST_NAMES:
            raise TooLargeValue(f"a request has at most {MAX_PARAMS} parameters, and not so many values")
        try:
            views = (
                {} if raw is UNSET else {n: memoryview(value) for n, value in self._raw_params(raw).items()}
            )
        except _UNREADABLE as error:
            if "of length <=" in str(error):
                raise TooLargeValue(f"a request has at most {MAX_PARAMS} parameters") from None
            raise BadFrame(f"params: {error}") from None
        values = [view for view in views.values() if view[0] not in self._text_marks]
        _check_size(values, MAX_PARAMS_BYTES, "parameters that are no texts")
        try:
            self._check(b",".join(values))
            params = {name: self._parameter(view) for name, view in views.items()}
        except _UNREADABLE as error:
            raise BadFrame(f"params: {error}") from None
        return Request(id=request.id, method=request.method, params=params, trace=request.trace)

    def unpack_heartbeat(self, heartbeat: Heartbeat) -> Heartbeat:
        """Decode the resource usage in a ``LargeHeartbeat``; return any other as it is.

        Raises:
            TooLargeValue: that of all agents has more than MAX_USAGE_BYTES.
            BadFrame: one is no record.
        """
        if type(heartbeat) is Heartbeat:
            return heartbeat
        raw: list[Any] = [beat.resource_usage for beat in heartbeat.agents]  # msgspec.Raw, or UNSET
        views = [memoryview(b"" if usage is UNSET else usage) for usage in raw]
        _check_size(views, MAX_USAGE_BYTES, "resource_usage of all agents together")
        try:
            self._check(b",".join(views))
            agents = [
                AgentBeat(
                    **msgspec.structs.asdict(beat) | {"resource_usage": self._record(view) if view else {}}
                )
                for beat, view in zip(heartbeat.agents, views, strict=True)
            ]
        except _UNREADABLE as error:
            raise BadFrame(f"resource_usage: {error}") from None
        return Heartbeat(agents=agents, trace=heartbeat.trace)

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


def _names(params: bytes) -> int:
    """Count the texts in JSON that come behind a comma, as all names but the first do."""
    return params.translate(None, b" \t\r\n").count(b',"')


def _check_size(values: Sequence[memoryview], most: int, what: str) -> None:
    size = sum(value.nbytes for value in values)
    if size > most:
        raise TooLargeValue(f"{what}: {size} bytes, the most is {most}")


def _with(*variants: type[Frame]) -> Any:
    """Return the union of a device's frames, with *variants* in the place of their bases."""
    union: Any = variants[0]
    for frame in variants[1:]:
        union = union | frame
    for frame in FROM_DEVICE:
        if not any(issubclass(variant, frame) for variant in variants):
            union = union | frame
    return union


_KNOWN = frozenset(type_of(frame) for frame in FROM_DEVICE + FROM_HUB)

JSON = Codec(
    "hub.v1.json",
    is_text=True,
    encode=msgspec.json.Encoder().encode,
    decoder_of=msgspec.json.Decoder,
    text_marks=b'"',
    check=check_value,
    check_from_hub=check_numbers,
)
MSGPACK = Codec(
    "hub.v1.msgpack",
    is_text=False,
    encode=msgspec.msgpack.Encoder().encode,
    decoder_of=msgspec.msgpack.Decoder,
    text_marks=bytes(range(0xA0, 0xC0)) + b"\xd9\xda\xdb",  # fixstr, str 8, 16, 32
    check=lambda _: None,
    check_from_hub=lambda _: None,
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
