"""The fault server of the tests does as it says; or the bars that stand on it mean nothing."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.oracle import Fault, Oracle, Traits, order, plant

SENTENCE = plant("Anna", "send the quote", "2026-12-01", "K-0007")
BORDER = "--- 0123456789abcdef"


@asynccontextmanager
async def asked(oracle: Oracle) -> AsyncIterator[httpx2.AsyncClient]:
    """The oracle, listening, and a client of it."""
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(oracle.serve)
        async with httpx2.AsyncClient(base_url=base_url, timeout=5) as client:
            yield client
        tasks.cancel_scope.cancel()


def question(text: str = SENTENCE, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 500} | more


async def ask(client: httpx2.AsyncClient, text: str = SENTENCE, **more: Any) -> httpx2.Response:
    return await client.post("/chat/completions", json=question(text, **more))


def records(answer: httpx2.Response) -> list[dict[str, Any]]:
    said: dict[str, Any] = json.loads(answer.json()["choices"][0]["message"]["content"])
    items: list[dict[str, Any]] = said["items"]
    return items


async def test_oracle_finds_facts_between_the_borders_only() -> None:
    before = plant("Bob", "do something else", "2026-12-02", "K-0008")
    async with asked(Oracle()) as client:
        answer = await ask(client, f"Context: {before}\n{BORDER}\nHello. {SENTENCE}\n{BORDER}")
    assert [record["quote"] for record in records(answer)] == [SENTENCE]


def test_the_fate_of_a_question_is_fixed_by_seed_question_and_attempt() -> None:
    traits = Traits(odds={Fault.SERVER_ERROR: 0.5}, seed=3)
    fates = [traits.fate("q", attempt) for attempt in range(20)]
    assert fates == [traits.fate("q", attempt) for attempt in range(20)]
    assert set(fates) == {Fault.SERVER_ERROR, None}
    assert fates != [traits.fate("other", attempt) for attempt in range(20)]


def test_frequency_of_oracle_faults_equals_the_odds() -> None:
    traits = Traits(odds={Fault.SERVER_ERROR: 0.1, Fault.CUT_OFF: 0.3})
    played = Counter(traits.fate(str(number), 1) for number in range(4_000))
    assert 300 < played[Fault.SERVER_ERROR] < 500
    assert 1_050 < played[Fault.CUT_OFF] < 1_350


async def test_oracle_refuses_beyond_the_token_limit_with_a_wait() -> None:
    oracle = Oracle(tokens_per_minute=60_000, burst_s=1.0)
    async with asked(oracle) as client:
        first = await ask(client, max_tokens=900)
        refused = await ask(client, "again", max_tokens=900)
    assert (first.headers["x-ratelimit-limit-tokens"], refused.status_code) == ("60000", 429)
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100
    assert 700 < int(refused.headers["retry-after-ms"]) < 900
    assert oracle.stats.refused == {"429": 1}


async def test_oracle_counts_questions_before_the_requested_wait() -> None:
    oracle = Oracle(retry_after_s=30.0).play(Fault.RATE_LIMIT_MS)
    async with asked(oracle) as client:
        await ask(client)
        await ask(client)
    assert oracle.stats.asked_early == 1


async def test_oracle_counts_a_repeated_question_with_another_border() -> None:
    oracle = Oracle()
    async with asked(oracle) as client:
        await ask(client, f"{BORDER}\n{SENTENCE}\n{BORDER}")
        await ask(client, f"{BORDER[:-1]}0\n{SENTENCE}\n{BORDER[:-1]}0")
    assert (oracle.stats.answered_twice, oracle.stats.distinct_prompts) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.DISCONNECT, Fault.MALFORMED_BODY, Fault.SERVER_ERROR])
async def test_oracle_does_not_count_a_retry_of_a_lost_answer(fault: Fault) -> None:
    oracle = Oracle().play(fault)
    async with asked(oracle) as client:
        try:
            await ask(client)
        except httpx2.RemoteProtocolError:
            assert fault is Fault.DISCONNECT
        assert len(records(await ask(client))) == 1
    assert oracle.stats.answered_twice == 0
    assert (oracle.stats.untold_tokens > 0) == (fault is not Fault.SERVER_ERROR)


async def test_oracle_does_not_answer_or_charge_a_closed_connection() -> None:
    oracle = Oracle().play(Fault.HANG)
    async with asked(oracle) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, client)
            with anyio.fail_after(10):
                while not oracle.stats.most_in_flight:  # noqa: ASYNC110 - it comes over a socket
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
        await ask(client)  # behind it: the hang-up has arrived
        assert (oracle.stats.hung_up, oracle.stats.answered, oracle.stats.answered_twice) == (1, 1, 0)


@pytest.mark.parametrize("fault", [Fault.RUNAWAY_BLANKS, Fault.RUNAWAY_RECORDS])
async def test_oracle_ends_a_runaway_answer_at_the_token_limit(fault: Fault) -> None:
    async with asked(Oracle().play(fault)) as client:
        answer = (await ask(client, max_tokens=300)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 300


async def test_only_a_gullible_oracle_follows_injected_orders() -> None:
    async with asked(Oracle()) as client:
        assert records(await ask(client, order(1))) == []
    async with asked(Oracle(is_gullible=True)) as client:
        obeyed = records(await ask(client, f"Hello. {order(1)} Bye."))
    assert [record["table"] for record in obeyed] == ["tasks", "users"]
    assert (obeyed[0]["quote"], obeyed[0]["isApproved"]) == (order(1), 1)


@pytest.mark.parametrize(("share", "status", "answered"), [(1.0, "completed", 2), (0.5, "expired", 1)])
async def test_completed_oracle_batch_has_all_answers_and_an_expired_batch_some(
    share: float, status: str, answered: int
) -> None:
    lines = [
        {"custom_id": f"q{n}", "method": "POST", "url": "/v1/chat/completions", "body": question()}
        for n in range(2)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    async with asked(Oracle(batch_share=share)) as client:
        upload = await client.post("/files", files={"file": ("q.jsonl", content)}, data={"purpose": "batch"})
        batch = (await client.post("/batches", json={"input_file_id": upload.json()["id"]})).json()
        batch = (await client.get(f"/batches/{batch['id']}")).json()
        output = await client.get(f"/files/{batch['output_file_id']}/content")
    assert batch["status"] == status
    assert [json.loads(line)["custom_id"] for line in output.text.splitlines()] == ["q0", "q1"][:answered]
