"""The embedded model on the English part of the gold set: three draws of documents, and how F1 spreads.

Each document is read once, whichever draws it is in: with temperature 0 it is answered
the same again. What the model finds alone, asked in free text, is measured by ``tests.bench.score_model``.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from statistics import mean
from typing import Final

import anyio

from hub.base.clock import SystemChance, SystemClock
from hub.base.toml.limits import BudgetSettings
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.local_model import CHUNK_TOKENS, MODEL_NAME, EmbeddedModel
from hub.extraction.model import Models
from hub.lab.evaluation import CountedModel, Evaluation
from hub.lab.gold import GoldDocument, Tally, added, in_all, read_gold
from hub.lab.planted import Lots
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, exactly, only

GOLD: Final = Path(__file__).parents[1] / "gold" / "en.jsonl"
ASKED: Final = "Find what there is to do, what happens when, and what is worth remembering."
WANTED: Final = ExtractionOptions(data_types=tuple(TABLES), prompt=ASKED)

_SEEDS: Final = (71_001, 71_002, 71_003)
_DRAWN: Final = 10  # documents, of each seed

Tallies = Mapping[str, Tally]


async def measure(told: Told) -> list[Figure]:
    """F1 over three draws."""
    documents = read_gold(GOLD.read_text(encoding="utf-8"))
    draws = {seed: drawn(documents, seed) for seed in _SEEDS}
    chosen = [one for one in documents if any(one in draw for draw in draws.values())]
    told(f"{len(chosen)} of {len(documents)} documents, {MODEL_NAME}, all five tables")
    embedded = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(embedded.serve)
        await embedded.ready()
        ours, model = await _ours(base_url, chosen, told)
        tasks.cancel_scope.cancel()
    scores = []
    for seed, draw in draws.items():
        tallies = _sum(ours, draw)
        scores.append(in_all(tallies).f1 or 0.0)
        told(f"seed {seed}: {_line(tallies)}")
    whole = _sum(ours, chosen)
    return [
        only("F1, mean and spread", f"{mean(scores):.2f} +- {(max(scores) - min(scores)) / 2:.2f}"),
        *(only(f"F1 of {table}", tally.f1 or 0.0, ".2f") for table, tally in whole.items()),
        exactly("unparsable answers", model.unparsable),
        only("requests, tokens", f"{model.spent.requests:,}, {_tokens(model):,}"),
    ]


def drawn(documents: Sequence[GoldDocument], seed: int) -> list[GoldDocument]:
    """As many as a draw has, none twice."""
    lots, left = Lots(f"gold {seed}"), list(documents)
    return [left.pop(lots.below(len(left))) for _ in range(_DRAWN)]


async def _ours(
    base_url: str, documents: Sequence[GoldDocument], told: Told
) -> tuple[dict[str, Tallies], CountedModel]:
    """Our whole way from document to items."""
    endpoint = Endpoint(
        base_url,
        MODEL_NAME,
        None,
        clock=SystemClock(),
        chance=SystemChance(),
        chunk_tokens=CHUNK_TOKENS,
        in_flight=1,
        is_literal=True,
    )
    scored: dict[str, Tallies] = {}
    async with aclosing(endpoint):
        model = CountedModel(endpoint, BudgetSettings(run_usd=0.0))
        extractor = Extractor(Models(model, model), secret=bytes(32))
        for number, gold in enumerate(documents, start=1):
            evaluation = Evaluation()
            document = gold.document(WANTED.timezone)
            evaluation.count(gold, await extractor.extract(document, WANTED), WANTED)
            scored[gold.id] = evaluation.tallies
            told(f"{number} of {len(documents)}: {gold.id}, {model.spent.requests} requests so far")
    return scored, model


def _sum(scored: Mapping[str, Tallies], documents: Sequence[GoldDocument]) -> Tallies:
    total: Tallies = {}
    for gold in documents:
        total = added(total, scored[gold.id])
    return total


def _line(tallies: Tallies) -> str:
    tally = in_all(tallies)
    return (
        f"P {tally.precision or 0.0:.2f}  R {tally.recall or 0.0:.2f}  F1 {tally.f1 or 0.0:.2f}  "
        f"labels {tally.labelled}  found {tally.found}  right {tally.right}"
    )


def _tokens(model: CountedModel) -> int:
    return model.spent.prompt_tokens + model.spent.completion_tokens
