"""Odd answers about one text of five: the others are read, and the run ends and says what came."""

from collections.abc import Collection
from contextlib import aclosing
from math import inf
from typing import Any

import anyio
import pytest

from hub.extraction.endpoint import (
    CONTROL_TRIES,
    IN_FLIGHT,
    MAX_REFUSALS,
    MAX_SILENCES,
    MAX_TRIES,
    Chain,
)
from hub.runs.failures import explain
from protocol.lifecycles import RunOutcome, RunState
from storage.runs.runs import RunRow
from storage.store import open_store
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.oracle import Oracle, plant
from tests.support.oracle.asker import text_of
from tests.support.oracle.odd import READABLE, UNREADABLE, Odd, OddOracle
from tests.support.oracle.wire import HttpResponse
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
READ_S, TRY_S = 0.5, 1.2
AMPLE_S = 60.0  # on a busy machine, an ordinary answer would come later than the two above
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
    "content: encoded": "it breaks off",
    "content: other": "it breaks off",
    "tool call": "it breaks off",
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
    "body": NO_LIST,
    "gzip": "gave no answer in 6 tries (Error -3 while decompressing data",
    "broken off": "gave no answer in 6 tries (peer closed connection without sending complete message body",
    "broken chunks": "gave no answer in 6 tries (illegal chunk header",
    "last chunk": "gave no answer in 6 tries (peer closed connection without sending complete message body",
    "head": "gave no answer in 6 tries (Receive buffer too long)",
    "length": "gave no answer in 6 tries (bad Content-Length)",
    "no HTTP": "gave no answer in 6 tries (Server disconnected",
    "closed": "gave no answer in 6 tries (Server disconnected",
    "never": f"tries (nothing within {READ_S} s; timeout_s in [model] of hub.toml sets",
    "endless": f"tries (no whole answer within {TRY_S} s; timeout_s in [model]",
    "408": "gave no answer in 6 tries (HTTP 408",
    "413": "refused the request (HTTP 413",
    "429 of this text": "for a rate limit (HTTP 429 rate_limit_exceeded: Rate limit reached), though",
    "429 of a quota": "for lack of quota (HTTP 429 insufficient_quota: the oracle was told to say",
    "402": "for lack of quota (HTTP 402 payment_required: Insufficient credits), though",
    "403": "for lack of quota (HTTP 403 insufficient_quota",
    "429": "on tokens per min (TPM): Limit 300, Requested 700.; the model's context is too small",
    "500, asks": "gave no answer in 1 try (HTTP 500",
    "500": "gave no answer in 6 tries (HTTP 500",
    "502": "gave no answer in 6 tries (HTTP 502",
    "503": "gave no answer in 6 tries (HTTP 503",
    "999": "gave no answer in 6 tries (HTTP 999: beyond all numbers)",
    "400": "refused the request (HTTP 400",
    "401": "refused our key (HTTP 401",
    "404": "has no model 'oracle' (HTTP 404",
    "307": "sends us elsewhere (HTTP 307",
    "": NO_JSON,
}
FIRST_OF_WORDS = {
    next(begin for begin in SAID if name.startswith(begin)): name for name in reversed(UNREADABLE)
}


async def run_over_five(
    odd: Odd, *, read_s: float = AMPLE_S, try_s: float = AMPLE_S
) -> tuple[list[RunRow], list[str], str, int]:
    """Return the run after each attempt, the inserted titles, the words about errors, and the odd answers."""
    oracle = OddOracle(odd, word=WORD)
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0), read_timeout_s=read_s)
        endpoint._try_timeout_s = try_s
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            link = bench.connect(runs=folder(**FILES) * MAX_ATTEMPTS)
            runs = [await bench.run()]
            while runs[-1].state not in (RunState.COMPLETED, RunState.FAILED) and len(runs) < MAX_ATTEMPTS:
                bench.clock.advance(3_600)
                runs.append(await bench.run())
        tasks.cancel_scope.cancel()
    said = "; ".join(explain(error, runs[-1], "desk").sentence for error in runs[-1].lasting_errors)
    return runs, sorted(map(str, titles(link))), said, oracle.asked_odd


def some_of(odd: dict[str, Odd], some: Collection[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in some else pytest.mark.slow) for name in odd]


@pytest.mark.parametrize("name", some_of(READABLE, [*READABLE][::4]))  # hub/extraction reads all forms
async def test_answer_with_a_text_in_an_odd_form_is_read_at_once(name: str) -> None:
    (run,), found, *_ = await run_over_five(READABLE[name])
    assert (run.outcome, found) == (RunOutcome.SUCCESS, sorted([*OTHERS, "paint the fence"]))
    assert run.usage.requests == len(FILES)
    assert run.usage.prompt_tokens + run.usage.completion_tokens < 20_000  # whatever the odd answer counts


@pytest.mark.parametrize("name", some_of(UNREADABLE, FIRST_OF_WORDS.values()))
async def test_answer_without_a_text_fails_one_file_alone_in_words_about_the_answer(name: str) -> None:
    read_s = READ_S if name.startswith("never") else AMPLE_S
    try_s = TRY_S if name.startswith("endless") else AMPLE_S
    runs, found, said, tries = await run_over_five(UNREADABLE[name], read_s=read_s, try_s=try_s)
    assert found == OTHERS
    assert [(run.outcome, run.units_failed) for run in runs] == [(RunOutcome.PARTIAL, 1)]
    most = MAX_REFUSALS + 1 if "of this text" in name else MAX_TRIES
    if name.startswith(("never", "endless")):
        most = MAX_SILENCES + 1  # if it is asked last, others may explain the first one
    assert tries <= most
    assert next(words for begin, words in SAID.items() if name.startswith(begin)) in said


async def run_over(oracle: Oracle, files: dict[str, str] = FILES) -> RunRow:
    """Return a run after its first attempt."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0))
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            bench.connect(runs=folder(**files))
            run = await bench.run()
        tasks.cancel_scope.cancel()
    return run


@pytest.mark.parametrize(
    ("name", "word", "tries", "why"),
    [
        # One text after the other is asked until the question about no text has failed, beside the second.
        ("choices: empty", "", 3 * MAX_TRIES + CONTROL_TRIES, "answered with an empty list of choices"),
        ("429 of this text", "", 10, "at its rate limit after 9 tries (HTTP 429"),
        ("429 of this text, asks for a second", "", 11, "at its rate limit after 10 tries (HTTP 429"),
        ("429 of this text, asks for a minute", "", 4, "at its rate limit after 3 tries (HTTP 429"),
        ("429 of this text, asks for an hour", "", 2, "at its rate limit after 1 try (HTTP 429"),
        ("429 of a quota", "", 2, "has no quota left (HTTP 429"),
        ("402", "", 2, "has no quota left (HTTP 402"),
        ("403 of a quota", "", 2, "has no quota left (HTTP 403"),
        ("429 of this text, asks for an hour", "by 2026", 5, "at its rate limit after 1 try (HTTP 429"),
        ("402", "by 2026", 5, "has no quota left (HTTP 402"),
    ],
)
async def test_endpoint_with_odd_answers_about_all_texts_lets_the_run_wait(
    name: str, word: str, tries: int, why: str
) -> None:
    oracle = OddOracle(UNREADABLE[name], word=word)
    run = await run_over(oracle)
    is_text_alone = bool(word)  # the question about no text is small enough to be answered
    assert (run.state, run.units_failed) == (RunState.PAUSED, 2 if is_text_alone else 0)
    assert oracle.asked_odd <= tries
    assert why in (run.reason or "")


@pytest.mark.parametrize("name", ["401", "404", "307"])
async def test_endpoint_that_refuses_all_texts_is_asked_once_about_no_text(name: str) -> None:
    oracle = OddOracle(UNREADABLE[name], word="")
    run = await run_over(oracle)
    assert (run.state, oracle.asked_odd) == (RunState.FAILED, len(FILES) + 1)
    assert all("of hub.toml" in error.message for error in run.lasting_errors)  # names the setting to correct


@pytest.mark.parametrize("answered", [1, 20, 35])
async def test_quota_that_ends_during_a_run_fails_no_text(answered: int) -> None:
    files = {
        f"{nth:02x}": plant("Anna", f"do work {nth}", "2026-12-01", f"K-00{nth:02}") for nth in range(40)
    }
    oracle = Oracle(quota_calls=answered)
    run = await run_over(oracle, files)
    assert (run.state, run.units_done, run.units_failed) == (RunState.PAUSED, answered, 0)
    assert oracle.stats.refused["429"] <= IN_FLIGHT + 2


class CrowdedOracle(Oracle):
    """Oracle that answers *slots* questions at once, each after *takes_s*, and one about WORD never."""

    def __init__(self, slots: int, takes_s: float) -> None:
        super().__init__()
        self._slots, self._takes_s = anyio.Semaphore(slots), takes_s

    async def _complete(self, request: dict[str, Any], key: str | None) -> HttpResponse:
        async with self._slots:
            await anyio.sleep(inf if WORD in text_of(request) else self._takes_s)
            return await super()._complete(request, key)


@pytest.mark.parametrize(
    ("slots", "in_flight", "silent", "takes_s"),
    [(1, 1, 2, 0.0), (1, 8, 1, 0.0), (1, 8, 3, 0.0), (8, 8, 3, 0.0), (1, 8, 0, 0.2), (2, 8, 1, 0.1)],
)
async def test_texts_behind_others_are_read_in_one_attempt_at_an_endpoint_with_few_slots(
    slots: int, in_flight: int, silent: int, takes_s: float
) -> None:
    files = {
        "0123456789ab"[nth]: plant(
            WORD if nth < silent else "Anna", f"do work {nth}", "2026-12-01", f"K-00{nth:02}"
        )
        for nth in range(12)
    }
    oracle = CrowdedOracle(slots, takes_s)
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(
            oracle.base_url, clock=HastyClock(0.0), read_timeout_s=READ_S, in_flight=in_flight
        )
        endpoint._try_timeout_s = TRY_S
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            link = bench.connect(runs=folder(**files))
            run = await bench.run()
        tasks.cancel_scope.cancel()
    assert (run.state, run.units_failed, len(titles(link))) == (RunState.COMPLETED, silent, 12 - silent)
