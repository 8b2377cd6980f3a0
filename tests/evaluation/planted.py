"""Bar 1: facts planted in forty long documents are found, all of them, once, and nothing else is."""

from collections.abc import Sequence
from typing import Any, Final

from tests.evaluation import documents
from tests.evaluation.documents import Planted
from tests.evaluation.figures import Figure, Told, at_least, exactly
from tests.evaluation.ours import Reading, read
from tests.support.oracle import oracle_process
from tests.support.oracle.traits import BAD_DAY

_DOCUMENTS: Final = 40
_SEEDS: Final = (1, 2)  # of documents and of faults
_IMPATIENT: Final[dict[str, Any]] = {"retry_after_s": 0.02, "odds": BAD_DAY}


async def measure(told: Told) -> list[Figure]:
    """Bar 1: a server that behaves, then the same documents on its very bad days."""
    told(documents.where_from())
    chosen = documents.planted(_DOCUMENTS)
    figures = await _ours("clean", chosen, told)
    for seed in _SEEDS:
        figures += await _ours(f"faults, seed {seed}", documents.planted(_DOCUMENTS, seed), told, seed=seed)
    return figures


async def _ours(name: str, chosen: Sequence[Planted], told: Told, *, seed: int | None = None) -> list[Figure]:
    traits = {} if seed is None else _IMPATIENT | {"seed": seed}
    async with oracle_process(**traits) as oracle:
        reading = await read(chosen, oracle.base_url)
        stats = await oracle.stats()
    _complain(reading, told)
    played = ", ".join(f"{fault} {count}" for fault, count in sorted(stats.played.items()))
    told(f"ours, {name}: {stats.calls} requests, {reading.seconds:.1f} s{f'; {played}' if played else ''}")
    figures = _found(f"ours, {name}", reading)
    figures.append(exactly(f"ours, {name}: questions answered twice", stats.answered_twice))
    return figures


def _found(name: str, reading: Reading) -> list[Figure]:
    tally = reading.tally
    return [
        at_least(f"{name}: recall of {tally.planted} facts", tally.recall, 1.0),
        exactly(f"{name}: false", tally.false),
        exactly(f"{name}: found twice", tally.doubled),
        exactly(f"{name}: documents given up", tally.failed),
        exactly(f"{name}: items whose place does not hold their quote", reading.misplaced),
    ]


def _complain(reading: Reading, told: Told) -> None:
    for name, why in reading.given_up.items():
        told(f"GIVEN UP {name}: {why}")
