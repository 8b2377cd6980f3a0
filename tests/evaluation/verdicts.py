"""Learning from verdicts: a reviewer with one preference, and what the next documents then bring.

The reviewer rejects meetings and keeps bills. The first half of the documents is read as it is, and the
reviewer decides about each item found. The second half, which nobody has judged, is read

- as it is;
- by an agent that learns: titles that were rejected three times are left out, as ``matching`` does;
- with the verdicts as examples. The embedded model is too small for words about them, so it gets turns, as
  in its own prompt. The product does not show them to it, because of the figures here.

Rules read first, and the embedded model what they leave.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio
import msgspec

from hub.base.clock import SystemChance, SystemClock
from hub.base.metrics import Metrics
from hub.document import Document
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, JudgedTitle
from hub.extraction.local_model import MODEL_NAME, EmbeddedModel
from hub.extraction.model import ModelAnswer, ModelRequest, Models, PromptMessage
from hub.lab.planted import Lots
from hub.runs.matching import UNWANTED_TIMES
from hub.text.folding import fold
from protocol.tables import TableName
from tests.evaluation.figures import Figure, Told, only

_DOCUMENTS: Final = 24  # half of them held out
_SEEDS: Final = (61_001, 61_002)
_EACH: Final = 8  # examples of each verdict
_WHO: Final = ("Anna", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana")
_TOPICS: Final = (
    "the roof",
    "the garden",
    "the new shop",
    "the fair",
    "the boat",
    "the budget",
    "the kitchen",
)
_FIRMS: Final = ("Kovacs", "Blue Heron", "Weber", "Lumen", "Ortega", "Nord", "Petrov")
_MEETINGS: Final = (
    "{who} must come to the meeting about {topic} on {date}.",
    "Please join the meeting on {topic} on {date}.",
    "{who} should attend the weekly meeting before {date}.",
    "{who} will lead the meeting on {topic}.",
)
_BILLS: Final = (
    "{who} must pay the invoice of {firm} by {date}.",
    "Please send the invoice for {topic} before {date}.",
    "{who} should check the bill of {firm} by {date}.",
    "{who} will pay the bill for {topic}.",
)
_OTHERS: Final = (
    "It rained all morning.",
    "The lights in the hall are new.",
    "We talked about the old days.",
    "The soup was very good.",
    "There were twelve people in the room.",
)

Found = list[tuple[str, str]]


class Score(NamedTuple):
    """Items found: those that the reviewer keeps, those that are rejected, and bills that were missed."""

    kept: int
    rejected: int
    missed: int

    @property
    def precision(self) -> float:
        return self.kept / max(1, self.kept + self.rejected)

    @property
    def recall(self) -> float:
        return self.kept / max(1, self.kept + self.missed)

    @property
    def line(self) -> str:
        return f"precision {self.precision:.2f}, recall {self.recall:.2f} {tuple(self)}"


def documents(seed: int) -> list[str]:
    """Texts with a meeting and a bill each, among sentences that give nobody anything to do."""
    lots = Lots(f"verdicts {seed}")

    def sentence(templates: Sequence[str]) -> str:
        date = f"{lots.below(28) + 1} {lots.choose(('March', 'May', 'June'))} 2025"
        said = {"who": lots.choose(_WHO), "topic": lots.choose(_TOPICS), "firm": lots.choose(_FIRMS)}
        return lots.choose(templates).format(date=date, **said)

    texts = []
    for _ in range(_DOCUMENTS):
        parts = [sentence(_MEETINGS), sentence(_BILLS)]
        parts.insert(lots.below(3), lots.choose(_OTHERS))
        parts.insert(lots.below(4), lots.choose(_OTHERS))
        texts.append(" ".join(parts))
    return texts


def is_wanted(quote: str) -> bool:
    """Return True if the reviewer keeps an item of this sentence."""
    return "invoice" in quote or "bill" in quote


async def read(extractor: Extractor, texts: Sequence[str]) -> Found:
    """The titles and quotes of the tasks found."""
    options = ExtractionOptions(data_types=(TableName.TASKS,), prompt="Find tasks.")
    found: Found = []
    for number, text in enumerate(texts):
        document = Document(unit_key=f"{number}.txt", text=text, content_hash=f"{number}")
        extraction = await extractor.extract(document, options)
        found += [(str(item.data["title"]), item.quote) for item in extraction.items]
    return found


def score(found: Sequence[tuple[str, str]], texts: Sequence[str]) -> Score:
    kept = sum(is_wanted(quote) for _, quote in found)
    return Score(kept, len(found) - kept, len(texts) - kept)


def without_unwanted(found: Found, judged: Found) -> Found:
    """Return the items without titles that the reviewer has rejected often, and never kept."""
    times = Counter(fold(title) for title, quote in judged if not is_wanted(quote))
    kept = {fold(title) for title, quote in judged if is_wanted(quote)}
    unwanted = {title for title, count in times.items() if count >= UNWANTED_TIMES} - kept
    return [(title, quote) for title, quote in found if fold(title) not in unwanted]


class WithTurns:
    """A ``LanguageModel`` that is shown more turns before each question."""

    def __init__(self, model: Endpoint, judged: Sequence[JudgedTitle]) -> None:
        self.name, self.chunk_tokens, self.in_flight = model.name, model.chunk_tokens, model.in_flight
        self.is_literal, self.price, self.reach = model.is_literal, model.price, model.reach
        self._model = model
        self._turns = [turn for one in judged for turn in _turns_of(one)]

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        *before, asked = request.messages
        return await self._model.answer(
            msgspec.structs.replace(request, messages=(*before, *self._turns, asked))
        )


def _turns_of(one: JudgedTitle) -> tuple[PromptMessage, PromptMessage]:
    record = {"quote": one.title, "table": one.table, "title": one.title, "assignee": None, "dueDate": None}
    answer = msgspec.json.encode({"items": [record] if one.is_approved else []}).decode()
    return PromptMessage("user", one.title), PromptMessage("assistant", answer)


def judged_of(found: Sequence[tuple[str, str]]) -> list[JudgedTitle]:
    """The newest verdicts of each kind."""
    titles = {title: is_wanted(quote) for title, quote in reversed(found)}
    return [
        JudgedTitle(TableName.TASKS, title, is_approved)
        for wanted in (False, True)  # as the product shows them: the approved ones last
        for title, is_approved in [one for one in titles.items() if one[1] is wanted][:_EACH]
    ]


async def measure(told: Told) -> list[Figure]:
    """Precision and recall on the held-out half: as it is, and in both ways of learning."""
    embedded = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    figures = []
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(embedded.serve)
        await embedded.ready()
        endpoint = Endpoint(
            base_url,
            MODEL_NAME,
            None,
            clock=SystemClock(),
            chance=SystemChance(),
            metrics=Metrics(),
            is_literal=True,
            is_local=True,
            in_flight=1,
        )
        plain = Extractor(Models(endpoint, endpoint), secret=bytes(32))
        for seed in _SEEDS:
            texts = documents(seed)
            first, held_out = texts[: _DOCUMENTS // 2], texts[_DOCUMENTS // 2 :]
            judged = await read(plain, first)
            told(f"seed {seed}: {score(judged, first).line} on the half that is judged")
            found = await read(plain, held_out)
            shown = WithTurns(endpoint, judged_of(judged))
            ways = {
                "as it is": found,
                "without unwanted titles": without_unwanted(found, judged),
                "with examples": await read(Extractor(Models(shown, shown), secret=bytes(32)), held_out),
            }
            for way, left in ways.items():
                told(f"seed {seed}, {way}: {score(left, held_out).line}")
                result = score(left, held_out)
                figures.append(
                    only(f"{seed} {way}: precision, recall", f"{result.precision:.2f}, {result.recall:.2f}")
                )
        tasks.cancel_scope.cancel()
    return figures
