"""One document being read by a model, several chunks at a time.

What is asked after a question depends on its answer alone. A cut-off, unreadable or
suspiciously full answer is never the end: the piece is halved and asked about again,
and only a piece that is too small for that is given up, which is told. Where an answer
stops long before its text does, the rest is asked about by itself. Records that
cannot be used are asked for again, at most twice, in a question as short as the first;
those that even then no answer can be read about are lost, which is told as well.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from hub.document import Document
from hub.extraction import answers, behind, chunk
from hub.extraction.answers import Answer, Unreadable
from hub.extraction.chunk import Chunk
from hub.extraction.dating import PassageDates
from hub.extraction.folding import fold
from hub.extraction.items import Dropped, Item, Notes, Reference, Wanted
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
from hub.extraction.prompt import CORRECTION, MOST_ASKED_AGAIN, LiteralPrompt, Prompt
from hub.extraction.redaction import Redaction
from hub.extraction.validate import Checked, Checking, FailedRecord
from protocol.tables import TABLES

MOST_HALVINGS: Final = 5  # one after the other: a runaway model is asked 63 times about a chunk at most
MOST_ASKINGS_AGAIN: Final = 2  # for records that cannot be used: what did not help twice does not help

_UNREADABLE_COSTS: Final = 2  # halvings: to a model that cannot write JSON, size makes little difference
_HOPELESS: Final = 3  # pieces given up before any was read: the model cannot do this work
_LONG_CHARS: Final = 4_096  # an answer is read in the event loop up to here: 10 ms if it was made to hurt
_MAX_BAD_ANSWER_CHARS: Final = 2_000  # of an unreadable answer shown back to the model


class Material(msgspec.Struct, frozen=True):
    """What records of a document are checked against.

    Attributes:
        known: what names may be taken from: the whole document and its owner's words, folded.
        dates: of the passages of the document.
        labels: the rows of the device that the model is shown.
    """

    document: Document
    wanted: Wanted
    known: str
    dates: PassageDates
    redaction: Redaction
    labels: Mapping[str, Reference]


class Reading:
    """What a model found in one document so far.

    Attributes:
        spent: on all its questions.
    """

    def __init__(self, model: LanguageModel, material: Material) -> None:
        self.spent = Usage()
        self._model = model
        self._material = material
        self._text = material.document.text
        self._found: dict[Chunk, list[Checked]] = {}
        self._failed: ModelError | None = None
        self._hopeless: ExtractionError | None = None  # raised when nothing at all can be read
        self._read = 0  # pieces with a whole answer
        self._counts: Counter[str] = Counter()

    async def read(self, prompt: Prompt | LiteralPrompt, pieces: Sequence[Chunk]) -> None:
        """Ask about every piece.

        Raises:
            ModelError: the model gives no answers, or none that can be used of any piece so far. The other
                questions were let go.
        """
        todo = iter(pieces)
        async with anyio.create_task_group() as readers:
            for _ in range(min(self._model.in_flight, len(pieces))):
                readers.start_soon(self._read_on, prompt, todo, readers.cancel_scope)
        if self._failed is None and self._counts["given_up"] and not self._has_anything():
            self._failed = self._hopeless
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

    def noted(self, notes: Notes, *, redacted: int) -> Notes:
        """*notes*, and how the reading went."""
        return msgspec.structs.replace(notes, redacted=redacted, **self._counts)

    def _in_order(self) -> Iterator[Checked]:
        for piece in sorted(self._found, key=lambda piece: piece.start):
            yield from self._found[piece]

    async def _read_on(
        self, prompt: Prompt | LiteralPrompt, todo: Iterator[Chunk], scope: anyio.CancelScope
    ) -> None:
        for piece in todo:
            try:
                found = await self._read_piece(prompt, piece, MOST_HALVINGS)
            except ModelError as error:
                self._failed = self._failed or error
                self.spent += error.spent
                scope.cancel()
                return
            self._found.setdefault(piece, []).extend(found)

    async def _read_piece(
        self, prompt: Prompt | LiteralPrompt, piece: Chunk, halvings: int, *, is_rest: bool = False
    ) -> list[Checked]:
        """What is in *piece*, which may be halved so many times more.

        Args:
            is_rest: an answer about what stands before it told nothing of it.
        """
        request = prompt.ask(piece)
        said, answer, is_corrected = await self._ask_for_records(request)
        halvings -= _UNREADABLE_COSTS if is_corrected else 0
        records = self._restored(answer)
        is_whole = _is_whole(said, answer)
        halves = chunk.halve(self._text, piece) if halvings > 0 else []
        if is_whole and not (halves and prompt.may_hide_more(piece, len(records))):
            self._read += 1
            checked = await self._take(prompt, piece, records)
            return [
                checked,
                *await self._read_behind(prompt, piece, checked.items, halvings, is_rest=is_rest),
            ]
        salvaged = self._checking(piece).take_all(records).items
        if not halves:
            return [self._give_up(piece, request, said, salvaged)]
        self._counts["halved"] += 1
        found = await self._read_each(prompt, halves, halvings - 1, is_rest=is_rest)
        rest = _untold(salvaged, [item for checked in found for item in checked.items])
        self._counts["salvaged"] += 0 if is_whole else len(rest)
        return [*found, Checked(rest, [])]

    async def _read_each(
        self, prompt: Prompt | LiteralPrompt, pieces: Iterable[Chunk], halvings: int, *, is_rest: bool
    ) -> list[Checked]:
        return [
            one
            for piece in pieces
            for one in await self._read_piece(prompt, piece, halvings, is_rest=is_rest)
        ]

    async def _read_behind(
        self,
        prompt: Prompt | LiteralPrompt,
        piece: Chunk,
        items: Sequence[Item],
        halvings: int,
        *,
        is_rest: bool,
    ) -> list[Checked]:
        """What a whole answer left out behind its last record, where it looks as if it had stopped early."""
        if halvings <= 0 or not isinstance(prompt, Prompt):
            return []
        places = {(item.start, item.end) for item in items}
        rest = behind.rest_of(self._text, piece, places, behind.DOUBTFUL if is_rest else behind.UNLIKELY)
        if rest is None:
            return []
        self._counts["looked_behind"] += 1
        # It left something out before: smaller pieces hide less.
        pieces = (chunk.halve(self._text, rest) if is_rest else []) or [rest]
        return await self._read_each(prompt, pieces, halvings - 1, is_rest=True)

    async def _take(self, prompt: Prompt | LiteralPrompt, piece: Chunk, records: list[object]) -> Checked:
        """The items of a whole answer; records that cannot be used are asked for again."""
        checking = self._checking(piece)
        checked = checking.take_all(records)
        if not isinstance(prompt, Prompt):
            return checked
        items, dropped, failed = list(checked.items), list(checked.dropped), checked.failed
        requests: list[ModelRequest] = []
        while failed and len(requests) < MOST_ASKINGS_AGAIN:
            asked, later = failed[:MOST_ASKED_AGAIN], failed[MOST_ASKED_AGAIN:]
            request = prompt.ask_again(piece, asked)
            if request in requests:  # the same mistake again: the same question has the same answer
                break
            requests.append(request)
            self._counts["asked_again"] += len(asked)
            again = checking.take_all(await self._read_again(prompt, piece, asked, request))
            for item in again.items:
                if not any(_is_same(item, other) for other in items):
                    items.append(item)
                    _forget(dropped, item.table)
            failed = [*later, *again.failed]
        return Checked(items, dropped)

    async def _read_again(
        self, prompt: Prompt, piece: Chunk, asked: list[FailedRecord], request: ModelRequest
    ) -> list[object]:
        """Return what *request* says about the records *asked*; count those that no answer can be had about.

        The rules are those of a first answer: one that cannot be read is asked for once more, and one that
        is not whole is asked for in halves. A whole answer without a record withdraws it, and loses none.
        """
        said, answer, _ = await self._ask_for_records(request)
        records = self._restored(answer)
        if _is_whole(said, answer) or (records and len(asked) == 1):
            return records
        # To a model that cannot write JSON, size makes little difference.
        if len(asked) == 1 or (answer is None and said.finish is Finish.WHOLE):
            self._counts["lost"] += len(asked)
            return []
        middle = len(asked) // 2
        return [
            record
            for half in (asked[:middle], asked[middle:])
            for record in await self._read_again(prompt, piece, half, prompt.ask_again(piece, half))
        ]

    def _give_up(
        self, piece: Chunk, request: ModelRequest, said: ModelAnswer, salvaged: Iterable[Item]
    ) -> Checked:
        """What is left of a piece that no whole answer can be had about."""
        kept = [msgspec.structs.replace(item, warnings=(*item.warnings, "cut_answer")) for item in salvaged]
        chars = piece.end - piece.start
        self._counts += Counter(given_up=1, given_up_chars=chars, salvaged=len(kept))
        self._hopeless = self._hopeless or (
            ExtractionError(f"the model's answer about {chars} characters of text could not be read, twice")
            if said.finish is Finish.WHOLE
            else AnswerCutOff(
                f"the model's answer about {chars} characters of text was cut off "
                f"at its limit of {request.max_tokens} tokens"
            )
        )
        if self._counts["given_up"] >= _HOPELESS and not self._has_anything():
            raise self._hopeless
        return Checked(kept, [])

    def _has_anything(self) -> bool:
        return bool(self._read or self._counts["salvaged"])

    async def _ask_for_records(self, request: ModelRequest) -> tuple[ModelAnswer, Answer | None, bool]:
        """Return an answer, its records, and whether the question had to be asked twice to have it."""
        said = await self._ask(request)
        answer = await self._answer_in(said)
        if answer is not None or said.finish is not Finish.WHOLE:
            return said, answer, False
        said = await self._ask(_corrected(request, said))
        return said, await self._answer_in(said), True

    async def _ask(self, request: ModelRequest) -> ModelAnswer:
        answer = await self._model.answer(request)
        self.spent += answer.usage
        return answer

    async def _answer_in(self, said: ModelAnswer) -> Answer | None:
        """Return the records of an answer, read in a thread if it is long; None if nothing can be read."""
        try:
            if len(said.text) <= _LONG_CHARS:
                return answers.read(said.text)
            return await anyio.to_thread.run_sync(answers.read, said.text)
        except Unreadable:
            return None

    def _restored(self, answer: Answer | None) -> list[object]:
        """The records, with the document's own words where a placeholder stood."""
        return [self._material.redaction.restore(record) for record in (answer.records if answer else ())]

    def _checking(self, piece: Chunk) -> Checking:
        material = self._material
        return Checking(
            self._text,
            piece,
            material.wanted,
            known=material.known,
            is_literal=self._model.is_literal,
            dates=material.dates,
            references=material.labels,
        )


def _is_whole(said: ModelAnswer, answer: Answer | None) -> bool:
    """Whether an answer was read to its end."""
    return answer is not None and not answer.is_cut and said.finish is Finish.WHOLE


def _corrected(request: ModelRequest, said: ModelAnswer) -> ModelRequest:
    """The question asked once more, after an answer that could not be read."""
    shown = Message("assistant", said.text[:_MAX_BAD_ANSWER_CHARS] or "(nothing)")
    return msgspec.structs.replace(request, messages=(*request.messages, shown, Message("user", CORRECTION)))


def _is_same(item: Item, other: Item) -> bool:
    """Whether two answers told one thing: of one table, at one place, under one name."""
    return _is_at(item, other) and _name(item) == _name(other)


def _is_at(item: Item, other: Item) -> bool:
    return item.table == other.table and item.start < other.end and other.start < item.end


def _name(item: Item) -> str:
    return fold(str(item.data.get(TABLES[item.table].title)))


def _untold(salvaged: Iterable[Item], told: Iterable[Item]) -> list[Item]:
    """Items of an answer that was not whole, without those that the halves told, each for one of them.

    The halves may have told one under another name, so a place in common is enough.
    """
    left = list(told)
    rest = list(salvaged)
    for is_twin in (_is_same, _is_at):
        for item in list(rest):
            twin = next((other for other in left if is_twin(item, other)), None)
            if twin is not None:
                left.remove(twin)
                rest.remove(item)
    return rest


def _forget(dropped: list[Dropped], table: str) -> None:
    """A record of *table* was made right: the note that it could not be used goes."""
    for note in dropped:
        if note.table == table and note.reason in ("ungrounded", "bad_record"):
            dropped.remove(note)
            return
