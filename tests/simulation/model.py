"""Simulated language model that finds every item, and fails at random."""

import json
import re
from collections.abc import Callable
from typing import Literal

import anyio

from hub.extraction.model import Finish, ModelAnswer, ModelExhausted, ModelRequest, ModelUnavailable, Price
from hub.runs.asking import question_of
from protocol.work import Usage
from tests.simulation.dice import Dice
from tests.simulation.files import MARK, OTHER_WORDS

Mood = Literal["fine", "rate_limit", "billing", "away"]

_TASK = re.compile(r"We must .+?\.(?=\n|$)")
COST = Usage(1, 10, 2)


class SimModel:
    """Implementation of ``LanguageModel``.

    Args:
        on_ask: called before each answer with the path, the number of the edition and the question's key.
    """

    name, chunk_tokens, in_flight, is_literal, price = "simulated", 1_500, 4, False, Price()

    def __init__(self, dice: Dice, on_ask: Callable[[str, int, str], None]) -> None:
        self._dice = dice
        self._on_ask = on_ask
        self.mood: Mood = "fine"
        self.slow = 0.04  # of all answers take long
        self.garbled = 0.01  # of all answers cannot be read
        self.asked = 0
        self.wordings = 0  # it has other words for the same from now on

    def calm(self) -> None:
        """Answer fast and without failures from now on."""
        self.mood = "fine"
        self.slow = self.garbled = 0.0

    async def reach(self) -> str | None:
        """Implement ``LanguageModel.reach``."""
        return "no answer" if self.mood == "away" else None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Implement ``LanguageModel.answer``."""
        self.asked += 1
        # A request for a correction has no text; it refers to the question before.
        marked = [one.content for one in request.messages if MARK.search(one.content)]
        said = marked[-1] if marked else request.messages[-1].content  # half a text may tell no file
        if (mark := MARK.search(said)) is not None:
            self._on_ask(mark[1], int(mark[2]), question_of(self.name, request))
        is_slow = self._dice.says(self.slow)
        await anyio.sleep(self._dice.uniform(2.0, 20.0) if is_slow else self._dice.uniform(0.1, 3.0))
        match self.mood:
            case "rate_limit":
                wait_s = self._dice.choice((None, 5.0, 90.0, 1_200.0))
                raise ModelExhausted(
                    "too many requests", reason="rate_limit", retry_after_s=wait_s, spent=COST
                )
            case "billing":
                raise ModelExhausted("the bill is not paid", reason="billing", spent=COST)
            case "away":
                raise ModelUnavailable("no answer after all tries", spent=COST)
        if self._dice.says(self.garbled):
            return ModelAnswer(text="I would rather not.", finish=Finish.WHOLE, usage=COST)
        other = OTHER_WORDS * self.wordings
        found = [{"table": "tasks", "title": line + other, "quote": line} for line in _TASK.findall(said)]
        return ModelAnswer(text=json.dumps({"items": found}), finish=Finish.WHOLE, usage=COST)
