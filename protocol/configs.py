"""Configs of an agent: allowed keys, value types, and stored text.

A value is validated against its type when it is written, never when it is read. The text is canonical: equal
values have equal texts.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from protocol.errors import ErrorCode, HubError
from protocol.frame import read_json

# Stored by the hub next to the configs, and set where an agent is edited.
RESERVED: Final = ("paths", "file_extensions", "timezone", "model_use", "mailbox")
KEY_CHARACTERS: Final = 255
JSON_LEVELS: Final = 32  # of lists and objects in one value
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LEAST, _MOST = -(2**63), 2**63 - 1  # range of integers in SQLite and PostgreSQL
_QUOTED_CHARACTERS: Final = 40  # of a value in an error message


class ConfigType(StrEnum):
    """Type of a config's value."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    JSON = "json"


class BadConfig(HubError):
    """Error: a config is invalid; nothing was written. *key*: the config's key."""

    code = ErrorCode.BAD_CONFIG

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


def check_key(key: str) -> str:
    """Validate a config's key and return it.

    Raises:
        BadConfig: the key is invalid or reserved.
    """
    if key in RESERVED:
        problem = "this is a setting of the agent itself: hub agents edit, or PATCH /v1/agents/NAME"
        raise BadConfig(key, problem)
    if len(key) > KEY_CHARACTERS:
        problem = f"a key has at most {KEY_CHARACTERS} characters, not {len(key)}"
        raise BadConfig(f"{key[:_QUOTED_CHARACTERS]}...", problem)
    if not _KEY.fullmatch(key):
        problem = "a key begins with a letter or _, and goes on with letters, digits, _, . or -"
        raise BadConfig(repr(key), problem)
    return key


def type_of(value: Any) -> ConfigType:
    """Return the default type of a value."""
    match value:
        case bool():
            return ConfigType.BOOLEAN
        case int():
            return ConfigType.INTEGER
        case float():
            return ConfigType.FLOAT
        case str():
            return ConfigType.STRING
    return ConfigType.JSON


def text_of(key: str, type: ConfigType, value: Any) -> str:
    """Return the stored text of *value*.

    Raises:
        BadConfig: the value is not of that type; the message names the key, the value and the expected type.
    """
    match type, value:
        case ConfigType.STRING, str():
            return _check_text(key, value)
        case ConfigType.BOOLEAN, bool():
            return "true" if value else "false"
        case ConfigType.INTEGER, int() if not isinstance(value, bool):
            return str(_check_integer(key, value))
        case ConfigType.FLOAT, int() | float() if not isinstance(value, bool):
            return _spell_float(key, value)
        case ConfigType.JSON, _:
            _check_json(key, value, JSON_LEVELS)
            return msgspec.json.encode(value, order="sorted").decode()
    raise BadConfig(key, f"expected {type}, not {_described(value)}")


def value_in(type: ConfigType, text: str) -> Any:
    """Return the value of a stored text."""
    match type:
        case ConfigType.STRING:
            return text
        case ConfigType.INTEGER:
            return int(text)
        case ConfigType.FLOAT:
            return float(text)
        case ConfigType.BOOLEAN:
            return text == "true"
        case ConfigType.JSON:
            return msgspec.json.decode(text)


def parse_value(key: str, type: ConfigType, text: str) -> Any:
    """Parse a value from the text of a person or of another program.

    Raises:
        BadConfig: the text is no value of that type.
    """
    try:
        value = _READERS[type](text)
    except (ValueError, KeyError, RecursionError):  # includes msgspec's errors
        raise BadConfig(key, f"expected {type}, not {_described(text)}") from None
    text_of(key, type, value)
    return value


_READERS: Final[Mapping[ConfigType, Callable[[str], Any]]] = {
    ConfigType.STRING: str,
    ConfigType.INTEGER: int,
    ConfigType.FLOAT: float,
    ConfigType.BOOLEAN: lambda text: {"true": True, "false": False}[text.strip().lower()],
    ConfigType.JSON: read_json,
}


def _check_text(key: str, value: str) -> str:
    if "\0" in value:
        raise BadConfig(key, "a text has no character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadConfig(key, "the text is not Unicode: it has half of a surrogate pair") from None
    return value


def _check_integer(key: str, value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise BadConfig(key, f"an integer has 64 bits, {_LEAST} to {_MOST}; this one has more")
    return value


def _spell_float(key: str, value: float) -> str:
    try:
        spelled = float(value)
    except OverflowError:
        spelled = float("inf")
    if spelled in (float("inf"), float("-inf")) or spelled != spelled:
        raise BadConfig(key, "expected a float that is finite")
    if spelled != value:
        raise BadConfig(key, f"the integer {value} is no float: it has more than 53 bits")
    return msgspec.json.encode(spelled).decode()


def _check_json(key: str, value: Any, levels: int) -> None:
    """Check that JSON can encode *value* within *levels* of nesting; raise BadConfig otherwise."""
    match value:
        case None | bool():
            return
        case str():
            _check_text(key, value)
        case int():
            _check_integer(key, value)
        case float():
            _spell_float(key, value)
        case list() | tuple() | dict() if levels == 0:
            raise BadConfig(key, f"the value has more than {JSON_LEVELS} levels of lists and objects")
        case list() | tuple():
            for part in value:
                _check_json(key, part, levels - 1)
        case dict():
            for name, part in value.items():
                if not isinstance(name, str):
                    raise BadConfig(key, f"expected texts as names in an object, not {_described(name)}")
                _check_text(key, name)
                _check_json(key, part, levels - 1)
        case _:
            raise BadConfig(key, f"expected json, not {_described(value)}")


def _described(value: Any) -> str:
    """Return a description of *value* for people: its type and a shortened text."""
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int():
            kind, spelled = "integer", str(value)
        case float():
            kind, spelled = "float", repr(value)
        case str():
            kind, spelled = "text", repr(value)
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return f"a {value.__class__.__name__}"
    cut = spelled if len(spelled) <= _QUOTED_CHARACTERS else f"{spelled[:_QUOTED_CHARACTERS]}..."
    return f"the {kind} {cut}"
