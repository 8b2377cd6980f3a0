"""Evaluation of an agent on labelled documents, and storage of the last 20 evaluations.

Nothing is delivered or stored, and no stored answer of a model is used, so that the current model is
measured. The costs are limited by the budget of a run. No running hub is needed. Each agent has a file in the
state folder.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import msgspec

from hub.app.model_chain import asks_small_model, open_embedded, open_models
from hub.base.atomic_file import write_atomically
from hub.base.clock import Chance, Clock
from hub.base.metrics import Metrics
from hub.base.supervisor import Supervisor
from hub.base.toml.limits import BudgetSettings
from hub.extraction import answers, chunk
from hub.extraction.answers import UnreadableAnswer
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import (
    ExtractionError,
    Finish,
    LanguageModel,
    ModelAnswer,
    ModelError,
    ModelRefused,
    ModelRequest,
)
from hub.lab.gold import GoldDocument, Tally, added, in_all, judge, scored, wrong_fields
from hub.runs.asking import model_for
from hub.runs.budget import BudgetAccount, BudgetReached, Densities, Reservation
from hub.runs.run_order import AgentConfig, extraction_config_of
from hub.settings.settings import Settings
from hub.settings.table_settings import tables_of
from hub.text.folding import words_of
from protocol.work import Usage

_SECRET_BYTES: Final = 32
MAX_STORED: Final = 20  # of an agent
FOLDER: Final = "evaluations"
_AT_ONCE: Final = 4  # documents; one document often has fewer questions than an endpoint's concurrency
MAX_SHOWN_CHARS: Final = 300  # of a sentence: a text without full stops is one sentence


class Means(NamedTuple):
    """Dependencies of an evaluation."""

    settings: Settings
    clock: Clock
    chance: Chance
    metrics: Metrics


class ShownItem(msgspec.Struct, frozen=True):
    """Label or item as a person reads it: what it says, and the sentence of the document that it is from."""

    table: str
    name: str
    sentence: str

    @property
    def headline(self) -> str:
        """Table and name, for people."""
        return f"{self.table}: {self.name}"


class WrongField(ShownItem, frozen=True):
    """Right item with a wrong *field*. *found*: empty if the item has no value of it."""

    field: str
    expected: str
    found: str

    @property
    def headline(self) -> str:
        """Table and name, and the expected and the found value of the field, for people."""
        found = self.found or "nothing"
        return f"{self.table}: {self.name}: {self.field}: expected {self.expected}, found {found}"


class DocumentResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one document.

    Attributes:
        labels: all labels of the agent's record types.
        missed: indices of the labels that were not found.
        false: items without a label.
        wrong: fields of other items that differ from their label's.
    """

    id: str
    labels: tuple[ShownItem, ...]
    missed: tuple[int, ...]
    false: tuple[ShownItem, ...]
    wrong: tuple[WrongField, ...]


class Evaluation(msgspec.Struct, kw_only=True):
    """Figures of an evaluation.

    Attributes:
        model: name of the model; ``None``: only rules were used.
        documents: number of documents that were read, including failed ones.
        unread: number of documents left when the budget was used up; they are not scored.
        budget: message about a budget that was reached.
        tallies: scores, by record type of the agent.
        kinds: scores, by kind of document.
        left_out: number of labels of other record types.
        failed: documents without a usable answer; all their labels count as missed.
        given_up: pieces of other documents without a complete answer.
        unparsable: answers without readable records; each was requested again.
        cut_off: answers that were cut off; the longest of them had *cut_off_tokens*.
        spent: usage, including failed attempts.
        prompt: digest of the prompt (hex).
        chunk_tokens: tokens of text in one question; 0: only rules were used.
    """

    model: str | None = None
    documents: int = 0
    unread: int = 0
    budget: str = ""
    tallies: dict[str, Tally] = {}
    kinds: dict[str, Tally] = {}
    left_out: int = 0
    failed: int = 0
    given_up: int = 0
    unparsable: int = 0
    cut_off: int = 0
    cut_off_tokens: int = 0
    spent: Usage = Usage()
    seconds: float = 0.0
    prompt: str = ""
    chunk_tokens: int = 0

    def count(self, gold: GoldDocument, extraction: Extraction, config: ExtractionOptions) -> DocumentResult:
        """Add one document, and return its result."""
        labels = [label for label in gold.labels if label.table in config.data_types]
        self.documents += 1
        self.left_out += len(gold.labels) - len(labels)
        self.given_up += extraction.notes.given_up
        items = [item for item in extraction.items if not item.is_done]
        judged = judge(labels, items, config.tables)
        timezone = gold.timezone or config.timezone
        tallies = scored(labels, items, judged, timezone=timezone, tables=config.tables)
        self.tallies = added(self.tallies, tallies)
        self.kinds = added(self.kinds, {gold.kind: in_all(tallies)})
        sentences = list(chunk.sentences(gold.text, 0, len(gold.text)))

        def shown(table: str, name: object, start: int, end: int) -> ShownItem:
            return ShownItem(table, str(name or ""), _sentence(gold.text, sentences, start, end))

        # A label without a quote has the place of its item, or that of the likeliest sentence.
        titles = [str(label.data.get(config.tables[label.table].title)) for label in labels]
        matches = {number: items[index] for number, index in judged.matched}
        places = [
            label.places[0]
            if label.places[0][1] <= len(gold.text)
            else (matches[number].start, matches[number].end)
            if number in matches
            else _likeliest(gold.text, sentences, titles[number])
            for number, label in enumerate(labels)
        ]
        named = [
            shown(label.table, title, *place)
            for label, title, place in zip(labels, titles, places, strict=True)
        ]
        return DocumentResult(
            id=gold.id,
            labels=tuple(named),
            missed=judged.missed,
            false=tuple(
                shown(item.table, item.data.get(config.tables[item.table].title), item.start, item.end)
                for item in (items[index] for index in judged.false)
            ),
            wrong=tuple(
                WrongField(
                    **msgspec.structs.asdict(named[number]), field=field, expected=expected, found=found
                )
                for number, index in judged.matched
                if not labels[number].is_optional
                for field, expected, found in wrong_fields(
                    labels[number], items[index], timezone=timezone, tables=config.tables
                )
            ),
        )


class Evaluated(NamedTuple):
    """Figures of an evaluation, and the results of its documents, in the order of the gold file."""

    evaluation: Evaluation
    documents: tuple[DocumentResult, ...]


def _likeliest(text: str, sentences: Sequence[tuple[int, int]], title: str) -> tuple[int, int]:
    """Return the sentence that has most words of a title."""
    words = set(words_of(title))
    shared = (len(words.intersection(words_of(text[slice(*place)]))) for place in sentences)
    return max(zip(shared, sentences, strict=True), key=lambda pair: pair[0], default=(0, (0, 0)))[1]


def _sentence(text: str, sentences: Sequence[tuple[int, int]], start: int, end: int) -> str:
    """Return the sentences around a place; of a long one, the part at the place."""
    first = max(0, bisect_right(sentences, start, key=lambda place: place[0]) - 1)
    behind = bisect_left(sentences, end, key=lambda place: place[0])
    begin, stop = (sentences[first][0], sentences[max(first, behind - 1)][1]) if sentences else (start, end)
    begin, stop = min(begin, start), max(stop, end)
    if stop - begin <= MAX_SHOWN_CHARS:
        return text[begin:stop]
    start = max(begin, min(start, stop - MAX_SHOWN_CHARS))
    stop = min(stop, start + MAX_SHOWN_CHARS)
    return f"{'…' * (start > begin)}{text[start:stop]}…"


class StoredEvaluation(msgspec.Struct, kw_only=True):
    """Stored evaluation.

    Attributes:
        at: end of the evaluation (ISO 8601, UTC).
        gold: digest of the gold file.
    """

    at: str
    gold: str
    evaluation: Evaluation

    def is_like(self, other: "StoredEvaluation") -> bool:
        """Return True if figures of both may be compared: both read the same documents completely."""
        is_whole = not (self.evaluation.unread or other.evaluation.unread)
        return is_whole and (self.gold, self.evaluation.documents) == (other.gold, other.evaluation.documents)


class EvaluationFile:
    """Stored evaluations of one agent, oldest first. Names of users and agents are safe as file names."""

    def __init__(self, state: Path, *, user: str, agent: str) -> None:
        self.path = state / FOLDER / user / f"{agent}.json"

    def read(self) -> list[StoredEvaluation]:
        """Return all stored evaluations.

        Raises:
            msgspec.MsgspecError: the file has another format.
            OSError: the file cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return msgspec.json.decode(data, type=list[StoredEvaluation])

    def write(self, evaluations: list[StoredEvaluation]) -> None:
        """Write the last MAX_STORED of *evaluations*. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(evaluations[-MAX_STORED:]), indent=1)
        write_atomically(self.path, data, mode=0o600)


async def evaluate(
    documents: Sequence[GoldDocument],
    agent: AgentConfig,
    means: Means,
    *,
    on_read: Callable[[int], None],
) -> Evaluated:
    """Extract from *documents* with the extractor of *agent*, and score the results.

    Args:
        on_read: called with the number of documents that are done.

    Raises:
        NoModel: the agent may not use any of the models.
        ModelUnavailable, ModelExhausted: the model does not answer now.
        ModelRefused: the model refuses the configured access.
    """
    supervisor = Supervisor(clock=means.clock, chance=means.chance)
    async with AsyncExitStack() as resources, anyio.create_task_group() as tasks:
        embedded = open_embedded(means, supervisor)
        opened = open_models(means, means.settings, embedded=embedded)
        await resources.enter_async_context(opened.clients)
        config = extraction_config_of(agent, tables=tables_of(means.settings.tables))
        model = model_for(opened.models, allow_cloud=config.allow_cloud)
        await tasks.start(supervisor.serve)
        asked = None if model is None else CountedModel(model, means.settings.budget)
        # A new secret, so that an endpoint cannot repeat its earlier answers from a cache.
        secret = means.chance.token_bytes(_SECRET_BYTES)
        extractor = Extractor(opened.models, secret=secret, asks_small=asks_small_model(means.settings))
        reader = _DocumentsReader(extractor, config, asked, on_read)
        began = means.clock.monotonic()
        await reader.read(documents)
        reader.evaluation.seconds = means.clock.monotonic() - began
        tasks.cancel_scope.cancel()
    found = reader.results
    results = tuple(found[gold.id] for gold in documents if gold.id in found)
    return Evaluated(reader.evaluation, results)


class CountedModel:
    """Wrapper of a ``LanguageModel`` that enforces a run's budget and counts usage."""

    def __init__(self, model: LanguageModel, limits: BudgetSettings) -> None:
        self.name = model.name
        self.chunk_tokens = model.chunk_tokens
        self.in_flight = model.in_flight
        self.is_literal = model.is_literal
        self.price = model.price
        self.spent = Usage()
        self.unparsable = self.cut_off = self.cut_off_tokens = 0
        self._model = model
        self._densities = Densities()
        self._account = BudgetAccount("budget.run_*")
        self._account.cost_nanos, self._account.tokens = limits.run_cost_nanos, limits.run_tokens

    async def reach(self) -> str | None:
        """Check the endpoint; see ``LanguageModel.reach``."""
        return await self._model.reach()

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer a request; see ``LanguageModel.answer``.

        Raises:
            BudgetReached: the budget is used up; the model was not asked.
        """
        request = self._densities.with_room(self.name, request)
        amount = self._densities.most_of(self.name, request, self.price)
        while kind := self._account.missing(amount):
            if not self._account.is_waited_for:
                raise BudgetReached(self._account.describe(kind, amount))
            await self._account.changed()
        async with Reservation([self._account], amount).held() as spend:
            try:
                answer = await self._model.answer(request)
            except ModelError as error:
                spend(error.spent)
                self.spent += error.spent
                raise
            spend(answer.usage)
        self.spent += answer.usage
        self._densities.learn(self.name, request, answer)
        self.unparsable += not _can_be_read(answer.text)
        if answer.finish is Finish.CUT_OFF and not answer.is_crowded_out:
            self.cut_off += 1
            if answer.usage.requests == 1:  # else the tokens of other attempts are among them
                self.cut_off_tokens = max(self.cut_off_tokens, answer.usage.completion_tokens)
        return answer


class _DocumentsReader:
    """Reader of several documents concurrently."""

    def __init__(
        self,
        extractor: Extractor,
        config: ExtractionOptions,
        model: CountedModel | None,
        on_read: Callable[[int], None],
    ) -> None:
        self.evaluation = Evaluation(
            model=model.name if model else None,
            tallies={table: Tally() for table in config.data_types},
            prompt=hashlib.sha256(config.prompt.encode()).hexdigest(),
            chunk_tokens=model.chunk_tokens if model else 0,
        )
        self.results: dict[str, DocumentResult] = {}
        self._extractor = extractor
        self._config = config
        self._model = model
        self._on_read = on_read
        self._failure: ModelError | None = None

    async def read(self, documents: Sequence[GoldDocument]) -> None:
        """Read all documents, or as many as the budget allows. Raises as ``evaluate`` does."""
        todo = iter(documents)
        async with anyio.create_task_group() as readers:
            for _ in range(_AT_ONCE):
                readers.start_soon(self._read_on, todo, readers.cancel_scope)
        evaluation = self.evaluation
        if self._model is not None:
            evaluation.spent, evaluation.unparsable = self._model.spent, self._model.unparsable
            evaluation.cut_off, evaluation.cut_off_tokens = self._model.cut_off, self._model.cut_off_tokens
        evaluation.unread = len(documents) - evaluation.documents
        match self._failure:
            case BudgetReached() as reached:
                evaluation.budget = str(reached)
            case ModelError() as failure:
                raise failure

    async def _read_on(self, todo: Iterator[GoldDocument], scope: anyio.CancelScope) -> None:
        for gold in todo:
            try:
                extraction = await self._extracted(gold)
            except ModelError as error:
                self._failure = self._failure or error
                if not isinstance(error, BudgetReached):
                    scope.cancel()
                return
            self.results[gold.id] = self.evaluation.count(gold, extraction, self._config)
            self._on_read(self.evaluation.documents)

    async def _extracted(self, gold: GoldDocument) -> Extraction:
        config = msgspec.structs.replace(self._config, timezone=gold.timezone or self._config.timezone)
        try:
            return await self._extractor.extract(
                gold.document(config.timezone), config, through=self._through
            )
        except ModelRefused:
            raise
        except ExtractionError:
            self.evaluation.failed += 1
            return Extraction(items=())

    def _through(self, model: LanguageModel) -> LanguageModel:
        return self._model or model


def _can_be_read(text: str) -> bool:
    try:
        answers.read(text)
    except UnreadableAnswer:
        return False
    return True
