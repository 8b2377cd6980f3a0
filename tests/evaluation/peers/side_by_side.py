"""The table: found, found twice, made up, lost, requests, tokens, seconds; on a good day and on a bad one."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from tests.evaluation import documents, ours
from tests.evaluation.documents import Planted
from tests.evaluation.figures import Figure, Told, exactly, only
from tests.evaluation.peers.environment import PEERS, Peer, PeerMissing, read
from tests.evaluation.tally import Tally
from tests.support.oracle import Stats, oracle_process
from tests.support.oracle.traits import BAD_DAY

_DOCUMENTS: Final = 40
_OURS: Final = "ours"
_DAYS: Final[dict[str, dict[str, Any]]] = {
    "a good day": {},
    "a very bad day": {"odds": BAD_DAY, "retry_after_s": 0.02, "seed": 1},
}
_WHY: Final = {  # where one question for a whole document is ahead
    "requests": "not one for each document: chunks",
    "tokens": "the rules go with each chunk",
    "seconds": "more questions; broken ones again",
}


class Row(msgspec.Struct):
    """One line of the table."""

    name: str
    tally: Tally
    stats: Stats
    seconds: float

    @property
    def columns(self) -> dict[str, float]:
        """Each so that less is better."""
        return {
            "missed": self.tally.planted - self.tally.found,
            "twice": self.tally.doubled,
            "made up": self.tally.false,
            "lost": self.tally.failed,
            "requests": self.stats.calls,
            "tokens": self.stats.tokens + self.stats.untold_tokens,
            "seconds": round(self.seconds, 1),
        }


async def measure(told: Told) -> list[Figure]:
    """Both days; where ours is not first, it says why."""
    chosen = documents.planted(_DOCUMENTS)
    told(f"{_DOCUMENTS} documents, {_DOCUMENTS * documents.FACTS} facts; {documents.where_from()}")
    figures: list[Figure] = []
    for day, traits in _DAYS.items():
        table = [await _ours(chosen, traits)]
        for peer in PEERS:
            try:
                table.append(await _peers(peer, chosen, traits))
            except PeerMissing as missing:
                told(str(missing))
        _print(day, table, told)
        figures += _judged(day, table)
    return figures


async def _ours(chosen: Sequence[Planted], traits: dict[str, Any]) -> Row:
    async with oracle_process(**traits) as oracle:
        reading = await ours.read(chosen, oracle.base_url)
        return Row(_OURS, reading.tally, await oracle.stats(), reading.seconds)


async def _peers(peer: Peer, chosen: Sequence[Planted], traits: dict[str, Any]) -> Row:
    tally = Tally()
    async with oracle_process(**traits) as oracle:
        outcome = await read(peer, chosen, oracle.base_url)
        for document, answer in zip(chosen, outcome.answers, strict=True):
            tally.add(document.titles, answer.titles)
            tally.failed += answer.error is not None
        return Row(peer.name, tally, await oracle.stats(), outcome.seconds)


def _print(day: str, table: Sequence[Row], told: Callable[[str], None]) -> None:
    told(f"{day}:")
    names = table[0].columns
    told(f"  {'':28}" + "".join(f"{name:>12}" for name in ("found", *names)))
    for row in table:
        told(
            f"  {row.name:28}{row.tally.found:>12}"
            + "".join(f"{value:>12,.10g}" for value in row.columns.values())
        )


def _judged(day: str, table: Sequence[Row]) -> list[Figure]:
    mine, *others = (row.columns for row in table)
    figures: list[Figure] = []
    for column, value in mine.items():
        first = all(value <= other[column] for other in others)
        if column in _WHY:
            figures.append(only(f"{day}, {column}: ours is first", "yes" if first else f"no: {_WHY[column]}"))
        else:
            figures.append(exactly(f"{day}, {column}: peers before ours", int(not first)))
    return figures
