"""Many questions at once, against llmock and against the oracle."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest
from llmock.pytest_plugin import LLMock
from llmock.routers import batch as llmock_batches

from hub.base.metrics import Metrics
from hub.extraction.batch import BatchClient
from hub.extraction.endpoint import Endpoint
from hub.extraction.model import (
    BATCH_REQUESTS,
    Finish,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    Price,
)
from tests.hub.extraction.conftest import model_at
from tests.hub.extraction.test_endpoint import question
from tests.support.clock import FakeClock
from tests.support.oracle import Oracle, plant

# llmock does not close the form that a file comes in; its own process-wide garbage is no fault of ours.
leaves_uploads_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PRICE = Price(prompt_nanos=250, completion_nanos=2_000)


def questions(count: int) -> dict[str, ModelRequest]:
    """So many, by the names that their answers will have."""
    return {f"q{number}": question(sentence(number)) for number in range(count)}


def sentence(number: int) -> str:
    return plant("Anna", f"send quote {number}", "2026-12-01", f"K-{number:04d}")


def batches_of(endpoint: Endpoint) -> BatchClient:
    return BatchClient(endpoint, clock=FakeClock())


@pytest.fixture
async def batches(oracle: Oracle) -> AsyncIterator[BatchClient]:
    """The batches of the oracle."""
    async with (
        aclosing(model_at(oracle.base_url, price=PRICE)) as endpoint,
        aclosing(batches_of(endpoint)) as client,
    ):
        yield client


async def test_batch_result_maps_each_question_name_to_the_answer(
    oracle: Oracle, batches: BatchClient
) -> None:
    asked = questions(6)
    result = await batches.check(await batches.submit(asked, key="run 1"))
    assert result.is_done
    assert (result.failed, list(result.answers)) == ({}, list(asked))
    for number in range(6):
        answer = result.answers[f"q{number}"]
        assert sentence(number) in answer.text
        assert (answer.finish, answer.model) == (Finish.WHOLE, "oracle")
    assert (oracle.stats.batches, oracle.stats.batched, oracle.stats.calls) == (1, 6, 0)


async def test_batch_answers_are_charged_half_the_price(oracle: Oracle, batches: BatchClient) -> None:
    result = await batches.check(await batches.submit(questions(5), key="run 1"))
    for answer in result.answers.values():
        spent = answer.usage
        assert spent.requests == 1
        assert spent.cost_nanos == PRICE.of(spent.prompt_tokens, spent.completion_tokens) // 2 > 0
    told = sum(answer.usage.prompt_tokens for answer in result.answers.values())
    assert told == oracle.stats.prompt_tokens


async def test_expired_batch_returns_the_finished_answers_and_reports_the_rest(
    oracle: Oracle, batches: BatchClient
) -> None:
    oracle.batch_share = 0.6
    result = await batches.check(await batches.submit(questions(5), key="run 1"))
    assert result.is_done
    assert list(result.answers) == ["q0", "q1", "q2"]
    assert result.failed == dict.fromkeys(("q3", "q4"), "This request was not done in time.")


async def test_unfinished_batch_returns_no_answers(oracle: Oracle, batches: BatchClient) -> None:
    oracle.batch_s = 3_600
    result = await batches.check(await batches.submit(questions(1), key="run 1"))
    assert (result.is_done, result.answers, result.failed) == (False, {}, {})


async def test_an_unrecorded_batch_is_found_by_the_hubs_own_key(batches: BatchClient) -> None:
    ids = [await batches.submit(questions(1), key=f"run {number}") for number in range(3)]
    assert await batches.find("run 1") == ids[1]
    assert await batches.find("run 9") is None


@leaves_uploads_open
async def test_batch_is_processed_and_counted_at_an_independent_server(
    llmock: LLMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llmock_batches, "_BATCH_DELAY", 0.0)
    metrics = Metrics()
    async with (
        aclosing(model_at(llmock.base_url(), metrics=metrics, price=PRICE)) as endpoint,
        aclosing(batches_of(endpoint)) as client,
    ):
        result = await client.check(await client.submit(questions(3), key="run 1"))
    assert result.is_done
    assert result.answers.keys() == {"q0", "q1", "q2"}
    spent = sum(answer.usage.prompt_tokens for answer in result.answers.values())
    of = {"model": "oracle"}
    value = metrics.registry.get_sample_value
    assert value("hub_llm_tokens_total", of | {"kind": "prompt"}) == spent > 0
    assert value("hub_llm_requests_total", of | {"outcome": "whole"}) == 3


async def test_batch_questions_use_the_dialect_learned_from_the_endpoint(oracle: Oracle) -> None:
    oracle.has_json_schema = False
    async with aclosing(model_at(oracle.base_url)) as endpoint:
        await endpoint.answer(question())
        async with aclosing(batches_of(endpoint)) as client:
            result = await client.check(await client.submit(questions(1), key="run 1"))
    assert sentence(0) in result.answers["q0"].text
    assert endpoint.dialect.mode == "json_object"


async def test_batch_of_zero_or_too_many_questions_is_refused(batches: BatchClient) -> None:
    for requests in ({}, dict.fromkeys(map(str, range(BATCH_REQUESTS + 1)), question())):
        with pytest.raises(ValueError, match="1 to 1000 questions"):
            await batches.submit(requests, key="run 1")


async def test_check_of_an_unknown_batch_is_refused(batches: BatchClient) -> None:
    with pytest.raises(ModelRefused, match="not this one any more"):
        await batches.check("batch_999")


async def test_batch_at_an_endpoint_without_batches_is_refused(llmock: LLMock) -> None:
    llmock.fail(404, times=None)
    async with aclosing(model_at(llmock.base_url())) as endpoint, aclosing(batches_of(endpoint)) as client:
        with pytest.raises(ModelRefused, match="has no batches"):
            await client.submit(questions(1), key="run 1")


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (429, "insufficient_quota", ModelExhausted, "billing"),
        (429, "rate_limit_exceeded", ModelExhausted, "takes no batches for now"),
        (503, None, ModelUnavailable, "gave no answer about a batch"),
        (401, None, ModelRefused, "api_key in"),
        (400, None, ModelRefused, "refused a batch"),
    ],
)
async def test_refused_batch_is_reported_like_a_single_question(
    llmock: LLMock, status: int, code: str | None, kind: type[Exception], told: str
) -> None:
    llmock.fail(status, times=None, code=code)
    async with aclosing(model_at(llmock.base_url())) as endpoint, aclosing(batches_of(endpoint)) as client:
        with pytest.raises(kind, match=told):
            await client.submit(questions(1), key="run 1")
    assert len(llmock.requests) == 1


async def test_batch_search_at_an_unreachable_endpoint_is_unavailable() -> None:
    async with (
        aclosing(model_at("http://127.0.0.1:1/v1")) as endpoint,
        aclosing(batches_of(endpoint)) as client,
    ):
        with pytest.raises(ModelUnavailable), anyio.fail_after(5):
            await client.find("run 1")


async def test_discarded_batch_has_no_files_left_at_the_endpoint(
    batches: BatchClient,
) -> None:
    batch_id = await batches.submit(questions(3), key="run 1")
    assert (await batches.check(batch_id)).is_done
    await batches.discard(batch_id)
    with pytest.raises(ModelRefused):  # its files are gone
        await batches.check(batch_id)
    await batches.discard(batch_id)  # twice does no harm
