"""Error messages for request values of a wrong type: position, expected type and actual value.

Validation errors of msgspec and of tables of hub.toml: where, what is expected, what came.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import inspect as shapes
from pydantic import ValidationError

from hub.base.toml import sentences
from protocol.similar_names import did_you_mean

_PLACE: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_OTHER_KIND: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`$")
_BEYOND: Final = re.compile(r"Expected `([^`]+)`( of length)? ([<>]=?) (\S+)$")
_NO_CHOICE: Final = re.compile(r"Invalid enum value (.*)$", re.DOTALL)
_NO_MATCH: Final = re.compile(r"Expected `str` matching regex (.*)$")

_KINDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "datetime": "a point in time",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_END: Final = r"$(?!\n)"  # in a pattern: Python's ``$`` alone would allow a line feed after it
_INSTANT: Final = "expected a point in time with its offset from UTC, as in 2026-01-05T09:00:00Z"
_REMOTE_ID: Final = (
    "not the id of an agent at a gateway; expected small letters, digits, - and _, at most 64 of them"
)
_NAME: Final = "expected a name: letters, digits, _ . and -, at most 64 of them; the first no . and no -"

MAX_REFUSALS: Final = 50  # of one request: each costs up to a millisecond
MAX_PARTS: Final = 4_096  # values of a table: pydantic takes up to ten microseconds for each that is invalid
MAX_KEYS: Final = 1_000  # of a mapping, in which refusals are looked for
_MAX_OF_KEY: Final = 128  # characters of a key in a refusal
Refusal = tuple[str, str]  # what is wrong at which place, and a hint that may be empty


def sentence(problem: str, shape: Any, value: Any = None, where: str = "") -> str:
    """Rewrite a validation error of msgspec as path, expected type and actual type or value.

    Args:
        value: that was to be of this *shape*; its invalid part is quoted if it is a number.
        where: the place of *value*.
    """
    place = _PLACE.search(problem)
    inner = "" if place is None else place[1]
    what = _PLACE.sub("", problem)
    path = f"{where}.{inner}" if where and inner and not inner.startswith("[") else where + inner
    if missing := _MISSING.match(what):
        return f"{path}.{missing[1]}: expected, and it is missing".lstrip(".")
    if unknown := _UNKNOWN.match(what):
        return f"{path}.{unknown[1]}: there is no such field".lstrip(".")
    begin = f"{path}: " if path else ""
    if other := _OTHER_KIND.match(what):
        return f"{begin}expected {_kinds(other[1])}, not {_kinds(other[2])}"
    if beyond := _BEYOND.match(what):
        kind, is_length, bound, number = beyond.groups()
        long = " long" if is_length else ""
        actual = _actual(value, inner, is_length is not None)
        return f"{begin}expected {_kinds(kind)}, {_BOUNDS[bound]} {number.removesuffix('.0')}{long}{actual}"
    if choice := _NO_CHOICE.match(what):
        return f"{begin}expected one of {', '.join(_choices(shape, inner))}, not {choice[1]}"
    if pattern := _NO_MATCH.match(what):
        expected = pattern[1].replace("\\\\", "\\").replace(_END, "$")
        if "[a-z0-9_-]" in expected:
            return begin + _REMOTE_ID
        return begin + (_NAME if r"[\w.-]" in expected else f"expected text that matches {expected}")
    if "datetime" in what:
        return begin + _INSTANT
    return begin + what


def refusals(given: Any, kind: Any, where: str) -> list[Refusal]:
    """Return what keeps *given* from being of this *kind*, key by key; at most MAX_REFUSALS."""
    return list(islice(_refusals(given, kind, where), MAX_REFUSALS))


def _refusals(given: Any, kind: Any, where: str) -> Iterator[Refusal]:
    try:
        msgspec.convert(given, kind)
        return
    except msgspec.ValidationError as error:
        problem = str(error)
    is_found = False
    for member in _kinds_in(kind) if isinstance(given, dict) else ():
        wrong: Iterator[Refusal] = iter(())
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            wrong = _refused_keys(given, member, where)
        elif get_origin(member) in (dict, Mapping):
            few = islice(given.items(), MAX_KEYS)
            wrong = (
                found for key, value in few for found in _refusals(value, get_args(member)[1], at(where, key))
            )
        for refusal in wrong:
            is_found = True
            yield refusal
    if not is_found:
        yield sentence(problem, kind, given, where), ""


def _kinds_in(kind: Any) -> Iterator[Any]:
    """Yield the members of a union, without limits."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _kinds_in(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            yield from _kinds_in(member)
    else:
        yield kind


def _refused_keys(given: Mapping[str, Any], struct: type[msgspec.Struct], where: str) -> Iterator[Refusal]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, field in fields.items():
        if field.required and key not in given:
            yield f"{at(where, key)}: missing", ""
    for key, value in given.items():
        if key in fields:
            yield from _refusals(value, fields[key].type, at(where, key))
        else:
            refused: Mapping[str, Refusal] = getattr(struct, "refused_keys", {})
            message, hint = refused.get(
                key, ("there is no such field", did_you_mean(key, fields) or f"known are {', '.join(fields)}")
            )
            yield f"{at(where, key)}: {message}", hint


def at(where: str, key: object) -> str:
    spelled = str(key)
    if len(spelled) > _MAX_OF_KEY:
        spelled = f"{spelled[:_MAX_OF_KEY]}..."
    return f"{where}.{spelled}" if where else spelled


def refused_parts(table: object, where: str) -> list[Refusal]:
    """Return a refusal if a table of hub.toml has more than MAX_PARTS values in its lists and tables."""
    waiting, count = [table], 0
    while waiting and count <= MAX_PARTS:
        one = waiting.pop()
        parts = one.values() if isinstance(one, Mapping) else one if isinstance(one, list | tuple) else ()
        count += len(parts)
        waiting.extend(parts)
    return [(f"{where}: at most {MAX_PARTS} values are expected, in all lists and objects", "")] * (
        count > MAX_PARTS
    )


def table_refusals(error: ValidationError, where: str = "") -> list[Refusal]:
    """Return every key of a table of hub.toml that pydantic refuses."""
    listed = error.errors(include_url=False)[:MAX_REFUSALS]
    wrong: list[Refusal] = []
    for found in listed:
        place = found["loc"]
        if found["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in listed
        ):
            continue  # a list is too short because its elements are invalid, which are reported themselves
        context = found.get("ctx", {})
        path = (*place, *str(context["key"]).split(".")) if "key" in context else place
        what = sentences.sentence(found["type"], found["msg"], found["input"], context)
        spelled = ".".join(
            map(str, (where, *path) if where else path)
        )  # in JSON, places of lists are numbers
        wrong.append((f"{spelled}: {what.message}", what.hint))
    return wrong


def by_field(wrong: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the first message about each field, for a page that shows it there, as a member of a problem."""
    fields: dict[str, str] = {}
    for message in wrong:
        field, _, rest = message.partition(": ")
        if rest:
            fields.setdefault(field, rest)
    return {"fields": fields} if fields else {}


def no_json(where: str, error: Exception) -> Refusal:
    """Return the refusal of a body that cannot be decoded."""
    if isinstance(error, RecursionError):
        return f"{where}: objects and lists are nested too deep", "send it flatter"
    return f"{where}: is no JSON: {error}", ""


def _actual(value: Any, path: str, is_length: bool) -> str:
    """Return the number, or the length of the value at *path*, if it can be found by the path."""
    for part in re.findall(r"\w+", path):
        match value:
            case dict():
                value = value.get(part)
            case list() if part.isdecimal():
                value = value[int(part)]
            case _:
                return ""
    if is_length:
        return f", not {len(value)}" if hasattr(value, "__len__") else ""
    return f", not {value}" if isinstance(value, int | float | str) else ""


def _kinds(spelled: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in spelled.split(" | "))


def _choices(shape: Any, where: str) -> list[str]:
    """Return the values of the enum or the literal at the path *where* in *shape*."""
    found = list(parts_of(shape))
    for name in re.findall(r"[A-Za-z_]\w*", where):
        fields = (
            field for member in found if isinstance(member, shapes.StructType) for field in member.fields
        )
        found = [part for field in fields if field.encode_name == name for part in parts_of(field.type)]
    choices: list[object] = []
    for part in found:
        match part:
            case shapes.EnumType(cls=kind):
                choices += [member.value for member in kind]
            case shapes.LiteralType(values=values):
                choices += values
    return [str(choice) for choice in choices]


def parts_of(shape: Any) -> Iterator[shapes.Type]:
    """Yield the parts of a type without their limits: members of its unions, its lists, and their items."""
    waiting = [shape if isinstance(shape, shapes.Type) else shapes.type_info(shape)]
    while waiting:
        match waiting.pop(0):
            case shapes.UnionType(types=types):
                waiting = [*types, *waiting]
            case shapes.Metadata(type=inner):
                waiting = [inner, *waiting]
            case shapes.ListType(item_type=item) | shapes.VarTupleType(item_type=item) as part:
                yield part
                waiting = [item, *waiting]
            case part:
                yield part
