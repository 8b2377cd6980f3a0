"""Requests of operators, with parts that are wrong, to the server as it runs: on a socket, by uvicorn."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz.inputs import FROM_DEVICES, MOST_BYTES, bent, bent_frame
from tests.support.hub import ENDLESS, over_unix, serving

_NOT_ASKED: Final = (
    "/v1/drain",
    "/v1/backups",
    *ENDLESS,
)  # they end, or last
_AS_AGENT: Final = "/v1/agent/"  # by tokens of agents alone
_ANSWER_S: Final = 20.0
_NAMES: Final = (
    *["notes"] * 8,
    "laptop",
    "anna",
    "0199a3c2-6f00-7c3f-9d3e-1b2c3d4e5f60",
    "1",
    "-1",
    "",
    "..",
    "%00",
)
_WORDS: Final = (
    "notes",
    "*",
    "0 7 * * *",
    "Europe/Berlin",
    "2026-05-06T12:00:00Z",
    "tasks",
    "1.0.0",
    "a" * 300,
)
_HEADERS: Final = (
    *("If-Match: *", 'If-Match: "1"', "Idempotency-Key: a", "Accept: text/html", "Content-Encoding: gzip"),
    *("Authorization: Bearer x", "X-Forwarded-For: 1.2.3.4", "Range: bytes=0-1", "Expect: 100-continue"),
    *("Transfer-Encoding: chunked", "Content-Type: text/plain", "Origin: http://example.org", "Cookie: a=b"),
)


@asynccontextmanager
async def http(folder: Path) -> AsyncIterator[Callable[[random.Random], Awaitable[None]]]:
    """Serve a hub, and give a function that sends it one random request."""
    logging.disable()  # or each bad request is a line
    async with serving(folder, body_bytes=MOST_BYTES) as hub:
        async with over_unix(hub) as client:
            document = (await client.get("/v1/openapi.json")).json()
        operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if path not in _NOT_ASKED and not path.startswith(_AS_AGENT)
        ]
        parts = document["components"]

        async def ask(chance: random.Random) -> None:
            request, is_whole = _request(chance, *chance.choice(operations), parts)
            status = await _status(str(hub.listening.unix), request, is_whole=is_whole)
            assert status != 500, f"500 for {request[:500]!r}"
            assert status or not is_whole, f"no answer to {request[:500]!r}"

        try:
            yield ask
        finally:
            logging.disable(logging.NOTSET)


def _request(
    chance: random.Random, method: str, path: str, operation: dict[str, Any], parts: dict[str, Any]
) -> tuple[bytes, bool]:
    """Return a request, and True if nothing of its form is wrong."""
    for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        path = path.replace(f"{{{name}}}", quote(chance.choice(_NAMES + _WORDS), safe="%"))
    schemas = parts["schemas"]
    parameters = (_resolved(one, parts["parameters"]) for one in operation.get("parameters", ()))
    query = "&".join(
        f"{one['name']}={quote(_spelled(_value(chance, one.get('schema', {}), schemas)))}"
        for one in parameters
        if one["in"] == "query" and one["name"] != "wait_s" and chance.random() < 0.4
    )
    body = b""
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = next(iter(content.values())).get("schema", {})
        value = _value(chance, schema, schemas) if chance.random() < 0.9 else bent_frame(chance, FROM_DEVICES)
        body = json.dumps(value).encode()
        body = bent(chance, [body]) if chance.random() < 0.3 else body
    lines = [f"{method} {path}?{query} HTTP/1.1", "Host: hub", "Connection: close"]
    is_whole = chance.random() < 0.85
    if is_whole:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body, True
    lines += chance.sample(_HEADERS, 2)
    if chance.random() < 0.7:
        lines.append(f"Content-Length: {chance.choice((len(body), 0, 10**9, -1))}")
    request = "\r\n".join([*lines, "", ""]).encode() + body
    return bent(chance, [request]) if chance.random() < 0.5 else request, False


def _value(chance: random.Random, schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return a value of the *schema*, or, rarely, another one."""
    if chance.random() < 0.05:
        return chance.choice((None, True, -1, 2**70, 1e308, "", "\x00", [], {}, [[]], "\ud800", "a" * 3_000))
    schema = _resolved(schema, schemas)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _value(chance, chance.choice(schema[several]), schemas, depth)
    if "enum" in schema or "const" in schema:
        return chance.choice(schema.get("enum") or [schema["const"]])
    match schema.get("type"):
        case "object" if depth < 6:
            required = set(schema.get("required", ()))
            made = {
                name: _value(chance, inner, schemas, depth + 1)
                for name, inner in schema.get("properties", {}).items()
                if (name in required and chance.random() < 0.97) or chance.random() < 0.3
            }
            more = schema.get("additionalProperties")
            if isinstance(more, dict):
                made[chance.choice(_WORDS)] = _value(chance, more, schemas, depth + 1)
            return made
        case "array" if depth < 6:
            return [
                _value(chance, schema.get("items", {}), schemas, depth + 1)
                for _ in range(chance.randint(0, 3))
            ]
        case "integer" | "number":
            return chance.choice((0, 1, 2, 60, 1_000, -1, 10**12, 0.5))
        case "boolean":
            return chance.random() < 0.5
    return chance.choice(_WORDS + _NAMES)


def _resolved(schema: dict[str, Any], among: dict[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = among[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return named


def _spelled(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


async def _status(path: str, request: bytes, *, is_whole: bool) -> int | None:
    """Send *request*, and return the status of the answer, or None if there was none."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        if not is_whole:  # or the server would wait for the rest
            writer.write_eof()
        async with asyncio.timeout(_ANSWER_S):
            line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else None
    except (ConnectionError, TimeoutError):
        return None
    finally:
        writer.close()
