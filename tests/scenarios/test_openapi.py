"""The running hub against its own document: whatever is asked, the answer is one that the document tells of.

Requests that fit the document and requests that do not are made from it, the same ones every
time. No answer is a fault of the hub, none has a status, a media type or a shape that is not told.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import jsonschema  # it brings no types
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hub.api.application import ANSWERED, openapi_document
from hub.api.http.access import AUTHORIZES, FORMS, PROTECTED
from hub.base.roles import Scope
from tests.support.hub import ENDLESS
from tests.support.processes import HubProcess, closing

EXAMPLES = 20  # of each route and kind: some thousands of requests in all
CHECKS = [  # of schemathesis, which has others that are of no matter here
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
NOT_ASKED = {("POST", "/v1/drain"), *(("GET", path) for path in ENDLESS)}
TIMEOUT_S = 10.0


@pytest.fixture
async def hub(tmp_path: Path) -> Any:
    hub = HubProcess(tmp_path)
    async with closing(hub):
        await hub.start()
        await hub.token("desk")
        await hub.start_run()
        yield hub


async def _document(hub: HubProcess) -> tuple[dict[str, Any], str, str]:
    """What is served, where, and a token that may do everything."""
    made = await hub.post("/v1/operator-tokens", {"name": "test", "role": "admin", "scopes": list(Scope)})
    address = (await hub.get("/v1/status"))["listeners"]["operator"]
    return await hub.get("/v1/openapi.json"), f"http://{address}", made["token"]


def _operations(document: dict[str, Any]) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    for found in from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if (operation.method.upper(), operation.path) not in NOT_ASKED:
            yield operation


def _try(
    operation: APIOperation[Any, Any, Any, Any],
    base_url: str,
    token: str | None,
    mode: GenerationMode,
    examples: int,
) -> set[int]:
    """Ask *operation* in many ways; the statuses that were answered."""
    told: set[int] = set()
    headers = {} if token is None else {"authorization": f"Bearer {token}"}

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        if case.query:
            case.query.pop("follow", None)  # an answer without an end
        answer = case.call(base_url=base_url, headers=headers, timeout=TIMEOUT_S)
        told.add(answer.status_code)
        assert answer.status_code >= 400 or str(answer.status_code) in operation.definition.raw["responses"]
        case.validate_response(answer, checks=CHECKS)

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
        ask()
    return told


@pytest.mark.soak
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_no_request_ends_in_a_fault_or_an_undocumented_answer(
    hub: HubProcess, mode: GenerationMode
) -> None:
    document, base_url, token = await _document(hub)
    told: set[int] = set()
    for operation in _operations(document):
        told |= await anyio.to_thread.run_sync(partial(_try, operation, base_url, token, mode, EXAMPLES))
    assert (await hub.ask("GET", "/readyz")).status_code == 200
    assert told >= ({200, 201, 202, 404} if mode is GenerationMode.POSITIVE else {200, 404, 422})


@pytest.mark.soak
async def test_request_without_a_token_gets_health_alone(hub: HubProcess) -> None:
    document, base_url, _ = await _document(hub)
    for operation in _operations(document):
        told = await anyio.to_thread.run_sync(
            partial(_try, operation, base_url, None, GenerationMode.POSITIVE, 1)
        )
        # Made-up tokens are shown as well, and soon too many; an address may be refused before.
        expected = {401, 422, 429}
        if operation.path in ("/healthz", "/readyz"):
            expected = {200, 422}
        elif operation.path in (AUTHORIZES, PROTECTED, *FORMS):
            expected = {404, 415, 422}  # it serves no assistants
        assert told <= expected, (operation.label, told)


def test_viewers_can_make_an_example_of_each_body() -> None:
    document = json.loads(json.dumps(openapi_document(ANSWERED.values())))
    assert document["openapi"].startswith("3.1")
    seen = 0
    for schema in _schemas(document["paths"]):
        example = _example(schema, document["components"]["schemas"])
        jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(example)
        seen += 1
    assert seen > 200


def _schemas(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the schema of each body in JSON."""
    if isinstance(part, dict):
        if body := part.get("content", {}).get("application/json"):
            yield body["schema"]
        for inner in part.values():
            yield from _schemas(inner)


def _example(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Return an example as viewers of documents make it: from the examples of fields, or from their types."""
    match schema:
        case {"$ref": reference}:
            return _example(components[reference.rpartition("/")[2]], components)
        case {"const": value} | {"enum": [value, *_]} | {"examples": [value, *_]} | {"default": value}:
            return value
        case {"anyOf": [choice, *_]} | {"oneOf": [choice, *_]}:
            return _example(choice, components)
        case {"type": "array" | ["array", "null"], "items": inner}:
            return [_example(inner, components)]
        case {"type": "object" | ["object", "null"]}:
            fields = schema.get("properties", {})
            return {name: _example(inner, components) for name, inner in fields.items()}
        case {"format": "date-time"}:
            return "2026-01-05T09:14:00Z"
        case {"type": "integer" | "number" | ["integer" | "number", "null"]}:
            return schema.get("minimum", 1)
        case {"type": "boolean" | ["boolean", "null"]}:
            return True
    return "text"
