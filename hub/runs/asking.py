"""Questions of a run to a model: stored answer, budget, then the model; whether a run may still ask.

Each question passes, in this order: the journal of the agent's answers, the budgets, the model. One
transaction then stores the answer and its cost before the answer is used. So after a crash only the questions
that were in flight are repeated. Every token is counted once, including those of failed attempts.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Final

import anyio
import msgspec

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.metrics import Metrics
from hub.document import Document
from hub.extraction.answers import is_whole
from hub.extraction.model import (
    Finish,
    LanguageModel,
    ModelAnswer,
    ModelError,
    ModelRefused,
    ModelRequest,
    Models,
    ModelUnavailable,
)
from hub.extraction.transcription import Recording, recording_of
from hub.runs.batches import MIN_WAIT_S, Batching, BatchPending, Collection
from hub.runs.budget import Budgets, RunBudget
from hub.runs.model_gates import ModelGate, ModelGates, NotRefused
from hub.runs.run_order import RunOrder
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, RunId
from protocol.work import Usage
from storage import schema
from storage.agents import agents
from storage.agents.configs import ModelUse
from storage.runs import model_answers as runs_model_answers
from storage.runs import model_calls
from storage.runs.model_answers import JournaledAnswer
from storage.runs.model_calls import ModelCall
from storage.store import Store

NOTHING_SPENT: Final = Usage()


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
    if (made.allow_cloud and not now.allow_cloud) or {
        (rule.name, rule.regex) for rule in now.redact
    } - hidden:
        raise NoModel(
            "its agent keeps more from models by now (allow_cloud, redact) than when this run was made: "
            "start a new run"
        )


class Asking:
    """Access of runs to *models*, through the journal, the budgets and the gates.

    Args:
        on_back: called when runs that waited for a model may resume.
        on_released: called after the last attempt with replaced models has ended.

    Attributes:
        in_use: number of attempts of runs that began with these models, and have not ended.
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
        on_back: Callable[[], None] = lambda: None,
        on_released: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.models = models
        self.budgets = budgets
        self.clock = clock
        self.ids = ids
        self.answers_known = metrics.model_answers_known
        self.batching = Batching(store, budgets=budgets, clock=clock, ids=ids)
        self.gates = ModelGates(models, clock=clock, on_back=on_back)
        self.in_use: Counter[Models] = Counter()
        self.on_released = on_released
        self._asked_now: dict[tuple[AgentId, str], anyio.Lock] = {}

    def use(self, models: Models) -> None:
        """Ask other models from the next attempt of a run on; attempts under way keep theirs."""
        self.models = models
        self.gates.use(models)

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
            async with self._closing_gate():
                await self.collection.finish()

    async def make_room(self) -> None:
        """Submit the collected questions if they take too much memory, before another unit is read.

        Raises:
            ModelUnavailable, ModelExhausted: the batch could not be submitted.
        """
        if self.collection is not None and self.collection.is_full:
            async with self._closing_gate():
                await self.collection.hand_in()

    @asynccontextmanager
    async def _closing_gate(self) -> AsyncIterator[None]:
        """Close the model's gate if a batch cannot be submitted, and no question is answered, either."""
        try:
            yield
        except ModelUnavailable as exc:
            if known := await self.gate.ask_control(exc):
                raise BatchPending(f"{exc}{known}", wait_s=MIN_WAIT_S) from exc
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
        await store.write(runs_model_answers.forget_answers, agent_id, frozenset(questions))


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
        request = self._asking.budgets.densities.with_room(self.name, request)
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
        found = await store.read(runs_model_answers.find_answer, agent_id, question, at)
        if found is None:
            return None
        stored, is_due = found
        if is_due:
            await store.write(runs_model_answers.touch_answer, agent_id, question, at)
        self._asking.answers_known.inc()
        self._unit.run.known += 1
        return ModelAnswer(
            text=stored.text, finish=Finish(stored.finish), usage=NOTHING_SPENT, model=stored.model
        )

    async def _note_or_ask(self, question: str, request: ModelRequest) -> ModelAnswer:
        if (collection := self._unit.run.collection) is not None:
            request = msgspec.structs.replace(request, user=str(self._order.user_id))
            return await collection.note(self.name, self.price, self._unit.unit_key, question, request)
        while True:
            with suppress(NotRefused):
                return await self._ask(question, request, self._unit.run.gate.asking(self._unit.unit_key))

    async def _ask(
        self, question: str, request: ModelRequest, asking: AbstractAsyncContextManager[None]
    ) -> ModelAnswer:
        request = msgspec.structs.replace(request, user=str(self._order.user_id))
        reservation = await self._unit.run.budget.reserve(self.name, request, self.price)
        began = self._asking.clock.monotonic()
        async with reservation.held() as spend:
            try:
                async with asking:
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
            self._asking.budgets.densities.learn(self.name, request, answer)
            call = self._call(question, answer.model or self.name, schema.ANSWERED, answer.usage, began)
            journaled = JournaledAnswer(model=call.model, finish=answer.finish, text=answer.text)
            # Shielded: the answer is paid for, even if the run is being cancelled.
            with anyio.CancelScope(shield=True):
                await self._asking.store.write(runs_model_answers.record_answer, call, journaled)
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
