"""Every key and value of a TOML text is found where it is, and its problems are sentences."""

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.base.toml.listeners import TlsSettings
from hub.base.toml.positions import KeyPath, Located, Position
from hub.base.toml.schema import leaves
from hub.base.toml.values import SecretRef
from hub.settings.agent_settings import AgentSettings, ScheduleTable
from hub.settings.reading import check_text
from hub.settings.settings import LocalModelSettings, OpenAIModelSettings, Settings
from tests.support.families import each

BARE = st.text("abcz09_-", min_size=1, max_size=4)
PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6)


def _basic(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _long_basic(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '\n "" x"""'


STRINGS = st.one_of(
    PLAIN.map(_basic),
    PLAIN.map(lambda text: "'" + text.replace("'", "") + "'"),
    PLAIN.map(_long_basic),
    PLAIN.map(lambda text: "'''" + text.replace("'", "") + "\n[x] # '' \"'''"),
    st.sampled_from(['""', "''", '"""a"""""', "''''b'''", '"""\\\n  c"""', '"]},#= \\u00e9"']),
)
SCALARS = st.one_of(
    STRINGS,
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.sampled_from(
        ["true", "1.5e3", "0xFF", "inf", "1979-05-27 07:32:00Z", "1979-05-27T07:32:00", "07:32:00", "1_000"]
    ),
)
GAPS = st.sampled_from(["", " ", "\n", " # a ] } , = \" ' comment\n", "\n\n\t"])


@st.composite
def _keys(draw: st.DrawFn, name: str) -> str:
    """*name*, spelled one of the ways there are."""
    return draw(st.sampled_from([name, _basic(name), f"'{name}'"]))


@st.composite
def _arrays(draw: st.DrawFn, elements: st.SearchStrategy[str]) -> str:
    inside = [draw(GAPS) + element + draw(GAPS) for element in draw(st.lists(elements, max_size=3))]
    comma = draw(st.sampled_from(["", ","])) if inside else ""
    return "[" + ",".join(inside) + comma + draw(GAPS) + "]"


@st.composite
def _inline_tables(draw: st.DrawFn, elements: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(BARE, max_size=3, unique=True))
    pairs = []
    for name in names:
        inner = draw(st.booleans())
        key = draw(_keys(name)) + (" . " + draw(_keys("in")) if inner else "")
        pairs.append(f" {key} ={draw(elements)} ")
    return "{" + ",".join(pairs) + "}"


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(_arrays(inner), _inline_tables(inner)), max_leaves=6)


@st.composite
def _documents(draw: st.DrawFn) -> str:
    """A TOML text with tables, arrays of tables, dotted keys and every kind of value."""
    lines: list[str] = []

    def pairs() -> None:
        for number, name in enumerate(draw(st.lists(BARE, max_size=3, unique=True))):
            dotted = draw(st.booleans())
            key = draw(_keys(name)) + (f".{draw(_keys('sub'))}" if dotted else "")
            blank = draw(st.sampled_from(["", " ", "\t"]))
            lines.append(f"{blank}{key}{blank}= {draw(VALUES)} # {number}")

    pairs()
    for number in range(draw(st.integers(0, 3))):
        table = f"t{number}"
        match draw(st.sampled_from(["table", "nested", "array", "inside"])):
            case "table":
                lines.append(f"[{draw(_keys(table))}]")
                pairs()
            case "nested":
                lines.append(f"[ {table} . {draw(_keys('deep'))} ]  # one inside")
                pairs()
                lines.append(f"[{table}]")
                lines.append("own = 1")
            case "array":
                for _ in range(draw(st.integers(1, 3))):
                    lines.append(f"[[{draw(_keys(table))}]]")
                    pairs()
            case "inside":
                for _ in range(2):
                    lines.append(f"  [[ {table} ]]")
                    lines.append(f"[{table}.{draw(_keys('inner'))}]")
                    pairs()
                    lines.append(f"[[{table}.list]]")
                    lines.append(f"x = {draw(VALUES)}")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines).replace("\r\r", "\r")


def _leaves(value: Any, path: KeyPath = ()) -> list[tuple[KeyPath, Any]]:
    """Every value that has no values inside, with its path."""
    match value:
        case dict() if value:
            return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
        case list() if value:
            return [leaf for number, inner in enumerate(value) for leaf in _leaves(inner, (*path, number))]
        case _:
            return [(path, value)] if path else []


def _is_same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # nan and 1 == 1.0 are told apart


@given(_documents())
def test_every_key_and_value_of_a_toml_file_is_located(text: str) -> None:
    _all_are_found(text)


def _all_are_found(text: str) -> None:
    located = Located(text)
    plain = text.replace("\r\n", "\n")
    for path, value in _leaves(tomllib.loads(text)):
        start, end = located.values[path]
        if value != {} or plain[start] != "[":  # of an empty table it is the header
            assert _is_same(tomllib.loads(f"x = {plain[start:end]}")["x"], value), (path, plain[start:end])
        for length in range(1, len(path) + 1):
            if isinstance(path[length - 1], str):
                start, end = located.keys[path[:length]]
                assert list(tomllib.loads(f"{plain[start:end]} = 1")) == [path[length - 1]]


# --- documents of writers that are not ours ---

KEYS = st.text(
    st.one_of(st.sampled_from("abcz09_- .#=[]\"'\\"), st.characters(exclude_categories=("Cs", "Cc"))),
    max_size=5,
)
TEXTS = st.text(
    st.one_of(st.sampled_from("ab\n\"'\\\t#]},"), st.characters(exclude_categories=["Cs"])), max_size=12
)
PLAIN_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXTS,
    st.datetimes(timezones=st.sampled_from([None, UTC])).map(lambda at: at.replace(microsecond=0)),
    st.dates(),
    st.times().map(lambda at: at.replace(microsecond=0)),
)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        PLAIN_VALUES,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=8,
    ),
    max_size=4,
)


def _by_tomlkit(doc: dict[str, Any], inline: bool) -> str:
    return tomlkit.dumps(doc) if not inline else tomlkit.dumps({"all": _inline(doc)})


def _inline(value: Any) -> Any:
    match value:
        case dict():
            table = tomlkit.inline_table()
            table.update({key: _inline(inner) for key, inner in value.items()})
            return table
        case list():
            array = tomlkit.array()
            array.extend([_inline(inner) for inner in value])
            return array.multiline(len(value) > 1)
        case _:
            return value


def _by_tomli_w(doc: dict[str, Any], multiline: bool) -> str:
    return tomli_w.dumps(doc, multiline_strings=multiline)


@pytest.mark.parametrize("write", [_by_tomlkit, _by_tomli_w])
@given(doc=DOCUMENTS, style=st.booleans())
@settings(max_examples=60)
def test_keys_and_values_written_by_other_toml_writers_are_located(
    write: Callable[[dict[str, Any], bool], str], doc: dict[str, Any], style: bool
) -> None:
    _all_are_found(write(doc, style))


TEXT = """\
# ü before
title = "ü"
[listen.devices] # here
address = "x"
[[agents]]
paths = [ "a",
    "b" ]
  [agents.more]
  k = { "ü" = 1 }
[[agents]]
"q k".d = 1
"""


@each(
    ("path", "key", "value"),
    [
        (("title",), (2, 1), (2, 9)),
        (("listen", "devices"), (3, 9), (3, 1)),
        (("listen", "devices", "address"), (4, 1), (4, 11)),
        (("agents", 0, "paths", 1), (7, 5), (7, 5)),
        (("agents", 0, "more", "k", "ü"), (9, 9), (9, 15)),
        (("agents", 1), (10, 1), (10, 1)),
        (("agents", 1, "q k", "d"), (11, 7), (11, 11)),
        (("agents", 1, "name"), (10, 1), (10, 1)),
        (("nothing", "like", "it"), (1, 1), (1, 1)),
    ],
)
def test_positions_count_lines_and_code_points_from_1(
    path: KeyPath, key: tuple[int, int], value: tuple[int, int]
) -> None:
    located = Located(TEXT)
    assert (located.key(path), located.value(path)) == (Position(*key), Position(*value))


# How pydantic speaks, which knows Python and not hub.toml.
RAW = re.compile(
    r"\b([Ii]nput should|[Ss]tring should|[Vv]alue (error|should)|[Tt]uple|dict|Model\b|JSON|Python)"
)
AGENT: dict[str, Any] = {
    "name": "n",
    "device": "d",
    "paths": ["p"],
    "data_types": ["tasks"],
    "prompt": "x",
    "schedule": {"every_s": 900},
}
OPENAI = {"kind": "openai", "base_url": "https://host/v1", "name": "m"}
TLS = {"certificate": "c", "key": "k"}
WRONG: list[Any] = [
    *(0, -1, 1, 10**15, 1.5, -0.5, float("nan"), float("inf"), True, "", "x", "x" * 70_000, "ü\0"),
    *([], [1], [""], ["x" * 9_000], [[]], {}, {"x": 1}, datetime(2026, 1, 1, tzinfo=UTC)),
]
FIELDS: list[tuple[KeyPath, dict[str, Any]]] = [
    *(
        (leaf.path, {})
        for leaf in leaves(Settings)
        if leaf.path not in (("agents",), ("model",), ("fallback_models",))
    ),
    *((("agents", 0, *leaf.path), {"agents": [AGENT]}) for leaf in leaves(AgentSettings)),
    *((("agents", 0, "schedule", *leaf.path), {"agents": [AGENT]}) for leaf in leaves(ScheduleTable)),
    *((("model", *leaf.path), {"model": OPENAI}) for leaf in leaves(OpenAIModelSettings)),
    *((("model", *leaf.path), {"model": {"kind": "local"}}) for leaf in leaves(LocalModelSettings)),
    *(
        (("fallback_models", 0, *leaf.path), {"model": OPENAI, "fallback_models": [OPENAI]})
        for leaf in leaves(OpenAIModelSettings)
    ),
    *((("model", "api_key", name), {"model": OPENAI | {"api_key": {}}}) for name in SecretRef.model_fields),
    *(
        (("listen", "devices", "tls", *leaf.path), {"listen": {"devices": {"tls": TLS}}})
        for leaf in leaves(TlsSettings)
    ),
    (("agents",), {}),
    (("model",), {}),
    (("fallback_models",), {"model": OPENAI}),
]


def put(doc: Any, path: KeyPath, value: Any) -> Any:
    """A copy of *doc* with *value* at *path*."""
    if not path:
        return value
    first, *rest = path
    if isinstance(first, int):
        return [put(doc[first], tuple(rest), value)]
    return {**doc, first: put(doc.get(first, {}), tuple(rest), value)}


@pytest.mark.slow
@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.soak)])
@each(("number", "path", "around"), [(number, *field) for number, field in enumerate(FIELDS)])
def test_settings_problems_contain_no_raw_library_messages(
    number: int, path: KeyPath, around: dict[str, Any], share: int
) -> None:
    for value in WRONG[number % share :: share]:
        text = tomli_w.dumps(put(around, path, value))
        for problem in check_text(text, Path("hub.toml"), environ={}).problems:
            assert not RAW.search(problem.message + problem.hint), (str(problem)[:300], str(value)[:30])
            assert "\n" not in str(problem)
            assert problem.line
