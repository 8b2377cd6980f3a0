"""Parameters of paths and queries that no request means: refused by name, at the route they were sent to."""

from itertools import cycle
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from msgspec import inspect

from hub.api.application import ANSWERED, RouteHandler
from hub.api.binding import MAX_OF_TEXT
from hub.base.roles import RouteKey
from tests.support.hub import ServedHub

REFUSED: Final = {
    " ": "it is blank",
    "a\x1b[2J": "it has control characters",
    "x" * (MAX_OF_TEXT + 100): "characters",
}
WHOLE: Final = ("a/b", "../../status", "..", "a?limit=1#x", "a%2Fb")
ROUTES: Final = [route for route in ANSWERED.values() if not route.asked.path.startswith("/v1/agent/")]


async def test_blank_long_or_unprintable_path_parameter_is_refused_by_name(
    client: httpx2.AsyncClient,
) -> None:
    wrong = []
    for route in ROUTES:
        for name in route.path:
            for value, message in REFUSED.items():
                response = await _ask(client, route, name, value)
                said = response.json().get("detail", "")
                if response.status_code != 422 or f"path.{name}: " not in said or message not in said:
                    wrong.append((route.asked, name, value[:10], response.status_code, said[:100]))
    assert wrong == []


async def test_path_parameter_with_a_slash_or_dots_reaches_the_route_unchanged(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[tuple[Any, dict[str, str]]] = []
    answer = RouteHandler.answer

    async def recorded(self: RouteHandler, call: Any) -> Any:
        reached.append((self.asked, dict(call.path)))
        return await answer(self, call)

    monkeypatch.setattr(RouteHandler, "answer", recorded)
    values = cycle(WHOLE)
    for route in ROUTES:
        for name in route.path:
            value = next(values)
            response = await _ask(client, route, name, value)
            assert 400 <= response.status_code < 500, (route.asked, name, value, response.text)
            asked, parts = reached.pop()
            assert (asked, parts[name], reached) == (route.asked, value, [])


async def test_empty_path_parameter_matches_no_route(client: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        for name in route.path:
            response = await _ask(client, route, name, "")
            assert response.status_code in (404, 405), (route.asked, name, response.status_code)


async def test_empty_blank_or_unprintable_query_parameter_is_refused_by_name(
    client: httpx2.AsyncClient,
) -> None:
    for route in ROUTES:
        parts = [part for part in route.binding.parts if part.place == "query" and part.name != "cursor"]
        for value in ("", *REFUSED) if route.asked.method == "GET" else ():
            is_long = len(value) > MAX_OF_TEXT
            asked = {part.name: "x" * (part.most + 100) if is_long else value for part in parts}
            response = await client.get(_path(route, "", ""), params=asked)
            said = response.json().get("detail", "") if asked else ""
            assert [name for name in asked if f"query.{name}: " not in said] == [], (route.asked, said)


# Times that no documentation allows: epoch seconds above all, which a year looks like.
NO_TIMES: Final = (
    *("2027", "1700000000", "1700000000000", "1.5", "-5", "1e9", "20270101", "2027-13-01", "2027-02-30"),
    *("2027-1-1", "2027-W01-1", "2027-01-01T00:00", "2027-01-01T25:00:00Z", "07/02/2027", "now", "yesterday"),
)
# Routes that write or check what a name stands for from then on.
OF_NEW_NAMES: Final = (
    RouteKey("PUT", "/v1/templates/{name}"),
    RouteKey("POST", "/v1/templates/{name}/validate"),
)


async def test_time_of_a_query_in_an_undocumented_form_is_refused_by_name(client: httpx2.AsyncClient) -> None:
    times = [
        (route, part.name)
        for route in ROUTES
        for part in route.binding.parts
        if part.is_time and route.asked.method == "GET"
    ]
    accepted = []
    for route, name in times:
        for time in NO_TIMES:
            response = await client.get(_path(route, "", ""), params={name: time})
            if response.status_code != 422 or f"query.{name}: " not in response.text:
                accepted.append((route.asked, name, time, response.status_code))
    assert (len(times) > 20, accepted) == (True, [])


async def test_unknown_part_of_a_path_is_404_with_a_code_of_something_unknown(
    client: httpx2.AsyncClient,
) -> None:
    wrong = []
    for route in ROUTES:
        if not route.path or route.asked in OF_NEW_NAMES:
            continue
        body = _body(route)
        more = {} if body is None else {"json": body}
        response = await client.request(route.asked.method, _path(route, "", ""), **more)
        code = response.json().get("code", "")
        if response.status_code != 404 or not code.startswith("unknown_"):
            wrong.append(f"{route.asked} {body} {response.text[:200]}")
    assert not wrong, "\n".join(wrong)


def _body(route: RouteHandler) -> Any:
    """Return a body with what a route requires, or None."""
    part = route.binding.body
    if part is None:
        return None
    if part.struct is None:
        return {}
    return _any_of(inspect.type_info(part.struct))


def _any_of(kind: inspect.Type) -> Any:
    match kind:
        case inspect.StrType():
            return "x" * (kind.min_length or 1)
        case inspect.IntType() | inspect.FloatType():
            return kind.ge or 1
        case inspect.BoolType():
            return True
        case inspect.ListType() | inspect.VarTupleType():
            return [_any_of(kind.item_type)]
        case inspect.DictType():
            return {"x": _any_of(kind.value_type)}
        case inspect.EnumType():
            return next(iter(kind.cls)).value
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.DateTimeType():
            return "2027-01-01T00:00:00Z"
        case inspect.UnionType():
            return _any_of(kind.types[0])
        case inspect.Metadata():
            return _any_of(kind.type)
        case inspect.StructType():
            return {one.encode_name: _any_of(one.type) for one in kind.fields if one.required}
    return None


async def _ask(client: httpx2.AsyncClient, route: RouteHandler, name: str, value: str) -> httpx2.Response:
    return await client.request(route.asked.method, _path(route, name, value))


def _path(route: RouteHandler, name: str, value: str) -> str:
    parts = {one: "nobody" if one not in ("seq", "number") else "1" for one in route.path}
    parts |= {name: quote(value, safe="").replace(".", "%2E")} if name else {}
    return route.asked.path.format(**parts)
