"""The client of OpenAI-compatible endpoints, against the oracle and against llmock."""

import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from llmock.pytest_plugin import LLMock

from hub.base.clock import SystemClock
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.extraction import endpoint
from hub.extraction.circuit_breaker import FAILURES, OPEN, Breaker, Circuit, EndpointRefused
from hub.extraction.endpoint import MAX_REFUSALS, Chain, Endpoint
from hub.extraction.model import (
    Finish,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    OddAnswer,
    Price,
    PromptMessage,
)
from hub.extraction.prompt import schema_of
from protocol.errors import ErrorCode
from protocol.tables import TABLES
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.clock import FakeClock
from tests.support.oracle import Fault, Oracle, plant

SENTENCE = plant("Anna", "send the quote", "2026-12-01", "K-0007")


def question(text: str = SENTENCE, max_tokens: int = 500) -> ModelRequest:
    return ModelRequest(
        messages=(PromptMessage("system", "Find tasks."), PromptMessage("user", text)),
        schema=schema_of([TABLES["tasks"]], 5),
        max_tokens=max_tokens,
    )


async def ask(model: Endpoint, request: ModelRequest | None = None) -> ModelAnswer:
    """Ask a question by a client, and close the client."""
    async with aclosing(model):
        return await model.answer(request or question())


@pytest.mark.parametrize("fault", [Fault.RATE_LIMIT, Fault.RATE_LIMIT_MS])
async def test_no_question_is_sent_before_retry_after_of_the_endpoint(oracle: Oracle, fault: Fault) -> None:
    oracle.retry_after_s = 7.0
    clock = FakeClock()
    async with aclosing(model_at(oracle.base_url, clock=clock)) as model, anyio.create_task_group() as tasks:
        await model.answer(question("it works"))
        oracle.play(fault)
        tasks.start_soon(model.answer, question())
        await asleep(clock, 1)
        tasks.start_soon(model.answer, question("another user's text"))
        clock.advance(6.999)
        await anyio.wait_all_tasks_blocked()
        assert oracle.stats.calls == 2
        clock.advance(0.2)
    assert oracle.stats.calls == 4


@pytest.mark.parametrize(
    ("fault", "times", "options"),
    [
        (Fault.RATE_LIMIT, MAX_REFUSALS, {"max_tries": 1}),  # it costs no try
        (Fault.SERVER_ERROR, 2, {}),
        (Fault.MALFORMED_BODY, 2, {}),
        (Fault.DISCONNECT, 2, {}),
        (Fault.NO_CHOICES, 2, {}),
        (Fault.NO_FINISH, 2, {}),
        (Fault.HANG, 1, {"read_timeout_s": 0.2}),
    ],
)
async def test_question_is_retried_after_a_transient_provider_fault(
    oracle: Oracle, fault: Fault, times: int, options: dict[str, object]
) -> None:
    oracle.play(fault, times=times)
    answer = await ask(patient(oracle, **options))
    assert SENTENCE in answer.text
    assert answer.usage.requests == oracle.stats.calls == times + 1


async def test_tokens_and_cost_of_unusable_answers_are_counted(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR, Fault.NO_CHOICES, Fault.NO_FINISH)
    price = Price(prompt_nanos=250, completion_nanos=2_000)
    spent = (await ask(patient(oracle, price=price))).usage
    assert spent.prompt_tokens == oracle.stats.prompt_tokens > 0
    assert spent.completion_tokens == oracle.stats.completion_tokens > 0
    assert spent.cost_nanos == price.of(spent.prompt_tokens, spent.completion_tokens)


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (Fault.SERVER_ERROR, ModelUnavailable, "no answer in 3 tries"),
        (Fault.NO_CHOICES, OddAnswer, "answered with an empty list of choices"),
    ],
)
async def test_question_without_an_answer_fails_after_the_last_try_and_all_tokens_are_counted(
    oracle: Oracle, fault: Fault, kind: type[ModelError], message: str
) -> None:
    oracle.play(fault, times=9)
    with pytest.raises(kind, match=message) as caught:
        await ask(patient(oracle, max_tries=3))
    assert caught.value.retryable
    assert caught.value.spent.requests == oracle.stats.calls == 3
    assert caught.value.spent.prompt_tokens == oracle.stats.prompt_tokens


async def test_unreachable_endpoint_makes_the_model_unavailable() -> None:
    with pytest.raises(ModelUnavailable):
        await ask(model_at("http://127.0.0.1:1/v1", clock=HastyClock(), max_tries=2))


async def test_exhausted_endpoint_is_not_asked_before_retry_after(oracle: Oracle) -> None:
    oracle.play(Fault.RATE_LIMIT)
    oracle.retry_after_s = 3600
    clock = FakeClock()
    async with aclosing(model_at(oracle.base_url, clock=clock)) as model:
        with pytest.raises(ModelExhausted):
            await model.answer(question())
        clock.advance(1_000)
        with pytest.raises(ModelExhausted) as caught:
            await model.answer(question())
        assert (caught.value.retry_after_s, oracle.stats.calls) == (2_600, 1)
        clock.advance(2_600)
        assert SENTENCE in (await model.answer(question())).text


async def test_missing_json_schema_support_is_detected_by_a_single_question(oracle: Oracle) -> None:
    oracle.has_json_schema = False
    async with aclosing(model_at(oracle.base_url)) as model, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(model.answer, question())
    assert oracle.stats.refused == {"400": 1}
    assert [asked["response_format"]["type"] for asked in oracle.requests] == ["json_schema"] + [
        "json_object"
    ] * 5


async def test_endpoint_without_a_json_mode_gets_the_schema_in_the_prompt(oracle: Oracle) -> None:
    oracle.has_json_schema = oracle.has_json_object = False
    answer = await ask(model_at(oracle.base_url))
    assert SENTENCE in answer.text
    assert "response_format" not in oracle.requests[-1]
    assert "JSON Schema" in oracle.requests[-1]["messages"][0]["content"]


async def test_endpoint_ignoring_the_schema_gets_the_schema_in_the_prompt(oracle: Oracle) -> None:
    oracle.play(Fault.CHATTER)
    async with aclosing(model_at(oracle.base_url)) as model:
        await model.answer(question())
        await model.answer(question())
    assert "JSON Schema" in oracle.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize("fault", [Fault.RUNAWAY_BLANKS, Fault.RUNAWAY_RECORDS])
async def test_runaway_answer_is_cut_off_and_counted_as_runaway(oracle: Oracle, fault: Fault) -> None:
    metrics = Metrics()
    async with aclosing(model_at(oracle.base_url, metrics=metrics)) as model:
        oracle.play(fault)
        answer = await model.answer(question(max_tokens=2_000))
    assert answer.finish is Finish.CUT_OFF
    assert b'hub_llm_requests_total{model="oracle",outcome="runaway"} 1.0' in metrics.render()


async def test_answer_token_limit_is_reduced_to_the_limit_of_the_endpoint(
    oracle: Oracle, model: Endpoint
) -> None:
    oracle.answer_tokens = 2_048
    for number in range(3):
        assert (await model.answer(question(f"{number}", max_tokens=9_000))).finish is Finish.WHOLE
    assert [one["max_tokens"] for one in oracle.requests] == [9_000, 2_048, 2_048, 2_048]
    assert {one["response_format"]["type"] for one in oracle.requests} == {"json_schema"}
    await model.answer(question("3", max_tokens=500))
    assert oracle.requests[-1]["max_tokens"] == 500
    # An endpoint may take another body under the same key for a mistake.
    assert oracle.stats.keys_changed == 1


async def test_no_more_questions_are_in_flight_than_allowed(oracle: Oracle) -> None:
    oracle.latency_s = 0.02
    async with (
        aclosing(model_at(oracle.base_url, in_flight=3)) as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(12):
            tasks.start_soon(model.answer, question(f"text {number}"))
    assert oracle.stats.most_in_flight == 3


async def test_questions_respect_the_token_limit_of_response_headers() -> None:
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
    assert (provider.stats.answered, provider.stats.asked_early, provider.stats.calls <= 25) == (24, 0, True)


@pytest.mark.parametrize(
    ("times", "retry_after_s", "message", "waits_s", "calls"),
    [
        (1, 3600, None, 3600, 1),
        (1, 1e308, r"a wait of 1.16e\+303 days was requested", 86_400, 1),
        (20, 0.2, None, 0.2, MAX_REFUSALS + 1),
        (3, 50, None, 50, 3),  # two minutes are waited in all
    ],
)
async def test_a_long_or_endless_rate_limit_exhausts_the_model(
    oracle: Oracle, times: int, retry_after_s: float, message: str | None, waits_s: float, calls: int
) -> None:
    oracle.play(Fault.RATE_LIMIT, times=times)
    oracle.retry_after_s = retry_after_s
    with pytest.raises(ModelExhausted, match=message) as caught:
        await ask(patient(oracle))
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limit", waits_s)
    assert oracle.stats.calls == calls


@pytest.mark.parametrize(
    ("faults", "calls", "changed"),
    [
        ((Fault.SERVER_ERROR, Fault.DISCONNECT, Fault.RATE_LIMIT), 4, 0),
        ((Fault.NO_CHOICES,), 2, 1),  # lest the same answer comes again
    ],
)
async def test_retry_reuses_the_idempotency_key_unless_the_try_was_answered(
    oracle: Oracle, faults: tuple[Fault, ...], calls: int, changed: int
) -> None:
    oracle.play(*faults)
    await ask(patient(oracle))
    assert (oracle.stats.calls, oracle.stats.keys_changed) == (calls, changed)


@pytest.mark.parametrize(
    ("setting", "value", "finish"),
    [
        ("faults", [Fault.CUT_OFF], Finish.CUT_OFF),
        ("context_tokens", 10, Finish.TOO_LONG),
        ("padding_chars", 100_000, Finish.CUT_OFF),
    ],
)
async def test_model_answer_reports_the_finish_reason(
    oracle: Oracle, model: Endpoint, setting: str, value: Any, finish: Finish
) -> None:
    oracle.play(*value) if setting == "faults" else setattr(oracle, setting, value)
    assert (await model.answer(question())).finish is finish


FAULTS: dict[str, Callable[[LLMock], object]] = {
    "rate limit": lambda server: server.rate_limit(times=2, retry_after=0.2),
    **{
        str(status): partial(LLMock.fail, status=status, times=2, retry_after=0.05)
        for status in (408, 409, 429, 500, 502, 503, 504, 529)
    },
    "no wait requested": lambda server: server.fail(500, times=3),
    "long prompt": lambda server: server.context_overflow(times=None),
    "slow answer": lambda server: server.delay(0.3),
    "tokens a minute": lambda server: server.limits(tpm=40_000),
    "requests a minute": lambda server: server.limits(rpm=600),
}
REQUESTS = dict.fromkeys(("long prompt", "slow answer", "tokens a minute", "requests a minute"), 1)
REQUESTS["no wait requested"] = 4


@pytest.mark.parametrize("fault", FAULTS)
async def test_transient_fault_is_retried_by_provider_guidelines(llmock: LLMock, fault: str) -> None:
    FAULTS[fault](llmock)
    clock = HastyClock(0.1) if fault == "no wait requested" else SystemClock()
    answer = await ask(model_at(llmock.base_url(), clock=clock))
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == REQUESTS.get(fault, 3)
    assert (answer.finish is Finish.TOO_LONG) == (fault == "long prompt")


async def test_persistent_outage_is_retried_by_provider_guidelines_and_then_unavailable(
    llmock: LLMock,
) -> None:
    llmock.outage(status=500)
    with pytest.raises(ModelUnavailable):
        await ask(model_at(llmock.base_url(), clock=HastyClock(0.01)))
    llmock.assert_resilient(strict=True)


async def test_spent_quota_is_detected_by_a_single_question_of_many_concurrent_questions(
    llmock: LLMock,
) -> None:
    llmock.fail(429, times=None, code="insufficient_quota")
    ends: list[tuple[str, float | None]] = []

    async def ask(number: int) -> None:
        with pytest.raises(ModelExhausted, match="billing") as caught:
            await model.answer(question(f"text {number}"))
        ends.append((caught.value.reason, caught.value.retry_after_s))

    async with aclosing(model_at(llmock.base_url())) as model, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, number)
    assert (ends, len(llmock.requests)) == ([("billing", None)] * 8, 1)


@pytest.mark.parametrize(
    ("status", "told"), [(401, "api_key in"), (403, "api_key in"), (404, "name or base_url in")]
)
async def test_a_refusal_names_the_setting_to_correct(llmock: LLMock, status: int, told: str) -> None:
    llmock.fail(status, times=None)
    with pytest.raises(ModelRefused, match=rf"{told} \[model\]") as caught:
        await ask(model_at(llmock.base_url()))
    assert (caught.value.code, len(llmock.requests)) == (ErrorCode.MODEL_REFUSED, 1)


@pytest.mark.parametrize("base_url", ["https://10.0.0.1/v1", "http://169.254.169.254/v1"])
async def test_model_endpoint_at_a_private_address_is_refused(base_url: str) -> None:
    metrics = Metrics()
    with pytest.raises(ModelRefused, match=r"may not be called.*\[outbound\] allow"):
        await ask(model_at(base_url, insecure=True, metrics=metrics))
    assert b'hub_outbound_refused_total{reason="address"} 1.0' in metrics.render()


async def test_model_endpoint_at_an_allowed_private_address_is_asked(oracle: Oracle) -> None:
    rules = OutboundRules.parse(["127.0.0.0/8"])
    assert SENTENCE in (await ask(model_at(oracle.base_url, rules=rules))).text


async def test_redirecting_endpoint_is_asked_once_and_not_followed(oracle: Oracle) -> None:
    oracle.play(Fault.REDIRECT)
    with pytest.raises(ModelRefused, match="redirects are not followed"):
        await ask(model_at(oracle.base_url))
    assert oracle.stats.calls == 1


async def test_concurrent_questions_respect_a_request_rate_limit(llmock: LLMock) -> None:
    llmock.rate_limit(times=1, retry_after=0.3)
    async with (
        aclosing(model_at(llmock.base_url(), in_flight=4)) as model,
        anyio.create_task_group() as tasks,
    ):
        for number in range(4):
            tasks.start_soon(model.answer, question(f"text {number}"))
    llmock.assert_resilient(strict=True)


async def test_failing_endpoint_is_probed_by_a_single_question(oracle: Oracle) -> None:
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


async def test_control_question_is_answered_while_the_first_text_is_never_answered(oracle: Oracle) -> None:
    oracle.play(Fault.HANG)
    async with aclosing(model_at(oracle.base_url)) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(model.answer, question("a text without an end"))
        await until(lambda: oracle.stats.calls == 1)
        await model.answer(msgspec.structs.replace(question(), is_control=True))
        await model.answer(question("a text that waited"))
        tasks.cancel_scope.cancel()


async def test_text_waits_for_a_single_try_of_an_unanswered_text(oracle: Oracle) -> None:
    oracle.play(Fault.HANG)
    async with (
        aclosing(model_at(oracle.base_url, read_timeout_s=0.3)) as model,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(model.answer, question("a text without an end"))
        await until(lambda: oracle.stats.calls == 1)
        oracle.play(Fault.HANG)
        tasks.start_soon(model.answer, question("a text that waited"))
        await until(lambda: oracle.stats.calls == 3)
        await model.answer(question("another text"))
        tasks.cancel_scope.cancel()


async def test_requests_tokens_and_costs_of_an_endpoint_are_counted(oracle: Oracle) -> None:
    metrics = Metrics()
    oracle.play(Fault.RATE_LIMIT, Fault.SERVER_ERROR)
    spent = (await ask(patient(oracle, metrics=metrics, price=Price(250, 2_000)))).usage
    expected = {
        **{("requests_total", "outcome", outcome): 1 for outcome in ("rate_limited", "failed", "whole")},
        ("tokens_total", "kind", "prompt"): spent.prompt_tokens,
        ("cost_usd_total", "model", "oracle"): spent.cost_nanos / 1e9,
        ("waiting", "model", "oracle"): 0,
        ("circuit_open", "model", "oracle"): 0,
    }
    counted = {
        (name, label, value): metrics.registry.get_sample_value(
            f"hub_llm_{name}", {"model": "oracle", label: value}
        )
        for name, label, value in expected
    }
    assert counted == expected


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


class Pair:
    """Two endpoints, each at an oracle of its own, and the chain of both."""

    def __init__(self, first: Oracle, second: Oracle, endpoints: list[Endpoint], clock: FakeClock) -> None:
        self.first, self.second = first, second
        self.endpoints = endpoints
        self.chain = Chain(endpoints)
        self.clock = clock

    @property
    def asked(self) -> tuple[int, int]:
        """Return how often each endpoint was asked."""
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


@pytest.mark.parametrize(
    ("faults", "model", "asked"),
    [
        ([], "first", (1, 0)),
        ([Fault.RATE_LIMIT], "first", (2, 0)),  # a short one
        *(([fault], "second", (1, 1)) for fault in (Fault.SERVER_ERROR, Fault.SPENT_QUOTA, Fault.REDIRECT)),
    ],
)
async def test_second_endpoint_of_a_chain_answers_after_a_failure_of_the_first(
    pair: Pair, faults: list[Fault], model: str, asked: tuple[int, int]
) -> None:
    pair.first.play(*faults)
    answer = await pair.chain.answer(question())
    assert SENTENCE in answer.text
    assert (answer.model, answer.usage.requests, pair.asked) == (model, sum(asked), asked)


async def test_chain_uses_the_second_endpoint_during_a_long_rate_limit_of_the_first(pair: Pair) -> None:
    pair.first.retry_after_s = 3_600
    pair.first.play(Fault.RATE_LIMIT)
    for _ in range(3):
        assert (await pair.chain.answer(question())).model == "second"
    assert pair.asked == (1, 3)
    pair.clock.advance(3_600)
    assert (await pair.chain.answer(question())).model == "first"


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


async def test_repeatedly_failing_endpoint_of_a_chain_is_skipped_for_a_while(pair: Pair) -> None:
    pair.first.play(Fault.SERVER_ERROR, times=FAILURES)
    for _ in range(FAILURES + 2):
        assert (await pair.chain.answer(question())).model == "second"
    assert pair.asked == (FAILURES, FAILURES + 2)
    pair.clock.advance(OPEN.base_s)
    assert (await pair.chain.answer(question())).model == "first"


async def test_other_questions_use_the_next_endpoint_while_a_question_probes_the_first(pair: Pair) -> None:
    pair.first.play(Fault.SPENT_QUOTA)
    await pair.chain.answer(question())
    pair.clock.advance(OPEN.base_s)
    pair.first.latency_s = 0.5
    models: list[str] = []

    async def ask(text: str) -> None:
        models.append((await pair.chain.answer(question(text))).model)

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask, "on trial")
        await until(lambda: not pair.endpoints[0].is_available)
        asking.start_soon(ask, "meanwhile")
    assert models == ["second", "first"]


async def test_chain_still_asks_an_endpoint_when_all_circuits_are_open(pair: Pair) -> None:
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
async def test_chain_raises_the_least_severe_error_of_all_endpoints(
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
async def test_model_is_away_if_no_endpoint_of_the_chain_is_reachable(
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


async def test_answering_endpoint_is_reachable_despite_a_failing_model_list(
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


async def test_chain_uses_the_smallest_chunk_size_and_highest_price_of_endpoints() -> None:
    small = model_at("http://127.0.0.1:1/v1", name="small", chunk_tokens=500, price=Price(1, 9))
    large = model_at("http://127.0.0.1:1/v1", name="large", chunk_tokens=900, in_flight=4, price=Price(2, 3))
    async with aclosing(small), aclosing(large):
        chain = Chain([large, small])
        assert (chain.name, chain.in_flight, chain.chunk_tokens) == ("large", 4, 500)
        assert chain.price == Price(2, 9)


UNAVAILABLE = ModelUnavailable("no answer")
BILLING = ModelExhausted("no quota left", reason="billing")


def test_circuit_wait_doubles_per_failure_until_an_answer() -> None:
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


def test_manual_retry_of_an_exhausted_endpoint_half_opens_the_circuit() -> None:
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


def test_refused_requests_do_not_open_the_circuit() -> None:
    breaker = Breaker(FakeClock())
    for _ in range(10):
        breaker.failed(ModelRefused("this request is no good"))
    assert breaker.circuit is Circuit.CLOSED


async def test_import_of_the_client_library_leaves_no_objects_to_later_collections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "openai", raising=False)
    loaded = [[str(number)] for number in range(10_000)]

    def load(name: str) -> None:
        assert name == "openai" and not gc.isenabled()

    monkeypatch.setattr(endpoint, "import_module", load)
    gc.unfreeze()
    await endpoint.import_openai()
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(loaded)
    gc.unfreeze()
