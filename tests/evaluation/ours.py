"""Our whole way from document to items, without a hub around it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from time import perf_counter
from typing import Any, Final

import anyio
import msgspec

from hub.base.clock import SystemChance, SystemClock
from hub.document import Document
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import ModelError, Models
from protocol.tables import TableName
from protocol.work import Usage
from tests.evaluation.documents import Planted
from tests.support.oracle import MODEL_NAME


class Tally(msgspec.Struct):
    """Sums over documents."""

    planted: int = 0
    found: int = 0
    false: int = 0
    doubled: int = 0
    failed: int = 0  # documents that ended with an error somebody is told
    silent: int = 0  # documents that ended as if nothing stood in them, and nobody is told

    def add(self, planted: Iterable[str], found: Iterable[str]) -> None:
        """Count the titles found in one document against those planted there."""
        wanted, counted = set(planted), Counter(found)
        self.planted += len(wanted)
        self.found += len(wanted & counted.keys())
        self.false += sum(counted[title] for title in counted.keys() - wanted)
        self.doubled += sum(counted[title] - 1 for title in counted.keys() & wanted)

    @property
    def recall(self) -> float:
        """The share that was found."""
        return self.found / (self.planted or 1)


TASKS: Final = ExtractionOptions(
    data_types=(TableName.TASKS,), prompt="Find the tasks: who has to do what, and by when."
)
_AT_ONCE: Final = 4  # documents
_WITHIN_S: Final = 240.0  # what is not read by then is given up


class Reading(msgspec.Struct):
    """What came of some documents; *extractions* only of those that could be read."""

    tally: Tally
    extractions: dict[str, Extraction] = {}
    given_up: dict[str, str] = {}  # documents, and why
    spent: Usage = Usage()
    seconds: float = 0.0
    misplaced: int = 0  # items whose place does not hold their quote

    def give_up(self, planted: Planted, why: str) -> None:
        """One document that could not be read."""
        self.given_up[planted.name] = why
        self.tally.failed += 1
        self.tally.add(planted.titles, ())


@asynccontextmanager
async def extractor_at(base_url: str, **settings: Any) -> AsyncIterator[Extractor]:
    """An extractor with one endpoint; *settings* are the endpoint's."""
    name = settings.pop("name", MODEL_NAME)
    clock = settings.pop("clock", None) or SystemClock()
    endpoint = Endpoint(base_url, name, "key", clock=clock, chance=SystemChance(), **settings)
    async with aclosing(endpoint):
        yield Extractor(Models(endpoint, endpoint), secret=bytes(32))


async def read(
    documents: Sequence[Planted],
    base_url: str,
    *,
    wanted: ExtractionOptions = TASKS,
    at_once: int = _AT_ONCE,
    **settings: Any,
) -> Reading:
    """All of *documents*, some of them at once; a document that fails does not stop the others."""
    reading = Reading(Tally())
    todo = iter(documents)
    began = perf_counter()
    with anyio.move_on_after(_WITHIN_S):
        async with extractor_at(base_url, **settings) as extractor, anyio.create_task_group() as readers:
            for _ in range(at_once):
                readers.start_soon(_read_on, todo, extractor, wanted, reading)
    reading.seconds = perf_counter() - began
    for document in documents:
        if document.name not in {*reading.extractions, *reading.given_up}:
            reading.give_up(document, f"not read within {_WITHIN_S:.0f} s")
    return reading


async def _read_on(todo: Any, extractor: Extractor, wanted: ExtractionOptions, reading: Reading) -> None:
    for planted in todo:
        document = Document(unit_key=f"{planted.name}.txt", text=planted.text, content_hash="0" * 64)
        try:
            extraction = await extractor.extract(document, wanted)
        except ModelError as error:
            reading.give_up(planted, str(error))
            reading.spent += error.spent
            continue
        reading.extractions[planted.name] = extraction
        reading.spent += Usage(extraction.requests, extraction.prompt_tokens, extraction.completion_tokens)
        reading.misplaced += sum(
            planted.text[item.start : item.end] != item.quote for item in extraction.items
        )
        reading.tally.add(planted.titles, [str(item.data.get("title")) for item in extraction.items])
