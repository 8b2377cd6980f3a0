"""Seconds until a small file is read beside large texts of another user: ``python -m tests.proofs.beside``.

The extractor and the rules processes are those of a hub; this process gives them the texts, as two runs. Each
draw reads the small file alone, at the same moment as all large texts, and in the midst of them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from math import inf
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models
from hub.extraction.rules_process import RulesProcesses
from protocol.tables import TABLES
from tests.scenarios.program import Verdict, run

BOUND_S: Final = 0.5  # that the small file may wait longer than the median alone
LARGE_CHARS: Final = 49_000
OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
SMALL: Final = "# Week\n\n- [ ] Water the plants\n- [ ] Send the quote by 4 December\n\nAnna must call Bob.\n"
SMALL_ITEMS: Final = 3
_WRITTEN: Final = datetime(2026, 11, 28, 9, tzinfo=UTC)
_SENTENCES: Final = (
    "We walked along the river for hour {n}, and the wind was cold.",
    "My sister had brought book {n} about gardens, which nobody had read.",
    "The house at the corner has been empty since the summer.",
    "He said that boat {n} could be repaired, but it would take some time.",
    "Anna must send quote {n} to the builder.",
    "Nothing of this was new to us, and still we listened.\n\n",
)
_LOOK_S: Final = 0.005
_PHASE_S: Final = 0.05  # by which each draw asks later in a large text than the draw before


def document(path: str, text: str) -> Document:
    """Return a file of the owner, written on 28 November 2026."""
    return Document(unit_key=path, text=text, content_hash="0" * 64, modified_at=_WRITTEN)


@asynccontextmanager
async def extractor_of_hub() -> AsyncIterator[tuple[Extractor, RulesProcesses]]:
    """Extractor without a model and its rules processes, which end with the block."""
    rules = RulesProcesses()
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(rules.serve)
            yield Extractor(Models(), secret=bytes(32), rules=rules), rules
            tasks.cancel_scope.cancel()
    finally:
        rules.close()


def prose(nth: int) -> str:
    """Return LARGE_CHARS characters of sentences, other ones for each *nth* text."""
    sentences = (_SENTENCES[n % len(_SENTENCES)].format(n=n) for n in count(1_000 * nth))
    text = ""
    while len(text) < LARGE_CHARS:
        text += f"{next(sentences)} "
    return text[:LARGE_CHARS]


def large_at_work(rules: RulesProcesses) -> int:
    """Return the number of processes that work at a large text: at the first of their requests."""
    return sum(process.jobs[0].chars == LARGE_CHARS for process in rules.processes if process.jobs)


class Draws:
    """Readings of the small file beside *texts* large ones.

    Attributes:
        seconds: of the small file, by the way in which it was given, one entry for each draw.
        most_large: number of large texts that were read at the same time.
        beside: number of small files that were read while a large text was.
        large_read: number of large texts that were read.
        small_items: number of items of each small file.
    """

    def __init__(self, extractor: Extractor, rules: RulesProcesses, texts: int) -> None:
        self.seconds: dict[str, list[float]] = {"alone": [], "at the same moment": [], "in their midst": []}
        self.most_large = self.beside = self.large_read = 0
        self.small_items: list[int] = []
        self._extractor, self._rules = extractor, rules
        self._large = [document(f"large{nth}.txt", prose(nth)) for nth in range(texts)]
        self._second_user = msgspec.structs.replace(OPTIONS)  # a run has options of its own

    async def draw(self, answers_before: int, later_s: float) -> None:
        """Read the small file in all ways, in the midst so many answers and seconds after the beginning."""
        await self._read_small("alone", perf_counter())
        sender, answers = anyio.create_memory_object_stream[str](inf)
        async with sender, answers, anyio.create_task_group() as watching:
            watching.start_soon(self._watch)
            async with anyio.create_task_group() as readings:
                given = perf_counter()
                for large in self._large:
                    readings.start_soon(self._read_large, large, sender)
                readings.start_soon(self._read_small, "at the same moment", given)
                for _ in range(answers_before):
                    await answers.receive()
                await anyio.sleep(later_s)
                await self._read_small("in their midst", perf_counter())
            watching.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            self.most_large = max(self.most_large, large_at_work(self._rules))
            await anyio.sleep(_LOOK_S)

    async def _read_small(self, way: str, given: float) -> None:
        found = await self._extractor.extract(document("week.md", SMALL), self._second_user)
        self.seconds[way].append(perf_counter() - given)
        self.beside += large_at_work(self._rules) == 1
        self.small_items.append(len(found.items))

    async def _read_large(self, large: Document, answers: MemoryObjectSendStream[str]) -> None:
        await self._extractor.extract(large, OPTIONS)
        self.large_read += 1
        answers.send_nowait(large.unit_key)


async def play(_folder: Path, *, draws: int = 10, texts: int = 36) -> Verdict:
    """Measure how long a small file waits beside large texts of another user."""
    async with extractor_of_hub() as (extractor, rules):
        measured = Draws(extractor, rules, texts)
        await extractor.extract(document("first.md", SMALL), OPTIONS)  # starts the first process
        for nth in range(draws):
            await measured.draw(1 + nth * (texts - 2) // draws, nth * _PHASE_S)
    lines = [
        f"small file {way}: median {median(took):.3f} s, worst {max(took):.3f} s of {len(took)} draws"
        for way, took in measured.seconds.items()
    ]
    alone = median(measured.seconds["alone"])
    wait = max(map(max, measured.seconds.values())) - alone
    small = sum(items == SMALL_ITEMS for items in measured.small_items)
    lines += (
        f"{measured.beside} of {2 * draws} small files beside them were read while a large text was",
        f"at most {measured.most_large} large text was read at once, of 1 allowed",
        f"read: {measured.large_read} of {draws * texts} large texts, and {small} of {3 * draws} small files "
        f"with all {SMALL_ITEMS} items",
        f"beside {texts} texts of {LARGE_CHARS:,} characters it waits at most {wait:.3f} s longer than the "
        f"median alone, of {BOUND_S} s allowed",
    )
    is_read = measured.large_read == draws * texts and small == 3 * draws
    is_beside = measured.most_large == 1 and measured.beside == 2 * draws
    return "\n".join(lines), wait <= BOUND_S and is_beside and is_read


if __name__ == "__main__":
    run(play)
