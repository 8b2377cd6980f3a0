"""The size of chunks that ``hub eval --calibrate`` finds, against the best one, for three kinds of models.

The best size is known: that of a model that fades follows from how it fades, and the one of a model
with short answers from reading the documents in every size.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Final, NamedTuple

import anyio

from hub.base.clock import SystemChance, SystemClock
from hub.base.metrics import Metrics
from hub.extraction.chunk import estimated_tokens
from hub.extraction.extractor import first_questions
from hub.extraction.model import Price
from hub.lab.calibration import MAX_CUT, SIZES, TOLERANCE, Calibration, MeasuredSize, calibrate, plan
from hub.lab.evaluation import Means, evaluate
from hub.lab.gold import GoldDocument
from hub.lab.planted import planted_documents
from hub.runs.run_order import AgentConfig, extraction_config_of
from hub.settings.declared import declared_agent
from hub.settings.settings import Settings
from tests.evaluation.figures import Figure, Told, at_least, at_most, exactly, only
from tests.support.oracle import MODEL_NAME
from tests.support.oracle.reader import Reader

OFF: Final = 0.10  # that the size found may be off the best one
STEP: Final = 1.02  # ratio of the sizes among which the best one is looked for
READ_STEP: Final = 1.05  # likewise where all documents have to be read for each size
LONGEST: Final = 2_500  # size that is read at most, of the model with short answers
# Tokens of a text, and the share that a fading model finds in it.
FADING: Final = ((0, 0.992), (500, 0.954), (1_500, 0.878), (4_000, 0.649), (12_000, 0.1))
SHORT: Final = 1_024  # tokens, at which the third model cuts its answers off


class Case(NamedTuple):
    """A kind of model."""

    name: str
    traits: dict[str, Any]


def fading(tokens: float) -> float:
    """The share that the fading model finds."""
    for (start, one), (end, other) in pairwise(FADING):
        if tokens <= end:
            return one + (other - one) * (tokens - start) / (end - start)
    return FADING[-1][1]


async def measure(told: Told) -> list[Figure]:
    """The three models, in the built-in documents."""
    documents = planted_documents()
    figures: list[Figure] = []
    for case in (
        Case("sharp", {}),
        Case("fading", {"share": fading}),
        Case("short answers", {"cuts_at": SHORT}),
    ):
        async with reading(documents, **case.traits) as (agent, means):
            planned = plan(documents, agent, means.settings, Price())
            told(f"{case.name}: {planned.questions} questions and {planned.tokens:,} tokens planned")
            found = await calibrate(documents, agent, means, planned, on_measured=_tell(told))
            best = await _best(case.name, documents, agent, means, told)
        spent = sum(one.tokens for one in found.measured)
        told(
            f"{case.name}: {found.chunk_tokens} found, {best} is best;"
            f" R {found.share:.3f} of {found.best_share:.3f},"
            f" {sum(one.requests for one in found.measured)} requests, {spent:,} tokens,"
            f" {sum(one.seconds for one in found.measured):.1f} s"
        )
        figures += [
            only(f"{case.name}: size found", found.chunk_tokens, "d"),
            at_most(f"{case.name}: off the best size, {best}", abs(found.chunk_tokens / best - 1), OFF),
            exactly(f"{case.name}: tokens beyond the stated limit", max(0, spent - planned.most_tokens)),
        ]
        figures += _of(case.name, found)
    return figures


def _of(name: str, found: Calibration) -> list[Figure]:
    if name == "short answers":
        answer_tokens = found.answer_tokens or 0
        return [at_most(f"{name}: off the limit of {SHORT} tokens", abs(answer_tokens / SHORT - 1), 0.01)]
    return [
        at_least(f"{name}: share found, of that with the best size", found.share / found.best_share, 0.99)
    ]


def _tell(told: Told) -> Callable[[MeasuredSize], None]:
    def on_measured(one: MeasuredSize) -> None:
        told(
            f"  {one.chunk_tokens:>6}: R {one.recall:.3f}, {one.requests} requests, {one.tokens:,} tokens,"
            f" {one.cut_off} cut off"
        )

    return on_measured


async def _best(
    name: str, documents: list[GoldDocument], agent: AgentConfig, means: Means, told: Told
) -> float:
    match name:
        case "sharp":
            return SIZES[-1]
        case "fading":
            shares = {size: _share(documents, agent, size) for size in _sizes(STEP, SIZES[-1])}
            return max(
                size for size, share in shares.items() if share >= (1 - TOLERANCE) * max(shares.values())
            )
        case _:
            return await _longest_uncut(documents, agent, means, told)


def _share(documents: list[GoldDocument], agent: AgentConfig, size: int) -> float:
    """Return the share of all labels that the fading model finds, on average."""
    options, shares = extraction_config_of(agent), []
    for gold in documents:
        pieces = [piece for piece, _ in first_questions(gold.document("UTC"), options, size)]
        for label in gold.labels:
            piece = next(one for one in pieces if one.start <= label.places[0][0] < one.end)
            if label.table in options.data_types:
                shares.append(fading(estimated_tokens(gold.text[piece.start : piece.end])))
    return sum(shares) / len(shares)


async def _longest_uncut(
    documents: list[GoldDocument], agent: AgentConfig, means: Means, told: Told
) -> float:
    """The size before the first one of which more answers are cut off than may be."""
    longest, tokens = SIZES[0], {}
    for size in _sizes(READ_STEP, LONGEST):
        model = means.settings.model
        assert model is not None
        settings = means.settings.model_copy(
            update={"model": model.model_copy(update={"chunk_tokens": size})}
        )
        one, _ = await evaluate(
            documents, agent, means._replace(settings=settings), on_read=lambda count: None
        )
        tokens[size] = one.spent.prompt_tokens + one.spent.completion_tokens
        if one.cut_off > MAX_CUT * one.spent.requests:
            break
        longest = size
    told(f"  read in each size: {', '.join(f'{size}: {count:,}' for size, count in tokens.items())} tokens")
    return longest


def _sizes(step: float, most: int) -> Iterator[int]:
    size = float(SIZES[0])
    while size <= most:
        yield round(size)
        size *= step


@asynccontextmanager
async def reading(documents: list[GoldDocument], **traits: Any) -> AsyncIterator[tuple[AgentConfig, Means]]:
    """An agent that looks for tasks, and a model that finds those of *documents*."""
    reader = Reader(documents, **traits)
    async with anyio.create_task_group() as tasks:
        await tasks.start(reader.serve)
        yield means_at(reader.base_url)
        tasks.cancel_scope.cancel()


def means_at(base_url: str) -> tuple[AgentConfig, Means]:
    """An agent that looks for tasks, with the model at *base_url*."""
    agent = {"name": "notes", "device": "desk", "paths": ["/x"], "data_types": ["tasks"], "prompt": "Tasks."}
    settings = Settings.model_validate(
        {
            "model": {"kind": "openai", "base_url": base_url, "name": MODEL_NAME},
            "budget": {"run_usd": 0},
            "agents": [agent],
        }
    )
    declared = declared_agent(settings.agents[0], run_wall_s=settings.limits.run_wall_s)
    return declared, Means(settings, SystemClock(), SystemChance(), Metrics())
