"""JSON of others, with bounds on what is slow to read.

A number with an exponent of three digits, such as ``1e308``, takes msgspec 17 us to read, any other
number 40 ns: 64 KiB of them would take 170 ms.
"""

import re
from typing import Any, Final

import msgspec

from protocol.frame import MAX_CONTAINERS, MAX_EXTREME_NUMBERS

_LEAST_BYTES: Final = 6  # "1e300,"
_SAME_DIGITS: Final = bytes.maketrans(b"123456789E-", b"000000000e+")
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def check_numbers(data: bytes) -> None:
    """Count the extreme numbers in the JSON text *data*, at about 4 ns a byte.

    Raises:
        msgspec.DecodeError: there are more than MAX_EXTREME_NUMBERS.
    """
    if len(data) <= _LEAST_BYTES * MAX_EXTREME_NUMBERS:
        return
    if _exponents(data) <= MAX_EXTREME_NUMBERS:
        return
    count = _exponents(_TEXT.sub(b"", data))  # a text may say what it wants
    if count > MAX_EXTREME_NUMBERS:
        told = f"{count} numbers have an exponent of three digits, the most is {MAX_EXTREME_NUMBERS}"
        raise msgspec.DecodeError(told)


def check_value(data: bytes) -> None:
    """Count the lists and objects, and the extreme numbers, in the JSON text *data* of a device.

    Raises:
        msgspec.DecodeError: there are more than MAX_CONTAINERS, or MAX_EXTREME_NUMBERS.
    """
    check_numbers(data)
    if _containers(data) > MAX_CONTAINERS and (count := _containers(_TEXT.sub(b"", data))) > MAX_CONTAINERS:
        raise msgspec.DecodeError(f"{count} lists and objects, the most is {MAX_CONTAINERS}")


def read_json(data: bytes | str) -> Any:
    """Decode JSON that another party wrote.

    Raises:
        msgspec.DecodeError: it is none, or has more than MAX_EXTREME_NUMBERS.
        UnicodeError: it is no UTF-8.
        RecursionError: it is nested too deeply.
    """
    octets = data if isinstance(data, bytes) else data.encode()
    check_numbers(octets)
    return msgspec.json.decode(octets)


def _containers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _exponents(data: bytes) -> int:
    same = data.translate(_SAME_DIGITS)
    return same.count(b"e000") + same.count(b"e+000")
