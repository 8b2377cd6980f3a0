"""SDK for process connectors in Python: one file without dependencies.

Derive from ``Connector``, define ``page`` and ``read``, and end the program with ``run(YourConnector)``. The
hub starts the program, and calls it over standard input and output. The program has no network: ``ask`` lets
the hub send a request, with the secret that the program never sees. Standard error goes to the hub's log.
"""

import base64
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

API = (1, 1)  # oldest and newest version of the lines


class Failure(Exception):
    """Failure by the action that it requires.

    *code*: ``sign_in``, ``forbidden``, ``bad_settings``, ``wait`` (with *seconds*), ``quota``,
    ``cursor_lost``, ``unreadable``, or ``unavailable``, after which the hub tries again.
    """

    def __init__(self, code: str, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.seconds = code, message, seconds


@dataclass(kw_only=True)
class Message:
    """Metadata of a message. Times are in ISO 8601 with an offset, as in ``2026-05-01T07:00:00Z``.

    Attributes:
        key: identical whenever the message is listed.
        version: changes with the content, if that may change under one key.
        place: data by which ``read`` finds the message.
        sender: ``{"email": ..., "name": ...}``.
    """

    key: str
    version: str = ""
    place: Any = None
    received_at: str | None = None
    sent_at: str | None = None
    sender: Mapping[str, str] | None = None
    subject: str = ""
    labels: Sequence[str] = ()
    thread: str | None = None  # accepted from programs of earlier releases, and not read
    size_bytes: int | None = None
    is_bulk: bool = False
    is_sent: bool = False
    is_unread: bool | None = None
    link: str | None = None


@dataclass(kw_only=True)
class Page:
    """Page of at most 100 messages, and the cursor after them.

    Attributes:
        cursor: where a later run resumes, once all messages up to here are settled; a JSON object.
        next: what ``page`` needs for the next page of this run; ``None``: this is the last one.
    """

    messages: Sequence[Message] = field(default_factory=list)
    cursor: Mapping[str, Any] | None = None
    next: Any = None
    is_backfill: bool = False


class Answer(NamedTuple):
    """Answer to an HTTP request. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Decode the body. Raises Failure if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure("unavailable", "the server's answer is no JSON") from None


class Connector:
    """Connector to one account, created for each call; it keeps nothing between two of them.

    Attributes:
        name, version: identify the connector.
        auth: where the hub puts the secret: ``{"kind": "none"}``, ``{"kind": "header", "header":
            "Authorization", "prefix": "Bearer "}`` or ``{"kind": "basic", "user": OPTION}``; with
            ``"required": False`` it works without a secret, too.
        origins: servers that it asks, as ``https://api.example.com``; ``settings.NAME``: that of an option.
        methods: HTTP methods that it uses.
        options: what ``settings.options`` in hub.toml may have: ``{NAME: {"type": "string", "required":
            True}}``. Types: string, integer, number, boolean, strings.
        settings: the options as hub.toml has them.
    """

    name: str
    version = ""
    auth: Mapping[str, Any] = {"kind": "none"}
    origins: Sequence[str] = ()
    methods: Sequence[str] = ("GET",)
    options: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    def check(self) -> Mapping[str, str]:
        """Check that the account works: ``{"name": ..., "detail": ...}``."""
        return {"name": self.name}

    def page(self, cursor: Mapping[str, Any] | None, since: str, next: Any) -> Page:
        """Return the page of *next*, or the first one: what is new after *cursor*, or without one *since*."""
        raise NotImplementedError

    def read(self, messages: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        """Yield the content of each message, which has its key, version and place.

        The content is ``{"key": ..., "text": ...}`` or ``{"key": ..., "html": ...}``, or a reason for none:
        ``{"key": ..., "unread": ...}`` with ``"is_removed": True`` if the message was deleted, and
        ``"is_final": True`` if it can never be read. ``"parts": {"image/png no text": 1}`` counts what is not
        in the text.
        """
        raise NotImplementedError

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        accept: Sequence[int] = (),
    ) -> Answer:
        """Send a request by the hub, and return the answer.

        The hub adds the secret, waits as the server asks, and tries again.

        Args:
            accept: statuses that are answers, in addition to 200 to 299.

        Raises:
            Failure: any other status, or no answer.
        """
        asked = {"url": url, "method": method, "headers": headers or {}, "accept": accept}
        asked["query"] = {name: str(value) for name, value in (query or {}).items()}
        if body:
            asked["body_base64"] = base64.b64encode(body).decode()
        _write({"http": asked})
        line = sys.stdin.readline()
        if not line:  # the hub has ended
            raise SystemExit
        answer = json.loads(line)["answer"]
        if "error" in answer:
            raise Failure(**answer["error"])
        text, coded = answer.get("body", ""), answer.get("body_base64", "")
        return Answer(answer["status"], answer["headers"], text.encode() or base64.b64decode(coded))


_target = sys.stdout


def _write(line: Mapping[str, Any]) -> None:
    _target.write(json.dumps(line, default=vars) + "\n")
    _target.flush()


def run(kind: type[Connector]) -> None:
    """Answer the hub's calls until it ends."""
    sys.stdout = sys.stderr  # a print() is no line of the protocol
    for line in sys.stdin:
        call = json.loads(line)
        try:
            result = _result(kind, call)
        except Failure as failure:
            error = {"code": failure.code, "message": failure.message, "seconds": failure.seconds}
            _write({"id": call["id"], "error": error})
        else:
            _write({"id": call["id"], "result": result})


def _result(kind: type[Connector], call: Mapping[str, Any]) -> Any:
    if call["method"] == "spec":
        shown = ("name", "version", "auth", "origins", "methods")
        return {name: getattr(kind, name) for name in shown} | {"api": API, "settings": kind.options}
    params = call["params"]
    connector = kind(params["settings"])
    if call["method"] == "check":
        return connector.check()
    if call["method"] == "pages":
        return connector.page(params["cursor"], params["since"], params["next"])
    for content in connector.read(params["messages"]):
        _write({"id": call["id"], "item": content})
    return {}
