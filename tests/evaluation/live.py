"""Bar 5: the embedded model on notes that nothing was tuned on, over three seeds."""

from statistics import mean
from typing import Final

import anyio

from hub.clock import SystemChance, SystemClock
from hub.extraction.embedded import EmbeddedModel
from tests.bench.score_model import make_notes, score_ours, score_seed
from tests.evaluation.figures import Figure, Told, at_least, exactly, only

_NOTES: Final = 24
_SEEDS: Final = (51_001, 51_002, 51_003)  # drawn for the score; a prompt is tuned on others
_LEAST_F1, _LEAST_RATIO = 0.45, 5.0


async def measure(told: Told) -> list[Figure]:
    """F1 of ours and of the seed's way, on the same notes."""
    ours, theirs = [], []
    embedded = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(embedded.serve)
        await embedded.ready()
        for seed in _SEEDS:
            notes = make_notes(seed, _NOTES)
            ours.append(await score_ours(base_url, notes))
            told(f"seed {seed}: {ours[-1].line('ours')}")
            theirs.append(await score_seed(base_url, notes))
            told(f"seed {seed}: {theirs[-1].line('seed')}")
        tasks.cancel_scope.cancel()
    scores = [score.f1 for score in ours]
    seeds = mean(score.f1 for score in theirs)
    return [
        at_least("F1, the least of three seeds", min(scores), _LEAST_F1, ".2f"),
        only("F1, mean and spread", f"{mean(scores):.2f} +- {(max(scores) - min(scores)) / 2:.2f}"),
        at_least("F1, times that of the seed's way", mean(scores) / (seeds or 0.01), _LEAST_RATIO, ".1f"),
        exactly("unparsable answers", sum(score.unparsable for score in ours)),
        only("seed's way: F1, mean", seeds, ".2f"),
        only("seed's way: unparsable answers", sum(score.unparsable for score in theirs), "d"),
    ]
