"""Gates of models: runs wait while a model does not answer, until a probe succeeds.

After a question without an answer, the gate asks the model one of its own, about no text. The gate closes if
that one has no answer, either; otherwise the fault is that of one text, which fails alone. While a gate is
closed, no question is asked. Rules still extract items, and runs wait for the rest as rows (PAUSED,
``model_away``).

A refusal for a rate limit, for lack of quota or of the access is that of one text likewise. If the question
about no text is refused, too, or several texts in a row are, a run with a used-up quota pauses.

As long as runs wait, the model's endpoints are probed for their list of models. The waiting runs are in the
database. The state of a gate is lost in a restart, and the first probe is then made at once.
"""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.extraction.circuit_breaker import FAILURES, OPEN
from hub.extraction.model import (
    LanguageModel,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    Models,
    ModelUnavailable,
    OddAnswer,
    PromptMessage,
)
from protocol.backoff import Backoff
from protocol.errors import ErrorCode

log = Channel(__name__)

PROBE: Final = Backoff(base_s=5.0, cap_s=60.0)  # while probes fail

RELEASE: Final = OPEN  # while probes succeed but questions fail: 30 s to 10 min

POLL_S: Final = 1.0

CONTROL: Final = ModelRequest(  # costs some 20 tokens
    messages=(
        PromptMessage("system", "Answer with one JSON object."),
        PromptMessage("user", 'Answer {"items": []}.'),
    ),
    schema={
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"type": "string"}}},
        "required": ["items"],
        "additionalProperties": False,
    },
    max_tokens=16,
    is_control=True,
)


class NotAsked(ModelUnavailable):
    """The gate is closed, or was closed while the question waited: the fault is not that of its text."""


class NotRefused(ModelError):
    """The question waited because of the quota of another text alone: it is asked now."""

    code = ErrorCode.MODEL_EXHAUSTED


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
        self._controlling = anyio.Lock()
        self._refused: set[str] = set()  # texts refused for their quota since the last answer about a text
        self._is_refused = False  # the question about no text, since the last answer
        self._is_awaited = self._is_released = False
        self._due = 0.0  # monotonic time of the next probe
        self._probes = self._releases = 0  # attempts since the last success, of probes and of questions

    @asynccontextmanager
    async def asking(self, unit_key: str = "") -> AsyncIterator[None]:
        """Track one question inside the block; cancel it if the gate closes meanwhile.

        Args:
            unit_key: of the text that it is about.

        Raises:
            NotAsked: the gate is closed, or was closed while the question waited.
            NotRefused: it was not asked, and may be now.
            ModelUnavailable: neither this question nor the one about no text has an answer.
            ModelExhausted: the question about no text was refused by a rate limit, for example.
            ModelRefused: the question about no text has no answer, either.
            OddAnswer: the model answers, but not about this text.
        """
        if self.away is not None:
            raise NotAsked(self.away)
        answers = self._answers
        with anyio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                yield
            except ModelError as exc:
                self._asking.discard(scope)
                is_known = isinstance(exc, ModelExhausted) and exc.is_known
                if isinstance(exc, ModelExhausted) and not is_known and unit_key not in self._refused:
                    self._refused.add(unit_key)
                    if len(self._refused) >= FAILURES:  # the question about no text may be too small a proof
                        raise
                if not isinstance(exc, OddAnswer):
                    answers = self._answers  # those before it failed prove nothing
                others = await self.ask_control(exc, since=answers)
                if is_known:
                    raise NotRefused(str(exc), spent=exc.spent) from None
                kind = OddAnswer if others else ModelUnavailable
                raise kind(f"{exc.observed}{others}", spent=exc.spent) from None
            else:
                self._refused.clear()
                self._answered()
            finally:
                self._asking.discard(scope)
        if scope.cancelled_caught:
            raise NotAsked(self.away or "the model was away")

    async def ask_control(self, error: ModelError, *, since: int | None = None) -> str:
        """Ask the question about no text, unless another one was answered. Close the gate without an answer.

        Returns:
            what is known of other questions, in words that follow *error*; empty if the gate is closed.

        Args:
            error: about the text; the costs of the control are added to its own.
            since: number of answers, any further one of which proves it; None: those so far.

        Raises:
            ModelExhausted: it cannot be known before the endpoint takes questions again.
            ModelRefused: *error*, without another proof.
        """
        answers = self._answers if since is None else since
        async with self._controlling:
            if self.away is None and self._answers == answers:
                if isinstance(error, ModelExhausted) and error.is_known:
                    raise error
                if isinstance(error, ModelRefused) and self._is_refused:
                    raise error
                try:
                    error.spent += (await self._model.answer(CONTROL)).usage
                    self._answered()
                except ModelError as exc:
                    error.spent += exc.spent
                    match exc:
                        case _ if self._answers != answers:  # another question was answered meanwhile
                            pass
                        case _ if isinstance(error, ModelExhausted | ModelRefused):
                            self._is_refused = True
                            raise error from None
                        case ModelExhausted():
                            exc.spent = error.spent
                            raise
                        case ModelUnavailable() | OddAnswer():
                            self.close(str(exc))
                        case _:  # a refusal keeps no run waiting, and is not the fault of one text
                            return f"; of a question about no text: {exc}"
            return "" if self.away else ", though it answers other questions"

    def _answered(self) -> None:
        self._answers += 1
        self._is_refused = False
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

    Args:
        on_back: called when runs may resume.
    """

    def __init__(self, models: Models, *, clock: Clock, on_back: Callable[[], None] = lambda: None) -> None:
        self.loop = PeriodicLoop(clock)
        self._on_back = on_back
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
        self._on_back()

    def try_now(self) -> None:
        """Probe the models that are away at once, at a person's request."""
        for gate in self._gates.values():
            gate.try_now()
        self.loop.wake()

    def find(self, *, allow_cloud: bool) -> ModelGate | None:
        """Return the gate of the model used with this setting, or None if no model fits."""
        return self._gates.get(allow_cloud)

    def away(self, *, allow_cloud: bool) -> str | None:
        """Return why the model is not asked; None if it is asked, or if no model fits."""
        gate = self._gates.get(allow_cloud)
        return None if gate is None else gate.away

    def let_through(self, allow_cloud: bool) -> bool:
        """Return ``ModelGate.let_through``; True without a model, because runs then use rules only."""
        self.loop.wake()
        gate = self._gates.get(allow_cloud)
        return gate is None or gate.let_through()

    async def probe(self) -> None:
        """Probe each model that runs wait for, if a probe is due."""
        backs = [await gate.probe() for gate in self._gates.values()]
        if any(backs):
            self._on_back()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        task_status.started()
        await self.loop.serve(self.probe, of="model gates", every_s=math.inf, least_s=POLL_S)
