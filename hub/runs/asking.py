"""Questions of a run to a model: journal, paid call, batch and when it is checked, gates of models.

Each question passes, in this order: the journal of the agent's answers, the budgets, the model. One
transaction then stores the answer and its cost before the answer is used. So after a crash only the questions
that were in flight are repeated. Every token is counted once, including those of failed attempts.

Gates in front of models: closed while a model does not answer, and opened by a cheap probe. A question
without an answer after all attempts closes its model's gate, unless another question was answered in the
meantime. While a gate is closed, no question is asked. Rules still extract items, and runs wait for the rest
as rows (PAUSED, ``model_away``).

As long as runs wait, the model's endpoints are probed for their list of models. The waiting runs are in the
database. The state of a gate is lost in a restart, and the first probe is then made at once.

Batches: the first questions of a run, submitted together at half the price.

Used for agents whose results may be late. A run reads its files once, collects its questions and submits
them. It returns to the queue until the answers are journaled: a batch is checked after 30 s, and more rarely
with its age, at least every half hour. The run then reads its files again.

Questions that no batch answers, and questions that follow from an answer, are asked directly. The state of a
batch is written before and after its submission, so no batch is submitted twice after a crash.
"""

import hashlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from itertools import islice
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import Rounds
from hub.document import Document
from hub.extraction.answers import is_whole
from hub.extraction.circuit_breaker import OPEN
from hub.extraction.model import (
    BATCH_REQUESTS,
    Batches,
    BatchResult,
    Finish,
    LanguageModel,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    Models,
    ModelUnavailable,
    Price,
)
from hub.extraction.transcription import Recording, recording_of
from hub.runs.budget import Budgets, DayBudgetReached, Reservation, RunBudget
from hub.runs.run_order import RunOrder
from protocol.errors import Backoff, ErrorCode, HubError
from protocol.ids import AgentId, RunId
from protocol.work import Usage
from storage import schema
from storage.agents import agents
from storage.agents.configs import ModelUse
from storage.runs import model_calls
from storage.runs.model_calls import BatchRow, BatchState, JournaledAnswer, ModelCall
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
        rows = await self._store.read(model_calls.batches_of, order.run_id)
        open_rows = [row for row in rows if row.state in ("made", "submitted")]
        waiting = [row for row in open_rows if not await self._is_over(order, batches, row)]
        rows = await self._store.read(model_calls.batches_of, order.run_id)
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
        for row in await self._store.read(model_calls.left_behind, order.agent_id):
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
                    await self._store.write(model_calls.drop_batch, row.id)
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
        await self._take(order, row, result)
        await batches.discard(remote_id)
        return True

    async def _take(self, order: RunOrder, row: BatchRow, result: BatchResult) -> None:
        calls = iter(
            (
                self._call(order, row, question, answer),
                JournaledAnswer(model=answer.model, finish=answer.finish, text=answer.text),
            )
            for question, answer in result.answers.items()
            if question in row.questions
        )
        while part := list(islice(calls, _AT_ONCE)):
            await self._store.write(model_calls.record_answers, part)
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
                model_calls.make_batch,
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
        await self._store.write(model_calls.move_batch, id, state, now_ms(self._clock), remote_id=remote_id)


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


NOTHING_SPENT: Final = Usage()


PROBE: Final = Backoff(base_s=5.0, cap_s=60.0)  # while probes fail
RELEASE: Final = OPEN  # while probes succeed but questions fail: 30 s to 10 min
POLL_S: Final = 1.0


class ModelGate:
    """Gate in front of one model.

    Attributes:
        away: reason why no question is asked; None while questions are asked.
    """

    def __init__(self, model: LanguageModel, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self.away: str | None = None
        self._answers = 0
        self._asking: set[anyio.CancelScope] = set()
        self._is_awaited = self._is_released = False
        self._due = 0.0  # monotonic time of the next probe
        self._probes = self._releases = 0  # attempts since the last success, of probes and of questions

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Track one question inside the block; cancel it if the gate closes meanwhile.

        Raises:
            ModelUnavailable: the gate is closed, or was closed while the question waited.
        """
        if self.away is not None:
            raise ModelUnavailable(self.away)
        answers = self._answers
        with anyio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                yield
            except ModelUnavailable as exc:
                self._asking.discard(scope)
                if self._answers == answers:
                    self.close(str(exc))
                raise
            except ModelError:  # a refusal proves that the model answers, and must reach the caller
                self._answered()
                raise
            else:
                self._answered()
            finally:
                self._asking.discard(scope)
        if scope.cancelled_caught:
            raise ModelUnavailable(self.away or "the model was away")

    def _answered(self) -> None:
        self._answers += 1
        self._probes = self._releases = 0
        self.away = None

    def close(self, why: str) -> None:
        """Ask no question until a probe succeeds. Questions in flight are cancelled."""
        self.away = why
        self._due = max(self._due, self._clock.monotonic() + PROBE.delay(0, 1.0))
        log.warning("model.away", why=why)
        for scope in self._asking:  # each would wait for all its attempts, one after the other
            scope.cancel()

    def try_now(self) -> None:
        """End the delay of the next probe at a person's request, if the model is away."""
        self._due, self._is_awaited = 0.0, self._is_awaited or self.away is not None

    def release(self) -> None:
        """Release the runs that wait for another model."""
        self._is_released = True

    def let_through(self) -> bool:
        """Return True once after each successful probe. Called when runs wait for the model."""
        self._is_awaited = True
        is_released, self._is_released = self._is_released, False
        return is_released

    async def probe(self) -> bool:
        """Probe the model, if runs wait for it and a probe is due. Return True if it answered."""
        if not self._is_awaited or self._clock.monotonic() < self._due:
            return False
        self._is_awaited = False
        wrong = await self._model.reach()
        if wrong is not None:
            self.away = wrong
            self._due = self._clock.monotonic() + PROBE.delay(self._probes, 1.0)
            self._probes += 1
            return False
        log.info("model.back")
        self.away, self._probes, self._is_released = None, 0, True
        self._due = self._clock.monotonic() + RELEASE.delay(self._releases, 1.0)
        self._releases += 1
        return True


class ModelGates:
    """Gates in front of all models of a hub.

    Attributes:
        on_back: called when runs may resume.
    """

    def __init__(self, models: Models, *, clock: Clock) -> None:
        self.turns = Rounds(clock)
        self.on_back: Callable[[], None] = lambda: None
        self._clock = clock
        self._gates = self._made(models)

    def _made(self, models: Models) -> dict[bool, ModelGate]:
        return {
            allow_cloud: ModelGate(model, self._clock)
            for allow_cloud in (True, False)
            if (model := models.choose(allow_cloud=allow_cloud)) is not None
        }

    def use(self, models: Models) -> None:
        """Replace the gates by those of other models, and release the runs that wait for the old ones."""
        self._gates = self._made(models)
        for gate in self._gates.values():
            gate.release()
        self.on_back()

    def try_now(self) -> None:
        """Probe the models that are away at once, at a person's request."""
        for gate in self._gates.values():
            gate.try_now()
        self.turns.wake()

    def find(self, *, allow_cloud: bool) -> ModelGate | None:
        """Return the gate of the model used with this setting, or None if no model fits."""
        return self._gates.get(allow_cloud)

    def away(self, *, allow_cloud: bool) -> str | None:
        """Return why the model is not asked; None if it is asked, or if no model fits."""
        gate = self._gates.get(allow_cloud)
        return None if gate is None else gate.away

    def let_through(self, allow_cloud: bool) -> bool:
        """Return ``ModelGate.let_through``; True without a model, because runs then use rules only."""
        self.turns.wake()
        gate = self._gates.get(allow_cloud)
        return gate is None or gate.let_through()

    async def probe(self) -> None:
        """Probe each model that runs wait for, if a probe is due."""
        backs = [await gate.probe() for gate in self._gates.values()]
        if any(backs):
            self.on_back()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        task_status.started()
        await self.turns.serve(self.probe, of="model gates", every_s=math.inf, least_s=POLL_S)


def question_of(model: str, request: ModelRequest) -> str:
    """Return the journal key of a question: 64 hex characters over the model's name and the request."""
    return hashlib.sha256(f"{model}\n{request.digest}".encode()).hexdigest()


class NoModel(HubError):
    """The run's agent may use local models only, and none is configured; its files must not be read."""

    code = ErrorCode.MODEL_REFUSED


def model_for(models: Models, *, allow_cloud: bool) -> LanguageModel | None:
    """Return the model of an agent, or None if no model is configured and only rules extract items.

    Raises:
        NoModel: the agent may not use any of the configured models.
    """
    chosen = models.choose(allow_cloud=allow_cloud)
    if chosen is None and models.anywhere is not None:
        raise NoModel(
            "allow_cloud = false keeps this agent to local models, and there is none; name a local "
            "endpoint in [model] or [[fallback_models]], or write private = true there"
        )
    return chosen


def check_still_allowed(order: RunOrder, now: ModelUse) -> None:
    """Check that a run's parameters hide at least as much from models as its agent's current settings.

    A run otherwise keeps the parameters with which it was created.

    Raises:
        NoModel: the agent has since forbidden cloud models, or has new redaction rules.
    """
    made = order.settings
    hidden = {(rule.name, rule.regex) for rule in made.redact}
    if (made.allow_cloud and not now.allow_cloud) or {(one.name, one.regex) for one in now.redact} - hidden:
        raise NoModel(
            "its agent keeps more from models by now (allow_cloud, redact) than when this run was made: "
            "start a new run"
        )


class Asking:
    """Access of runs to *models*, through the journal, the budgets and the gates.

    Attributes:
        in_use: number of attempts of runs that began with these models, and have not ended.
        on_released: called after the last such attempt has ended.
    """

    def __init__(
        self,
        store: Store,
        *,
        models: Models,
        budgets: Budgets,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.models = models
        self.budgets = budgets
        self.clock = clock
        self.ids = ids
        self.answers_known = metrics.model_answers_known
        self.batching = Batching(store, budgets=budgets, clock=clock, ids=ids)
        self.gates = ModelGates(models, clock=clock)
        self.in_use: Counter[Models] = Counter()
        self.on_released: Callable[[], None] = lambda: None
        self._asked_now: dict[tuple[AgentId, str], anyio.Lock] = {}

    def use(self, models: Models) -> None:
        """Ask other models from the next attempt of a run on; attempts under way keep theirs."""
        self.models = models
        self.gates.use(models)

    def has_model(self, order: RunOrder) -> bool:
        """Return True if a model is available to the run; otherwise only rules extract items."""
        return self.models.choose(allow_cloud=order.settings.allow_cloud) is not None

    def away(self, order: RunOrder) -> str | None:
        """Return why the gate of the run's model is closed, or None if it is open."""
        return self.gates.away(allow_cloud=order.settings.allow_cloud)

    async def open(self, order: RunOrder) -> "RunAsking":
        """Return the access to models for one attempt of a run.

        Raises:
            NoModel: the agent may not use any configured model, or may not use it with the run's parameters.
            BatchPending: the run's questions were submitted as a batch that is not answered yet.
            ModelUnavailable: the state of the batch is unknown, because the provider did not answer.
        """
        agent = await self.store.read(agents.get_agent, order.agent_id)
        check_still_allowed(order, agent.model_use)
        budget = await self.budgets.open(order)
        asking = RunAsking(self, order, budget)
        chosen = model_for(asking.models, allow_cloud=order.settings.allow_cloud)
        batches = asking.models.choose_batches(allow_cloud=order.settings.allow_cloud)
        if order.settings.batch and batches is not None and chosen is not None and not chosen.is_literal:
            asking.collection = await self.batching.open(order, batches, budget)
        return asking

    async def open_preview(self, order: RunOrder, models: Models | None) -> "RunAsking":
        """Return the access to models for a preview, which has no row: its cost is the agent's alone.

        Args:
            models: models to try; None: those of runs.

        Raises:
            NoModel: the agent may not use any of these models.
        """
        budget = await self.budgets.open(order)
        model = model_for(models or self.models, allow_cloud=order.settings.allow_cloud)
        asking = RunAsking(self, order, budget)
        asking.run_id = None
        if models is not None and model is not None:
            asking.models = models
            asking.gate_of_model = ModelGate(model, self.clock)  # its failures do not stop runs
        return asking

    @asynccontextmanager
    async def alone(self, agent_id: AgentId, question: str) -> AsyncIterator[None]:
        """Hold the lock of a question, so that a concurrent repeat finds the answer in the journal."""
        key = (agent_id, question)
        lock = self._asked_now.setdefault(key, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._asked_now.pop(key, None)


class RunAsking:
    """Access of one attempt of a run to models.

    Attributes:
        models: models in use when the attempt began, or those that a preview tries.
        run_id: the run that its questions are counted for, if there is one.
        spent, known: cost of its questions, and number of those that the journal answered.
        collection: collects the questions for a batch instead of asking them directly, if not None.
    """

    def __init__(self, asking: Asking, order: RunOrder, budget: RunBudget) -> None:
        self.asking = asking
        self.order = order
        self.budget = budget
        self.collection: Collection | None = None
        self.models = self._of_runs = asking.models
        self.run_id: RunId | None = order.run_id
        self.spent = NOTHING_SPENT
        self.known = 0
        self.gate_of_model = asking.gates.find(allow_cloud=order.settings.allow_cloud)

    @property
    def can_transcribe(self) -> bool:
        """True if recordings of the run can be converted to text."""
        return self.models.choose_transcriber(allow_cloud=self.order.settings.allow_cloud) is not None

    async def finish(self) -> None:
        """Submit the remaining questions of the batch after all units were read.

        Raises:
            BatchPending: some units wait for the answers of a batch.
            ModelUnavailable, ModelExhausted: the batch could not be submitted.
        """
        if self.collection is not None:
            with self._closing_gate():
                await self.collection.finish()

    async def make_room(self) -> None:
        """Submit the collected questions if they take too much memory, before another unit is read.

        Raises:
            ModelUnavailable, ModelExhausted: the batch could not be submitted.
        """
        if self.collection is not None and self.collection.is_full:
            with self._closing_gate():
                await self.collection.hand_in()

    @contextmanager
    def _closing_gate(self) -> Iterator[None]:
        """Close the model's gate if a batch cannot be submitted, as for a question without an answer."""
        try:
            yield
        except ModelUnavailable as exc:
            self.gate.close(str(exc))
            raise

    @property
    def gate(self) -> ModelGate:
        """The gate of the run's model, which the run must have."""
        assert self.gate_of_model is not None
        return self.gate_of_model

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Release the budget reservations of unsubmitted questions when the attempt ends.

        If the day's budget ran out, the questions that it did cover are submitted instead. Otherwise they
        would be collected anew the next day, and the run would never make progress.
        """
        collection, asking = self.collection, self.asking
        asking.in_use[self._of_runs] += 1
        try:
            yield
        except Exception:
            if collection is not None and collection.is_out_of_budget:
                await collection.hand_in()
            raise
        finally:
            asking.in_use[self._of_runs] -= 1
            if not asking.in_use[self._of_runs]:
                del asking.in_use[self._of_runs]
                asking.on_released()
            if collection is not None:
                await collection.drop()

    def about(self, unit_key: str) -> "UnitAsking":
        """Return the access to models for the questions about one unit."""
        return UnitAsking(self, unit_key)


class UnitAsking:
    """Access to models for the questions about one unit of a run.

    Attributes:
        asked: keys of the questions asked so far.
        useless: keys of the questions whose answers were truncated or cannot be parsed.
    """

    def __init__(self, run: RunAsking, unit_key: str) -> None:
        self.run = run
        self.unit_key = unit_key
        self.asked: set[str] = set()
        self.useless: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """True if answers about the unit come with a batch, so that its items are not complete yet."""
        collection = self.run.collection
        return collection is not None and self.unit_key in collection.units

    def through(self, model: LanguageModel) -> LanguageModel:
        """Return *model* behind the journal and the budget."""
        return RunModel(model, self)

    async def transcribed(self, document: Document) -> Document:
        """Return a document that is a recording with its words as text.

        Raises:
            ModelError: as ``RunModel.answer``; ModelRefused also if the agent may use no transcriber.
        """
        allow_cloud = self.run.order.settings.allow_cloud
        transcriber = self.run.models.choose_transcriber(allow_cloud=allow_cloud)
        if transcriber is None:
            raise ModelRefused(
                "this agent may use no [transcription] of hub.toml, so recordings are not read"
            )
        text = await RunModel(transcriber, self).transcribe(recording_of(document))
        return msgspec.structs.replace(document, text=text, recording=None)

    async def forget(self, questions: set[str]) -> None:
        """Delete the journaled answers to *questions* about this unit, so that the next run asks again."""
        store, agent_id = self.run.asking.store, self.run.order.agent_id
        await store.write(model_calls.forget_answers, agent_id, frozenset(questions))


class RunModel:
    """A ``LanguageModel`` whose answers are journaled, charged to budgets and counted."""

    def __init__(self, model: LanguageModel, unit: UnitAsking) -> None:
        self.name, self.price, self.reach = model.name, model.price, model.reach
        self.chunk_tokens, self.in_flight, self.is_literal = (
            model.chunk_tokens,
            model.in_flight,
            model.is_literal,
        )
        self._model = model
        self._unit = unit
        self._asking = unit.run.asking
        self._order = unit.run.order

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Implement ``LanguageModel.answer``. An answer from the journal costs nothing.

        Raises:
            BudgetReached, DayBudgetReached: the budget does not cover the question; it was not asked.
            StorageError: the model answered, but the answer could not be stored.
        """
        question = question_of(self.name, request)
        self._unit.asked.add(question)
        async with self._asking.alone(self._order.agent_id, question):
            answer = await self._journaled(question) or await self._note_or_ask(question, request)
        if answer.refusal:  # the same question would have the same answer, and cost as much again
            self._unit.asked.discard(question)
        elif answer.finish is not Finish.WHOLE or not is_whole(answer.text):
            self._unit.useless.add(question)
        return answer

    async def transcribe(self, request: Recording) -> str:
        """Return the words of a recording. They stay in the journal, even if their extraction fails.

        Raises ``ModelError`` as ``answer`` does.
        """
        question = question_of(self.name, request)
        async with self._asking.alone(self._order.agent_id, question):
            answer = await self._journaled(question) or await self._ask(question, request, nullcontext())
        return answer.text

    async def _journaled(self, question: str) -> ModelAnswer | None:
        store, agent_id, at = self._asking.store, self._order.agent_id, now_ms(self._asking.clock)
        found = await store.read(model_calls.find_answer, agent_id, question, at)
        if found is None:
            return None
        stored, is_due = found
        if is_due:
            await store.write(model_calls.touch_answer, agent_id, question, at)
        self._asking.answers_known.inc()
        self._unit.run.known += 1
        return ModelAnswer(
            text=stored.text, finish=Finish(stored.finish), usage=NOTHING_SPENT, model=stored.model
        )

    async def _note_or_ask(self, question: str, request: ModelRequest) -> ModelAnswer:
        if (collection := self._unit.run.collection) is not None:
            request = msgspec.structs.replace(request, user=str(self._order.user_id))
            return await collection.note(self.name, self.price, self._unit.unit_key, question, request)
        return await self._ask(question, request, self._unit.run.gate.asking())

    async def _ask(
        self, question: str, request: ModelRequest, asking: AbstractContextManager[None]
    ) -> ModelAnswer:
        request = msgspec.structs.replace(request, user=str(self._order.user_id))
        reservation = await self._unit.run.budget.reserve(self.name, request, self.price)
        began = self._asking.clock.monotonic()
        async with reservation.held() as spend:
            try:
                with asking:
                    answer = await self._model.answer(request)
            except ModelError as exc:
                if exc.spent != NOTHING_SPENT:
                    spend(exc.spent)
                    self._unit.run.spent += exc.spent
                    call = self._call(question, self.name, str(exc.code), exc.spent, began)
                    with anyio.CancelScope(shield=True):
                        await self._asking.store.write(model_calls.record_call, call)
                raise
            spend(answer.usage)
            self._unit.run.spent += answer.usage
            self._asking.budgets.densities.learn(self.name, request, answer.usage)
            call = self._call(question, answer.model or self.name, schema.ANSWERED, answer.usage, began)
            journaled = JournaledAnswer(model=call.model, finish=answer.finish, text=answer.text)
            # Shielded: the answer is paid for, even if the run is being cancelled.
            with anyio.CancelScope(shield=True):
                await self._asking.store.write(model_calls.record_answer, call, journaled)
        return answer

    def _call(self, question: str, model: str, outcome: str, spent: Usage, began: float) -> ModelCall:
        return ModelCall(
            id=self._asking.ids.fresh(),
            at=now_ms(self._asking.clock),
            agent_id=self._order.agent_id,
            user_id=self._order.user_id,
            run_id=self._unit.run.run_id,
            unit_key=self._unit.unit_key,
            question=question,
            model=model,
            outcome=outcome,
            usage=spent,
            took_ms=round((self._asking.clock.monotonic() - began) * 1000),
        )
