"""Contract between a run and a connector: settings, filter, pages of messages, and their documents.

The contract is a stream of changes in pages, each with a cursor. A **page** lists messages that are new since
the last cursor, with their metadata. Its cursor is valid once every message of the page is settled. The run
skips known messages, reads the others (``read``), and stores the cursor when no message of the page is open.
So a connector keeps no state between two calls, and may list a message again: its key identifies it.

A connector has no access to storage or refresh tokens, never sleeps by itself, and marks nothing as read. The
date of a message is the sender's, unless the provider's is more than 30 days away.

A provider adds fields to the filter (``filter`` of ``[[agents]]`` in hub.toml); ``selection`` applies it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hub.base.clock import Chance, Clock
from hub.connectors.calling import (
    AccessTokens,
    ConnectorFailure,
    CursorLost,
    HttpReply,
    ProviderCaller,
    ProviderQuota,
    Refusals,
    Shown,
    Unread,
)
from hub.connectors.sdk.json_paths import steps_of
from hub.document import Document
from hub.text.files import MAIL
from hub.text.parts import cut_parts
from hub.text.patterns import BadPattern, pattern_of
from protocol.items import MAX_AUTHOR_CHARS, Provenance, ProvenanceOrigin

T = TypeVar("T")

JsonPath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(lambda path: steps_of(path) and path),
]

MAX_WORDS: Final = 100
Words = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=300)], ...], Field(max_length=MAX_WORDS)
]


def _pattern(written: str) -> str:
    try:
        pattern_of(written)
    except BadPattern as error:
        raise ValueError(str(error)) from error
    return written


class AttachmentFilter(BaseModel):
    """Table ``attachments``: names are always listed, contents are read only on request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fetch: bool = Field(default=False, description="Read what is in them, too.")
    types: Words = Field(
        default=(), description='Media types that are read, as in "application/pdf"; none: all.'
    )
    max_mb: float = Field(default=10.0, gt=0, le=25, description="Larger ones are named only.")


class Filter(BaseModel):
    """Filter with the fields that all providers share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    from_any: Words = Field(default=(), description='Senders: addresses, "@domain", or parts of a name.')
    not_from: Words = Field(default=(), description="Senders that are left out.")
    subject_any: Words = Field(default=(), description="Words of which the subject has one.")
    subject_regex: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None, max_length=200, description="A pattern that is found in the subject; (?i) ignores case."
    )
    unread_only: bool = Field(default=False, description="Only unread messages.")
    include_bulk: bool = Field(default=False, description="Lists, newsletters and automatic answers, too.")
    include_sent: bool = Field(default=False, description="What the owner wrote, too.")
    has_attachment: bool | None = Field(default=None, description="Only with attachments, or only without.")
    attachments: AttachmentFilter = AttachmentFilter()
    max_chars: int = Field(default=12_000, ge=200, le=200_000, description="Of one message.")
    max_messages: int = Field(default=200, ge=1, le=10_000, description="Read in one run; the next goes on.")
    lookback_days: int = Field(
        default=7, ge=0, le=90, description="How far back the first run looks; 0: from now."
    )
    quoted: Literal["context", "drop", "keep"] = Field(
        default="context", description="What becomes of quoted mail."
    )


Cursor = dict[str, Any]  # opaque to all code but its connector; plain JSON, at most 64 KiB
API_VERSION = 1
_CREDIBLE: Final = timedelta(days=30)  # maximum difference between the sender's date and the provider's
PAGE_MESSAGES = 100  # maximum on one page, which limits the memory for headers


class Auth(StrEnum):
    """Method by which a person gives the hub access."""

    OAUTH2 = "oauth2"  # by a browser; see ``OAuth``
    PASSWORD = "password"  # or an app password
    SECRET = "secret"  # shared by both sides, for signatures
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class OAuth:
    """OAuth endpoints and parameters of a provider (RFC 6749, 7636, 8252, 8628).

    Attributes:
        device_url: endpoint of the device grant; ``None``: not available for these scopes.
        revoke_url: ``None``: the provider cannot revoke a single token.
        authorize: additional parameters of the authorize URL.
        loopback: host of the redirect to this machine: ``127.0.0.1`` or ``localhost``.
    """

    authorize_url: str
    token_url: str
    scopes: tuple[str, ...]
    device_url: str | None = None
    revoke_url: str | None = None
    authorize: tuple[tuple[str, str], ...] = ()
    loopback: str = "127.0.0.1"


class ProviderSettings(BaseModel):
    """Provider-specific settings in hub.toml: ``settings`` of ``[[connectors]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def protection(self) -> Sequence[str]:
        """Return what protects a secret on its way, if the settings change that."""
        return ()

    def problem_of_files(self) -> str | None:
        """Return why this node cannot use a file that the settings name, or None."""
        return None


# Bounds of what a stranger sends; those of a message are checked for each connector where a run lists it.
MAX_KEY_CHARS: Final = 1_000
MAX_VERSION_CHARS: Final = 128
MAX_WORD_CHARS: Final = 1_000
MAX_LINK_CHARS: Final = 2_000  # of an item's source
Word = Annotated[str, Meta(max_length=MAX_WORD_CHARS)]


class Address(msgspec.Struct, frozen=True):
    """Mail address with the owner's name. *email* is in lower case."""

    email: Shown
    name: Shown = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.name and self.email else self.email or self.name


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """Attachment of a message; only ``read`` fetches it, and only if the filter asks for it."""

    id: Word
    name: Shown
    media_type: Word
    size_bytes: int
    is_inline: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of a message before it is read.

    Attributes:
        key: identical whenever and in whichever folder the message is listed: ``mid:`` and its Message-ID,
            else the provider's id for it; at most 1,000 characters.
        copy: the provider's id of this copy, where senders can reuse a key for other content.
        version: version of content that may change under one key (an event, an edited chat message); else
            empty.
        place: data by which ``read`` locates the message; private to the connector, plain JSON.
        received_at: time by the provider's clock, aware UTC; ``None`` if unknown.
        sent_at: time claimed by the sender; never compared with a cursor.
        is_bulk: a mailing list, a newsletter or an automatic answer.
        is_sent: sent by the owner of the mailbox.
        is_verified: the mailbox's own server verified the domain of *sender*.
        link: opens the message in the provider's application.
        fault: why the message has no other metadata, and cannot be read.
        refusal: in addition to a fault that a later run may not meet.
    """

    key: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARS)]
    copy: Word = ""
    version: Annotated[str, Meta(max_length=MAX_VERSION_CHARS)] = ""
    place: Any = None
    received_at: datetime | None = None
    sent_at: datetime | None = None
    sender: Address | None = None
    recipients: Annotated[tuple[Address, ...], Meta(max_length=1_000)] = ()
    subject: Shown = ""
    labels: Annotated[tuple[Word, ...], Meta(max_length=1_000)] = ()
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=1_000)] = ()
    # headers that a filter may name, in lower case
    headers: Annotated[dict[Word, Shown], Meta(max_length=1_000)] = {}
    size_bytes: int | None = None
    is_bulk: bool = False
    is_sent: bool = False
    is_verified: bool = False
    is_unread: bool | None = None
    link: Annotated[str, Meta(max_length=MAX_LINK_CHARS)] | None = None
    fault: Shown = ""
    refusal: Unread | None = None

    @classmethod
    def refused(cls, key: str, refusal: Unread, **place: Any) -> "Message":
        """Return a message whose metadata the provider refuses now, unlike those of others."""
        return cls(key=key, fault=refusal.reason, refusal=refusal, **place)

    def within_bounds(self) -> "Message":
        """Return the message, or one with a fault if a field that is kept is longer than its bound."""
        for name, most in _STORED_BOUNDS.items():
            if len(getattr(self, name) or "") > most:
                digest = hashlib.sha256(self.key.encode("utf-8", "replace")).hexdigest()
                return Message(key=f"broken:{digest}", fault=f"its {name} has more than {most:,} characters")
        return self

    @property
    def seen_key(self) -> str:
        """Return the key in the ledger of seen messages; it includes the copy where several may exist."""
        return f"{self.key}\0{self.copy}" if self.copy else self.key

    @property
    def written_at(self) -> datetime | None:
        """Return the reference date for dates in the text: the sender's date, if it is plausible."""
        sent, received = self.sent_at, self.received_at
        if sent is not None and received is not None and abs(sent - received) > _CREDIBLE:
            return received
        return sent or received

    def document(
        self,
        text: str,
        content_hash: str,
        *,
        media_type: str = MAIL,
        hidden_parts: int = 0,
        guessed: str | None = None,
        parts: Mapping[str, int] | None = None,
        origin: ProvenanceOrigin = ProvenanceOrigin.MAIL,
        max_chars: int | None = None,
    ) -> Document:
        """Return the document of this message with its *text*; whether its sender is known, a run decides.

        Args:
            max_chars: limit of the text; a longer one is cut, which counts among the *parts*.
        """
        author = str(self.sender)[:MAX_AUTHOR_CHARS] if self.sender else None
        return Document(
            unit_key=self.key,
            text=text[:max_chars],
            content_hash=content_hash,
            media_type=media_type,
            modified_at=self.written_at,
            hidden_parts=hidden_parts,
            guessed=guessed,
            parts=dict(parts or {}) | cut_parts(media_type, text, max_chars),
            link=self.link if len(self.link or "") <= MAX_LINK_CHARS else None,
            title=self.subject or None,
            provenance=Provenance(origin=origin, author=author, trusted=False),
        )

    def content_key(self, text: str) -> str:
        """Return a key that includes a digest of the content; it is equal for equal copies of a message."""
        normalized = " ".join(text.split())
        return f"{self.key}\0sha256:{hashlib.sha256(normalized.encode('utf-8', 'replace')).hexdigest()}"


_STORED_BOUNDS: Final = {"key": MAX_KEY_CHARS, "copy": MAX_WORD_CHARS, "version": MAX_VERSION_CHARS}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in the order of their creation, and the cursor after them.

    Attributes:
        cursor: valid when all messages up to here are settled; ``None``: a later run cannot resume here.
        is_backfill: the stream started without a cursor, so that many messages may be known.
    """

    messages: tuple[Message, ...] = ()
    cursor: Cursor | None = None
    is_backfill: bool = False


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Account of the hub at the provider. *detail*: for people, as in "INBOX: 1,203 messages"."""

    name: Shown
    detail: Shown = ""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """Post to a webhook, as the inbox keeps it until it is settled."""

    id: str
    key: str  # of the message
    received_at: datetime
    media_type: str
    event: str
    body: bytes


# Returns unsettled posts to a webhook: those after an id (empty: from the start), so many at most.
Inbox = Callable[[str, int], Awaitable[Sequence[Posted]]]


@dataclass(frozen=True, kw_only=True)
class Context:
    """Resources of a connector, which opens no others.

    Attributes:
        account: name of the connector in hub.toml, for messages to people.
        identity: address of the mailbox, if the sign-in returned it; else empty.
        caller: HTTP client with address checks, retries, throttle and tokens.
        tokens: access tokens; only with OAUTH2.
        secret: returns the password or shared secret, resolved at each call; raises ``SignInNeeded``.
        inbox: returns the posts to a webhook.
    """

    account: str
    clock: Clock
    chance: Chance
    caller: ProviderCaller
    tokens: AccessTokens | None = None
    secret: Callable[[], str] | None = None
    inbox: Inbox | None = None
    identity: str = ""


class Connector(ABC):
    """Connector to one account at a provider, with the filter of one run.

    Created for a run and closed after it. All methods raise only ``ConnectorFailure``.
    """

    provider: ClassVar[str]
    auth: ClassVar[Auth]
    settings_model: ClassVar[type[ProviderSettings]] = ProviderSettings
    filter_model: ClassVar[type[Filter]] = Filter
    can_push: ClassVar[bool] = False  # True if ``wait_for_news`` is implemented
    api_version: ClassVar[int] = API_VERSION
    revision: ClassVar[str] = ""  # differs after a change of a file that describes the connector

    def __init__(self, context: Context, settings: Any, filter: Any) -> None:
        """Initialize with *settings* of its ``settings_model`` and *filter* of its ``filter_model``."""
        self.context = context
        self.settings = settings
        self.filter = filter
        self.refusals = Refusals()

    @classmethod
    def variant(cls, provider: str, settings: Mapping[str, Any], folder: Path) -> "type[Connector]":
        """Return the class for an entry of hub.toml, whose settings may name a file that describes it.

        Args:
            folder: of hub.toml.

        Raises:
            UnknownProvider: the file does not describe a connector.
        """
        return cls

    @classmethod
    def oauth(cls, settings: Any) -> OAuth | None:
        """Return the parameters of an OAuth sign-in, or None for other methods."""
        return None

    @classmethod
    def origin(cls, settings: Any) -> str:
        """Return the scope of its cursors: they are invalid at another server or for another user."""
        return cls.provider

    @classmethod
    def origins(cls, settings: Any) -> frozenset[str]:
        """Return the origins that its caller may contact, as ``calling.origin_of`` spells them."""
        return frozenset()

    @classmethod
    def quota(cls, settings: Any) -> ProviderQuota:
        """Return the provider's limits for one account."""
        return ProviderQuota()

    @staticmethod
    def judge(answer: HttpReply) -> ConnectorFailure | None:
        """Interpret an unaccepted status at this provider; None: the general meaning applies."""
        return None

    @abstractmethod
    async def check(self) -> Account:
        """Check that the account works now; cheap and without side effects."""

    @abstractmethod
    def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        """Yield the messages after *cursor*; without a cursor, those received at or after *since*.

        Raises:
            CursorLost: before the first page; the caller retries without a cursor and with another *since*.
        """

    @abstractmethod
    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        """Yield each message with its text, or with the reason for a missing text; in any order.

        No message has a fault (see ``documents_of``). The document's ``unit_key`` is the message's key.
        """

    async def wait_for_news(self) -> None:
        """Wait until new messages may exist, for at most half an hour. Only if ``can_push``."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - most connectors have nothing to close
        """Close connections. May be called twice."""


ConnectorClass = type[Connector]


async def documents_of(
    connector: Connector, messages: Sequence[Message]
) -> AsyncGenerator[tuple[Message, Document | Unread]]:
    """Yield the documents of messages as ``Connector.read``, and of those with a fault the fault."""
    sound: list[Message] = []
    for message in messages:
        if message.fault:
            yield message, message.refusal or Unread(reason=message.fault, is_final=True)
        else:
            sound.append(message)
    if sound:
        async with aclosing(connector.read(sound)) as found:
            async for document in found:
                yield document


def read_cursor(stored: Any, kind: type[T]) -> T:
    """Decode a cursor, or a part of it. Raises CursorLost if it is of another release."""
    try:
        return msgspec.convert(stored, kind)
    except msgspec.ValidationError as error:
        raise CursorLost("the cursor is not one of this release") from error
