"""Endpoints one behind the other: who is asked when the first gives nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import anyio
import pytest
from llmock.pytest_plugin import LLMock

from hub.extraction.endpoint import Chain, Endpoint
from hub.extraction.model import (
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelUnavailable,
    Price,
)
from hub.extraction.outcomes import FAILURES, OPEN, Breaker, Circuit, EndpointRefused
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.hub.extraction.test_endpoint import SENTENCE, question, until
from tests.support.clock import FakeClock
from tests.support.oracle import Fault, Oracle


class Pair:
    """Two endpoints, each at an oracle of its own, and the chain of both."""

    def __init__(self, first: Oracle, second: Oracle, endpoints: list[Endpoint], clock: FakeClock) -> None:
        self.first, self.second = first, second
        self.endpoints = endpoints
        self.chain = Chain(endpoints)
        self.clock = clock

    @property
    def asked(self) -> tuple[int, int]:
        """How often each was asked."""
        return self.first.stats.calls, self.second.stats.calls


@pytest.fixture
async def pair(oracle: Oracle) -> AsyncIterator[Pair]:
    second, clock = Oracle(), HastyClock()
    async with anyio.create_task_group() as tasks, AsyncExitStack() as opened:
        await tasks.start(second.serve)
        endpoints = [
            await opened.enter_async_context(
                aclosing(
                    model_at(server.base_url, name=name, clock=clock, max_tries=1, price=Price(price, 1))
                )
            )
            for server, name, price in ((oracle, "first", 7), (second, "second", 5))
        ]
        yield Pair(oracle, second, endpoints, clock)
        tasks.cancel_scope.cancel()


async def test_the_first_is_asked_as_long_as_it_answers(pair: Pair) -> None:
    answer = await pair.chain.answer(question())
    assert SENTENCE in answer.text
    assert (answer.model, pair.asked) == ("first", (1, 0))


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.SPENT_QUOTA, Fault.REDIRECT])
async def test_the_next_answers_what_the_first_does_not(pair: Pair, fault: Fault) -> None:
    pair.first.play(fault)
    answer = await pair.chain.answer(question())
    assert SENTENCE in answer.text
    assert (answer.model, answer.usage.requests, pair.asked) == ("second", 2, (1, 1))


async def test_a_long_rate_limit_of_the_first_is_not_waited_for(pair: Pair) -> None:
    pair.first.retry_after_s = 3_600
    pair.first.play(Fault.RATE_LIMIT)
    for _ in range(3):
        assert (await pair.chain.answer(question())).model == "second"
    assert pair.asked == (1, 3)
    pair.clock.advance(3_600)
    assert (await pair.chain.answer(question())).model == "first"


async def test_a_short_rate_limit_of_the_first_is_waited_for(pair: Pair) -> None:
    pair.first.play(Fault.RATE_LIMIT)
    assert ((await pair.chain.answer(question())).model, pair.asked) == ("first", (2, 0))


async def test_the_costs_of_the_failed_first_endpoint_are_reported(pair: Pair) -> None:
    pair.first.play(Fault.NO_CHOICES)
    spent = (await pair.chain.answer(question())).usage
    first, second = pair.first.stats, pair.second.stats
    assert spent.prompt_tokens == first.prompt_tokens + second.prompt_tokens
    assert spent.cost_nanos == (
        7 * first.prompt_tokens
        + 5 * second.prompt_tokens
        + first.completion_tokens
        + second.completion_tokens
    )


async def test_an_endpoint_that_failed_again_and_again_is_left_alone_for_a_while(pair: Pair) -> None:
    pair.first.play(Fault.SERVER_ERROR, times=FAILURES)
    for _ in range(FAILURES + 2):
        assert (await pair.chain.answer(question())).model == "second"
    assert pair.asked == (FAILURES, FAILURES + 2)
    pair.clock.advance(OPEN.base_s)
    assert (await pair.chain.answer(question())).model == "first"


async def test_while_one_question_finds_out_the_others_go_to_the_next(pair: Pair) -> None:
    pair.first.play(Fault.SPENT_QUOTA)
    await pair.chain.answer(question())
    pair.clock.advance(OPEN.base_s)
    pair.first.latency_s = 0.05
    models: list[str] = []

    async def ask(text: str) -> None:
        models.append((await pair.chain.answer(question(text))).model)

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask, "on trial")
        await until(lambda: not pair.endpoints[0].is_available)
        asking.start_soon(ask, "meanwhile")
    assert models == ["second", "first"]


async def test_when_all_are_in_trouble_the_last_resort_is_asked_all_the_same(pair: Pair) -> None:
    for server in (pair.first, pair.second):
        server.play(Fault.SERVER_ERROR, times=FAILURES)
    for _ in range(FAILURES):
        with pytest.raises(ModelUnavailable, match=r"first at .*; second at "):
            await pair.chain.answer(question())
    assert SENTENCE in (await pair.chain.answer(question())).text


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (Fault.SPENT_QUOTA, Fault.SPENT_QUOTA, ModelExhausted),
        (Fault.SPENT_QUOTA, Fault.SERVER_ERROR, ModelUnavailable),
        (Fault.RATE_LIMIT, Fault.SERVER_ERROR, ModelExhausted),
        (Fault.REDIRECT, Fault.SERVER_ERROR, ModelUnavailable),
        (Fault.REDIRECT, Fault.REDIRECT, ModelRefused),
    ],
)
async def test_the_error_of_all_is_the_one_that_loses_least(
    pair: Pair, first: Fault, second: Fault, kind: type[ModelError]
) -> None:
    for server, fault in ((pair.first, first), (pair.second, second)):
        server.retry_after_s = 3_600
        server.play(fault)
    with pytest.raises(kind) as caught:
        await pair.chain.answer(question())
    assert caught.value.spent.requests == 2


@pytest.mark.parametrize(
    ("is_there", "rejects_keys", "is_away"),
    [
        ((True, True), False, False),
        ((False, True), False, False),
        ((False, False), False, True),
        ((False, True), True, True),  # the other may answer yet
        ((True, True), True, False),  # nothing is waited for: who asks is told which key is wrong
    ],
)
async def test_a_model_is_away_while_none_of_its_endpoints_answers_and_one_may_yet(
    oracle: Oracle, is_there: tuple[bool, bool], rejects_keys: bool, is_away: bool
) -> None:
    oracle.rejects_keys = rejects_keys
    async with AsyncExitStack() as opened:
        endpoints = [
            await opened.enter_async_context(
                aclosing(model_at(oracle.base_url if there else "http://127.0.0.1:1/v1"))
            )
            for there in is_there
        ]
        told = await Chain(endpoints).reach()
    assert (told is not None) == is_away
    if is_away and rejects_keys:
        assert "refused our key (HTTP 401): correct api_key in [model]" in str(told)
    assert oracle.stats.calls == 0  # a probe is no question


async def test_an_endpoint_that_answers_questions_is_never_away_for_its_list_of_models(
    oracle: Oracle,
) -> None:
    for status in (404, 405, 500, 501, 502, 503, 504):
        oracle.list_status = status
        async with aclosing(model_at(oracle.base_url)) as endpoint:
            chain = Chain([endpoint])
            has_list = status not in (404, 405, 501)
            assert await chain.reach() is None, status  # a question finds out
            assert (await endpoint.reach() is not None) == has_list, status
            assert SENTENCE in (await chain.answer(question())).text
            assert (await chain.reach(), await endpoint.reach()) == (None, None), status
    async with aclosing(model_at(f"{oracle.base_url}/nowhere")) as endpoint:  # 404 to every request
        assert "has no model" in str(await endpoint.reach())
    async with aclosing(model_at(oracle.base_url)) as endpoint:
        oracle.list_status = 200
        assert await Chain([endpoint]).reach() is None
        oracle.list_status = 503  # this one had a list until now
        assert "/v1 answers HTTP 503" in str(await Chain([endpoint]).reach())


async def test_a_chain_is_as_careful_as_its_most_careful_endpoint() -> None:
    small = model_at("http://127.0.0.1:1/v1", name="small", chunk_tokens=500, price=Price(1, 9))
    large = model_at("http://127.0.0.1:1/v1", name="large", chunk_tokens=900, in_flight=4, price=Price(2, 3))
    async with aclosing(small), aclosing(large):
        chain = Chain([large, small])
        assert (chain.name, chain.in_flight, chain.chunk_tokens) == ("large", 4, 500)
        assert chain.price == Price(2, 9)


async def test_a_spent_quota_is_asked_about_once_and_then_the_next_is(llmock: LLMock, oracle: Oracle) -> None:
    llmock.fail(429, times=None, code="insufficient_quota")
    async with aclosing(model_at(llmock.base_url())) as spent, aclosing(model_at(oracle.base_url)) as other:
        chain = Chain([spent, other])
        for _ in range(3):
            assert SENTENCE in (await chain.answer(question())).text
    assert len(llmock.requests) == 1


UNAVAILABLE = ModelUnavailable("no answer")
BILLING = ModelExhausted("no quota left", reason="billing")


def test_a_circuit_opens_for_longer_each_time_until_there_is_an_answer() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    waits = []
    for _ in range(7):
        breaker.failed(BILLING)
        waits.append(breaker.wait_s)
        clock.advance(breaker.wait_s)
    assert (waits, breaker.circuit) == ([30, 60, 120, 240, 480, 600, 600], Circuit.HALF_OPEN)
    breaker.succeeded()
    breaker.failed(BILLING)
    assert breaker.wait_s == 30


def test_a_person_who_says_that_there_is_quota_again_is_believed_by_the_next_question() -> None:
    breaker = Breaker(FakeClock())
    breaker.try_now()
    assert breaker.circuit is Circuit.CLOSED
    breaker.failed(BILLING)
    with pytest.raises(ModelExhausted):
        breaker.check_quota()
    breaker.try_now()
    assert (breaker.circuit, breaker.wait_s) == (Circuit.HALF_OPEN, 0)
    breaker.check_quota()
    breaker.failed(BILLING)
    assert breaker.wait_s == 60


def test_a_circuit_opens_after_questions_in_a_row_without_an_answer() -> None:
    breaker = Breaker(FakeClock())
    for error in (UNAVAILABLE, EndpointRefused("wrong key")):
        breaker.failed(error)
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed(UNAVAILABLE)
    assert breaker.circuit is Circuit.CLOSED
    breaker.failed(UNAVAILABLE)
    assert (breaker.circuit, breaker.error) == (Circuit.OPEN, UNAVAILABLE)


def test_an_unreadable_question_says_nothing_about_the_endpoint() -> None:
    breaker = Breaker(FakeClock())
    for _ in range(10):
        breaker.failed(ModelRefused("this request is no good"))
    assert breaker.circuit is Circuit.CLOSED
