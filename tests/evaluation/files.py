"""The rules alone on files of real formats: recall and precision of each, and what was missed or is false.

The files and what is to be found in them are in ``tests/gold/files``: see ``tests/gold/README.md``.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.gold import Label, Tally, judge, wrong_fields
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.model import Models
from hub.text.convert import convert
from hub.text.files import NotConvertible
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, at_least, only

FILES: Final = Path(__file__).parents[1] / "gold" / "files"
_LEAST_RECALL: Final = 0.97
_LEAST_PRECISION: Final = 0.95
_LEAST_OF_FORMAT: Final = 0.90
_FIELDS: Final = {"due": "dueDate"}  # of an expected item, which are named otherwise in its table


class Case(NamedTuple):
    """File with its expected items; *may_have*: numbers of those that are right if found, and not missed."""

    path: Path
    modified_at: datetime
    timezone: str
    labels: tuple[Label, ...]
    may_have: frozenset[int]


def cases() -> Iterator[Case]:
    """Yield the gold files."""
    for expected in sorted(FILES.glob("*/expected.json")):
        for name, case in json.loads(expected.read_text(encoding="utf-8")).items():
            yield Case(
                path=expected.with_name(name),
                modified_at=datetime.fromisoformat(case["modified_at"]),
                timezone=case["timezone"],
                labels=tuple(map(_label, case["items"])),
                may_have=frozenset(nth for nth, item in enumerate(case["items"]) if item.get("optional")),
            )


def _label(item: dict[str, Any]) -> Label:
    named = {
        _FIELDS.get(name, name): value
        for name, value in item.items()
        if name not in ("table", "optional", "due_words")
    }
    return Label(table=item["table"], data=named, places=((0, 1 << 30),))


async def measure(told: Told) -> list[Figure]:
    """Recall and precision by format, and of all files."""
    tallies: dict[str, Tally] = {}
    extractor = Extractor(Models(), secret=bytes(32))
    for case in cases():
        tally = _tally(case, await _items_of(case, extractor), told)
        tallies[case.path.parent.name] = tallies.get(case.path.parent.name, Tally()) + tally
    for form, tally in tallies.items():
        told(
            f"{form:10} recall {tally.recall or 0.0:.2f}  precision {tally.precision or 0.0:.2f}  "
            f"fields {tally.field_share or 0.0:.2f}  "
            f"expected {tally.labelled}  found {tally.found}  right {tally.right}"
        )
    whole = sum(tallies.values(), Tally())
    worst = min(min(tally.recall or 0.0, tally.precision or 0.0) for tally in tallies.values())
    return [
        at_least("all formats: recall", whole.recall or 0.0, _LEAST_RECALL, ".2f"),
        at_least("all formats: precision", whole.precision or 0.0, _LEAST_PRECISION, ".2f"),
        at_least("recall or precision of the worst format", worst, _LEAST_OF_FORMAT, ".2f"),
        only("all formats: share of right fields", whole.field_share or 0.0, ".2f"),
    ]


async def _items_of(case: Case, extractor: Extractor) -> list[Item]:
    """Return the items that are suggested: what is done is none."""
    try:
        converted = convert(case.path.read_bytes(), path=case.path.name)
    except NotConvertible:
        return []
    document = Document(
        unit_key=case.path.name,
        text=converted.text,
        content_hash="",
        media_type=converted.media_type,
        modified_at=converted.date or case.modified_at,
    )
    options = ExtractionOptions(data_types=tuple(TABLES), timezone=case.timezone)
    extraction = await extractor.extract(document, options)
    return [item for item in extraction.items if item.data.get("status") != "done"]


def _tally(case: Case, items: list[Item], told: Told) -> Tally:
    """Count a file, and tell its mistakes. What may be found counts neither for nor against."""
    judged = judge(case.labels, items)
    name = f"{case.path.parent.name}/{case.path.name}"
    right, fields, right_fields = 0, 0, 0
    for number, index in judged.matched:
        if number in case.may_have:
            continue
        label, item = case.labels[number], items[index]
        wrong = wrong_fields(label, item, timezone=case.timezone)
        right += 1
        fields += len(label.data) - 1
        right_fields += len(label.data) - 1 - len(wrong)
        for field, expected, got in wrong:
            told(f"{name}: {field} {got!r} in place of {expected!r}: {label.data['title']}")
    missed = [number for number in judged.missed if number not in case.may_have]
    for number in missed:
        told(f"{name}: missed {case.labels[number].table}: {case.labels[number].data['title']}")
    for index in judged.false:
        told(f"{name}: false {items[index].table}: {items[index].quote!r}")
    found = right + len(judged.false)
    return Tally(
        right=right, found=found, labelled=right + len(missed), fields=fields, right_fields=right_fields
    )
