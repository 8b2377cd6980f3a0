"""Odd answers about one text of five: the others are read, and the run ends and says what came."""

from contextlib import aclosing

import anyio
import pytest

from hub.extraction.endpoint import Chain
from hub.runs.failures import explain
from protocol.lifecycles import RunOutcome, RunState
from storage.runs.runs import RunRow
from storage.store import open_store
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.oracle import plant
from tests.support.oracle.odd import READABLE, UNREADABLE, Odd, OddOracle
from tests.support.runs import Bench, declare_agent, folder, titles

WORD = "Zoé"
FILES = {
    "a": f"{WORD} spoke first. {plant(WORD, 'paint the fence', '2026-12-01', 'K-0000')}",
    "b": f"The day was long. {plant('Anna', 'send the quote', '2026-12-01', 'K-0001')}",
    "c": f"The day was long. {plant('Ben', 'mend the gate', '2026-12-02', 'K-0002')}",
    "d": f"The day was long. {plant('Carla', 'water the roses', '2026-12-03', 'K-0003')}",
    "e": f"The day was long. {plant('Dave', 'order paper', '2026-12-04', 'K-0004')}",
}
OTHERS = ["mend the gate", "order paper", "send the quote", "water the roses"]
MAX_ATTEMPTS = 5  # of a run
NO_JSON = "answered with no JSON object"
NO_LIST = "answered with no list of choices"
NO_TEXT = "could not be read: it has no text"
# What a person reads of an answer whose name begins so.
SAID = {
    "choices: empty": "answered with an empty list of choices",
    "choices: of null": "answered with a part of an answer",
    "choices": NO_LIST,
    "message": NO_TEXT,
    "content: number": "it says: 42",
    "content: prose": "it says: As a language model, I like the weather.",
    "content: half": "it breaks off",
    "content": NO_TEXT,
    "refusal": "the model refused 69 characters of text: I cannot help with that.",
    "finish: content filter": "the model refused 69 characters of text: content_filter",
    "finish: null": "it does not say how it ended",
    "thoughts": "could not be read: it has thoughts alone",
    "error": "answered with HTTP 200: upstream said no",
    "page": "answered with HTTP 200: Just a moment",
    "empty body": "answered with an empty body",
    "204": "answered with an empty body",
    "5 MiB": "answered with more than 4,194,304 bytes",
    "stream: error": "answered with HTTP 200: upstream said no",
    "stream: broken off": "it does not say how it ended",
    "gzip": "gave no answer in 6 tries (Error -3 while decompressing data",
    "broken off": "gave no answer in 6 tries (peer closed connection without sending complete message body",
    "broken": "gave no answer in 6 tries (illegal chunk header",
    "no HTTP": "gave no answer in 6 tries (Server disconnected",
    "closed": "gave no answer in 6 tries (Server disconnected",
    "500": "gave no answer in 6 tries (HTTP 500",
    "502": "gave no answer in 6 tries (HTTP 502",
    "400": "refused the request (HTTP 400",
    "401": "refused our key (HTTP 401)",
    "307": "sends us elsewhere (HTTP 307)",
    "": NO_JSON,
}


async def run_over_five(odd: Odd) -> tuple[list[RunRow], list[str], str]:
    """Return the run after each attempt, the inserted titles, and what is said of its errors."""
    oracle = OddOracle(odd, word=WORD)
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0), read_timeout_s=5.0)
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            link = bench.connect(runs=folder(**FILES) * MAX_ATTEMPTS)
            runs = [await bench.run()]
            while runs[-1].state not in (RunState.COMPLETED, RunState.FAILED) and len(runs) < MAX_ATTEMPTS:
                bench.clock.advance(3_600)
                runs.append(await bench.run())
        tasks.cancel_scope.cancel()
    said = "; ".join(explain(error, runs[-1], "desk").sentence for error in runs[-1].lasting_errors)
    return runs, sorted(map(str, titles(link))), said


@pytest.mark.parametrize("odd", READABLE.values(), ids=READABLE)
async def test_answer_with_a_text_in_an_odd_form_is_read_at_once(odd: Odd) -> None:
    (run,), found, _ = await run_over_five(odd)
    assert (run.outcome, found) == (RunOutcome.SUCCESS, sorted([*OTHERS, "paint the fence"]))
    assert run.usage.requests == len(FILES)
    assert run.usage.prompt_tokens + run.usage.completion_tokens < 20_000  # whatever the odd answer counts


@pytest.mark.parametrize("name", UNREADABLE)
async def test_answer_without_a_text_fails_one_file_alone_in_words_about_the_answer(name: str) -> None:
    runs, found, said = await run_over_five(UNREADABLE[name])
    assert found == OTHERS
    assert RunState.PAUSED not in [run.state for run in runs]
    assert (runs[-1].outcome, runs[-1].units_failed) == (RunOutcome.PARTIAL, 1)
    assert next(words for begin, words in SAID.items() if name.startswith(begin)) in said


async def test_endpoint_with_odd_answers_about_all_texts_lets_the_run_wait() -> None:
    oracle = OddOracle(UNREADABLE["choices: empty"], word="")
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0))
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            bench.connect(runs=folder(**FILES))
            run = await bench.run()
        tasks.cancel_scope.cancel()
    assert (run.state, run.units_failed) == (RunState.PAUSED, 0)
    assert "answered with an empty list of choices" in (run.reason or "")
