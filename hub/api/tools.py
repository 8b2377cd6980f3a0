"""Tools of assistants: the declared routes (``hub.api.noun.tool``) as names, JSON Schemas and requests.

A tool has the name of its operation in the OpenAPI document, and its schemas come from that document: the
parameters of the route and the fields of its body are the arguments, by their names.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from hub.api.application import ALIAS, ANSWERED, RouteOf, openapi_document, references
from hub.api.door.access import Inner
from hub.api.noun import Tool, command_of, tool_of
from hub.roles import Scope, rows_of
from protocol.errors import CodedError, ErrorCode

Schema = dict[str, Any]
Arguments = Mapping[str, Any]

MOST_ROWS: Final = 50  # of a list in one result
ROWS: Final = 20  # of a list in one result, where the call has no limit
MOST_BYTES: Final = 64 * 1024  # of a result: assistants commonly cut what is longer
KEY: Final = "idempotency_key"  # argument of a tool that changes something
_LIMIT: Final = "limit"
_UNSEEN: Final = ("if-match",)  # headers that need a header of an earlier response
_IN_DOCUMENT: Final = "#/components/schemas/"
_IN_TOOL: Final = "#/$defs/"
_COMMAND: Final = re.compile(r"'hub ([a-z][a-z -]*[a-z])(?: [A-Z][A-Z ]*)?'")
_ROUTE: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/v1/[\w/-]+)")
_FOR_A_PERSON: Final = re.compile(r"'hub [a-z]|(?:^|: )hub (?!or\b)[a-z]")


class ToolOf:
    """A tool, as assistants see it, and its requests.

    Attributes:
        name: its operation in the document.
        asked: the row of its route in the table of roles.
        declared: its declaration.
        command: words of the command that makes the same request, or an empty text.
        about: text for assistants.
        arguments, result: JSON Schemas.
        is_list: whether its result has a part of a list.
        has_key: whether a call that is repeated with the same key has one effect.
    """

    def __init__(self, route: RouteOf, declared: Tool, document: Schema) -> None:
        self.name, self.asked, self.declared = route.operation_id, route.asked, declared
        command = command_of(route.method)
        self.command = re.split(r" [A-Z[]| ls$", command.words)[0] if command else ""
        self._components = document["components"]
        operation = document["paths"][route.asked.path][route.asked.method.lower()]
        texts = (operation["summary"], operation.get("description", ""))
        self.about = declared.help or "\n\n".join(filter(None, texts))
        self._places: dict[str, tuple[str, str]] = {}  # of each argument: part of the request, and its name
        self.arguments = self._arguments(operation)
        content = operation["responses"][str(route.declared.status)]["content"]
        self.result = self._complete(content["application/json"]["schema"])
        self.is_list = _LIMIT in self._places
        self.has_key = KEY in self._places and not self.is_reading

    @property
    def is_reading(self) -> bool:
        """Return True if a call changes nothing."""
        return self.declared.is_reading or self.asked.method == "GET"

    def request(self, arguments: Arguments) -> Inner:
        """Return the request of a call.

        Raises:
            CodedError (BAD_PARAMS): a part of the path is missing, or makes the path of another route; or a
                text is no text.
        """
        try:
            return self._request(arguments)
        except UnicodeEncodeError as error:  # half of a pair of surrogates, as JSON may spell it
            message = "an argument has a character that is none"
            raise CodedError(ErrorCode.BAD_PARAMS, message) from error

    def _request(self, arguments: Arguments) -> Inner:
        path, body = self.asked.path, dict[str, Any]()
        query: list[tuple[str, str]] = []
        headers: list[tuple[bytes, bytes]] = []
        has_body = any(place == "body" for place, _ in self._places.values())
        for name, value in arguments.items():
            place, spelled = self._places.get(name, ("body" if has_body else "query", name))
            if place == "body":
                body[spelled] = value
            elif place == "query":
                several = value if isinstance(value, list) else [value]
                query += [(spelled, _text(one)) for one in several if one is not None]
            elif place == "header":
                headers.append((spelled.lower().encode(), _text(value).encode()))
            elif value is not None:
                path = path.replace(f"{{{spelled}}}", quote(_text(value), safe=""))
        if "{" in path:
            missing = path.partition("{")[2].partition("}")[0]
            raise CodedError(ErrorCode.BAD_PARAMS, f"{missing}: missing")
        if rows_of(path).get(self.asked.method) != self.asked:
            message = f"{path}: an argument in this path is empty, or a word of the path of another route"
            raise CodedError(ErrorCode.BAD_PARAMS, message)
        return Inner(
            self.asked.method,
            path,
            urlencode(query),
            tuple(headers),
            msgspec.json.encode(body) if has_body else b"",
        )

    def limited(self, arguments: Arguments) -> dict[str, Any]:
        """Return arguments whose limit of rows is set, and not above that of tools."""
        if not self.is_list:
            return dict(arguments)
        limit = arguments.get(_LIMIT, ROWS)
        return {**arguments, _LIMIT: min(limit, MOST_ROWS) if isinstance(limit, int) else limit}

    def shorter(self, arguments: Arguments, taken: int) -> dict[str, Any] | None:
        """Return arguments for fewer rows, as a result took *taken* bytes, or None if none are fewer."""
        limit = arguments.get(_LIMIT, 1)
        if not self.is_list or limit <= 1:
            return None
        return {**arguments, _LIMIT: max(1, min(limit // 2, limit * MOST_BYTES // taken))}

    def _arguments(self, operation: Schema) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for one in operation.get("parameters", ()):
            part = self._resolved(one, "parameters")
            if part["name"] in _UNSEEN:
                continue
            name = part["name"].lower().replace("-", "_")
            self._places[name] = part["in"], part["name"]
            about = {"description": part["description"]} if "description" in part else {}
            properties[name] = about | part["schema"]
            required += [name] if part.get("required") else []
        if _LIMIT in properties:
            properties[_LIMIT] |= {"default": ROWS, "maximum": MOST_ROWS}
        if body := operation.get("requestBody"):
            schema = self._resolved(body["content"]["application/json"]["schema"], "schemas")
            fields = {name: one for name, one in schema["properties"].items() if ALIAS not in one}
            self._places |= {name: ("body", name) for name in fields}
            properties |= fields
            required += schema.get("required", ()) if body.get("required") else ()
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return self._complete(schema | ({"required": required} if required else {}))

    def _resolved(self, schema: Schema, kind: str) -> Schema:
        while name := schema.get("$ref", ""):
            schema = self._components[kind][name.rpartition("/")[2]]
        return schema

    def _complete(self, schema: Schema) -> Schema:
        """Return a schema of an object with the definitions that it refers to."""
        schema = dict(self._resolved(schema, "schemas"))
        names, waiting = set[str](), [schema]
        while waiting:
            new = set(references(waiting.pop())) - names
            names |= new
            waiting += [self._components["schemas"][name] for name in new]
        if names:
            schema["$defs"] = {name: self._components["schemas"][name] for name in sorted(names)}
        schema = msgspec.json.decode(
            msgspec.json.encode(schema).replace(_IN_DOCUMENT.encode(), _IN_TOOL.encode())
        )
        return {"type": "object"} | schema


def hint_for(hint: str, tools: Mapping[str, ToolOf]) -> str:
    """Return a hint as an assistant can follow it: commands and routes of tools are these tools.

    A command that is no tool is one for the person at the hub, or for whom the hint names.
    """
    commands = {one.command: one.name for one in tools.values() if one.command}
    routes = {one.asked: one.name for one in tools.values()}

    def named(found: re.Match[str]) -> str:
        words = found[1].removesuffix(" ls")
        listing = rows_of(f"/v1/{words}").get("GET")
        name = commands.get(words) or (routes.get(listing) if listing else None)
        return found[0] if name is None else f"the tool {name}"

    def routed(found: re.Match[str]) -> str:
        asked = rows_of(found[2]).get(found[1])
        return f"the tool {routes[asked]}" if asked in routes else found[0]

    hint = _ROUTE.sub(routed, _COMMAND.sub(named, hint))
    is_addressed = " types" in hint.partition("hub ")[0]
    return f"for the person at the hub: {hint}" if _FOR_A_PERSON.search(hint) and not is_addressed else hint


def tools_of(routes: Collection[RouteOf] = tuple(ANSWERED.values())) -> dict[str, ToolOf]:
    """Return the declared tools of *routes* by their names; takes a tenth of a second."""
    marked = [(route, found) for route in routes if (found := tool_of(route.method)) is not None]
    marked = [(route, found) for route, found in marked if isinstance(route.declared.need, Scope)]
    document = openapi_document([route for route, _ in marked])
    tools = [ToolOf(route, declared, document) for route, declared in marked]
    return {one.name: one for one in sorted(tools, key=lambda one: one.name)}


def _text(value: Any) -> str:
    """Return the text of an argument in an address or a header; of what is no text or number, its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
