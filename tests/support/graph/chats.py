"""Teams of the fake: chats and channels, with edits, reactions and what is no message of a person's."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from tests.support.graph.http import Request, Response, with_query

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
