"""Bar 7: what the hub says a run cost is what the server counted, and a budget holds."""

import tempfile
from pathlib import Path
from typing import Any, Final

from tests.evaluation import documents
from tests.evaluation.figures import Figure, Told, at_most, exactly, only
from tests.evaluation.ours import read
from tests.evaluation.stage import played, run
from tests.scenarios.scene import rows
from tests.support.oracle import Stats, oracle_process
from tests.support.oracle.traits import BAD_DAY

_DOCUMENTS: Final = 12
_FAULTS: Final[dict[str, Any]] = {"odds": BAD_DAY, "retry_after_s": 0.02, "seed": 7}
_PRICE: Final = "price_in_usd = 2.0\nprice_out_usd = 10.0\n"
_NANOS_IN, _NANOS_OUT = 2_000, 10_000  # a token, of that price
_SUMS: Final = """
SELECT COALESCE(sum(requests), 0), COALESCE(sum(prompt_tokens), 0), COALESCE(sum(completion_tokens), 0),
       COALESCE(sum(cost_nanos), 0)
FROM model_calls
"""
_RUN: Final = "SELECT model_requests, prompt_tokens, completion_tokens, cost_nanos FROM runs"


async def measure(told: Told) -> list[Figure]:
    """Sums of extraction alone and of a hub, on very bad days; then budgets in tokens and in money."""
    chosen = documents.planted(_DOCUMENTS, seed=7)
    async with oracle_process(**_FAULTS) as oracle:
        spent = (await read(chosen, oracle.base_url)).spent
        stats = await oracle.stats()
    figures = _equal("extraction", (spent.requests, spent.prompt_tokens, spent.completion_tokens), stats)
    figures.append(only("tokens nobody could know of: bodies that broke off", stats.untold_tokens, ","))
    files = {f"{one.name}.txt": one.text for one in chosen}
    figures += await _through_a_hub(files, told)
    for name, settings, limit in (
        ("run_tokens = 40,000", "[budget]\nrun_tokens = 40_000\n", 40_000),
        ("run_usd = 0.10", "[budget]\nrun_usd = 0.10\n", 100_000_000),
    ):
        figures += await _within(name, files, settings, limit, told)
    return figures


async def _through_a_hub(files: dict[str, str], told: Told) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            oracle_process(**_FAULTS) as oracle,
            played(Path(folder), files, oracle, model=_PRICE, settings="[budget]\nrun_usd = 100.0\n") as play,
        ):
            ended = await run(play)
            stats = await oracle.stats()
            ((*by_run, run_nanos),) = rows(play.folder / "hub.db", _RUN)
            ((*by_call, call_nanos),) = rows(play.folder / "hub.db", _SUMS)
    told(f"through a hub: {ended['outcome']}, {run_nanos / 1e9:.4f} US dollars")
    nanos = stats.prompt_tokens * _NANOS_IN + stats.completion_tokens * _NANOS_OUT
    return [
        *_equal("the run's row", tuple(by_run), stats),
        *_equal("the rows of calls", tuple(by_call), stats),
        exactly("the run's row: billionths of a dollar beside the server's", run_nanos - nanos),
        exactly("the rows of calls: likewise", call_nanos - nanos),
    ]


async def _within(name: str, files: dict[str, str], settings: str, limit: int, told: Told) -> list[Figure]:
    """A budget far below what the folder costs."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            oracle_process() as oracle,
            played(Path(folder), files, oracle, model=_PRICE, settings=settings) as play,
        ):
            ended = await run(play)
            stats = await oracle.stats()
    nanos = stats.prompt_tokens * _NANOS_IN + stats.completion_tokens * _NANOS_OUT
    spent = nanos if "usd" in name else stats.tokens
    codes = sorted({error["code"] for error in ended["errors"]})
    told(f"budget {name}: {ended['outcome']} ({', '.join(codes)}), {spent / limit:.0%} of it used")
    return [
        at_most(f"budget {name}: overrun", max(0, spent - limit), 0, ",d"),
        exactly(f"budget {name}: runs that do not say so", int(codes != ["budget_reached"])),
    ]


def _equal(name: str, told: tuple[int, ...], stats: Stats) -> list[Figure]:
    requests, prompt_tokens, completion_tokens = told
    return [
        exactly(f"{name}: requests beside the server's {stats.calls:,}", requests - stats.calls),
        exactly(f"{name}: prompt tokens beside {stats.prompt_tokens:,}", prompt_tokens - stats.prompt_tokens),
        exactly(
            f"{name}: completion tokens beside {stats.completion_tokens:,}",
            completion_tokens - stats.completion_tokens,
        ),
    ]
