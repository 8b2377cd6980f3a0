"""Client of Gmail's API, and the structure of its messages: headers, bodies and attachments.

Batches of requests are not used. Each request in a batch has its full cost, and an account may have at most
four concurrent requests; a larger batch fails with "too many concurrent requests".

Gmail converts bodies to UTF-8, but keeps the old charset in their headers. Large parts are not included; they
are fetched by an id that is valid only for this answer.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Final, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
from pydantic import Field

from hub.connectors.calling import Answer, BaseUrl, Caller, Params
from hub.connectors.connector import Attachment, OAuth, ProviderSettings
from hub.connectors.failures import (
    ConnectorFailure,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.mime import Head, read_head
from hub.text.files import HTML, MAIL, PLAIN
from hub.text.letter_text import MOST_BYTES, MOST_DEPTH, MOST_PARTS, Body, Enclosure, Letter, LetterOptions
from hub.text.mime import header_text
from protocol.frame import read_json

SCOPE: Final = "https://www.googleapis.com/auth/gmail.readonly"
AT_ONCE: Final = 4  # concurrent requests of one user
GET_UNITS: Final = 20.0
LIST_UNITS: Final = 5.0
HISTORY_UNITS: Final = 2.0
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
_DAILY: Final = frozenset(("dailylimitexceeded", "dailylimitexceededunreg"))
_NO_SCOPE: Final = frozenset(("insufficientpermissions", "access_token_scope_insufficient"))
_NO_SERVICE: Final = frozenset(("accessnotconfigured", "service_disabled"))
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

    def oauth(self) -> OAuth:
        """Return the OAuth parameters. Google refuses the device grant for every scope of Gmail."""
        return OAuth(
            authorize_url=self.authorize_url,
            token_url=self.token_url,
            revoke_url=self.revoke_url,
            scopes=(SCOPE,),
            # Without these two, Google issues no refresh token, or only for the very first sign-in.
            authorize=(("access_type", "offline"), ("prompt", "consent")),
        )


class Ref(msgspec.Struct, frozen=True, rename="camel"):
    """Message in a list. *label_ids*: ``None`` if not included."""

    id: str
    label_ids: tuple[str, ...] | None = None


class Listed(msgspec.Struct, frozen=True, rename="camel"):
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


class Label(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Labels(msgspec.Struct, frozen=True):
    labels: tuple[Label, ...] = ()


class _Content(msgspec.Struct, frozen=True):
    data: str = ""


class Api:
    """Client of Gmail for the user of the access token."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        self._caller = caller
        self._base = f"{base_url}/gmail/v1/users/me"

    async def profile(self) -> Profile | None:
        """Return the user's address and newest history id, or None if the server does not support it."""
        answer = await self._ask("profile", accept=(200, 404, 501), units=SMALL_UNITS)
        return _read(answer, Profile) if answer.status == 200 else None

    async def labels(self) -> tuple[Label, ...]:
        return _read(await self._ask("labels", units=SMALL_UNITS), _Labels).labels

    async def listed(self, *, q: str = "", labels: Sequence[str] = (), most: int | None = None) -> list[Ref]:
        """List messages that match *q* and have all of *labels*, newest first, without spam and trash."""
        found: list[Ref] = []
        params: dict[str, str | Sequence[str]] = {"maxResults": str(min(most or LISTED, LISTED))}
        params |= ({"q": q} if q else {}) | ({"labelIds": list(labels)} if labels else {})
        while True:
            page = _read(await self._ask("messages", params=params, units=LIST_UNITS), Listed)
            found += page.messages
            if not page.next_page_token or (most is not None and len(found) >= most):
                return found[:most]
            params["pageToken"] = page.next_page_token

    async def history(self, start: str, token: str | None) -> HistoryPage | None:
        """Return the additions after *start*, or None if Gmail's history does not reach back so far."""
        params: dict[str, str | Sequence[str]] = {
            "startHistoryId": start,
            "historyTypes": "messageAdded",
            "maxResults": str(LISTED),
        }
        if token is not None:
            params["pageToken"] = token
        answer = await self._ask("history", params=params, accept=(200, 404), units=HISTORY_UNITS)
        return _read(answer, HistoryPage) if answer.status == 200 else None

    async def message(self, id: str, form: str) -> Answer | None:
        """Fetch a message in the *form* full, metadata or minimal; None if it was removed."""
        path = f"messages/{quote(id, safe='')}"
        answer = await self._ask(path, params={"format": form}, accept=(200, 404), units=GET_UNITS)
        return answer if answer.status == 200 else None

    async def attachment(self, message: str, id: str) -> str | None:
        """Fetch an attachment in base64url; None if it was removed."""
        path = f"messages/{quote(message, safe='')}/attachments/{quote(id, safe='')}"
        answer = await self._ask(path, accept=(200, 404), units=GET_UNITS)
        return _read(answer, _Content).data if answer.status == 200 else None

    async def _ask(
        self, path: str, *, params: Params | None = None, accept: Sequence[int] = (200,), units: float
    ) -> Answer:
        return await self._caller.ask(
            "GET",
            f"{self._base}/{path}",
            params=params or {},
            headers={"Accept": "application/json"},
            accept=accept,
            units=units,
            expects_json=True,
        )


def judge(answer: Answer) -> ConnectorFailure | None:
    """Interpret an error by its reasons; None: the general meaning of its status applies."""
    reasons, text = _error_details(answer)
    if reasons & _DAILY:
        return ProviderBusy("Google's quota of this day is used up", retry_at=next_midnight(answer.at))
    if answer.status == 429 or (answer.status == 403 and reasons & _BUSY):
        return ProviderBusy("Google wants us to ask less often", retry_at=_named_time(text))
    if reasons & _NO_SCOPE:
        return PermissionMissing(
            "Google did not give the hub the right to read mail: sign in again, and tick the box for Gmail"
        )
    if "domainpolicy" in reasons:
        return PermissionMissing(
            "the administrators of this Google Workspace do not allow it: ask them to trust the OAuth client"
        )
    if reasons & _NO_SERVICE:
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


def read_message(answer: Answer, kind: type[T]) -> T:
    """Decode one message. Raises MessageUnreadable if it has an undocumented structure."""
    try:
        return msgspec.json.decode(answer.body, type=kind, strict=False)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageUnreadable("Gmail gave something else than a message") from error


def _read(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unavailable("Gmail gave an answer of a shape that is not documented") from error


def _error_details(answer: Answer) -> tuple[frozenset[str], str]:
    """Return an error's reasons in lower case, and its text, which may name a time to wait for."""
    try:
        error = read_json(answer.body)["error"]
        message = str(error.get("message") or "")
        found = [error.get("status")]
        for items in (error.get("errors"), error.get("details")):
            if isinstance(items, list):
                found += [item.get("reason") for item in items if isinstance(item, dict)]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset(), ""
    return frozenset(str(one).lower() for one in found if one), message


def _named_time(text: str) -> datetime | None:
    found = _RETRY_AT.search(text)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).astimezone(UTC)
    except ValueError:
        return None


_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)
_MOST_MAILS: Final = 3  # nested in each other
_NOT_FETCHED: Final = "it could not be had from Gmail"


class Header(msgspec.Struct, frozen=True):
    name: str = ""
    value: str = ""


class PartBody(msgspec.Struct, frozen=True, rename="camel"):
    attachment_id: str = ""
    size: int = 0
    data: str = ""


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """Part in Gmail's format; *filename* is decoded."""

    part_id: str = ""
    mime_type: str = ""
    filename: str = ""
    headers: tuple[Header, ...] = ()
    body: PartBody = PartBody()
    parts: tuple["Part", ...] = ()

    @property
    def kind(self) -> str:
        return self.mime_type.lower()

    def header(self, name: str) -> str:
        return next((one.value for one in self.headers if one.name.lower() == name), "")

    @property
    def is_inline(self) -> bool:
        shown = self.header("content-disposition").strip().lower()
        return shown.startswith("inline") or (not shown and bool(self.header("content-id")))


class GmailMessage(msgspec.Struct, frozen=True, rename="camel"):
    """Message in the form full or metadata. *internal_date*: time of receipt, epoch milliseconds."""

    id: str
    thread_id: str = ""
    label_ids: tuple[str, ...] = ()
    internal_date: int | None = None
    size_estimate: int | None = None
    payload: Part = Part()

    def head(self) -> Head:
        return read_head([(one.name, one.value) for one in self.payload.headers])


@dataclass
class Sorted:
    """Parts of a mail by role: bodies, attached files, and attached mails."""

    bodies: list[Part] = field(default_factory=list)
    files: list[Part] = field(default_factory=list)
    mails: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sort(payload: Part) -> Sorted:
    """Sort the parts of a mail by role, in order; parts of attached mails are not included."""
    found = Sorted()
    todo: list[tuple[Part, int, bool]] = [(payload, 0, True)]
    seen = 0
    while todo:
        part, depth, is_shown = todo.pop()
        seen += 1
        if seen > MOST_PARTS or depth > MOST_DEPTH:
            found.notes.append("parts of this mail were left out: there are too many")
            break
        if part.kind == MAIL:
            found.mails.append(part)
        elif part.parts:
            chosen = _chosen(part) if part.kind == "multipart/alternative" else part.parts
            todo += [(one, depth + 1, is_shown and one in chosen) for one in reversed(part.parts)]
        elif _is_words(part):
            if is_shown:
                found.bodies.append(part)
        elif not part.kind.startswith("multipart/"):
            found.files.append(part)
    return found


def attachments(payload: Part) -> tuple[Attachment, ...]:
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


def to_fetch(payload: Part, options: LetterOptions, depth: int = 0) -> Iterator[str]:
    """Yield the ids of parts to fetch: large bodies, and selected attachments."""
    parted = sort(payload)
    for part in parted.bodies:
        if part.body.attachment_id and not part.body.data and part.body.size <= MOST_BYTES:
            yield part.body.attachment_id
    for part in parted.files:
        if part.body.attachment_id and not part.body.data and _is_selected(part, options):
            yield part.body.attachment_id
    for part in parted.mails:
        if part.parts and depth < _MOST_MAILS:
            yield from to_fetch(part.parts[0], options, depth + 1)


def letter_of(
    payload: Part, options: LetterOptions, fetched: Mapping[str, str | None], depth: int = 0
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
        charset = _CHARSET.search(part.header("content-type"))
        bodies.append(
            Body(
                data=data,
                media_type=part.kind,
                charset=charset[1] if charset else None,
                is_normalised=True,
            )
        )
    enclosures = [_file(part, options, fetched) for part in parted.files]
    enclosures += [_mail(part, options, fetched, depth) for part in parted.mails]
    return Letter(
        headers=[(one.name, one.value) for one in payload.headers],
        bodies=tuple(bodies),
        enclosures=tuple(enclosures),
        are_alternatives=False,  # one of the alternatives was chosen above
        notes=tuple(parted.notes),
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


def _chosen(part: Part) -> tuple[Part, ...]:
    """Choose among alternatives: non-empty plain text, else the richest."""
    for one in part.parts:
        if (
            one.kind == PLAIN
            and not one.filename
            and (one.body.attachment_id or (_undone(one.body.data) or b"").strip())
        ):
            return (one,)
    return part.parts[-1:]


def _is_words(part: Part) -> bool:
    is_attached = part.header("content-disposition").strip().lower().startswith("attachment")
    return part.kind in (PLAIN, HTML) and not part.filename and not is_attached


def _is_selected(part: Part, options: LetterOptions) -> bool:
    named = bool(part.filename) or not part.is_inline
    return named and options.selects(part.kind, part.body.size, name=part.filename)


def _file(part: Part, options: LetterOptions, fetched: Mapping[str, str | None]) -> Enclosure:
    is_selected = _is_selected(part, options)
    content = _data(part, fetched) if is_selected else None
    return Enclosure(
        name=part.filename,
        media_type=part.kind or "application/octet-stream",
        size_bytes=part.body.size,
        is_inline=part.is_inline,
        content=content,
        why_not=_NOT_FETCHED if is_selected and content is None else "",
    )


def _mail(part: Part, options: LetterOptions, fetched: Mapping[str, str | None], depth: int) -> Enclosure:
    inside = (
        letter_of(part.parts[0], options, fetched, depth + 1) if part.parts and depth < _MOST_MAILS else None
    )
    return Enclosure(
        name=part.filename,
        media_type=MAIL,
        size_bytes=part.body.size,
        letter=inside,
        why_not="" if inside else "a mail inside a mail that cannot be read",
    )


def _data(part: Part, fetched: Mapping[str, str | None]) -> bytes | None:
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
