"""The gates before models: closed while a model gives no answers, and opened by a cheap probe.

A question that got no answer after all its tries closes the gate of its model, unless another one
was answered meanwhile. Behind a closed gate nothing is asked: rules read on, and runs wait for the
rest in their rows (PAUSED, ``model_away``). As long as runs wait, the model's endpoints are asked for
their list of models. Which runs wait is in the database; what a gate knows is lost with a restart, and
then the first probe comes at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.extraction.breaker import OPEN
from hub.extraction.model import LanguageModel, ModelError, Models, ModelUnavailable
from hub.log import Channel
from hub.turns import Turns
from protocol.backoff import Backoff

log = Channel(__name__)

PROBE: Final = Backoff(base_s=5.0, cap_s=60.0)  # while probes get no answer
RELEASE: Final = OPEN  # while probes get answers and questions none: 30 s to 10 min
LOOK_S: Final = 1.0


class ModelGate:
    """The gate before one model."""

    def __init__(self, model: LanguageModel, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self._away: str | None = None
        self._answers = 0
        self._asking: set[anyio.CancelScope] = set()
        self._is_awaited = self._is_released = False
        self._due = 0.0  # of the next probe, monotonic
        self._probes = self._releases = 0  # since the last answer, to a probe and to a question

    @property
    def away(self) -> str | None:
        """Why nothing is asked; ``None`` while questions are."""
        return self._away

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask one question inside the block.

        Raises:
            ModelUnavailable: the model is away, or was found to be while the question waited.
        """
        if self._away is not None:
            raise ModelUnavailable(self._away)
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
            except ModelError:  # a refusal is an answer as well: whoever waits is to be told of it
                self._answered()
                raise
            else:
                self._answered()
            finally:
                self._asking.discard(scope)
        if scope.cancelled_caught:
            raise ModelUnavailable(self._away or "the model was away")

    def _answered(self) -> None:
        self._answers += 1
        self._probes = self._releases = 0
        self._away = None

    def close(self, why: str) -> None:
        """Ask nothing before a probe gets an answer; what is being asked is given up."""
        self._away = why
        self._due = max(self._due, self._clock.monotonic() + PROBE.delay(0, 1.0))
        log.warning("model.away", why=why)
        for scope in self._asking:  # each would wait for as many tries, one after the other
            scope.cancel()

    def let_through(self) -> bool:
        """Return True, once after each probe with an answer, to the caller whose runs wait for the model."""
        self._is_awaited = True
        is_released, self._is_released = self._is_released, False
        return is_released

    async def look(self) -> bool:
        """Probe the model, if runs wait for it and it is time. Return True if they may go on."""
        if not self._is_awaited or self._clock.monotonic() < self._due:
            return False
        self._is_awaited = False
        wrong = await self._model.reach()
        if wrong is not None:
            self._away = wrong
            self._due = self._clock.monotonic() + PROBE.delay(self._probes, 1.0)
            self._probes += 1
            return False
        log.info("model.back")
        self._away, self._probes, self._is_released = None, 0, True
        self._due = self._clock.monotonic() + RELEASE.delay(self._releases, 1.0)
        self._releases += 1
        return True


class ModelGates:
    """The gates before all models of a hub. *on_back*: runs may go on."""

    def __init__(self, models: Models, *, clock: Clock) -> None:
        self.turns = Turns(clock)
        self.on_back: Callable[[], None] = lambda: None
        self._clock = clock
        self._gates = {
            allow_cloud: ModelGate(model, clock)
            for allow_cloud in (True, False)
            if (model := models.choose(allow_cloud=allow_cloud)) is not None
        }

    def of(self, *, allow_cloud: bool) -> ModelGate:
        """Return the gate of the model that such an agent uses. Raises KeyError where it has none."""
        return self._gates[allow_cloud]

    def away(self, *, allow_cloud: bool) -> str | None:
        """Why the model of such an agent is not asked; ``None`` while it is, or where there is none."""
        gate = self._gates.get(allow_cloud)
        return None if gate is None else gate.away

    def let_through(self, allow_cloud: bool) -> bool:
        """See ``ModelGate.let_through``. Without a model nothing is waited for: rules read what they can."""
        gate = self._gates.get(allow_cloud)
        return gate is None or gate.let_through()

    async def look(self) -> None:
        """Probe each model that runs wait for, where it is time."""
        backs = [await gate.look() for gate in self._gates.values()]
        if any(backs):
            self.on_back()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        task_status.started()
        while True:
            self.turns.work()
            await self.look()
            self.turns.wait(LOOK_S)
            await self._clock.sleep(LOOK_S)
