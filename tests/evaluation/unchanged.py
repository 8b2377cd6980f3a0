"""Bar 3: what has not changed is not read again, and of what has changed only the changed part."""

import tempfile
from pathlib import Path
from typing import Final

from hub.lab.planted import Lots
from tests.evaluation.documents import Planted, facts, long_texts
from tests.evaluation.figures import Figure, Told, at_most, exactly
from tests.evaluation.ours import Tally
from tests.evaluation.stage import played, run, titles
from tests.scenarios.scene import Scene, rows, write
from tests.support.oracle import oracle_process

_FILES: Final = 100
_CHARS: Final = 20_000  # of each: about four questions
_FACTS: Final = 4
_ADDED: Final = " It was a remarkable year, as everybody said afterwards, and nothing more."


async def measure(told: Told) -> list[Figure]:
    """A folder of long notes: read, looked at again, and again after one paragraph of each has changed."""
    chosen = [_note(number) for number in range(_FILES)]
    changed = [one._replace(text=_with_a_changed_paragraph(one.text, at)) for at, one in enumerate(chosen)]
    with tempfile.TemporaryDirectory() as folder:
        async with oracle_process() as oracle:
            async with played(Path(folder), _files(chosen), oracle) as play:
                first = await run(play)
                stats = await oracle.stats()
                told(f"first run: {stats.calls} questions about {_FILES} files, {first['outcome']}")
                rows_before, changes_before = len(titles(play)), _changes(play)
                again = await run(play)
                unchanged = await oracle.stats()
                told(f"second run: {again['units_skipped']} files passed over")
                figures = [
                    exactly("unchanged folder: questions", unchanged.calls - stats.calls),
                    exactly("unchanged folder: inserts and updates", _changes(play) - changes_before),
                ]
                write(play.folder, _files(changed))
                third = await run(play)
                after = await oracle.stats()
            told(f"third run: {third['units_done']} files read, {third['outcome']}")
            asked = after.calls - unchanged.calls
            figures += [
                at_most(f"one paragraph changed in {_FILES} files: questions a file", asked / _FILES, 2.0),
                exactly("one paragraph changed: new rows", len(titles(play)) - rows_before),
                exactly("questions answered twice, all three runs", after.answered_twice),
                *_found(chosen, play),
            ]
    return figures


def _changes(play: Scene) -> int:
    """How many calls have changed the device's tables."""
    ((count,),) = rows(play.device.database, "SELECT count(*) FROM calls WHERE action <> 'query'")
    return int(count)


def _found(chosen: list[Planted], play: Scene) -> list[Figure]:
    tally = Tally()
    tally.add((title for one in chosen for title in one.titles), titles(play))
    return [
        exactly("facts missing at the device", tally.planted - tally.found),
        exactly("facts twice at the device", tally.doubled),
    ]


def _files(chosen: list[Planted]) -> dict[str, str]:
    return {f"{one.name}.txt": one.text for one in chosen}


def _note(number: int) -> Planted:
    """Prose in paragraphs, with facts between them."""
    lots = Lots(f"unchanged {number}")
    texts = long_texts()
    whole = texts[sorted(texts)[number % len(texts)]]
    paragraphs = [part.strip() for part in whole[:_CHARS].split("\n\n") if part.strip()]
    if len(paragraphs) < 2 * _FACTS:  # a text of one endless paragraph: cut at sentences
        sentences = whole[:_CHARS].split(". ")
        paragraphs = [". ".join(sentences[at : at + 5]) + "." for at in range(0, len(sentences), 5)]
    known = list(facts(number * _FACTS, _FACTS, lots))
    for at, (_, sentence) in enumerate(known):
        paragraphs.insert((at + 1) * len(paragraphs) // (_FACTS + 1), sentence)
    title_row, sentence_row = (tuple(column) for column in zip(*known, strict=True))
    return Planted(f"note{number:03}", "\n\n".join(paragraphs), title_row, sentence_row)


def _with_a_changed_paragraph(text: str, number: int) -> str:
    """One paragraph that tells no fact says a little more: another one in each file."""
    paragraphs = text.split("\n\n")
    plain = [at for at, said in enumerate(paragraphs) if "(ref K-" not in said]
    paragraphs[plain[number * 7 % len(plain)]] += _ADDED
    return "\n\n".join(paragraphs)
