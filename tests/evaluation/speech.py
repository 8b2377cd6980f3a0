"""Spoken notes through a real hub and a real device: each planted sentence is an item with its time.

The server of transcriptions really reads the recordings that the hub sends, and plays a provider's faults.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio

from hub.app.calibration import Lots
from tests.evaluation import documents
from tests.evaluation.figures import Figure, Told, at_least, exactly, only
from tests.scenarios.scene import Scene, scene
from tests.support.oracle import Oracle
from tests.support.processes import SETTINGS
from tests.support.speech import Transcriptions, recording

_RECORDINGS, _SENTENCES, _SECONDS = 12, 12, 240
_FAULTS: Final = ("429", "500", "empty", "429", "500", "500", "empty")
_FILLER: Final = "It rained all day, and we went home early."
_TABLE: Final = """\
file_extensions = [".wav", ".md"]
[transcription]
base_url = "{base_url}"
name = "whisper-1"
price_minute_usd = 0.006
"""


async def measure(told: Told) -> list[Figure]:
    """Twelve recordings with twelve facts each, with faults; then the unchanged folder again."""
    planted = dict(_planted())
    expected = {title for said in planted.values() for title, _ in said.values()}
    server, oracle = Transcriptions(), Oracle()
    with tempfile.TemporaryDirectory() as folder:
        async with anyio.create_task_group() as tasks:
            base_url = await tasks.start(server.serve)
            server.play(*_FAULTS)
            settings = _TABLE.format(base_url=base_url)
            async with scene(Path(folder), {}, oracle=oracle, settings=settings) as play:
                for name, said in planted.items():
                    sentences = {second: sentence for second, (_, sentence) in said.items()}
                    fillers = {second + 9.0: _FILLER for second in sentences}
                    write_bytes(folder, name, recording(sentences | fillers, _SECONDS))
                await play.device.start()
                await play.has_connected()
                run = await play.hub.ended(await play.hub.start_run(), within_s=120)
                calls, found = server.calls, await found_items(play)
                again = await play.hub.ended(await play.hub.start_run(), within_s=60)
                tasks.cancel_scope.cancel()
    told(f"run: {run['state']}/{run['outcome']}, then {again['state']}/{again['outcome']}")
    wrong = 0
    for name, said in planted.items():
        for second, (title, _) in said.items():
            clock = f"[{int(second) // 3600:02}:{int(second) // 60 % 60:02}:{int(second) % 60:02}] "
            lines = [one.before for one in found if (one.path, one.title) == (f"notes/{name}", title)]
            wrong += not any(before.endswith(clock) for before in lines)
    titles = [item.title for item in found]
    recordings = _RECORDINGS + len(_FAULTS)
    return [
        at_least(f"recall of {len(expected)} facts said", len(expected & set(titles)) / len(expected), 1.0),
        exactly("items that nobody said", sum(title not in expected for title in titles)),
        exactly("items that came twice", len(titles) - len(set(titles))),
        exactly("facts without an item at the time at which they are said", wrong),
        exactly(f"transcriptions of {_RECORDINGS} recordings, {len(_FAULTS)} faults", calls, recordings),
        exactly("transcriptions in the second run", server.calls - calls),
        only("cost of transcriptions, of all costs of the run, USD", run["usd"], ".4f"),
    ]


def write_bytes(folder: str, name: str, data: bytes) -> None:
    """Write a file into the folder that the device shares."""
    path = Path(folder, "notes", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


class FoundItem(NamedTuple):
    """Item of the hub: where it is from, the text before its quote, and the number of the quote's line."""

    path: str
    title: str
    before: str
    line: int


async def found_items(play: Scene) -> list[FoundItem]:
    """Return all items of the hub."""
    found = []
    cursor: str | None = ""
    while cursor is not None:
        page: dict[str, Any] = await play.hub.get(
            f"/v1/items?limit=100{f'&cursor={cursor}' if cursor else ''}"
        )
        for item in page["items"]:
            detail = await play.hub.get(f"/v1/items/{item['id']}")
            excerpt = detail["place"]["excerpt"]
            line = excerpt["line"] + excerpt["before"].count("\n")
            found.append(FoundItem(item["path"], item["title"], excerpt["before"], line))
        cursor = page["next_cursor"]
    return found


def _planted() -> Iterator[tuple[str, dict[float, tuple[str, str]]]]:
    """Yield the name of each recording, and its facts by the second at which they are said."""
    for nth in range(_RECORDINGS):
        facts = list(documents.facts(5_000 + nth * 100, _SENTENCES, Lots(f"speech-{nth}")))
        yield f"memo{nth:02}.wav", {5.0 + at * 19.25: fact for at, fact in enumerate(facts)}


assert SETTINGS.rstrip().endswith('"'), "the table of the agent is the last one, and goes on in _TABLE"
