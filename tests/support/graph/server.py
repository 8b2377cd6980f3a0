"""The fake: one account's mailbox, chats and channels, driven by the test and asked over HTTP.

It is strict about what clients get wrong: tokens, headers that belong on every request, options on a link,
a filter that is ignored without its order, links that are forgotten, ids that change when mail moves.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from itertools import count
from typing import Any, NamedTuple

import msgspec
from starlette.types import ASGIApp

from hub.text.mail_wrappers import flow_of, unflowed
from hub.text.mime import bytes_of, header_text, name_of, parameter_of, text_of
from tests.support.clock import START
from tests.support.graph.http import Request, Response, serving, with_query

IMMUTABLE = 'IdType="ImmutableId"'
_PRIVATE = ("folder", "seq", "unique", "attachments", "came", "changed", "mime")


def _unwrapped(part: Message) -> str:
    """Return the text of a part, decoded and with whole lines."""
    flow = flow_of(parameter_of(part, "format"), parameter_of(part, "delsp"))
    return unflowed(text_of(part)[0], flow)


class Round(msgspec.Struct):
    """What a token stands for. *queue*: what is still to be listed; ``None``: it is a beginning."""

    folder: str
    after: str
    select: tuple[str, ...]
    since: int
    upto: int
    queue: list[str] | None = None


class Gone(NamedTuple):
    id: str
    folder: str
    seq: int


class Mailbox:
    """One person's mail.

    Attributes:
        page_most: messages on a page, if the client does not ask for fewer.
        most_filtered: messages of a first round that is filtered by date.
        empty_first: a round begins with a page that has nothing on it.
        circles: pages to come, behind the first of a round, that lead to themselves.
        doubles: each round lists its first message again at its end.
    """

    def __init__(self, fake: Any) -> None:
        self._fake = fake
        self._numbers = count(1)
        self._seq = count(1)
        self._last = 0
        self._rounds: dict[str, Round] = {}
        self._gone: list[Gone] = []
        self.messages: dict[str, dict[str, Any]] = {}
        self.folders: dict[str, str] = {"inbox": "Inbox", "archive": "Archive", "sentitems": "Sent Items"}
        self.children: dict[str, dict[str, str]] = {}
        self.page_most = 1_000
        self.most_filtered = 5_000
        self.empty_first = False
        self.doubles = False
        self.circles = 0

    # --- what happens in the mailbox ---

    def deliver(
        self,
        subject: str = "Rent",
        *,
        folder: str = "inbox",
        received_at: datetime | None = None,
        text: str = "Please pay the rent until Friday, it is 900 euros as always.",
        unique: str | None = None,
        attachments: tuple[tuple[str, str, bytes], ...] = (),
        **fields: Any,
    ) -> str:
        """A mail arrives; gives its immutable id."""
        number = next(self._numbers)
        id = f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A{number:06}="
        at = self._fake.stamp() if received_at is None else self._spell(received_at)
        person = {"emailAddress": {"name": "Bob", "address": "bob@example.org"}}
        self.messages[id] = {
            "@odata.type": "#microsoft.graph.message",
            "id": id,
            "subject": subject,
            "body": {"contentType": "text", "content": text},
            "from": person,
            "toRecipients": [{"emailAddress": {"name": "Ana", "address": "ana@example.org"}}],
            "ccRecipients": [],
            "receivedDateTime": at,
            "sentDateTime": at,
            "conversationId": f"conversation-{number}",
            "internetMessageId": f"<{number}@example.org>",
            "hasAttachments": bool(attachments),
            "isRead": False,
            "isDraft": False,
            "importance": "normal",
            "categories": [],
            "internetMessageHeaders": [{"name": "X-Number", "value": str(number)}],
            "webLink": f"https://outlook.office365.com/owa/?ItemID={number}",
            "folder": folder,
            "unique": text if unique is None else unique,
            "attachments": attachments,
            "seq": self._tick(),
            "came": self._last,
            "changed": {},
            **fields,
        }
        return id

    def receive(self, raw: bytes, **fields: Any) -> str:
        """A mail arrives as it was sent; its fields have what Microsoft makes of it.

        Of a signed mail, that is an attachment with all of it. A meeting is known by its calendar.
        """
        mail = message_from_bytes(raw)
        texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
        attachments = []
        for part in mail.walk():
            kind = part.get_content_type()
            if kind == "text/calendar":
                fields["@odata.type"] = "#microsoft.graph.eventMessageRequest"
            elif kind in texts and not name_of(part) and part.get_content_disposition() != "attachment":
                texts[kind].append(_unwrapped(part))
            elif not part.is_multipart() and part.get_content_maintype() != "multipart":
                attachments.append((name_of(part), kind, bytes_of(part)))
        if mail.get_content_type() == "multipart/signed":
            texts, attachments = {"text/plain": [], "text/html": []}, [("smime.p7m", "multipart/signed", raw)]
        is_page = bool(texts["text/html"])  # the richest form of a mail is its body
        kind = "text/html" if is_page else "text/plain"
        text = "\n\n".join(texts[kind])
        names = {name.lower(): header_text(str(value)) for name, value in reversed(mail.items())}
        return self.deliver(
            names.get("subject", ""),
            text=text,
            attachments=tuple(attachments),
            mime=raw,
            **{
                "body": {"contentType": "html" if is_page else "text", "content": text},
                "internetMessageHeaders": [{"name": name, "value": value} for name, value in names.items()],
            }
            | ({"internetMessageId": names["message-id"]} if "message-id" in names else {})
            | fields,
        )

    def change(self, id: str, **fields: Any) -> None:
        """Something about a mail changes: it was read, flagged, sorted. A round tells that alone."""
        message = self.messages[id]
        message |= {**fields, "seq": self._tick(), "changed": message["changed"] | fields}

    def delete(self, id: str) -> None:
        gone = self.messages.pop(id)
        self._gone.append(Gone(id, gone["folder"], self._tick()))

    def move(self, id: str, folder: str, *, is_told: bool = True) -> None:
        """A mail moves; *is_told*: the folder that it comes to says so, which it need not."""
        self._gone.append(Gone(id, self.messages[id]["folder"], self._tick()))
        self.messages[id]["folder"] = folder
        if is_told:
            self.messages[id] |= {"seq": self._tick(), "came": self._last, "changed": {}}

    def forget(self, *, next: bool = False, delta: bool = False) -> None:
        """Links that were given out lead nowhere from now on."""
        for token, round in list(self._rounds.items()):
            if (next and round.queue is not None) or (delta and round.queue is None):
                del self._rounds[token]

    def is_end(self, link: str) -> bool:
        """Return True if a round that begins with the link lists nothing."""
        return self._rounds[link.rpartition("=")[2]].since == self._last

    # --- what is asked ---

    def respond(self, request: Request) -> Response:
        match request.path[2:]:
            case ("mailFolders",):
                return self._list_folders(self.folders)
            case ("mailFolders", parent, "childFolders"):
                return self._list_folders(self.children.get(parent, {}))
            case ("mailFolders", folder):
                return self._folder(folder)
            case ("mailFolders", folder, "messages", "delta"):
                return (
                    self._delta(folder, request) if self._has(folder) else self._missing("ErrorItemNotFound")
                )
            case ("mailFolders", folder, "messages"):
                return self._list(folder, request)
            case ("messages", id):
                return self._message(id, request)
            case ("messages", id, "$value") if id in self.messages:
                return Response(200, self.messages[id]["mime"], {"content-type": "text/plain"})
            case ("messages", id, "attachments"):
                return self._attachments(id)
            case ("messages", id, "attachments", attachment, "$value"):
                return Response(
                    200,
                    self.messages[id]["attachments"][int(attachment)][2],
                    {"content-type": "application/octet-stream"},
                )
        return self._missing("ResourceNotFound")

    def _delta(self, folder: str, request: Request) -> Response:
        from tests.support.graph.server import refusal

        query = request.query
        token = query.get("$skiptoken") or query.get("$deltatoken")
        if token is None:
            after = query.get("$filter", "receivedDateTime ge ").split(" ")
            if after[:2] != ["receivedDateTime", "ge"] or "$search" in query:
                return refusal(400, "ErrorInvalidUrlQueryFilter")
            select = tuple(part for part in query.get("$select", "").split(",") if part)
            round = Round(folder, after[2], select, 0, self._last)
        elif len(query) > 1:
            return refusal(400, "ErrorInvalidUrlQuery")
        elif token not in self._rounds:
            return refusal(410, "SyncStateNotFound")
        else:
            round = msgspec.structs.replace(self._rounds[token])
        if round.queue is None:
            round.upto = self._last
            round.queue = self._changed(round)
            if self.empty_first:
                return self._page(round, [], round.queue, request)
        size = min(self.page_most, _page_size(request))
        return self._page(round, round.queue[:size], round.queue[size:], request)

    def _changed(self, round: Round) -> list[str]:
        found = [
            id
            for id, message in self.messages.items()
            if message["folder"] == round.folder
            and message["seq"] > round.since
            and message["receivedDateTime"] >= round.after
        ]
        if round.since == 0:
            found = found[-self.most_filtered :]
        gone = [f"-{one.id}" for one in self._gone if one.folder == round.folder and one.seq > round.since]
        return found + gone + (found[:1] if self.doubles else [])

    def _page(self, round: Round, ids: list[str], rest: list[str], request: Request) -> Response:
        from tests.support.graph.server import listed

        values = []
        for id in ids:
            if id.startswith("-"):
                values.append(
                    {
                        "@odata.type": "#microsoft.graph.message",
                        "id": id[1:],
                        "@removed": {"reason": "deleted"},
                    }
                )
            elif id in self.messages and self.messages[id]["folder"] == round.folder:
                message = self.messages[id]
                is_known = message["came"] <= round.since
                values.append(
                    self._view(message, tuple(message["changed"]) if is_known else round.select, request)
                )
        token = f"T{len(self._rounds)}-{next(self._seq)}"
        base = f"{self._fake.base_url}/me/mailFolders('{round.folder}')/messages/delta".replace(
            "('", "/"
        ).replace("')", "")
        links: dict[str, str | None]
        if self.circles and (own := request.query.get("$skiptoken")) is not None:
            self.circles -= 1
            links = {"next": f"{base}?$skiptoken={own}"}
        elif rest or (self.empty_first and not ids and round.queue):
            self._rounds[token] = msgspec.structs.replace(round, queue=rest)
            links = {"next": f"{base}?$skiptoken={token}"}
        else:
            self._rounds[token] = msgspec.structs.replace(round, since=round.upto, queue=None)
            links = {"delta": f"{base}?$deltatoken={token}"}
        return listed(self._fake, "Collection(message)", values, **links)

    def _list(self, folder: str, request: Request) -> Response:
        """A plain list, by date."""
        from tests.support.graph.server import listed, refusal

        after = request.query.get("$filter", "receivedDateTime ge ").split(" ")[2]
        if request.query.get("$orderby") != "receivedDateTime":
            return refusal(400, "InefficientFilter")
        found = sorted(
            (
                one
                for one in self.messages.values()
                if one["folder"] == folder and one["receivedDateTime"] >= after
            ),
            key=lambda one: (one["receivedDateTime"], one["id"]),
        )
        skip, top = int(request.query.get("$skip", "0")), int(request.query.get("$top", "10"))
        top = min(top, self.page_most)
        select = tuple(request.query["$select"].split(","))
        on = with_query(request, self._fake.base_url, skip=skip + top) if len(found) > skip + top else None
        page = [self._view(one, select, request) for one in found[skip : skip + top]]
        return listed(self._fake, "users('me')/messages", page, next=on)

    def _message(self, id: str, request: Request) -> Response:
        id = id.partition("~")[0]
        if id not in self.messages:
            return self._missing("ErrorItemNotFound")
        message = self.messages[id]
        whole = message | {"uniqueBody": {"contentType": "text", "content": message["unique"]}}
        select = tuple(request.query.get("$select", "").split(","))
        view = self._view(whole, select, request)
        return Response(200, {"@odata.context": self._fake.context("users('me')/messages/$entity"), **view})

    def _view(self, message: dict[str, Any], select: tuple[str, ...], request: Request) -> dict[str, Any]:
        kept = {"@odata.type", "id", *select}
        shown = {name: value for name, value in message.items() if name in kept and name not in _PRIVATE}
        if IMMUTABLE not in request.prefer:  # an id that changes when the mail moves
            shown["id"] = f"{message['id']}~{message['folder']}"
        return shown

    def _attachments(self, id: str) -> Response:
        from tests.support.graph.server import listed

        return listed(
            self._fake,
            "attachments",
            [
                {
                    "@odata.type": "#microsoft.graph.fileAttachment",
                    "id": str(number),
                    "name": name,
                    "contentType": kind,
                    "size": len(data),
                    "isInline": False,
                }
                for number, (name, kind, data) in enumerate(self.messages[id]["attachments"])
            ],
        )

    def _list_folders(self, folders: dict[str, str]) -> Response:
        from tests.support.graph.server import listed

        shown = [{"id": id, "displayName": name} for id, name in folders.items()]
        return listed(self._fake, "users('me')/mailFolders", shown)

    def _folder(self, folder: str) -> Response:
        if not self._has(folder):
            return self._missing("ErrorItemNotFound")
        inside = [one for one in self.messages.values() if one["folder"] == folder]
        return Response(
            200,
            {
                "id": folder,
                "displayName": self.folders.get(folder, folder),
                "totalItemCount": len(inside),
                "unreadItemCount": sum(not one["isRead"] for one in inside),
            },
        )

    def _has(self, folder: str) -> bool:
        return folder in self.folders or any(folder in inside for inside in self.children.values())

    def _missing(self, code: str) -> Response:
        from tests.support.graph.server import refusal

        return refusal(404, code)

    def _tick(self) -> int:
        self._last = next(self._seq)
        return self._last

    def _spell(self, at: datetime) -> str:
        from tests.support.graph.server import spell

        return spell(at)


def _page_size(request: Request) -> int:
    asked = [part for part in request.prefer if part.startswith("odata.maxpagesize=")]
    return int(asked[0].partition("=")[2]) if asked else 10


_MEMBERS = {"@odata.type": "#microsoft.graph.teamworkUserIdentity", "userIdentityType": "aadUser"}


class Chats:
    """One person's chats and channels. *page_most*: on a page, if the client does not ask for fewer."""

    def __init__(self, fake: Any) -> None:
        self._fake = fake
        self._numbers = count(1)
        self._tokens: dict[str, tuple[str, int, str, list[str] | None]] = {}
        self._seq = 0
        self.chats: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = {}  # by chat, or by "team/channel"
        self.page_most = 50

    # --- what happens ---

    def open_chat(self, kind: str = "oneOnOne", topic: str | None = None) -> str:
        id = f"19:{next(self._numbers):032x}@thread.v2"
        self.chats[id] = {
            "id": id,
            "topic": topic,
            "chatType": kind,
            "createdDateTime": self._stamp(),
            "lastUpdatedDateTime": self._stamp(),
            "webUrl": f"https://teams.microsoft.com/l/chat/{id}/0",
        }
        self.messages[id] = []
        return id

    def open_channel(self) -> tuple[str, str]:
        """Ids of a team and of a channel in it."""
        team, channel = "fbe2bf47-16c8-47cf-b4a5-4b9b187c508b", f"19:{next(self._numbers):032x}@thread.tacv2"
        self.messages[f"{team}/{channel}"] = []
        return team, channel

    def say(
        self,
        where: str,
        html: str = "<p>Hello</p>",
        *,
        by: str = "Bob",
        root: str | None = None,
        **fields: Any,
    ) -> str:
        """Somebody writes; gives the message's id. *root*: the message that is answered, in a channel."""
        id = str(1_767_603_600_000 + next(self._numbers))
        known = {"Ana": "87d349ed-44d7-43e1-9a83-5f2406dee5bd"}
        user = {"id": known.get(by, f"00000000-0000-0000-0000-{sum(by.encode()):012}"), "displayName": by}
        at = self._stamp()
        self.messages[where].append(
            {
                "id": id,
                "replyToId": root,
                "messageType": "message",
                "createdDateTime": at,
                "lastModifiedDateTime": at,
                "lastEditedDateTime": None,
                "deletedDateTime": None,
                "subject": None,
                "chatId": where if where in self.chats else None,
                "webUrl": f"https://teams.microsoft.com/l/message/{id}",
                "from": {"user": {**_MEMBERS, **user}},
                "body": {"contentType": "html", "content": html},
                "attachments": [],
                "mentions": [],
                "seq": self._tick(),
                **fields,
            }
        )
        if root is not None:
            self.message(where, root)["seq"] = self._seq  # an answer brings the whole thread up
        return id

    def message(self, where: str, id: str) -> dict[str, Any]:
        return next(one for one in self.messages[where] if one["id"] == id)

    def edit(self, where: str, id: str, html: str) -> None:
        at = self._stamp()
        body = {"contentType": "html", "content": html}
        self._change(where, id, lastModifiedDateTime=at, lastEditedDateTime=at, body=body)

    def react(self, where: str, id: str) -> None:
        self._change(where, id, lastModifiedDateTime=self._stamp())

    def remove(self, where: str, id: str) -> None:
        at = self._stamp()
        gone = {"contentType": "html", "content": ""}
        self._change(where, id, lastModifiedDateTime=at, deletedDateTime=at, body=gone)

    def forget(self) -> None:
        """Links of channels lead nowhere from now on."""
        self._tokens.clear()

    # --- what is asked ---

    def respond(self, request: Request) -> Response:
        match request.path[1:]:
            case ("me", "chats"):
                return self._list_chats(request)
            case ("chats", chat, "messages") if chat in self.chats:
                return self._list_messages(chat, request)
            case ("chats", where, "messages", id):
                return self._one(where, id)
            case ("teams", team, "channels", channel, "messages", "delta"):
                return self._delta(f"{team}/{channel}", request)
            case ("teams", team, "channels", channel, "messages", id):
                return self._one(f"{team}/{channel}", id)
            case ("teams", team, "channels", channel, "messages", _, "replies", id):
                return self._one(f"{team}/{channel}", id)
        from tests.support.graph.server import refusal

        return refusal(404, "NotFound")

    def _list_chats(self, request: Request) -> Response:
        def spoke_at(chat: str) -> str:
            return max((one["createdDateTime"] for one in self.messages[chat]), default="")

        found = list(self.chats)
        if request.query.get("$orderby") == "lastMessagePreview/createdDateTime desc":
            found.sort(key=spoke_at, reverse=True)
        shown = []
        for chat in found:
            last = max(self.messages[chat], key=lambda one: one["createdDateTime"], default=None)
            preview = (
                None
                if last is None
                else {
                    "id": last["id"],
                    "createdDateTime": last["createdDateTime"],
                    "isDeleted": False,
                    "messageType": "message",
                    "body": last["body"],
                }
            )
            with_it = request.query.get("$expand") == "lastMessagePreview"
            shown.append(self.chats[chat] | ({"lastMessagePreview": preview} if with_it else {}))
        return self._paged("chats", shown, request)

    def _list_messages(self, chat: str, request: Request) -> Response:
        from tests.support.graph.server import refusal

        found = sorted(self.messages[chat], key=lambda one: one["lastModifiedDateTime"], reverse=True)
        order, wanted = request.query.get("$orderby", ""), request.query.get("$filter", "")
        if order not in ("", "lastModifiedDateTime desc", "createdDateTime desc"):
            return refusal(400, "CodedError")
        if wanted and wanted.split(" ")[0] == order.split(" ")[0]:  # ignored otherwise, without a word
            after = datetime.fromisoformat(wanted.split(" ")[2])
            found = [one for one in found if datetime.fromisoformat(one["lastModifiedDateTime"]) > after]
        return self._paged("messages", [_view(one) for one in found], request)

    def _paged(self, what: str, items: list[Any], request: Request) -> Response:
        from tests.support.graph.server import listed

        skip = int(request.query.get("$skiptoken", "0"))
        top = min(int(request.query.get("$top", "20")), self.page_most, 50)
        on = (
            with_query(request, self._fake.base_url, skiptoken=skip + top)
            if len(items) > skip + top
            else None
        )
        return listed(self._fake, what, items[skip : skip + top], next=on)

    def _one(self, where: str, id: str) -> Response:
        from tests.support.graph.server import refusal

        found = [one for one in self.messages.get(where, []) if one["id"] == id]
        return Response(200, _view(found[0])) if found else refusal(404, "NotFound")

    def _delta(self, where: str, request: Request) -> Response:
        from tests.support.graph.server import listed, refusal

        if where not in self.messages:
            return refusal(404, "NotFound")
        token = request.query.get("$skiptoken") or request.query.get("$deltatoken")
        if token is None:
            after, since, queue = request.query["$filter"].split(" ")[2], 0, None
        elif token not in self._tokens:
            return refusal(410, "resyncRequired")
        else:
            _, since, after, queue = self._tokens[token]
        if queue is None:
            queue = [
                one["id"]
                for one in self.messages[where]
                if one["replyToId"] is None
                and one["seq"] > since
                and max(self._thread(where, one["id"])) > datetime.fromisoformat(after)
            ]
        size = min(int(request.query.get("$top", "50")), self.page_most)
        page, rest = queue[:size], queue[size:]
        name = f"{'s' if rest else 'd'}{len(self._tokens)}"
        self._tokens[name] = (where, since if rest else self._seq, after, rest or None)
        team, channel = where.split("/")
        base = f"{self._fake.base_url}/teams/{team}/channels/{channel}/messages/delta"
        link = f"{base}?${'skip' if rest else 'delta'}token={name}"
        shown = [
            _view(self.message(where, id))
            | {"replies": [_view(one) for one in self.messages[where] if one["replyToId"] == id]}
            for id in page
        ]
        links = {"next": link} if rest else {"delta": link}
        return listed(self._fake, "Collection(chatMessage)", shown, **links)

    def _thread(self, where: str, id: str) -> list[datetime]:
        whole = [one for one in self.messages[where] if id in (one["id"], one["replyToId"])]
        return [datetime.fromisoformat(one["lastModifiedDateTime"]) for one in whole]

    def _change(self, where: str, id: str, **fields: Any) -> None:
        message = self.message(where, id)
        message |= {**fields, "seq": self._tick()}
        if message["replyToId"]:
            self.message(where, message["replyToId"])["seq"] = self._seq

    def _tick(self) -> int:
        self._seq += 1
        return self._seq

    def _stamp(self) -> str:
        """Now, and a millisecond more for each thing that happened."""
        at: datetime = self._fake.now() + timedelta(milliseconds=next(self._numbers))
        return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _view(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "seq"}


ME = {
    "id": "87d349ed-44d7-43e1-9a83-5f2406dee5bd",
    "displayName": "Ana Example",
    "mail": "ana@example.org",
    "userPrincipalName": "ana@example.org",
}


class Fault(NamedTuple):
    """An answer in place of the right one, for the next request whose target has *match* in it."""

    response: Response
    match: str


def refusal(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as Graph spells it."""
    inner = {"date": "2026-01-05T09:00:00", "request-id": "0d4c1b0e-5f4c-4f6f-9a52-0a5c6e3d7f11"}
    error = {"code": code, "message": f"{code} happened", "innerError": inner}
    return Response(status, {"error": error}, headers or {})


class FakeGraph:
    """The fake.

    Attributes:
        mail, chats: what the account has; tests change it.
        tokens: those that are taken.
        requests: all that came, in their order.
        now: what time it is at Microsoft.
        before: called with each request before it is answered.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: START) -> None:
        self.now = now
        self.mail = Mailbox(self)
        self.chats = Chats(self)
        self.tokens = {"good"}
        self.requests: list[Request] = []
        self.before: Callable[[Request], None] = lambda _: None
        self.base_url = ""
        self._faults: deque[Fault] = deque()

    def fail(
        self,
        status: int,
        code: str = "TooManyRequests",
        *,
        match: str = "",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next *times* requests that have *match* in their target with an error."""
        self._faults.extend([Fault(refusal(status, code, headers), match)] * times)

    def answer(self, response: Response, *, match: str = "") -> None:
        """Answer the next request that has *match* in its target with this."""
        self._faults.append(Fault(response, match))

    @asynccontextmanager
    async def serving(
        self, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
    ) -> AsyncIterator["FakeGraph"]:
        async with serving(self._respond, around) as origin:
            self.base_url = f"{origin}/v1.0"
            yield self

    def asked(self, part: str) -> list[Request]:
        """The requests that have *part* in their target."""
        return [request for request in self.requests if part in request.target]

    def stamp(self) -> str:
        """Now, as Graph spells it."""
        return spell(self.now())

    def lets_in(self, token: str) -> bool:
        return token in self.tokens

    def _respond(self, request: Request) -> Response:
        self.requests.append(request)
        self.before(request)
        for fault in self._faults:
            if fault.match in request.target:
                self._faults.remove(fault)
                return fault.response
        if not self.lets_in(request.headers.get("authorization", "").removeprefix("Bearer ")):
            return refusal(401, "InvalidAuthenticationToken")
        if request.method != "GET":
            return refusal(405, "methodNotAllowed")
        match request.path:
            case ("v1.0", "me"):
                return Response(200, {"@odata.context": self.context("users/$entity"), **ME})
            case ("v1.0", "me", "chats", *_) | ("v1.0", "chats" | "teams", *_):
                return self.chats.respond(request)
            case ("v1.0", "me", *_):
                return self.mail.respond(request)
        return refusal(404, "ResourceNotFound")

    def context(self, what: str) -> str:
        return f"https://graph.microsoft.com/v1.0/$metadata#{what}"


def spell(at: datetime) -> str:
    """A time as Graph spells it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(fake: Any, context: str, items: list[Any], **links: str | None) -> Response:
    """A list; *links*: ``next`` and ``delta``."""
    body: dict[str, Any] = {"@odata.context": fake.context(context)}
    if links.get("next"):
        body["@odata.nextLink"] = links["next"]
    if links.get("delta"):
        body["@odata.deltaLink"] = links["delta"]
    return Response(200, {**body, "value": items})
