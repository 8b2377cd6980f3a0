"""Labelled files of public repositories: facts here, texts in a folder beside the repository.

``tests/gold/rounds/sources.tsv`` names each file (repository, commit, path), ``labels.tsv`` what a reader
found in it (line, column, length, table, state, day). The folder of texts has each file as
``owner/name/COMMIT/path``, with 12 digits of the commit; a file with another digest is refused.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.items import lines_of
from hub.lab.gold import GoldDocument, Label
from hub.text.convert import convert
from hub.text.files import Converted, NotConvertible
from protocol.tables import TableName

FACTS: Final = Path(__file__).parents[1] / "gold" / "rounds"
_COMMIT_CHARS: Final = 12
_IN_TEXT: Final = 0  # line of a label whose column counts in the converted text, as of an encoded mail


class SourceFile(msgspec.Struct, frozen=True):
    """File of a repository. *kind* and *document*: its form, and what a reader takes it for."""

    round: str
    id: str
    repository: str
    commit: str
    path: str
    sha256: str
    kind: str
    language: str
    document: str
    date: datetime


class LabelFact(msgspec.Struct, frozen=True):
    """Place and meaning of a label: ``todo`` is expected, ``either`` may be found, ``done`` must not be."""

    round: str
    id: str
    line: int
    column: int
    length: int
    table: str
    state: str
    due: str


class LabelledFile(msgspec.Struct, frozen=True):
    """Text of a source with its labels."""

    source: SourceFile
    gold: GoldDocument

    def document(self) -> Document:
        """Return the document as a device in UTC would send it."""
        return self.gold.document("UTC")


def read_sources(folder: Path = FACTS) -> list[SourceFile]:
    """Return all sources in the order of their rounds."""
    return _rows(folder / "sources.tsv", SourceFile)


def read_files(texts: Path, rounds: Sequence[str] = (), folder: Path = FACTS) -> list[LabelledFile]:
    """Return the labelled files of some rounds, or of all.

    Raises:
        FileNotFoundError: a file is missing below *texts*.
        ValueError: a file differs from the one that was labelled.
    """
    facts: dict[tuple[str, str], list[LabelFact]] = {}
    for fact in _rows(folder / "labels.tsv", LabelFact):
        facts.setdefault((fact.round, fact.id), []).append(fact)
    return [
        _labelled(source, texts, facts.get((source.round, source.id), []))
        for source in read_sources(folder)
        if not rounds or source.round in rounds
    ]


def _rows(path: Path, kind: type) -> list:  # type: ignore[type-arg]
    with path.open(encoding="utf-8", newline="") as file:
        return [
            msgspec.convert(row, kind, strict=False)
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def _labelled(source: SourceFile, texts: Path, facts: Sequence[LabelFact]) -> LabelledFile:
    path = texts / source.repository / source.commit[:_COMMIT_CHARS] / source.path
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise ValueError(f"{path}: not the file of commit {source.commit}: its digest differs")
    try:
        converted = convert(data, path=source.path)
    except NotConvertible:
        converted = Converted("", media_type="")
    raw = decoded(data)
    starts = [line.start for line in lines_of(raw)]
    labels = tuple(_label(fact, raw, starts, converted.text) for fact in facts if fact.state != "done")
    gold = GoldDocument(
        id=f"{source.round}/{source.id}/{source.path}",
        text=converted.text,
        labels=labels,
        date=converted.date or source.date,
        name=source.path,
        words={},
        kind=source.kind,
        media_type=converted.media_type,
    )
    return LabelledFile(source, gold)


def decoded(data: bytes) -> str:
    """Return the text in which the lines and columns of labels count."""
    return data.decode("utf-8", "replace")


def _label(fact: LabelFact, raw: str, starts: Sequence[int], text: str) -> Label:
    """Return a label at the place of its words in the converted text, as near as in the file."""
    if fact.line == _IN_TEXT:
        start, quote = fact.column, text[fact.column : fact.column + fact.length]
        places = ((start, start + fact.length),)
    else:
        at = starts[fact.line - 1] + fact.column
        quote = raw[at : at + fact.length]
        share = at / max(1, len(raw)) * len(text)
        found = [*_places(quote, text)] or [*_places(quote.split("\n")[0].strip(), text)]
        places = (min(found, key=lambda place: abs(place[0] - share)),) if found else ((0, len(text) + 1),)
    data: dict[str, str | float | list[str]] = {"title": quote}
    if fact.table == TableName.PROJECTS:
        data = {"name": quote}
    elif fact.table == TableName.TASK_COMMENTS:
        data = {"content": quote}
    if fact.due:
        data["date" if fact.table == TableName.TIMELINES else "dueDate"] = fact.due
    return Label(table=fact.table, data=data, places=places, is_optional=fact.state == "either")


def _places(words: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(words) if words else -1
    while at >= 0:
        yield at, at + len(words)
        at = text.find(words, at + 1)
