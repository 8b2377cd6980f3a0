"""Mail of the fake: folders, delta rounds with pages, removals, moves, and links that are forgotten."""

from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

import msgspec

from tests.support.graph.http import Request, Response, with_query

IMMUTABLE = 'IdType="ImmutableId"'
_PRIVATE = ("folder", "seq", "unique", "attachments", "came", "changed")


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
        if rest or (self.empty_first and not ids and round.queue):
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
