"""Extractor: converts a document to items by rules, then by a model, then validates them.

Nothing is lost silently: a document is read completely, or its notes say how much was not read, or the
extraction raises. Items in text that gives orders to its reader are marked, whether found by rules or by a
model. A model refers to rows of the device by labels, as it never sees ids.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import msgspec

from hub.document import Document
from hub.extraction import chunk, ruled, structured
from hub.extraction.chunk import Chunk
from hub.extraction.dating import PassageDates
from hub.extraction.folding import fold
from hub.extraction.items import Extraction, ExtractionOptions, Form, Item, Reference, merged
from hub.extraction.model import LanguageModel, ModelRequest, Models, Through
from hub.extraction.prompt import LiteralPrompt, Prompt
from hub.extraction.reading import Reading
from hub.extraction.redaction import Redaction
from hub.extraction.ruled import ToRead, ToSort
from hub.extraction.rules_process import Rules, RulesHere
from hub.extraction.validate import Material
from protocol.tables import TABLES, DeviceTable, TableName, Tables

Parts = TypeVarTuple("Parts")
Result = TypeVar("Result")

EXTRACTOR_VERSION: Final = 31  # incremented when a document may yield other items than before

_LARGE_CHARS: Final = 500  # the dates of a text of this length take up to 50 ms

MOST_REFERENCES: Final = 50  # each costs the tokens of its title in every question

_LETTERS: Final[dict[str, str]] = {TableName.PROJECTS: "P", TableName.TASKS: "T"}


class Extractor:
    """Extractor of items. Without a model, it applies only rules, also to prose, and reports how much of it.

    Args:
        secret: secret of this hub, for delimiters that no author of a document can guess.
        tables: declarations of all tables, for new runs.
        asks_small: ask a model that can only copy about the sentences that no rule reads.
        rules: reads by rules; by default in this process.
    """

    def __init__(
        self,
        models: Models,
        *,
        secret: bytes,
        tables: Tables = TABLES,
        asks_small: bool = True,
        rules: Rules | None = None,
    ) -> None:
        self.models = models
        self.tables = tables
        self._asks_small = asks_small
        self._secret = secret
        self._rules = rules or RulesHere()
        # One at a time: the interpreter lock prevents parallelism, and each needs ten times the size of its
        # text.
        self._large_texts = anyio.CapacityLimiter(1)

    async def extract(
        self,
        document: Document,
        options: ExtractionOptions,
        *,
        through: Through | None = None,
        models: Models | None = None,
    ) -> Extraction:
        """Extract all items of *document*, in a stable order.

        Args:
            through: wrapper of the model, for example for budgets.
            models: models of a run that began before the models of the extractor changed.

        Raises:
            ExtractionError: the model's answers are unusable; no item of this document is returned.
            ModelUnavailable: the model could not be asked; a retry may succeed.
            ModelExhausted: the quota is used up; retry when it is available again.
            BadPattern: ``redaction.problem_of`` refuses a rule of the agent; the model was not asked.
        """
        model = self._reader_of_prose(options, models)
        has_model = model is not None and bool(options.data_types)
        found = await self._rules.read(
            ToRead(
                document=document,
                options=options,
                reads_prose=model is None or model.is_literal,
                chunk_tokens=model.chunk_tokens if model is not None and has_model else None,
                by_sentence=model is not None and model.is_literal,
            )
        )
        if model is None or found.sorted is not None:
            return _ruled(found)

        model = through(model) if through else model
        seen = _seen(document, found.form)
        material = await self._in_thread(document, _material, seen, options, found.form)
        pieces = _left_by(found.items, found.pieces)
        reading = Reading(model, material)
        for prompt in self._prompts(model, material):
            await reading.read(prompt, [piece for piece in pieces if not reading.has_items(piece)])
        # Quotes are from the document itself, whichever view the model read.
        of_model = [
            msgspec.structs.replace(item, quote=document.text[item.start : item.end])
            for item in reading.items()
        ]
        result = await self._rules.sort(
            ToSort(
                document=document,
                options=options,
                form=found.form,
                found=[*found.items, *of_model],
                dropped=reading.dropped(),
            )
        )
        return Extraction(
            items=result.items,
            dropped=result.dropped,
            requests=reading.spent.requests,
            prompt_tokens=reading.spent.prompt_tokens,
            completion_tokens=reading.spent.completion_tokens,
            chunks=len(pieces),
            notes=reading.noted(result.notes, redacted=material.redaction.count),
        )

    async def extract_by_rules(self, document: Document, options: ExtractionOptions) -> Extraction:
        """Extract by the rules for forms only; the notes say that the document still awaits its model.

        The rules for prose are left out: the model will read the prose, in other words.
        """
        found = await self._rules.read(ToRead(document=document, options=options, reads_prose=False))
        ruled = _ruled(found)
        return msgspec.structs.replace(ruled, notes=msgspec.structs.replace(ruled.notes, awaits_model=True))

    async def read_all_tables(
        self, document: Document, options: ExtractionOptions, models: Models | None = None
    ) -> ruled.Reading:
        """Return what the rules of a run would find if its agent looked for items of all tables."""
        reads_prose = self.reads_prose_by_rules(options, models)
        options = msgspec.structs.replace(options, data_types=tuple(self.tables), own_tables=self.tables.own)
        return await self._rules.read(ToRead(document=document, options=options, reads_prose=reads_prose))

    def reads_prose_by_rules(self, options: ExtractionOptions, models: Models | None = None) -> bool:
        """Return True if rules read the prose too: without a model, or before one that can only copy."""
        model = self._reader_of_prose(options, models)
        return model is None or model.is_literal

    def _reader_of_prose(self, options: ExtractionOptions, models: Models | None) -> LanguageModel | None:
        """Return the model that reads prose, or None if only rules do."""
        model = (models or self.models).choose(allow_cloud=options.allow_cloud)
        return None if model is not None and model.is_literal and not self._asks_small else model

    def _prompts(self, model: LanguageModel, material: Material) -> Iterator[Prompt | LiteralPrompt]:
        """Yield one prompt for all tables, or for a small model one for each table."""
        if model.is_literal:
            own = (table.name for table in material.options.own_tables)
            for table in (*LiteralPrompt.ORDER, *own):
                if table in material.options.data_types:
                    yield LiteralPrompt(material, table)
        else:
            tables = [table.name for table in _tables(material.options)]
            yield Prompt(material, tables, secret=self._secret)

    async def _in_thread(
        self, document: Document, work: Callable[[*Parts], Result], *parts: *Parts
    ) -> Result:
        """Run *work*, in a thread unless the document is short or nothing else needs this process."""
        if len(document.text) < _LARGE_CHARS or isinstance(self._rules, RulesHere):
            return work(*parts)
        return await anyio.to_thread.run_sync(work, *parts, limiter=self._large_texts)

    def fingerprint(self, options: ExtractionOptions, models: Models | None = None) -> str:
        """Return a digest of the configuration that determines the result: hex, 64 characters."""
        model = self._reader_of_prose(options, models)
        meaning = [
            EXTRACTOR_VERSION,
            sorted(options.data_types),
            options.prompt,
            options.timezone,
            model.name if model else None,
            sorted((rule.name, rule.regex or "") for rule in options.redact),
        ]
        if options.own_tables:  # a changed declaration reads documents again
            meaning.append(options.own_tables)
        return hashlib.sha256(msgspec.json.encode(meaning)).hexdigest()


def _ruled(found: ruled.Reading) -> Extraction:
    """Return the result of the rules alone."""
    assert found.sorted is not None  # as it was requested
    done = found.sorted
    return Extraction(items=done.items, dropped=done.dropped, ruled_chars=done.unread_chars, notes=done.notes)


def first_questions(
    document: Document, options: ExtractionOptions, chunk_tokens: int
) -> list[tuple[Chunk, ModelRequest]]:
    """Return the chunks of a document and the question about each, as a model would be asked first.

    A question differs in its delimiters from that of any hub.
    """
    form = structured.read(document, options)
    seen = _seen(document, form)
    tables = [table.name for table in _tables(options)]
    prompt = Prompt(_material(seen, options, form), tables, secret=b"")
    return [(piece, prompt.ask(piece)) for piece in chunk.split(seen.text, form.prose, chunk_tokens)]


def _seen(document: Document, form: Form) -> Document:
    """Return the document as a model sees it."""
    return document if form.view is None else msgspec.structs.replace(document, text=form.view)


def _tables(options: ExtractionOptions) -> list[DeviceTable]:
    return [table for name, table in options.tables.items() if name in options.data_types]


def _material(document: Document, options: ExtractionOptions, form: Form) -> Material:
    return Material(
        document=document,
        options=options,
        known=fold(f"{document.text}\n{options.prompt}"),
        dates=PassageDates(document, date=form.date, timezone=options.timezone),
        redaction=Redaction(options.redact, document.text),
        labels=labelled(options.references, _tables(options)),
    )


def _left_by(items: Iterable[Item], pieces: Sequence[chunk.Chunk]) -> list[chunk.Chunk]:
    """Return the pieces in which no rule found an item."""
    spans = merged((item.start, item.end) for item in items)
    ends = [end for _, end in spans]
    nearest = [(piece, bisect_right(ends, piece.start)) for piece in pieces]
    return [piece for piece, nth in nearest if nth == len(spans) or spans[nth][0] >= piece.end]


def labelled(references: Iterable[Reference], tables: Sequence[DeviceTable]) -> dict[str, Reference]:
    """Return the rows to which records of *tables* can belong, by label: P1 for projects, T1 for tasks."""
    pointed_at = {column.refers_to for table in tables for column in table.columns}
    rows: dict[str, Reference] = {}
    counts: dict[str, int] = {}
    for row in references:
        if row.table in pointed_at and row.table in _LETTERS and len(rows) < MOST_REFERENCES:
            counts[row.table] = counts.get(row.table, 0) + 1
            rows[f"{_LETTERS[row.table]}{counts[row.table]}"] = row
    return rows
