"""Gmail connector: history of a mailbox, selection of labels, reading of mails.

Without a cursor, the mailbox is **back-filled**: its history id is recorded first, then all ids of the
requested time are listed and read, oldest first. Then the **history** is followed from the recorded id. So
messages that arrive in between are listed twice, but never missed. History ids are opaque and never compared.
Messages excluded by labels are removed before they are read, because listing costs a hundredth of reading.

A message has the same quota cost with or without its body, so it is fetched once: messages fetched by
``pages`` are cached for ``read``, up to a size. Nothing is marked as read.

Client of Gmail's API, and the structure of its messages: headers, bodies and attachments.

Batches of requests are not used. Each request in a batch has its full cost, and an account may have at most
four concurrent requests; a larger batch fails with "too many concurrent requests".

Gmail converts bodies to UTF-8, but keeps the old charset in their headers. Large parts are not included; they
are fetched by an id that is valid only for this answer.
"""

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any, ClassVar, Final, Literal, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
from pydantic import Field

from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.name_lists import counted
from hub.connectors.calling import (
    BaseUrl,
    ConnectorFailure,
    CursorLost,
    HttpReply,
    MessageUnreadable,
    Misconfigured,
    Params,
    PermissionMissing,
    ProviderBusy,
    ProviderCaller,
    ProviderQuota,
    SignInNeeded,
    Unavailable,
    Unread,
    origin_of,
)
from hub.connectors.connector import (
    Account,
    Attachment,
    Auth,
    Connector,
    Context,
    Cursor,
    Filter,
    Message,
    OAuth,
    Page,
    ProviderSettings,
    Words,
    read_cursor,
)
from hub.connectors.mime import GOOGLE, Letters, MailHead, message_key, read_head
from hub.document import Document
from hub.text.files import HTML, MAIL, MIB, PLAIN
from hub.text.letter_text import (
    MAX_DEPTH,
    MAX_LETTER_BYTES,
    MAX_PARTS,
    PARTS,
    Enclosure,
    Letter,
    LetterBody,
    LetterOptions,
    is_stub,
)
from hub.text.mail_wrappers import flow_of
from hub.text.mime import header_text
from protocol.frame import NO_JSON, read_json
from protocol.similar_names import did_you_mean

AT_ONCE: Final = 4  # concurrent requests of one user
GET_UNITS: Final = 20.0
SMALL_UNITS: Final = 1.0  # profile, labels
LISTED: Final = 500  # ids on one page, the maximum

_PACIFIC: Final = ZoneInfo("America/Los_Angeles")  # time zone of Google's quota day
_RETRY_AT: Final = re.compile(r"[Rr]etry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")
_BUSY: Final = frozenset(
    {
        "ratelimitexceeded",
        "userratelimitexceeded",
        "rate_limit_exceeded",
        "quotaexceeded",
        "resource_exhausted",
    }
)
_NO_MAILBOX: Final = frozenset(("failedprecondition", "failed_precondition"))

T = TypeVar("T")


class GmailSettings(ProviderSettings):
    """Addresses and quota of Google."""

    base_url: BaseUrl = Field(default="https://gmail.googleapis.com", description="Of Gmail's API.")
    authorize_url: BaseUrl = Field(
        default="https://accounts.google.com/o/oauth2/v2/auth", description="Where a person signs in."
    )
    token_url: BaseUrl = Field(
        default="https://oauth2.googleapis.com/token", description="Where tokens are had."
    )
    revoke_url: BaseUrl = Field(
        default="https://oauth2.googleapis.com/revoke", description="Where a sign-in is ended."
    )
    units_per_min: float = Field(
        default=6_000.0,
        ge=100,
        le=1_000_000,
        description="What Google allows one user in a minute; projects made before May 2026 have 15000.",
    )


class Ref(msgspec.Struct, frozen=True, rename="camel"):
    """Message in a list. *label_ids*: ``None`` if not included."""

    id: str
    label_ids: tuple[str, ...] | None = None


class GmailListing(msgspec.Struct, frozen=True, rename="camel"):
    messages: tuple[Ref, ...] = ()
    next_page_token: str | None = None


class Added(msgspec.Struct, frozen=True):
    message: Ref


class Record(msgspec.Struct, frozen=True, rename="camel"):
    id: str | int
    messages_added: tuple[Added, ...] = ()


class HistoryPage(msgspec.Struct, frozen=True, rename="camel"):
    history: tuple[Record, ...] = ()
    history_id: str | int | None = None
    next_page_token: str | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    email_address: str = ""
    history_id: str | int | None = None
    messages_total: int | None = None


class GmailLabel(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Labels(msgspec.Struct, frozen=True):
    labels: tuple[GmailLabel, ...] = ()


class _Raw(msgspec.Struct, frozen=True):
    raw: str = ""


class Api:
    """Client of Gmail for the user of the access token."""

    def __init__(self, caller: ProviderCaller, base_url: str) -> None:
        self._caller = caller
        self._base = f"{base_url}/gmail/v1/users/me"

    async def profile(self) -> Profile | None:
        """Return the user's address and newest history id, or None if the server does not support it."""
        answer = await self._ask("profile", accept=(200, 404, 501), units=SMALL_UNITS)
        return _read(answer, Profile) if answer.status == 200 else None

    async def labels(self) -> tuple[GmailLabel, ...]:
        return _read(await self._ask("labels", units=SMALL_UNITS), _Labels).labels

    async def listed(self, *, q: str = "", labels: Sequence[str] = (), most: int | None = None) -> list[Ref]:
        """List messages that match *q* and have all of *labels*, newest first, without spam and trash."""
        found: list[Ref] = []
        params: dict[str, str | Sequence[str]] = {"maxResults": str(min(most or LISTED, LISTED))}
        params |= ({"q": q} if q else {}) | ({"labelIds": list(labels)} if labels else {})
        seen: set[str] = set()
        while True:
            page = _read(await self._ask("messages", params=params, units=5.0), GmailListing)
            found += page.messages
            if not page.next_page_token or (most is not None and len(found) >= most):
                return found[:most]
            params["pageToken"] = _unseen(page.next_page_token, seen)

    async def history(self, start: str, token: str | None) -> HistoryPage | None:
        """Return the additions after *start*, or None if Gmail's history does not reach back so far."""
        params: dict[str, str | Sequence[str]] = {
            "startHistoryId": start,
            "historyTypes": "messageAdded",
            "maxResults": str(LISTED),
        }
        if token is not None:
            params["pageToken"] = token
        answer = await self._ask("history", params=params, accept=(200, 404), units=2.0)
        return _read(answer, HistoryPage) if answer.status == 200 else None

    async def message(self, id: str, form: str) -> HttpReply | None:
        """Fetch a message in the *form* full, metadata, minimal or raw; None if it was removed."""
        path = f"messages/{quote(id, safe='')}"
        answer = await self._ask(path, params={"format": form}, accept=(200, 404), units=GET_UNITS)
        return answer if answer.status == 200 else None

    async def attachment(self, message: str, id: str) -> str | None:
        """Fetch an attachment in base64url; None if it was removed."""
        path = f"messages/{quote(message, safe='')}/attachments/{quote(id, safe='')}"
        answer = await self._ask(path, accept=(200, 404), units=GET_UNITS)
        return _read(answer, PartBody).data if answer.status == 200 else None

    async def _ask(
        self, path: str, *, params: Params | None = None, accept: Sequence[int] = (200,), units: float
    ) -> HttpReply:
        return await self._caller.ask(
            "GET",
            f"{self._base}/{path}",
            params=params or {},
            headers={"Accept": "application/json"},
            accept=accept,
            units=units,
            expects_json=True,
        )


def _unseen(token: str, seen: set[str]) -> str:
    """Return the token of a list's next page. Raises Unavailable if it was *seen*, to which it is added."""
    if token in seen:
        raise Unavailable("Gmail's pages lead in a circle")
    seen.add(token)
    return token


def judge(answer: HttpReply) -> ConnectorFailure | None:
    """Interpret an error by its reasons; None: the general meaning of its status applies."""
    reasons, text = _error_details(answer)
    if reasons & {"dailylimitexceeded", "dailylimitexceededunreg"}:
        return ProviderBusy("Google's quota of this day is used up", retry_at=next_midnight(answer.at))
    if answer.status == 429 or (answer.status == 403 and reasons & _BUSY):
        return ProviderBusy("Google wants us to ask less often", retry_at=_named_time(text))
    if reasons & {"insufficientpermissions", "access_token_scope_insufficient"}:
        return PermissionMissing(
            "Google did not give the hub the right to read mail: sign in again, and tick the box for Gmail"
        )
    if "domainpolicy" in reasons:
        return PermissionMissing(
            "the administrators of this Google Workspace do not allow it: ask them to trust the OAuth client"
        )
    if reasons & {"accessnotconfigured", "service_disabled"}:
        return PermissionMissing(
            "the Gmail API is not enabled in the Google Cloud project of this OAuth client"
        )
    if answer.status == 400 and reasons & _NO_MAILBOX:
        return PermissionMissing("this Google account has no Gmail mailbox")
    if answer.status == 401:
        return SignInNeeded(
            "Google ended the sign-in. For an app in testing it does so after 7 days. Sign in again"
        )
    if answer.status == 403:
        return PermissionMissing("Google does not allow the hub to read this mailbox")
    if answer.status == 400:
        return Misconfigured("Gmail does not take what it is asked: look at q and the labels of the filter")
    return None


def next_midnight(now: datetime) -> datetime:
    """Return the end of Google's current quota day (Pacific time), in UTC."""
    day = now.astimezone(_PACIFIC).date() + timedelta(days=1)
    return datetime.combine(day, time(), _PACIFIC).astimezone(UTC)


def read_message(answer: HttpReply, kind: type[T]) -> T:
    """Decode one message. Raises MessageUnreadable if it has an undocumented structure."""
    try:
        return msgspec.json.decode(answer.body, type=kind, strict=False)
    except NO_JSON as error:
        raise MessageUnreadable("Gmail gave something else than a message") from error


def _read(answer: HttpReply, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except NO_JSON as error:
        raise Unavailable("Gmail gave an answer of a shape that is not documented") from error


def _error_details(answer: HttpReply) -> tuple[frozenset[str], str]:
    """Return an error's reasons in lower case, and its text, which may name a time to wait for."""
    try:
        error = read_json(answer.body)["error"]
        message = str(error.get("message") or "")
        found = [error.get("status")]
        for items in (error.get("errors"), error.get("details")):
            if isinstance(items, list):
                found += [item.get("reason") for item in items if isinstance(item, dict)]
    except (*NO_JSON, KeyError, TypeError, AttributeError):
        return frozenset(), ""
    return frozenset(str(read).lower() for read in found if read), message


def _named_time(text: str) -> datetime | None:
    found = _RETRY_AT.search(text)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).astimezone(UTC)
    except ValueError:
        return None


_PARAMETER: Final = re.compile(r"\b(charset|format|delsp)\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)
_MAX_MAILS: Final = 3  # nested in each other


class GmailHeader(msgspec.Struct, frozen=True):
    name: str = ""
    value: str = ""


class PartBody(msgspec.Struct, frozen=True, rename="camel"):
    attachment_id: str = ""
    size: int = 0
    data: str = ""


class GmailPart(msgspec.Struct, frozen=True, rename="camel"):
    """Part in Gmail's format; *filename* is decoded."""

    part_id: str = ""
    mime_type: str = ""
    filename: str = ""
    headers: tuple[GmailHeader, ...] = ()
    body: PartBody = PartBody()
    parts: tuple["GmailPart", ...] = ()

    @property
    def kind(self) -> str:
        return self.mime_type.lower()

    def header(self, name: str) -> str:
        return next((header.value for header in self.headers if header.name.lower() == name), "")

    @property
    def is_inline(self) -> bool:
        shown = self.header("content-disposition").strip().lower()
        return shown.startswith("inline") or (not shown and bool(self.header("content-id")))


class GmailMessage(msgspec.Struct, frozen=True, rename="camel"):
    """Message in the form full or metadata. *internal_date*: time of receipt, epoch milliseconds."""

    id: str
    label_ids: tuple[str, ...] = ()
    internal_date: int | None = None
    size_estimate: int | None = None
    payload: GmailPart = GmailPart()

    def head(self) -> MailHead:
        return read_head([(header.name, header.value) for header in self.payload.headers])


@dataclass
class Sorted:
    """Parts of a mail by role: bodies, attached files, and attached mails."""

    bodies: list[GmailPart] = field(default_factory=list)
    files: list[GmailPart] = field(default_factory=list)
    mails: list[GmailPart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def sort(payload: GmailPart) -> Sorted:
    """Sort the parts of a mail by role, in order; parts of attached mails are not included."""
    found = Sorted()
    todo: list[tuple[GmailPart, int, bool]] = [(payload, 0, True)]
    seen = 0
    while todo:
        part, depth, is_shown = todo.pop()
        seen += 1
        if seen > MAX_PARTS or depth > MAX_DEPTH:
            found.notes.append("parts of this mail were left out: there are too many")
            break
        if part.kind == MAIL:
            found.mails.append(part)
        elif part.parts:
            chosen = _chosen(part) if part.kind == "multipart/alternative" else part.parts
            todo += [(child, depth + 1, is_shown and child in chosen) for child in reversed(part.parts)]
        elif _is_words(part):
            if is_shown:
                found.bodies.append(part)
            else:
                found.others.append(part.kind)
        elif not part.kind.startswith("multipart/"):
            found.files.append(part)
    return found


def attachments(payload: GmailPart) -> tuple[Attachment, ...]:
    """Return the metadata of a message's attachments."""
    parted = sort(payload)
    return tuple(
        Attachment(
            id=part.body.attachment_id or part.part_id,
            name=header_text(part.filename),
            media_type=part.kind or "application/octet-stream",
            size_bytes=part.body.size,
            is_inline=part.is_inline,
        )
        for part in (*parted.files, *parted.mails)
    )


def to_fetch(payload: GmailPart, options: LetterOptions, depth: int = 0) -> Iterator[str]:
    """Yield the ids of parts to fetch: large bodies, and selected attachments."""
    parted = sort(payload)
    for part in parted.bodies:
        if part.body.attachment_id and not part.body.data and part.body.size <= MAX_LETTER_BYTES:
            yield part.body.attachment_id
    for part in parted.files:
        if part.body.attachment_id and not part.body.data and _is_selected(part, options):
            yield part.body.attachment_id
    for part in parted.mails:
        if part.parts and depth < _MAX_MAILS:
            yield from to_fetch(part.parts[0], options, depth + 1)


def letter_of(
    payload: GmailPart, options: LetterOptions, fetched: Mapping[str, str | None], depth: int = 0
) -> Letter:
    """Convert a message to a letter.

    Args:
        fetched: fetched parts in base64url by id; ``None`` for a part that could not be fetched.
    """
    parted = sort(payload)
    bodies = []
    for part in parted.bodies:
        data = _data(part, fetched)
        if data is None:
            parted.notes.append("a part of this mail could not be had from Gmail")
            continue
        named = {name.lower(): value for name, value in _PARAMETER.findall(part.header("content-type"))}
        bodies.append(
            LetterBody(
                data=data,
                media_type=part.kind,
                charset=named.get("charset"),
                is_normalised=True,
                flow=flow_of(named.get("format", ""), named.get("delsp", "")),
            )
        )
    enclosures = [_file(part, options, fetched) for part in parted.files]
    enclosures += [_mail(part, options, fetched, depth) for part in parted.mails]
    return Letter(
        headers=[(header.name, header.value) for header in payload.headers],
        bodies=tuple(bodies),
        enclosures=tuple(enclosures),
        are_alternatives=False,  # one of the alternatives was chosen above
        notes=tuple(parted.notes),
        others=tuple(parted.others),
    )


def fingerprint(letter: Letter) -> str:
    """Return the SHA-256 (hex) of a mail's content; Gmail's part ids differ between answers."""
    digest = hashlib.sha256()
    for name, value in letter.headers if not isinstance(letter.headers, Mapping) else letter.headers.items():
        if name.lower() in ("subject", "message-id", "date", "from"):
            digest.update(f"{name.lower()}:{value}\0".encode("utf-8", "replace"))
    for body in letter.bodies:
        digest.update(b"\1" + (body.data if isinstance(body.data, bytes) else body.data.encode()))
    for file in letter.enclosures:
        digest.update(f"\2{file.name}\0{file.size_bytes}".encode("utf-8", "replace"))
    return digest.hexdigest()


def _chosen(part: GmailPart) -> tuple[GmailPart, ...]:
    """Choose among alternatives: plain text unless it is a stub, else the richest."""
    has_page = any(child.kind != PLAIN for child in part.parts)
    for child in part.parts:
        text = (_undone(child.body.data) or b"").decode("utf-8", "replace")
        is_text = bool(child.body.attachment_id) or not is_stub(text, has_page=has_page)
        if child.kind == PLAIN and not child.filename and is_text:
            return (child,)
    return part.parts[-1:]


def _is_words(part: GmailPart) -> bool:
    is_attached = part.header("content-disposition").strip().lower().startswith("attachment")
    return part.kind in (PLAIN, HTML) and not part.filename and not is_attached


def _is_selected(part: GmailPart, options: LetterOptions) -> bool:
    named = bool(part.filename) or not part.is_inline or part.kind in PARTS
    return named and options.selects(part.kind, part.body.size, name=part.filename)


def _file(part: GmailPart, options: LetterOptions, fetched: Mapping[str, str | None]) -> Enclosure:
    is_selected = _is_selected(part, options)
    content = _data(part, fetched) if is_selected else None
    return Enclosure(
        name=part.filename,
        media_type=part.kind or "application/octet-stream",
        size_bytes=part.body.size,
        is_inline=part.is_inline,
        content=content,
        why_not="it could not be had from Gmail" if is_selected and content is None else "",
    )


def _mail(
    part: GmailPart, options: LetterOptions, fetched: Mapping[str, str | None], depth: int
) -> Enclosure:
    inside = (
        letter_of(part.parts[0], options, fetched, depth + 1) if part.parts and depth < _MAX_MAILS else None
    )
    return Enclosure(
        name=part.filename,
        media_type=MAIL,
        size_bytes=part.body.size,
        letter=inside,
        why_not="" if inside else "a mail inside a mail that cannot be read",
    )


def _data(part: GmailPart, fetched: Mapping[str, str | None]) -> bytes | None:
    if part.body.data or not part.body.attachment_id:
        return _undone(part.body.data)
    encoded = fetched.get(part.body.attachment_id)
    return None if encoded is None else _undone(encoded)


def _undone(data: str) -> bytes | None:
    """Decode base64url, with or without padding; None if it is invalid."""
    try:
        return base64.urlsafe_b64decode(data.rstrip("=") + "=" * (-len(data.rstrip("=")) % 4))
    except (binascii.Error, ValueError):
        return None


CHUNK: Final = 50  # messages on one page of the connector
_REMEMBERED: Final = 10  # ids that mark a back-fill's progress: any of them may be removed meanwhile
DAY_S: Final = 86_400
INDEXED_S: Final = 600  # delay after which a new message is certainly indexed for search
_POINTS: Final = 12
_ASKED: Final = 5  # messages queried for their history ids
NEVER: Final = frozenset(("SPAM", "TRASH", "DRAFT", "CHAT"))


class Labels(msgspec.Struct, frozen=True):
    """Label rules of a filter, by label ids. *sent*: include the owner's own mail."""

    any: frozenset[str] = frozenset()
    none: frozenset[str] = frozenset()
    sent: bool = False

    def selects(self, labels: Collection[str]) -> bool:
        """Return True if the filter selects a message with these labels."""
        return (
            not NEVER.intersection(labels)
            and not self.none.intersection(labels)
            and (self.sent or not is_own(labels))
            and (not self.any or not self.any.isdisjoint(labels))
        )


def is_own(labels: Collection[str]) -> bool:
    """Return True if the owner sent the message to others: a note to oneself is in the inbox, too."""
    return "SENT" in labels and "INBOX" not in labels


class HistoryPoint(msgspec.Struct, frozen=True, array_like=True):
    """History id with the time of its retrieval (epoch seconds)."""

    history_id: str
    at: int


class Backfill(msgspec.Struct, frozen=True):
    """Progress of a back-fill. *after*: epoch milliseconds; *done_to*: last ids that were read."""

    h0: str | None
    at: int
    after: int
    done_to: tuple[str, ...] = ()


class _GmailCursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Decoded cursor. *behind*: older points, from which a search is repeated (``_begin``)."""

    backfill: Backfill | None = None
    history_id: str | None = None
    at: int = 0
    behind: tuple[HistoryPoint, ...] = ()


class GmailStep(msgspec.Struct, frozen=True):
    """Chunk of ids. *after*: epoch milliseconds; older messages are skipped."""

    ids: tuple[str, ...]
    cursor: Cursor | None
    is_backfill: bool = False
    after: int | None = None


class GmailStream:
    """Stream of one mailbox with one filter. *q*: a Gmail search; may be empty."""

    def __init__(self, api: Api, clock: Clock, labels: Labels, q: str = "") -> None:
        self._api = api
        self._clock = clock
        self._labels = labels
        self._q = f"({q})" if " OR " in q else q

    async def steps(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[GmailStep]:
        """Yield all new messages in chunks.

        Raises:
            CursorLost: Gmail's history does not reach back far enough.
        """
        state = _GmailCursor() if cursor is None else read_cursor(cursor, _GmailCursor)
        if cursor is not None and state.backfill is None and state.history_id is None:
            raise CursorLost("the cursor is not one of this release")
        now = int(self._clock.now().timestamp())
        points: tuple[HistoryPoint, ...]
        if state.history_id is not None:
            points = (*state.behind, HistoryPoint(state.history_id, state.at))
        else:
            begun = state.backfill or Backfill(await self._newest(), now, epoch_ms(since))
            async for step in self._backfill(begun):
                yield step
            if begun.h0 is None:
                return
            points = (HistoryPoint(begun.h0, begun.at),)
        async for step in self._history(points, now):
            yield step

    async def _newest(self) -> str | None:
        """Return the mailbox's history id, else the largest of its newest messages.

        None: the mailbox is empty.
        """
        profile = await self._api.profile()
        if profile is not None and profile.history_id is not None:
            return str(profile.history_id)
        answers = [await self._api.message(ref.id, "minimal") for ref in await self._api.listed(most=_ASKED)]
        shown = [read_message(answer, dict[str, Any]) for answer in answers if answer is not None]
        ids = [str(record["historyId"]) for record in shown if record.get("historyId")]
        # An id that is too small only causes duplicates.
        return max(ids, key=lambda one: (len(one), one), default=None)

    async def _backfill(self, begun: Backfill) -> AsyncGenerator[GmailStep]:
        # One second earlier, as Gmail does not document whether after: includes the second itself. The exact
        # time is checked in each message.
        listed = await self._search(begun.after // 1_000 - 1)
        last = max((at for at, id in enumerate(listed) if id in begun.done_to), default=-1)
        ids = listed[last + 1 :]
        done = begun.done_to
        for start in range(0, len(ids), CHUNK):
            chunk = tuple(ids[start : start + CHUNK])
            done = (*done, *chunk)[-_REMEMBERED:]
            state = _GmailCursor(backfill=msgspec.structs.replace(begun, done_to=done))
            cursor = None if begun.h0 is None else msgspec.to_builtins(state)
            yield GmailStep(chunk, cursor, is_backfill=True, after=begun.after)
        if begun.h0 is not None:
            yield GmailStep(
                (), msgspec.to_builtins(_GmailCursor(history_id=begun.h0, at=begun.at)), is_backfill=True
            )

    async def _search(self, after_s: int) -> list[str]:
        """Return the ids of messages that the filter selects, oldest first."""
        q = f"after:{after_s} {self._q}".rstrip()
        when = f"after:{after_s}"
        listed = await self._api.listed(q=q)
        if not listed:
            return []
        left_out: set[str] = set()
        for label in sorted(self._labels.none | {"DRAFT", "CHAT"}):
            left_out |= _ids(await self._api.listed(q=when, labels=(label,)))
        if not self._labels.sent:
            sent = _ids(await self._api.listed(q=when, labels=("SENT",)))
            left_out |= sent and sent - _ids(await self._api.listed(q=when, labels=("SENT", "INBOX")))
        selected: set[str] | None = None
        for label in sorted(self._labels.any):
            selected = (selected or set()) | _ids(await self._api.listed(q=when, labels=(label,)))
        ids = dict.fromkeys(ref.id for ref in reversed(listed))
        return [id for id in ids if id not in left_out and (selected is None or id in selected)]

    async def _history(self, points: Sequence[HistoryPoint], now: int) -> AsyncGenerator[GmailStep]:
        begin = self._begin(points, now)
        reached = begin.history_id
        token: str | None = None
        reported: str | None = None
        seen: set[str] = set()
        while True:
            page = await self._api.history(begin.history_id, token)
            if page is None:
                if token is None:
                    raise CursorLost("Gmail's history does not reach back so far any more")
                raise Unavailable("Gmail lost its position in a list")  # the next run resumes here
            if page.history:
                reported = None
            elif token is None and page.history_id is not None:
                reported = str(page.history_id)  # an empty history so far
            async for ids, at in self._chunks(page.history, begin):
                reached = at
                # With a search, messages already passed are checked again, as this point cannot be resumed.
                cursor = None if self._q else msgspec.to_builtins(_GmailCursor(history_id=at, at=begin.at))
                yield GmailStep(ids, cursor)
            if not page.next_page_token:
                break
            token = _unseen(page.next_page_token, seen)
        recent = tuple(point for point in points if point.at >= begin.at) if self._q else ()
        behind = recent if len(recent) < _POINTS else (recent[0], *recent[2 - _POINTS :])
        yield GmailStep(
            (), msgspec.to_builtins(_GmailCursor(history_id=reported or reached, at=now, behind=behind))
        )

    def _begin(self, points: Sequence[HistoryPoint], now: int) -> HistoryPoint:
        """Return the start of the history: with a search, a point whose messages are all indexed."""
        if not self._q:
            return points[-1]
        return next((point for point in reversed(points) if point.at <= now - INDEXED_S), points[0])

    async def _chunks(
        self, records: Sequence[Record], begin: HistoryPoint
    ) -> AsyncGenerator[tuple[tuple[str, ...], str]]:
        """Yield selected ids in chunks, each with the id of the last history record in it."""
        selected = [
            [
                ref
                for ref in (added.message for added in record.messages_added)
                if ref.label_ids is None or self._labels.selects(ref.label_ids)
            ]
            for record in records
        ]
        if self._q and any(selected):
            matching = _ids(await self._api.listed(q=f"after:{begin.at - DAY_S} {self._q}"))
            selected = [[ref for ref in refs if ref.id in matching] for refs in selected]
        chunk: dict[str, None] = {}
        for record, refs in zip(records, selected, strict=True):
            chunk |= dict.fromkeys(ref.id for ref in refs)
            if len(chunk) >= CHUNK:
                yield tuple(chunk), str(record.id)
                chunk = {}
        if records:
            yield tuple(chunk), str(records[-1].id)


def _ids(refs: Iterable[Ref]) -> set[str]:
    return {ref.id for ref in refs}


_CACHED_BYTES: Final = 16 * MIB  # of answers cached from the listing
_REMOVED: Final = Unread(reason="it was removed from the mailbox", is_removed=True)


class GmailFilter(Filter):
    """Filter of a Gmail mailbox."""

    labels_any: Words = Field(default=(), description='Only mail with one of these labels: "INBOX", "Bills".')
    labels_none: Words = Field(default=(), description="Mail with one of these labels is left out.")
    q: str = Field(
        default="", max_length=500, description='A search in Gmail\'s own words: "from:ana has:attachment".'
    )
    exclude_categories: tuple[Literal["promotions", "social", "forums", "updates"], ...] = Field(
        default=("promotions", "social", "forums"), description="Tabs of the inbox that are left out."
    )


class Gmail(Connector):
    """Mailbox at Google."""

    provider: ClassVar[str] = "gmail"
    auth: ClassVar[Auth] = Auth.OAUTH2
    settings_model: ClassVar[type[GmailSettings]] = GmailSettings
    filter_model: ClassVar[type[Filter]] = GmailFilter

    def __init__(self, context: Context, settings: GmailSettings, filter: GmailFilter) -> None:
        super().__init__(context, settings, filter)
        self._filter = filter
        self._api = Api(context.caller, settings.base_url)
        self._cached: OrderedDict[str, tuple[GmailMessage, int]] = OrderedDict()
        self._cached_bytes = 0
        self._me = context.identity
        self._letters = Letters(filter)

    @classmethod
    def oauth(cls, settings: GmailSettings) -> OAuth:
        return OAuth(  # without a device_url: Google refuses the device grant for every scope of Gmail
            authorize_url=settings.authorize_url,
            token_url=settings.token_url,
            revoke_url=settings.revoke_url,
            scopes=("https://www.googleapis.com/auth/gmail.readonly",),
            # Without these two, Google issues no refresh token, or only for the very first sign-in.
            authorize=(("access_type", "offline"), ("prompt", "consent")),
        )

    @classmethod
    def origin(cls, settings: GmailSettings) -> str:
        return f"{cls.provider} {settings.base_url}"

    @classmethod
    def origins(cls, settings: GmailSettings) -> frozenset[str]:
        return frozenset((origin_of(settings.base_url),))

    @classmethod
    def quota(cls, settings: GmailSettings) -> ProviderQuota:
        return ProviderQuota(settings.units_per_min, AT_ONCE)

    judge = staticmethod(judge)

    async def check(self) -> Account:
        profile = await self._api.profile()
        if profile is None:
            await self._api.listed(most=1)
            profile = Profile()
        await self._labels()
        total = profile.messages_total
        return Account(
            name=profile.email_address or self._me or self.context.account,
            detail="" if total is None else counted(total, "message", f"{total:,}"),
        )

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        labels, names = await self._labels()
        if not self._me and (profile := await self._api.profile()) is not None:
            self._me = profile.email_address
        stream = GmailStream(self._api, self.context.clock, labels, self._filter.q.strip())
        async with aclosing(stream.steps(cursor, since)) as steps:
            async for step in steps:
                found = [read async for read in self.refusals.each(step.ids, self._got)]
                refused = [(id, read) for id, read in found if isinstance(read, Unread)]
                messages = [
                    Message.refused(f"gmail:{id}", unread, copy=id, place=id) for id, unread in refused
                ] + [
                    self._message(read, names)
                    for _, read in found
                    if isinstance(read, GmailMessage)
                    and labels.selects(read.label_ids)
                    and (step.after is None or read.internal_date is None or read.internal_date >= step.after)
                ]
                yield Page(messages=tuple(messages), cursor=step.cursor, is_backfill=step.is_backfill)

    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        return self.refusals.each(messages, self._document, at_once=AT_ONCE)

    async def _labels(self) -> tuple[Labels, dict[str, str]]:
        """Return the label rules of the filter, and the names of labels by id."""
        selection = self._filter
        hidden = frozenset(f"CATEGORY_{category.upper()}" for category in selection.exclude_categories)
        if not selection.labels_any and not selection.labels_none:
            return Labels(none=hidden, sent=selection.include_sent), {}
        found = await self._api.labels()
        ids = {label.name.casefold(): label.id for label in found}
        ids |= {label.id.casefold(): label.id for label in found}
        some, none = (
            frozenset(_id_of(name, ids) for name in n) for n in (selection.labels_any, selection.labels_none)
        )
        # A label selected by name is read, even if it is excluded by default.
        rules = Labels(any=some, none=(hidden - some) | none, sent=selection.include_sent or "SENT" in some)
        return rules, {label.id: label.name for label in found if label.name}

    # --- metadata ---

    async def _got(self, id: str) -> GmailMessage | None:
        """Fetch a message and cache it for ``read``; None if it was removed after it was listed."""
        try:
            answer = await self._api.message(id, "full")
            message = None if answer is None else read_message(answer, GmailMessage)
        except MessageUnreadable:  # too large, for example; the metadata alone are small
            answer = await self._api.message(id, "metadata")
            return None if answer is None else read_message(answer, GmailMessage)
        if answer is None or message is None:
            return None
        self._cache(message, len(answer.body))
        return message

    def _cache(self, message: GmailMessage, size: int) -> None:
        self._uncache(message.id)
        self._cached[message.id] = (message, size)
        self._cached_bytes += size
        while self._cached_bytes > _CACHED_BYTES:
            _, (_, freed) = self._cached.popitem(last=False)
            self._cached_bytes -= freed

    def _uncache(self, id: str) -> GmailMessage | None:
        message, size = self._cached.pop(id, (None, 0))
        self._cached_bytes -= size
        return message

    def _message(self, one: GmailMessage, names: dict[str, str]) -> Message:
        head = one.head()
        return Message(
            key=message_key(head.message_id, f"gmail:{one.id}"),
            copy=one.id,
            place=one.id,
            received_at=_received_at(one),
            labels=tuple(names.get(label, label) for label in one.label_ids),
            attachments=attachments(one.payload),
            size_bytes=one.size_estimate,
            is_sent=is_own(one.label_ids),
            is_verified=head.is_verified(GOOGLE),
            is_unread="UNREAD" in one.label_ids,
            link=self._link(one.id),
            **head.fields(),
        )

    def _link(self, id: str) -> str:
        me = f"?authuser={quote(self._me)}" if self._me else ""
        return f"https://mail.google.com/mail/{me}#all/{quote(id, safe='')}"

    # --- bodies ---

    async def _document(self, message: Message) -> Document | Unread:
        id = str(message.place)
        try:
            one = self._uncache(id)
            if one is None:
                answer = await self._api.message(id, "full")
                if answer is None:
                    return _REMOVED
                one = read_message(answer, GmailMessage)
            fetched = {
                part: await self._part(id, part)
                for part in dict.fromkeys(to_fetch(one.payload, self._letters.options))
            }
            letter = letter_of(one.payload, self._letters.options, fetched)
            whole = partial(self._as_sent, id)
            return await self._letters.document(message, letter, fingerprint(letter), whole=whole)
        except MessageUnreadable as error:
            return Unread(reason=str(error))

    async def _as_sent(self, id: str) -> bytes | None:
        answer = await self._api.message(id, "raw")
        return None if answer is None else _undone(read_message(answer, _Raw).raw)

    async def _part(self, message: str, id: str) -> str | None:
        try:
            return await self._api.attachment(message, id)
        except MessageUnreadable:
            return None


def _id_of(name: str, ids: dict[str, str]) -> str:
    id = ids.get(name.casefold())
    if id is None:
        hint = did_you_mean(name, ids)
        raise Misconfigured(f"there is no label {name!r} in this mailbox{hint and '; ' + hint}")
    return id


def _received_at(one: GmailMessage) -> datetime | None:
    try:
        return None if one.internal_date is None else from_epoch_ms(one.internal_date)
    except (ValueError, OverflowError, OSError):
        return None
