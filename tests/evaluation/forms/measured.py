"""Measurement of a hub and a device on documents of fifteen forms, and of the questions of a second run."""

import os
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from hub.clock import SystemChance
from tests.evaluation.figures import Figure, Told, at_least, exactly
from tests.evaluation.forms.facts import Fact, Paper
from tests.evaluation.forms.reader import FormReader
from tests.evaluation.forms.writers import FORMS, papers
from tests.evaluation.stage import played, run
from tests.scenarios.scene import Scene, rows
from tests.support.oracle.traits import WORST_DAY

_CHUNK_TOKENS: Final = (250, 600, 1_500)
_FOUND: Final = (
    "SELECT calls.source_path, tasks.title, tasks.assignee, tasks.dueDate FROM calls"
    " JOIN tasks ON tasks.id = calls.row_id WHERE calls.tbl = 'tasks' AND calls.action = 'insert'",
    "SELECT calls.source_path, timelines.title, NULL, timelines.date FROM calls JOIN timelines"
    " ON timelines.id = calls.row_id WHERE calls.tbl = 'timelines' AND calls.action = 'insert'",
)


class Found(msgspec.Struct):
    """Row at the device, as far as it is compared with a fact."""

    path: str
    title: str
    who: list[str]
    day: str | None


class Sums(msgspec.Struct):
    """Counts of one form."""

    planted: int = 0
    found: int = 0
    false: int = 0
    double: int = 0
    who: int = 0
    when: int = 0
    asked_again: int = 0
    unreported: int = 0

    @property
    def line(self) -> str:
        """Return the row of the table."""
        return "".join(f"{value:>9,}" for value in msgspec.structs.astuple(self))


_HEAD: Final = "".join(
    f"{name:>9}" for name in ("planted", "found", "false", "double", "person", "date", "second", "silent")
)


def options(words: Sequence[str]) -> Namespace:
    """Parse the options of the command."""
    parser = ArgumentParser("python -m tests.evaluation forms")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="number of seeds")
    parser.add_argument("--first", type=int, metavar="K", help="first seed; by default, a new one is drawn")
    parser.add_argument("--faults", action="store_true", help="the model has twenty kinds of faults")
    parser.add_argument("--each", type=int, default=2, metavar="N", help="documents of each form")
    return parser.parse_args(words)


async def measure(told: Told, words: Sequence[str] = ()) -> list[Figure]:
    """Read the documents of each seed by a hub, twice, and compare its rows with what was planted."""
    chosen = options(words)
    first = chosen.first if chosen.first is not None else int(SystemChance().uniform(0, 1_000_000))
    total = {form: Sums() for form in FORMS}
    for seed in range(first, first + chosen.seeds):
        await _measure_seed(seed, chosen, total, told)
    told(f"{'':<14}{_HEAD}")
    for form, sums in total.items():
        told(f"{form:<14}{sums.line}")
    whole = Sums(*map(sum, zip(*map(msgspec.structs.astuple, total.values()), strict=True)))
    told(f"{'all':<14}{whole.line}")
    return _figures(whole, has_faults=chosen.faults)


def _figures(whole: Sums, *, has_faults: bool) -> list[Figure]:
    kind, least = ("under faults", 0.995) if has_faults else ("clean", 1.0)
    return [
        at_least(f"{kind}: recall of {whole.planted:,} facts", whole.found / whole.planted, least),
        exactly(f"{kind}: false", whole.false),
        exactly(f"{kind}: found twice", whole.double),
        at_least(f"{kind}: persons that are right", whole.who / (whole.found or 1), 0.99),
        at_least(f"{kind}: dates that are right", whole.when / (whole.found or 1), 0.99),
        exactly(f"{kind}: facts lost without a report", whole.unreported),
        exactly(f"{kind}: second questions about files that were read", whole.asked_again),
    ]


async def _measure_seed(seed: int, chosen: Namespace, total: dict[str, Sums], told: Told) -> None:
    written = papers(seed, each=chosen.each)
    chunk_tokens = _CHUNK_TOKENS[seed % len(_CHUNK_TOKENS)]
    traits: dict[str, Any] = {"odds": WORST_DAY, "retry_after_s": 0.02, "seed": seed} if chosen.faults else {}
    reader = FormReader(written, **traits)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), written)
        async with anyio.create_task_group() as tasks:
            await tasks.start(reader.serve)
            more = f"chunk_tokens = {chunk_tokens}\n"
            async with played(Path(folder), {}, reader, model=more) as play:
                first = await run(play)
                asked = reader.stats.calls
                reader.asked.clear()
                second = await run(play)
                found = list(_found(play))
                failed = await _failed(play, first["id"])
            tasks.cancel_scope.cancel()
    told(
        f"seed {seed}: {len(written)} documents, {chunk_tokens} tokens a question; "
        f"first run {first['outcome']}, {asked} questions; "
        f"second run {second['outcome']}, {reader.stats.calls - asked} questions"
    )
    if reader.stats.played:
        told("  ".join(f"{fault} {count}" for fault, count in sorted(reader.stats.played.items())))
    for path, why in failed.items():
        told(f"reported: {path}: {why}")
    for paper in written:
        compare(
            paper,
            [one for one in found if one.path == f"notes/{paper.name}"],
            failed,
            total[paper.form],
            told,
        )
    for paper in written:
        if f"notes/{paper.name}" not in failed:
            total[paper.form].asked_again += reader.asked[paper.name]
    known = {f"notes/{paper.name}" for paper in written}
    for one in found:
        assert one.path in known, one


def save(folder: Path, written: Sequence[Paper]) -> None:
    """Write the documents, each with the time of its file."""
    for paper in written:
        path = folder / "notes" / paper.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(paper.text.encode())
        os.utime(path, (paper.modified_at.timestamp(), paper.modified_at.timestamp()))


def compare(paper: Paper, found: Sequence[Found], failed: dict[str, str], sums: Sums, told: Told) -> None:
    """Add the comparison of one document to *sums*, and tell what differs."""
    facts = {fact.title: fact for fact in paper.facts}
    seen: set[str] = set()
    sums.planted += len(facts)
    for one in found:
        fact = facts.get(one.title)
        if fact is None:
            sums.false += 1
            told(f"FALSE {paper.name}: {one.title!r}")
        elif fact.title in seen:
            sums.double += 1
            told(f"DOUBLE {paper.name}: {one.title!r}")
        else:
            seen.add(fact.title)
            sums.found += 1
            _judge(paper, fact, one, sums, told)
    for title, fact in facts.items():
        if title not in seen:
            told(f"LOST {paper.name}: {fact.sentence!r}")
            sums.unreported += f"notes/{paper.name}" not in failed


def _judge(paper: Paper, fact: Fact, one: Found, sums: Sums, told: Told) -> None:
    who = [] if fact.who is None else [fact.who.lower()]
    is_right = [name.lower() for name in one.who] == who
    sums.who += is_right
    if not is_right:
        told(f"PERSON {paper.name}: {one.who} for {fact.who} in {fact.sentence!r}")
    day = fact.when.day.isoformat() if fact.when else None
    sums.when += one.day == day
    if one.day != day:
        told(f"DATE {paper.name}: {one.day} for {day} in {fact.sentence!r}")


def _found(play: Scene) -> Iterator[Found]:
    for query in _FOUND:
        for path, title, who, at_ms in rows(play.device.database, query):
            day = None if at_ms is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
            names = msgspec.json.decode(who) if who else []
            yield Found(path, title, names, day.date().isoformat() if day else None)


async def _failed(play: Scene, run_id: str) -> dict[str, str]:
    page = await play.hub.get(f"/v1/runs/{run_id}/units?state=FAILED&limit=1000")
    return {unit["path"]: unit["error"] or "" for unit in page["units"]}
