"""Arguments of methods, read from requests; and refusals that say where, what is expected and what came."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import pytest
from msgspec import Meta

from hub.api import binding, errors
from hub.api.binding import OPTIONAL, Binding, From, FromHeader, RequestContext, ResponseHead
from hub.api.errors import MAX_REFUSALS
from hub.api.resource import Instant, Name, View
from hub.settings.agent_settings import TemplateTable
from protocol.errors import CodedError, ErrorCode
from protocol.lifecycles import RunState
from tests.support.coded import coded
from tests.support.families import each


class Part(View):
    """A part of a body."""

    size: Annotated[int, Meta(ge=1)]


class Body(View):
    """A body with everything that can be wrong."""

    refused_keys: ClassVar = {"derived": ("it is derived", "leave it out")}

    name: Name
    part: Part
    state: RunState = RunState.QUEUED
    tags: Annotated[tuple[str, ...], Meta(max_length=2)] = ()
    at: Instant | None = None


class Options(View):
    """Options that may all be left out."""

    restarts: bool = False


def a_call(
    query: str = "", body: bytes = b"", headers: dict[str, str] | None = None, **path: str
) -> RequestContext:
    """Return a request."""
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return RequestContext({"type": "http", "query_string": query.encode(), "headers": raw}, path, body)


async def bound(function: Any, call: RequestContext) -> dict[str, Any]:
    """Return the arguments of *function*."""
    return await Binding(function, path=call.path).arguments(call)


async def with_parts(
    name: str,
    tag: list[str] | None = None,
    state: RunState | None = None,
    limit: Annotated[int, Meta(ge=1, le=9)] = 5,
    since: Instant | None = None,
    is_all: bool = False,
    key: Annotated[str | None, FromHeader("x-key")] = None,
) -> None: ...


async def test_request_parameters_are_converted_to_the_declared_types() -> None:
    query = "tag=a&tag=b&state=QUEUED&limit=7&since=2026-01-05T09:00:00Z&is_all=true"
    assert await bound(with_parts, a_call(query, headers={"x-key": "k"}, name="notes")) == {
        "name": "notes",
        "tag": ["a", "b"],
        "state": RunState.QUEUED,
        "limit": 7,
        "since": datetime(2026, 1, 5, 9, tzinfo=UTC),
        "is_all": True,
        "key": "k",
    }
    left_out = await bound(with_parts, a_call(name="null"))
    assert (left_out["name"], left_out["tag"], left_out["limit"], left_out["key"]) == ("null", None, 5, None)


class Zoned:
    """Hub whose users are in Auckland."""

    hub: "Zoned"

    def __init__(self) -> None:
        self.hub = self

    async def zone_of(self, caller: object) -> str:
        return "Pacific/Auckland"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-12-04", datetime(2026, 12, 3, 11, tzinfo=UTC)),
        ("2026-07-04", datetime(2026, 7, 3, 12, tzinfo=UTC)),
        ("2026-02-30", None),
        ("2026-1-5", None),
    ],
)
async def test_date_parameter_is_the_begin_of_the_day_in_the_user_timezone(
    given: str, expected: datetime | None
) -> None:
    call = a_call(f"since={given}&tag=2026-12-04", name="notes")
    call.served = Zoned()
    if expected is None:
        with pytest.raises(CodedError, match="expected a point in time"):
            await bound(with_parts, call)
    else:
        arguments = await bound(with_parts, call)
        assert (arguments["since"], arguments["tag"]) == (expected, ["2026-12-04"])


async def test_request_with_several_wrong_parameters_names_all_of_the_parameters() -> None:
    query = "limit=12&state=odd&is_all=perhaps&since=2026-01-05T09:00:00"
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(with_parts, a_call(query, name="notes"))
    state, limit, since, is_all = str(refused.value).split("; ")
    assert state.startswith("query.state: expected one of") and "QUEUED" in state and state.endswith("'odd'")
    assert limit == "query.limit: expected a whole number, at most 9, not 12"
    assert since.startswith("query.since: expected a point in time with its offset from UTC")
    assert is_all == "query.is_all: expected true or false, not text"


async def test_repeated_single_value_parameter_is_refused() -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(with_parts, a_call("state=QUEUED&state=RUNNING&tag=a&tag=b", name="notes"))
    assert (str(refused.value), refused.value.hint) == ("query.state: given 2 times", "keep one of them")


async def with_body(body: Body) -> None: ...


async def test_unknown_parameter_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(with_parts, a_call("limits=7&user=ana", name="notes"))
    assert str(refused.value) == "query.limits: there is no such parameter"
    assert refused.value.hint == "did you mean 'limit'?"


async def test_request_body_with_several_wrong_keys_names_all_of_the_keys() -> None:
    given = (
        b'{"name": "a\\n", "part": {"size": 0}, "state": "odd", "tags": ["a", "b", "c"], "at": 5,'
        b' "derived": 1, "nane": 2}'
    )
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(with_body, a_call(body=given))
    name, part, state, tags, at, derived, unknown = str(refused.value).replace("; the first", "").split("; ")
    assert name.startswith("body.name: expected a name: letters, digits")
    assert part == "body.part.size: expected a whole number, at least 1, not 0"
    assert state.startswith("body.state: expected one of QUEUED, ")
    assert tags == "body.tags: expected a list, at most 2 long, not 3"
    assert at.startswith("body.at: expected a point in time")
    assert (derived, unknown) == ("body.derived: it is derived", "body.nane: there is no such field")
    assert refused.value.hint == "leave it out; did you mean 'name'?"


@each(
    ("body", "message"),
    [
        (b"", "body: missing"),
        (b"null", "body: missing"),
        (b"[]", "body: expected an object, not a list"),
        (b"{}", "body.name: missing; body.part: missing"),
        (b'{"name": "a"', "body: is no JSON: Input data was truncated"),
        (b'{"name": "\xff"}', "body: is no JSON: "),
        (b"[" * 3_000 + b"]" * 3_000, "body: objects and lists are nested too deep"),
        (b'{"name": "a", "part": {"size": 1, "more": 2}}', "body.part.more: there is no such field"),
        (b'{"name": "a", "part": {}}', "body.part.size: missing"),
        (b'{"name": "a", "part": {"size": 1.5}}', "body.part.size: expected a whole number, not a number"),
        (b'{"name": "a", "part": {"size": 1e999}}', "body: is no JSON: Number out of range"),
    ],
)
async def test_unparsable_request_body_is_refused_with_the_reason(body: bytes, message: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(with_body, a_call(body=body))
    assert str(refused.value).startswith(message)


async def test_whole_number_is_read_however_a_body_spells_the_number() -> None:
    for spelled in (b"7", b"7.0", b"0.7e1"):
        given = await bound(with_body, a_call(body=b'{"name": "a", "part": {"size": %b}}' % spelled))
        assert given["body"].part.size == 7


async def with_options(options: Annotated[Options, OPTIONAL]) -> None: ...


async def test_omitted_optional_body_is_bound_as_empty_options() -> None:
    for body in (b"", b"null", b"{}"):
        assert await bound(with_options, a_call(body=body)) == {"options": Options()}


async def with_table(table: TemplateTable) -> None: ...


async def test_settings_table_in_a_body_is_checked_by_the_settings_rules() -> None:
    found = await bound(with_table, a_call(body=b'{"type": "RESEARCHER"}'))
    assert found["table"].type == "RESEARCHER"
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_PARAMS), match=r"body\.typ: there is no such field"
    ):
        await bound(with_table, a_call(body=b'{"typ": "RESEARCHER"}'))


async def test_dependency_function_is_evaluated_once_per_request() -> None:
    made: list[str] = []

    async def word(call: RequestContext, name: str = "none") -> str:
        made.append(name)
        call.head.headers["x-name"] = name
        return name

    Word = Annotated[str, From(word)]

    def pair(first: Word, second: Word) -> tuple[str, str]:
        return first, second

    async def method(
        pair: Annotated[tuple[str, str], From(pair)], word: Word, head: ResponseHead
    ) -> None: ...

    call = a_call("name=a")
    assert await bound(method, call) == {"pair": ("a", "a"), "word": "a", "head": call.head}
    assert (made, call.head.headers) == (["a"], {"x-name": "a"})


class Letter(View):
    """A body with a field that another document names otherwise."""

    aliases: ClassVar = {"message": "content", "ids": "to"}

    content: Annotated[str, Meta(max_length=9)]
    to: tuple[str, ...] = ()


async def with_letter(letter: Letter) -> None: ...


async def test_body_field_is_accepted_by_alias_and_refused_under_the_name_used() -> None:
    for spelled in (
        '{"content": "a", "to": ["b"]}',
        '{"message": "a", "ids": ["b"]}',
        '{"message": "a", "content": "a", "ids": ["b"]}',
    ):
        given = await bound(with_letter, a_call(body=spelled.encode()))
        assert given["letter"] == Letter("a", ("b",))
    for wrong, says in (
        (b'{"message": 7}', "body.message: expected text, not a whole number"),
        (b'{"message": "a", "ids": ["b", 7]}', "body.ids[1]: expected text"),
        (
            b'{"message": "a", "content": "b"}',
            "body.message: another name of content",
        ),
        (b'{"ids": [], "x": 1}', "body.content: missing; body.x: there is no such field"),
        (b'{"message": "a", "content": "b", "to": 7.0}', "has another value; body.to: expected a list"),
        (b'{"message": "a"', "is no JSON"),
        (b'{"message": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", "nested too deep"),
        (b"[]", "expected an object"),
    ):
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=re.escape(says)):
            await bound(with_letter, a_call(body=wrong))


async def of_agents(sizes: dict[str, Part]) -> None: ...


KEYS = "{" + ",".join(f'"wrong{number}":1' for number in range(20_000)) + "}"


@pytest.mark.parametrize(
    ("function", "query", "body"),
    [
        (with_parts, "&".join(f"wrong{number}" for number in range(2_000)), ""),
        (with_body, "", KEYS),
        (with_body, "", f'{{"name": "a", "part": {KEYS}}}'),
        (with_body, "", f'{{"{"n" * 200_000}": 1}}'),
        (with_letter, "", KEYS),
        (of_agents, "", KEYS),
        (with_table, "", KEYS),
        (with_table, "", f'{{"default_configuration": {KEYS}}}'),
        (with_table, "", f'{{"type": {[1] * 20_000}}}'),
    ],
)
async def test_refusal_of_very_many_wrong_keys_is_short(
    function: Any, query: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def compare(word: str, _: object) -> str:
        compared.append(word)
        return ""

    for module in (binding, errors):
        monkeypatch.setattr(module, "did_you_mean", compare)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bound(function, a_call(query, body.encode(), name="notes"))
    assert len(compared) <= MAX_REFUSALS and len(str(refused.value)) < MAX_REFUSALS * 300
