"""What extraction is asked for and what it hands back.

An item bears the place it came from: ``document.text[start:end] == quote``, in code
points, without exception. Its data holds only fields that a document can say;
ids, flags and foreign keys are filled elsewhere.
"""

from typing import Literal

import msgspec

from protocol.frame import Record
from protocol.tables import TableName

Origin = Literal["rule", "model"]
DropReason = Literal[
    "ungrounded",  # the quote does not stand in the text, or the record speaks of something else
    "bad_record",  # the table's rules refuse it
    "forbidden_field",  # only this field was dropped: it is unknown, or not for a document to fill
    "bad_field",  # only this field was dropped: its value cannot be read
    "wrong_date",  # only this value was dropped: the words of the quote tell another day, and that was taken
    "unresolved_date",  # an event without a day that could be told
    "duplicate",  # said already, at the same place
    "foreign_table",  # a table nobody asked for
    "not_an_object",  # no record at all
]


Warning = Literal[
    "instruction",  # the quote touches words that give orders to a reader of the document
    "hidden_characters",  # the quote holds characters that nobody can see
    "approximate_quote",  # the model's quote differs from the text; the text's own words are shown
    "cut_answer",  # whole records of an answer that was cut off
]


class RedactionRule(msgspec.Struct, frozen=True):
    """A named pattern; without *regex* it is one of those built in (``hub.extraction.redaction``)."""

    name: str
    regex: str | None = None


class Reference(msgspec.Struct, frozen=True):
    """A row of the device: of *table*, with the *id* that it has there, known to people by *title*."""

    table: TableName
    id: str
    title: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent wants out of its documents.

    Attributes:
        data_types: tables it may fill; nothing else is produced.
        prompt: its owner's words for the model.
        timezone: IANA name; dates without an offset are read in it.
        allow_cloud: endpoints that are not local may read its documents.
        redact: what is replaced before a model is asked, and restored after.
        references: rows of the device that an item may belong to; nothing else is ever one.
    """

    data_types: tuple[TableName, ...]
    prompt: str = ""
    timezone: str = "UTC"
    allow_cloud: bool = True
    redact: tuple[RedactionRule, ...] = ()
    references: tuple[Reference, ...] = ()


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One record found in a document, and the place that says so.

    Attributes:
        warnings: what its reviewer should know.
        unresolved: field to the words of the text that no value could be made of.
        is_exact: it stands in the source as it is, though not all of it in the quote: an event is quoted by
            its summary, and its date has a line of its own. Where it says another thing, the source does.
        has_time: its date is known to have a time of day, though that may be midnight.
    """

    table: TableName
    data: Record
    quote: str
    start: int
    end: int
    origin: Origin
    warnings: tuple[Warning, ...] = ()
    unresolved: dict[str, str] = {}
    is_exact: bool = False
    has_time: bool = False


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Something a model said that was not taken. *detail* names fields, never document text."""

    table: str
    reason: DropReason
    detail: str = ""


class Notes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run remembers of how a document was read: numbers, and never a word of it.

    Attributes:
        dropped: how many things a model said were not taken, by reason.
        hidden_chars: characters that nobody can see; they were not shown to the model.
        hidden_parts: what nobody who looks at the original sees, as a page's hidden paragraphs; left out.
        redacted: different values that no model saw.
        unresolved: fields whose words no value could be made of.
        asked_again: records that were asked for once more, because they could not be used.
        lost: records among those about which no answer could be read: the document is read in part.
        halved: pieces that were asked about in halves, because the answer was not whole.
        looked_behind: times that a text was asked about behind the last record of an answer.
        salvaged: items out of answers that were cut off, which no half told again.
        given_up: pieces that no whole answer could be had about: the document is read in part.
        given_up_chars: the characters of those.
        left_out: new items beyond a limit, by its name; the run adds it.
        awaits_model: only rules have read it: the model is to read the rest once it answers.
        shared_message_id: 1 where another mail with the same Message-ID says something else; the run adds it.
    """

    dropped: dict[str, int] = {}
    hidden_chars: int = 0
    hidden_parts: int = 0
    redacted: int = 0
    unresolved: int = 0
    asked_again: int = 0
    lost: int = 0
    halved: int = 0
    looked_behind: int = 0
    salvaged: int = 0
    given_up: int = 0
    given_up_chars: int = 0
    left_out: dict[str, int] = {}
    awaits_model: bool = False
    shared_message_id: int = 0


class Extraction(msgspec.Struct, frozen=True, kw_only=True):
    """All that came out of one document.

    Attributes:
        items: rules' items by place, then the model's by place; the order is the
            same whenever the answers are, for call ids are made from it.
        dropped: what was not taken, and why.
        requests: questions sent to the model, failed tries included.
        prompt_tokens: as the endpoint counted them, failed tries included.
        completion_tokens: likewise.
        chunks: pieces of the document that the model was asked about.
        unread_chars: prose nobody read, because no model is configured.
        notes: how it was read. With something *given_up* or *lost* the unit is not to count as read whole.
    """

    items: tuple[Item, ...]
    dropped: tuple[Dropped, ...] = ()
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    chunks: int = 0
    unread_chars: int = 0
    notes: Notes = Notes()
