"""Types of extraction (item, options, notes), and construction of items by rules. Pure functions.

An item has a place in the document: ``document.text[start:end] == quote``, in code points, without exception.
Its data contains only fields that a document can determine; ids, flags and foreign keys are added elsewhere.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from hub.extraction.chunk import Passage
from hub.text.folding import shown
from hub.text.places import Place, merged
from protocol.frame import Field, Record
from protocol.items import CountedDay, Mark
from protocol.secret_rules import RedactionRule
from protocol.tables import DeviceTable, Filler, TableName, Tables, problem_of, problems_of, tables_with

Origin = Literal["rule", "model"]
Outside = Literal["mark", "separate", "drop"]  # handling of items whose author is not known and verified
EvidenceMark = Literal["box", "keyword", "field", "form", "heading", "words"]
DropReason = Literal[
    "ungrounded",  # the quote is not in the text, or does not support the record
    "bad_record",  # refused by the table's rules
    "forbidden_field",  # only this field was dropped: it is unknown, or not determined by documents
    "bad_field",  # only this field was dropped: its value cannot be parsed
    "wrong_date",  # only this value was replaced: the words of the quote denote another day
    "unresolved_date",  # an event without a known day
    "duplicate",  # a repetition at the same place
    "foreign_table",  # a table that was not requested
    "not_an_object",  # not a record
    "outside",  # its author is unknown, and the agent drops such items
    "unlikely",  # the judge takes it for none, or too many of its agent are held
]


class Reference(msgspec.Struct, frozen=True):
    """Row of the device in *table*, with its *id* there and its *title* for people."""

    table: str
    id: str
    title: str


class JudgedTitle(msgspec.Struct, frozen=True):
    """Title of an earlier item of the agent, which its owner has kept or rejected."""

    table: str
    title: str
    is_approved: bool


class ExtractionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Agent's configuration for the extraction.

    Attributes:
        data_types: tables of the items to extract.
        prompt: the owner's instructions for the model.
        timezone: IANA name, for dates without an offset.
        allow_cloud: permit endpoints that are not local to read the documents.
        outside: handling of items whose author is not known and verified.
        redact: patterns replaced by placeholders before a model is asked, and restored afterwards.
        references: rows of the device to which an item may belong.
        own_tables: declarations of the tables that are not built in.
        judged: titles that the model is shown as examples. No part of the fingerprint: a document that was
            read is not read again because of them.
    """

    data_types: tuple[str, ...]
    prompt: str = ""
    timezone: str = "UTC"
    allow_cloud: bool = True
    outside: Outside = "mark"
    redact: tuple[RedactionRule, ...] = ()
    references: tuple[Reference, ...] = ()
    own_tables: tuple[DeviceTable, ...] = ()
    judged: tuple[JudgedTitle, ...] = ()

    @property
    def tables(self) -> Tables:
        """Declarations of all tables, by name."""
        return tables_with(self.own_tables)


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Basis on which a rule found an item.

    Attributes:
        mark: sign that the place is work or an event. ``keyword``: such as TODO or "Action:". ``field``:
            of a task format. ``form``: a format of tasks alone. ``words``: no sign.
        rule: name of the rule, as in ``markdown.box`` or ``prose.requests``.
    """

    mark: EvidenceMark = "words"
    rule: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Record extracted from a document, with its place.

    Attributes:
        warnings: warnings for the reviewer.
        unresolved: by field, words of the text that could not be converted to a value, or not surely.
        words: by field, words of the text from which its day was resolved.
        counted: why fields have their days, of those whose words count from another day.
        is_exact: the item equals its source, though the quote is only a part: an event is quoted by its
            summary, while its date is on another line. If both differ, the source is right.
        has_time: the date has a time of day, even if that is midnight.
        is_floating: that time is local to its reader, so that readers in other zones get another moment.
        is_of_prose: a rule found it in a sentence, which is its place.
        date_of_series: which date of the event that its unit is about; None for other items.
        marks: signs of a task list without a field, as written: they end the description.
        evidence: basis of the rule that found it; None for items of a model.
        likelihood: probability that its owner would approve it, by the judge; None: it was not judged.
        reasons: the two features that weighed most in it, the heavier first.
    """

    table: str
    data: Record
    quote: str
    start: int
    end: int
    origin: Origin
    warnings: tuple[Mark, ...] = ()
    unresolved: dict[str, str] = {}
    words: dict[str, str] = {}
    counted: tuple[CountedDay, ...] = ()
    is_exact: bool = False
    has_time: bool = False
    is_floating: bool = False
    is_of_prose: bool = False
    date_of_series: str | None = None
    marks: tuple[str, ...] = ()
    evidence: Evidence | None = None
    likelihood: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """True for work that is over, and so never suggested."""
        return self.table == TableName.TASKS and self.data.get("status") == "done"


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Rejected part of a model's answer. *detail* names fields, never document text.

    ``text[start:end]`` is the place that it is about; empty if it is about none.
    """

    table: str
    reason: DropReason
    detail: str = ""
    start: int = 0
    end: int = 0


class Notes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Statistics of reading a document: numbers, without any of its text.

    Attributes:
        dropped: number of rejected parts of answers, by reason.
        hidden_chars: invisible characters; the model did not get them.
        hidden_parts: invisible parts of the original, such as hidden paragraphs of a page; left out.
        undecoded: characters that could not be decoded: U+FFFD was read in their place.
        guessed_encoding: characters beyond ASCII, by the encoding that was guessed for them.
        parts: parts of a mail, file or calendar, by type and what became of them, if one was not read.
        redacted: number of different values that no model got.
        unresolved: fields whose words could not be converted to a value.
        asked_again: records requested again because they were unusable.
        lost: records of these without a readable answer: the document is partially read.
        halved: pieces split in halves because the answer was incomplete.
        looked_behind: number of questions about the rest of a text after the last record of an answer.
        salvaged: items from truncated answers that no half returned again.
        given_up: pieces without any complete answer: the document is partially read.
        given_up_chars: number of their characters.
        unanswered: questions without an answer that could be used: the document is partially read.
        failed: why a part was not read, in words of the model or its endpoint; the only text here.
        code: of the error that *failed* describes.
        left_out: new items beyond a limit, by its name; added by the run.
        is_cut_off: the end of a calendar or of its entry is missing: the document is partially read.
        unread_chars: characters in lines whose sentences were not read, as they would cost more than texts
            of its author may; *unread_lines*: number of the lines.
        awaits_model: only rules were applied: the model is to read the rest when it answers.
        shared_message_id: 1 if another mail with the same Message-ID has other content; added by the run.
        unread_languages: by name, the language of a text whose sentences no rule and no model reads.
    """

    dropped: dict[str, int] = {}
    hidden_chars: int = 0
    hidden_parts: int = 0
    undecoded: int = 0
    guessed_encoding: dict[str, int] = {}
    parts: dict[str, int] = {}
    redacted: int = 0
    unresolved: int = 0
    asked_again: int = 0
    lost: int = 0
    halved: int = 0
    looked_behind: int = 0
    salvaged: int = 0
    given_up: int = 0
    given_up_chars: int = 0
    unanswered: int = 0
    failed: str = ""
    code: str = ""
    left_out: dict[str, int] = {}
    is_cut_off: bool = False
    unread_chars: int = 0
    unread_lines: int = 0
    awaits_model: bool = False
    shared_message_id: int = 0
    unread_languages: dict[str, int] = {}


class Extraction(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the extraction from one document.

    Attributes:
        items: items of rules by place, then those of the model by place; the order is deterministic for equal
            answers, since call ids are derived from it.
        dropped: rejected parts, with reasons.
        requests: requests to the model, including failed ones.
        prompt_tokens: tokens counted by the endpoint, including failed requests.
        completion_tokens: likewise.
        chunks: pieces of the document sent to the model.
        notes: statistics. If something was *given_up* or *lost*, the unit does not count as completely read.
    """

    items: tuple[Item, ...]
    dropped: tuple[Dropped, ...] = ()
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    chunks: int = 0
    notes: Notes = Notes()


_BY_RULE: Final = frozenset({Filler.MODEL})  # a rule fills the same fields as a model
MAX_NAMES: Final = 50  # a longer list does not name assignees
_LINE: Final = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_FRONT_FIELD: Final = re.compile(r"([A-Za-z][\w -]*+)[ \t]*+:[ \t]++(.+)")
_FRONT_REMARK: Final = re.compile(r"(?<!\s)\s++#.*$")


class RulesForm(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the rules for a document.

    Attributes:
        items: items found by rules, in the order of the text.
        prose: passages left to a model.
        date: date of the document, from its content or its file.
        due: day on which all its tasks are due that name none, as it is written.
        view: the text for the model, of the same length, if it differs from the document's text.
        authored: the text without what a program wrote, of the same length, if it is to be judged so.
        apart: places that are texts of their own, such as rows of a table, in order and disjoint.
        tables: places of tables, which are no prose for the rules; a model may read what is left of them.
        is_cut_off: the end of a calendar, or of an entry in it, is missing.
        parts: entries and attachments of which rules read nothing, by type and outcome.
        dropped: entries that are no items, unless a model makes some of them.
        excluded: places, with the tables of which the rules for prose make no item there.
        by_rules: passages and view for the rules for prose, if they differ from those for a model.
    """

    items: list[Item] = []
    prose: list[Passage] = []
    date: datetime | None = None
    due: str | None = None
    view: str | None = None
    authored: str | None = None
    apart: Sequence[tuple[int, int]] = ()
    tables: Sequence[tuple[int, int]] = ()
    is_cut_off: bool = False
    parts: dict[str, int] = {}
    dropped: list[Dropped] = []
    excluded: Sequence[tuple[int, int, frozenset[str]]] = ()
    by_rules: "RulesForm | None" = None

    def admits(self, item: Item) -> bool:
        """Return False for an item of prose at a place where its table does not count."""
        return not any(start <= item.start < end and item.table in some for start, end, some in self.excluded)


class DocumentLine(msgspec.Struct, frozen=True):
    """Line without its end: ``text == document.text[start:end]``; *after* is the start of the next line."""

    text: str
    start: int
    end: int
    after: int

    @property
    def indent(self) -> int:
        """Columns before the text."""
        text = self.text.expandtabs(4)
        return len(text) - len(text.lstrip())


def lines_of(text: str) -> Iterator[DocumentLine]:
    """Yield the lines of *text* with any kind of line end; an unterminated empty last line is skipped."""
    for match in _LINE.finditer(text):
        start, after = match.span()
        if start < len(text):
            yield DocumentLine(match[1], start, match.end(1), after)


def front_matter(lines: Sequence[DocumentLine]) -> tuple[dict[str, str], int]:
    """Parse the ``key: value`` lines of the front matter; return them with the index of the next line."""
    if not lines or lines[0].text.lstrip("\ufeff").rstrip() != "---":
        return {}, 0
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:100], start=1):
        if line.text.rstrip() in ("---", "..."):
            return fields, number + 1
        if match := _FRONT_FIELD.fullmatch(line.text):
            value = _FRONT_REMARK.sub("", match.group(2)).rstrip(" \t").strip("\"'")
            fields[re.sub(r"[\s_-]", "", match.group(1)).lower()] = value
    return {}, 0


def blanked(text: str, places: Iterable[Place]) -> str:
    """Return *text* with blanks at *places*; line ends stay."""
    view, at = list[str](), 0
    for start, end in merged(places):
        view += (text[at:start], re.sub(r"[^\r\n]", " ", text[start:end]))
        at = end
    return "".join([*view, text[at:]])


def make_item(
    table: str,
    fields: dict[str, Field],
    text: str,
    start: int,
    end: int,
    options: ExtractionOptions,
    evidence: Evidence | None = None,
    **about: Any,
) -> Item | None:
    """Create an item of a rule; ``None`` if its table is not selected or a required field is missing.

    Empty and invalid optional fields are omitted. A title that is too long is shortened, and kept whole in a
    field with more space.

    Args:
        about: other attributes of the item.
    """
    if table not in options.data_types:
        return None
    shape = options.tables[table]
    cleaned = _shortened(shape, {name: _clean(value) for name, value in fields.items()})
    data: Record = {
        name: value
        for name, value in cleaned.items()
        if value not in (None, "", []) and (column := shape.column(name)) and not problem_of(column, value)
    }
    if problems_of(shape, data, _BY_RULE):
        return None
    return Item(
        table=table,
        data=data,
        quote=text[start:end],
        start=start,
        end=end,
        origin="rule",
        evidence=evidence,
        **about,
    )


class RowItems:
    """Items of the rows of a text, in the order in which they are added.

    A row is the same in each format: the fields it has, its place, and the sign that marks it.
    """

    def __init__(self, text: str, options: ExtractionOptions) -> None:
        self.text = text
        self.options = options
        self.found: list[Item] = []
        self._projects = set[str]()

    def add(
        self, table: str, fields: dict[str, Field], place: Place, evidence: Evidence, **about: Any
    ) -> bool:
        """Add the item of a row; see ``make_item``. Return False if the row is none."""
        item = make_item(table, fields, self.text, *place, self.options, evidence, **about)
        if item is not None:
            self.found.append(item)
        return item is not None

    def add_project(self, name: str, place: Place, evidence: Evidence) -> None:
        """Add a project where it is named first."""
        if name not in self._projects:
            self._projects.add(name)
            self.add(TableName.PROJECTS, {"name": name}, place, evidence)


def _clean(value: Field) -> Field:
    if isinstance(value, list):
        return value[:MAX_NAMES]
    return shown(value).strip() if isinstance(value, str) else value


def _shortened(table: DeviceTable, data: Record) -> Record:
    column, title = table.column(table.title), data.get(table.title)
    if column is None or not isinstance(title, str) or len(title) <= column.max_length:
        return data
    more = next((name for name in ("description", "content") if table.column(name)), None)
    short = title[: column.max_length - 1].rsplit(maxsplit=1)[0] + "\u2026"
    if more is None or more == table.title:
        return data | {table.title: short}
    return data | {table.title: short, more: f"{title}\n{data.get(more) or ''}".strip()}


def by_place(items: Iterable[Item]) -> list[Item]:
    """Return the items in the order of the text."""
    return sorted(items, key=lambda item: (item.start, item.end))
