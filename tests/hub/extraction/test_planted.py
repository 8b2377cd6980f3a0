"""Facts planted in long prose: the bars of ``tests.evaluation`` in small, on prose of our own making."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hub.lab.planted import Lots
from tests.evaluation.documents import Planted, in_scripts, made, plant_in
from tests.evaluation.ours import Reading, read
from tests.hub.extraction.conftest import HastyClock
from tests.support.oracle import Fault, Oracle
from tests.support.oracle.traits import BAD_DAY, WORST_DAY

DOCUMENTS = [
    plant_in(name, text[:20_000], Lots(name), 100 * number) for number, (name, text) in enumerate(made(3))
]


@asynccontextmanager
async def listening(**traits: Any) -> AsyncIterator[Oracle]:
    """An oracle of these traits, in this process."""
    oracle = Oracle(**traits)
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        yield oracle
        tasks.cancel_scope.cancel()


async def read_all(oracle: Oracle, documents: Sequence[Planted] = DOCUMENTS) -> Reading:
    """Read, and no place may be wrong."""
    reading = await read(documents, oracle.base_url, clock=HastyClock())
    assert reading.misplaced == 0
    return reading


def is_complete(reading: Reading) -> bool:
    """Every fact once, and nothing else."""
    tally = reading.tally
    return (tally.found, tally.false, tally.doubled, tally.failed) == (tally.planted, 0, 0, 0)


async def test_every_fact_of_long_documents_is_found_once() -> None:
    async with listening() as oracle:
        reading = await read_all(oracle)
    assert is_complete(reading)
    assert (reading.tally.planted, oracle.stats.answered_twice) == (36, 0)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (2, 3))])
async def test_extraction_with_many_provider_faults_is_complete_and_counts_all_cost(
    seed: int,
) -> None:
    async with listening(odds=BAD_DAY, seed=seed, retry_after_s=0.002) as oracle:
        reading = await read_all(oracle)
    assert sum(oracle.stats.played.values()) > 5
    assert is_complete(reading), reading.given_up
    assert (reading.spent.requests, reading.spent.prompt_tokens, reading.spent.completion_tokens) == (
        oracle.stats.calls,
        oracle.stats.prompt_tokens,
        oracle.stats.completion_tokens,
    )


@pytest.mark.parametrize(
    "fault", [fault for fault in WORST_DAY if fault not in (Fault.RATE_LIMIT, Fault.RATE_LIMIT_MS)]
)
async def test_extraction_is_complete_if_every_third_question_fails(fault: Fault) -> None:
    async with listening(odds={fault: 0.33}, seed=5) as oracle:
        reading = await read_all(oracle, DOCUMENTS[:1])
    assert oracle.stats.played
    assert is_complete(reading), reading.given_up


@pytest.mark.parametrize(("has_json_object", "probes"), [(True, 1), (False, 2)])
async def test_server_without_json_modes_yields_all_facts_after_a_single_probe_per_mode(
    has_json_object: bool, probes: int
) -> None:
    async with listening(has_json_schema=False, has_json_object=has_json_object) as oracle:
        reading = await read_all(oracle)
    assert is_complete(reading)
    assert oracle.stats.refused == {"400": probes}


async def test_a_changed_paragraph_makes_no_more_than_two_new_questions() -> None:
    paragraphs = DOCUMENTS[0].text.split("\n\n")
    async with listening() as oracle:
        await read_all(oracle, DOCUMENTS[:1])
        for changed in range(1, len(paragraphs), 15):
            before = oracle.stats.distinct_prompts
            longer = [f"{said} It went on." if at == changed else said for at, said in enumerate(paragraphs)]
            await read_all(oracle, [DOCUMENTS[0]._replace(text="\n\n".join(longer))])
            assert oracle.stats.distinct_prompts - before <= 2


async def test_extraction_is_complete_for_every_script_and_line_ending() -> None:
    async with listening() as oracle:
        # Each script, and each end of a line.
        reading = await read_all(
            oracle, [one for at, one in enumerate(in_scripts()) if at % 3 == at // 3 % 3]
        )
    assert is_complete(reading)


async def test_extraction_is_complete_for_a_model_of_few_records_and_small_context() -> None:
    async with listening(most_records=4, context_tokens=2_400) as oracle:
        assert is_complete(await read_all(oracle))
