"""The contract between a run and a provider: a change stream in pages, each with a cursor.

A **page** lists messages that are new since the last cursor, with what is known of them without reading
them, and the cursor that is right once every message on it is settled. Whoever reads looks which of them
are known, asks for the others (``read``), and stores the cursor when nothing of the page is open any
more. So a connector keeps nothing between two calls, and is free to list a message again: it is told apart
by its key.

A connector knows no storage, never sleeps by itself, never sees a refresh token, and marks nothing as read.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict

from hub.clock import Chance, Clock
from hub.connectors.calling import Answer, Caller
from hub.connectors.failures import ConnectorFailure
from hub.connectors.filters import Filter
from hub.connectors.throttle import Quota
from hub.connectors.tokens import Tokens
from hub.document import Document

Cursor = dict[str, Any]  # opaque to everybody but its connector; plain JSON, at most 64 KiB
API_VERSION = 1
PAGE_MESSAGES = 100  # on one page at most: so many heads are held at once


class Auth(StrEnum):
    """How a person gives the hub access."""

    OAUTH2 = "oauth2"  # by a browser; see ``OAuth``
    PASSWORD = "password"  # or an app password
    SECRET = "secret"  # that both sides share, and sign with
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class OAuth:
    """Where and how a person signs in at a provider (RFC 6749, 7636, 8252, 8628).

    Attributes:
        device_url: of the device grant; ``None``: the provider has none for these scopes.
        revoke_url: ``None``: a token cannot be revoked by itself.
        authorize: parameters that the authorize URL has beside the standard's.
        loopback: how a redirect to this machine is spelled: ``127.0.0.1`` or ``localhost``.
    """

    authorize_url: str
    token_url: str
    scopes: tuple[str, ...]
    device_url: str | None = None
    revoke_url: str | None = None
    authorize: tuple[tuple[str, str], ...] = ()
    loopback: str = "127.0.0.1"


class ProviderSettings(BaseModel):
    """What hub.toml says of a provider beside its name: ``settings`` of ``[[connectors]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(msgspec.Struct, frozen=True):
    """Whose mail it is. *email* in small letters."""

    email: str
    name: str = ""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """What hangs on to a message; ``read`` alone fetches it, and only where the filter asks for it."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    is_inline: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a message before it is read.

    Attributes:
        key: the same whenever, from whichever folder and in whichever round it is listed: ``mid:`` and its
            Message-ID, else the provider's own name for it; at most 1,000 characters.
        copy: the provider's name for this copy, where anybody may send something else under the same key.
        version: of what may change under one key (an event, a chat message that was edited); else empty.
        place: what ``read`` finds it by; the connector's own, plain JSON.
        received_at: by the provider's clock, aware UTC; ``None``: it does not tell.
        sent_at: what the sender claims; never compared with a cursor.
        is_bulk: a list, a newsletter, an automatic answer.
        is_sent: by the owner of the mailbox.
        link: opens it where it is at home.
        fault: why nothing else is known of it, and ``read`` cannot read it.
    """

    key: str
    copy: str = ""
    version: str = ""
    place: Any = None
    received_at: datetime | None = None
    sent_at: datetime | None = None
    sender: Address | None = None
    recipients: tuple[Address, ...] = ()
    subject: str = ""
    labels: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: dict[str, str] = {}  # those that a filter may name, in small letters
    thread: str | None = None
    size_bytes: int | None = None
    is_bulk: bool = False
    is_sent: bool = False
    is_unread: bool | None = None
    mentions_me: bool | None = None
    link: str | None = None
    fault: str = ""

    @property
    def seen_key(self) -> str:
        """Return the key in the ledger of seen messages: the copy, where there may be several."""
        return f"{self.key}\0{self.copy}" if self.copy else self.key

    def content_key(self, text: str) -> str:
        """The key together with what the message says: copies of one message have it in common."""
        said = " ".join(text.split())
        return f"{self.key}\0sha256:{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()}"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, in the order in which they came to be, and the cursor behind them.

    Attributes:
        cursor: right when all messages up to here are settled; ``None``: there is no point of return here.
        is_backfill: the stream had no cursor, or has lost it: most of these may be known.
    """

    messages: tuple[Message, ...] = ()
    cursor: Cursor | None = None
    is_backfill: bool = False


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be read.

    *is_gone*: it was removed meanwhile, and nothing is wrong. *is_final*: it will never be read, so
    that no later run tries it.
    """

    reason: str
    is_gone: bool = False
    is_final: bool = False


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who the provider says that we are. *detail*: for people, as in "INBOX: 1,203 messages"."""

    name: str
    detail: str = ""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody posted to a webhook, as the inbox keeps it until it is settled."""

    id: str
    key: str  # of the message that it is
    received_at: datetime
    media_type: str
    event: str
    body: bytes


class Inbox(Protocol):
    """What was posted to this connector and is not settled yet."""

    async def waiting(self, after: str, most: int) -> Sequence[Posted]:
        """The next ones, oldest first, behind the one with the id *after* (empty: from the beginning)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a connector is given. It opens nothing else.

    Attributes:
        account: what the connector is called in hub.toml, for messages to people.
        identity: of the mailbox, where a sign-in told it: an address; else empty.
        caller: speaks HTTP for it: addresses, tries, throttle, tokens.
        tokens: access tokens; only of OAUTH2.
        secret: the password or shared secret, looked up anew each time; raises ``SignInNeeded``.
        inbox: of a webhook.
    """

    account: str
    clock: Clock
    chance: Chance
    caller: Caller
    tokens: Tokens | None = None
    secret: Callable[[], str] | None = None
    inbox: Inbox | None = None
    identity: str = ""


class Connector(ABC):
    """One account at a provider, as one run reads it with its filter.

    Made for a run and closed after it. Every method raises ``ConnectorFailure`` alone.
    """

    provider: ClassVar[str]
    auth: ClassVar[Auth]
    settings_model: ClassVar[type[ProviderSettings]] = ProviderSettings
    filter_model: ClassVar[type[Filter]] = Filter
    min_interval_s: ClassVar[float] = 60.0  # between two runs that a schedule starts
    needs_model: ClassVar[bool] = True  # whether its documents are prose
    can_push: ClassVar[bool] = False  # whether ``wait_for_news`` does
    api_version: ClassVar[int] = API_VERSION

    def __init__(self, context: Context, settings: Any, filter: Any) -> None:
        """Args: *settings* of its ``settings_model``, *filter* of its ``filter_model``."""
        self.context = context
        self.settings = settings
        self.filter = filter

    @classmethod
    def oauth(cls, settings: Any) -> OAuth | None:
        """How a person signs in; ``None``: not by OAuth."""
        return None

    @classmethod
    def origin(cls, settings: Any) -> str:
        """What its cursors belong to: at another server, or for another user, they are worth nothing."""
        return cls.provider

    @classmethod
    def origins(cls, settings: Any) -> frozenset[str]:
        """Where its caller may ask: scheme, host and port, as ``calling.origin_of`` spells them."""
        return frozenset()

    @classmethod
    def quota(cls, settings: Any) -> Quota:
        """What the provider allows one account."""
        return Quota()

    @staticmethod
    def judge(answer: Answer) -> ConnectorFailure | None:
        """What a status that was not wanted means at this provider; ``None``: what it means elsewhere."""
        return None

    @abstractmethod
    async def check(self) -> Account:
        """Look whether it could work now; cheap, and changes nothing."""

    @abstractmethod
    def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        """What is new behind *cursor*; without one, what was received at or after *since*.

        Raises:
            CursorLost: it is lost before the first page; asked again without one, and with another *since*.
        """

    @abstractmethod
    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        """Each of them with its text, or with why it has none; in any order, none left out.

        The document's ``unit_key`` is the message's key.
        """

    async def wait_for_news(self) -> None:
        """Return when something may be new, at the latest after half an hour. Only where ``can_push``."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of connections. May be called twice."""


ConnectorClass = type[Connector]
