"""Numbers that are slow to read are counted before they are read, wherever JSON of others comes in."""

import msgspec
import pytest

from protocol.frame import MAX_EXTREME_NUMBERS
from protocol.json_numbers import read_json

TOO_MANY = MAX_EXTREME_NUMBERS + 1
SPELLINGS = ("1e308", "1E308", "-1e-300", "1.5e+300", "1e0300", "5e-324")


def listed(number: str, count: int = TOO_MANY) -> bytes:
    return f"[{','.join([number] * count)}]".encode()


@pytest.mark.parametrize("number", SPELLINGS)
def test_as_many_as_may_be_are_read_and_one_more_is_refused(number: str) -> None:
    assert len(read_json(listed(number, MAX_EXTREME_NUMBERS))) == MAX_EXTREME_NUMBERS
    with pytest.raises(msgspec.DecodeError, match="1001 numbers have an exponent of three digits"):
        read_json(listed(number))


@pytest.mark.parametrize("number", ["1e22", "0.1", "123456", '"1e308"', r'"\"1e308,\\"'])
def test_other_numbers_and_texts_are_not_counted(number: str) -> None:
    assert len(read_json(listed(number, 20_000))) == 20_000
