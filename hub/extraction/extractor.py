"""Extraction of a document: order of rules and model, halving of chunks (up to five times), retries.

Nothing is lost silently: a document is read completely, or its notes say how much was not read, or the
extraction raises. Items in text that gives orders to its reader are marked, whether found by rules or by a
model. A model refers to rows of the device by labels, as it never sees ids.

Reading of one document by a model, several chunks at a time.

The next question depends only on the last answer. After a truncated, unreadable or suspiciously full answer,
the piece is split and asked about again; a piece that is too small for that is given up, and reported. If an
answer ends long before its text, a question about the rest follows. Unusable records are requested again, at
most twice, in a question as short as the first. Those without a readable answer are lost, which is also
reported. ``MAX_HALVINGS`` limits the depth of the splits.

Some models return the first few records of a long list and end. Records are distributed about evenly in a
text, so many records at its start and none in the rest are unlikely: all n records lie in the first part p
with probability pⁿ.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import msgspec

from hub.base.log import foreign_words
from hub.document import Document
from hub.extraction import answers, chunk, ruled
from hub.extraction.answers import ParsedRecords, UnreadableAnswer
from hub.extraction.chunk import Chunk, sentences
from hub.extraction.dating import PassageDates
from hub.extraction.items import Dropped, Extraction, ExtractionOptions, Item, Notes, Reference, RulesForm
from hub.extraction.model import (
    LESS_THINKING,
    MAX_THINKING_TOKENS,
    ExtractionError,
    Finish,
    LanguageModel,
    ModelAnswer,
    ModelError,
    ModelRequest,
    Models,
    OddAnswer,
    PromptMessage,
    Through,
)
from hub.extraction.prompt import CORRECTION, MAX_ASKED_AGAIN, THINK_LESS, LiteralPrompt, Prompt
from hub.extraction.ruled import ToExtract, ToRead, ToSort
from hub.extraction.rules_process import RulesClient, RulesHere
from hub.extraction.validate import CheckedRecords, Checking, FailedRecord, Material
from hub.text.folding import fold
from hub.text.places import merged
from hub.text.redaction import Redaction
from protocol.errors import ErrorCode
from protocol.tables import TABLES, DeviceTable, TableName, Tables
from protocol.work import Usage

MAX_HALVINGS: Final = 5  # nested; a runaway model is asked at most 63 times about a chunk
MAX_ASKINGS_AGAIN: Final = 2  # for unusable records; further attempts rarely help

_UNREADABLE_COSTS: Final = 2  # halvings: the size matters little to a model that cannot write JSON
_MAX_BAD_ANSWER_CHARS: Final = 2_000  # of an unreadable answer, quoted to the model

# Also the share of correct answers with two or more records whose rest is asked for in vain.
UNLIKELY: Final = 0.05
DOUBTFUL: Final = 0.5  # for a text for which an earlier answer was incomplete
MIN_CHARS: Final = 40  # of a rest: shorter sentences contain no record
MAX_CHECKED_HERE: Final = 40_000  # records times characters of a piece; some 25 ms of the event loop

T = TypeVar("T")
Record = TypeVar("Record")


class ExtractionPass:
    """Results of a model for one document so far.

    Attributes:
        spent: usage of all questions.
    """

    def __init__(self, model: LanguageModel, material: Material) -> None:
        self.spent = Usage()
        self._model = model
        self._material = material
        self._text = material.document.text
        self._found: dict[Chunk, list[CheckedRecords]] = {}
        self._failed: ModelError | None = None
        self._read = 0  # pieces with a complete answer
        self._counts: Counter[str] = Counter()
        self._reason: ExtractionError | None = None  # why a part is not read; of several, the first
        self._shared: set[tuple[int, int]] = set()  # places that two pieces have in common

    async def read(self, prompt: Prompt | LiteralPrompt, pieces: Sequence[Chunk]) -> None:
        """Ask about every piece.

        Raises:
            ModelError: the model does not answer, or no answer so far was usable. The other questions are
                cancelled.
        """
        todo = iter(pieces)
        async with anyio.create_task_group() as readers:
            for _ in range(min(self._model.in_flight, len(pieces))):
                readers.start_soon(self._read_on, prompt, todo, readers.cancel_scope)
        if self._failed is None and self._counts["given_up"] and not self._has_anything():
            self._failed = self._reason
        if self._failed is not None:
            self._failed.spent = self.spent
            raise self._failed

    def has_items(self, piece: Chunk) -> bool:
        """Return True if the piece has yielded items already."""
        return any(checked.items for checked in self._found.get(piece, ()))

    def items(self) -> list[Item]:
        """Return the items by place; at the same place in the model's order."""
        found = [item for checked in self._in_order() for item in checked.items]
        found.sort(key=lambda item: (item.start, item.end))
        return without_torn(self._text, found, self._shared)

    def dropped(self) -> list[Dropped]:
        """Return the rejected parts, in the order of the text."""
        return [note for checked in self._in_order() for note in checked.dropped]

    def noted(self, notes: Notes, *, redacted: int) -> Notes:
        """Return *notes* with the statistics of the reading."""
        why = self._reason
        failed, code = ("", "") if why is None else (str(why), str(why.code))
        return msgspec.structs.replace(notes, redacted=redacted, failed=failed, code=code, **self._counts)

    def _in_order(self) -> Iterator[CheckedRecords]:
        for piece in sorted(self._found, key=lambda piece: piece.start):
            yield from self._found[piece]

    async def _read_on(
        self, prompt: Prompt | LiteralPrompt, todo: Iterator[Chunk], scope: anyio.CancelScope
    ) -> None:
        for piece in todo:
            try:
                found = await self._read_piece(prompt, piece, MAX_HALVINGS)
            except ModelError as error:
                self._failed = self._failed or error
                self.spent += error.spent
                scope.cancel()
                return
            self._found.setdefault(piece, []).extend(found)

    async def _read_piece(
        self, prompt: Prompt | LiteralPrompt, piece: Chunk, halvings: int, *, is_rest: bool = False
    ) -> list[CheckedRecords]:
        """Return the results for *piece*, which may be split *halvings* times.

        Args:
            is_rest: True if an answer about the text before it returned no record of it.
        """
        if piece.shared:
            self._shared.add((piece.start, piece.start + piece.shared))
        request = prompt.ask(piece)
        try:
            reply, answer, is_corrected = await self._ask_for_records(request)
        except OddAnswer as error:
            self.spent += error.spent
            self._counts["unanswered"] += 1
            return [self._give_up(piece, error)]
        halvings -= _UNREADABLE_COSTS if is_corrected else 0
        records = self._restored(answer)
        is_whole = _is_whole(reply, answer)
        may_halve = halvings > 0 and not reply.refusal and not reply.is_crowded_out
        halves = chunk.halve(self._text, piece) if may_halve else []
        if is_whole and not (halves and prompt.may_hide_more(piece, len(records))):
            self._read += 1
            checked = await self._accept(prompt, piece, records)
            return [
                checked,
                *await self._read_behind(prompt, piece, checked.items, halvings, is_rest=is_rest),
            ]
        salvaged = (await _checked(self._checking(piece).take_all, records, piece)).items
        if not halves:
            unread = _unread(reply, piece.end - piece.start, request.max_tokens)
            return [self._give_up(piece, unread, salvaged, is_last=reply.is_crowded_out)]
        self._counts["halved"] += 1
        found = await self._read_each(prompt, halves, halvings - 1, is_rest=is_rest)
        rest = self._not_returned(salvaged, [item for checked in found for item in checked.items])
        self._counts["salvaged"] += 0 if is_whole else len(rest)
        return [*found, CheckedRecords(rest, [])]

    async def _read_each(
        self, prompt: Prompt | LiteralPrompt, pieces: Iterable[Chunk], halvings: int, *, is_rest: bool
    ) -> list[CheckedRecords]:
        return [
            outcome
            for piece in pieces
            for outcome in await self._read_piece(prompt, piece, halvings, is_rest=is_rest)
        ]

    async def _read_behind(
        self,
        prompt: Prompt | LiteralPrompt,
        piece: Chunk,
        items: Sequence[Item],
        halvings: int,
        *,
        is_rest: bool,
    ) -> list[CheckedRecords]:
        """Ask about the text after the last record, if a complete answer probably stopped too early."""
        if halvings <= 0 or not isinstance(prompt, Prompt):
            return []
        places = {(item.start, item.end) for item in items}
        rest = rest_of(self._text, piece, places, DOUBTFUL if is_rest else UNLIKELY)
        if rest is None:
            return []
        self._counts["looked_behind"] += 1
        # The answer about it was incomplete before: smaller pieces are safer.
        pieces = (chunk.halve(self._text, rest) if is_rest else []) or [rest]
        return await self._read_each(prompt, pieces, halvings - 1, is_rest=True)

    async def _accept(
        self, prompt: Prompt | LiteralPrompt, piece: Chunk, records: list[object]
    ) -> CheckedRecords:
        """Return the items of a complete answer; unusable records are requested again."""
        checking = self._checking(piece)
        checked = await _checked(checking.take_all, records, piece)
        if not isinstance(prompt, Prompt):
            return checked
        items, dropped, failed = list(checked.items), list(checked.dropped), checked.failed
        unread: list[FailedRecord] = []
        requests: list[ModelRequest] = []
        while failed and len(requests) < MAX_ASKINGS_AGAIN:
            asked, later = failed[:MAX_ASKED_AGAIN], failed[MAX_ASKED_AGAIN:]
            request = prompt.ask_again(piece, asked)
            if request in requests:  # a repeated mistake: the same question has the same answer
                break
            requests.append(request)
            self._counts["asked_again"] += len(asked)
            records, unanswered = await self._read_again(prompt, piece, asked, request)
            again = await _checked(checking.take_all, records, piece)
            self._add(items, again.items, dropped)
            unread += unanswered
            failed = [*later, *again.failed]
        titled = await _checked(checking.take_by_titles, [*failed, *unread], piece)
        self._counts["lost"] += titled[len(failed) :].count(None)
        self._add(items, filter(None, titled), dropped)
        return CheckedRecords(items, dropped)

    def _add(self, items: list[Item], more: Iterable[Item], dropped: list[Dropped]) -> None:
        """Add corrected items that are not known yet, and remove the notes about their first records."""
        for item in more:
            if not any(self._is_same(item, other) for other in items):
                items.append(item)
                _forget(dropped, item.table)

    async def _read_again(
        self, prompt: Prompt, piece: Chunk, asked: list[FailedRecord], request: ModelRequest
    ) -> tuple[list[object], list[FailedRecord]]:
        """Return the records in the answer to *request*, and those of *asked* without a readable answer.

        The rules of a first answer apply: an unreadable one is requested once more, and an incomplete one in
        halves. A complete answer without a record withdraws that record.
        """
        reply, answer, _ = await self._ask_for_records(request)
        records = self._restored(answer)
        if _is_whole(reply, answer) or (records and len(asked) == 1):
            return records, []
        # The size matters little to a model that cannot write JSON.
        if len(asked) == 1 or reply.is_crowded_out or (answer is None and reply.finish is Finish.WHOLE):
            return [], asked
        middle = len(asked) // 2
        halves = [
            await self._read_again(prompt, piece, half, prompt.ask_again(piece, half))
            for half in (asked[:middle], asked[middle:])
        ]
        return [item for half, _ in halves for item in half], [item for _, half in halves for item in half]

    def _give_up(
        self, piece: Chunk, unread: ExtractionError, salvaged: Iterable[Item] = (), *, is_last: bool = False
    ) -> CheckedRecords:
        """Return the usable rest of a piece without any complete answer, and count the piece as given up.

        Args:
            is_last: the model does not end its thoughts, so it is asked about no other piece.
        """
        marked = [msgspec.structs.replace(item, warnings=(*item.warnings, "cut_answer")) for item in salvaged]
        chars = piece.end - piece.start
        self._counts += Counter(given_up=1, given_up_chars=chars, salvaged=len(marked))
        self._reason = self._reason or unread
        # A model is unsuitable that could read none of the first three pieces.
        if (self._counts["given_up"] >= 3 or is_last) and not self._has_anything():
            raise self._reason
        return CheckedRecords(marked, [])

    def _has_anything(self) -> bool:
        return bool(self._read or self._counts["salvaged"])

    async def _ask_for_records(self, request: ModelRequest) -> tuple[ModelAnswer, ParsedRecords | None, bool]:
        """Return an answer, its records, and whether the question had to be repeated for it.

        After thoughts without an answer, the repeated question has the most room for thoughts.
        """
        reply = await self._ask(request)
        answer = await self._answer_in(reply)
        is_unread = answer is None and reply.finish is Finish.WHOLE and not reply.refusal
        if not is_unread and not reply.is_crowded_out:
            return reply, answer, False
        turns = (
            *request.messages,
            PromptMessage("assistant", reply.text[:_MAX_BAD_ANSWER_CHARS] or "(nothing)"),
            PromptMessage("user", CORRECTION if is_unread else THINK_LESS),
        )
        room = 0 if is_unread else MAX_THINKING_TOKENS
        reply = await self._ask(msgspec.structs.replace(request, messages=turns, thinking_tokens=room))
        return reply, await self._answer_in(reply), True

    async def _ask(self, request: ModelRequest) -> ModelAnswer:
        answer = await self._model.answer(request)
        self.spent += answer.usage
        return answer

    async def _answer_in(self, reply: ModelAnswer) -> ParsedRecords | None:
        """Parse the records of an answer, in a thread if it is long; None if it is unreadable."""
        try:
            # Longer answers are parsed in a thread; up to here, the worst answer takes 10 ms.
            if len(reply.text) <= 4_096:
                return answers.read(reply.text)
            return await anyio.to_thread.run_sync(answers.read, reply.text)
        except UnreadableAnswer:
            return None

    def _restored(self, answer: ParsedRecords | None) -> list[object]:
        """Return the records with placeholders replaced by the document's own words."""
        return [self._material.redaction.restore(record) for record in (answer.records if answer else ())]

    def _checking(self, piece: Chunk) -> Checking:
        return Checking(self._material, piece, is_literal=self._model.is_literal)

    def _is_same(self, item: Item, other: Item) -> bool:
        """Return True for equal items of two answers: same table, overlapping place, same title."""
        return _is_at(item, other) and self._name(item) == self._name(other)

    def _name(self, item: Item) -> str:
        return fold(str(item.data.get(self._material.options.tables[item.table].title)))

    def _not_returned(self, salvaged: Iterable[Item], returned: Iterable[Item]) -> list[Item]:
        """Return the items of an incomplete answer that the halves did not return again.

        The halves may have returned an item under another title, so an overlapping place is sufficient.
        """
        left = list(returned)
        rest = list(salvaged)
        for is_twin in (self._is_same, _is_at):
            for item in list(rest):
                twin = next((other for other in left if is_twin(item, other)), None)
                if twin is not None:
                    left.remove(twin)
                    rest.remove(item)
        return rest


async def _checked(check: Callable[[Sequence[Record]], T], records: Sequence[Record], piece: Chunk) -> T:
    """Check records of a model about a piece, in a thread if their quotes take long to be looked up."""
    if len(records) * (piece.end - piece.start) <= MAX_CHECKED_HERE:
        return check(records)
    return await anyio.to_thread.run_sync(check, records)


def _unread(reply: ModelAnswer, chars: int, most_tokens: int) -> ExtractionError:
    """Return the error about *chars* characters of text without a whole answer, with the endpoint's words."""
    about, tokens = f"the model's answer about {chars} characters of text", reply.usage.completion_tokens
    code = ErrorCode.MODEL_ANSWER_CUT_OFF
    message = f"{about} was cut off at its limit of {most_tokens} tokens"
    if words := reply.refusal or (reply.words if reply.finish is Finish.CUT_OFF else ""):
        code, message = ErrorCode.MODEL_DECLINED, f"the model refused {chars} characters of text: {words}"
    elif reply.is_crowded_out:
        most_tokens += MAX_THINKING_TOKENS
        message = f"the model thought for {most_tokens} tokens about {chars} characters of text"
        message = f"{message}, and gave no answer{LESS_THINKING}"
    elif reply.finish is Finish.WHOLE:
        words = f"it has {reply.words or 'no text'}"
        if text := reply.text.strip():
            words = "it breaks off, or lists nothing" if "{" in text else f"it says: {foreign_words(text)}"
        code, message = ErrorCode.MODEL_ANSWER_INVALID, f"{about} could not be read: {words}"
    elif reply.finish is Finish.TOO_LONG or 0 < tokens < most_tokens:
        ended = f"{about} ended after {tokens} tokens, before its limit of {most_tokens}"
        code = ErrorCode.MODEL_CONTEXT_EXCEEDED
        message = f"{reply.words or ended}; the model's context is too small for {chars} characters of text"
    return ExtractionError(message, code=code)


def _is_whole(reply: ModelAnswer, answer: ParsedRecords | None) -> bool:
    """Return True if an answer is complete."""
    return answer is not None and not answer.is_cut and reply.finish is Finish.WHOLE


def _is_at(item: Item, other: Item) -> bool:
    return item.table == other.table and item.start < other.end and other.start < item.end


def without_torn(text: str, items: Sequence[Item], shared: Iterable[tuple[int, int]]) -> list[Item]:
    """Return *items* without parts of others, which a model found where a cut went through a statement.

    Args:
        items: sorted by place.
        shared: places that two pieces have in common; at both of their ends, one of the pieces ends.
    """
    starts = [item.start for item in items]
    torn: set[int] = set()
    for start, end in shared:
        # A statement has at most 400 characters: twice the limit of a quote.
        near = range(bisect_left(starts, start - 400), bisect_left(starts, end))
        for nth in near:
            item = items[nth]
            is_last = item.end <= end and not text[item.end : end].strip()
            is_first = item.start >= start and not text[start : item.start].strip()
            torn.update(
                nth
                for other in (items[at] for at in near)
                if (is_last and other.end > end and _is_at(item, other))
                or (is_first and other.start < start and _is_at(item, other))
            )
    return [item for nth, item in enumerate(items) if nth not in torn]


def _forget(dropped: list[Dropped], table: str) -> None:
    """Remove one note about an unusable record of *table*, after a record was corrected."""
    for note in dropped:
        if note.table == table and note.reason in ("ungrounded", "bad_record"):
            dropped.remove(note)
            return


def rest_of(text: str, piece: Chunk, places: Set[tuple[int, int]], doubt: float) -> Chunk | None:
    """Return the rest of *piece* after the last of *places* if it probably contains records, else None.

    Args:
        places: places of the returned records; two at the same place count once.
        doubt: probability below which the answer is doubted.
    """
    if not places:
        return None
    last = max(end for _, end in places)
    share = (last - piece.start) / (piece.end - piece.start)
    if share ** len(places) >= doubt:
        return None
    spans = list(sentences(text, piece.start, piece.end))
    nth = next((nth for nth, (start, _) in enumerate(spans) if start >= last), None)
    if nth is None or piece.end - spans[nth][0] < MIN_CHARS:
        return None
    before = spans[nth - 1] if nth else (0, 0)
    return chunk.part_of(text, piece, spans[nth][0], piece.end, before=before)


EXTRACTOR_VERSION: Final = 33  # incremented when a document may yield other items than before

MAX_REFERENCES: Final = 50  # each costs the tokens of its title in every question

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
        rules: RulesClient | None = None,
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
        reads_prose = model is None or model.is_literal
        if model is None or not options.data_types:
            return await self._rules.ask(
                ToExtract(document=document, options=options, reads_prose=reads_prose)
            )
        found = await self._rules.ask(
            ToRead(
                document=document,
                options=options,
                reads_prose=reads_prose,
                chunk_tokens=model.chunk_tokens,
                by_sentence=model.is_literal,
            )
        )

        model = through(model) if through else model
        read = ruled.part_of(document, *found.parts[0])
        seen = _seen(read, found.form)
        # In a thread, unless the document is short (its dates take up to 50 ms), or nothing else needs this
        # process.
        if len(read.text) < 500 or isinstance(self._rules, RulesHere):
            material = _material(seen, options, found.dates)
        else:
            material = await anyio.to_thread.run_sync(
                _material, seen, options, found.dates, limiter=self._large_texts
            )
        pieces = _left_by(found.items, found.pieces)
        reading = ExtractionPass(model, material)
        for prompt in self._prompts(model, material):
            await reading.read(prompt, [piece for piece in pieces if not reading.has_items(piece)])
        # Quotes are from the document itself, whichever view the model read.
        of_model = [
            msgspec.structs.replace(item, quote=read.text[item.start : item.end]) for item in reading.items()
        ]
        result = await self._rules.ask(
            ToSort(
                document=document,
                options=options,
                parts=found.parts,
                form=found.form,
                dates=found.dates,
                found=[*found.items, *of_model],
                dropped=reading.dropped(),
            )
        )
        return msgspec.structs.replace(
            result,
            requests=reading.spent.requests,
            prompt_tokens=reading.spent.prompt_tokens,
            completion_tokens=reading.spent.completion_tokens,
            chunks=len(pieces),
            notes=reading.noted(result.notes, redacted=material.redaction.count),
        )

    async def extract_by_rules(
        self, document: Document, options: ExtractionOptions, failure: ExtractionError | None = None
    ) -> Extraction:
        """Extract by the rules for forms only; the notes say that the document still awaits its model.

        The rules for prose are left out: the model will read the prose, in other words.

        Args:
            failure: why the model does not read the document: then the notes say so.
        """
        found = await self._rules.ask(ToExtract(document=document, options=options, reads_prose=False))
        notes = msgspec.structs.replace(found.notes, awaits_model=failure is None)
        if failure is not None:
            notes = msgspec.structs.replace(notes, unanswered=1, failed=str(failure), code=str(failure.code))
        return msgspec.structs.replace(found, notes=notes)

    async def read_all_tables(
        self, document: Document, options: ExtractionOptions, models: Models | None = None
    ) -> ruled.RulesResult:
        """Return what the rules of a run would find if its agent looked for items of all tables."""
        reads_prose = self.reads_prose_by_rules(options, models)
        options = msgspec.structs.replace(options, data_types=tuple(self.tables), own_tables=self.tables.own)
        return await self._rules.ask(ToRead(document=document, options=options, reads_prose=reads_prose))

    def reads_prose_by_rules(self, options: ExtractionOptions, models: Models | None = None) -> bool:
        """Return True if rules read the prose too: without a model, or before one that can only copy."""
        model = self._reader_of_prose(options, models)
        return model is None or model.is_literal

    def reader(self, options: ExtractionOptions, models: Models | None = None) -> str:
        """Return who reads prose: rules, or a model, as ``local`` or ``cloud`` and its name."""
        model = self._reader_of_prose(options, models)
        if model is None:
            return "rules"
        local = (models or self.models).local
        is_local = local is not None and local.name == model.name
        return f"{'local' if is_local else 'cloud'} {model.name}"

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


def first_questions(
    document: Document, options: ExtractionOptions, chunk_tokens: int
) -> list[tuple[Chunk, ModelRequest]]:
    """Return the chunks of a document and the question about each, as a model would be asked first.

    A question differs in its delimiters from that of any hub.
    """
    from hub.extraction import structured  # imported here: a hub leaves the reading to another process

    form = structured.read(document, options)
    seen = _seen(document, form)
    tables = [table.name for table in _tables(options)]
    dates = PassageDates.of(document, date=form.date, timezone=options.timezone)
    prompt = Prompt(_material(seen, options, dates), tables, secret=b"")
    return [(piece, prompt.ask(piece)) for piece in chunk.split(seen.text, form.prose, chunk_tokens)]


def _seen(document: Document, form: RulesForm) -> Document:
    """Return the document as a model sees it."""
    return document if form.view is None else msgspec.structs.replace(document, text=form.view)


def _tables(options: ExtractionOptions) -> list[DeviceTable]:
    return [table for name, table in options.tables.items() if name in options.data_types]


def _material(document: Document, options: ExtractionOptions, dates: PassageDates) -> Material:
    return Material(
        document=document,
        options=options,
        known=fold(f"{document.text}\n{options.prompt}"),
        dates=dates,
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
        if row.table in pointed_at and row.table in _LETTERS and len(rows) < MAX_REFERENCES:
            counts[row.table] = counts.get(row.table, 0) + 1
            rows[f"{_LETTERS[row.table]}{counts[row.table]}"] = row
    return rows
