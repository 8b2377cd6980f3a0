"""The rules alone on files of real formats: recall and precision of each, and what was missed or is false.

The files and what is to be found in them are in ``tests/gold/files``: see ``tests/gold/README.md``. An item
counts as found if its owner may see it, suggested or less sure, and as false if it is suggested.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.document import Document
from hub.extraction import structured
from hub.extraction.dating import PassageDates
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, lines_of
from hub.extraction.model import Models
from hub.extraction.tiers import tiers_of
from hub.extraction.when.resolve import local_day
from hub.lab.evaluation import Evaluation
from hub.lab.gold import EXPECTED, Tally, added, in_all, read_folder
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, at_least, only
from tests.evaluation.marks import by_mark, figures_by_mark

FILES: Final = Path(__file__).parents[1] / "gold" / "files"
_OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
_MIN_RECALL: Final = 0.97
_MIN_PRECISION: Final = 0.95
_MIN_OF_FORMAT: Final = 0.90
_MIN_DAYS: Final = 0.95


async def measure(told: Told) -> list[Figure]:
    """Recall and precision by format and of all files, and the share of documents whose day is known."""
    shown, suggested, extractor = Evaluation(), Evaluation(), Extractor(Models(), secret=bytes(32))
    tallies: dict[str, Tally] = {}
    days = dict(_days())
    wrong_days = 0
    for gold in read_folder(FILES):
        options = msgspec.structs.replace(_OPTIONS, timezone=gold.timezone or _OPTIONS.timezone)
        form = gold.id.partition("/")[0]
        document = gold.document(options.timezone)
        extraction = await extractor.extract(document, options)
        tiers = tiers_of(item for item in extraction.items if not item.is_done)
        sent = (*(item for item in extraction.items if item.is_done), *tiers.suggested)
        result, sure = (
            evaluation.count(
                msgspec.structs.replace(gold, kind=form),
                msgspec.structs.replace(extraction, items=items),
                options,
            )
            for evaluation, items in ((shown, (*sent, *tiers.unsure)), (suggested, sent))
        )
        tallies = added(tallies, by_mark(gold, [item for item in extraction.items if not item.is_done]))
        for number in result.missed:
            told(f"{gold.id}: missed {result.labels[number].headline}")
        for false in sure.false:
            told(f"{gold.id}: false {false.headline}")
        for wrong in result.wrong:
            told(f"{gold.id}: {wrong.headline}")
        if (day := days.get(gold.id)) is not None and (found := _day_of(document, options)) != day:
            told(f"{gold.id}: its day is {found} in place of {day}")
            wrong_days += 1
    for form, tally in shown.kinds.items():
        told(f"{form:10} {_figures(tally)}; suggested: {_figures(suggested.kinds[form])}")
    whole, sent_whole = in_all(shown.kinds), in_all(suggested.kinds)
    worst = min(
        *(tally.recall or 0.0 for tally in shown.kinds.values()),
        *(tally.precision or 0.0 for tally in suggested.kinds.values()),
    )
    return [
        at_least("all formats: recall", whole.recall or 0.0, _MIN_RECALL, ".2f"),
        at_least(
            "all formats: precision of the suggested", sent_whole.precision or 0.0, _MIN_PRECISION, ".2f"
        ),
        only("all formats: recall of the suggested", sent_whole.recall or 0.0, ".2f"),
        at_least("recall or precision of the worst format", worst, _MIN_OF_FORMAT, ".2f"),
        at_least("share of right days of documents", 1 - wrong_days / len(days), _MIN_DAYS, ".2f"),
        only("all formats: share of right fields", whole.field_share or 0.0, ".2f"),
        *figures_by_mark("all formats", tallies),
    ]


def _figures(tally: Tally) -> str:
    return (
        f"recall {tally.recall or 0.0:.2f}  precision {tally.precision or 0.0:.2f}  "
        f"fields {tally.field_share or 0.0:.2f}  "
        f"expected {tally.labelled}  found {tally.found}  right {tally.right}"
    )


def _days() -> Iterator[tuple[str, date]]:
    """Yield the day of each document that says which one it is of."""
    for expected in FILES.glob(f"*/{EXPECTED}"):
        for name, entry in json.loads(expected.read_text(encoding="utf-8")).items():
            if "day" in entry:
                yield f"{expected.parent.name}/{name}", date.fromisoformat(entry["day"])


def _day_of(document: Document, options: ExtractionOptions) -> date | None:
    """Return the day from which relative dates count in most lines of a document but quotations."""
    dates = PassageDates.of(document, date=structured.read(document, options).date, timezone=options.timezone)
    anchors = [
        dates.at(line.start) for line in lines_of(document.text) if line.text.strip() and line.text[0] != ">"
    ]
    zone = ZoneInfo(options.timezone)
    days = Counter(local_day(at, zone) if isinstance(at, datetime) else at for at in anchors)
    return days.most_common(1)[0][0] if days else None
