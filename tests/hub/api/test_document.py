"""The interface's own document: who may ask, what is refused, and an example of everything."""

from pathlib import Path
from typing import Any

from hub.api.document import EVERY, WITH_TOKEN
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
    assert int(packed.headers["content-length"]) * 5 < int(whole.headers["content-length"]) < 450_000
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


def _whole(document: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return a schema, or the component that it refers to."""
    if "$ref" not in told:
        return told
    _, _, kind, name = told["$ref"].split("/")
    found: dict[str, Any] = document["components"][kind][name]
    return found


async def test_each_refusal_is_a_problem_with_an_example_of_each_code(tmp_path: Path) -> None:
    document = await _document(tmp_path)
    told: set[str] = set()
    for asked in ROUTES:
        responses = document["paths"][asked.path][asked.method.lower()]["responses"]
        assert {"4XX", "5XX"} <= responses.keys(), asked
        for status, answer in responses.items():
            if status >= "4":
                problem = _whole(document, answer)["content"].get("application/problem+json")
                if problem is None:
                    assert asked.path in ("/healthz", "/readyz")
                    continue
                examples = {code: _whole(document, one)["value"] for code, one in problem["examples"].items()}
                matching = status.replace("X", "")
                assert all(str(one["status"]).startswith(matching) for one in examples.values()), asked
                told |= examples.keys()
    assert told <= {str(code) for code in CATALOGUE}
    assert {*EVERY, *WITH_TOKEN} <= told
    assert {ErrorCode.UNKNOWN_RUN, ErrorCode.KEY_USED, ErrorCode.CHANGED_MEANWHILE} <= told


async def test_what_http_adds_to_a_request_is_told(tmp_path: Path) -> None:
    document = await _document(tmp_path)

    def headers(method: str, path: str) -> set[str]:
        given = [_whole(document, one) for one in document["paths"][path][method].get("parameters", [])]
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
        bodies += [answer for status, answer in operation["responses"].items() if status < "3"]
        for body in bodies:
            shape = body.get("content", {}).get("application/json")
            assert not shape or not shape["schema"] or {"example", "examples"} & shape.keys(), asked
