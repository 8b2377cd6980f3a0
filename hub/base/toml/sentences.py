"""Error messages for setting values that pydantic refuses, without quoting the value."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class ProblemSentence(NamedTuple):
    """Problem and remedy; *hint* may be empty."""

    message: str
    hint: str = ""


AS_NUMBER: Final = "write a number without quotes"


_OF_NAMES: Final = "letters, digits, _ . and -, at most 64 of them; the first no . and no -"


def sentence(kind: str, message: str, value: object, context: Mapping[str, Any]) -> ProblemSentence:
    """Return the message for an error of *kind*.

    Args:
        message: pydantic's message, used for kinds without a message of the project.
        value: the invalid value; examined, but never quoted.
        context: further data of the error, from pydantic or from the project's validators.
    """
    make = _SENTENCES.get(kind)
    made = ProblemSentence(message) if make is None else make(value, context)
    return made._replace(hint=context.get("hint", made.hint))


def _whole(value: object, _: Mapping[str, Any]) -> ProblemSentence:
    if isinstance(value, float):
        return ProblemSentence("a whole number is expected", "write it without a decimal point")
    return ProblemSentence("a whole number is expected", AS_NUMBER if isinstance(value, str) else "")


def _number(value: object, _: Mapping[str, Any]) -> ProblemSentence:
    return ProblemSentence("a number is expected", AS_NUMBER if isinstance(value, str) else "")


def _flag(value: object, _: Mapping[str, Any]) -> ProblemSentence:
    hint = "without quotes" if isinstance(value, str) else "as in key = true"
    return ProblemSentence("true or false is expected", hint)


def _text(value: object, _: Mapping[str, Any]) -> ProblemSentence:
    return ProblemSentence(
        "a text is expected", "" if isinstance(value, dict | list) else "write a text in quotes"
    )


def _bound(word: str, key: str) -> Callable[[object, Mapping[str, Any]], ProblemSentence]:
    return lambda _, context: ProblemSentence(f"{word} {_spelled(context[key])}")


def _spelled(bound: float) -> str:
    return f"{int(bound) if bound == int(bound) else bound:_}"


def _pattern(_: object, context: Mapping[str, Any]) -> ProblemSentence:
    if r"[\w.-]" in context["pattern"]:
        return ProblemSentence("not a valid name", _OF_NAMES)
    if "{64}" in context["pattern"]:
        return ProblemSentence("not the whole of a SHA-256", "64 digits and letters from a to f")
    return ProblemSentence("has characters that are not allowed here")


def _always(message: str, hint: str = "") -> Callable[[object, Mapping[str, Any]], ProblemSentence]:
    """Return a function that fills the error's context into *message*."""
    return lambda _, context: ProblemSentence(message.format(**context), hint)


_SENTENCES: Final[Mapping[str, Callable[[object, Mapping[str, Any]], ProblemSentence]]] = {
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
    "string_too_short": lambda _, context: ProblemSentence(
        "may not be empty" if context["min_length"] == 1 else f"at least {context['min_length']} characters"
    ),
    "string_too_long": _always("longer than {max_length} characters"),
    "too_short": _always("may not be empty"),
    "too_long": _always("more than {max_length} are given"),
    "literal_error": _always("must be {expected}"),
    "enum": _always("must be {expected}"),
    "union_tag_invalid": lambda _, context: ProblemSentence(
        f"must be {context['expected_tags'].replace(', ', ' or ')}"
    ),
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
