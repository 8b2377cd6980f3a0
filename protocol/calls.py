"""Bodies of device calls that are not rows of a table: files, places, reviews, questions; owner grants."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocol.agent_messages import QuestionState
from protocol.coordination import SOUL_FILE
from protocol.frame import MAX_RESULT_BYTES, Count, EpochMs, Id, Name, Path, Record, Sha256, Text
from protocol.handshake import StoreMark
from protocol.ids import CallId

# Agreement about past rows: answers to ``rows.list`` and ``rows.known``

# Size of the rows of one page; the rest of the limit is for the surrounding object.
MAX_PAGE_BYTES: Final = MAX_RESULT_BYTES * 3 // 4
MAX_ASKED: Final = 500  # calls, and rows, in one rows.known

RowState = Literal["open", "approved", "edited", "rejected"]


class PlaceState(StrEnum):
    """State of an approved row at a place outside of its device's file."""

    WAITING = "waiting"  # to be written for the first time
    ARRIVED = "arrived"
    OUTDATED = "outdated"  # it is there, without the newest change
    DELETED = "deleted"  # its owner deleted it there
    MISSING = "missing"  # with the place, or all that was in it
    LEAVING = "leaving"  # it is to be removed there


class PlaceProblem(StrEnum):
    """Reason why a row is not at a place as it is at its device."""

    UNREACHABLE = "unreachable"
    DENIED = "denied"
    READ_ONLY = "read_only"
    FULL = "full"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    BUSY = "busy"
    WRONG = "wrong"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"


_PLACE_SENTENCES: Final[Mapping[str, str]] = {
    PlaceState.WAITING: "not in {} yet",
    PlaceState.ARRIVED: "in {}",
    PlaceState.OUTDATED: "in {}, without the newest change",
    PlaceState.DELETED: "deleted in {}",
    PlaceState.MISSING: "no longer in {}",
    PlaceState.LEAVING: "still in {}",
}
MAX_PLACES: Final = 8  # of a row, in a report
MAX_PLACED: Final = 100  # rows in one report
LINK_CHARACTERS: Final = 500


class RowPlace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Place of an approved row outside of its device's file, as a file of notes or a calendar.

    Attributes:
        name: as its owner calls it.
        kind: markdown, caldav, rest and so on.
        state: one of ``PlaceState``; of a newer device, another word.
        at_ms: since when.
        problem: one of ``PlaceProblem``, or another word; None: there is none.
        link: the http address of the row there, or the path of its file below a shared folder.
    """

    name: Name
    kind: Name = ""
    state: Name
    at_ms: EpochMs
    problem: Annotated[str, Meta(max_length=LINK_CHARACTERS)] | None = None
    link: Annotated[str, Meta(max_length=LINK_CHARACTERS)] | None = None


class PlacedRow(msgspec.Struct, frozen=True):
    """Row with all its places, which replace those of the report before."""

    row_id: Id
    places: Annotated[list[RowPlace], Meta(max_length=MAX_PLACES)]


def place_sentence(name: str, state: str, why: str = "") -> str:
    """Describe the state of a row at a place, and why it is not there."""
    words = _PLACE_SENTENCES.get(state, f"{state} in {{}}").replace("{}", name)
    return f"{words}: {why}" if why else words


class Reviewed(msgspec.Struct, frozen=True):
    """Answer to ``review.apply``: the owner's verdict on the row is *state* now."""

    state: RowState


class ListedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Row that a hub wrote, with its owner's verdict; a row that its owner deleted is ``rejected``.

    Attributes:
        counter: the store's counter when the call was done, or the owner's verdict confirmed.
        call_id: the call that last wrote the row.
        inserted_by: the call that inserted the row, if it is a different one.
        path, sha256, quote, start, end, timezone: values of the call's ``source``.
        data: the fields that a ``query`` would return, as far as they fit; {}: none.
        places: where the row is outside of the device's file; absent: a device that does not report it.
    """

    counter: Count
    call_id: Id
    table: Name
    row_id: Id
    state: RowState
    inserted_by: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    path: Path | None = None
    sha256: Sha256 | None = None
    quote: Annotated[str, Meta(max_length=2_000)] = ""
    start: Count = 0
    end: Count = 0
    timezone: Name | None = None
    data: Record = {}
    places: Annotated[list[RowPlace], Meta(max_length=MAX_PLACES)] | None = None


class RowsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.list``: rows with a counter above ``data.since``, by counter.

    *store*: the store's current counter; *more*: rows follow the last one of this page.
    """

    store: StoreMark
    rows: Annotated[list[ListedRow], Meta(max_length=1_000)]
    more: bool


class KnownToDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.known``: those of the listed calls that are done, and of the rows that exist."""

    calls: list[Id]
    rows: list[Id]


# Texts of an agent on its device: ``file.get``, ``file.put`` and their answers. The call's ``agent_id`` names
# the agent. An answer has at most ``MAX_RESULT_BYTES``, so a text is read in parts.

FILES: Final = frozenset({SOUL_FILE})  # names of such texts
MAX_FILE_BYTES: Final = 256 * 1024  # of a written text; fits a frame even with every character escaped
PART_BYTES: Final = 48 * 1024  # of the text in one answer, JSON-encoded

FileText = Annotated[str, Meta(max_length=MAX_FILE_BYTES)]


class FileGet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request for a part of a text, from the code point *offset* on."""

    name: Name
    offset: Count = 0


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a current text. *sha256* and *size_bytes* refer to the whole text.

    Attributes:
        sha256: ``None``: the text does not exist.
        next_offset: start of the next part; ``None``: this is the last one.
    """

    name: Name
    sha256: Sha256 | None
    content: str = ""
    size_bytes: Count = 0
    offset: Count = 0
    next_offset: Count | None = None
    updated_at: EpochMs | None = None


class FilePut(msgspec.Struct, frozen=True, kw_only=True):
    """Request to replace a text if it is unchanged since it was read.

    Attributes:
        expected_sha256: required hash of the current text; ``None``: it must not exist.
    """

    name: Name
    content: FileText
    expected_sha256: Sha256 | None


class FileStored(msgspec.Struct, frozen=True, kw_only=True):
    """Answer: the text was stored."""

    name: Name
    sha256: Sha256
    size_bytes: Count
    updated_at: EpochMs


# Shared files, for programs that the owner lets read them: ``files.list`` and ``files.read``

MAX_LINES: Final = 10_000  # of one answer


class FilesList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request for the files at or below *path*, in the order of their paths, at most ``limit`` of the call.

    *path* and *after* begin with the name of a shared folder; only files behind *after* are listed.
    """

    path: Path
    after: Text = ""


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Shared file that may be read, if its text is found to have no secret."""

    path: Path
    size_bytes: Count
    modified_ms: EpochMs


class FilesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``files.list``. *more*: files follow the last one."""

    files: Annotated[list[ListedFile], Meta(max_length=1_000)]
    more: bool


class FilesRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request for a part of the text of a shared file.

    Attributes:
        line: where the part begins, counted from 1, unless there is an *offset* in code points of the text.
        lines: number of lines at most.
        reader: who reads the part, for the device's log.
    """

    path: Path
    line: Annotated[int, Meta(ge=1, le=2**53)] = 1
    offset: Count = 0
    lines: Annotated[int, Meta(ge=1, le=MAX_LINES)] = MAX_LINES
    reader: Name = ""


class FileExcerpt(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``files.read``: a part of the text of a file, which has ``PART_BYTES`` at most as JSON.

    Attributes:
        sha256: digest of the file's bytes.
        line: number of the line in which the part begins.
        lines, characters: of the whole text.
        next_offset: where the next part begins; ``None``: this is the last one.
        hidden: number of invisible parts left out of the text.
        quotes: True if the part has words of others: of a quotation, or of a clipped page.
    """

    path: Path
    sha256: Sha256
    media_type: Name
    modified_ms: EpochMs
    content: str
    offset: Count
    line: Count
    lines: Count
    characters: Count
    next_offset: Count | None = None
    hidden: Count = 0
    quotes: bool = False


def root_in(path: str) -> str:
    """Return the name of the shared folder in a path on the wire, or "" if the path is not a plain one."""
    parts = path.replace("\\", "/").split("/")
    return "" if {*parts} & {"", ".", "..", "~"} else path.partition("/")[0]


# Questions to people: ``user.ask``, and answers in the text of a chat

QUESTION_CHARACTERS: Final = 8_192
ANSWER_CHARACTERS: Final = 8_192  # 32 KiB at the widest: question and answer fit into one message of an agent
REPLY_TAGS: Final = 16  # of an answer
CHANNEL_CHARACTERS: Final = 128

# Syntax agreed with models: the line starts an answer, and the following text belongs to it.
_ANSWER: Final = re.compile(r"^[ \t>*`]*ANSWER[ \t]+([0-9A-Za-z-]{1,64})[ \t*`]*:[*`]*[ \t]*", re.MULTILINE)


class QuestionToUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``data`` of a ``tool_call`` with action ``user.ask``: an open question, or its end."""

    question_id: Id
    content: Annotated[str, Meta(min_length=1, max_length=QUESTION_CHARACTERS)]
    state: QuestionState = QuestionState.OPEN
    board: Text | None = None
    asked_by: Text | None = None  # name of the agent or person that asks
    preferred_channel: Name | None = None
    correlation_id: Name | None = None
    asked_at: EpochMs
    expires_at: EpochMs | None = None  # deadline of the answer
    answer: Annotated[str, Meta(max_length=ANSWER_CHARACTERS)] | None = None  # the first answer
    settled_by: Text | None = None  # name of the person or agent that answered

    def record(self) -> Record:
        """Return the call's ``data``."""
        record: Record = msgspec.to_builtins(self)
        return record


def question_in(data: Record) -> QuestionToUser:
    """Convert a call's ``data``. Raises msgspec.ValidationError."""
    return msgspec.convert(data, QuestionToUser)


def asking_call_id(question_id: str, device_id: str, *, is_settled: bool) -> CallId:
    """Return the idempotency key of the call that notifies a device of a question, or of its end."""
    text = f"{question_id}\n{device_id}\n{'settled' if is_settled else 'asked'}"
    return CallId(f"u-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}")


def answers_in(text: str) -> list[tuple[str, str]]:
    """Parse answers in a text: the question's id and the answer, for each line ``ANSWER <id>: text``.

    An answer extends to the next such line, or to the end. Empty answers are omitted.
    """
    marks = list(_ANSWER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)] * bool(marks)
    found = [
        (mark[1], text[mark.end() : end].strip()[:ANSWER_CHARACTERS])
        for mark, end in zip(marks, ends, strict=True)
    ]
    return [(id, answer) for id, answer in found if answer]


def without_answers(text: str) -> str:
    """Escape each line in the text that would be parsed as an answer."""
    return _ANSWER.sub(lambda mark: f"| {mark[0]}", text)
