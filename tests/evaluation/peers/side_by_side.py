"""The table: found, found twice, made up, lost, requests, tokens, seconds; on a good day and on a bad one.

Ours stands there twice: with the size of chunks that a model gets of which nothing is known, and with
the one that a calibration finds for this model, in other documents.
"""

import json
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import anyio.to_thread
import msgspec

from hub.extraction.model import Price
from hub.lab.calibration import calibrate, plan
from hub.lab.gold import GoldDocument, Label
from protocol.tables import TableName
from tests.evaluation import documents, ours
from tests.evaluation.calibration import means_at
from tests.evaluation.documents import Planted, planted
from tests.evaluation.figures import Figure, Told, at_most, exactly, only
from tests.evaluation.ours import Tally
from tests.support.oracle import Stats, oracle_process
from tests.support.oracle.traits import BAD_DAY
from tests.support.programs import cache_folder

_HERE: Final = Path(__file__).parent
_INSTALL_S: Final = 600.0
_READ_S: Final = 1_800.0


class Peer(msgspec.Struct, frozen=True):
    """A peer: what is installed for it, and the program here that drives it."""

    name: str
    requirements: tuple[str, ...]
    program: str
    options: tuple[str, ...] = ()


class Answer(msgspec.Struct):
    """Items that a peer found in one document, or its *error*."""

    titles: list[str] = []
    error: str | None = None


class Outcome(msgspec.Struct):
    """Answers in the order of the documents."""

    answers: list[Answer]
    seconds: float


PEERS: Final = (
    Peer("LangExtract 1.7.1", ("langextract[openai]==1.7.1",), "drive_langextract.py"),
    Peer("LangExtract, chunks as ours", ("langextract[openai]==1.7.1",), "drive_langextract.py", ("5000",)),
    Peer("Instructor 1.17.0", ("instructor==1.17.0",), "drive_instructor.py"),
)


class PeerMissing(Exception):
    """Error: a peer could not be installed, or its program failed."""


async def read(peer: Peer, documents: Sequence[Planted], base_url: str) -> Outcome:
    """Have *peer* read all of *documents*; the time is that of its program, imports included.

    Raises:
        PeerMissing: see there.
    """
    return await anyio.to_thread.run_sync(_read, peer, documents, base_url)


def _read(peer: Peer, documents: Sequence[Planted], base_url: str) -> Outcome:
    python = _python_of(peer)
    texts = json.dumps([document.text for document in documents]).encode()
    words = [str(python), str(_HERE / peer.program), base_url, *peer.options]
    began = perf_counter()
    try:
        done = subprocess.run(words, input=texts, capture_output=True, timeout=_READ_S, check=True)
    except subprocess.SubprocessError as error:
        told = getattr(error, "stderr", None) or b""
        raise PeerMissing(f"{peer.name}: {error} {told.decode()[-500:]}") from error
    answers = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Answer])
    return Outcome(answers, perf_counter() - began)


def _python_of(peer: Peer) -> Path:
    folder = cache_folder("evaluation") / "-".join(peer.requirements).replace("[", "-").replace("]", "")
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*words, *peer.requirements], check=True, timeout=_INSTALL_S, capture_output=True)
        except subprocess.SubprocessError as error:
            told = (getattr(error, "stderr", None) or b"").decode()[-500:]
            raise PeerMissing(f"{peer.name} could not be installed: {error} {told}") from error
        ready.touch()
    return python


_DOCUMENTS: Final = 40
_OURS: Final = "ours, not calibrated"
_CALIBRATED: Final = "ours, calibrated"
_WHOLE: Final = "Instructor 1.17.0"  # a whole document in each question
_MAX_REQUESTS: Final = 3.0  # times those of Instructor, on a good day, once calibrated
_MAX_TOKENS: Final = 1.3
_CALIBRATED_IN: Final = 4  # documents
_CALIBRATED_SEED: Final = 9  # of their facts, which are others than those of the table
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
    size = await _calibrated_size(told)
    for day, traits in _DAYS.items():
        table = [
            await _ours(_OURS, chosen, traits),
            await _ours(_CALIBRATED, chosen, traits, chunk_tokens=size),
        ]
        for peer in PEERS:
            try:
                table.append(await _peers(peer, chosen, traits))
            except PeerMissing as missing:
                told(str(missing))
        _print(day, table, told)
        figures += _judged(day, table)
        if not traits:
            figures += _costs(table)
    return figures


async def _calibrated_size(told: Told) -> int:
    """The size of chunks that ``hub eval --calibrate`` finds for the oracle."""
    documents = [_labelled(one) for one in planted(_CALIBRATED_IN, _CALIBRATED_SEED)]
    async with oracle_process() as oracle:
        agent, means = means_at(oracle.base_url)
        planned = plan(documents, agent, means.settings, Price())
        found = await calibrate(documents, agent, means, planned, on_measured=lambda one: None)
        stats = await oracle.stats()
    told(f"calibrated to {found.chunk_tokens} tokens with {stats.calls} requests, {stats.tokens:,} tokens")
    return found.chunk_tokens


def _labelled(one: Planted) -> GoldDocument:
    places = [one.text.index(sentence) for sentence in one.sentences]
    return GoldDocument(
        id=one.name,
        text=one.text,
        labels=tuple(
            Label(table=TableName.TASKS, data={"title": title}, places=((at, at + len(sentence)),))
            for title, sentence, at in zip(one.titles, one.sentences, places, strict=True)
        ),
        date=None,
        name=f"{one.name}.txt",
        words={},
    )


async def _ours(name: str, chosen: Sequence[Planted], traits: dict[str, Any], **settings: Any) -> Row:
    async with oracle_process(**traits) as oracle:
        reading = await ours.read(chosen, oracle.base_url, **settings)
        return Row(name, reading.tally, await oracle.stats(), reading.seconds)


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
    figures: list[Figure] = []
    for mine in (row for row in table if row.name in (_OURS, _CALIBRATED)):
        others = [row.columns for row in table if row.name not in (_OURS, _CALIBRATED)]
        for column, value in mine.columns.items():
            first = all(value <= other[column] for other in others)
            name = f"{day}, {mine.name}, {column}"
            if column in _WHY:
                figures.append(only(f"{name}: is first", "yes" if first else f"no: {_WHY[column]}"))
            else:
                figures.append(exactly(f"{name}: peers before it", int(not first)))
    return figures


def _costs(table: Sequence[Row]) -> list[Figure]:
    """Requests and tokens, in those of a peer that asks once about a whole document."""
    rows = {row.name: row.columns for row in table}
    whole = rows.get(_WHOLE)
    if whole is None:
        return []
    times = {
        (name, column): rows[name][column] / whole[column]
        for name in (_OURS, _CALIBRATED)
        for column in ("requests", "tokens")
    }
    return [
        only(f"{_OURS}: requests, in those of Instructor", times[_OURS, "requests"], ".2f"),
        only(f"{_OURS}: tokens, likewise", times[_OURS, "tokens"], ".2f"),
        at_most(f"{_CALIBRATED}: requests, likewise", times[_CALIBRATED, "requests"], _MAX_REQUESTS, ".2f"),
        at_most(f"{_CALIBRATED}: tokens, likewise", times[_CALIBRATED, "tokens"], _MAX_TOKENS, ".2f"),
    ]
