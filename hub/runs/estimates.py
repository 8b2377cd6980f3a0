"""Estimate of a run's files and cost before it starts.

The device lists its files as at the beginning of a run, under an unused run id. No file is fetched. Files
that the ledger already knows are subtracted. The cost of the others is estimated from the recent costs of the
agent's files. If too few were read, it is estimated from their size and the size of a question.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from hub.base.clock import Clock, IdFactory, now_ms
from hub.extraction.extractor import Extractor
from hub.extraction.model import LanguageModel, Models
from hub.links.device_link import DeviceLink
from hub.runs.budget import Budgets
from hub.runs.run_order import RunSettings, config_of, set_up, settings_of
from hub.runs.sources import (
    ACK_TIMEOUT_S,
    MAX_LISTED,
    PIECE_TIMEOUT_S,
    DeviceStalled,
    NotTakenOn,
)
from hub.text.files import OFFICE, media_type_of
from protocol.errors import CallUnsupported, DeviceOffline
from protocol.frame import ErrorBody
from protocol.grants import Grant
from protocol.ids import RunId, traceparent
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentManifest,
    AgentRun,
    ManifestFile,
    RunLimits,
    RunMode,
)
from storage.agents.agents import AgentRow
from storage.devices import devices
from storage.runs import model_calls
from storage.runs.model_calls import RecentCosts
from storage.runs.units import NO_ENTRY, ledger_entries
from storage.store import Store

LATELY_MS: Final = 90 * 86_400_000
ENOUGH_FILES: Final = 5  # read recently, to estimate from them
_MIN_SPREAD, _MAX_SPREAD = 0.15, 0.6  # relative spread of an estimate from recent files
_CHARS_PER_TOKEN: Final = 3.5
_SHARE_OF_TEXT: Final = (0.02, 0.5)  # text in pdf and office files; pictures and fonts are not read
_ASKING_TOKENS: Final = (400, 1_500)  # of a question without its text: minimum and maximum
_ANSWER_TOKENS: Final = (30, 400)  # minimum and maximum of an answer
_ASKED_AGAIN: Final = 1.5  # maximum number of questions per piece of text: split in halves, or repeated


class Range(msgspec.Struct, frozen=True):
    """A range of numbers, both ends inclusive."""

    low: int
    high: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated work and cost of a run.

    Attributes:
        known: number of files that are already settled.
        cost_nanos: in billionths of a US dollar; None if no price is known.
        over: settings of the budgets that the run may exceed.
        is_reckoned_from_runs: True if estimated from recent costs, False if from file sizes.
    """

    files: int
    known: int
    to_read: int
    bytes_to_read: int
    questions: Range
    tokens: Range
    cost_nanos: Range | None
    is_reckoned_from_runs: bool
    over: tuple[str, ...]


class Estimator:
    """Estimates the cost of runs."""

    def __init__(
        self,
        store: Store,
        *,
        extractor: Extractor,
        models: Models,
        budgets: Budgets,
        clock: Clock,
        ids: IdFactory,
        limits: RunLimits,
    ) -> None:
        self._store = store
        self._extractor = extractor
        self.models = models
        self._budgets = budgets
        self._clock = clock
        self._ids = ids
        self.limits = limits

    async def estimate(
        self,
        agent: AgentRow,
        link: DeviceLink | None,
        *,
        models: Models | None = None,
        newest: int | None = None,
    ) -> Estimate:
        """Return what a run of *agent* would read and cost now.

        Args:
            models: models to ask, if not those of runs.
            newest: read at most this number of files, those that were changed last.

        Raises:
            DeviceOffline: the agent's device is not connected.
            CallUnsupported: the device cannot list its files.
            NotTakenOn: the device is busy, or shares no folder that the agent reads.
            LinkLost, DeviceStalled: the device did not send a complete list.
        """
        if link is None:
            raise DeviceOffline(f"the device of {agent.name} is not connected, so its files cannot be listed")
        if not link.can("agent_manifest"):
            raise CallUnsupported(
                f"the device of {agent.name} cannot list its files without sending them;"
                f" hub agents preview {agent.name} reads them"
            )
        settings = settings_of(agent, self._extractor, await set_up(self._store, agent), models=models)
        listed = await self._list_files(agent, link, settings)
        unread = listed.unread
        if newest is not None:
            unread = sorted(unread, key=lambda file: -(file.modified_ms or 0))[:newest]
        lately = await self._store.read(model_calls.lately, agent.id, since=now_ms(self._clock) - LATELY_MS)
        model = (models or self.models).choose(allow_cloud=settings.allow_cloud)
        if model is None or not unread:
            questions = tokens = Range(0, 0)
            cost: Range | None = Range(0, 0)
        elif lately.files >= ENOUGH_FILES:
            questions, tokens, cost = _from_files(lately, unread, model)
        else:
            questions, tokens, cost = _from_sizes(unread, model, tables=len(settings.data_types))
        return Estimate(
            files=listed.files,
            known=listed.known,
            to_read=len(unread),
            bytes_to_read=sum(file.size_bytes for file in unread),
            questions=questions,
            tokens=tokens,
            cost_nanos=cost,
            is_reckoned_from_runs=lately.files >= ENOUGH_FILES,
            over=await self._budgets.over(agent, tokens.high, 0 if cost is None else cost.high),
        )

    async def _list_files(self, agent: AgentRow, link: DeviceLink, settings: RunSettings) -> "_FileListing":
        await self._store.read(devices.require_grant, link.device_id, Grant.FILES)
        run_id = RunId(self._ids.fresh())
        frame = AgentRun(
            run_id=run_id,
            fence=1,
            agent_id=agent.id,
            config=config_of(settings),
            mode=RunMode.MANIFEST,
            paged=link.can("agent_manifest.pages"),
            limits=self.limits,
            trace=traceparent(run_id, "agent_run", "1"),
        )
        listed = _FileListing([])
        timeout_s = ACK_TIMEOUT_S if link.can("agent_ack") else PIECE_TIMEOUT_S
        async with link.open_run(frame) as stream:
            while True:
                with anyio.move_on_after(timeout_s) as waiting:
                    received = await anext(stream, None)
                if waiting.cancelled_caught:
                    raise DeviceStalled(f"the device sent no list of its files within {timeout_s:g} s")
                timeout_s = PIECE_TIMEOUT_S
                match received:
                    case AgentAck(accepted=False):
                        raise NotTakenOn(f"the device does not list its files: {received.reason}", busy=True)
                    case AgentManifest():
                        await self._compare(agent, settings, received.files, listed)
                        if listed.files > MAX_LISTED:
                            message = f"the device lists more than {MAX_LISTED} files; share fewer"
                            raise NotTakenOn(message, busy=False)
                        if received.last or frame.paged:
                            await stream.fetch([], last=received.last)
                    case AgentComplete(error=error):
                        if error is not None:
                            why = error.message or error.code if isinstance(error, ErrorBody) else error
                            raise NotTakenOn(f"the device does not list its files: {why}", busy=True)
                        return listed
                    case None:
                        return listed
                    case _:
                        pass  # the device accepted the request

    async def _compare(
        self, agent: AgentRow, settings: RunSettings, files: list[ManifestFile], listed: "_FileListing"
    ) -> None:
        """Compare one frame of a manifest with the ledger, and add it to *listed*."""
        paths = [file.path for file in files]
        entries = await self._store.read(ledger_entries, agent.id, settings.config_fingerprint, paths)
        unread = [file for file in files if entries.get(file.path, NO_ENTRY).content_hash != file.sha256]
        listed.files += len(files)
        listed.known += len(files) - len(unread)
        listed.unread += unread[: max(0, self.limits.files - len(listed.unread))]


@dataclass
class _FileListing:
    """Number of files that a device lists, of those the ledger knows, and the *unread* of one run."""

    unread: list[ManifestFile]
    files: int = 0
    known: int = 0


class _Load(NamedTuple):
    """Text to be asked about: its characters, and the number of its pieces."""

    chars: float
    pieces: int


def _loads(files: list[ManifestFile], piece_chars: float) -> tuple[_Load, _Load]:
    """Return the minimum and the maximum amount of text in *files*."""
    loads = []
    for share in _SHARE_OF_TEXT:
        sizes = [file.size_bytes * (share if media_type_of(file.path) in OFFICE else 1) for file in files]
        loads.append(_Load(sum(sizes), sum(max(1, math.ceil(size / piece_chars)) for size in sizes)))
    return loads[0], loads[1]


def _from_files(
    lately: RecentCosts, files: list[ManifestFile], model: LanguageModel
) -> tuple[Range, Range, Range | None]:
    """Estimate from the recent costs per question and per character; the more files, the narrower."""
    piece_chars = model.chunk_tokens * _CHARS_PER_TOKEN
    used = lately.usage
    repeats = max(1.0, used.requests / max(lately.files, math.ceil(lately.size / piece_chars)))
    asking = max(0.0, used.prompt_tokens - lately.size / _CHARS_PER_TOKEN * repeats) / used.requests
    spread = max(_MIN_SPREAD, min(_MAX_SPREAD, 1 / math.sqrt(lately.files)))
    ends: list[tuple[float, float, float]] = []
    for load, either, wide in zip(
        _loads(files, piece_chars), (min, max), (1 - spread, 1 + spread), strict=True
    ):
        questions = load.pieces * repeats * wide
        prompt = asking * questions + load.chars / _CHARS_PER_TOKEN * repeats * wide
        output_by_question = used.completion_tokens / used.requests * questions
        output_by_text = used.completion_tokens / lately.size * load.chars * wide
        output = either(output_by_question, output_by_text)
        nanos = model.price.of(round(prompt), round(output)) or used.cost_nanos * questions / used.requests
        ends.append((questions, prompt + output, nanos))
    asked, tokens, cost = (Range(math.floor(low), math.ceil(high)) for low, high in zip(*ends, strict=True))
    return asked, tokens, cost if cost.high else None


def _from_sizes(
    files: list[ManifestFile], model: LanguageModel, *, tables: int
) -> tuple[Range, Range, Range | None]:
    """Estimate from the number of pieces that the files will be split into."""
    least, most = _loads(files, model.chunk_tokens * _CHARS_PER_TOKEN)
    repeats = tables if model.is_literal else 1
    questions = Range(least.pieces * repeats, math.ceil(most.pieces * repeats * _ASKED_AGAIN))
    ends = [
        (
            round(load.chars / _CHARS_PER_TOKEN * repeats * again + asking * count),
            answer * count,
        )
        for load, again, asking, answer, count in zip(
            (least, most),
            (1.0, _ASKED_AGAIN),
            _ASKING_TOKENS,
            _ANSWER_TOKENS,
            (questions.low, questions.high),
            strict=True,
        )
    ]
    low, high = (model.price.of(prompt, output) for prompt, output in ends)
    return questions, Range(sum(ends[0]), sum(ends[1])), Range(low, high) if high else None
