"""The interface's own document: who may ask, what is refused, and an example of everything."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import jsonschema  # it brings no types
import pytest

from hub.api.application import ANSWERED, EVERY, WITH_TOKEN, openapi_document
from hub.api.binding import RequestContext, RequestParameter
from hub.base.roles import AGENT, PUBLIC, ROUTES
from protocol.errors import CATALOGUE, ErrorCode


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the document that a hub would send."""
    return openapi_document(ANSWERED.values())


async def test_openapi_document_is_sent_compressed_and_cached_by_etag(client: httpx2.AsyncClient) -> None:
    whole = await client.get("/v1/openapi.json", headers={"accept-encoding": "identity"})
    packed = await client.get("/v1/openapi.json", headers={"accept-encoding": "gzip"})
    again = await client.get("/v1/openapi.json", headers={"if-none-match": packed.headers["etag"]})
    assert whole.json() == packed.json()
    assert whole.headers["etag"] != packed.headers["etag"]
    assert int(packed.headers["content-length"]) * 5 < int(whole.headers["content-length"]) < 455_000
    assert (again.status_code, again.content) == (304, b"")


def test_openapi_reports_the_required_scope_and_summary_of_each_route(document: dict[str, Any]) -> None:
    for asked, need in ROUTES.items():
        operation = document["paths"][asked.path][asked.method.lower()]
        needed = [] if need is PUBLIC else [{"agent": []}] if need is AGENT else [{"token": [need.value]}]
        assert operation.get("security", document["security"]) == needed, asked
        assert operation["summary"].endswith("."), asked


def _whole(document: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return a schema, or the component that it refers to."""
    if "$ref" not in told:
        return told
    _, _, kind, name = told["$ref"].split("/")
    found: dict[str, Any] = document["components"][kind][name]
    return found


def test_openapi_documents_each_refusal_as_a_problem(document: dict[str, Any]) -> None:
    named: set[str] = set()
    for asked in ROUTES:
        responses = document["paths"][asked.path][asked.method.lower()]["responses"]
        assert "default" in responses, asked
        for status, answer in responses.items():
            if status >= "4":
                refusal = _whole(document, answer)
                if asked.path not in ("/healthz", "/readyz") or status == "default":
                    schema = refusal["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}, asked
                    codes = refusal["description"].rpartition(": ")[2].split(", ")
                    statuses = {str(CATALOGUE[ErrorCode(code)].http_status) for code in codes}
                    assert status == "default" or statuses == {status}, asked
                    named |= set(codes)
    assert named >= {*EVERY, *WITH_TOKEN, "unknown_run", "key_used", "changed_meanwhile"}
    about = document["components"]["schemas"]["Problem"]["properties"]["code"]["description"]
    for code, error in CATALOGUE.items():
        assert f"| {code} | {error.http_status} | {error.retryable} | {error.hint} |" in about


def test_openapi_reports_the_request_headers_of_each_route(document: dict[str, Any]) -> None:

    def headers(method: str, path: str) -> set[str]:
        given = [_whole(document, one) for one in document["paths"][path][method].get("parameters", [])]
        return {parameter["name"].lower() for parameter in given if parameter["in"] == "header"}

    for asked in ROUTES:
        if asked.method == "POST":
            assert "idempotency-key" in headers("post", asked.path), asked
    assert "if-match" in headers("post", "/v1/agents/{name}/pause")
    assert headers("get", "/v1/events") == {"last-event-id"}


def _integers(document: dict[str, Any], schema: object, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the integers that *schema* allows, each with its place."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _integers(document, inner, place)
    elif isinstance(schema, dict):
        whole = _whole(document, schema)
        if whole.get("type") == "integer":
            yield place, whole
        for name, inner in whole.items():
            if name not in ("example", "examples", "default", "discriminator"):
                yield from _integers(document, inner, f"{place}.{name}")


def test_each_request_integer_has_a_maximum_below_two_to_the_63(document: dict[str, Any]) -> None:
    found = [
        one
        for asked in ROUTES
        for part in ("parameters", "requestBody")
        for one in _integers(
            document, document["paths"][asked.path][asked.method.lower()].get(part, []), f"{asked}: {part}"
        )
    ]
    assert len(found) > 20
    for place, integer in found:
        assert integer["maximum"] < 2**63, place


def test_response_schemas_require_all_fields_and_request_schemas_do_not(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("RunView", "Runs", "ItemDetail", "ItemPlace"):
        assert set(schemas[name]["required"]) == schemas[name]["properties"].keys(), name
    assert schemas["RunRequest"].get("required", []) == []


TEXTS = ["", " ", "\u00a0", "a\x07", "a\u0085b", "null", "ä b", "notes", "1.0.0", "calendar"]


def test_text_of_a_path_or_query_fits_the_schema_exactly_if_its_route_reads_the_text(
    document: dict[str, Any],
) -> None:
    wrong = set[tuple[str, str]]()
    compared = 0
    for asked, route in ANSWERED.items():
        declared = [
            _whole(document, given)
            for given in document["paths"][asked.path][asked.method.lower()].get("parameters", ())
        ]
        schemas = {(given["in"], given["name"]): given["schema"] for given in declared}
        for part in route.binding.parts:
            schema = schemas.get((part.place, part.name), {})
            text = schema.get("items", schema)
            if part.place not in ("path", "query") or not _is_text(text):
                continue
            fits = jsonschema.Draft202012Validator(text)
            most = text.get("maxLength", 0)
            for value in (*TEXTS, "a" * most, "a" * (most + 1)):
                compared += 1
                if fits.is_valid(value) == bool(_refusals(part, value)):
                    wrong.add((f"{asked.method} {asked.path} {part.name}", value[:20]))
    assert (wrong, compared > 4_000) == (set(), True)


def _is_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" and not schema.keys() & {"format", "enum"}


def _request(part: RequestParameter, value: str) -> RequestContext:
    query = urlencode({part.name: value}).encode() if part.place == "query" else b""
    scope = {"type": "http", "headers": [], "query_string": query}
    return RequestContext(scope, {part.name: value}, b"")


def test_null_is_no_value_of_an_optional_parameter() -> None:
    taken = [
        (asked, part.name)
        for asked, route in ANSWERED.items()
        for part in route.binding.parts
        if part.place == "query" and part.default is None
        if not _refusals(part, "null") and part.read(_request(part, "null"), []) is None
    ]
    assert taken == []


def _refusals(part: RequestParameter, value: str) -> list[Any]:
    refused: list[Any] = []
    part.read(_request(part, value), refused)
    return refused
