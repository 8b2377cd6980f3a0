"""Fields of items on the wire: source, warnings, evidence and review."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal
from unicodedata import combining, normalize

import msgspec
from msgspec import Meta

from protocol.frame import (
    Count,
    Field,
    Id,
    Name,
    Path,
    Sha256,
    Text,
)

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_QUOTES: Final = re.compile("[\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02]")
_STROKES: Final = re.compile(r"(?<![\d/])(0?[1-9]|1[0-2])/(0?[1-9]|1[0-2])(?!\d)")  # two readings


def folded(text: str) -> str:
    """Return a text without case and without marks on letters, as lists are searched."""
    if text.isascii():
        return text.lower()
    return "".join(letter for letter in normalize("NFKD", text).casefold() if not combining(letter))


def parts_in(question: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a question, and its phrases in quotes. True: it is a phrase."""
    for place, part in enumerate(_QUOTES.sub('"', question).split('"')):
        is_phrase = place % 2 == 1
        yield from ((text, is_phrase) for text in ([part.strip()] if is_phrase else part.split()) if text)


def sought_in(question: str) -> list[str]:
    """Return what a list is searched for: each of it, folded, has to be found, in any order."""
    return [*dict.fromkeys(folded(text) for text, _ in parts_in(question))]


def has_each(sought: Iterable[str], texts: Iterable[str]) -> bool:
    """Return True if each word and phrase of ``sought_in`` is a part of one of the texts."""
    searched = [*map(folded, texts)] if sought else ()
    return all(any(part in text for text in searched) for part in sought)


class Unresolved(msgspec.Struct, frozen=True, kw_only=True):
    """Words of the text that could not be converted to a field's value, as "some day next spring"."""

    field: Name
    words: Text

    @property
    def sentence(self) -> str:
        """Sentence for a reviewer: what is to be filled in."""
        unclear, pair = f"{self.field}: the meaning of {self.words!r} is unclear", _STROKES.search(self.words)
        first, second = (int(pair[1]), int(pair[2])) if pair else (0, 0)
        if first == second:
            return unclear
        return f"{unclear}: {first} {_MONTHS[second - 1]} or {second} {_MONTHS[first - 1]}"


class CountedDay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Words of the text that a field's day counts from another day, as "by Friday", and that other day.

    Attributes:
        since: the day from which the words count, ISO 8601.
        by: what tells that day: a key of ``EVIDENCE``.
        evidence: the line of the text that tells it, or the file's name.
    """

    field: Name
    words: Text
    since: Name
    by: Name
    evidence: Text = ""

    @property
    def sentence(self) -> str:
        """Sentence for a reviewer: why the field has its day."""
        place = EVIDENCE.get(self.by, self.by.replace("_", " "))
        evidence = f' "{self.evidence}"' if self.evidence else ""
        return f'{self.field}: "{self.words}", counted from {self.since}, {place}{evidence}'


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Field of a row whose source has changed."""

    field: Name
    before: Field
    after: Field


MAX_AUTHOR_CHARS: Final = 320  # the longest mail address


class ProvenanceOrigin(StrEnum):
    """Kind of source that an item is from."""

    OWN = "own"  # a file of the owner
    SHARED = "shared"  # a folder in which others write, too
    MAIL = "mail"  # a message that others sent; also one saved as a file
    CHAT = "chat"  # a message of a chat, saved as a file
    WEB = "web"  # a web page, also a saved one, or a call of a webhook
    ATTACHMENT = "attachment"
    CALENDAR = "calendar"


class Rank(IntEnum):
    """Rank of the author of a text: words of a lower rank change no item of a higher one."""

    OTHERS = 0  # unknown, or not verified
    TRUSTED = 1  # a verified sender that the owner knows
    OWN = 2


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Authorship of the text that an item is from.

    Attributes:
        author: author by the text's own account, unverified unless *trusted*.
        trusted: the owner wrote it, or a sender that the owner knows.
    """

    origin: ProvenanceOrigin
    author: Annotated[str, Meta(max_length=MAX_AUTHOR_CHARS)] | None = None
    trusted: bool

    @property
    def rank(self) -> Rank:
        """Rank of the author."""
        if not self.trusted:
            return Rank.OTHERS
        return Rank.OWN if self.origin is ProvenanceOrigin.OWN else Rank.TRUSTED


class FoundBy(StrEnum):
    """Finder of an item: a rule of the hub, or a language model."""

    RULE = "rule"
    MODEL = "model"


class ItemSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Position of an item: ``text[start:end] == quote``, counted in code points of the file's text."""

    path: Path
    quote: Annotated[str, Meta(max_length=2_000)]
    start: Count
    end: Count
    sha256: Sha256 | None = None
    warnings: Annotated[list[Name], Meta(max_length=16)] = []  # notes for a reviewer: see PROTOCOL.md
    unresolved: Annotated[list[Unresolved], Meta(max_length=16)] = []
    changed: Annotated[list[Changed], Meta(max_length=16)] = []  # update: fields that differ from the row
    replaces: Id | None = None  # the row that this one replaces, at a device that cannot update
    link: Annotated[str, Meta(max_length=2_000)] | None = None  # opens the message that contains it
    timezone: Name | None = None  # time zone of dates that have no time; an IANA name
    provenance: Provenance | None = None
    found_by: FoundBy | None = None  # None: an older hub
    counted: Annotated[list[CountedDay], Meta(max_length=16)] = []  # why fields have their days
    line: Count | None = (
        None  # number of the line in which the quote begins; the first is 1; None: an older hub
    )
    marks: Annotated[list[Name], Meta(max_length=16)] = []  # marks of its own task list, as "rec:1w"


class ReviewVerdict(StrEnum):
    """Decision about a row that the owner took elsewhere."""

    APPROVE = "approve"  # with the values of *data*, if any
    EDIT = "edit"  # the values of *data*, without approval
    REJECT = "reject"
    UNDO = "undo"  # of the verdict before: the row is open again


class RowReview(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Verdict of ``review.apply``, and the state of the row that the owner saw.

    *seen*: the call that last wrote the row or proposed its change; to undo, the call of the undone verdict.
    *titles*: of rows that fields of an approval or edit refer to; a project that is not there is made.
    *row*: of an edit of an approved row, ``seen_row`` of it as its owner saw it; another row is a conflict.
    With an undo, it allows a row that has changed since.
    """

    verdict: ReviewVerdict
    seen: Id
    titles: Annotated[dict[Name, Text], Meta(max_length=16)] = {}
    row: Name | None = None


Mark = Literal[
    "instruction",
    "hidden_characters",
    "approximate_quote",
    "cut_answer",
    "unsupported",
    "outside",
    "apart",
    "missing",
]
SOURCE_MISSING: Final = "missing"  # a mark that is never sent: hub and device both look at the files

ONE_CONFIRMED: Final = "a browser confirms one item in a request, below the words of that item"
# A sentence for the reviewer of each; the handbook, the dashboard and the command line show it.
MARKS: Final[Mapping[str, str]] = {
    "instruction": "the quoted text contains instructions: check the file before you trust it",
    "hidden_characters": "the quoted text contains invisible characters, or may be invisible",
    "approximate_quote": "the quote of the model differs from the text of the file",
    "cut_answer": "the answer of the model was cut off; the file may contain more",
    "unsupported": "the quote does not say this: compare the item with the file",
    "outside": "the author of the text is not known, or not verified: expect anything",
    "apart": "the agent lists items of unknown authors apart",
    "missing": "the file is gone or not read any more, or no longer says this",
}
# Features of an item of a rule by which the hub judges it, as a reviewer reads them.
REASONS: Final[Mapping[str, str]] = {
    "evidence_box": "it has a check box",
    "evidence_keyword": "a word such as TODO marks it",
    "evidence_field": "it has a field of a task format",
    "evidence_form": "its format has tasks and events alone",
    "evidence_heading": "a heading above it announces work",
    "evidence_words": "nothing but its words marks it",
    "document_list": "its file reads like a list of work",
    "document_notes": "its file reads like notes of its owner",
    "document_minutes": "its file reads like minutes",
    "document_letter": "its file reads like a letter",
    "document_chat": "its file reads like a chat",
    "document_manual": "its file reads like a manual",
    "document_rules": "its file reads like rules for assistants",
    "document_log": "its file reads like a log",
    "document_template": "its file reads like a template",
    "document_code": "its file reads like code",
    "document_newsletter": "its file reads like a newsletter",
    "document_story": "its file reads like a story or an article",
    "document_data": "its file reads like data",
    "words_yes": "its words are like those of work",
    "words_no": "its words are not like those of work",
    "day_yes": "it names a day",
    "day_no": "it names no day",
    "person_yes": "it names a person",
    "person_no": "it names no person",
    "short_yes": "its title is a word or two",
    "short_no": "its title is more than a word or two",
    "long_yes": "it is long",
    "long_no": "it is not long",
    "row_yes": "it is a row of a list",
    "row_no": "it is no row of a list",
    "whole_yes": "it is most of its line",
    "whole_no": "it is a part of its line",
}


def binding(marks: Sequence[str]) -> bool:
    """Return whether only an owner may approve an item with these marks, at the device or by a grant."""
    return any(mark != SOURCE_MISSING for mark in marks)


def with_missing(marks: Sequence[str], *, is_missing: bool) -> tuple[str, ...]:
    """Return the marks of an item, with the one of missing words if they are missing, and else without."""
    return (*(mark for mark in marks if mark != SOURCE_MISSING), *((SOURCE_MISSING,) if is_missing else ()))


ItemOrder = Literal["newest", "day", "file", "doubt"]
RankedOrder = Literal["day", "file", "doubt"]
_NO_DAY: Final = 2**62  # sorts behind all days
_MAX_ENDS: Final = 50  # characters of both ends of a long path in a key


def order_key(
    order: RankedOrder, *, marks: Sequence[str], day: int | None, path: str, source: Mapping[str, Any]
) -> tuple[int, str, int]:
    """Return the sort key of an item in a list; items with a mark come after all others.

    Items of equal doubt are by day; those of one day in the order of their files, and of the text there.

    Args:
        day: the instant that orders items by day, in epoch milliseconds.
        source: ``start`` is the position in the text, ``found_by`` orders items of equal marks.
    """
    file = path if len(path) <= 2 * _MAX_ENDS else f"{path[:_MAX_ENDS]} {path[-_MAX_ENDS:]}"
    doubt = 2 * len(marks) + (source.get("found_by") == FoundBy.MODEL) if order == "doubt" else 0
    when = 0 if order == "file" else _NO_DAY if day is None else day
    return int(bool(marks)), f"{doubt} {when + _NO_DAY:020d} {file}", source.get("start") or 0


EvidenceKind = Literal[
    "heading", "title", "line", "field", "entry", "message", "front_matter", "file_name", "file_time"
]

# What tells the day of a passage, likewise.
EVIDENCE: Final[Mapping[str, str]] = {
    "heading": "the heading",
    "title": "the title",
    "line": "the line",
    "field": "the field",
    "entry": "the entry",
    "message": "the message",
    "front_matter": "the front matter",
    "file_name": "the name of the file",
    "file_time": "the time of the file",
}
