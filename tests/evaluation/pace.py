"""Bar 9: a server that lets through so many tokens a minute is kept busy, and hardly ever refuses.

Two kinds of provider: one takes from the limit what an answer may have (``max_tokens``),
the other what it has.
"""

from collections.abc import Iterator
from typing import Final

import anyio

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.model import ModelError
from tests.evaluation.documents import long_texts
from tests.evaluation.figures import Figure, Told, at_least, at_most, exactly, only
from tests.evaluation.ours import TASKS, extractor_at
from tests.support.oracle import Stats, oracle_process

TOKENS_PER_MINUTE: Final = 60_000
_LASTS_S: Final = 180.0
_USERS: Final = 4  # documents at once


async def measure(told: Told) -> list[Figure]:
    """Three minutes of each kind, learnt from the headers alone."""
    figures: list[Figure] = []
    for name, counts_max_tokens in (("counts max_tokens", True), ("counts tokens used", False)):
        stats = await _held_to(counts_max_tokens=counts_max_tokens)
        told(
            f"{name}: {stats.calls} calls, {stats.answered} answered, {stats.charged_tokens:,} tokens taken "
            f"in {stats.seconds:.0f} s"
        )
        figures += _judged(name, stats)
    return figures


async def _held_to(*, counts_max_tokens: bool) -> Stats:
    limit = {"tokens_per_minute": TOKENS_PER_MINUTE, "counts_max_tokens": counts_max_tokens}
    async with oracle_process(**limit, latency_s=0.05) as oracle:
        with anyio.move_on_after(_LASTS_S):
            async with extractor_at(oracle.base_url) as extractor, anyio.create_task_group() as readers:
                todo = _documents()
                for _ in range(_USERS):
                    readers.start_soon(_read_on, extractor, todo)
        return await oracle.stats()


async def _read_on(extractor: Extractor, todo: Iterator[Document]) -> None:
    for document in todo:
        try:
            await extractor.extract(document, TASKS)
        except ModelError:
            continue  # its refusals are counted at the server; the others go on


def _documents() -> Iterator[Document]:
    """Without an end."""
    texts = long_texts()
    while True:
        for name, text in texts.items():
            yield Document(unit_key=f"{name}.txt", text=text, content_hash="0" * 64)


def _judged(name: str, stats: Stats) -> list[Figure]:
    quota = TOKENS_PER_MINUTE * stats.seconds / 60
    refused = stats.refused.get("429", 0) / (stats.calls or 1)
    return [
        at_most(f"{name}: share of calls refused", refused, 0.05),
        exactly(f"{name}: asked again before Retry-After", stats.asked_early),
        at_least(f"{name}: share of the quota used", stats.charged_tokens / quota, 0.90),
        only(f"{name}: share of quota and burst", stats.charged_tokens / (quota + TOKENS_PER_MINUTE)),
    ]
