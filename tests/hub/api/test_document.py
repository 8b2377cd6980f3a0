"""The interface's own document: who may ask, what is refused, and an example of everything."""

from pathlib import Path
from typing import Any

from hub.api.door.routes import AGENT, PUBLIC, ROUTES
from protocol.errors import CATALOGUE, ErrorCode
from tests.support.facade import FakeHub, answering, over_unix


async def _document(tmp_path: Path) -> dict[str, Any]:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        document: dict[str, Any] = (await client.get("/v1/openapi.json")).json()
    return document


async def test_the_document_is_sent_compressed_and_once(tmp_path: Path) -> None:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        whole = await client.get("/v1/openapi.json", headers={"accept-encoding": "identity"})
        packed = await client.get("/v1/openapi.json", headers={"accept-encoding": "gzip"})
        again = await client.get("/v1/openapi.json", headers={"if-none-match": packed.headers["etag"]})
    assert whole.json() == packed.json()
    assert whole.headers["etag"] != packed.headers["etag"]
    assert int(packed.headers["content-length"]) * 10 < int(whole.headers["content-length"])
    assert (again.status_code, again.content) == (304, b"")


async def test_each_route_tells_what_it_needs(tmp_path: Path) -> None:
    document = await _document(tmp_path)
    for asked, need in ROUTES.items():
        operation = document["paths"][asked.path][asked.method.lower()]
        if need is PUBLIC:
            assert operation["security"] == []
        elif need is AGENT:
            assert operation["security"] == [{"agent": []}]
            assert "the token of an agent" in operation["description"], asked
        else:
            assert operation["security"] == [{"token": []}]
            assert f"``{need.value}``" in operation["description"], asked


async def test_each_refusal_is_a_problem_with_an_example_of_each_code(tmp_path: Path) -> None:
    document = await _document(tmp_path)
    told: set[str] = set()
    for asked, need in ROUTES.items():
        responses = document["paths"][asked.path][asked.method.lower()]["responses"]
        expected = {"400", "403", "408", "413", "415", "421", "422", "431", "500", "503"}
        assert expected | ({"401", "429"} if need is not PUBLIC else set()) <= responses.keys(), asked
        for status, answer in responses.items():
            if status >= "400":
                problems = answer["content"]["application/problem+json"]["examples"]
                assert all(problems[code]["value"]["status"] == int(status) for code in problems)
                told |= problems.keys()
    assert told <= {str(code) for code in CATALOGUE}
    assert {ErrorCode.UNKNOWN_RUN, ErrorCode.KEY_USED, ErrorCode.CHANGED_MEANWHILE} <= told


async def test_what_http_adds_to_a_request_is_told(tmp_path: Path) -> None:
    document = await _document(tmp_path)

    def headers(method: str, path: str) -> set[str]:
        given = document["paths"][path][method].get("parameters", [])
        return {parameter["name"].lower() for parameter in given if parameter["in"] == "header"}

    for asked in ROUTES:
        if asked.method == "POST":
            assert "idempotency-key" in headers("post", asked.path), asked
    assert "if-match" in headers("post", "/v1/agents/{name}/pause")
    assert headers("get", "/v1/events") == {"last-event-id"}


async def test_each_shape_of_json_has_an_example(tmp_path: Path) -> None:
    document = await _document(tmp_path)
    for asked in ROUTES:
        operation = document["paths"][asked.path][asked.method.lower()]
        bodies = [operation.get("requestBody", {})]
        bodies += [answer for status, answer in operation["responses"].items() if status < "300"]
        for body in bodies:
            shape = body.get("content", {}).get("application/json")
            assert shape is None or not shape.get("schema") or "example" in shape, asked
