"""Commands as data: the declared ones of the resources, and all of them with a sentence about each."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import click

from hub.api import resource
from hub.api.application import ALIAS, ANSWERED, DECLARED, openapi_document
from hub.api.resource import DeclaredCommand, Resource, Route
from hub.cli.app import hub
from hub.cli.options import FORMS

NAMED = {
    "agent",
    "board",
    "connector",
    "device",
    "gateway",
    "run",
    "template",
    "user",
}  # names that a shell completes
METAVARS = {"duration": "TIME", "time": "TIME", "object": "JSON", "integer": "NUMBER", "number": "SECONDS"}
NAME = get_args(resource.Name)[1].pattern
ANY_TEXT = "scope"  # of a checkpoint, which may have a slash
LONG_S = 600  # a shorter time is typed in seconds
OPTION = re.compile(r"(?=--|=|/--)(--[\w,-]+)?(?:=([^/:]+))?(?:/(--[\w-]+))?: ")


def commands() -> str:
    """Return all declared commands as JSON."""
    document = openapi_document(ANSWERED.values())
    declared = [_spec(resource, *one, document) for resource in DECLARED for one in resource.commands()]
    groups = {resource.name: resource.commands_help for resource in DECLARED if resource.commands_help}
    lines = [json.dumps(_short(one), ensure_ascii=False) for one in declared]
    every = ",\n".join(sorted(lines))
    return f'{{"groups": {json.dumps(groups)}, "commands": [\n{every}\n]}}\n'


def command_list() -> str:
    """Return each command with its arguments, and a sentence about it, as JSON for the dashboard."""
    rows = _leaves(hub, click.Context(hub, info_name="hub"))
    return "[\n{}\n]\n".format(",\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


def _leaves(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, str]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _leaves(inner, click.Context(inner, info_name=name, parent=ctx))
    else:
        pieces = [piece for param in command.params for piece in param.get_usage_pieces(ctx)]
        yield " ".join([ctx.command_path, *pieces]), command.get_short_help_str(limit=200)


def _short(value: Any) -> Any:
    """Leave out what is empty."""
    if isinstance(value, dict):
        return {
            key: _short(inner) for key, inner in value.items() if inner or (inner == 0 and inner is not False)
        }
    return value


def _spec(
    resource: type[Resource], command: DeclaredCommand, route: Route, method: Any, document: dict[str, Any]
) -> dict[str, Any]:
    path = resource.path + route.path
    operation = document["paths"][path][route.verb.lower()]
    schemas = document["components"]["schemas"]
    about = (method.__doc__ or "").partition("\n        Raises:")[0].replace("``", "")
    parameters = document["components"]["parameters"]
    operation["parameters"] = [
        parameters[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in operation.get("parameters", ())
    ]
    params = {one["name"]: one for one in _params(command, path, operation, schemas)}
    items = (resource.list_key or resource.name) if route.key is not None else ""
    return {
        **command._asdict(),
        "options": None,  # part of the parameters
        "noun": resource.name,
        "verb": route.verb,
        "path": path,
        "help": command.help or re.sub(r"^Return\b", "Show", re.sub(r"\n +", "\n", about.strip())),
        "has_body": "requestBody" in operation,
        "pages": "" if "limit" in command.options else items,  # all of them, without a limit
        "rows": command.rows or items,
        "params": params,
    }


def _params(
    command: DeclaredCommand, path: str, operation: dict[str, Any], schemas: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    words = [word.strip("[].").split("=")[0] for word in command.words.split()]
    arguments = {word.lower() for word in words if word.isupper()}
    known = set[str]()
    for name, where, schema, is_required in _of_request(operation, schemas):
        known.add(name)
        if name not in arguments and name not in command.options:
            if is_required and not (command.file and where == "body"):
                raise ValueError(f"hub {command.words}: nothing gives {name}")
            continue
        yield {
            "name": name,
            "in": where,
            "is_required": is_required,
            "names": _names(name, path, where),
            **_kind(name, where, schema, schemas),
            **_option(name, command.options.get(name), schema, schemas),
        }
    if unknown := (arguments | set(command.options)) - known:
        raise ValueError(f"hub {command.words}: the request has no {', '.join(sorted(unknown))}")


def _of_request(
    operation: dict[str, Any], schemas: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    for one in operation.get("parameters", ()):
        yield one["name"], one["in"], one["schema"], one.get("required", False)
    if "requestBody" in operation:
        body = _resolved(operation["requestBody"]["content"]["application/json"]["schema"], schemas)
        either = [one["anyOf"][0]["required"][0] for one in body.get("allOf", ())]
        required = [*body.get("required", ()), *either]
        for name, schema in body.get("properties", {}).items():
            if ALIAS not in schema:
                yield name, "body", schema, name in required


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the value itself, without references and ``null``."""
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            return _resolved(one, schemas)
    match schema.get("type"):
        case [kind, "null"]:
            return schema | {"type": kind}
    return schema


def _option(
    name: str, declared: str | None, schema: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    """Return the flags of a parameter, their help, and the values that they send."""
    if declared is None:
        return {}
    found = OPTION.match(declared)
    flag, default, off = found.groups() if found else (_flag(name), None, None)
    help, shown = declared[found.end() :] if found else declared, default or schema.get("default")
    plain = _resolved(schema, schemas)
    if plain.get("format") == "date-time":
        help = f"{help.rstrip('.')}: {FORMS}."
    if flag and shown and plain.get("type") != "boolean" and flag not in map(_flag, plain.get("enum", ())):
        help += f" [default: {shown:g}]" if isinstance(shown, float) else f" [default: {shown}]"
    return {"flag": flag, "off": off, "default": default, "help": help}


def _flag(name: str) -> str:
    return "--" + re.sub(r"^is_|_s$", "", name).replace("_", "-")


def _names(name: str, path: str, where: str) -> str:
    """Return the resource whose names complete a parameter; empty: none."""
    if name == "key" and path.startswith("/v1/config/"):
        return "settings"
    before = re.search(r"/(\w+)/\{" + name + r"\}", path) if where == "path" else None
    resource = before[1] if before else f"{name}s"
    return resource if resource.removesuffix("s") in NAMED else ""


def _kind(name: str, where: str, schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    plain = _resolved(schema, schemas)
    type = plain.get("type", "object")
    if type == "string" and (where == "path" or plain.get("pattern") == NAME) and name != ANY_TEXT:
        type = "name"
    if type in ("number", "integer") and name.endswith("_s") and plain.get("maximum", LONG_S) >= LONG_S:
        type = "duration"
    if plain.get("format") == "date-time":
        type = "time"
    return {
        "type": type,
        "values": plain.get("enum") or _resolved(plain.get("items", {}), schemas).get("enum"),
        "min": _whole(plain.get("minimum")),
        "max": _whole(plain.get("maximum", _resolved(plain.get("items", plain), schemas).get("maxLength"))),
        "metavar": METAVARS.get(type, "TEXT"),
    }


def _whole(number: float | None) -> float | None:
    return int(number) if number is not None and number == int(number) else number
