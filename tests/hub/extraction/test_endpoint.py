"""The client of OpenAI-compatible endpoints, against the oracle and against llmock."""

from collections.abc import Callable
from contextlib import aclosing

import anyio
import pytest
from llmock.pytest_plugin import LLMock

from hub.extraction.endpoint import MAX_REFUSALS, Endpoint
from hub.extraction.model import (
    Finish,
    Message,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    Price,
)
from hub.extraction.outcomes import FAILURES, Circuit
from hub.extraction.prompt import schema_of
from hub.metrics import Metrics
from hub.outbound.client import MAX_ANSWER_BYTES
from hub.outbound.rules import OutboundRules
from protocol.errors import ErrorCode
from protocol.tables import TABLES
from tests.hub.extraction.conftest import model_at
from tests.support.clock import FakeClock
from tests.support.oracle import Fault, Oracle, plant

SENTENCE = plant("Anna", "send the quote", "2026-12-01", "K-0007")


def question(text: str = SENTENCE, max_tokens: int = 500) -> ModelRequest:
    return ModelRequest(
        messages=(Message("system", "Find tasks."), Message("user", text)),
        schema=schema_of([TABLES["tasks"]], 5),
        max_tokens=max_tokens,
    )


async def test_an_answer_comes_with_what_it_cost(oracle: Oracle, model: Endpoint) -> None:
    answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert answer.finish is Finish.WHOLE
    assert answer.usage.requests == 1
    assert answer.usage.prompt_tokens == oracle.stats.prompt_tokens > 0
    assert answer.usage.completion_tokens == oracle.stats.completion_tokens > 0


@pytest.mark.parametrize("fault", [Fault.RATE_LIMIT, Fault.RATE_LIMIT_MS])
async def test_no_question_is_sent_before_the_endpoint_allows_it(oracle: Oracle, fault: Fault) -> None:
    oracle.retry_after_s = 7.0
    clock = FakeClock()
    async with aclosing(model_at(oracle.base_url, clock=clock)) as model, anyio.create_task_group() as tasks:
        await model.answer(question("it works"))
        oracle.play(fault)
        tasks.start_soon(model.answer, question())
        await asleep(clock, 1)
        tasks.start_soon(model.answer, question("somebody else's text"))
        clock.advance(6.999)
        await anyio.wait_all_tasks_blocked()
        assert oracle.stats.calls == 2
        clock.advance(0.2)
    assert oracle.stats.calls == 4


async def test_a_rate_limit_is_waited_for_and_costs_no_try(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT, times=MAX_REFUSALS)
    async with aclosing(patient(oracle, max_tries=1)) as model:
        answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert answer.usage.requests == oracle.stats.calls == MAX_REFUSALS + 1


@pytest.mark.parametrize(
    "fault",
    [Fault.SERVER_ERROR, Fault.MALFORMED_BODY, Fault.DISCONNECT, Fault.NO_CHOICES, Fault.NO_FINISH],
)
async def test_a_fault_of_the_provider_is_sat_out(oracle: Oracle, fault: Fault) -> None:
    oracle.play(fault, times=2)
    async with aclosing(patient(oracle)) as model:
        answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert answer.usage.requests == oracle.stats.calls == 3


async def test_tokens_and_money_of_answers_that_were_none_are_counted(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR, Fault.NO_CHOICES, Fault.NO_FINISH)
    price = Price(prompt_nanos=250, completion_nanos=2_000)
    async with aclosing(patient(oracle, price=price)) as model:
        spent = (await model.answer(question())).usage
    assert spent.prompt_tokens == oracle.stats.prompt_tokens > 0
    assert spent.completion_tokens == oracle.stats.completion_tokens > 0
    assert spent.cost_nanos == price.of(spent.prompt_tokens, spent.completion_tokens)


async def test_tokens_of_a_failed_question_are_reported_with_the_error(oracle: Oracle) -> None:
    oracle.play(Fault.NO_CHOICES, times=9)
    async with aclosing(patient(oracle, max_tries=2)) as model:
        with pytest.raises(ModelUnavailable, match="has no choice in it") as caught:
            await model.answer(question())
    assert caught.value.spent.prompt_tokens == oracle.stats.prompt_tokens > 0


async def test_a_try_has_the_key_of_the_one_before_it(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR, Fault.DISCONNECT, Fault.RATE_LIMIT)
    async with aclosing(patient(oracle)) as model:
        await model.answer(question())
    assert (oracle.stats.calls, oracle.stats.keys_changed) == (4, 0)


async def test_after_an_answer_that_was_none_the_key_is_another_lest_it_comes_again(oracle: Oracle) -> None:
    oracle.play(Fault.NO_CHOICES)
    async with aclosing(patient(oracle)) as model:
        await model.answer(question())
    assert (oracle.stats.calls, oracle.stats.keys_changed) == (2, 1)


async def test_after_so_many_tries_the_model_is_unavailable(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR, times=9)
    async with aclosing(patient(oracle, max_tries=3)) as model:
        with pytest.raises(ModelUnavailable, match="no answer in 3 tries") as caught:
            await model.answer(question())
    assert caught.value.retryable
    assert caught.value.spent.requests == oracle.stats.calls == 3


async def test_an_endpoint_that_is_not_there_makes_the_model_unavailable() -> None:
    async with aclosing(model_at("http://127.0.0.1:1/v1", clock=HastyClock(), max_tries=2)) as model:
        with pytest.raises(ModelUnavailable):
            await model.answer(question())


async def test_an_endpoint_that_hangs_is_given_up(oracle: Oracle) -> None:
    oracle.play(Fault.HANG)
    async with aclosing(patient(oracle, read_timeout_s=0.2)) as model:
        answer = await model.answer(question())
    assert answer.usage.requests == 2


async def test_a_long_rate_limit_exhausts_the_model_at_once(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT)
    oracle.retry_after_s = 3600
    async with aclosing(model_at(oracle.base_url)) as model:
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limit", 3600)
    assert oracle.stats.calls == 1


async def test_a_rate_limit_of_years_exhausts_the_model_for_a_day_and_says_so(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT)
    oracle.retry_after_s = 1e308
    async with aclosing(model_at(oracle.base_url)) as model:
        with pytest.raises(ModelExhausted, match=r"a wait of 1.16e\+303 days was requested") as caught:
            await model.answer(question())
    assert caught.value.retry_after_s == 86_400


async def test_an_endless_rate_limit_exhausts_the_model_in_the_end(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT, times=20)
    async with aclosing(patient(oracle)) as model:
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limit", 0.2)
    assert oracle.stats.calls == MAX_REFUSALS + 1


async def test_a_rate_limit_is_waited_for_two_minutes_and_no_longer(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT, times=3)
    oracle.retry_after_s = 50
    async with aclosing(patient(oracle)) as model:
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
    assert caught.value.retry_after_s == 50
    assert oracle.stats.calls == 3


async def test_an_endpoint_without_quota_is_left_alone_until_it_is_back(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT)
    oracle.retry_after_s = 3600
    clock = FakeClock()
    async with aclosing(model_at(oracle.base_url, clock=clock)) as model:
        with pytest.raises(ModelExhausted):
            await model.answer(question())
        clock.advance(1_000)
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
        assert caught.value.retry_after_s == 2_600
        assert oracle.stats.calls == 1
        clock.advance(2_600)
        assert SENTENCE in (await model.answer(question())).text


async def test_an_endpoint_without_json_schema_is_found_out_once(oracle: Oracle) -> None:
    oracle.has_json_schema = False
    async with aclosing(model_at(oracle.base_url)) as model, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(model.answer, question())
    assert oracle.stats.refused == {"400": 1}
    assert [asked["response_format"]["type"] for asked in oracle.requests] == ["json_schema"] + [
        "json_object"
    ] * 5


async def test_an_endpoint_without_any_json_mode_is_asked_in_words(oracle: Oracle) -> None:
    oracle.has_json_schema = oracle.has_json_object = False
    async with aclosing(model_at(oracle.base_url)) as model:
        answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert "response_format" not in oracle.requests[-1]
    assert "JSON Schema" in oracle.requests[-1]["messages"][0]["content"]


async def test_an_endpoint_that_ignores_the_schema_gets_it_in_the_prompt(oracle: Oracle) -> None:
    oracle.play(Fault.CHATTER)
    async with aclosing(model_at(oracle.base_url)) as model:
        await model.answer(question())
        await model.answer(question())
    assert "JSON Schema" in oracle.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize("fault", [Fault.RUNAWAY_BLANKS, Fault.RUNAWAY_RECORDS])
async def test_an_answer_that_would_never_end_is_no_whole_one(oracle: Oracle, fault: Fault) -> None:
    metrics = Metrics()
    async with aclosing(model_at(oracle.base_url, metrics=metrics)) as model:
        oracle.play(fault)
        answer = await model.answer(question(max_tokens=2_000))
    assert answer.finish is Finish.CUT_OFF
    assert b'hub_llm_requests_total{model="oracle",outcome="runaway"} 1.0' in metrics.render()


async def test_a_truncated_answer_differs_from_a_whole_one(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.CUT_OFF)
    assert (await model.answer(question())).finish is Finish.CUT_OFF


async def test_a_question_too_long_for_the_model_is_no_refusal(oracle: Oracle, model: Endpoint) -> None:
    oracle.context_tokens = 10
    assert (await model.answer(question())).finish is Finish.TOO_LONG


async def test_the_limit_of_an_answer_follows_the_endpoint(oracle: Oracle, model: Endpoint) -> None:
    oracle.answer_tokens = 2_048
    for number in range(3):
        assert (await model.answer(question(f"{number}", max_tokens=9_000))).finish is Finish.WHOLE
    assert [one["max_tokens"] for one in oracle.requests] == [9_000, 2_048, 2_048, 2_048]
    assert {one["response_format"]["type"] for one in oracle.requests} == {"json_schema"}
    await model.answer(question("3", max_tokens=500))
    assert oracle.requests[-1]["max_tokens"] == 500
    assert (
        oracle.stats.keys_changed == 1
    )  # an endpoint may hold another body under the same key to be a mistake


async def test_an_endless_answer_is_cut_off_at_our_own_cap(oracle: Oracle, model: Endpoint) -> None:
    oracle.padding_chars = MAX_ANSWER_BYTES
    assert (await model.answer(question())).finish is Finish.CUT_OFF


async def test_no_more_questions_are_in_flight_than_allowed(oracle: Oracle) -> None:
    oracle.latency_s = 0.02
    async with (
        aclosing(model_at(oracle.base_url, in_flight=3)) as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(12):
            tasks.start_soon(model.answer, question(f"text {number}"))
    assert oracle.stats.most_in_flight == 3


async def test_questions_keep_to_a_limit_of_tokens_that_the_headers_tell() -> None:
    provider = Oracle(tokens_per_minute=900_000, burst_s=0.4)
    async with anyio.create_task_group() as tasks:
        await tasks.start(provider.serve)
        async with (
            aclosing(model_at(provider.base_url)) as model,
            anyio.create_task_group() as asking,
        ):
            for number in range(24):
                asking.start_soon(model.answer, question(f"text {number}"))
        tasks.cancel_scope.cancel()
    assert provider.stats.answered == 24
    assert provider.stats.calls - 24 <= 1
    assert provider.stats.asked_early == 0


async def test_a_rate_limit_is_handled_as_providers_ask(llmock: LLMock) -> None:
    llmock.rate_limit(times=2, retry_after=0.2)
    async with aclosing(model_at(llmock.base_url())) as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_a_passing_fault_is_handled_as_providers_ask(llmock: LLMock, status: int) -> None:
    llmock.fail(status, times=2, retry_after=0.05)
    async with aclosing(model_at(llmock.base_url())) as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 3


async def test_without_a_requested_wait_the_backoff_grows(llmock: LLMock) -> None:
    llmock.fail(500, times=3)
    async with aclosing(model_at(llmock.base_url(), clock=HastyClock(0.1))) as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 4


async def test_an_outage_that_does_not_pass_is_handled_as_providers_ask(llmock: LLMock) -> None:
    llmock.outage(status=500)
    async with aclosing(model_at(llmock.base_url(), clock=HastyClock(0.01))) as model:
        with pytest.raises(ModelUnavailable):
            await model.answer(question())
    llmock.assert_resilient(strict=True)


async def test_a_prompt_that_is_too_long_is_not_asked_twice(llmock: LLMock) -> None:
    llmock.context_overflow(times=None)
    async with aclosing(model_at(llmock.base_url())) as model:
        assert (await model.answer(question())).finish is Finish.TOO_LONG
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 1


async def test_a_slow_answer_is_waited_for(llmock: LLMock) -> None:
    llmock.delay(0.3)
    async with aclosing(model_at(llmock.base_url())) as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 1


async def test_a_spent_quota_is_requested_once_and_reported_as_billing(llmock: LLMock) -> None:
    llmock.fail(429, times=None, code="insufficient_quota")
    async with aclosing(model_at(llmock.base_url())) as model:
        with pytest.raises(ModelExhausted, match="billing") as caught:
            await model.answer(question())
    assert (caught.value.reason, caught.value.retry_after_s) == ("billing", None)
    assert len(llmock.requests) == 1


async def test_a_spent_quota_is_found_out_by_one_question_of_many(llmock: LLMock) -> None:
    llmock.fail(429, times=None, code="insufficient_quota")
    ends: list[str] = []

    async def ask(number: int) -> None:
        try:
            await model.answer(question(f"text {number}"))
        except ModelExhausted as error:
            ends.append(error.reason)

    async with aclosing(model_at(llmock.base_url())) as model, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, number)
    assert ends == ["billing"] * 8
    assert len(llmock.requests) == 1


@pytest.mark.parametrize(
    ("status", "told"), [(401, "api_key in"), (403, "api_key in"), (404, "name or base_url in")]
)
async def test_a_refusal_names_the_setting_to_correct(llmock: LLMock, status: int, told: str) -> None:
    llmock.fail(status, times=None)
    async with aclosing(model_at(llmock.base_url())) as model:
        with pytest.raises(ModelRefused, match=rf"{told} \[model\]") as caught:
            await model.answer(question())
    assert caught.value.code is ErrorCode.MODEL_REFUSED
    assert len(llmock.requests) == 1


@pytest.mark.parametrize("base_url", ["https://10.0.0.1/v1", "http://169.254.169.254/v1"])
async def test_an_address_that_is_not_public_is_not_asked(base_url: str) -> None:
    metrics = Metrics()
    async with aclosing(model_at(base_url, insecure=True, metrics=metrics)) as model:
        with pytest.raises(ModelRefused, match=r"may not be called.*\[outbound\] allow"):
            await model.answer(question())
    assert b'hub_outbound_refused_total{reason="address"} 1.0' in metrics.render()


async def test_an_address_that_is_listed_is_asked(oracle: Oracle) -> None:
    rules = OutboundRules.parse(["127.0.0.0/8"])
    async with aclosing(model_at(oracle.base_url, rules=rules)) as model:
        assert SENTENCE in (await model.answer(question())).text


async def test_an_endpoint_that_redirects_is_asked_once_and_not_followed(oracle: Oracle) -> None:
    oracle.play(Fault.REDIRECT)
    async with aclosing(model_at(oracle.base_url)) as model:
        with pytest.raises(ModelRefused, match="redirects are not followed"):
            await model.answer(question())
    assert oracle.stats.calls == 1


async def test_a_quota_of_requests_a_minute_is_kept_to(llmock: LLMock) -> None:
    llmock.rate_limit(times=1, retry_after=0.3)
    async with (
        aclosing(model_at(llmock.base_url(), in_flight=4)) as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(4):
            tasks.start_soon(model.answer, question(f"text {number}"))
    llmock.assert_resilient(strict=True)


async def test_an_endpoint_that_gave_no_answers_is_tried_by_one_question_alone(oracle: Oracle) -> None:
    clock = HastyClock()
    async with aclosing(model_at(oracle.base_url, clock=clock, max_tries=1)) as model:
        await model.answer(question())
        oracle.play(Fault.SERVER_ERROR, times=FAILURES)
        for number in range(FAILURES):
            with pytest.raises(ModelUnavailable):
                await model.answer(question(f"nobody answers {number}"))
        clock.advance(model.breaker.wait_s)
        assert model.breaker.circuit is Circuit.HALF_OPEN
        oracle.latency_s = 0.02
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(model.answer, question(f"text {number}"))
            await until(lambda: oracle.stats.calls == FAILURES + 2)
            assert not model.is_available
            assert model.breaker.error is not None
    assert model.breaker.error is None
    assert oracle.stats.answered == 4


async def test_what_an_endpoint_does_is_counted(oracle: Oracle) -> None:
    metrics = Metrics()
    oracle.play(Fault.RATE_LIMIT, Fault.SERVER_ERROR)
    async with aclosing(patient(oracle, metrics=metrics, price=Price(250, 2_000))) as model:
        spent = (await model.answer(question())).usage
    value = metrics.registry.get_sample_value
    of = {"model": "oracle"}
    for outcome in ("rate_limited", "failed", "whole"):
        assert value("hub_llm_requests_total", of | {"outcome": outcome}) == 1
    assert value("hub_llm_tokens_total", of | {"kind": "prompt"}) == spent.prompt_tokens
    assert value("hub_llm_cost_usd_total", of) == spent.cost_nanos / 1e9
    assert value("hub_llm_waiting", of) == value("hub_llm_circuit_open", of) == 0


class HastyClock(FakeClock):
    """Sleeps a small share of what it is asked to, so that real servers see the order of waits."""

    def __init__(self, share: float = 0.001) -> None:
        super().__init__()
        self._share = share

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds * self._share)
        self.advance(seconds)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for the network, as long as it takes within a few seconds."""
    for _ in range(5_000):
        if is_so():
            return
        await anyio.sleep(0.001)
    raise AssertionError("it did not come to be so")


async def asleep(clock: FakeClock, tasks: int) -> None:
    """Wait until so many tasks sleep; the network has to be waited for as well."""
    for _ in range(500):
        if clock.sleeping == tasks:
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{clock.sleeping} tasks sleep, not {tasks}")


def patient(oracle: Oracle, **options: object) -> Endpoint:
    """A client that waits as long as it likes, in no time."""
    return model_at(oracle.base_url, clock=HastyClock(), **options)
