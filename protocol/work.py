"""Frames of runs: order, manifest, file pieces, credit, end and receipt."""

from enum import StrEnum
from operator import add
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from protocol.coordination import MAX_OF_RUN
from protocol.frame import (
    CREDIT_PIECES,
    Count,
    EpochMs,
    ErrorBody,
    Fence,
    Frame,
    Id,
    Name,
    Path,
    Sha256,
    Text,
    Values,
)
from protocol.receipts import Receipt, Sent
from protocol.skipped_files import SkippedFile

Prompt = Annotated[str, Meta(max_length=32_768)]

MANY: Final = "*"  # path of a ``SkippedFile`` that counts files


class RunMode(StrEnum):
    """Mode of a run."""

    STREAM = "stream"  # all files at once, no manifest: the older behaviour
    MANIFEST = "manifest"  # digests first, then the files that the hub fetches
    WORK = "work"  # no files: a task, for a device that lists agent.work


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


MAX_FILES: Final = 400_000  # of one receipt: as many as a device's log keeps
MAX_IDS: Final = 100  # receipts that one request names, or one response contains
MAX_PAGE_BYTES: Final = 256 * 1024  # of paths and digests in one response


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
