"""Bar 8: kill -9 at ten points of a run over two hundred documents changes nothing in what comes out.

Half of the points are named, the others drawn; the device is killed as well. What the hub
had kept before a kill is not asked again. An answer that was on its way to the disk is:
under the same ``Idempotency-Key``, so that the server makes no work of it a second time.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from hub.lab.planted import Lots
from tests.evaluation.documents import facts, long_texts
from tests.evaluation.figures import Figure, Told, exactly, only
from tests.evaluation.stage import RUN_S, played, run
from tests.scenarios.scene import Point, Scene, rows
from tests.support.oracle import Stats, oracle_process
from tests.support.oracle.process import OracleProcess
from tests.support.processes import POLL_S

_DOCUMENTS: Final = 200
_CHARS: Final = 9_000  # of each: about two questions
_LATENCY_S: Final = 0.3
_ANSWERS: Final = (10, 40)  # of the model, between a named kill and a drawn one
_PROGRESS_S: Final = 60.0
_NAMED: Final = (
    Point("the hub has the manifest", "to_hub", "agent_manifest"),
    Point("the hub has the second piece of files", "to_hub", "agent_data", nth=2),
    Point("the device gets its second call", "to_device", "tool_call", nth=2),
    Point("the hub has the first answer", "to_hub", "tool_result"),
    Point("the hub has the second answer", "to_hub", "tool_result", nth=2),
)
_FOUND: Final = """
SELECT tasks.title, calls.source_path, calls.quote, calls.quote_start
FROM tasks JOIN calls ON calls.row_id = tasks.id
"""


class Outcome(NamedTuple):
    """What a run left at the device, and what the server saw."""

    found: Counter[tuple[object, ...]]
    stats: Stats
    state: str
    unkept: int  # answers that were given and not on the disk when the hub was killed


async def measure(told: Told) -> list[Figure]:
    """The same folder twice, each with a new hub: undisturbed, then with ten kills and two of the device."""
    files = dict(_files())
    calm = await _live(files, told, with_kills=False)
    killed = await _live(files, told, with_kills=True)
    told(
        f"undisturbed {calm.state}: {calm.stats.calls} questions; killed {killed.state}: {killed.stats.calls}"
    )
    twice = killed.stats
    return [
        exactly("items of the undisturbed run", calm.found.total(), 2 * _DOCUMENTS),
        exactly("items missing after the kills", (calm.found - killed.found).total()),
        exactly("items too many after the kills", (killed.found - calm.found).total()),
        exactly("requests made twice, by the server's count", twice.answered_twice - twice.replayed),
        exactly("answers that were kept and asked for again", max(0, twice.answered_twice - killed.unkept)),
        only("answers lost on their way to the disk, given again by key", twice.replayed, "d"),
        only("questions without an answer when the hub died, asked again", twice.hung_up, "d"),
    ]


async def _live(files: dict[str, str], told: Told, *, with_kills: bool) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            oracle_process(latency_s=_LATENCY_S) as oracle,
            played(Path(folder), files, oracle) as play,
        ):
            play.wire.tells_restart = True  # or the device waits longer after each lost connection
            unkept = 0
            if with_kills:
                unkept = await _killed(play, oracle, told)
                (run_id,) = [run_id for (run_id,) in rows(play.folder / "hub.db", "SELECT id FROM runs")]
                ended = await play.hub.ended(run_id, within_s=RUN_S)
            else:
                ended = await run(play)
            found = Counter(rows(play.device.database, _FOUND))
            return Outcome(found, await oracle.stats(), f"{ended['state']} {ended['outcome']}", unkept)


async def _killed(play: Scene, oracle: OracleProcess, told: Told) -> int:
    """A run killed at a named point and at a drawn one, again and again; how many answers were lost thereby.

    A drawn one is so many answers of the model later: a hub that dies before it gets any
    further takes its run for the cause, and holds it back.
    """
    lots = Lots("kills")
    unkept = 0
    play.at(_NAMED[0], play.kill_hub)
    await play.hub.start_run()
    for at, point in enumerate(_NAMED):
        if at:
            play.at(point, play.kill_hub)
            await play.start_hub()
        await play.happened()
        unkept += await _unkept(play, oracle)
        told(f"killed when {point}")
        before = (await oracle.stats()).answered
        await play.start_hub()
        answers = _ANSWERS[0] + lots.below(_ANSWERS[1] - _ANSWERS[0])
        with anyio.move_on_after(_PROGRESS_S):
            while (await oracle.stats()).answered < before + answers:
                await anyio.sleep(POLL_S)
        if at % 2:
            await play.restart_device()
        await play.kill_hub()
        unkept += await _unkept(play, oracle)
        told(f"killed after {answers} more answers, {sum(play.outbox().values())} items promised by then")
    await play.start_hub()
    return unkept


async def _unkept(play: Scene, oracle: OracleProcess) -> int:
    """How many questions the server has answered whose answer the dead hub has not on its disk."""
    ((kept,),) = rows(play.folder / "hub.db", "SELECT count(*) FROM model_answers")
    return (await oracle.stats()).answered_questions - int(kept)


def _files() -> Iterable[tuple[str, str]]:
    """Two facts in each: one at its beginning, one at its end."""
    texts = list(long_texts().values())
    for number in range(_DOCUMENTS):
        (_, first), (_, last) = facts(number * 2, 2, Lots(f"kills {number}"))
        text = texts[number % len(texts)][:_CHARS]
        yield f"letter{number:03}.txt", f"{first} {text.rsplit(' ', 1)[0]}.\n\n{last}\n"
