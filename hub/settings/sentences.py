"""Messages for pydantic's errors that say what to write instead."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class Sentence(NamedTuple):
    """Problem and remedy; *hint* may be empty."""

    message: str
    hint: str = ""


_AS_NUMBER: Final = "a number stands without quotes"
_OF_NAMES: Final = "letters, digits, _ . and -, at most 64 of them; the first no . and no -"


def sentence(kind: str, said: str, value: object, context: Mapping[str, Any]) -> Sentence:
    """Return the message for an error of *kind*.

    Args:
        said: pydantic's message, used for kinds without a message of the project.
        value: the invalid value; examined, but never quoted.
        context: further data of the error, from pydantic or from the project's validators.
    """
    make = _SENTENCES.get(kind)
    told = Sentence(said) if make is None else make(value, context)
    return told._replace(hint=context.get("hint", told.hint))


def _whole(value: object, _: Mapping[str, Any]) -> Sentence:
    if isinstance(value, float):
        return Sentence("a whole number is expected", "write it without a decimal point")
    return Sentence("a whole number is expected", _AS_NUMBER if isinstance(value, str) else "")


def _number(value: object, _: Mapping[str, Any]) -> Sentence:
    return Sentence("a number is expected", _AS_NUMBER if isinstance(value, str) else "")


def _flag(value: object, _: Mapping[str, Any]) -> Sentence:
    hint = "without quotes" if isinstance(value, str) else "as in key = true"
    return Sentence("true or false is expected", hint)


def _text(value: object, _: Mapping[str, Any]) -> Sentence:
    return Sentence("a text is expected", "" if isinstance(value, dict | list) else "a text stands in quotes")


def _bound(word: str, key: str) -> Callable[[object, Mapping[str, Any]], Sentence]:
    return lambda _, context: Sentence(f"{word} {_spelled(context[key])}")


def _spelled(bound: float) -> str:
    return f"{int(bound) if bound == int(bound) else bound:_}"


def _shortest(_: object, context: Mapping[str, Any]) -> Sentence:
    least = context["min_length"]
    return Sentence("may not be empty" if least == 1 else f"at least {least} characters")


def _longest(_: object, context: Mapping[str, Any]) -> Sentence:
    return Sentence(f"longer than {context['max_length']} characters")


def _most(_: object, context: Mapping[str, Any]) -> Sentence:
    return Sentence(f"more than {context['max_length']} are given")


def _choice(_: object, context: Mapping[str, Any]) -> Sentence:
    return Sentence(f"must be {context['expected']}")


def _kind(_: object, context: Mapping[str, Any]) -> Sentence:
    return Sentence(f"must be {context['expected_tags'].replace(', ', ' or ')}")


def _pattern(_: object, context: Mapping[str, Any]) -> Sentence:
    if r"[\w.-]" in context["pattern"]:
        return Sentence("no name that can stand on a command line", _OF_NAMES)
    if "{64}" in context["pattern"]:
        return Sentence("not the whole of a SHA-256", "64 digits and letters from a to f")
    return Sentence("has characters that may not stand there")


def _always(message: str, hint: str = "") -> Callable[[object, Mapping[str, Any]], Sentence]:
    return lambda _, __: Sentence(message, hint)


_SENTENCES: Final[Mapping[str, Callable[[object, Mapping[str, Any]], Sentence]]] = {
    "int_type": _whole,
    "int_parsing": _whole,
    "int_from_float": _whole,
    "datetime_from_date_parsing": _always("a point in time is expected", "as in 2026-01-05T09:00:00Z"),
    "datetime_parsing": _always("a point in time is expected", "as in 2026-01-05T09:00:00Z"),
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": _always("inf and nan are no limits"),
    "bool_type": _flag,
    "bool_parsing": _flag,
    "string_type": _text,
    "path_type": _text,
    "greater_than": _bound("must be more than", "gt"),
    "greater_than_equal": _bound("must be at least", "ge"),
    "less_than": _bound("must be less than", "lt"),
    "less_than_equal": _bound("must be at most", "le"),
    "string_too_short": _shortest,
    "string_too_long": _longest,
    "too_short": _always("may not be empty"),
    "too_long": _most,
    "literal_error": _choice,
    "enum": _choice,
    "union_tag_invalid": _kind,
    "union_tag_not_found": _always("missing"),
    "missing": _always("missing"),
    "extra_forbidden": _always("there is no such field"),
    "json_invalid": _always("is no JSON"),
    "string_pattern_mismatch": _pattern,
    "tuple_type": _always("a list is expected", 'as in ["one", "another"]'),
    "model_type": _always("a table is expected"),
    "model_attributes_type": _always("a table is expected"),
    "dict_type": _always("a table is expected"),
    "dataclass_type": _always("a table is expected"),
}
