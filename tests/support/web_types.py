"""Types of the dashboard's requests, made from the OpenAPI document.

They are those of the routes whose paths its sources have as texts, with the method before the path, else GET.
A route or a field that is renamed fails the build of the dashboard.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hub.api.application import ANSWERED, openapi_document
from protocol.items import MARKS
from tests.support.source import ROOT

SOURCES: Final = ROOT / "hub" / "api" / "web" / "src"
TYPES: Final = SOURCES / "types.ts"
HEAD: Final = "// Written by 'make documents' from the OpenAPI document of the hub.\n"
METHODS: Final = ("get", "post", "put", "patch", "delete")
PLAIN: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
Schema = Mapping[str, Any]


def types() -> str:
    """Return the types in TypeScript: by method and path, those of the query, the body and the answer."""
    document = openapi_document(ANSWERED.values())
    asked = _asked()
    paths = {
        path: {method: told[method] for method in asked[path] if method in told}
        for path, told in sorted(document["paths"].items())
        if path in asked
    }
    parameters, schemas = document["components"]["parameters"], document["components"]["schemas"]
    used, found = set[str](), {"Problem", *_references(paths)}
    while found:
        used |= found
        found = set(_references([schemas[name] for name in found])) - used
    named = [f"export type {_name(name)} = {typescript_of(schemas[name])};\n" for name in sorted(used)]
    sentences = json.dumps({**MARKS}, indent=2)
    marks = f"\nexport const MARKS: Readonly<Record<string, string>> = {sentences};\n"
    return "".join([HEAD, *named, *_routes(paths, parameters), marks])


def _asked() -> dict[str, set[str]]:
    """Return the paths in the sources with the methods before them; a path without one is read."""
    files: list[Path] = [*SOURCES.rglob("*.ts"), *SOURCES.rglob("*.tsx")]
    texts = (file.read_text(encoding="utf-8") for file in files if file != TYPES)
    asked = dict[str, set[str]]()
    for text in texts:
        for method, path in re.findall(r'(?:"([a-z]+)",\s*)?"(/[a-z][\w/{}.-]*)"', text):
            asked.setdefault(path, set()).add(method or "get")
    return asked


def _routes(paths: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield an interface for each method."""
    for method in METHODS:
        yield f"\nexport interface {method.capitalize()} {{\n"
        for path, operations in paths.items():
            if method in operations:
                operation = operations[method]
                query, body, answer = (
                    _query(operation, parameters),
                    _body(operation),
                    _answer(operation["responses"]),
                )
                yield f"  {json.dumps(path)}: {{ query: {query}; body: {body}; answer: {answer} }};\n"
        yield "}\n"


def _query(operation: Schema, parameters: Mapping[str, Any]) -> str:
    given = [
        parameters[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in operation.get("parameters", ())
    ]
    names = sorted(one["name"] for one in given if one["in"] == "query")
    return " | ".join(map(json.dumps, names)) or "never"


def _body(operation: Schema) -> str:
    if "requestBody" not in operation:
        return "undefined"
    kind = typescript_of(operation["requestBody"]["content"]["application/json"]["schema"])
    return kind if operation["requestBody"].get("required") else f"{kind} | undefined"


def _answer(responses: Schema) -> str:
    content = next(one["content"] for status, one in responses.items() if status.startswith("2"))
    (inner,) = content.values()
    return typescript_of(inner["schema"])


def _references(part: Any) -> Iterator[str]:
    """Return the names of the schemas that a part of the document refers to, but not those of refusals."""
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str) and "/schemas/" in part["$ref"]:
            yield part["$ref"].rpartition("/")[2]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def _name(name: str) -> str:
    return name.replace(".", "_")


def typescript_of(schema: Schema) -> str:
    """Return the type in TypeScript that a JSON Schema describes."""
    match schema:
        case {"$ref": reference}:
            return _name(str(reference).rpartition("/")[2])
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": choices} | {"oneOf": choices}:
            return " | ".join(f"({typescript_of(one)})" for one in choices)
        case {"type": [*kinds]}:
            return " | ".join(typescript_of({**schema, "type": kind}) for kind in kinds)
        case {"type": "array"}:
            return f"readonly ({typescript_of(schema.get('items', {}))})[]"
        case {"type": "object"}:
            return _object(schema)
        case {"type": str(kind)}:
            return PLAIN[kind]
    return "unknown"


def _object(schema: Schema) -> str:
    if "properties" in schema:
        required = schema.get("required", ())
        fields = (
            f"{json.dumps(name)}{'' if name in required else '?'}: {typescript_of(one)}"
            for name, one in schema["properties"].items()
        )
        return f"{{ {'; '.join(fields)} }}"
    inner = schema.get("additionalProperties")
    return f"{{ readonly [name: string]: {typescript_of(inner) if isinstance(inner, dict) else 'unknown'} }}"
