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
    "duplicate",  # said already, at the same place
    "foreign_table",  # a table nobody asked for
    "not_an_object",  # no record at all
]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent wants out of its documents.

    Attributes:
        data_types: tables it may fill; nothing else is produced.
        prompt: its owner's words for the model.
        timezone: IANA name; dates without an offset are read in it.
    """

    data_types: tuple[TableName, ...]
    prompt: str = ""
    timezone: str = "UTC"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One record found in a document, and the place that says so."""

    table: TableName
    data: Record
    quote: str
    start: int
    end: int
    origin: Origin


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Something a model said that was not taken. *detail* names fields, never document text."""

    table: str
    reason: DropReason
    detail: str = ""


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
    """

    items: tuple[Item, ...]
    dropped: tuple[Dropped, ...] = ()
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    chunks: int = 0
    unread_chars: int = 0
