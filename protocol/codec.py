"""Encoding and decoding of frames (JSON, MessagePack), and refusal of oversized values.

Modules above this one do not know which is in use. Parameters and usage are measured before they are decoded,
by the constants of ``frame``. Any input from a peer becomes a frame or a ``RemoteProtocolError`` that
describes the fault.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Annotated, Any, Protocol, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from protocol.coordination import AgentBeat, Event, Heartbeat, Request, Response
from protocol.errors import ErrorCode, HubError, LocalProtocolError, RemoteProtocolError
from protocol.frame import (
    MAX_BATCH_CALLS,
    MAX_PARAMS,
    MAX_PARAMS_BYTES,
    MAX_RESULT_BYTES,
    MAX_USAGE_BYTES,
    UNCHECKED_BYTES,
    Frame,
    Parameter,
    Record,
    check_numbers,
    check_value,
)
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Hubs, Welcome
from protocol.tool_calls import ToolCall, ToolCalls, ToolResult, ToolResults
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentReceipt,
    AgentRun,
)

FromDevice = (
    DeviceHello
    | AgentAck
    | AgentManifest
    | AgentData
    | AgentComplete
    | ToolResult
    | ToolResults
    | Request
    | Heartbeat
    | Error
)
FromHub = (
    Challenge
    | Welcome
    | Error
    | Goodbye
    | Hubs
    | AgentRun
    | AgentFetch
    | AgentCredit
    | AgentCancel
    | AgentReceipt
    | ToolCall
    | ToolCalls
    | Response
    | Event
)
FROM_DEVICE: tuple[type[Frame], ...] = get_args(FromDevice)
FROM_HUB: tuple[type[Frame], ...] = get_args(FromHub)

_QUOTED_CHARACTERS = 300  # of a decoder's error message, which may quote the peer
# Errors of msgspec for a peer's bytes: bad UTF-8 and excessive nesting are no MsgspecError.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def type_of(frame: type[Frame]) -> str:
    """Return the value of ``type`` for *frame*."""
    return str(frame.__struct_config__.tag)


class UnknownType(RemoteProtocolError):
    """Error: the frame's type is unknown, as from a newer peer. Does not end the session."""

    def __init__(self, spelled: str) -> None:
        self.type = spelled[:_QUOTED_CHARACTERS]
        super().__init__(ErrorCode.UNKNOWN_TYPE, f"there is no frame of type {self.type!r}")


class _Typed(msgspec.Struct):
    type: str


class _Decoder(Protocol):
    def decode(self, buf: Any, /) -> Any: ...


# A tool_result whose open value is decoded together with its frame. Decoding it separately, as ToolResult
# does, costs twice as much: used only for frames large enough to hold too large a value.
ReadResult: type[ToolResult] = msgspec.defstruct(  # type: ignore[assignment]
    "ReadResult",
    [("result", Parameter | UnsetType, UNSET)],
    bases=(ToolResult,),
    tag="tool_result",
    frozen=True,
    kw_only=True,
)
ReadResults: type[ToolResults] = msgspec.defstruct(  # type: ignore[assignment]
    "ReadResults",
    [("results", Annotated[list[ReadResult], Meta(min_length=1, max_length=MAX_BATCH_CALLS)])],  # type: ignore[valid-type]
    bases=(ToolResults,),
    tag="tool_results",
    frozen=True,
    kw_only=True,
)
# Requests and heartbeats large enough to hold too many values: their values are decoded after a count.
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
# Frames of files have no open value, and the decoder only skips an unknown field. Of several ``type`` it
# takes the first, and refuses others that differ.
_begins_without_values = re.compile(rb'\s*\{\s*"type"\s*:\s*"agent_').match
_MAX_NAMES = MAX_PARAMS + MAX_PARAMS_BYTES // 3  # in JSON: names of parameters, and texts as short as ,""
_RawParams = Annotated[dict[str, msgspec.Raw], Meta(max_length=MAX_PARAMS)]


class TooLargeValue(HubError):
    """Error: the open values of a frame exceed the limit for decoding."""

    code = ErrorCode.TOO_LARGE


class Codec:
    """Codec of frames. *name*: its WebSocket subprotocol.

    Attributes:
        is_text: its messages are WebSocket text messages; otherwise binary.
        encode: encodes a frame as one message. Raises msgspec's error for a value that cannot be encoded,
            such as a lone surrogate.
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
        self._decoder_of = decoder_of
        self._text_marks = text_marks  # possible first bytes of an encoded text
        self._check = check  # checks a device's data before decoding; raises decoder errors
        self._check_from_hub = check_from_hub
        self._from_device = decoder_of(_with(LargeRequest, LargeHeartbeat)).decode
        self._small_from_device = decoder_of(_with(ReadResult, ReadResults)).decode
        self._raw_params = decoder_of(_RawParams).decode
        self._record = decoder_of(Record).decode
        self._from_hub = decoder_of(FromHub).decode
        self._type = decoder_of(_Typed).decode

    @cached_property
    def _value(self) -> Callable[[Any], Any]:
        """Decoder of open values. Its nested types take 12 ms."""
        return self._decoder_of(Parameter).decode

    def decode_from_device(self, data: bytes) -> FromDevice:
        """Decode a frame of a device.

        Raises:
            RemoteProtocolError: the data is no object with a ``type``, or a field is invalid.
            UnknownType: the type is unknown.
            RemoteProtocolError: only a hub may send the frame.
        """
        try:
            if len(data) > UNCHECKED_BYTES:
                if len(data) > MAX_RESULT_BYTES:
                    return self._from_device(data)  # type: ignore[no-any-return]
                if not _begins_without_values(data):
                    self._check(data)
            return self._small_from_device(data)  # type: ignore[no-any-return]
        except _UNREADABLE as error:
            raise self._explain(error, data, FROM_DEVICE) from None

    def decode_from_hub(self, data: bytes) -> FromHub:
        """Decode a frame of a hub.

        Raises:
            RemoteProtocolError, UnknownType, RemoteProtocolError: as ``decode_from_device``.
        """
        try:
            self._check_from_hub(data)
            return self._from_hub(data)  # type: ignore[no-any-return]
        except _UNREADABLE as error:
            raise self._explain(error, data, FROM_HUB) from None

    def pack(self, value: object) -> msgspec.Raw:
        """Encode an open value for ``ToolResult.result``."""
        return msgspec.Raw(self.encode(value))

    def unpack(self, raw: msgspec.Raw) -> Any:
        """Decode the open value in ``ToolResult.result``.

        Raises:
            RemoteProtocolError: it is not a JSON value of at most MAX_RESULT_DEPTH levels.
        """
        try:
            self._check(bytes(raw))
            return self._value(raw)
        except _UNREADABLE as error:
            raise _bad_frame(f"result: {error}") from None

    def unpack_request(self, request: Request) -> Request:
        """Decode the parameters of a ``LargeRequest``; return other requests unchanged.

        Raises:
            TooLargeValue: more than MAX_PARAMS parameters, or more than MAX_PARAMS_BYTES in those that are no
                texts.
            RemoteProtocolError: a parameter is invalid.
        """
        if type(request) is Request:
            return request
        raw: Any = request.params
        if raw is not UNSET and self.is_text and _names(bytes(raw)) > _MAX_NAMES:
            raise TooLargeValue(f"a request has at most {MAX_PARAMS} parameters, and not so many values")
        try:
            views = (
                {} if raw is UNSET else {n: memoryview(value) for n, value in self._raw_params(raw).items()}
            )
        except _UNREADABLE as error:
            if "of length <=" in str(error):
                raise TooLargeValue(f"a request has at most {MAX_PARAMS} parameters") from None
            raise _bad_frame(f"params: {error}") from None
        values = [view for view in views.values() if view[0] not in self._text_marks]
        _check_size(values, MAX_PARAMS_BYTES, "parameters that are no texts")
        try:
            self._check(b",".join(values))
            params = {name: self._value(view) for name, view in views.items()}
        except _UNREADABLE as error:
            raise _bad_frame(f"params: {error}") from None
        return Request(id=request.id, method=request.method, params=params, trace=request.trace)

    def unpack_heartbeat(self, heartbeat: Heartbeat) -> Heartbeat:
        """Decode the resource usage in a ``LargeHeartbeat``; return other heartbeats unchanged.

        Raises:
            TooLargeValue: the usage of all agents has more than MAX_USAGE_BYTES.
            RemoteProtocolError: a usage is no record.
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
            raise _bad_frame(f"resource_usage: {error}") from None
        return Heartbeat(agents=agents, trace=heartbeat.trace)

    def _explain(self, error: Exception, data: bytes, expected: Sequence[type[Frame]]) -> RemoteProtocolError:
        """Return the error for *data* that is none of the *expected* frames, after decoding failed."""
        try:
            spelled = self._type(data).type
        except _UNREADABLE:
            return _bad_frame(str(error))
        if spelled not in _KNOWN:
            return UnknownType(spelled)
        if all(spelled != type_of(frame) for frame in expected):
            return RemoteProtocolError(ErrorCode.WRONG_STATE, f"{spelled} does not go this way")
        return _bad_frame(str(error))


def _names(params: bytes) -> int:
    """Count texts after a comma in JSON, which include all names but the first."""
    return params.translate(None, b" \t\r\n").count(b',"')


def _check_size(values: Sequence[memoryview], most: int, what: str) -> None:
    size = sum(value.nbytes for value in values)
    if size > most:
        raise TooLargeValue(f"{what}: {size} bytes, the most is {most}")


def _with(*variants: type[Frame]) -> Any:
    """Return the union of a device's frames, with *variants* in place of their base classes."""
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
SUBPROTOCOLS = tuple(CODECS)  # in order of preference


def for_subprotocol(name: str | None) -> Codec:
    """Return the codec of the negotiated subprotocol; ``None`` (no negotiation) is JSON.

    Raises:
        LocalProtocolError: the listener negotiated a subprotocol that is not in SUBPROTOCOLS.
    """
    if name is None:
        return JSON
    try:
        return CODECS[name]
    except KeyError:
        raise LocalProtocolError(f"there is no codec for the subprotocol {name!r}") from None


def _bad_frame(message: str) -> RemoteProtocolError:
    """Return the error about bytes that are no frame; *message* has the path, as in ``$.files[0].path``."""
    return RemoteProtocolError(ErrorCode.BAD_FRAME, message[:_QUOTED_CHARACTERS])
