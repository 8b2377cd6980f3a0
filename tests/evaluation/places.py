"""Bar 4: the place of every item holds its quote, in whatever script and however the lines end.

Checked twice: on what extraction hands out, and on the rows that a real device was
told, against the text of the file that lies on its disk.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hub.app.calibration import Lots
from tests.evaluation import documents
from tests.evaluation.documents import Planted
from tests.evaluation.figures import Figure, Told, at_least, exactly
from tests.evaluation.ours import read
from tests.evaluation.stage import played
from tests.scenarios.scene import rows
from tests.support.oracle import oracle_process
from tests.support.oracle.traits import BAD_DAY

_LONG, _FILES = 40, 24
_SCRIPTS: Final = {
    "cjk": "河水很高，渡船每天只走两次。人们在桥边等了很久，直到天黑才回家。",
    "cyrillic": "Река была спокойна, и лодки стояли в гавани. Никто не спешил домой. ",
    "arabic": "كان النهر هادئا ووقفت القوارب في الميناء. لم يكن أحد في عجلة من أمره. ",
    "emoji": "The crew 👩🏽‍🚀 met 🇩🇪 and 🏴󠁧󠁢󠁳󠁣󠁴󠁿 friends 👨‍👩‍👧‍👦 by the sea. ",
    "combining": "Cafe\u0301 and nai\u0308ve stood a\u0308t the o\u0308ld harbour\u200d, as ever. ",
    "wide": "Ｔｈｅ　ｈａｒｂｏｕｒ　ｗａｓ　ｃａｌｍ． ",
}
_ENDS: Final = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}
_QUOTED: Final = "SELECT source_path, quote, quote_start, quote_end FROM calls WHERE quote IS NOT NULL"


async def measure(told: Told) -> list[Figure]:
    """Long texts and many scripts, with a server that plays its faults; then through a hub to a device."""
    chosen = [*documents.planted(_LONG, seed=3), *in_scripts()]
    async with oracle_process(odds=BAD_DAY, retry_after_s=0.02, seed=4) as oracle:
        reading = await read(chosen, oracle.base_url)
    for name, why in reading.given_up.items():
        told(f"GIVEN UP {name}: {why}")
    items = sum(len(extraction.items) for extraction in reading.extractions.values())
    figures = [
        exactly(f"items whose place does not hold their quote, of {items:,}", reading.misplaced),
        at_least(
            f"recall of {reading.tally.planted} facts in {len(chosen)} documents", reading.tally.recall, 1.0
        ),
    ]
    return figures + await _on_a_device()


def in_scripts() -> Iterator[Planted]:
    """A document for every script and every way to end a line."""
    for at, (script, filler) in enumerate(_SCRIPTS.items()):
        for ending, mark in _ENDS.items():
            name = f"{script}-{ending}"
            known = list(documents.facts(9_000 + at * 100, documents.FACTS, Lots(name)))
            paragraphs = [f"{filler * 6}{sentence} {filler * 6}" for _, sentence in known]
            titles, sentences = (tuple(column) for column in zip(*known, strict=True))
            yield Planted(name, (mark * 2).join(paragraphs), titles, sentences)


async def _on_a_device() -> list[Figure]:
    chosen = [*documents.planted(_FILES - len(_SCRIPTS), seed=5), *in_scripts()][:_FILES]
    files = {f"{one.name}.txt": one.text for one in chosen}
    with tempfile.TemporaryDirectory() as folder:
        async with oracle_process() as oracle, played(Path(folder), files, oracle) as play:
            await play.hub.ended(await play.hub.start_run(), within_s=300)
            told = rows(play.device.database, _QUOTED)
            there = {f"notes/{one.name}.txt": one.text for one in chosen}
    wrong = sum(there[path][start:end] != quote for path, quote, start, end in told)
    wanted = sum(len(one.titles) for one in chosen)
    return [
        exactly(f"rows of a device whose place does not hold their quote, of {len(told):,}", wrong),
        exactly("rows of that device", len(told), wanted),
    ]
