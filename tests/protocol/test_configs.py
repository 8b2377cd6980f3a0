"""Typed configs: a value is what its type says, or it is refused with its key and what was expected."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.configs import (
    JSON_LEVELS,
    RESERVED,
    BadConfig,
    ConfigType,
    check_key,
    parse_value,
    text_of,
    type_of,
    value_in,
)
from tests.support.families import each
from tests.support.frames import open_values

STRING, INTEGER, FLOAT, BOOLEAN, JSON = ConfigType
sent = open_values().filter(lambda value: "\\x00" not in repr(value))  # a text of ours has no such character


@pytest.mark.parametrize(
    ("type", "value", "text"),
    [
        (STRING, "five", "five"),
        (STRING, "", ""),
        (INTEGER, 5, "5"),
        (INTEGER, -(2**63), "-9223372036854775808"),
        (FLOAT, 0.5, "0.5"),
        (FLOAT, 3, "3.0"),
        (BOOLEAN, True, "true"),
        (BOOLEAN, False, "false"),
        (JSON, {"b": [1, None], "a": "x"}, '{"a":"x","b":[1,null]}'),
        (JSON, None, "null"),
        (JSON, "a text too", '"a text too"'),
    ],
)
def test_config_value_has_a_single_text_and_is_read_back_from_the_text(
    type: ConfigType, value: Any, text: str
) -> None:
    assert (text_of("limit", type, value), value_in(type, text)) == (text, value)


@each(
    ("type", "value", "told"),
    [
        (INTEGER, "5", "limit: expected integer, not the text '5'"),
        (INTEGER, 5.0, "limit: expected integer, not the float 5.0"),
        (INTEGER, True, "limit: expected integer, not the boolean true"),
        (INTEGER, None, "limit: expected integer, not null"),
        (INTEGER, 2**63, "limit: an integer has 64 bits"),
        (FLOAT, "0.5", "limit: expected float, not the text '0.5'"),
        (FLOAT, float("nan"), "limit: expected a float that is finite"),
        (FLOAT, float("-inf"), "limit: expected a float that is finite"),
        (FLOAT, 2**53 + 1, "limit: the integer 9007199254740993 is no float"),
        (FLOAT, 10**400, "limit: expected a float that is finite"),
        (BOOLEAN, 1, "limit: expected boolean, not the integer 1"),
        (BOOLEAN, "true", "limit: expected boolean, not the text 'true'"),
        (STRING, 5, "limit: expected string, not the integer 5"),
        (STRING, ["a"], "limit: expected string, not a list of 1"),
        (STRING, {"a": 1}, "limit: expected string, not an object of 1"),
        (STRING, "a\0b", "limit: a text has no character U+0000"),
        (STRING, "\ud800", "limit: the text is not Unicode"),
        (STRING, b"x", "limit: expected string, not a bytes"),
        (JSON, {"a": float("inf")}, "limit: expected a float that is finite"),
        (JSON, [2**64], "limit: an integer has 64 bits"),
        (JSON, {1: "a"}, "limit: expected texts as names in an object, not the integer 1"),
        (JSON, ["\0"], "limit: a text has no character U+0000"),
        (JSON, {"a": {1, 2}}, "limit: expected json, not a set"),
        (INTEGER, "x" * 99, f"limit: expected integer, not the text '{'x' * 39}..."),
    ],
)
def test_config_value_of_another_type_is_refused_with_the_key(
    type: ConfigType, value: Any, told: str
) -> None:
    with pytest.raises(BadConfig) as refused:
        text_of("limit", type, value)
    assert str(refused.value).startswith(told)
    assert refused.value.key == "limit"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_json_config_beyond_the_level_limit_is_refused() -> None:
    assert value_in(JSON, text_of("deep", JSON, nested(JSON_LEVELS))) == nested(JSON_LEVELS)
    with pytest.raises(BadConfig, match=f"more than {JSON_LEVELS} levels"):
        text_of("deep", JSON, nested(JSON_LEVELS + 1))
    with pytest.raises(BadConfig, match="levels"):
        text_of("deep", JSON, nested(5_000))


@given(sent)
def test_every_config_value_sendable_by_a_device_is_json_and_reads_back(value: Any) -> None:
    assert value_in(JSON, text_of("any", JSON, value)) == value


@given(sent)
def test_type_of_a_config_value_preserves_the_value(value: Any) -> None:
    assert value_in(type_of(value), text_of("any", type_of(value), value)) == value


@given(st.dictionaries(st.text("abc", max_size=2), st.integers(0, 9), max_size=4))
def test_json_config_text_is_independent_of_key_order(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))
    assert text_of("any", JSON, value) == text_of("any", JSON, turned)


@pytest.mark.parametrize("key", ["a", "_", "max_items", "mail.folder", "a-b", "A9", "k" * 255])
def test_a_key_is_letters_digits_and_three_signs(key: str) -> None:
    assert check_key(key) == key


@each(
    ("key", "told"),
    [
        ("", "begins with a letter"),
        ("9lives", "begins with a letter"),
        (".a", "begins with a letter"),
        ("a b", "begins with a letter"),
        ("a\n", "begins with a letter"),
        ("größe", "begins with a letter"),
        ("a/b", "begins with a letter"),
        ("k" * 256, "at most 255 characters, not 256"),
        *((key, "a setting of the agent itself") for key in RESERVED),
    ],
)
def test_invalid_config_key_is_refused_with_the_fault(key: str, told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        check_key(key)


@pytest.mark.parametrize(
    ("type", "said", "value"),
    [
        (STRING, " as it is ", " as it is "),
        (INTEGER, "-7", -7),
        (FLOAT, "1e3", 1000.0),
        (BOOLEAN, "TRUE", True),
        (JSON, '{"a": [1, 2]}', {"a": [1, 2]}),
    ],
)
def test_a_value_is_parsed_from_text(type: ConfigType, said: str, value: Any) -> None:
    assert parse_value("limit", type, said) == value


@pytest.mark.parametrize(
    ("type", "said"),
    [
        (INTEGER, "5.0"),
        (INTEGER, "five"),
        (INTEGER, "9" * 30),
        (INTEGER, "9" * 5_000),
        (FLOAT, "nan"),
        (FLOAT, ""),
        (BOOLEAN, "yes"),
        (JSON, "{"),
        (JSON, "[" * 5_000),
    ],
)
def test_text_without_a_value_of_the_type_is_refused(type: ConfigType, said: str) -> None:
    with pytest.raises(BadConfig, match=r"^limit: "):
        parse_value("limit", type, said)
