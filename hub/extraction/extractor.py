"""Document -> items: rules first, then the model, then the checks.

A document is never half done: either all of it was read and every item checked,
or the whole extraction raises. An answer that was cut off is not an empty one: the
piece of text is halved and asked about again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import msgspec

from hub.clock import Chance
from hub.document import Document
from hub.extraction import chunk, dedupe, structured
from hub.extraction.chunk import Chunk
from hub.extraction.folding import fold
from hub.extraction.forms import Form
from hub.extraction.items import Dropped, Extraction, Item, Wanted
from hub.extraction.model import (
    AnswerCutOff,
    ExtractionError,
    Finish,
    LanguageModel,
    Message,
    ModelAnswer,
    ModelError,
    ModelRequest,
    Usage,
)
from hub.extraction.prompt import CORRECTION, LiteralPrompt, Prompt
from hub.extraction.validate import Checked, Checking, Unreadable, records_of
from protocol.tables import TABLES

Parts = TypeVarTuple("Parts")
Result = TypeVar("Result")

EXTRACTOR_VERSION: Final = 2  # grows when the same document would give other items than before

_LARGE_CHARS: Final = 20_000  # reading so much takes about 10 ms
_MAX_BAD_ANSWER_CHARS: Final = 2_000  # of an unreadable answer shown back to the model


class Extractor:
    """Finds items in documents. With no model it keeps to what rules can read, and says what it left."""

    def __init__(self, model: LanguageModel | None, *, chance: Chance) -> None:
        self._model = model
        self._chance = chance
        # One at a time: the interpreter runs no two of them at once, and each needs ten times its text.
        self._large_texts = anyio.CapacityLimiter(1)

    async def extract(self, document: Document, wanted: Wanted) -> Extraction:
        """All items of *document*, in a stable order.

        Raises:
            ExtractionError: the model's answers cannot be used; nothing of this document is taken.
            ModelUnavailable: the model could not be asked; the same document may be tried later.
            ModelExhausted: the quota is used up; the same document is to be tried when it is back.
        """
        form = await self._beside(document, structured.read, document, wanted)
        if self._model is None or not wanted.data_types:
            ruled, doubles = await self._beside(document, dedupe.once, form.items)
            unread = await self._beside(document, chunk.readable_chars, document.text, form.prose)
            return Extraction(items=ruled, dropped=doubles, unread_chars=unread)

        pieces = await self._beside(document, _pieces, document, form, self._model)
        known = await self._beside(document, fold, f"{document.text}\n{wanted.prompt}")
        reading = _Reading(self._model, document, wanted, known)
        for prompt in self._prompts(document, wanted, form):
            await reading.read(prompt, [piece for piece in pieces if not reading.has_items(piece)])
        items, doubles = await self._beside(document, dedupe.once, [*form.items, *reading.items()])
        return Extraction(
            items=items,
            dropped=(*reading.dropped(), *doubles),
            requests=reading.spent.requests,
            prompt_tokens=reading.spent.prompt_tokens,
            completion_tokens=reading.spent.completion_tokens,
            chunks=len(pieces),
        )

    def _prompts(self, document: Document, wanted: Wanted, form: Form) -> Iterator[Prompt | LiteralPrompt]:
        """All tables at once, or for a small model one after the other."""
        if self._model is not None and self._model.is_literal:
            for table in LiteralPrompt.ORDER:
                if table in wanted.data_types:
                    yield LiteralPrompt(document, table)
        else:
            tables = [table for table in TABLES if table in wanted.data_types]
            yield Prompt(document, wanted, tables, date=form.date, chance=self._chance)

    async def _beside(self, document: Document, work: Callable[[*Parts], Result], *parts: *Parts) -> Result:
        """Do *work*, in a thread when the document is large: the event loop has devices to serve."""
        if len(document.text) < _LARGE_CHARS:
            return work(*parts)
        return await anyio.to_thread.run_sync(work, *parts, limiter=self._large_texts)

    def fingerprint(self, wanted: Wanted) -> str:
        """Tells whether two configurations would read a document alike: hex, 64 characters."""
        meaning = [
            EXTRACTOR_VERSION,
            sorted(wanted.data_types),
            wanted.prompt,
            wanted.timezone,
            self._model.name if self._model else None,
        ]
        return hashlib.sha256(msgspec.json.encode(meaning)).hexdigest()


def _pieces(document: Document, form: Form, model: LanguageModel) -> list[Chunk]:
    return chunk.split(document.text, form.prose, model.chunk_tokens, by_sentence=model.is_literal)


class _Reading:
    """One document being read by a model, several chunks at a time."""

    def __init__(self, model: LanguageModel, document: Document, wanted: Wanted, known: str) -> None:
        self._model = model
        self._text = document.text
        self._wanted = wanted
        self._known = known
        self._found: dict[Chunk, list[Checked]] = {}
        self._failed: ModelError | None = None
        self.spent = Usage()

    async def read(self, prompt: Prompt | LiteralPrompt, pieces: Sequence[Chunk]) -> None:
        """Ask about every piece; on the first failure the others are let go and it is raised."""
        todo = iter(pieces)
        async with anyio.create_task_group() as readers:
            for _ in range(min(self._model.in_flight, len(pieces))):
                readers.start_soon(self._read_on, prompt, todo, readers.cancel_scope)
        if self._failed is not None:
            self._failed.spent = self.spent
            raise self._failed

    def has_items(self, piece: Chunk) -> bool:
        """Whether something was found in it already."""
        return any(checked.items for checked in self._found.get(piece, ()))

    def items(self) -> list[Item]:
        """What was found: by place, and at the same place as the model told it."""
        found = [item for checked in self._in_order() for item in checked.items]
        return sorted(found, key=lambda item: (item.start, item.end))

    def dropped(self) -> list[Dropped]:
        """What was not taken, in the order of the text."""
        return [note for checked in self._in_order() for note in checked.dropped]

    def _in_order(self) -> Iterator[Checked]:
        for piece in sorted(self._found, key=lambda piece: piece.start):
            yield from self._found[piece]

    async def _read_on(
        self, prompt: Prompt | LiteralPrompt, todo: Iterator[Chunk], scope: anyio.CancelScope
    ) -> None:
        for piece in todo:
            try:
                self._found.setdefault(piece, []).extend(await self._read_piece(prompt, piece))
            except ModelError as error:
                self._failed = self._failed or error
                self.spent += error.spent
                scope.cancel()
                return

    async def _read_piece(self, prompt: Prompt | LiteralPrompt, piece: Chunk) -> list[Checked]:
        request = prompt.ask(piece)
        halves = chunk.halve(self._text, piece)
        answer = await self._ask(request)
        records = await self._records_of(request, answer) if answer.finish is Finish.WHOLE else None
        if records is not None and not (halves and prompt.may_hide_more(piece, len(records))):
            check = Checking(
                self._text, piece, self._wanted, known=self._known, is_literal=self._model.is_literal
            )
            return [check.take_all(records)]
        if not halves:
            raise AnswerCutOff(
                f"the model's answer about {piece.end - piece.start} characters of text was cut off "
                f"at its limit of {request.max_tokens} tokens"
            )
        return [checked for half in halves for checked in await self._read_piece(prompt, half)]

    async def _ask(self, request: ModelRequest) -> ModelAnswer:
        answer = await self._model.answer(request)
        self.spent += answer.usage
        return answer

    async def _records_of(self, request: ModelRequest, answer: ModelAnswer) -> list[object] | None:
        """The records of an answer, asked for once more when it cannot be read; ``None`` when cut off."""
        try:
            return records_of(answer.text)
        except Unreadable:
            shown = Message("assistant", answer.text[:_MAX_BAD_ANSWER_CHARS] or "(nothing)")
            again = Message("user", CORRECTION)
            repaired = await self._ask(
                msgspec.structs.replace(request, messages=(*request.messages, shown, again))
            )
        if repaired.finish is not Finish.WHOLE:
            return None
        try:
            return records_of(repaired.text)
        except Unreadable as error:
            raise ExtractionError(f"the model's answer could not be read, twice: {error}") from None
