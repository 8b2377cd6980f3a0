"""Parameters of paths and queries that no request means: refused by name, at the route they were sent to."""

from itertools import cycle
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest

from hub.api.application import ANSWERED, RouteOf
from hub.api.binding import MOST_OF_TEXT
from tests.support.hub import ServedHub

REFUSED: Final = {
    " ": "it is blank",
    "a\x1b[2J": "it has control characters",
    "x" * (MOST_OF_TEXT + 100): "characters",
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
    answer = RouteOf.answer

    async def recorded(self: RouteOf, call: Any) -> Any:
        reached.append((self.asked, dict(call.path)))
        return await answer(self, call)

    monkeypatch.setattr(RouteOf, "answer", recorded)
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
            is_long = len(value) > MOST_OF_TEXT
            asked = {part.name: "x" * (part.most + 100) if is_long else value for part in parts}
            response = await client.get(_path(route, "", ""), params=asked)
            said = response.json().get("detail", "") if asked else ""
            assert [name for name in asked if f"query.{name}: " not in said] == [], (route.asked, said)


async def _ask(client: httpx2.AsyncClient, route: RouteOf, name: str, value: str) -> httpx2.Response:
    return await client.request(route.asked.method, _path(route, name, value))


def _path(route: RouteOf, name: str, value: str) -> str:
    parts = {one: "nobody" if one not in ("seq", "number") else "1" for one in route.path}
    parts |= {name: quote(value, safe="").replace(".", "%2E")} if name else {}
    return route.asked.path.format(**parts)
