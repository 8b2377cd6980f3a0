"""Any frame: hypothesis strategies made from the structs themselves, so that a new field is tried at once."""

from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from protocol.codec import Codec
from protocol.frame import Frame

_TEXT = st.characters(codec="utf-8")
_LONGEST = 12  # of a list or a text: the laws do not need long ones


def frames(of: tuple[type[Frame], ...], codec: Codec) -> st.SearchStrategy[Frame]:
    """Frames of these types; open values are spelled in *codec*."""
    return st.one_of([_frame(frame, codec) for frame in of])


@cache
def _frame(frame: type[Frame], codec: Codec) -> st.SearchStrategy[Frame]:
    strategy: st.SearchStrategy[Frame] = _values(inspect.type_info(frame), codec)
    return strategy


def open_values() -> st.SearchStrategy[Any]:
    """What a device may put into the result of a call."""
    scalar = st.none() | st.booleans() | _integers(None, None) | _reals() | st.text(_TEXT, max_size=_LONGEST)
    return st.recursive(
        scalar,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(_TEXT, max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    )


def _values(kind: inspect.Type, codec: Codec) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata():
            return _values(kind.type, codec)
        case inspect.UnionType():
            return st.one_of([_values(one, codec) for one in kind.types])
        case inspect.AnyType():
            return open_values()
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return _integers(kind.ge, kind.le)
        case inspect.FloatType():
            return _reals()
        case inspect.StrType():
            if kind.pattern:
                return st.from_regex(kind.pattern.rstrip("$") + r"\Z")
            longest = min(kind.max_length or _LONGEST, _LONGEST)
            return st.text(_TEXT, min_size=kind.min_length or 0, max_size=longest)
        case inspect.EnumType():
            return st.sampled_from(list(kind.cls))
        case inspect.ListType():
            return st.lists(_values(kind.item_type, codec), min_size=kind.min_length or 0, max_size=2)
        case inspect.VarTupleType():
            return st.lists(_values(kind.item_type, codec), max_size=2).map(tuple)
        case inspect.DictType():
            return st.dictionaries(_values(kind.key_type, codec), _values(kind.value_type, codec), max_size=3)
        case inspect.RawType():
            return open_values().map(codec.pack)
        case inspect.StructType():
            return _structs(kind, codec)
    raise AssertionError(f"no strategy for {kind}: add one when a frame needs it")


def _structs(kind: inspect.StructType, codec: Codec) -> st.SearchStrategy[Any]:
    required = {field.name: _values(field.type, codec) for field in kind.fields if field.required}
    optional = {field.name: _values(field.type, codec) for field in kind.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind.cls(**fields))


def _integers(least: int | float | None, most: int | float | None) -> st.SearchStrategy[int]:
    return st.integers(
        int(least) if least is not None else -(2**63), int(most) if most is not None else 2**63 - 1
    )


def _reals() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)
