"""IMAP connector: which mails of which folders are read, and waiting for new mail (IDLE, 28 minutes).

A folder is a stream of growing numbers (UIDs) while its UIDVALIDITY stays the same; the cursor has both for
each folder. The numbers are divided into segments: of those before the first reading, only recent messages
are read; of the later ones, all. Nothing is ever marked as read: folders are opened with EXAMINE, and read
with PEEK. A recreated folder is read again from a day before its last reading; the other folders are not
affected.

Many messages are fetched at once. An answer that cannot be parsed is usually the fault of one message:
missing messages are fetched individually, so that this one is identified by its UID and the others are read.
A message removed meanwhile is missing in the answer, or has only NIL sections once (dovecot, with
``EXPUNGEISSUED``); an individual repetition omits it.

Mails over IMAP: parsing of FETCH answers, selection of the parts to fetch, and conversion to a document.

A part is named as in BODY[...] ("1.2"). Bodies and attachments are distinguished by the tree of parts alone,
so that nothing else must be fetched. Text parts are fetched up to the length that is ever read, attachments
only if the filter asks for them.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import decode_params
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec

from hub.base.name_lists import counted
from hub.base.outbound.refusal_reach import MAX_REFUSALS
from hub.connectors.blocking_imap_transport import BlockingImapTransport, ImapRefused, ImapResponse
from hub.connectors.calling import Misconfigured, Unavailable, Unread
from hub.connectors.connector import (
    PAGE_MESSAGES,
    Account,
    Attachment,
    Auth,
    Connector,
    Context,
    Cursor,
    Message,
    OAuth,
    Page,
    read_cursor,
)
from hub.connectors.imap_connection import AnswerTooLong, FolderStatus, ImapConnection
from hub.connectors.imap_settings import ImapFilter, ImapSettings
from hub.connectors.imap_syntax import Lost, Value, day, iso_of, number_of, quoted, set_of, values
from hub.connectors.mime import (
    NEEDED,
    Letters,
    MailHead,
    headers_of,
    letter_in,
    message_key,
    mid_link,
    read_head,
)
from hub.document import Document
from hub.text.files import HTML, MAIL, MIB, PLAIN, NotConvertible
from hub.text.header_values import date_in
from hub.text.letter_text import PARTS, Enclosure, Letter, LetterBody, LetterOptions, is_stub
from hub.text.mail_wrappers import flow_of
from hub.text.mime import file_name, header_text, in_charset, parameter, undone

MAX_PARTS: Final = 100  # examined in one mail
_MAX_DEPTH: Final = 20
# Shorter plain text may be empty, or only point to the page (``is_stub``, in base64).
_TOO_FEW: Final = 400
_NOTHING: Final[list[Value]] = [None] * 7


class ImapPart(msgspec.Struct, frozen=True, array_like=True):
    """Leaf of the tree of parts. *size*: octets in encoded form."""

    number: str
    media_type: str
    charset: str = ""
    encoding: str = ""
    size: int = 0
    name: str = ""
    is_attached: bool = False
    way: int = 0  # parts with the same non-zero number are alternatives
    flow: str = ""


class Fetched(msgspec.Struct, frozen=True):
    """Data of one message in a FETCH answer.

    Attributes:
        sections: content by the name in the brackets of BODY[...].
        is_whole: True if no section was NIL.
        fault: parse error, because of which no other data are known.
        refusal: why the server does not show it, unlike others; no other data are known.
    """

    uid: int
    flags: frozenset[str] = frozenset()
    received_at: datetime | None = None
    size: int | None = None
    parts: tuple[ImapPart, ...] = ()
    sections: dict[str, bytes] = {}
    is_whole: bool = True
    fault: str = ""
    refusal: str = ""

    @property
    def is_unread(self) -> bool:
        return bool(self.fault or self.refusal)


UNKNOWN: Final = 0  # in place of a UID: no message has it (RFC 9051, 2.3.1.1)


def fetched(answer: ImapResponse) -> Iterator[Fetched]:
    """Yield the messages of an answer that have a UID; other data of the server are skipped.

    A parse error yields ``UNKNOWN`` with a fault, because senders control the content.
    """
    for pieces in answer.untagged:
        if b" FETCH (" not in pieces[0][:24].upper():
            continue
        try:
            response = values(pieces)
            if (
                len(response) > 3
                and isinstance(response[3], list)
                and (message := _message_data(response[3])) is not None
            ):
                yield message
        except Lost as error:
            yield Fetched(UNKNOWN, fault=str(error))


def _message_data(items: list[Value]) -> Fetched | None:
    uid: int | None = None
    flags: frozenset[str] = frozenset()
    received_at = None
    size = None
    parts: tuple[ImapPart, ...] = ()
    sections: dict[str, bytes] = {}
    is_whole = True
    for name, value in zip(items[::2], items[1::2], strict=False):
        word = name.upper() if isinstance(name, bytes) else b""
        if word == b"UID":
            uid = number_of(value)
        elif word == b"FLAGS" and isinstance(value, list):
            flags = frozenset(_text(flag).lower() for flag in value)
        elif word == b"INTERNALDATE":
            received_at = date_in(iso_of(_text(value)))
        elif word == b"RFC822.SIZE":
            size = number_of(value)
        elif word == b"BODYSTRUCTURE" and isinstance(value, list):
            parts = parts_of(value)
        elif word.startswith(b"BODY["):
            section = word[5:].partition(b"]")[0].decode("ascii", "replace")
            is_whole = is_whole and isinstance(value, bytes)
            sections["HEADER" if section.startswith("HEADER") else section] = (
                value if isinstance(value, bytes) else b""
            )
    return None if uid is None else Fetched(uid, flags, received_at, size, parts, sections, is_whole)


def parts_of(structure: list[Value]) -> tuple[ImapPart, ...]:
    """Return the leaves of a BODYSTRUCTURE in order, up to the limits."""
    found: list[ImapPart] = []
    _walk(structure, "", 0, 0, found)
    return tuple(found)


def chosen(parts: Sequence[ImapPart]) -> tuple[ImapPart, ...]:
    """Return the bodies of a mail: of alternatives, only the plain text.

    If the plain text is so short that it may be empty, all alternatives are chosen, to decide by their
    content.
    """
    words = [part for part in parts if _is_words(part)]
    plain = {part.way for part in words if part.way and part.media_type == PLAIN and part.size >= _TOO_FEW}
    return tuple(part for part in words if part.way not in plain or part.media_type == PLAIN)


def attached(parts: Sequence[ImapPart]) -> tuple[ImapPart, ...]:
    """Return the attachments of a mail."""
    return tuple(part for part in parts if not _is_words(part))


def _is_words(part: ImapPart) -> bool:
    return part.media_type in (PLAIN, HTML) and not part.is_attached and not part.name


def _walk(body: list[Value], number: str, way: int, depth: int, found: list[ImapPart]) -> None:
    if len(found) > MAX_PARTS or not body:
        return
    if len(found) == MAX_PARTS or (depth == _MAX_DEPTH and isinstance(body[0], list)):
        found.append(ImapPart("", "multipart/mixed"))  # for all parts beyond the limit
        return
    if not isinstance(body[0], list):
        found.append(_leaf(body, number or "1", way))
        return
    subtype = next((_text(part).lower() for part in body if not isinstance(part, list)), "")
    if subtype == "alternative":
        way = len(found) + 1  # unique number
    for at, part in enumerate(body, 1):
        if not isinstance(part, list):  # the subtype, after which lists are parameters
            break
        _walk(part, f"{number}.{at}" if number else str(at), way, depth + 1, found)


@lru_cache(maxsize=1_024)  # nearly all parts are of a few types
def _kind(kind: bytes, subtype: bytes) -> str:
    return f"{_text(kind)}/{_text(subtype)}".lower()[:100] if subtype else PLAIN  # RFC 2045, 5.2


def _leaf(body: list[Value], number: str, way: int) -> ImapPart:
    kind, subtype, given, _, _, encoding, size = [*body, *_NOTHING][:7]
    parameters = _parameters(given)
    disposition, shown = "", dict[str, str]()
    for value in body[7:]:
        match value:
            case [bytes(word), None | list() as more] if word.lower() in (b"attachment", b"inline"):
                disposition, shown = _text(word).lower(), _parameters(more)
                break
    return ImapPart(
        number=number,
        media_type=_kind(_bytes(kind), _bytes(subtype)),
        charset=parameters.get("charset", "")[:60],
        encoding=_text(encoding).lower()[:30],
        size=number_of(size) or 0,
        name=_name(shown, "filename") or _name(parameters, "name"),
        is_attached=disposition == "attachment",
        way=way,
        flow=flow_of(parameters.get("format", ""), parameters.get("delsp", "")),
    )


def _parameters(given: Value) -> dict[str, str]:
    if not isinstance(given, list):
        return {}
    pairs = zip(given[::2], given[1::2], strict=False)
    return {_text(name).lower(): _text(value) for name, value in pairs}


def _name(parameters: dict[str, str], key: str) -> str:
    """Return a file's name, decoded (RFC 2231, RFC 2047)."""
    if key in parameters:
        return file_name(header_text(parameters[key]))
    pieces = [(name, value) for name, value in parameters.items() if name.startswith(f"{key}*")]
    if not pieces:
        return ""
    try:
        extended = decode_params([("", ""), *pieces])[1:]
    except (TypeError, ValueError):  # numbers of pieces that do not fit each other
        return ""
    value = next((value for name, value in extended if name == key), "")
    return file_name(header_text(parameter(value)))


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else b""


# Of one encoded part: the maximum text of a mail (64 KiB, for a page 1 MiB), in base64.
_MAX_TEXT_BYTES: Final = 96 * 1024
_MAX_PAGE_BYTES: Final = 1408 * 1024
_MAX_MAIL_BYTES: Final = 512 * 1024  # of an attached mail
_MAX_NAMED: Final = 50  # attachments of one mail
_ROUND_BYTES: Final = 8 * MIB  # held at once
_OF_FOUR: Final = 0.73  # ratio of a file's size to its base64 form with line ends


class ImapLocation(msgspec.Struct, frozen=True, array_like=True):
    """Location of a message and its parts to fetch; plain JSON inside a ``Message``."""

    folder: str
    uidvalidity: int
    uid: int
    texts: tuple[ImapPart, ...] = ()
    files: tuple[ImapPart, ...] = ()
    others: tuple[str, ...] = ()


def place(folder: str, uidvalidity: int, uid: int, parts: Sequence[ImapPart]) -> Any:
    """Create a message's ``place``."""
    texts, files = chosen(parts), attached(parts)
    others = tuple(part.media_type for part in parts if part not in texts and part not in files)
    return msgspec.to_builtins(ImapLocation(folder, uidvalidity, uid, texts, files[:_MAX_NAMED], others))


class FetchOrder(msgspec.Struct, frozen=True):
    """Single FETCH for messages with equal parts."""

    parts: tuple[ImapPart, ...]
    uids: tuple[int, ...]

    def words(self) -> list[bytes]:
        """Return the arguments of UID FETCH."""
        sections = b" ".join(
            b"BODY.PEEK[%b]<0.%d>" % (part.number.encode(), part.size) for part in self.parts
        )
        return [set_of(self.uids), b"(UID %b)" % sections if sections else b"(UID)"]


def rounds(places: Sequence[ImapLocation], options: LetterOptions) -> Iterator[list[FetchOrder]]:
    """Yield the FETCH commands of each round trip, so that the answers of a round fit the memory limit."""
    alike: dict[tuple[ImapPart, ...], list[int]] = {}
    held = 0
    for at in places:
        # Attached mails are always read, as they are part of the message.
        files = [part for part in at.files if part.media_type == MAIL or _is_selected(part, options)]
        parts = (*at.texts, *files)
        size = sum(min(part.size, _most(part)) for part in parts)
        if alike and held + size > _ROUND_BYTES:
            yield _orders(alike)
            alike, held = {}, 0
        same = tuple(ImapPart(part.number, "", size=_most(part)) for part in parts)
        alike.setdefault(same, []).append(at.uid)
        held += size
    if alike:
        yield _orders(alike)


def letter_of(
    message: Message, at: ImapLocation, sections: Mapping[str, bytes], options: LetterOptions
) -> Letter:
    """Return the letter of a message. Only in a worker thread: decoding takes long.

    Args:
        sections: fetched content by part number.
    """
    ways = list(_ways(at.texts, sections))
    return Letter(
        headers=headers_of(message),
        bodies=tuple(
            LetterBody(
                data=sections[part.number],
                media_type=part.media_type,
                charset=part.charset or None,
                transfer_encoding=part.encoding,
                flow=part.flow,
            )
            for part in ways
        ),
        others=at.others + tuple(part.media_type for part in at.texts if part not in ways),
        enclosures=tuple(_enclosure(part, sections, options) for part in at.files),
        are_alternatives=False,  # one part of each alternative was chosen
    )


def _is_selected(part: ImapPart, options: LetterOptions) -> bool:
    is_named = bool(part.name) or part.media_type in PARTS
    return is_named and options.selects(part.media_type, _file_size(part), name=part.name)


def _file_size(part: ImapPart) -> int:
    return int(part.size * _OF_FOUR) if part.encoding == "base64" else part.size


def _orders(alike: dict[tuple[ImapPart, ...], list[int]]) -> list[FetchOrder]:
    return [FetchOrder(parts, tuple(sorted(set(uids)))) for parts, uids in alike.items()]


def _most(part: ImapPart) -> int:
    if part.media_type == MAIL:
        return _MAX_MAIL_BYTES
    if part.is_attached or part.name or part.media_type not in (PLAIN, HTML):
        return max(1, part.size)
    return _MAX_PAGE_BYTES if part.media_type == HTML else _MAX_TEXT_BYTES


def _ways(texts: Sequence[ImapPart], sections: Mapping[str, bytes]) -> Iterator[ImapPart]:
    """Choose among alternatives: plain text unless it is a stub, else the page."""
    present = [part for part in texts if part.number in sections]
    pages = {part.way for part in present if part.media_type == HTML}
    plain = {
        part.way
        for part in present
        if part.media_type == PLAIN
        and not is_stub(
            in_charset(undone(sections[part.number][:_TOO_FEW], part.encoding), part.charset),
            has_page=part.way in pages,
        )
    }
    for part in present:
        is_plain = part.media_type == PLAIN
        if part.way == 0 or (is_plain if part.way in plain or part.way not in pages else not is_plain):
            yield part


def _enclosure(part: ImapPart, sections: Mapping[str, bytes], options: LetterOptions) -> Enclosure:
    data = sections.get(part.number)
    enclosure = Enclosure(
        name=part.name,
        media_type=part.media_type,
        size_bytes=_file_size(part),
        is_inline=not part.is_attached,
    )
    if data is None:
        return enclosure
    if part.media_type != MAIL:
        return replace(enclosure, content=undone(data, part.encoding))
    try:
        return replace(enclosure, letter=letter_in(data, options))
    except NotConvertible as error:
        return replace(enclosure, why_not=str(error))


def fingerprint(message: Message, at: ImapLocation, sections: Mapping[str, bytes]) -> str:
    """Return a digest of the content, independent of the folder."""
    digest = hashlib.sha256(message.subject.encode("utf-8", "replace"))
    for part in at.texts:
        digest.update(b"\1" + sections.get(part.number, b""))
    for part in at.files:
        digest.update(f"\2{part.name}\0{part.size}".encode("utf-8", "replace"))
    return digest.hexdigest()


# Limit of numbers in one SEARCH answer, which is a single line of at most a megabyte.
_WINDOW: Final = 50_000
_OVERLAP: Final = timedelta(days=1)  # of a recreated folder with its previous content
_A_DAY: Final = timedelta(days=1)  # SEARCH SINCE has only dates, in the server's time zone
_FEW: Final = 100  # so few numbers are fetched without a search
_MAX_SENDERS: Final = 10  # in one SEARCH


class SyncedFolder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stored state of a folder.

    Attributes:
        uid: all messages up to this number are settled.
        at: end of the last complete reading, epoch seconds.
        since, until: numbers up to *until* are read only if received at or after *since* (epoch seconds),
        because the first round is not complete.
        modseq: changes up to this one are known; only if the filter depends on flags.
    """

    uidvalidity: int
    uid: int
    at: float | None = None
    since: float | None = None
    until: int | None = None
    modseq: int | None = None


class Segment(msgspec.Struct, frozen=True):
    """Range of numbers from *first* to *last*, inclusive.

    Attributes:
        since: only messages received at or after this time.
        changed: only unread messages changed after this modseq.
        moves: True if the cursor advances with it.
    """

    first: int
    last: int
    since: datetime | None = None
    changed: int | None = None
    moves: bool = True

    def windows(self) -> Iterator["Segment"]:
        """Yield sub-ranges whose SEARCH answers are bounded; the last one may be empty."""
        first = self.first
        while True:
            last = min(first + _WINDOW - 1, self.last)
            yield Segment(first, last, self.since, self.changed, self.moves)
            first = last + 1
            if first > self.last:
                return


class SearchPage(msgspec.Struct, frozen=True):
    """Numbers of one page. *done*: all numbers up to it were examined."""

    window: Segment
    uids: tuple[int, ...]
    done: int | None


class Round(msgspec.Struct, frozen=True):
    """Segments to read in a folder, and the state when all of them are settled."""

    segments: tuple[Segment, ...]
    start: SyncedFolder  # state during the round, advanced with each page
    end: SyncedFolder

    def behind(self, segment: Segment, found: SearchPage) -> SyncedFolder:
        """Return the state after a page."""
        uid = found.done if found.done is not None else (found.uids[-1] if found.uids else segment.first - 1)
        until = self.start.until
        if until is not None and uid >= until:
            return msgspec.structs.replace(self.start, uid=uid, since=None, until=None)
        return msgspec.structs.replace(self.start, uid=uid)


def plan(
    known: SyncedFolder | None, status: FolderStatus, since: datetime, now: datetime, filter: ImapFilter
) -> Round | None:
    """Return the plan for a folder, or None if it has no new messages."""
    last = status.uidnext - 1
    modseq = status.modseq if filter.unread_only else None  # a mail may be marked as unread again
    end = SyncedFolder(uidvalidity=status.uidvalidity, uid=last, at=now.timestamp(), modseq=modseq)
    if known is not None and known.uidvalidity == status.uidvalidity and last >= known.uid:
        return _go_on(known, since, end)
    if known is not None:
        # Recreated: all messages that may have come since the last reading are read again.
        times = [at for at in (known.at, known.since) if at is not None]
        since = min(since, *(datetime.fromtimestamp(at, UTC) - _OVERLAP for at in times)) if times else since
    start = msgspec.structs.replace(end, uid=0, at=None, since=since.timestamp(), until=last)
    return Round((Segment(1, last, since),) if last else (), start, end)


def _go_on(known: SyncedFolder, since: datetime, end: SyncedFolder) -> Round | None:
    is_changed = end.modseq is not None and known.modseq is not None and end.modseq > known.modseq
    is_same_filter = (end.modseq is None) == (known.modseq is None)
    if end.uid == known.uid and known.until is None and not is_changed and is_same_filter:
        return None
    segments = []
    if is_changed and known.uid:
        segments.append(Segment(1, known.uid, since, known.modseq, moves=False))
    first = known.uid + 1
    if known.until is not None and known.since is not None and known.until >= first:
        segments.append(Segment(first, known.until, datetime.fromtimestamp(known.since, UTC)))
        first = known.until + 1
    if first <= end.uid:
        segments.append(Segment(first, end.uid))
    return Round(tuple(segments), known, end)


def search_words(window: Segment, filter: ImapFilter) -> list[bytes] | None:
    """Return the arguments of UID SEARCH, or None if the numbers are few enough to fetch all.

    The search has only conditions that no server applies more strictly than the hub.
    """
    words = [b"UID", b"%d:%d" % (window.first, window.last)]
    if window.since is not None:
        words += [b"SINCE", day((window.since - _A_DAY).date())]
    if filter.unread_only:
        words.append(b"UNSEEN")
    if window.changed is not None:
        words += [b"MODSEQ", b"%d" % (window.changed + 1)]
    words += _from_words(filter)
    is_bare = len(words) == 2
    if is_bare and window.last - window.first < _FEW:
        return None
    return [*words, b"UNDELETED"]


def _from_words(filter: ImapFilter) -> list[bytes]:
    """Return conditions for senders, if all are addresses or domains; names may be encoded on the server."""
    senders = filter.from_any
    if (
        not senders
        or len(senders) > _MAX_SENDERS
        or not all("@" in sender and sender.isascii() for sender in senders)
    ):
        return []
    try:
        # A domain includes its subdomains.
        spelled = [b"FROM " + quoted(sender.removeprefix("@")) for sender in senders]
    except ValueError:
        return []
    return [*[b"OR"] * (len(spelled) - 1), *spelled]


IDLE_S: Final = 28 * 60.0  # servers may disconnect after 29 minutes (RFC 2177)
_INBOX: Final = "INBOX"

T = TypeVar("T")

_EXPUNGED: Final = "EXPUNGEISSUED"
_HEADERS_AT_ONCE: Final = 25  # messages in one FETCH of headers


class Imap(Connector):
    """Account at an IMAP server, with one connection for one user at a time."""

    provider = "imap"
    auth = Auth.PASSWORD
    settings_model = ImapSettings
    filter_model = ImapFilter
    can_push = True

    settings: ImapSettings
    filter: ImapFilter

    def __init__(
        self, context: Context, settings: Any, filter: Any, *, line: ImapConnection | None = None
    ) -> None:
        super().__init__(context, settings, filter)
        self._line = line or ImapConnection(self.settings, context)
        self._heads = _asked(self.filter)
        self._letters = Letters(self.filter)
        self._broken = 0  # messages in a row for which the connection broke
        self._waited_at: int | None = None  # UIDNEXT of the first folder at the last wait for news

    @classmethod
    def oauth(cls, settings: ImapSettings) -> OAuth | None:
        """Return the OAuth parameters if ``auth = "xoauth2"``, else None."""
        return settings.sign_in()

    @classmethod
    def origin(cls, settings: ImapSettings) -> str:
        """Return the scope of its cursors: they are invalid at another server or for another user."""
        return f"imap://{settings.username}@{settings.host.lower()}:{settings.at_port}"

    async def check(self) -> Account:
        """Sign in and examine each folder."""
        counts = []
        for name, _ in await self._folders():
            status = await self._line.status(name)
            counts.append(f"{name}: {counted(status.messages, 'message', f'{status.messages:,}')}")
        return Account(name=self.context.identity or self.settings.username, detail=", ".join(counts))

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        """Yield new messages, folder by folder."""
        states = _known(cursor)
        folders = await self._folders()
        states = {name: states[name] for name, _ in folders if name in states}
        for name, is_sent in folders:
            status = await self._line.status(name)
            round = plan(states.get(name), status, since, self.context.clock.now(), self.filter)
            if round is None:
                continue
            for segment in round.segments:
                async for found in self._found(name, status, segment):
                    messages, failure = await self._list(name, status, found, is_sent=is_sent)
                    if failure is not None:
                        yield Page(messages=messages)  # the cursor stays before what was not listed
                        raise failure
                    if segment.moves:
                        states[name] = round.behind(segment, found)
                    # Until the first page of a resumable segment, the cursor cannot be stored.
                    yield Page(
                        messages=messages,
                        cursor=_cursor(states) if segment.moves else None,
                        is_backfill=segment.since is not None and segment.moves,
                    )
            states[name] = round.end
            yield Page(cursor=_cursor(states))

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        """Yield the documents of messages, folder by folder; mails with equal parts are fetched together."""
        by_folder: dict[tuple[str, int], dict[int, tuple[Message, ImapLocation]]] = {}
        for message in messages:
            try:
                at = msgspec.convert(message.place, ImapLocation)
            except msgspec.ValidationError:
                yield message, Unread(reason="the hub does not know any more where it lies")
                continue
            by_folder.setdefault((at.folder, at.uidvalidity), {})[at.uid] = (message, at)
        for (folder, uidvalidity), group in by_folder.items():
            for orders in rounds([at for _, at in group.values()], self._letters.options):
                uids = sorted({uid for order in orders for uid in order.uids})
                fetch = partial(_bodies, orders)
                got, failure = await self._in_halves(folder, uidvalidity, uids, fetch, _as_it_is)
                for uid in (uid for order in orders for uid in order.uids):
                    message, at = group[uid]
                    if uid in got or failure is None:
                        yield message, await self._document(message, at, got.get(uid))
                if failure is not None:
                    raise failure

    async def wait_for_news(self) -> None:
        """Wait in the first folder (IDLE). Return at once if mail came since the previous wait.

        Raises:
            NotImplementedError: the server does not support IDLE.
        """
        name = (await self._folders())[0][0]
        await self._line.open()
        if "IDLE" not in self._line.offers:
            raise NotImplementedError("this server does not report new mail (no IDLE)")
        status = await self._line.status(name)
        before, self._waited_at = self._waited_at, status.uidnext
        if before is not None and status.uidnext != before:
            return
        await self._line.enter(name, status.uidvalidity)
        await self._line.wait(IDLE_S)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._line.aclose()

    async def _folders(self) -> list[tuple[str, bool]]:
        """Return the selected folders, each with True if it contains the owner's sent mail."""
        names = [_INBOX if name.upper() == _INBOX else name for name in self.filter.folders]
        if names == [_INBOX] and not self.filter.special_use:
            return [(_INBOX, False)]
        available = await self._line.folders()
        for use in self.filter.special_use:
            fitting = [folder.name for folder in available if f"\\{use}" in folder.flags]
            if not fitting:
                raise Misconfigured(f"the server has no folder for {use}; name it in folders")
            names += fitting
        sent = {folder.name for folder in available if r"\sent" in folder.flags}
        return [(name, name in sent) for name in dict.fromkeys(names)]

    async def _found(self, name: str, status: FolderStatus, segment: Segment) -> AsyncGenerator[SearchPage]:
        """Yield the numbers of a segment's messages page by page; at least one page."""
        for window in segment.windows():
            words = search_words(window, self.filter)
            if words is None:
                uids: Iterable[int] = range(window.first, window.last + 1)
            else:
                await self._line.enter(name, status.uidvalidity)
                answer = await self._line.work(partial(_search, words=words))
                uids = _searched(answer, window)
            listed = list(uids)
            for at in range(0, max(1, len(listed)), PAGE_MESSAGES):
                some = tuple(listed[at : at + PAGE_MESSAGES])
                is_last = at + PAGE_MESSAGES >= len(listed)
                yield SearchPage(window, some, window.last if is_last else None)

    async def _list(
        self, name: str, status: FolderStatus, found: SearchPage, *, is_sent: bool
    ) -> tuple[tuple[Message, ...], Unavailable | None]:
        """Return the messages of a page, or those before a failure, and the failure."""
        if not found.uids:
            return (), None

        def unread(one: Fetched) -> Message:
            """Return a message with only its place, and why it has no other data."""
            key = message_key(None, f"imap:{name}/{status.uidvalidity}/{one.uid}")
            at = place(name, status.uidvalidity, one.uid, ())
            return Message.refused(key, self._unread(one, name), place=at)

        def fetch(wire: BlockingImapTransport, uids: Sequence[int]) -> dict[int, Message]:
            shown = fetch_all(wire, uids, self._heads)
            self.refusals.accepted += sum(not letter.refusal for letter in shown.values())
            readable = [shown[uid] for uid in uids if uid in shown and not shown[uid].is_unread]
            heads = {letter.uid: read_head(letter.sections.get("HEADER", b"")) for letter in readable}
            # Without a Message-ID, the key of a message is a digest of its whole header.
            nameless = [letter.uid for letter in readable if not heads[letter.uid].message_id]
            whole = fetch_all(wire, nameless, b"(UID BODY.PEEK[HEADER])") if nameless else {}
            faults = {uid: letter for uid, letter in (shown | whole).items() if letter.is_unread}
            messages = {uid: unread(letter) for uid, letter in faults.items()}
            for letter in readable:
                uid, head = letter.uid, heads[letter.uid]
                if uid not in faults and self._is_selected(letter, head, found.window.since):
                    header = whole.get(uid)
                    messages[uid] = self._message(name, status, letter, head, header, is_sent=is_sent)
            return messages

        listed, failure = await self._in_halves(name, status.uidvalidity, found.uids, fetch, unread)
        return tuple(listed[uid] for uid in found.uids if uid in listed), failure

    async def _in_halves(
        self,
        name: str,
        uidvalidity: int,
        uids: Sequence[int],
        fetch: Callable[[BlockingImapTransport, Sequence[int]], Mapping[int, T]],
        unread: Callable[[Fetched], T],
    ) -> tuple[Mapping[int, T], Unavailable | None]:
        """Fetch messages; if the answer is too long, or the connection breaks, fetch halves.

        So the message that causes it is isolated. Where the connection breaks for several messages in a row,
        or before any was shown, another message decides: if the server shows it, the others are fetched.

        Returns:
            what was fetched up to the last message that was shown, and the failure of the server after it.
        """
        found: dict[int, T] = {}
        left, shown = [uids], 0
        while left:
            some = left.pop()
            is_single = len(some) == 1
            try:
                found.update(await self._fetch(name, uidvalidity, some, fetch))
            except AnswerTooLong as error:
                one = Fetched(some[0], fault=str(error))
            except Unavailable as error:
                one = Fetched(some[0], refusal=str(error))
                self._broken += is_single
                others = {uids[-1], shown} - {some[0], 0}
                is_doubtful = self._broken >= MAX_REFUSALS or not self.refusals.accepted
                if is_single and is_doubtful and not await self._shows(name, uidvalidity, others, fetch):
                    return {uid: item for uid, item in found.items() if uid <= shown}, error
            else:
                self._broken, shown = 0, some[-1]
                continue
            if is_single:
                found[some[0]] = unread(one)
            else:
                left += [some[len(some) // 2 :], some[: len(some) // 2]]
        return found, None

    async def _fetch(
        self,
        name: str,
        uidvalidity: int,
        uids: Sequence[int],
        fetch: Callable[[BlockingImapTransport, Sequence[int]], Mapping[int, T]],
    ) -> Mapping[int, T]:
        await self._line.enter(name, uidvalidity)
        return await self._line.work(lambda wire: fetch(wire, uids))

    async def _shows(
        self,
        name: str,
        uidvalidity: int,
        uids: Iterable[int],
        fetch: Callable[[BlockingImapTransport, Sequence[int]], Mapping[int, T]],
    ) -> bool:
        """Return True if the server shows one of these messages, so that it refuses only some."""
        for uid in uids:
            before = self.refusals.accepted
            with suppress(Unavailable):
                if await self._fetch(name, uidvalidity, [uid], fetch) or self.refusals.accepted > before:
                    self._broken = 0
                    return True
        return False

    def _is_selected(self, one: Fetched, head: MailHead, since: datetime | None) -> bool:
        """Check conditions that the server was not asked for, or applies only roughly."""
        if since is not None and one.received_at is not None and one.received_at < since:
            return False
        if r"\deleted" in one.flags or not one.flags.isdisjoint(
            flag.lower() for flag in self.filter.flags_none
        ):
            return False
        return all(
            name in head.raw and part.lower() in head.text(name).lower()
            for name, part in self.filter.header.items()
        )

    def _message(
        self,
        folder: str,
        status: FolderStatus,
        letter: Fetched,
        head: MailHead,
        whole: Fetched | None,
        *,
        is_sent: bool,
    ) -> Message:
        fields = head.fields(named=self.filter.header)
        sender = fields["sender"]
        own = (self.context.identity or self.settings.username).lower()
        is_own = sender is not None and sender.email == own
        marks = sorted(letter.flags.intersection((r"\flagged", "$important")))
        fallback = "" if head.message_id else _fallback(letter, whole)
        return Message(
            key=message_key(head.message_id, fallback),
            copy=f"{folder}/{status.uidvalidity}/{letter.uid}",
            place=place(folder, status.uidvalidity, letter.uid, letter.parts),
            received_at=letter.received_at,
            labels=(folder, *marks),
            attachments=tuple(map(_attachment, attached(letter.parts))),
            size_bytes=letter.size,
            is_sent=is_sent or is_own or r"\draft" in letter.flags,
            is_verified=head.is_verified(self.settings.own_authserv_id),
            is_unread=r"\seen" not in letter.flags,
            link=mid_link(head.message_id),
            **fields,
        )

    async def _document(self, message: Message, at: ImapLocation, one: Fetched | None) -> Document | Unread:
        if one is None:
            return Unread(reason="it was removed", is_removed=True)
        if one.is_unread:
            return self._unread(one, at.folder)
        work = partial(letter_of, message, at, one.sections, self._letters.options)
        letter = await self._line.apart(work)
        content_hash = fingerprint(message, at, one.sections)
        return await self._letters.document(message, letter, content_hash, whole=partial(self._as_sent, at))

    def _unread(self, one: Fetched, folder: str) -> Unread:
        """Return why a message has no data: it cannot be parsed, or the server does not show it."""
        reason = f"UID {one.uid} in {folder}: {one.fault or one.refusal}"
        is_passing = not one.fault and not self.refusals.accepted
        return Unread(reason=reason, is_final=bool(one.fault), is_passing=is_passing)

    async def _as_sent(self, at: ImapLocation) -> bytes | None:
        """Fetch the beginning of a whole mail; None if it was removed, or cannot be shown."""
        fetch = partial(_bodies, [FetchOrder((ImapPart("", MAIL, size=_MAX_MAIL_BYTES),), (at.uid,))])
        got, failure = await self._in_halves(at.folder, at.uidvalidity, [at.uid], fetch, _as_it_is)
        if failure is not None:
            raise failure
        found = got.get(at.uid)
        return None if found is None else found.sections.get("")


def _as_it_is(one: Fetched) -> Fetched:
    return one


def _bodies(
    orders: Sequence[FetchOrder], wire: BlockingImapTransport, uids: Sequence[int]
) -> dict[int, Fetched]:
    requested = set(uids)
    some = [FetchOrder(order.parts, tuple(uid for uid in order.uids if uid in requested)) for order in orders]
    return fetch_bodies(wire, [order for order in some if order.uids])


def _attachment(part: ImapPart) -> Attachment:
    is_picture = part.media_type.startswith("image/")
    return Attachment(
        id=part.number,
        name=part.name,
        media_type=part.media_type,
        size_bytes=part.size,
        is_inline=not part.is_attached and (is_picture or not part.name),
    )


def _asked(filter: ImapFilter) -> bytes:
    names = " ".join(name.upper() for name in dict.fromkeys((*NEEDED, *filter.header)))
    return f"(UID INTERNALDATE RFC822.SIZE FLAGS BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS ({names})])".encode()


def _known(cursor: Cursor | None) -> dict[str, SyncedFolder]:
    return {} if cursor is None else read_cursor(cursor.get("folders"), dict[str, SyncedFolder])


def _cursor(states: dict[str, SyncedFolder]) -> Cursor:
    return {"folders": {name: msgspec.to_builtins(known) for name, known in states.items()}}


def _fallback(one: Fetched, whole: Fetched | None) -> str:
    """Return a key for a mail without Message-ID, by header and size; it is equal in all folders."""
    digest = hashlib.sha256(whole.sections.get("HEADER", b"") if whole else b"")
    at = one.received_at or datetime.fromtimestamp(0, UTC)
    digest.update(f"\0{one.size}\0{at.isoformat()}".encode())
    return f"imap:{digest.hexdigest()}"


def _search(wire: BlockingImapTransport, words: Sequence[bytes]) -> ImapResponse:
    return wire.command(b"UID", b"SEARCH", *words)


def _searched(answer: ImapResponse, window: Segment) -> list[int]:
    """Return the sorted numbers of an answer to SEARCH."""
    found: set[int] = set()
    for pieces in answer.named(b"SEARCH"):
        words = pieces[0].partition(b"(")[0].split()  # a MODSEQ may follow in parentheses
        if not all(word.isdigit() for word in words):
            raise Unavailable("the server's answer cannot be understood")
        found.update(map(int, words))
    return sorted(uid for uid in found if window.first <= uid <= window.last)


def fetch_all(wire: BlockingImapTransport, uids: Sequence[int], asked: bytes) -> dict[int, Fetched]:
    """Fetch messages by UID; removed ones are omitted, and one that the server cannot show has a refusal.

    Raises:
        Refused: the server shows none of several.
    """
    found: dict[int, Fetched] = {}
    doubtful: list[int] = []
    # Several commands are sent at once: one answer is parsed while the server prepares the next.
    parts = [uids[at : at + _HEADERS_AT_ONCE] for at in range(0, len(uids), _HEADERS_AT_ONCE)]
    tags = [wire.send(b"UID", b"FETCH", set_of(part), asked) for part in parts]
    for part, tag in zip(parts, tags, strict=True):
        answer = wire.finish(tag, may_refuse=True)
        fault = _collect(answer, set(uids), found)
        doubtful += _doubtful(answer, part, found, fault)
    return _fetched_alone(wire, dict.fromkeys(doubtful, asked), found)


def fetch_bodies(wire: BlockingImapTransport, orders: Sequence[FetchOrder]) -> dict[int, Fetched]:
    """Fetch bodies by UID, as ``fetch_all`` does. All commands are sent before the first answer.

    Raises:
        Refused: the server shows none of several.
    """
    found: dict[int, Fetched] = {}
    tags = [wire.send(b"UID", b"FETCH", *order.words()) for order in orders]
    answers = [wire.finish(tag, may_refuse=True) for tag in tags]
    fault = ""
    for answer in answers:  # data of one command may arrive with the answer to another
        fault = _collect(answer, {uid for order in orders for uid in order.uids}, found) or fault
    doubtful = {
        uid: order.words()[1]
        for order, answer in zip(orders, answers, strict=True)
        for uid in _doubtful(answer, order.uids, found, fault)
    }
    return _fetched_alone(wire, doubtful, found)


def _doubtful(answer: ImapResponse, uids: Sequence[int], found: dict[int, Fetched], fault: str) -> list[int]:
    """Return the UIDs to fetch individually: incomplete ones, and those missing without explanation."""
    is_missing = bool(fault) or (answer.status != "OK" and answer.code != _EXPUNGED)
    return [uid for uid in uids if (not found[uid].is_whole if uid in found else is_missing)]


def _fetched_alone(
    wire: BlockingImapTransport, doubtful: Mapping[int, bytes], found: dict[int, Fetched]
) -> dict[int, Fetched]:
    """Fetch messages one by one, by UID and what is asked of each, instead of what was *found* of them.

    Raises:
        Refused: the server shows none of several.
    """
    for uid in doubtful:
        found.pop(uid, None)
    refused: dict[int, Fetched] = {}
    uids = [*doubtful]
    for uid in (*uids[-1:], *uids[:-1]):  # if the last one is shown, the others are refused alone
        answer = wire.finish(wire.send(b"UID", b"FETCH", b"%d" % uid, doubtful[uid]), may_refuse=True)
        fault = _collect(answer, {uid}, found)
        if uid in found:
            continue
        if fault:
            found[uid] = Fetched(uid, fault=fault)
        elif answer.status != "OK" and answer.code != _EXPUNGED:
            code = f" [{answer.code[:40]}]" if answer.code else ""
            refused[uid] = Fetched(uid, refusal=f"the server cannot show it ({answer.status}{code})")
            if len(refused) >= MAX_REFUSALS and not found:
                raise ImapRefused(answer.status, answer.code, answer.text)
    return found | refused


def _collect(answer: ImapResponse, uids: set[int], found: dict[int, Fetched]) -> str:
    """Collect the requested messages; a server may also report flags changed by other clients.

    Returns:
        why a message could not be parsed; empty if all could.
    """
    fault = ""
    for answered in fetched(answer):
        if answered.uid == UNKNOWN:
            fault = answered.fault or fault
            continue
        before = found.get(answered.uid)
        if answered.uid in uids and (before is None or (answered.sections and not before.sections)):
            found[answered.uid] = answered
    return fault
