"""How well the embedded model does: the seed's way beside ours, on notes made from a template.

    python -m tests.bench.score_model --seed 7 --notes 32

Each note says nothing in some sentences and gives zero to three tasks in others. A
prediction is right when its assignee equals the label's and its title contains the
deed (or is contained in it, with at least two words), folded; each label is used
once. Draw new notes for a score: what a prompt was tuned on proves nothing.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
import msgspec
import openai

from hub.base.clock import SystemChance, SystemClock
from hub.document import Document
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.local_model import CHUNK_TOKENS, MODEL_NAME, EmbeddedModel
from hub.extraction.model import Models
from hub.lab.planted import Lots
from hub.text.folding import fold
from protocol.tables import TableName

_NAMES: Final = (
    "Anna",
    "Boris",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Karin",
    "Luis",
    "Marta",
    "Nadia",
    "Otto",
    "Priya",
    "Quentin",
    "Rosa",
    "Stefan",
    "Tomas",
    "Ursula",
    "Viktor",
    "Wanda",
    "Yusuf",
)
_DEEDS: Final = (
    "send the quote",
    "call the plumber",
    "book the meeting room",
    "update the price list",
    "order new chairs",
    "review the contract",
    "fix the login page",
    "water the plants",
    "pay the invoice",
    "print the posters",
    "test the backup",
    "write the minutes",
    "renew the licence",
    "clean the storage room",
    "invite the speakers",
    "check the smoke alarms",
    "upload the photos",
    "translate the brochure",
    "prepare the slides",
    "return the car",
)
_DATES: Final = ("2026-02-03", "2026-03-17", "2026-04-01", "2026-05-22", "2026-06-30", "2026-09-11")
_ASKING: Final = (
    "{name} must {deed} by {date}.",
    "{name} has to {deed} before {date}.",
    "{name} will {deed} until {date}.",
    "By {date}, {name} should {deed}.",
    "Could {name} please {deed} by {date}?",
    "{name} needs to {deed}.",
)
_SAYING_NOTHING: Final = (
    "The weather was fine all week.",
    "Lunch was very good today.",
    "We met in the small room on the second floor.",
    "The new coffee machine makes less noise.",
    "Sales went up a little in the last quarter.",
    "Everybody liked the presentation.",
    "The train was late again.",
    "It was a short and friendly meeting.",
    "The old printer stands in the hall.",
    "Nobody had any questions.",
    "The garden looks lovely in spring.",
    "The talk about the history of the town was long.",
)

# The words of the first version of this program, for comparison.
_SEED_SYSTEM: Final = """\
You are a data extraction assistant for a freelance project management tool. Given a document, \
extract structured records matching the user's instructions. Output a JSON array (no markdown \
fences, no explanation) of objects shaped: [{"table": "", "data": {...fields}}, ...] Allowed table \
names and their fields: tasks: title (str, required), description (str), status \
(todo|in_progress|done, default todo), priority (high|medium|low, default medium), assignee (JSON \
array string), dueDate (ms timestamp int), projectId (str) Rules: - Only extract tables listed in \
the "data_types" instructions. - Use camelCase field names exactly as shown above. - Omit optional \
fields you cannot determine; do not invent data. - Never include id, createdAt, updatedAt, \
isAiSuggested, or isApproved. - If nothing relevant is found, return an empty JSON array: [] - \
Return ONLY the JSON array."""
_ASKED: Final = "Find the tasks: who has to do what, and by when."


class Task(msgspec.Struct, frozen=True):
    """What a sentence says, or what was found in it."""

    assignee: str
    title: str


class Note(msgspec.Struct, frozen=True):
    """A text and its label."""

    text: str
    tasks: tuple[Task, ...]


class Score(msgspec.Struct):
    """Sums over all notes."""

    right: int = 0
    found: int = 0
    labelled: int = 0
    unparsable: int = 0
    tokens: int = 0

    def add(self, note: Note, found: Sequence[Task]) -> None:
        """Count one note's findings against its label."""
        open_labels = list(note.tasks)
        self.found += len(found)
        self.labelled += len(open_labels)
        for task in found:
            match = next((label for label in open_labels if _is_same(task, label)), None)
            if match is not None:
                open_labels.remove(match)
                self.right += 1

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / ((self.found + self.labelled) or 1)

    def line(self, name: str) -> str:
        """One row of the table."""
        precision = self.right / (self.found or 1)
        recall = self.right / (self.labelled or 1)
        return (
            f"{name:12} P {precision:.2f}  R {recall:.2f}  F1 {self.f1:.2f}  "
            f"unparsable {self.unparsable}  tokens {self.tokens}"
        )


def make_notes(seed: int, count: int) -> list[Note]:
    """*count* notes with zero to three tasks each."""
    draw = Lots(seed)
    return [_make_note(draw) for _ in range(count)]


def _make_note(draw: Lots) -> Note:
    sentences = [draw.choose(_SAYING_NOTHING) for _ in range(2 + draw.below(3))]
    tasks = []
    for _ in range(draw.below(4)):
        name, deed = draw.choose(_NAMES), draw.choose(_DEEDS)
        asked = draw.choose(_ASKING).format(name=name, deed=deed, date=draw.choose(_DATES))
        sentences.insert(draw.below(len(sentences) + 1), asked)
        tasks.append(Task(name, deed))
    return Note(" ".join(sentences), tuple(tasks))


def _is_same(found: Task, label: Task) -> bool:
    title, deed = fold(found.title), fold(label.title)
    is_title = deed in title or (title in deed and len(title.split()) >= 2)
    return is_title and fold(found.assignee) == fold(label.assignee)


async def score_ours(base_url: str, notes: Sequence[Note]) -> Score:
    """Our whole way from document to items."""
    score = Score()
    wanted = ExtractionOptions(data_types=(TableName.TASKS,), prompt=_ASKED)
    model = Endpoint(
        base_url,
        MODEL_NAME,
        None,
        clock=SystemClock(),
        chance=SystemChance(),
        chunk_tokens=CHUNK_TOKENS,
        in_flight=1,
        is_literal=True,
    )
    async with aclosing(model):
        extractor = Extractor(Models(model, model), secret=bytes(32))
        for number, note in enumerate(notes):
            document = Document(
                unit_key=f"{number}.txt",
                text=note.text,
                content_hash="0" * 64,
                modified_at=datetime(2026, 1, 5, tzinfo=UTC),
            )
            extraction = await extractor.extract(document, wanted)
            score.tokens += extraction.prompt_tokens + extraction.completion_tokens
            found = [_task(item.data) for item in extraction.items]
            score.add(note, found)
    return score


async def score_seed(base_url: str, notes: Sequence[Note]) -> Score:
    """The way this began: the whole text, free words, ``json.loads``."""
    score = Score()
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
        for note in notes:
            asked = f"User instructions: {_ASKED}\n\nExtract these record types: tasks\n\n"
            asked += f"Document:\n{note.text[:8000]}"
            answer = await client.chat.completions.create(
                model=MODEL_NAME,
                messages=[{"role": "system", "content": _SEED_SYSTEM}, {"role": "user", "content": asked}],
                temperature=0,
                max_tokens=1024,
            )
            score.tokens += answer.usage.total_tokens if answer.usage else 0
            try:
                records = json.loads((answer.choices[0].message.content or "").strip())
            except json.JSONDecodeError:
                score.unparsable += 1
                records = []
            found = [
                _task(record["data"])
                for record in (records if isinstance(records, list) else [])
                if isinstance(record, dict) and isinstance(record.get("data"), dict)
            ]
            score.add(note, found)
    return score


def _task(data: object) -> Task:
    fields = data if isinstance(data, dict) else {}
    names = fields.get("assignee")
    who = names[0] if isinstance(names, list) and names else names
    return Task(str(who or ""), str(fields.get("title") or ""))


async def main(seed: int, count: int, *, with_seed: bool) -> None:
    """Start the model, score both ways on the same notes, print the table."""
    notes = make_notes(seed, count)
    clock = SystemClock()
    embedded = EmbeddedModel(clock=clock, chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(embedded.serve)
        await embedded.ready()
        print(f"{count} notes of seed {seed}, {sum(len(note.tasks) for note in notes)} tasks, {MODEL_NAME}")
        began = clock.monotonic()
        ours = await score_ours(base_url, notes)
        print(ours.line("ours"), f" {clock.monotonic() - began:.0f} s", flush=True)
        if with_seed:
            began = clock.monotonic()
            theirs = await score_seed(base_url, notes)
            print(theirs.line("seed's way"), f" {clock.monotonic() - began:.0f} s")
            print(
                f"ratio of F1: {ours.f1 / theirs.f1:.1f}"
                if theirs.f1
                else "ratio of F1: the seed's way found none"
            )
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--notes", type=int, default=32)
    parser.add_argument("--ours-only", action="store_true")
    chosen = parser.parse_args()
    anyio.run(partial(main, chosen.seed, chosen.notes, with_seed=not chosen.ours_only))
