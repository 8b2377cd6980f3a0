"""Batched questions of a run at half the price: when they are submitted, and how long a run waits.

Used for agents whose results may be late. A run reads its files once, collects its questions and submits
them. It returns to the queue until the answers are journaled: a batch is checked after 30 s, and more rarely
with its age, at least every half hour. The run then reads its files again.

Questions that no batch answers, and questions that follow from an answer, are asked directly. The state of a
batch is written before and after its submission, so no batch is submitted twice after a crash.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.extraction.model import (
    BATCH_REQUESTS,
    Batches,
    BatchResult,
    Finish,
    ModelAnswer,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    Price,
)
from hub.runs.budget import Budgets, DayBudgetReached, Reservation, RunBudget
from hub.runs.run_order import RunOrder
from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from protocol.work import Usage
from storage import schema
from storage.runs import model_answers as runs_model_answers
from storage.runs import model_batches as runs_model_batches
from storage.runs.model_answers import JournaledAnswer
from storage.runs.model_batches import BatchRow, BatchState
from storage.runs.model_calls import ModelCall
from storage.store import Store

log = Channel(__name__)

MIN_WAIT_S: Final = 30.0

MAX_WAIT_S: Final = 1_800.0

_NOTED_BYTES: Final = 32 * 1024 * 1024  # of questions held in memory; submitted above this

_AT_ONCE: Final = 200  # answers per transaction
_NOTHING_FOUND: Final = '{"items": []}'  # placeholder for an answer that a batch will bring


class BatchPending(HubError):
    """The run's questions were submitted as a batch; its state is checked again in *wait_s* seconds."""

    code = ErrorCode.BUSY

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Batching:
    """The batches of one hub."""

    def __init__(self, store: Store, *, budgets: Budgets, clock: Clock, ids: IdFactory) -> None:
        self._store = store
        self._budgets = budgets
        self._clock = clock
        self._ids = ids
        self._promised: dict[RunId, list[Reservation]] = {}  # reservations of submitted questions

    async def open(self, order: RunOrder, batches: Batches, budget: RunBudget) -> "Collection | None":
        """Return the collection of a run's questions, or None if they are to be asked directly.

        Questions are asked directly once the run's own batches are complete.

        Raises:
            BatchPending: the run has a batch that is not complete; its files need not be read yet.
            ModelUnavailable: the provider did not answer about the state of a batch.
        """
        rows = await self._store.read(runs_model_batches.batches_of, order.run_id)
        open_rows = [row for row in rows if row.state in ("made", "submitted")]
        waiting = [row for row in open_rows if not await self._is_over(order, batches, row)]
        rows = await self._store.read(runs_model_batches.batches_of, order.run_id)
        if waiting:
            questions = sum(len(row.questions) for row in waiting)
            raise BatchPending(
                f"{questions} questions were handed in as a batch and are not answered yet",
                wait_s=self.wait_s(waiting),
            )
        await self._release(order.run_id)
        if rows:
            return None
        left: list[BatchRow] = []  # incomplete batches of earlier runs of the same agent
        for row in await self._store.read(runs_model_batches.left_behind, order.agent_id):
            if await self._is_over(order, batches, row):
                await self._release(row.run_id)
            else:
                left.append(row)
        return Collection(self, order, batches, budget, left)

    async def _release(self, run_id: RunId) -> None:
        await Reservation.release(self._promised.pop(run_id, []))

    def wait_s(self, waiting: list[BatchRow]) -> float:
        """Return the seconds until the next check of a batch, longer for older batches."""
        age_s = (now_ms(self._clock) - waiting[0].created_at) / 1_000
        return min(MAX_WAIT_S, max(MIN_WAIT_S, age_s / 4))

    async def _is_over(self, order: RunOrder, batches: Batches, row: BatchRow) -> bool:
        """Check a batch. Return True if it is complete, with its answers in the journal."""
        remote_id = row.remote_id
        try:
            if remote_id is None:
                remote_id = await batches.find(row.id)
                if remote_id is None:  # it was never submitted
                    await self._store.write(runs_model_batches.drop_batch, row.id)
                    return True
                await self._move(row.id, "submitted", remote_id=remote_id)
            result = await batches.check(remote_id)
        except ModelExhausted:
            return False  # rate limit on batch requests; checked again after the same wait
        except ModelRefused as exc:
            log.warning("batch.refused", detail=str(exc))
            await self._move(row.id, "failed")
            return True
        if not result.is_done:
            return False
        await self._store_result(order, row, result)
        await batches.discard(remote_id)
        return True

    async def _store_result(self, order: RunOrder, row: BatchRow, result: BatchResult) -> None:
        calls = iter(
            (
                self._call(order, row, question, answer),
                JournaledAnswer(model=answer.model, finish=answer.finish, text=answer.text),
            )
            for question, answer in result.answers.items()
            if question in row.questions
        )
        while part := list(islice(calls, _AT_ONCE)):
            await self._store.write(runs_model_answers.record_answers, part)
        await self._move(row.id, "done")
        log.info("batch.done", answers=len(result.answers), failed=len(result.failed))

    def _call(self, order: RunOrder, row: BatchRow, question: str, answer: ModelAnswer) -> ModelCall:
        usage = answer.usage
        return ModelCall(
            id=self._ids.fresh(),
            at=now_ms(self._clock),
            agent_id=order.agent_id,
            user_id=order.user_id,
            run_id=row.run_id,
            unit_key=row.questions[question],
            question=question,
            model=answer.model or row.model,
            outcome=schema.ANSWERED,
            usage=usage,
            took_ms=max(0, now_ms(self._clock) - row.created_at),
        )

    async def hand_in(
        self,
        order: RunOrder,
        batches: Batches,
        model: str,
        noted: dict[str, tuple[str, ModelRequest]],
        reservations: list[Reservation],
    ) -> None:
        """Submit collected questions in parts that fit a batch.

        Args:
            noted: unit key and request of each question, by the question's key.
            reservations: budget reservations of the questions, held until the batches are complete.

        Raises:
            ModelUnavailable, ModelExhausted: the batch may or may not have been submitted; ``open`` finds
            out.
        """
        self._promised.setdefault(order.run_id, []).extend(reservations)
        for part in _parts(noted):
            id = self._ids.fresh()
            await self._store.write(
                runs_model_batches.make_batch,
                id=id,
                agent_id=order.agent_id,
                run_id=order.run_id,
                model=model,
                questions={question: unit_key for question, (unit_key, _) in part.items()},
                at=now_ms(self._clock),
            )
            try:
                remote_id = await batches.submit(
                    {question: request for question, (_, request) in part.items()}, key=id
                )
            except ModelRefused as exc:
                log.warning("batch.refused", detail=str(exc))
                await self._move(id, "failed")  # its questions are asked directly
            else:
                await self._move(id, "submitted", remote_id=remote_id)
                log.info("batch.submitted", questions=len(part))

    async def _move(self, id: str, state: BatchState, *, remote_id: str | None = None) -> None:
        await self._store.write(
            runs_model_batches.move_batch, id, state, now_ms(self._clock), remote_id=remote_id
        )


class Collection:
    """Questions that one attempt of a run collects for a batch.

    Args:
        left: incomplete batches of earlier runs; their questions are not submitted again.

    Attributes:
        units: keys of the units whose items are incomplete until the batch is answered.
    """

    def __init__(
        self,
        batching: Batching,
        order: RunOrder,
        batches: Batches,
        budget: RunBudget,
        left: list[BatchRow],
    ) -> None:
        self._batching = batching
        self._order = order
        self._batches = batches
        self._budget = budget
        self._left = left
        self._awaited = {question for row in left for question in row.questions}
        self._is_awaiting = False
        self._model = ""
        self._noted: dict[str, tuple[str, ModelRequest]] = {}
        self._reservations: list[Reservation] = []
        self._bytes = 0
        self._has_handed_in = False
        self.is_out_of_budget = False  # the day's budget covers no further question before the day ends
        self.units: set[str] = set()

    async def note(
        self, model: str, price: Price, unit_key: str, question: str, request: ModelRequest
    ) -> ModelAnswer:
        """Collect a question and return an empty answer, because its unit is planned after the batch.

        Raises:
            BudgetReached, DayBudgetReached: the budget does not cover the question.
        """
        self.units.add(unit_key)
        if question in self._awaited:
            self._is_awaiting = True
        elif question not in self._noted:
            half = Price(price.prompt_nanos // 2, price.completion_nanos // 2)
            try:
                reservation = await self._budget.reserve(model, request, half)
            except DayBudgetReached:
                self.is_out_of_budget = True
                raise
            self._reservations.append(reservation)  # released even if the database fails now
            await reservation.promise()
            self._model = model
            self._noted[question] = unit_key, request
            self._bytes += sum(len(message.content) for message in request.messages)
        return ModelAnswer(text=_NOTHING_FOUND, finish=Finish.WHOLE, usage=Usage())

    @property
    def is_full(self) -> bool:
        """True if the collected questions should be submitted before more units are read."""
        return self._bytes >= _NOTED_BYTES

    async def hand_in(self) -> None:
        """Submit the questions collected since the last submission, if any."""
        noted, reservations = self._noted, self._reservations
        self._noted, self._reservations, self._bytes = {}, [], 0
        if noted:
            self._has_handed_in = True
            await self._batching.hand_in(self._order, self._batches, self._model, noted, reservations)

    async def finish(self) -> None:
        """Submit the remaining questions after all files were read.

        Raises:
            BatchPending: some units wait for the answers of a batch.
        """
        await self.hand_in()
        if self._has_handed_in:
            raise BatchPending("its questions were handed in as a batch", wait_s=MIN_WAIT_S)
        if self._is_awaiting:
            raise BatchPending(
                "its questions are in a batch of an earlier run", wait_s=self._batching.wait_s(self._left)
            )

    async def drop(self) -> None:
        """Release the reservations of the unsubmitted questions when an attempt ends early."""
        reservations, self._noted, self._reservations = self._reservations, {}, []
        await Reservation.release(reservations)


def _parts(
    noted: dict[str, tuple[str, ModelRequest]],
) -> Iterator[dict[str, tuple[str, ModelRequest]]]:
    """Split *noted* into parts that fit a batch."""
    questions = iter(noted.items())
    while part := dict(islice(questions, BATCH_REQUESTS)):
        yield part
