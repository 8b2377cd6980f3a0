"""Places that show the words of a model about a file: the run, ``hub why`` and the doctor, but no log."""

import logging

import pytest

from hub.extraction.model import ModelAnswer, ModelError, ModelRequest
from hub.health import work
from hub.runs.failures import explain
from hub.runs.model_gates import CONTROL
from protocol.errors import ErrorCode
from storage.agents.agents import AgentRow
from storage.runs.units import find_unit
from storage.store import Store
from tests.support.outcome_doors import OUTCOMES, WORDS, Outcome
from tests.support.runs import Bench, KeywordModel, folder


class Sayer(KeywordModel):
    """Its answers about riddles are that of an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        if request == CONTROL and self.outcome.code is not ErrorCode.MODEL_REFUSED:
            return await super().answer(request)
        if isinstance(self.outcome.answer, ModelError):
            raise self.outcome.answer
        return self.outcome.answer


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.said)
async def test_words_about_a_file_are_shown_with_the_run_and_in_no_log(
    store: Store, agent: AgentRow, caplog: pytest.LogCaptureFixture, outcome: Outcome
) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench(store, agent, model=Sayer(outcome))
    bench.connect(runs=folder(a="A riddle to read.", b="- [ ] good"))
    run = await bench.run()

    (error,) = run.errors
    assert (error.unit_key, error.code, run.units_done) == ("a.md", outcome.code, 1)
    unit = await store.read(find_unit, run.id, "a.md")
    assert unit is not None  # hub why quotes its error
    (found,) = await work.check_failing(store, bench.clock.now())
    shown = (error.message, unit.error or "", explain(error, run, "desk").sentence, found.explanation)
    assert [outcome.shown in text for text in shown] == [True] * 4, shown
    assert not [record for record in caplog.records if WORDS in str(vars(record))]
