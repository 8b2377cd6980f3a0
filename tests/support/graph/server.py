"""The fake: one account's mailbox, chats and channels, driven by the test and asked over HTTP.

It is strict about what clients get wrong: tokens, headers that belong on every request, options on a link,
a filter that is ignored without its order, links that are forgotten, ids that change when mail moves.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.support.clock import START
from tests.support.graph.chats import Chats
from tests.support.graph.http import Request, Response, serving
from tests.support.graph.mailbox import Mailbox

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
    async def serving(self) -> AsyncIterator["FakeGraph"]:
        async with serving(self._respond) as origin:
            self.base_url = f"{origin}/v1.0"
            yield self

    def asked(self, part: str) -> list[Request]:
        """The requests that have *part* in their target."""
        return [request for request in self.requests if part in request.target]

    def stamp(self) -> str:
        """Now, as Graph spells it."""
        return spell(self.now())

    def _respond(self, request: Request) -> Response:
        self.requests.append(request)
        self.before(request)
        for fault in self._faults:
            if fault.match in request.target:
                self._faults.remove(fault)
                return fault.response
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
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
