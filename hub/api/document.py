"""The interface as an OpenAPI 3.1 document: FastAPI's own, with every refusal and examples added.

The permitted callers come from ``api/door/routes``. The refusals come from the rules of
``api/door/access``, which hold for every route, and from the route's own declaration (``refusals``).
"""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI, Response
from starlette.datastructures import Headers

from hub.api.door.routes import AGENT, PUBLIC, ROUTES, Asked, roles_that_may
from hub.api.errors import MEDIA_TYPE, Problem
from hub.api.examples import VALUES, example_of
from protocol.errors import CATALOGUE, ErrorCode

_E = ErrorCode
EVERY: Final = (
    *(_E.TOKEN_IN_URL, _E.UNTRUSTED_PROXY, _E.FORBIDDEN, _E.FOREIGN_ORIGIN, _E.HELLO_TIMEOUT, _E.TOO_LARGE),
    *(_E.BAD_CONTENT_TYPE, _E.WRONG_HOST, _E.BAD_PARAMS, _E.INTERNAL, _E.OVERLOADED, _E.STOPPING),
)
WITH_TOKEN: Final = (_E.AUTH_FAILED, _E.RATE_LIMITED, _E.DATABASE_BUSY, _E.DATABASE_UNAVAILABLE)
POSTED: Final = (_E.KEY_USED, _E.DATABASE_CONFLICT)
# Statuses that differ from the catalogue's, as HTTP has a more specific number.
OWN_STATUS: Final = {
    400: _E.BAD_PARAMS,
    405: _E.UNKNOWN_METHOD,
    411: _E.BAD_PARAMS,
    431: _E.TOO_LARGE,
}

_PROBLEM: Final = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal (RFC 9457). *code* is stable; *hint* says what a person can do.",
    "required": ["type", "title", "status", "detail", "code", "retryable", "hint"],
    "properties": {
        "type": {"type": "string", "description": "``urn:hub:error:`` and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, for a person."},
        "code": {"type": "string", "enum": [str(code) for code in ErrorCode]},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "hint": {"type": "string"},
    },
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key means the same request, done once; its answer is told again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
}
_BUILDING: Final = threading.Lock()  # several threads answer; one of them builds
_METHODS: Final = frozenset(("get", "post", "patch", "put", "delete"))


def serve_document(app: FastAPI, asked: Headers) -> Response:
    """Answer a request for the document of *app*, which is built, spelled and compressed once per process."""
    with _BUILDING:
        if not hasattr(app.state, "spelled"):
            plain = json.dumps(openapi_document(app), ensure_ascii=False).encode()
            app.state.spelled = {"identity": plain, "gzip": gzip.compress(plain, mtime=0)}
            app.state.tag = hashlib.sha256(plain).hexdigest()[:32]
    coding = "gzip" if "gzip" in asked.get("accept-encoding", "") else "identity"
    tag = f'"{app.state.tag}-{coding}"'
    headers = {"etag": tag, "vary": "accept-encoding", "cache-control": "no-cache"}
    if tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if coding != "identity":
        headers["content-encoding"] = coding
    return Response(app.state.spelled[coding], media_type="application/json", headers=headers)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of *app*, built once."""
    if not hasattr(app.state, "document"):
        app.state.document = _made(deepcopy(app.openapi()))
    document: dict[str, Any] = app.state.document
    return document


def _made(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An operator's token: hub_op_..."},
        "agent": {"type": "http", "scheme": "bearer", "description": "An agent's token: hub_agt_..."},
    }
    for path, method, operation in _operations(document):
        asked = Asked(method.upper(), path)
        _tell_need(operation, asked)
        _tell_parameters(operation, asked)
        _tell_refusals(operation, asked)
        _give_examples(operation, schemas)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in item.keys() & _METHODS:
            yield path, method, item[method]


def _tell_need(operation: dict[str, Any], asked: Asked) -> None:
    need = ROUTES[asked]
    operation["security"] = [] if need is PUBLIC else [{"agent" if need is AGENT else "token": []}]
    if need is not PUBLIC:
        roles = ", ".join(roles_that_may(need))
        needs = (
            "Needs the token of an agent"
            if need is AGENT
            else f"Needs the scope ``{need.value}`` (of {roles})"
        )
        operation["description"] = f"{operation.get('description', '')}\n\n{needs}.".strip()


def _tell_parameters(operation: dict[str, Any], asked: Asked) -> None:
    given = [
        one
        for one in operation.get("parameters", [])
        if one["name"].lower() != _KEY["name"].lower()  # type: ignore[attr-defined]
    ]
    for parameter in given:
        if parameter["in"] == "path" and parameter["name"] in VALUES:
            parameter["example"] = VALUES[parameter["name"]]
    if asked.method == "POST":
        given.append(_KEY)
    if given:
        operation["parameters"] = given


def _tell_refusals(operation: dict[str, Any], asked: Asked) -> None:
    responses = operation["responses"]
    own = [ErrorCode(code) for answer in responses.values() for code in answer.pop("x-codes", ())]
    by_status: dict[int, list[ErrorCode]] = {}
    for code in dict.fromkeys((*own, *_codes_of(operation, asked))):
        by_status.setdefault(CATALOGUE[code].http_status, []).append(code)
    for status, code in OWN_STATUS.items():
        by_status.setdefault(status, []).append(code)
    for status, codes in sorted(by_status.items()):
        answer = responses.setdefault(str(status), {"description": ""})
        answer["description"] = ", ".join(codes)
        content = answer.setdefault("content", {})
        if status == 422:
            content.pop("application/json", None)  # FastAPI's own shape, which is never sent
        content[MEDIA_TYPE] = {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "examples": {str(code): {"value": _example(code, status)} for code in codes},
        }


def _codes_of(operation: dict[str, Any], asked: Asked) -> Iterable[ErrorCode]:
    yield from EVERY
    if ROUTES[asked] is not PUBLIC:
        yield from WITH_TOKEN
    names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    if "user" in names:
        yield _E.UNKNOWN_USER
    if "if-match" in names:
        yield _E.CHANGED_MEANWHILE
    if asked.method == "POST":
        yield from POSTED


def _example(code: ErrorCode, status: int) -> dict[str, Any]:
    return Problem.told(code, CATALOGUE[code].hint, status=status)


def _give_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    for told in (operation.get("requestBody", {}), *answers):
        for media, content in told.get("content", {}).items():
            if media == "application/json" and content.get("schema"):
                content["example"] = example_of(content["schema"], schemas)
