"""The client of OpenAI-compatible endpoints, against the oracle and against llmock."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from llmock.pytest_plugin import LLMock

from hub.extraction.llm import OpenAIModel
from hub.extraction.model import (
    Finish,
    Message,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
)
from hub.extraction.schemas import schema_of
from hub.metrics import Metrics
from hub.outbound import MAX_ANSWER_BYTES, OutboundRules
from protocol.errors import ErrorCode
from protocol.tables import TableName
from tests.hub.extraction.conftest import model_at
from tests.support.clock import FakeClock
from tests.support.model import Fault, Oracle, plant

SENTENCE = plant("Anna", "send the quote", "2026-12-01", "K-0007")


def question(text: str = SENTENCE, max_tokens: int = 500) -> ModelRequest:
    return ModelRequest(
        messages=(Message("system", "Find tasks."), Message("user", text)),
        schema=schema_of([TableName.TASKS], 5),
        max_tokens=max_tokens,
    )


async def test_an_answer_comes_with_what_it_cost(oracle: Oracle, model: OpenAIModel) -> None:
    answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert answer.finish is Finish.WHOLE
    assert answer.usage.requests == 1
    assert answer.usage.prompt_tokens == oracle.stats.prompt_tokens > 0
    assert answer.usage.completion_tokens == oracle.stats.completion_tokens > 0


@pytest.mark.parametrize("fault", [Fault.RATE_LIMIT, Fault.RATE_LIMIT_MS])
async def test_nobody_asks_before_the_endpoint_allows_it(oracle: Oracle, fault: Fault) -> None:
    oracle.retry_after_s = 7.0
    clock = FakeClock()
    async with model_at(oracle.base_url, clock=clock).opened() as model, anyio.create_task_group() as tasks:
        await model.answer(question("it works"))
        oracle.play(fault)
        tasks.start_soon(model.answer, question())
        await asleep(clock, 1)
        tasks.start_soon(model.answer, question("somebody else's text"))
        await asleep(clock, 2)
        clock.advance(6.9)
        await anyio.wait_all_tasks_blocked()
        assert oracle.stats.calls == 2
        clock.advance(0.2)
    assert oracle.stats.calls == 4


async def test_a_retry_date_is_obeyed_like_seconds() -> None:
    clock = FakeClock(datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    model = model_at("http://127.0.0.1:1/v1", clock=clock)
    wait_s = model._retry_after_s({"retry-after": "Mon, 05 Jan 2026 09:01:30 GMT"})
    assert wait_s == timedelta(minutes=1, seconds=30).total_seconds()
    assert model._retry_after_s({"retry-after": "soon"}) is None


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.MALFORMED_BODY])
async def test_a_fault_of_the_provider_is_sat_out(oracle: Oracle, fault: Fault) -> None:
    oracle.play(fault, times=2)
    async with patient(oracle).opened() as model:
        answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert answer.usage.requests == oracle.stats.calls == 3


async def test_tokens_of_broken_answers_are_not_invented(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR)
    async with patient(oracle).opened() as model:
        answer = await model.answer(question())
    assert answer.usage.prompt_tokens == oracle.stats.prompt_tokens


async def test_after_so_many_tries_the_model_is_unavailable(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR, times=9)
    async with patient(oracle, max_tries=3).opened() as model:
        with pytest.raises(ModelUnavailable, match="no answer in 3 tries") as caught:
            await model.answer(question())
    assert caught.value.retryable
    assert caught.value.spent.requests == oracle.stats.calls == 3


async def test_an_endpoint_that_is_not_there_makes_the_model_unavailable() -> None:
    async with model_at("http://127.0.0.1:1/v1", clock=HastyClock(), max_tries=2).opened() as model:
        with pytest.raises(ModelUnavailable):
            await model.answer(question())


async def test_an_endpoint_that_hangs_is_given_up(oracle: Oracle) -> None:
    oracle.play(Fault.HANG)
    async with patient(oracle, read_timeout_s=0.2).opened() as model:
        answer = await model.answer(question())
    assert answer.usage.requests == 2


async def test_a_long_rate_limit_exhausts_the_model_at_once(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT)
    oracle.retry_after_s = 3600
    async with model_at(oracle.base_url).opened() as model:
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limit", 3600)
    assert oracle.stats.calls == 1


async def test_an_endless_rate_limit_exhausts_the_model_in_the_end(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT, times=9)
    async with patient(oracle, max_tries=3).opened() as model:
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
    assert caught.value.reason == "rate_limit"
    assert oracle.stats.calls == 3


async def test_an_endpoint_without_json_schema_is_found_out_once(oracle: Oracle) -> None:
    oracle.has_json_schema = False
    async with model_at(oracle.base_url).opened() as model, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(model.answer, question())
    assert oracle.stats.refused == {"400": 1}
    assert [asked["response_format"]["type"] for asked in oracle.requests] == ["json_schema"] + [
        "json_object"
    ] * 5


async def test_an_endpoint_without_any_json_mode_is_asked_in_words(oracle: Oracle) -> None:
    oracle.has_json_schema = oracle.has_json_object = False
    async with model_at(oracle.base_url).opened() as model:
        answer = await model.answer(question())
    assert SENTENCE in answer.text
    assert "response_format" not in oracle.requests[-1]
    assert "JSON Schema" in oracle.requests[-1]["messages"][0]["content"]


async def test_a_cut_off_answer_is_told_apart_from_a_whole_one(oracle: Oracle, model: OpenAIModel) -> None:
    oracle.play(Fault.CUT_OFF)
    assert (await model.answer(question())).finish is Finish.CUT_OFF


async def test_a_question_too_long_for_the_model_is_no_refusal(oracle: Oracle, model: OpenAIModel) -> None:
    oracle.context_tokens = 10
    assert (await model.answer(question())).finish is Finish.TOO_LONG


async def test_an_endless_answer_is_cut_off_at_our_own_cap(oracle: Oracle, model: OpenAIModel) -> None:
    oracle.padding_chars = MAX_ANSWER_BYTES
    assert (await model.answer(question())).finish is Finish.CUT_OFF


async def test_no_more_questions_are_in_flight_than_allowed(oracle: Oracle) -> None:
    oracle.latency_s = 0.02
    async with (
        model_at(oracle.base_url, in_flight=3).opened() as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(12):
            tasks.start_soon(model.answer, question(f"text {number}"))
    assert oracle.stats.most_in_flight == 3


async def test_a_rate_limit_is_handled_as_providers_ask(llmock: LLMock) -> None:
    llmock.rate_limit(times=2, retry_after=0.2)
    async with model_at(llmock.base_url()).opened() as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)


async def test_an_outage_is_handled_as_providers_ask(llmock: LLMock) -> None:
    llmock.fail(500, times=3)
    async with model_at(llmock.base_url(), clock=HastyClock(0.1)).opened() as model:
        await model.answer(question())
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 4


async def test_a_spent_quota_is_asked_once_and_told_as_billing(llmock: LLMock) -> None:
    llmock.fail(429, times=None, code="insufficient_quota")
    async with model_at(llmock.base_url()).opened() as model:
        with pytest.raises(ModelExhausted, match="billing") as caught:
            await model.answer(question())
    assert (caught.value.reason, caught.value.retry_after_s) == ("billing", None)
    assert len(llmock.requests) == 1


@pytest.mark.parametrize(
    ("status", "told"), [(401, "api_key in"), (403, "api_key in"), (404, "name or base_url in")]
)
async def test_a_refusal_names_the_setting_to_correct(llmock: LLMock, status: int, told: str) -> None:
    llmock.fail(status, times=None)
    async with model_at(llmock.base_url()).opened() as model:
        with pytest.raises(ModelRefused, match=rf"{told} \[model\]") as caught:
            await model.answer(question())
    assert caught.value.code is ErrorCode.MODEL_REFUSED
    assert len(llmock.requests) == 1


@pytest.mark.parametrize("base_url", ["https://10.0.0.1/v1", "http://169.254.169.254/v1"])
async def test_an_address_that_is_not_public_is_not_asked(base_url: str) -> None:
    metrics = Metrics()
    async with model_at(base_url, insecure=True, metrics=metrics).opened() as model:
        with pytest.raises(ModelRefused, match=r"may not be called.*\[outbound\] allow"):
            await model.answer(question())
    assert b'hub_outbound_refused_total{reason="address"} 1.0' in metrics.render()


async def test_an_address_that_is_listed_is_asked(oracle: Oracle) -> None:
    rules = OutboundRules.parse(["127.0.0.0/8"])
    async with model_at(oracle.base_url, rules=rules).opened() as model:
        assert SENTENCE in (await model.answer(question())).text


async def test_an_endpoint_that_redirects_is_asked_once_and_not_followed(oracle: Oracle) -> None:
    oracle.play(Fault.REDIRECT)
    async with model_at(oracle.base_url).opened() as model:
        with pytest.raises(ModelRefused, match="redirects are not followed"):
            await model.answer(question())
    assert oracle.stats.calls == 1


async def test_a_quota_of_requests_a_minute_is_kept_to(llmock: LLMock) -> None:
    llmock.rate_limit(times=1, retry_after=0.3)
    async with (
        model_at(llmock.base_url(), in_flight=4).opened() as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(4):
            tasks.start_soon(model.answer, question(f"text {number}"))
    llmock.assert_resilient(strict=True)


class HastyClock(FakeClock):
    """Sleeps a small share of what it is asked to, so that real servers see the order of waits."""

    def __init__(self, share: float = 0.001) -> None:
        super().__init__()
        self._share = share

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds * self._share)
        self.advance(seconds)


async def asleep(clock: FakeClock, tasks: int) -> None:
    """Wait until so many tasks sleep; the network has to be waited for as well."""
    for _ in range(500):
        if clock.sleeping == tasks:
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{clock.sleeping} tasks sleep, not {tasks}")


def patient(oracle: Oracle, **options: object) -> OpenAIModel:
    """A client that waits as long as it likes, in no time."""
    return model_at(oracle.base_url, clock=HastyClock(), **options)
