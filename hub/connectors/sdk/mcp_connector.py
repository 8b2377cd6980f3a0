"""Program of the MCP connector: requests to an MCP server, and its results as messages.

It speaks streamable HTTP, or, with two descriptors as its last arguments, over pipes to a program beside it.

A resource is a message with its URI as key. Its version is ``lastModified`` where the server gives it, else a
digest of the content, for which each run reads the resource. The cursor has a digest of each known version.
An entry in the result of a tool is a message, too; its text is in the list.
"""

import hashlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from hub.connectors.sdk.hub_connector import Connector, Failure, Message, Page, run
    from hub.connectors.sdk.json_paths import (
        link_of,
        row_key_in,
        steps_of,
        text_at,
        texts_at,
        values_at,
        with_row_key,
    )
else:  # next to this file, in the jail
    from hub_connector import Connector, Failure, Message, Page, run
    from json_paths import link_of, row_key_in, steps_of, text_at, texts_at, values_at, with_row_key

VERSION = "2025-11-25"  # of the Model Context Protocol
PAGE = 50
MAX_ENTRIES = 1_000  # resources or entries, whose digests fit into a cursor
MAX_VERSION, MAX_SHOWN = 128, 1_000  # characters
MAX_PAGES = 200  # of a list
MAX_MESSAGES = 1_000  # of the server, until it answers a request
MAX_LINE = 2 * 1024 * 1024  # bytes
MAX_PIECES = 100  # of a longer line, which is not read
MAX_REFUSED = 5  # resources in a row, after which the server refuses all
NOT_FOUND, UNKNOWN_METHOD = -32002, -32601

session: dict[str, str] = {}  # headers of the session, and the server's name, once it was begun
listed: list[Message] = []  # changed resources or entries of this run
texts: dict[str, str] = {}  # of entries, by key
numbers = [0]  # of the last request
methods = [""]  # of the last request
pipes: list[IO[bytes]] = []  # from and to a server beside this program
has_ended: list[str] = []  # resource whose reading ended or silenced the server beside this program
reads = {"accepted": 0, "refused": 0}  # resources that were read in this run, and refusals since the last one


class McpRefused(Failure):
    """Error of the server."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__("unavailable", f"the server answered: {message}")
        self.number = number


class Mcp(Connector):
    """Connector to one MCP server."""

    name = "mcp"
    auth = {"kind": "header", "required": False}  # noqa: RUF012 - read by the SDK
    origins: Sequence[str] = ("settings.url",)
    methods = ("POST",)
    options = {"url": {}, "prefix": {}, "tools": {}, "read_s": {"type": "number"}}  # noqa: RUF012 - read by the SDK

    def check(self) -> Mapping[str, str]:
        with shaped():
            name, of = self._begin(), "entries" if self._tools else "resources"
            found = self._listed() if self._tools else self._resources()
        return {"name": name, "detail": f"{len(found)} {of}"}

    @property
    def _tools(self) -> list[dict[str, Any]]:
        """Tools to call; without any, resources are read."""
        found: list[dict[str, Any]] = json.loads(self.settings.get("tools") or "[]")
        return found

    def _listed(self) -> list[Message]:
        found = [entry for tool in self._tools for entry in self._entries(tool)]
        return list({entry.key: entry for entry in found}.values())

    def page(self, cursor: Mapping[str, Any] | None, since: str, next: Any) -> Page:
        known = (next or cursor or {"known": {}}).get("known")
        if not isinstance(known, dict):
            raise Failure("cursor_lost", "the cursor is of another release")
        run = next["run"] if next else digest(json.dumps(known, sort_keys=True))  # another one in each run
        begin = next["begin"] if next else 0
        if next is None or not listed:  # in a program that was started in the middle of a run: what is left
            with shaped():
                self._begin()
                tools = self._tools
                found = (
                    self._listed()
                    if tools
                    else [self._message(resource, run) for resource in self._resources()]
                )
            begin, listed[:] = (
                0,
                [entry for entry in found if known.get(digest(entry.key)) != digest(entry.version)],
            )
            known = digests(entry for entry in found if entry not in listed) if next is None else known
        end = begin + PAGE
        messages = listed[begin:end]
        known = known | digests(messages)
        following = {"begin": end, "known": known, "run": run} if end < len(listed) else None
        return Page(messages=messages, cursor={"known": known}, next=following)

    def read(self, messages: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        keys = [message["key"] for message in messages]
        with shaped():
            self._begin()
            yield from self._texts(keys) if self._tools else self._read(keys)

    def _read(self, keys: Sequence[str]) -> Iterable[Mapping[str, Any]]:
        failures: dict[str, Failure] = {}
        for key in keys:
            found = self._contents_or_failure(key)
            if isinstance(found, McpRefused):
                yield {"key": key, "unread": found.message, "is_removed": found.number == NOT_FOUND}
                continue
            if isinstance(found, Failure):
                failures[key] = found
                continue
            text = "\n\n".join(entry["text"] for entry in found if entry.get("text"))
            is_page = any((entry.get("mimeType") or "").startswith("text/html") for entry in found)
            kinds = [
                entry.get("mimeType") or "application/octet-stream" for entry in found if "text" not in entry
            ]
            if text:
                parts = {f"{kind} no text": kinds.count(kind) for kind in kinds}
                yield {"key": key, "html" if is_page else "text": text, "parts": parts}
            else:
                yield {"key": key, "unread": "it has no text", "is_final": True}
        if failures and not reads["accepted"]:
            raise next(iter(failures.values()))
        for key, failure in failures.items():
            yield {"key": key, "unread": failure.message}

    def _begin(self) -> str:
        """Begin the session, once for each program, and return the server's name."""
        if not session:
            about = {"name": "device-hub", "version": "1"}
            params = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": about}
            found = self._call("initialize", params)
            if (needed := "tools" if self._tools else "resources") not in found["capabilities"]:
                raise Failure("bad_settings", f"the server has no {needed}")
            session["mcp-protocol-version"] = found["protocolVersion"]
            session["name"] = found["serverInfo"]["name"]
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return session["name"]

    def _entries(self, tool: Mapping[str, Any]) -> list[Message]:
        """Return what a tool lists, page by page."""
        name, arguments = tool["name"], dict(tool["arguments"])
        found: list[Message] = []
        for _ in range(MAX_PAGES):
            result = self._call("tools/call", {"name": name, "arguments": arguments})
            data = data_in(result)
            if result.get("isError"):
                raise Failure("unavailable", f"the tool {name} answered: {data}")
            lists = values_at(data, steps_of(tool["list"])) if tool["list"] else [data]
            for page in lists:
                found += [entry_of(tool, entry) for entry in (page if isinstance(page, list) else [page])]
            following = text_at(data, [tool["next"]]) if tool["cursor"] else ""
            if not following:
                return found
            if following == arguments.get(tool["cursor"]):
                raise Failure("unavailable", f"the tool {name} lists the same page again and again")
            arguments[tool["cursor"]] = following
            if len(found) > MAX_ENTRIES:
                break
        most = f"{MAX_ENTRIES} entries, or {MAX_PAGES} pages of them"
        raise Failure("bad_settings", f"the tool {name} lists more than {most}: choose by its arguments")

    def _texts(self, keys: Sequence[str]) -> Iterable[Mapping[str, Any]]:
        if not texts.keys() >= {*keys}:  # another program has listed them
            self._listed()
        for key in keys:
            if key not in texts:
                yield {"key": key, "unread": "its tool does not list it any more", "is_removed": True}
            elif texts[key]:
                yield {"key": key, "text": texts[key]}
            else:
                yield {"key": key, "unread": "it has no text", "is_final": True}

    def _resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            part = self._call("resources/list", params)
            prefix = self.settings.get("prefix") or ""
            found += [resource for resource in part["resources"] if resource["uri"].startswith(prefix)]
            if not part.get("nextCursor"):
                return found
            if part["nextCursor"] == params.get("cursor"):
                raise Failure("unavailable", "the server lists the same page again and again")
            params = {"cursor": part["nextCursor"]}
            if len(found) > MAX_ENTRIES:
                break
        most = f"{MAX_ENTRIES} resources, or {MAX_PAGES} pages of them"
        raise Failure("bad_settings", f"the server has more than {most}: choose some by prefix")

    def _message(self, resource: Mapping[str, Any], run: str) -> Message:
        uri, at = resource["uri"], (resource.get("annotations") or {}).get("lastModified")
        version = version_of(at or "")
        if not version and has_ended:
            version = run  # read it in each run, until the one before it ends no server any more
        elif not version:
            try:
                found = self._contents_or_failure(uri)
                # a refused one has none, as reading it will show
                version = "" if isinstance(found, Failure) else digest(json.dumps(found))
            except Failure as failure:
                if failure not in (ENDED, SILENT):
                    raise
                has_ended.append(uri)
        title = (resource.get("title") or resource["name"])[:MAX_SHOWN]
        return Message(key=uri, version=version, received_at=at, subject=title, link=uri)

    def _contents_or_failure(self, uri: str) -> list[dict[str, Any]] | Failure:
        """Return the contents of a resource, or why the server refuses it, unlike others.

        Raises:
            Failure: the server has ended, takes longer than ``settings.read_s``, or refuses all resources.
        """
        try:
            signal.setitimer(signal.ITIMER_REAL, self.settings["read_s"] if pipes else 0)
            with shaped():
                found: list[dict[str, Any]] = self._call("resources/read", {"uri": uri})["contents"]
                for entry in found:  # raises for another form
                    (entry.get("text") or "") + (entry.get("mimeType") or "")
        except Failure as failure:
            reads["refused"] += not isinstance(failure, McpRefused)
            if failure in (ENDED, SILENT) or reads["refused"] >= MAX_REFUSED:
                raise
            return failure
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        reads["accepted"], reads["refused"] = reads["accepted"] + 1, 0
        return found

    def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a request. Raises Refused."""
        numbers[0] += 1
        methods[0] = method
        asked = {"jsonrpc": "2.0", "id": numbers[0], "method": method, "params": params}
        for answer in self._post(asked) if self.settings.get("url") else exchange(asked):
            if "method" in answer and "id" in answer:  # as sampling or elicitation, which nothing here does
                refused = {"code": UNKNOWN_METHOD, "message": "this client answers no requests"}
                self._send({"jsonrpc": "2.0", "id": answer["id"], "error": refused})
            elif answer.get("id") == numbers[0] and "error" in answer:
                raise McpRefused(answer["error"]["code"], answer["error"]["message"])
            elif answer.get("id") == numbers[0]:
                return answer["result"]
        raise Failure("unavailable", f"the server did not answer {method}")

    def _send(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no answer."""
        if self.settings.get("url"):
            self._post(message)
        else:
            write(message)

    def _post(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Send a message and return those of the answer, which is JSON or a stream of events."""
        headers = {name: value for name, value in session.items() if name.startswith("mcp-")}
        headers |= {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        body = json.dumps(request).encode()
        answer = self.ask(self.settings["url"], method="POST", headers=headers, body=body)
        if "mcp-session-id" in answer.headers:
            session["mcp-session-id"] = answer.headers["mcp-session-id"]
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return [answer.json()] if answer.body else []
        lines = [line[5:] for line in answer.body.decode().splitlines() if line.startswith("data:")]
        return [json.loads(line) for line in lines if line.strip()]


@contextmanager
def shaped() -> Iterator[None]:
    """Raise Failure where an answer of the server has another form than the protocol gives it."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        traceback.print_exc(limit=-3)
        what = f"the server's answer to {methods[0]} has not the form of the protocol"
        raise Failure("unavailable", what) from None


def give_up(*_: Any) -> None:
    """End the reading of a resource whose time is up; what the server answers later is not read."""
    pipes[:] = [io.BytesIO(), io.BytesIO()]
    raise SILENT


def write(message: Mapping[str, Any]) -> None:
    try:
        pipes[1].write(json.dumps(message).encode() + b"\n")
        pipes[1].flush()
    except OSError:
        raise ENDED from None


def exchange(request: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Send a request to the program of a server, and yield the messages that it writes. Raises Failure."""
    write(request)
    for _ in range(MAX_MESSAGES):
        line = pipes[0].readline(MAX_LINE + 1)
        if not line:
            raise ENDED
        if len(line) > MAX_LINE:
            for _ in range(MAX_PIECES):  # the next answer is behind it
                if not line or line.endswith(b"\n"):
                    break
                line = pipes[0].readline(MAX_LINE)
            raise Failure("unavailable", f"the server wrote a line of more than {MAX_LINE} bytes")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise Failure("unavailable", "the server wrote a line that is no message of the protocol")
        if "jail" in message:
            raise Failure("bad_settings", f"settings.server: {message['jail']}")
        yield message
    raise Failure("unavailable", f"the server wrote {MAX_MESSAGES} messages and no answer")


def data_in(result: Mapping[str, Any]) -> Any:
    """Return the structured content of a result, else what its texts are as JSON, else the texts."""
    if isinstance(result.get("structuredContent"), dict):
        return result["structuredContent"]
    found = []
    for content in result.get("content") or ():
        text = content.get("text", "")
        try:
            found.append(json.loads(text))
        except ValueError:
            found.append(text)
    return found[0] if len(found) == 1 else found


def entry_of(tool: Mapping[str, Any], entry: Any) -> Message:
    """Return the message of an entry, and keep its text."""
    fields = tool["fields"]
    text = entry if isinstance(entry, str) else "\n\n".join(texts_at(entry, fields["text"]))
    key = f"{tool['name']}:{text_at(entry, fields['key']) or digest(text)}"
    author = text_at(entry, fields["author"])[:MAX_SHOWN]
    labels = texts_at(entry, fields["labels"])
    texts[key] = with_row_key(text, row_key_in(entry, [text, *labels]))
    version = version_of(text_at(entry, fields["version"]))
    written = text_at(entry, [*fields["modified"], *fields["created"]])
    title = text_at(entry, fields["title"]) or text.partition("\n")[0]
    sender = {"email": author.lower()} if "@" in author else {"email": "", "name": author}
    return Message(
        key=key,
        version=version or digest(json.dumps(entry, sort_keys=True)),
        received_at=moment(written),
        sender=sender,
        subject=title[:MAX_SHOWN],
        labels=[label[:MAX_SHOWN] for label in labels[:MAX_ENTRIES]],
        link=link_of(text_at(entry, fields["link"])),
    )


def version_of(text: str) -> str:
    """Return the version, or its digest where it is longer than the hub takes one."""
    return text if len(text) <= MAX_VERSION else digest(text)


def moment(text: str) -> str | None:
    """Return a time with its offset, or None."""
    try:
        return text if datetime.fromisoformat(text).tzinfo else None
    except ValueError:
        return None


ENDED = Failure("unavailable", "the server's program ended; [log] content = true shows what it wrote")
SILENT = Failure("unavailable", "the server's program did not answer in time")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def digests(messages: Iterable[Message]) -> dict[str, str]:
    """Return the digests of versions by those of keys."""
    return {digest(message.key): digest(message.version) for message in messages}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        pipes[:] = [os.fdopen(int(sys.argv[-2]), "rb"), os.fdopen(int(sys.argv[-1]), "wb")]
        Mcp.origins = ()
        signal.signal(signal.SIGALRM, give_up)
    run(Mcp)
