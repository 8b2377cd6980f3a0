"""A mailbox that speaks Gmail's API: state, history, labels, faults, and strict about what it is asked.

Written from Google's documents and what is known of its habits: lists newest first, history ids with gaps,
words in UTF-8 under a head that names another charset, ids of attachments that are new in each answer.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any

import anyio
import anyio.lowlevel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.text.mime import name_of

JSON = {"content-type": "application/json"}
ROOT = "/gmail/v1/users/me"


def refusal(status: int, reason: str, message: str = "no", headers: dict[str, str] | None = None) -> Response:
    """An error of Google's shape."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "domain": "global"}]}
    return Response(json.dumps({"error": error}), status, headers=JSON | (headers or {}))


def plain(
    subject: str, text: str = "Please pay by Friday.", *, id: str | None = "", extra: str = ""
) -> bytes:
    """A small mail. *id*: its Message-ID; ``None``: it has none."""
    told = "" if id is None else f"Message-ID: <{id or subject.replace(' ', '-')}@acme.test>\r\n"
    head = f"Subject: {subject}\r\nFrom: Ann <ann@acme.test>\r\nTo: me@example.com\r\n{told}{extra}"
    return f"{head}Date: Mon, 5 Jan 2026 08:00:00 +0000\r\n\r\n{text}\r\n".encode()


@dataclass
class Mail:
    id: str
    raw: bytes
    at: datetime
    labels: list[str]
    history_id: int


@dataclass
class Fault:
    """What is answered instead, so many *times*, where *part* is in the path. ``None``: as it would be."""

    part: str
    answer: Callable[[], Response]
    times: int = 1


@dataclass
class FakeGmail:
    """The mailbox, and the server before it."""

    has_profile: bool = True
    page: int = 500  # the most ids on a page
    circles: int = 0  # pages to come, behind the first of a list, that lead to themselves
    mails: dict[str, Mail] = field(default_factory=dict)
    records: list[tuple[int, str, list[str]]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=lambda: {"INBOX": "INBOX", "Label_7": "Bills"})
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    good_tokens: set[str] = field(default_factory=lambda: {"t1"})
    before: Callable[[str], None] = lambda path: None
    unindexed: set[str] = field(default_factory=set)
    refused_histories: int = 0
    _history: int = 1_000
    _oldest: int = 0
    _handed_out: int = 0

    def deliver(
        self, raw: bytes, at: datetime, labels: tuple[str, ...] = ("INBOX", "UNREAD"), id: str | None = None
    ) -> str:
        """A mail arrives; gives its id."""
        self._history += 7  # there are gaps
        id = id or f"m{len(self.records) + 1:04d}"
        self.mails[id] = Mail(id, raw, at, list(labels), self._history)
        self.records.append((self._history, id, list(labels)))
        return id

    def forget_history(self) -> None:
        """All that has been is too old to be told."""
        self.change_otherwise()
        self.forget_what_was()

    def forget_what_was(self) -> None:
        """All but the newest history id is too old."""
        self._oldest = self._history

    def change_otherwise(self) -> None:
        """Something happens that is no new mail: one is read, a label is given."""
        self._history += 7

    def requests(self, part: str) -> int:
        return sum(part in path for path in self.asked)

    def lets_in(self, token: str) -> bool:
        return token in self.good_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.lowlevel.checkpoint()
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix(ROOT)
        self.asked.append(f"{path}?{request.url.query}")
        self.before(path)
        if not self.lets_in(request.headers.get("authorization", "").removeprefix("Bearer ")):
            return refusal(401, "authError")
        for fault in self.faults:
            if fault.part in path and fault.times:
                fault.times -= 1
                return fault.answer()
        steps = path.strip("/").split("/")
        match steps:
            case ["profile"] if self.has_profile:
                told = {"emailAddress": "me@example.com", "messagesTotal": len(self.mails)}
                return _json(told | {"historyId": str(self._history)})
            case ["labels"]:
                return _json({"labels": [{"id": id, "name": name} for id, name in self.labels.items()]})
            case ["messages"]:
                return self._list(request)
            case ["messages", id] if id in self.mails:
                return _json(self._full(self.mails[id], request.query_params.get("format", "full")))
            case ["messages", _, "attachments", id]:
                data = base64.urlsafe_b64decode(id.partition("~")[2] + "==")
                return _json({"size": len(data), "data": _b64(data)})
            case ["history"]:
                return self._changes(request)
        return refusal(404, "notFound", "Requested entity was not found.")

    def _list(self, request: Request) -> Response:
        q = request.query_params.get("q", "")
        labels = set(request.query_params.getlist("labelIds"))
        found = [mail for mail in self.mails.values() if labels <= set(mail.labels) and self._fits(mail, q)]
        if not labels & {"SPAM", "TRASH"}:
            found = [mail for mail in found if not {"SPAM", "TRASH"} & set(mail.labels)]
        found.sort(key=lambda mail: mail.at, reverse=True)
        rest, more = self._paged(found, request)
        told: dict[str, Any] = {"resultSizeEstimate": len(found)} | more
        if rest:
            told["messages"] = [{"id": mail.id, "threadId": mail.id} for mail in rest]
        return _json(told)

    def _fits(self, mail: Mail, q: str) -> bool:
        for word in q.split():
            if word.startswith("after:"):
                if mail.at <= datetime.fromtimestamp(int(word[6:]), UTC):
                    return False
            elif mail.id in self.unindexed or word.encode() not in mail.raw:
                return False
        return True

    def _changes(self, request: Request) -> Response:
        start = int(request.query_params["startHistoryId"])
        if start < self._oldest:
            self.refused_histories += 1
            return refusal(404, "notFound", "Requested entity was not found.")
        found = [one for one in self.records if one[0] > start]
        rest, more = self._paged(found, request)
        told: dict[str, Any] = {"historyId": str(self._history)} | more
        if rest:
            told["history"] = [
                {
                    "id": str(at),
                    "messagesAdded": [{"message": {"id": id, "threadId": id, "labelIds": labels}}],
                }
                for at, id, labels in rest
            ]
        return _json(told)

    def _paged(self, found: list[Any], request: Request) -> tuple[list[Any], dict[str, str]]:
        most = min(self.page, int(request.query_params["maxResults"]))
        assert 1 <= int(request.query_params["maxResults"]) <= 500
        start = int(request.query_params.get("pageToken", "0"))
        more = {"nextPageToken": str(start + most)} if start + most < len(found) else {}
        if start and self.circles:
            self.circles -= 1
            more = {"nextPageToken": str(start)}
        return found[start : start + most], more

    def _full(self, mail: Mail, form: str) -> dict[str, Any]:
        told = {
            "id": mail.id,
            "threadId": mail.id,
            "labelIds": mail.labels,
            "historyId": str(mail.history_id),
        }
        told |= {"internalDate": str(int(mail.at.timestamp() * 1000)), "sizeEstimate": len(mail.raw)}  # type: ignore[dict-item]
        if form == "raw":
            told["raw"] = _b64(mail.raw)
        elif form != "minimal":
            told["payload"] = self._part(message_from_bytes(mail.raw), "0")  # type: ignore[assignment]
        return told

    def _part(self, part: Message, number: str) -> dict[str, Any]:
        told: dict[str, Any] = {
            "partId": number,
            "mimeType": part.get_content_type(),
            "filename": name_of(part),
            "headers": [{"name": name, "value": str(value)} for name, value in part.items()],
        }
        inner = part.get_payload()
        if isinstance(inner, list):
            told["body"] = {"size": 0}
            told["parts"] = [self._part(one, f"{number}.{at}") for at, one in enumerate(inner)]
            return told
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if told["filename"] or len(data) > 10_000:
            self._handed_out += 1
            told["body"] = {"size": len(data), "attachmentId": f"{self._handed_out}~{_b64(data)}"}
        else:
            told["body"] = {"size": len(data), "data": _b64(data)}
        return told


def _json(told: dict[str, Any]) -> Response:
    return Response(json.dumps(told), headers=JSON)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
