"""Frames of runs and calls: the hub's requests, the device's answers, marks of items, and skipped files.

Receipts are signed statements of a hub and a device about the files that one reading of a run sent. A receipt
names the device's previous one and an entry of the hub's audit log. So neither can be replaced later.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from operator import add
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from protocol.coordination import MAX_OF_RUN
from protocol.frame import (
    CREDIT_PIECES,
    MAX_BATCH_CALLS,
    Count,
    EpochMs,
    ErrorBody,
    Fence,
    Field,
    Frame,
    Id,
    Name,
    Path,
    Record,
    Sha256,
    Text,
    Values,
)
from protocol.keys import signed_lines
from protocol.tables import DeviceTable

Prompt = Annotated[str, Meta(max_length=32_768)]

MANY: Final = "*"  # path of a ``SkippedFile`` that counts files


class RunMode(StrEnum):
    """Mode of a run."""

    STREAM = "stream"  # all files at once, no manifest: the older behaviour
    MANIFEST = "manifest"  # digests first, then the files that the hub fetches
    WORK = "work"  # no files: a task, for a device that lists agent.work


class Action(StrEnum):
    """Operation of a call at the device."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    QUERY = "query"
    REVIEW_APPLY = "review.apply"  # a verdict that the owner gave elsewhere; see PROTOCOL.md
    FILE_GET = "file.get"
    FILE_PUT = "file.put"
    MESSAGE_DELIVER = "message.deliver"
    USER_ASK = "user.ask"
    BROWSER_OPEN = "browser.open"
    ROWS_LIST = "rows.list"  # rows that hubs wrote: see PROTOCOL.md, "Agreement about the past"
    ROWS_KNOWN = "rows.known"
    TABLE_DECLARE = "table.declare"  # of a table that is not built in; see PROTOCOL.md
    AGENT_WAKE = "agent.wake"  # a slot of an agent's calendar has begun; see PROTOCOL.md
    FILES_LIST = "files.list"  # shared files, for programs that the owner lets read them; see PROTOCOL.md
    FILES_READ = "files.read"


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Files that an agent reads. The device intersects *paths* with its owner's shared folders."""

    paths: Annotated[list[Path], Meta(max_length=256)] = []
    file_extensions: Annotated[list[Name], Meta(max_length=256)] = []  # with the dot; empty: all
    prompt_template: Prompt = ""
    data_types: Annotated[list[Name], Meta(max_length=16)] = []


class RunLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one run's reading."""

    files: Count = 2_000
    bytes: Count = 64 * 1024 * 1024


class RunCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoint ``agent`` of the run's agent; its program may continue from it."""

    sequence: Count
    state: Values


class Usage(msgspec.Struct, frozen=True):
    """Usage of a model: requests, tokens counted by the endpoint, and costs.

    *cost_nanos* is in billionths of a US dollar; 0 if the price is unknown.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(add, astuple(self), astuple(other)))


class AgentRun(Frame, frozen=True, kw_only=True, tag="agent_run"):
    """hub -> device: read files for a run, or do a task.

    Answered by ``agent_ack`` where the device supports it, then by ``agent_manifest`` or ``agent_data``, and
    at the end by exactly one ``agent_complete``.
    """

    run_id: Id
    fence: Fence
    agent_id: Id
    config: RunConfig
    mode: RunMode = RunMode.STREAM
    paged: bool = False  # list all files whatever limits says, and wait for an agent_fetch after each frame
    tree: bool = False  # of a paged run: the hub compares the digest of the whole list, see ManifestTree
    credit: Count = CREDIT_PIECES  # pieces that may be sent before the first agent_credit
    limits: RunLimits = RunLimits()
    config_rev: Count | None = None  # revision of the agent's configuration, as in agent.config
    # Media types that the hub converts to text; a device that cannot may send such files as base64.
    reads: Annotated[list[Name], Meta(max_length=64)] = []
    parameters: Values = {}  # the requester's values for this run, over the agent's configuration
    context: Values = {}  # the requester's description, such as task_id, and values that the device reported
    checkpoint: RunCheckpoint | None = None  # the agent's, if it has a recoverable one
    locks: Annotated[dict[Text, Fence], Meta(max_length=MAX_OF_RUN)] = {}  # fences, by lock name
    only: Path | None = None  # list this file alone, or say why config leaves it out
    reader: Text = ""  # who reads the texts: rules, or "local" or "cloud" and the name of a model
    receipt: Id | None = None  # id of the receipt that the hub sends at the end; see agent_receipt


class AgentAck(Frame, frozen=True, kw_only=True, tag="agent_ack"):
    """device -> hub: the run was accepted, or the reason why not.

    Not answered.
    """

    run_id: Id
    fence: Fence | None = None
    accepted: bool = True
    reason: Text | None = None


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """File on the device: *sha256* covers all its bytes."""

    path: Path
    size_bytes: Count
    sha256: Sha256
    modified_ms: EpochMs | None = None


class ManifestTree(msgspec.Struct, frozen=True, kw_only=True):
    """Digest of the whole manifest, and its number of files.

    It changes with the list of files, their content, and what the device can make of them.
    """

    digest: Sha256
    files: Count


class AgentManifest(Frame, frozen=True, kw_only=True, tag="agent_manifest"):
    """device -> hub: digests of the files that a run may read, in one frame or several.

    Answered by ``agent_fetch`` after the *last* frame. In a ``paged`` run each frame is answered, and the
    next one is sent after that. Where ``agent_run`` says ``tree``, the first frame may have a *tree* and no
    files: a hub that has settled all of them ends the manifest by a ``last`` fetch.
    """

    run_id: Id
    fence: Fence | None = None
    seq: Count = 0
    files: Annotated[list[ManifestFile], Meta(max_length=10_000)] = []
    last: bool = True
    tree: ManifestTree | None = None


class AgentFetch(Frame, frozen=True, kw_only=True, tag="agent_fetch"):
    """hub -> device: send these files of the manifest.

    Answered by ``agent_data``; after the pieces of a fetch that is *last*, by ``agent_complete``. A hub that
    needs no files sends an empty, last fetch. A fetch that is not *last* also requests the next frame of a
    ``paged`` manifest.
    """

    run_id: Id
    fence: Fence | None = None
    paths: Annotated[list[Path], Meta(max_length=10_000)] = []
    last: bool = True


class PartCount(msgspec.Struct, frozen=True, kw_only=True):
    """Number of parts of a file with one type and outcome, as in ``application/pdf encrypted``."""

    name: Annotated[str, Meta(max_length=120)]
    count: Count = 1


class FilePiece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Part of a file: piece *piece* of *pieces*, in order; small files are one piece."""

    path: Path
    content: str = ""
    sha256: Sha256 | None = None  # of the whole file's bytes
    piece: Count = 0
    pieces: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    encoding: Name | None = None  # "base64" for binary formats, else text
    media_type: Name | None = None
    modified_ms: EpochMs | None = None  # of a mail: when it was sent
    hidden: Count = 0  # number of invisible parts that the device left out of the text
    guessed: Name | None = None  # encoding in which the device read the file, if nothing in the file tells it
    parts: Annotated[list[PartCount], Meta(max_length=100)] = []  # of the first piece, if a part was not read


class AgentData(Frame, frozen=True, kw_only=True, tag="agent_data"):
    """device -> hub: pieces of files. Each entry of *files* takes one credit.

    Not answered; ``agent_credit`` says when more may be sent.
    """

    run_id: Id
    fence: Fence | None = None
    seq: Count = 0
    files: Annotated[list[FilePiece], Meta(max_length=10_000)] = []


class AgentCredit(Frame, frozen=True, kw_only=True, tag="agent_credit"):
    """hub -> device: permission to send more pieces.

    Not answered.
    """

    run_id: Id
    fence: Fence | None = None
    pieces: Annotated[int, Meta(ge=1, le=1_000_000)]


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """File that the device did not send; an entry of the path ``*`` counts *files* without their names."""

    path: Path
    reason: Text
    files: Count = 1


RECEIPT_HEADER: Final = "hub-receipt-v1"
SENT_HEADER: Final = "hub-sent-v1"
MAX_FILES: Final = 400_000  # of one receipt: as many as a device's log keeps
MAX_IDS: Final = 100  # receipts that one request names, or one response contains
MAX_PAGE_BYTES: Final = 256 * 1024  # of paths and digests in one response

PublicKey = Annotated[str, Meta(max_length=64)]  # base64url without padding
Signature = Annotated[str, Meta(max_length=128)]  # likewise
SentFile = tuple[str, int, str]  # path, bytes of the text as sent, and the announced digest


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Statement of a device about what it sent; signed by its key, if it has one."""

    files: Count
    bytes: Count
    root: Sha256
    public_key: PublicKey | None = None
    signature: Signature | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Statement of a hub about what it received, signed by the key that it proves in its challenge.

    Attributes:
        id: as ``agent_run`` named it.
        number: of the device's receipts at this hub, from 1.
        at_ms: when the hub wrote it.
        is_whole: True if the device ended the reading itself, so that nothing was under way.
        previous: digest of the device's receipt before this one; empty for the first.
        entry: number of the entry in the hub's audit log, with its hash.
    """

    id: Id
    hub: PublicKey
    device_id: Id
    run_id: Id
    number: Count
    at_ms: EpochMs
    files: Count
    bytes: Count
    root: Sha256
    is_whole: bool
    previous: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
    entry: Count
    entry_hash: Sha256
    signature: Signature


def sorted_files(files: Iterable[SentFile]) -> list[SentFile]:
    """Return the files in the order of a root, each once."""
    return sorted(set(files))


def root_of(files: Iterable[SentFile]) -> str:
    """Return the SHA-256 over sorted files: of each its path, NUL, bytes, NUL, digest and a line feed."""
    root = hashlib.sha256()
    for path, size, sha256 in files:
        root.update(f"{path}\0{size}\0{sha256}\n".encode())
    return root.hexdigest()


def sent_text(hub: str, receipt_id: str, sent: Sent) -> bytes:
    """Return the text that a device signs: six lines, joined by newlines, as UTF-8.

    The header, the hub's public key, the id of the receipt, the number of files, of bytes, and the root.

    Raises:
        ValueError: a part contains a line break.
    """
    return signed_lines(SENT_HEADER, hub, receipt_id, str(sent.files), str(sent.bytes), sent.root)


def receipt_text(receipt: Receipt) -> bytes:
    """Return the text that a hub signs: fourteen lines, joined by newlines, as UTF-8.

    The header, then the fields of the receipt in their order, *hub* first, without the signature.
    ``is_whole`` is ``whole`` or ``part``.

    Raises:
        ValueError: a part contains a line break.
    """
    return signed_lines(
        RECEIPT_HEADER,
        receipt.hub,
        receipt.id,
        receipt.device_id,
        receipt.run_id,
        str(receipt.number),
        str(receipt.at_ms),
        str(receipt.files),
        str(receipt.bytes),
        receipt.root,
        "whole" if receipt.is_whole else "part",
        receipt.previous,
        str(receipt.entry),
        receipt.entry_hash,
    )


def digest_of(receipt: Receipt) -> str:
    """Return the digest by which the next receipt names this one: SHA-256 of the signed text."""
    return hashlib.sha256(receipt_text(receipt)).hexdigest()


class AgentComplete(Frame, frozen=True, kw_only=True, tag="agent_complete"):
    """device -> hub: the last frame of a run. A cancelled run has ``error.code = "cancelled"``.

    Not answered.
    """

    run_id: Id
    fence: Fence | None = None
    files: Count | None = None  # number of files sent
    skipped: Annotated[list[SkippedFile], Meta(max_length=10_000)] = []
    error: ErrorBody | str | None = None
    sent: Sent | None = None  # of a run with a receipt: what the device's own log has of it


class AgentCancel(Frame, frozen=True, kw_only=True, tag="agent_cancel"):
    """hub -> device: stop working on a run.

    Answered by ``agent_complete`` with ``error.code = "cancelled"``.
    """

    run_id: Id
    fence: Fence | None = None
    reason: Text = ""


class AgentReceipt(Frame, frozen=True, kw_only=True, tag="agent_receipt"):
    """hub -> device: what the hub received in one reading of a run, signed.

    Only to a device that lists the capability. Not answered: a lost one is requested by ``receipts.list``.
    """

    receipt: Receipt


class Unresolved(msgspec.Struct, frozen=True, kw_only=True):
    """Words of the text that could not be converted to a field's value, as "some day next spring"."""

    field: Name
    words: Text


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


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Authorship of the text that an item is from.

    Attributes:
        author: author by the text's own account, unverified unless *trusted*.
        trusted: the owner wrote it, or a sender that the owner knows.
    """

    origin: ProvenanceOrigin
    author: Annotated[str, Meta(max_length=MAX_AUTHOR_CHARS)] | None = None
    trusted: bool


class FoundBy(StrEnum):
    """Finder of an item: a rule of the hub, or a language model."""

    RULE = "rule"
    MODEL = "model"


class ItemSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Place of an item: ``text[start:end] == quote``, counted in code points of the file's text."""

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
    unsure: Name | None = None  # why a rule may be wrong: see PROTOCOL.md


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
    """

    verdict: ReviewVerdict
    seen: Id
    titles: Annotated[dict[Name, Text], Meta(max_length=16)] = {}


class ToolCall(Frame, frozen=True, kw_only=True, tag="tool_call"):
    """hub -> device: one operation, by default on one row of the device's own tables.

    Answered by exactly one ``tool_result`` with the same ``id``.
    """

    id: Id  # the idempotency key: the same after a crash or a lost answer
    action: Action
    table: Name | None = None
    data: Record = {}  # insert, update, review.apply: the fields to write; else the action's parameters
    where: Record = {}  # update, delete, query, review.apply: rows whose fields equal all of these
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100  # query: rows in the answer
    run_id: Id | None = None
    agent_id: Id | None = None
    source: ItemSource | None = None
    review: RowReview | None = None  # review.apply
    declares: DeviceTable | None = None  # table.declare
    deadline_ms: Count = 30_000  # how long the hub waits, counted from sending


class ToolResult(Frame, frozen=True, kw_only=True, tag="tool_result"):
    """device -> hub: the answer to a call. The id may also come as ``call_id``.

    Not answered. Late, unknown and repeated results are counted and dropped.
    """

    id: Id | None = None
    call_id: Id | None = None
    result: msgspec.Raw | UnsetType = UNSET  # decoded by the session, up to MAX_RESULT_BYTES
    error: ErrorBody | str | None = None
    counter: Count | None = None  # of the device's store, where the call changed a row


class ToolCalls(Frame, frozen=True, kw_only=True, tag="tool_calls"):
    """hub -> device: several calls on rows, each as in a ``tool_call`` of its own, in their order.

    Only to a device that lists the capability. Each call is answered by its ``id``, in ``tool_results`` or in
    a ``tool_result`` of its own.
    """

    calls: Annotated[list[ToolCall], Meta(min_length=1, max_length=MAX_BATCH_CALLS)]


class ToolResults(Frame, frozen=True, kw_only=True, tag="tool_results"):
    """device -> hub: several answers, each as in a ``tool_result`` of its own; together MAX_RESULT_BYTES.

    Not answered. A larger answer is sent as a ``tool_result``.
    """

    results: Annotated[list[ToolResult], Meta(min_length=1, max_length=MAX_BATCH_CALLS)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a device to a call, in any of its forms: a result, or an error.

    *counter*: the device's store counter for the call, if it changed a row.
    """

    result: Any = None
    error: ErrorBody | None = None
    counter: int | None = None


Mark = Literal[
    "instruction", "hidden_characters", "approximate_quote", "cut_answer", "unsupported", "outside", "apart"
]

# A sentence for the reviewer of each; the handbook, the dashboard and the command line show it.
MARKS: Final[Mapping[str, str]] = {
    "instruction": "the quoted text contains instructions: check the file before you trust it",
    "hidden_characters": "the quoted text contains invisible characters, or may be invisible",
    "approximate_quote": "the quote of the model differs from the text of the file",
    "cut_answer": "the answer of the model was cut off; the file may contain more",
    "unsupported": "the quote does not say this: compare the item with the file",
    "outside": "the author of the text is not known, or not verified: expect anything",
    "apart": "the agent lists items of unknown authors apart",
}

Unsure = Literal["chat", "letter", "running_text", "loose_lines", "task_list"]

# Kinds of text in which rules are often wrong, likewise. Such an item is approved as any other one.
UNSURE: Final[Mapping[str, str]] = {
    "chat": "a rule took it from a chat, and it names neither a person nor a day",
    "letter": "a rule took it from a letter, and it names neither a person nor a day",
    "running_text": "a rule took it from running text, and it names neither a person nor a day",
    "loose_lines": "a rule took it from loose lines, and it names neither a person nor a day",
    "task_list": "a rule took it for work because of its list: its own words ask for nothing",
}

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


class SkipReason(StrEnum):
    """Reason why a file or folder was not sent; details may follow after a colon."""

    OTHER_EXTENSION = "other_extension"
    OUTSIDE_SHARED = "outside_shared"
    OUTSIDE_PATHS = "outside_paths"
    HIDDEN = "hidden"
    KEY_FILE = "key_file"
    VERSION_CONTROL = "version_control"
    IGNORED = "ignored"
    GENERATED = "generated"
    BAD_IGNORE_FILE = "bad_ignore_file"
    SECRET = "key_in_text"
    SYMLINK = "symlink"
    HARD_LINK = "hard_link"
    NOT_A_FILE = "not_a_file"
    NAME_NOT_UTF8 = "name_not_utf8"
    NOT_OFFERED = "not_offered"
    NOT_CONVERTIBLE = "not_convertible"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    LIMIT = "limit"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    CONVERT_SECONDS = "convert_seconds"
    CONVERT_MEMORY = "convert_memory_bytes"


# What the reason means, and how to change it. These files are left out on purpose; others have failed.
LEFT_OUT: Final[Mapping[str, str]] = {
    SkipReason.OTHER_EXTENSION: "file_extensions of the agent do not name it; without that key, all are read",
    SkipReason.OUTSIDE_SHARED: "the device does not share it: start hub connect anew, with more --root DIR",
    SkipReason.OUTSIDE_PATHS: "it is outside of the paths of the agent: add its folder to paths",
    SkipReason.HIDDEN: "its name or folder begins with a dot: rename it, or set hidden in device.toml",
    SkipReason.KEY_FILE: "its name is that of a file with keys or passwords, which stays here: rename it",
    SkipReason.VERSION_CONTROL: "it belongs to a version control system: copy it out of its folder",
    SkipReason.IGNORED: "an ignore file excludes it: change the rule that hub device preview names",
    SkipReason.GENERATED: "a program fills its folder: a line !FOLDER/ in .hubignore above includes it",
    SkipReason.SECRET: "a key or a password is in its text or name: take it out, or add gitleaks:allow",
    SkipReason.SYMLINK: "it is a link: share the folder that it leads to",
    SkipReason.HARD_LINK: "it has other names outside of what is read: copy it",
    SkipReason.NOT_A_FILE: "it is a folder, a pipe, a socket or the like: name a file",
    SkipReason.NAME_NOT_UTF8: "its name is not UTF-8: rename it",
    SkipReason.NOT_OFFERED: "the device does not offer it any more",
    SkipReason.TOO_LARGE: "it is larger than max_file_bytes of its device: split it into parts",
    SkipReason.NOT_CONVERTIBLE: "no text can be made of it: hub help agents lists what is read",
}
