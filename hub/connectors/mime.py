"""Mail headers as sender, dates, identity and verification results; conversion to a document.

Real headers are often malformed, so no function raises: an invalid field is empty. Anybody can send them:
each field is cut, and parsed in one pass.

Verification of a mail's sender by the Authentication-Results of the mailbox's own server (RFC 8601).

A sender can write any header, so a result counts only if the mailbox's server wrote it. Servers put their
header on top of those that a mail brought along, so only the topmost Authentication-Results is read. It must
bear the name (authserv-id) of the server; Microsoft's writes none, and is known by that form.

The sender is verified by DMARC, or by DKIM or SPF for the domain in From or for a domain above it. A failed
DMARC refuses all. Texts of the sender, such as comments and quoted addresses, are skipped. Pure functions.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from typing import Final, NamedTuple, TypedDict
from urllib.parse import quote

import msgspec
from anyio import CapacityLimiter, from_thread, to_thread

from hub.connectors.calling import Unread
from hub.connectors.connector import Address, Filter, Message
from hub.document import Document
from hub.text.convert import read_letter
from hub.text.files import MIB, NotConvertible
from hub.text.header_values import date_in, on_one_line
from hub.text.letter_text import Letter, LetterOptions, is_tame, letter_of_mail
from hub.text.mime import MAX_RAW_CHARS, header_text, is_bulk, letters

MAX_BYTES: Final = 50 * MIB  # of a whole mail
GOOGLE: Final = "mx.google.com"
MICROSOFT: Final = ""  # without a name
HEADER: Final = "authentication-results"

_MAX_CHARS: Final = 8_000  # longer ones are none of a server's
_MAX_DEPTH: Final = 10  # of comments in comments
_NO_FAULT: Final = ("pass", "none", "bestguesspass")
_RESULT_TOKEN: Final = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[^\s()";=\\]+|[()";=\\]')
_VALUES: Final = ("header.from", "header.d", "header.i", "smtp.mailfrom")


class Result(NamedTuple):
    """Result of one method, as ``dkim=pass header.d=example.org``."""

    method: str
    result: str
    values: dict[str, str]


def is_verified(header: str, authserv_id: str | None, address: str) -> bool:
    """Return True if the mailbox's server verified the domain of the sender's *address*.

    Args:
        header: the topmost Authentication-Results of the mail.
        authserv_id: name of the mailbox's server; empty: it writes none; None: unknown, so nothing counts.
    """
    domain = address.rpartition("@")[2].lower()
    if authserv_id is None or not header or not domain or len(header) > _MAX_CHARS:
        return False
    name, results = _parsed(header)
    if name != authserv_id.lower():
        return False
    found = list(results)
    if any(verdict.method in ("dmarc", "compauth") and verdict.result not in _NO_FAULT for verdict in found):
        return False
    return any(verdict.result == "pass" and _covers(verdict, domain) for verdict in found)


def _covers(one: Result, domain: str) -> bool:
    match one.method:
        case "dmarc":
            return one.values.get("header.from", "") == domain
        case "dkim":
            signer = one.values.get("header.d") or one.values.get("header.i", "")
            return _is_above(signer, domain)
        case "spf":
            return _is_above(one.values.get("smtp.mailfrom", ""), domain)
        case _:
            return False


def _is_above(found: str, domain: str) -> bool:
    """Return True if *found*, a domain or an address, is of *domain* or of a domain above it."""
    above = found.rpartition("@")[2]
    return "." in above and (domain == above or domain.endswith(f".{above}"))


def _parsed(header: str) -> tuple[str, Iterator[Result]]:
    """Return the name of the server, in lower case, and the results."""
    parts = _parts(header)
    first = parts[0] if parts else []
    if "=" in first:  # a result: the server writes no name
        return "", map(_result, parts)
    return (first[0].lower() if first else "-"), map(_result, parts[1:])


def _parts(header: str) -> list[list[str]]:
    """Return the tokens between semicolons, without comments."""
    parts: list[list[str]] = [[]]
    depth = 0
    for match in _RESULT_TOKEN.finditer(header):
        token = match[0]
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
            if depth < 0:
                return []
        elif depth == 0 and token == ";":
            parts.append([])
        elif depth == 0:
            parts[-1].append(token)
        # An open quotation mark, or one in a comment, which readers understand in different ways.
        if depth > _MAX_DEPTH or token == '"' or (depth and token.startswith('"')):
            return []
    return parts if depth == 0 else []


def _result(part: list[str]) -> Result:
    """Return the result in *part*; a value that is given twice is none."""
    pairs = [
        (part[at - 1].lower(), part[at + 1].strip('"').lower())
        for at in range(1, len(part) - 1)
        if part[at] == "="
    ]
    names = [name for name, _ in pairs]
    values = {name: value for name, value in pairs[1:] if name in _VALUES and names.count(name) == 1}
    method, result = pairs[0] if pairs else ("", "")
    return Result(method, result, values)


MAX_KEY_CHARS: Final = 1_000
MAX_RECIPIENTS: Final = 100
_MAX_TOKENS: Final = 10 * MAX_RECIPIENTS
_READERS: Final = 2  # threads that convert the mails of one account
_MAX_FIELDS: Final = 1_000  # in one header; only an attack has more

# Headers that ``fields`` uses, and which must be fetched.
NEEDED: Final = (
    "message-id",
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "list-id",
    "auto-submitted",
    "precedence",
    "authentication-results",
)
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_ID: Final = re.compile(r"<([^<>]*)>")
# Encoded word, quoted text, special character or word of a list of addresses; each is scanned once.
_TOKEN: Final = re.compile(
    r'=\?[^\s?]*+\?[bBqQ]\?[^\s?]*+\?=|"(?>(?:[^"\\]++|\\.)*)["\\]?|[(),:;<>]|[^\s"(),:;<>]++', re.DOTALL
)
_COMMENT: Final = re.compile(r"[^()\\]++|\\.|[()\\]", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class MailFields(TypedDict):
    """Fields of a ``Message`` that come from its header, to be passed on as keyword arguments."""

    sender: Address | None
    recipients: tuple[Address, ...]
    subject: str
    sent_at: datetime | None
    is_bulk: bool
    headers: dict[str, str]


class MailHead(msgspec.Struct, frozen=True):
    """Parsed header: *raw* has the first raw field of each name (lower case)."""

    raw: dict[str, str]

    @property
    def message_id(self) -> str | None:
        """Message-ID without brackets, or None."""
        return message_id(self.raw.get("message-id"))

    def text(self, name: str) -> str:
        """Return a field decoded, on one line; empty if it is missing."""
        return header_text(self.raw.get(name, ""))

    def fields(self, *, named: Iterable[str] = ()) -> MailFields:
        """Return the fields of a ``Message``.

        Args:
            named: names (lower case) of further headers that a filter examines.
        """
        sender = addresses(self.raw.get("from", ""))
        stored = {name: self.text(name) for name in {*BULK_HEADERS, *named} if name in self.raw}
        return MailFields(
            sender=sender[0] if sender else None,
            recipients=self._recipients(),
            subject=self.text("subject"),
            sent_at=date_in(self.raw.get("date", "")),
            is_bulk=is_bulk(self.raw),
            headers=stored,
        )

    def is_verified(self, authserv_id: str | None) -> bool:
        """Return True if the mailbox's server, known by *authserv_id*, verified the sender's domain."""
        if not (header := self.raw.get(HEADER, "")):
            return False
        sender = addresses(self.raw.get("from", ""))
        return len(sender) == 1 and is_verified(header, authserv_id, sender[0].email)

    def _recipients(self) -> tuple[Address, ...]:
        found = addresses(self.raw.get("to", ""))
        if copied := self.raw.get("cc"):
            found += addresses(copied)
        return found[:MAX_RECIPIENTS]


BULK_HEADERS: Final = ("list-id", "auto-submitted", "precedence")


def read_head(given: bytes | Mapping[str, str] | Iterable[tuple[str, str]]) -> MailHead:
    """Parse the header of a mail.

    Args:
        given: the mail or its header as bytes, or names and values.
    """
    if isinstance(given, bytes):
        return MailHead(_split(given))
    raw: dict[str, str] = {}
    for name, value in given.items() if isinstance(given, Mapping) else given:
        raw.setdefault(name.strip().lower(), value)
        if len(raw) == _MAX_FIELDS:
            break
    return MailHead(raw)


def message_key(message_id: str | None, fallback: str) -> str:
    """Return the key that identifies a message in all folders and rounds.

    Args:
        message_id: the Message-ID header, with or without brackets.
        fallback: ``<provider>:<stable id>``, for a message without Message-ID.
    """
    bare = _id(message_id)
    key = f"mid:{bare}" if bare else fallback
    if len(key) <= MAX_KEY_CHARS:
        return key
    return f"{key.partition(':')[0]}:sha256:{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"


def message_id(spelled: str | None) -> str | None:
    """Return the first id in *spelled*, without brackets (RFC 5322, 3.6.4)."""
    return _id(spelled) or None


def mid_link(message_id: str | None) -> str | None:
    """Return a ``mid:`` URL (RFC 2392), which opens the mail in the user's mail program."""
    bare = _id(message_id)
    return f"mid:{quote(bare, safe='@')}" if bare and len(bare) <= MAX_KEY_CHARS else None


def headers_of(message: Message) -> dict[str, str]:
    """Return the headers to show for a message whose own are not fetched."""
    at = message.sent_at or message.received_at
    return {
        "Subject": message.subject,
        "From": str(message.sender or ""),
        "To": ", ".join(map(str, message.recipients)),
        "Date": format_datetime(at) if at is not None else "",
    }


def letter_in(data: bytes, options: LetterOptions) -> Letter:
    """Parse a whole mail (RFC 822), in a worker thread. Raises NotConvertible."""
    if len(data) > MAX_BYTES:
        raise NotConvertible(f"a mail of more than {MAX_BYTES // MIB} MiB")
    if not is_tame(data):
        raise NotConvertible("too tangled")
    return letter_of_mail(data, options)


class Letters:
    """Converter of letters to documents for one filter, in worker threads."""

    def __init__(self, filter: Filter) -> None:
        self.options = LetterOptions(
            quoted=filter.quoted,
            max_chars=filter.max_chars,
            fetch=filter.attachments.fetch,
            types=filter.attachments.types,
            max_attachment_bytes=int(filter.attachments.max_mb * MIB),
        )
        self._limiter = CapacityLimiter(_READERS)

    async def in_mail(self, data: bytes) -> Letter:
        """Return the letter in a whole mail (RFC 822). Raises NotConvertible."""
        return await to_thread.run_sync(letter_in, data, self.options, limiter=self._limiter)

    async def document(
        self,
        message: Message,
        letter: Letter,
        content_hash: str,
        *,
        whole: Callable[[], Awaitable[bytes | None]] | None = None,
    ) -> Document | Unread:
        """Convert the letter of a message.

        Args:
            whole: fetches the whole mail, which is read if its provider found no text or attachment in it.
        """
        is_blank = not letter.enclosures and not any(body.data.strip() for body in letter.bodies)
        try:
            if is_blank and whole is not None and (data := await whole()):
                letter = replace(await self.in_mail(data), headers=letter.headers)
            work = partial(read_letter, letter, self.options, check=from_thread.check_cancelled)
            made = await to_thread.run_sync(work, limiter=self._limiter)
        except NotConvertible as error:
            return Unread(reason=str(error))
        return message.document(
            made.text, content_hash, hidden_parts=made.dropped, guessed=made.guessed, parts=made.parts
        )


def addresses(raw: str) -> tuple[Address, ...]:
    """Parse the addresses of a raw From, To or Cc field; invalid ones are skipped."""
    return _addresses(raw[:MAX_RAW_CHARS])


@lru_cache(maxsize=128)  # nearly all mails of a mailbox are to its owner, and many by the same senders
def _addresses(raw: str) -> tuple[Address, ...]:
    """Parse addresses, lenient and in one pass: the parser of ``email`` takes quadratic time."""
    raw = letters(raw)
    reader = _AddressReader()
    at = 0
    for _ in range(_MAX_TOKENS):
        if (match := _TOKEN.search(raw, at)) is None:
            break
        at = match.end()
        if match[0] == "(":
            comment, at = _comment(raw, at)
            reader.comment = reader.comment or comment
        else:
            reader.add_token(match[0])
    reader.end()
    return tuple(reader.found[:MAX_RECIPIENTS])


class _AddressReader:
    """State of parsing a list of addresses.

    Attributes:
        comment: first comment of the current address, its name if it has no other.
    """

    def __init__(self) -> None:
        self.found: list[Address] = []
        self.comment = ""
        self._words: list[str] = []
        self._bracketed: list[str] | None = None  # content of <...>
        self._is_open = False

    def add_token(self, token: str) -> None:
        """Process a token."""
        match token:
            case "<":
                if self._bracketed is not None:  # a second one without a comma between
                    self.end()
                self._bracketed, self._is_open = [], True
            case ">":
                self._is_open = False
            case ":" if self._is_open:  # after a route (RFC 5322, 4.4)
                self._bracketed = []
            case ":":  # after the name of a group
                self._words.clear()
            case "," if self._is_open and self._bracketed and self._bracketed[0].startswith("@"):
                pass  # within a route
            case "," | ";":
                self.end()
            case _ if self._is_open and self._bracketed is not None:
                self._bracketed.append(token)
            case _ if token.startswith("@") and self._words and self._words[-1].startswith('"'):
                self._words[-1] += token  # after a quoted local part
            case _:
                self._words.append(token)

    def end(self) -> None:
        """Add the current address, if any."""
        if self._bracketed is None:
            bare = [word for word in self._words if "@" in word and (word[0] != '"' or '"@' in word)]
            bare = bare or [word for word in self._words if len(self._words) == 1 and word[0] != '"']
            names = [word for word in self._words if word not in bare]
        else:
            bare, names = ["".join(self._bracketed)], self._words
        name = header_text(" ".join(map(_unquoted, names)) or self.comment)
        if bare or name:
            self.found += [Address(on_one_line(email).lower(), name) for email in bare or [""]]
        self._words, self._bracketed, self._is_open, self.comment = [], None, False, ""


def _comment(raw: str, at: int) -> tuple[str, int]:
    """Return the comment that begins at *at*, behind its parenthesis, and its end."""
    start, depth = at, 1
    for match in _COMMENT.finditer(raw, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        at = match.end()
        if depth == 0:
            return raw[start : at - 1], at
    return raw[start:], len(raw)


def _unquoted(word: str) -> str:
    return _ESCAPED.sub(r"\1", word[1:].removesuffix('"')) if word.startswith('"') else word


def _split(data: bytes) -> dict[str, str]:
    """Split a header into names and values; non-ASCII bytes become lone surrogates, as in ``email``."""
    end = data.find(b"\r\n\r\n")
    end = data.find(b"\n\n") if end < 0 else end
    if end >= 0:
        data = data[:end]
    raw: dict[str, str] = {}
    for line in (
        _FOLD.sub(b" ", data).decode("ascii", "surrogateescape").split("\n", _MAX_FIELDS)[:_MAX_FIELDS]
    ):
        name, colon, value = line.partition(":")
        if colon:
            raw.setdefault(name.strip().lower(), value.strip())
    return raw


@lru_cache(maxsize=512)  # of one page: key, link and thread of a message share their ids
def _id(spelled: str | None) -> str:
    if not spelled:
        return ""
    spelled = spelled[:MAX_RAW_CHARS]
    bracketed = _ID.search(spelled)
    return on_one_line("".join((bracketed[1] if bracketed else spelled).split()), MAX_RAW_CHARS)
