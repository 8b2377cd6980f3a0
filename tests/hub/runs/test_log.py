"""What the log tells of a run: everything but the words of its documents."""

import logging

import pytest

from hub.extraction.model import ExtractionError, Finish, ModelUnavailable
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.lifecycles import RunOutcome
from protocol.work import Answer
from tests.support.runs import TAKEN, Bench, folder

SECRET = "Zanzibar"
FILES = {
    "a": f"- [ ] call {SECRET}",
    "b": f"- [ ] pay {SECRET}",
    "c": f"Anna must write to {SECRET} by Friday.",
    "d": f"{SECRET}: a riddle.",
    "e": f"{SECRET}: an enigma.",
    "f": f"{SECRET}: a puzzle.",
}


async def test_no_word_of_a_document_is_in_the_log_whatever_becomes_of_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.model.said = f'{{"items": [{{"table": "tasks", "quote": "{SECRET}", "title": "{SECRET}"}}]}}'
    bench.model.errors |= {
        "riddle": ExtractionError("the answer was cut off", code=ErrorCode.MODEL_ANSWER_CUT_OFF),
        "puzzle": ExtractionError("the answer is not JSON"),
        "enigma": ValueError(f"not a word: {SECRET}"),
    }
    refusal = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message=f"tasks.title: {SECRET}"))
    bench.connect(
        runs=folder(**FILES),
        answers=lambda call: refusal if "pay" in str(call.data["title"]) else TAKEN,
    )
    run = await bench.run()
    assert (run.outcome, run.units_failed) == (RunOutcome.PARTIAL, 4)

    told = [str(vars(record)) for record in caplog.records] + [caplog.text]
    assert caplog.records
    assert not [line for line in told if SECRET in line]


async def test_no_word_of_a_document_is_in_the_log_of_a_model_that_is_away(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.model.said, bench.model.finish = SECRET, Finish.CUT_OFF
    bench.model.errors["riddle"] = ModelUnavailable("connection refused")
    bench.connect(runs=folder(**FILES))
    await bench.run()
    assert not [record for record in caplog.records if SECRET in str(vars(record))]
