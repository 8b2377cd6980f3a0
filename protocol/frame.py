"""Base class of frames, and size limits of all frames and of JSON values in them.

Unknown fields are ignored and a field never changes its type or meaning, so an older peer can read a newer
one. Absent fields have the defaults declared here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

PATH = "/v1/device"

MAX_MESSAGE_BYTES = 1024 * 1024  # a piece in base64 (x 1.34) with reserve; also set in the WebSocket library
MAX_HELLO_BYTES = 16 * 1024  # before authentication: limits parsing for unknown peers
MAX_PIECE_BYTES = 256 * 1024  # text of one piece; keeps decoding under 2 ms of the event loop
MAX_RESULT_BYTES = 64 * 1024  # an answer is an open value, which costs up to 100 ns a byte
MAX_PARAMS = 64  # of a request
MAX_PARAMS_BYTES = 128 * 1024  # of parameters that are no texts: lists and objects, up to 100 ns a byte
MAX_USAGE_BYTES = 256 * 1024  # of all agents in one heartbeat: 256 for each of the maximum number
MAX_EXTREME_NUMBERS = 1_000  # of a message; msgspec takes 17 us to read one of them in JSON, instead of 40 ns
MAX_CONTAINERS = 8_192  # lists and objects of a device's message; the garbage collector visits each of them
# of a JSON text: as many as fit into MAX_PARAMS_BYTES, so a device reaches its limit of bytes before
MAX_VALUES = MAX_PARAMS_BYTES // 2
MAX_RESULT_DEPTH = 8  # of lists and objects in an open value; rows of a query take four
MAX_PENDING_CALLS = 256  # per device; more would only queue on its disk
MAX_BATCH_CALLS = 64  # in one frame: as many answers as fit into MAX_RESULT_BYTES with a reserve
# texts of the calls of one frame: in JSON a character has at most six bytes, so they fit into a message
MAX_BATCH_CHARACTERS = 128 * 1024
MAX_PENDING_REQUESTS = 64  # of a device at the hub
CREDIT_PIECES = 16  # 16 x 256 KiB = at most 4 MiB of a run in flight
HELLO_TIMEOUT_S = 10.0
HEARTBEAT_INTERVAL_MS = 15_000
SILENT_AFTER_HEARTBEATS = 3  # one may be late and one lost
MAX_REASON_BYTES = 123  # RFC 6455, 5.5: a control frame's 125 bytes less the code

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(max_length=128)]
# messages and reasons; longer texts such as prompts have types of their own
Text = Annotated[str, Meta(max_length=4096)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]  # PATH_MAX
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # integers of SQLite and of every client
# finite: MessagePack has NaN
Real = Annotated[float, Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # exact in JavaScript as well
EpochMs = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # UTC epoch milliseconds
Fence = Annotated[int, Meta(ge=0, le=2**53 - 1)]

Scalar = str | Integer | Real | bool | None
Field = str | Integer | Real | bool | list[str] | None  # a field of a record
Record = dict[Annotated[str, Meta(max_length=128)], Field]


def value_of_depth(depth: int) -> Any:
    """Return the type of a JSON value of at most *depth* levels: text keys, 64-bit integers, no NaN."""
    value: Any = Scalar
    for _ in range(depth):
        value = str | Integer | Real | bool | None | list[value] | dict[str, value]
    return value


# The depth of a device's values is limited; a decoder supports no recursive types.
if TYPE_CHECKING:
    Parameter: TypeAlias = Scalar | Sequence["Parameter"] | Mapping[str, "Parameter"]
    Value: TypeAlias = Parameter
else:
    Parameter = value_of_depth(MAX_RESULT_DEPTH)
    Value = Any
Parameters = dict[Annotated[str, Meta(max_length=128)], Parameter]  # of request
Values = dict[Annotated[str, Meta(max_length=128)], Value]  # of response and event, which the hub limits


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Message of the protocol: one WebSocket message, one object with a ``type``."""

    trace: Annotated[str, Meta(max_length=256)] | None = None  # W3C traceparent


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Error in words: *code* is stable (``protocol.errors``), *message* is for people."""

    code: Annotated[str, Meta(max_length=128)]
    message: Text = ""
    retryable: bool = False
    retry_after_ms: Count | None = None
    hint: Text | None = None


# Decoding of foreign JSON. msgspec takes 17 us to read a number with a three-digit exponent, such as
# ``1e308``, instead of 40 ns: 64 KiB of them would take 170 ms.

_MIN_BYTES: Final = 6  # "1e300,"
_VALUE_BYTES: Final = 2  # "1,"
_CONTAINER_BYTES: Final = 2  # "[]"
# around texts: a value has at most a name and a text, and a list or object in an object has a name
_MAX_QUOTES: Final = 4 * MAX_VALUES + 2 * MAX_CONTAINERS
UNCHECKED_BYTES: Final = _MIN_BYTES * MAX_EXTREME_NUMBERS  # too few for as many numbers
_EXPONENT: Final = b"e000"  # in a translation; of signed exponents, those of two digits too
_SAME_DIGITS: Final = bytes.maketrans(b"123456789E-", b"000000000e+")
_SAME_SIGNS: Final = bytes.maketrans(b"123456789E+-{", b"000000000e00[")  # all marks in one translation


def check_numbers(data: bytes) -> None:
    """Check the number of extreme numbers in the JSON text *data*, at about 1 ns a byte.

    Raises:
        msgspec.DecodeError: more than MAX_EXTREME_NUMBERS.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    if data.translate(_SAME_SIGNS).count(_EXPONENT) > MAX_EXTREME_NUMBERS:
        _check_exponents(_without_texts(_without_escapes(data)))  # texts may contain such numbers


def _check_exponents(outside: bytes) -> None:
    """Check the number of extreme numbers in a JSON text without its texts."""
    same = outside.translate(_SAME_DIGITS)
    count = same.count(_EXPONENT) + same.count(b"e+000")
    if count > MAX_EXTREME_NUMBERS:
        message = f"{count} numbers have an exponent of three digits, the most is {MAX_EXTREME_NUMBERS}"
        raise msgspec.DecodeError(message)


def check_value(data: bytes) -> None:
    """Check the numbers of values, containers and extreme numbers in the JSON text *data* of another party.

    Raises:
        msgspec.DecodeError: more than MAX_VALUES, MAX_CONTAINERS lists and objects, or MAX_EXTREME_NUMBERS.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    same = data.translate(_SAME_SIGNS)
    are_few = len(data) <= _CONTAINER_BYTES * MAX_CONTAINERS or same.count(b"[") <= MAX_CONTAINERS
    are_few = are_few and (len(data) <= _VALUE_BYTES * MAX_VALUES or same.count(b",") < MAX_VALUES)
    if are_few and same.count(_EXPONENT) <= MAX_EXTREME_NUMBERS:
        return
    unescaped = _without_escapes(data)
    if unescaped.count(b'"') > _MAX_QUOTES:
        raise msgspec.DecodeError(f"texts of more than {MAX_VALUES} values")
    outside = _without_texts(unescaped)
    _check_exponents(outside)
    if (count := outside.count(b"[") + outside.count(b"{")) > MAX_CONTAINERS:
        raise msgspec.DecodeError(f"{count} lists and objects, the most is {MAX_CONTAINERS}")
    if (count := outside.count(b",") + 1) > MAX_VALUES:
        raise msgspec.DecodeError(f"{count} values, the most is {MAX_VALUES}")


# of bytes of another party that are no JSON or MessagePack; the last for endless brackets
NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_json(data: bytes | str) -> Any:
    """Decode JSON of another party.

    Raises:
        msgspec.DecodeError: invalid JSON, or more than MAX_EXTREME_NUMBERS.
        UnicodeError: invalid UTF-8.
        RecursionError: it is nested too deeply.
    """
    octets = data if isinstance(data, bytes) else data.encode()
    check_numbers(octets)
    return msgspec.json.decode(octets)


def _without_escapes(data: bytes) -> bytes:
    """Return the JSON text *data* without escaped backslashes and quotes, so that each quote bounds a text.

    Escaped backslashes go first, so that each remaining backslash before a quote escapes it.
    """
    return data.replace(rb"\\", b"").replace(rb"\"", b"")


def _without_texts(unescaped: bytes) -> bytes:
    """Return a JSON text without its texts, of which one without an end reaches to the end.

    Each step is one pass of C code, linear in its length. Empty texts go before the split, which else would
    make a list of a million parts.
    """
    return b"".join(unescaped.replace(b'""', b"").split(b'"')[::2])
