"""Mailboxes that fill while a hub reads them: a real mail server, and two that speak Gmail's API and Graph.

All outlive the hub that reads them. Those of Gmail and Graph give access tokens that last two seconds, keep
their refresh token as Google does, lose their history once, and answer wrongly now and then.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import httpx2
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount

from hub.base.clock import SystemClock
from tests.hub.connectors.imap_rig import wire_to
from tests.support.asgi import serving
from tests.support.dovecot import PASSWORD, Dovecot, running_dovecot
from tests.support.gmail import JSON, FakeGmail, Fault, refusal
from tests.support.graph.server import FakeGraph
from tests.support.oauth import CLIENT, OAuthServer
from tests.support.processes import HubProcess
from tests.support.rude import Rude, Wrong

TOKEN_S: Final = 2.0
_FORGETS_AT: Final = 10  # troubles
_USER: Final = "ana"
# What Google and the machines before it answer, too: away, too much, cut in the middle, a page for people.
_WRONG: Final[tuple[Callable[[], Response], ...]] = (
    lambda: refusal(503, "backendError"),
    lambda: refusal(429, "rateLimitExceeded", headers={"retry-after": "1"}),
    lambda: Response('{"messages": [{"id": "m0', headers=JSON),
    lambda: refusal(403, "userRateLimitExceeded"),
    lambda: Response("<html>Error</html>", 502, headers={"content-type": "text/html"}),
)


_RUDE: Final[tuple[Wrong, ...]] = ("broken", "busy", "cut", "page", "drip")


class Mailbox(ABC):
    """Where mails arrive, and what hub.toml says of it.

    Attributes:
        settings: of hub.toml: the table of the connector *work*.
        filter: of its agent, as TOML.
        given: constants of the hub that are others.
    """

    settings: str
    filter = "max_messages = 100"
    given: Sequence[str] = ()

    @abstractmethod
    def deliver(self, mails: Sequence[bytes]) -> None:
        """They arrive, in this order."""

    @abstractmethod
    def is_behind_all(self, cursor: dict[str, Any]) -> bool:
        """Return True if the stored cursor of the hub is behind the last mail."""

    async def sign_in(self, hub: HubProcess) -> None:  # noqa: B027 - most have a password
        """Do what a person does once, at a hub that runs."""

    def trouble(self) -> None:  # noqa: B027 - most have none
        """Something goes wrong that may, and passes."""

    def told(self) -> dict[str, int]:
        """What went on beside it, for people."""
        return {}


class ImapMailbox(Mailbox):
    """At a real mail server."""

    def __init__(self, server: Dovecot, port: int, folder: Path) -> None:
        self._server = server
        self._mails = 0
        secret = folder / "imap.password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        self.filter = 'folders = ["INBOX"], max_messages = 100'
        self.settings = f"""\
provider = "imap"
secret = {{ file = "{secret}" }}
settings = {{ host = "{server.host}", port = {port}, tls = "none", username = "{_USER}" }}
"""

    def deliver(self, mails: Sequence[bytes]) -> None:
        self._server.deliver(_USER, list(mails))
        self._mails += len(mails)

    def is_behind_all(self, cursor: dict[str, Any]) -> bool:
        return bool(cursor["folders"]["INBOX"]["uid"] == self._mails)


class SignedInMailbox(Mailbox):
    """At a server with one beside it that signs people in."""

    given = (  # or few runs would begin or end between two kills
        *(
            "--given",
            "hub.connectors.calling:MIN_WAIT_S=0.05",
            "--given",
            "hub.connectors.calling:MAX_WAIT_S=0.2",
        ),
        *("--given", "hub.runs.mailbox_visit:CIRCUIT_BASE_S=0.2"),
    )

    def __init__(self, op: OAuthServer) -> None:
        self._op = op
        self._troubles = 0

    async def sign_in(self, hub: HubProcess) -> None:
        begun = await hub.post("/v1/connectors/work/sign-in", {"way": "paste"})
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(begun["url"])
        await hub.post("/v1/connectors/work/sign-in/answer", {"address": answer.headers["location"]})
        self._op.omits_refresh = True  # from now on, as Google does

    def trouble(self) -> None:
        self._troubles += 1
        if self._troubles == _FORGETS_AT:
            self.forget()
        else:
            self.answer_wrongly()

    @abstractmethod
    def forget(self) -> None:
        """Lose the history."""

    @abstractmethod
    def answer_wrongly(self) -> None:
        """Answer the next request wrongly."""

    def told(self) -> dict[str, int]:
        return {"tokens refreshed": len(self._op.refreshes), "wrong answers laid": self._troubles}


class GmailMailbox(SignedInMailbox):
    """At a server that speaks Gmail's API."""

    def __init__(self, google: FakeGmail, op: OAuthServer, api: str, sign_in: str) -> None:
        super().__init__(op)
        self._google = google
        self._wrong = cycle(_WRONG)
        self._clock = SystemClock()
        self.settings = f"""\
provider = "gmail"
client_id = "{CLIENT}"
[connectors.settings]
base_url = "{api}"
authorize_url = "{sign_in}/authorize"
token_url = "{sign_in}/token"
revoke_url = "{sign_in}/revoke"
units_per_min = 1_000_000
"""

    def deliver(self, mails: Sequence[bytes]) -> None:
        for mail in mails:
            self._google.deliver(mail, self._clock.now())

    def is_behind_all(self, cursor: dict[str, Any]) -> bool:
        return int(cursor["history_id"]) >= self._google.records[-1][0]

    def forget(self) -> None:
        self._google.forget_history()

    def answer_wrongly(self) -> None:
        self._google.faults[:] = [Fault("/", next(self._wrong))]

    def told(self) -> dict[str, int]:
        return super().told() | {"histories refused (404)": self._google.refused_histories}


class OutlookMailbox(SignedInMailbox):
    """At a server that speaks Microsoft Graph."""

    def __init__(self, graph: FakeGraph, rude: Rude, op: OAuthServer, sign_in: str) -> None:
        super().__init__(op)
        self._graph = graph
        self._rude = rude
        self.settings = f"""\
provider = "outlook"
client_id = "{CLIENT}"
[connectors.settings]
base_url = "{graph.base_url}"
login_url = "{sign_in}"
"""

    def deliver(self, mails: Sequence[bytes]) -> None:
        for mail in mails:
            self._graph.mail.receive(mail)

    def is_behind_all(self, cursor: dict[str, Any]) -> bool:
        return self._graph.mail.is_end(cursor["folders"]["inbox"]["delta"])

    def forget(self) -> None:
        self._graph.mail.forget(next=True, delta=True)

    def answer_wrongly(self) -> None:
        at, wrong = self._rude.requests + 1, _RUDE[self._troubles % len(_RUDE)]
        self._rude.wrong = lambda number: wrong if number == at else None


class _Google(FakeGmail):
    """Gmail that takes the tokens of the sign-in server beside it."""

    op: OAuthServer

    def lets_in(self, token: str) -> bool:
        return self.op.is_good(token)


class _Microsoft(FakeGraph):
    """Microsoft Graph that takes the tokens of the sign-in server beside it."""

    op: OAuthServer

    def lets_in(self, token: str) -> bool:
        return self.op.is_good(token)


@contextmanager
def imap_mailbox(folder: Path, *, cuts_every: int = 0) -> Iterator[ImapMailbox]:
    """At a dovecot of its own. *cuts_every*: of all commands, each of that number ends its connection."""
    with running_dovecot() as server, wire_to(server.port) as line:
        line.cuts_every = cuts_every
        yield ImapMailbox(server, line.port, folder)


@asynccontextmanager
async def gmail_mailbox() -> AsyncIterator[GmailMailbox]:
    """With both of its servers."""
    clock = SystemClock()
    google = _Google()
    google.op = OAuthServer(lambda: clock.now().timestamp(), ttl_s=TOKEN_S, rotates=False)
    async with serving(google) as api, serving(google.op.app) as sign_in:
        yield GmailMailbox(google, google.op, api, sign_in)


@asynccontextmanager
async def outlook_mailbox() -> AsyncIterator[OutlookMailbox]:
    """With both of its servers."""
    clock, rude = SystemClock(), Rude()
    graph = _Microsoft(clock.now)
    graph.op = OAuthServer(lambda: clock.now().timestamp(), ttl_s=TOKEN_S, rotates=False)
    door = Starlette(routes=[Mount("/common/oauth2/v2.0", graph.op.app)])
    async with graph.serving(rude.before), serving(door) as sign_in:
        yield OutlookMailbox(graph, rude, graph.op, sign_in)
