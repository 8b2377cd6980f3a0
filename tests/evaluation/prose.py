"""The rules for prose on the gold sets, without any model: F1 of each language.

Of the unseen set nothing but these figures is shown: see ``tests/gold/README.md``.
"""

from pathlib import Path
from time import process_time
from typing import Final

from hub.extraction.chunk import sentences
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models
from hub.lab.evaluation import Evaluation
from hub.lab.gold import Tally, in_all, read_gold
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, at_least, only

_GOLD: Final = Path(__file__).parents[1] / "gold"
_MIN_F1: Final = {"en": 0.70, "de": 0.60, "fr": 0.60, "es": 0.60, "ru": 0.60, "zh": 0.60}
_ALL: Final = ExtractionOptions(data_types=tuple(TABLES))


async def measure(told: Told) -> list[Figure]:
    """F1 by language, on all gold sets."""
    folders = {"first set": _GOLD, "second set": _GOLD / "second", "unseen set": _GOLD / "unseen"}
    return [figure for name, folder in folders.items() for figure in await _figures(name, folder, told)]


async def _figures(name: str, folder: Path, told: Told) -> list[Figure]:
    figures: list[Figure] = []
    spent, count = 0.0, 0
    for code, least in _MIN_F1.items():
        documents = read_gold((folder / f"{code}.jsonl").read_text(encoding="utf-8"))
        extractor = Extractor(Models(), secret=bytes(32))
        evaluation = Evaluation()
        began = process_time()
        for gold in documents:
            evaluation.count(gold, await extractor.extract(gold.document(_ALL.timezone), _ALL), _ALL)
        spent += process_time() - began
        count += sum(1 for gold in documents for _ in sentences(gold.text, 0, len(gold.text)))
        for table, tally in evaluation.tallies.items():
            told(f"{code} {name} {_line(table, tally)}")
        whole = in_all(evaluation.tallies)
        told(f"{code} {name} {_line('all tables', whole)}")
        figures.append(at_least(f"{code}, {name}: F1", whole.f1 or 0.0, least, ".2f"))
    return [*figures, only(f"{name}: seconds of CPU for 1,000 sentences", 1_000 * spent / count, ".2f")]


def _line(name: str, tally: Tally) -> str:
    return (
        f"{name:13} P {tally.precision or 0.0:.2f}  R {tally.recall or 0.0:.2f}  F1 {tally.f1 or 0.0:.2f}  "
        f"labels {tally.labelled}  found {tally.found}  right {tally.right}"
    )
