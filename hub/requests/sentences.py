"""Error messages about parameters for people, because msgspec's messages name Python types."""

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final

import msgspec

_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`$")
_OTHER_KIND: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`$")
_BEYOND: Final = re.compile(r"Expected `([^`]+)`( of length)? ([<>]=?) (\S+)$")
_NO_CHOICE: Final = re.compile(r"Invalid enum value (.*)$", re.DOTALL)

_KINDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def sentence(error: str, shape: Any) -> str:
    """Rewrite a validation error of msgspec as path, expected type and actual type or value."""
    place = _PLACE.search(error)
    where = "" if place is None else place[1]
    what = _PLACE.sub("", error)
    if missing := _MISSING.match(what):
        return f"{where}.{missing[1]}: expected, and it is missing".lstrip(".")
    begin = f"{where}: " if where else ""
    if other := _OTHER_KIND.match(what):
        return f"{begin}expected {_kinds(other[1])}, not {_kinds(other[2])}"
    if beyond := _BEYOND.match(what):
        kind, is_length, bound, number = beyond.groups()
        long = " long" if is_length else ""
        return f"{begin}expected {_kinds(kind)}, {_BOUNDS[bound]} {number.removesuffix('.0')}{long}"
    if choice := _NO_CHOICE.match(what):
        return f"{begin}expected one of {', '.join(_choices(shape, where))}, not {choice[1]}"
    return begin + what


def _kinds(spelled: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in spelled.split(" | "))


def _choices(shape: Any, where: str) -> list[str]:
    """Return the values of the enum at the path *where* in *shape*."""
    found = [msgspec.inspect.type_info(shape)]
    for name in re.findall(r"[A-Za-z_]\w*", where):
        structs = (one for one in _parts(found) if isinstance(one, msgspec.inspect.StructType))
        found = [field.type for struct in structs for field in struct.fields if field.encode_name == name]
    enums: list[type[Enum]] = [one.cls for one in _parts(found) if isinstance(one, msgspec.inspect.EnumType)]
    return [str(member.value) for one in enums for member in one]


def _parts(types: Iterable[msgspec.inspect.Type]) -> Iterator[msgspec.inspect.Type]:
    """Yield these types, and the members of their unions and lists."""
    for one in types:
        match one:
            case msgspec.inspect.UnionType(types=inner):
                yield from _parts(inner)
            case msgspec.inspect.ListType(item_type=item):
                yield from _parts([item])
            case _:
                yield one
