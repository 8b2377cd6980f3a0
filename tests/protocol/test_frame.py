"""Numbers that are slow to read are counted before they are read, wherever JSON of others comes in."""

from collections.abc import Callable
from itertools import product

import msgspec
import pytest

from protocol.codec import FROM_DEVICE as FROM_DEVICE_FRAMES
from protocol.codec import JSON, MSGPACK, TooLargeValue, type_of
from protocol.errors import RemoteProtocolError
from protocol.frame import (
    MAX_CONTAINERS,
    MAX_EXTREME_NUMBERS,
    MAX_RESULT_BYTES,
    MAX_VALUES,
    Frame,
    check_value,
    read_json,
)

TOO_MANY = MAX_EXTREME_NUMBERS + 1
SPELLINGS = ("1e308", "1E308", "-1e-300", "1.5e+300", "1e0300", "5e-324")


def listed(number: str, count: int = TOO_MANY) -> bytes:
    return f"[{','.join([number] * count)}]".encode()


@pytest.mark.parametrize("number", SPELLINGS)
def test_extreme_numbers_are_read_up_to_the_limit_and_refused_beyond(number: str) -> None:
    assert len(read_json(listed(number, MAX_EXTREME_NUMBERS))) == MAX_EXTREME_NUMBERS
    with pytest.raises(msgspec.DecodeError, match="1001 numbers have an exponent of three digits"):
        read_json(listed(number))


@pytest.mark.parametrize("number", ["1e22", "0.1", "123456", '"1e308"', r'"\"1e308,\\"'])
def test_ordinary_numbers_and_texts_are_not_counted_as_extreme(number: str) -> None:
    assert len(read_json(listed(number, 20_000))) == 20_000


def outside_texts(data: bytes) -> bytes:
    """Return the JSON *data* without its texts, byte by byte as a reader of JSON goes."""
    kept, is_text, is_escaped = bytearray(), False, False
    for octet in data:
        if is_text:
            is_text = is_escaped or octet != ord('"')
            is_escaped = not is_escaped and octet == ord("\\")
        elif octet == ord('"'):
            is_text = True
        else:
            kept.append(octet)
    return bytes(kept)


def test_check_value_finds_the_bounds_of_texts_with_any_escapes() -> None:
    parts = [b'"', b"\\", b"[", b"1e308,"]
    full = b"1e308," * MAX_EXTREME_NUMBERS + b"[]," * MAX_CONTAINERS
    for length in range(1, 6):
        for data in map(b"".join, product(parts, repeat=length)):
            outside = outside_texts(data)
            if b"\\" in outside:
                continue  # no JSON: it ends there
            is_refused = False
            try:
                check_value(full + data)
            except msgspec.DecodeError:
                is_refused = True
            assert is_refused == (b"1e308" in outside or b"[" in outside), data


def test_check_value_counts_texts_up_to_a_name_and_a_text_of_each_value() -> None:
    text = ",".join(f'"{number}":"\\"a"' for number in range(MAX_VALUES))
    check_value(f"{{{text}}}".encode())
    for more in ('"b":"a",', '"b":1,' * MAX_VALUES):
        with pytest.raises(msgspec.DecodeError, match="values"):
            check_value(f"{{{more}{text}}}".encode())


def test_check_value_divides_no_text_of_too_many_values_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.frame._without_texts", None)
    names = ",".join(f'"{number:06}":1' for number in range(180_000))
    with pytest.raises(msgspec.DecodeError, match="texts of more than 65536 values"):
        check_value(f"{{{names}}}".encode())


FROM_DEVICE = (
    '{"type":"tool_result","id":"c","result":%s}',
    '{"type":"request","id":"q","method":"m","params":{"a":%s}}',
    '{"type":"heartbeat","agents":[{"agent_id":"a","resource_usage":%s}]}',
)
FROM_HUB = (
    '{"type":"response","id":"q","result":{"a":%s}}',
    '{"type":"event","event":"e","seq":1,"data":{"a":%s}}',
    '{"type":"agent_run","run_id":"r","context":{"a":%s}}',
    '{"type":"tool_call","id":"c","action":"insert","data":%s}',
)


@pytest.mark.parametrize(
    ("decode", "frame"),
    [
        *((JSON.decode_from_device, frame) for frame in FROM_DEVICE),
        *((JSON.decode_from_hub, frame) for frame in FROM_HUB),
    ],
)
def test_extreme_numbers_in_an_open_value_are_limited(decode: Callable[[bytes], object], frame: str) -> None:
    with pytest.raises(RemoteProtocolError, match="exponent of three digits"):
        decode(frame.encode() % listed("1e308"))


def test_extreme_numbers_in_long_messages_are_limited() -> None:
    padding = b'"' + b"x" * MAX_RESULT_BYTES + b'"'
    request = JSON.decode_from_device(
        b'{"type":"request","id":"q","method":"m","params":{"t":%s,"a":%s}}' % (padding, listed("1e308"))
    )
    with pytest.raises(RemoteProtocolError, match="exponent of three digits"):
        JSON.unpack_request(request)  # type: ignore[arg-type]
    usage = b'{"t":%s,%s}' % (padding, b",".join(b'"%d":1e308' % n for n in range(TOO_MANY)))
    beat = JSON.decode_from_device(
        b'{"type":"heartbeat","agents":[{"agent_id":"a","resource_usage":%s}]}' % usage
    )
    with pytest.raises(RemoteProtocolError, match="exponent of three digits"):
        JSON.unpack_heartbeat(beat)  # type: ignore[arg-type]


def test_a_file_may_be_full_of_extreme_numbers() -> None:
    table = listed("1e308", 9_000).decode()
    for codec in (JSON, MSGPACK):
        data = codec.encode(
            {"type": "agent_data", "run_id": "r", "seq": 1, "files": [{"path": "a.csv", "content": table}]}
        )
        assert len(data) < MAX_RESULT_BYTES
        assert codec.decode_from_device(data).files[0].content == table  # type: ignore[union-attr, index]


def test_messagepack_does_not_limit_extreme_numbers() -> None:
    data = MSGPACK.encode({"type": "tool_result", "id": "c", "result": [1e308] * TOO_MANY})
    assert len(MSGPACK.decode_from_device(data).result) == TOO_MANY  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("frame", FROM_DEVICE[:2])
@pytest.mark.parametrize("value", ["[]", "{}"])
def test_lists_and_objects_of_a_device_are_limited(frame: str, value: str) -> None:
    JSON.decode_from_device(frame.encode() % listed(value, MAX_CONTAINERS - 10))
    JSON.decode_from_device(frame.encode() % listed(f'"{value}"', 2 * MAX_CONTAINERS))
    with pytest.raises(RemoteProtocolError, match="lists and objects"):
        JSON.decode_from_device(frame.encode() % listed(value, MAX_CONTAINERS))


def test_lists_and_objects_of_a_hub_are_not_limited() -> None:
    JSON.decode_from_hub(FROM_HUB[0].encode() % listed("[]", 2 * MAX_CONTAINERS))


@pytest.mark.parametrize("spelled", [',"%d":1', ' , "%d" : 1'])
def test_request_with_too_many_parameter_names_is_refused_before_parsing(spelled: str) -> None:
    names = "".join(spelled % number for number in range(60_000))
    request = JSON.decode_from_device(
        b'{"type":"request","id":"q","method":"m","params":{"":1%s}}' % names.encode()
    )
    with pytest.raises(TooLargeValue, match="not so many values"):
        JSON.unpack_request(request)  # type: ignore[arg-type]


OF_FILES = [frame for frame in FROM_DEVICE_FRAMES if type_of(frame).startswith("agent_")]


@pytest.mark.parametrize("frame", OF_FILES)
def test_extreme_numbers_in_a_files_frame_are_not_counted(frame: type[Frame]) -> None:
    kinds = str(msgspec.inspect.type_info(frame))
    assert len(OF_FILES) == 4 and not any(open_ in kinds for open_ in ("AnyType", "RawType", "DictType"))
    unknown = b'{"type":"%s","run_id":"r","more":%s}' % (type_of(frame).encode(), listed("1e308"))
    assert type(JSON.decode_from_device(unknown)) is frame


@pytest.mark.parametrize("frame", FROM_DEVICE)
def test_frame_with_a_second_type_is_not_read_as_a_files_frame(frame: str) -> None:
    disguised = frame.replace("{", '{"type":"agent_data","run_id":"r",', 1).encode() % listed("1e308")
    with pytest.raises(RemoteProtocolError, match="type"):
        JSON.decode_from_device(disguised)
