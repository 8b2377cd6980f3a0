"""Output of the rules for all gold sets and hostile documents, one JSON line an item.

A change of the reader shows here which items it changes. ``make goldens`` writes the lines anew; a commit
that changes them says why, in a line of its message that begins with "Goldens:".
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from hub.document import Document
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToExtract
from hub.lab.gold import read_folder, read_gold
from protocol.tables import TABLES
from tests.hub.extraction.hostile.planting import hostile_documents

FOLDER: Final = Path(__file__).parent
_GOLD: Final = FOLDER.parent / "gold"
_SETS: Final = {"first": _GOLD, "second": _GOLD / "second", "unseen": _GOLD / "unseen"}
_OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
# Fields of an item that tell nothing by their default, and texts that its place tells.
_LEFT_OUT: Final = frozenset(("quote", "origin"))


def documents_of(name: str) -> Iterator[tuple[str, Document, str]]:
    """Yield the id, the document and the time zone of all documents of a set, in order."""
    if name == "hostile":
        for hostile in hostile_documents():
            document = Document(unit_key=hostile.name, text=hostile.text, content_hash="0" * 64)
            yield hostile.name, document, _OPTIONS.timezone
        return
    if name == "files":
        found = [*read_folder(_GOLD / "files")]
    else:
        paths = sorted(_SETS[name].glob("*.jsonl"))
        found = [gold for path in paths for gold in read_gold(path.read_text(encoding="utf-8"))]
    for gold in found:
        timezone = gold.timezone or _OPTIONS.timezone
        yield gold.id, gold.document(timezone), timezone


SETS: Final = (*_SETS, "files", "hostile")


def lines_of(name: str) -> Iterator[str]:
    """Yield the lines of a set: one of each document with its number of items, below it one of each item.

    Of the unseen set items have their digest alone, as those who work on a rule do not read it.
    """
    for key, document, timezone in documents_of(name):
        options = msgspec.structs.replace(_OPTIONS, timezone=timezone)
        items = ToExtract(document=document, options=options, reads_prose=True).answer().items
        yield _line({"document": key, "items": len(items)})
        for item in items:
            line = _line(_fields_of(item))
            yield hashlib.sha256(line.encode()).hexdigest()[:16] if name == "unseen" else line


def written(name: str) -> str:
    """Return the content of a set's file."""
    return "".join(f"{line}\n" for line in lines_of(name))


def path_of(name: str) -> Path:
    """Return the file of a set."""
    return FOLDER / f"{name}.jsonl"


def _fields_of(item: Item) -> Mapping[str, Any]:
    """Return what an item says, without defaults."""
    plain = Item(table="", data={}, quote="", start=0, end=0, origin=item.origin)
    fields = {name: getattr(item, name) for name in item.__struct_fields__ if name not in _LEFT_OUT}
    return {name: value for name, value in fields.items() if value != getattr(plain, name)}


def _line(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(values, order="deterministic").decode()
