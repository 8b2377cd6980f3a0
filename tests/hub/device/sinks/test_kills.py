"""``hub device sync`` that is killed at any moment: each row is at its place once, as it is here."""

import os
import sys
import time
from itertools import count
from pathlib import Path
from subprocess import DEVNULL

import pytest

from hub.base.clock import Chance
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import place_of
from tests.hub.device.sinks.places import KINDS, CalDavPlace, Place, RestPlace, sink_text
from tests.support.clock import SeededChance
from tests.support.killing import Victim

ROWS = 6


class Device:
    """Device with a place of approved rows, and a process that synchronizes them."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self._folder = folder
        (folder / "state/devices").mkdir(parents=True)
        self.bench = SinkBench(folder / "state/devices")
        (folder / "notes").mkdir()
        roots = f"hub = ['ws://127.0.0.1:1']\nroots = ['{folder}/notes']\nname = 'desk'\n"
        (folder / "device.toml").write_text(roots + sink_text("there", place.settings()))

    def start(self) -> Victim:
        words = ["--state", str(self._folder / "state"), "device", "sync"]
        return Victim(
            [sys.executable, "-m", "hub", *words, "--config", str(self._folder / "device.toml")],
            streams={"stdout": DEVNULL, "stderr": DEVNULL},
            environment={**os.environ, "XDG_STATE_HOME": str(self._folder / "state")},
        )

    def run(self) -> float:
        """Synchronize to the end, and return the seconds that it took."""
        began = time.monotonic()
        assert self.start().wait() == 0
        return time.monotonic() - began

    def run_and_kill(self, chance: Chance, seconds: float) -> bool:
        """Kill the process at some moment; return False if it ended before."""
        if isinstance(self.place, CalDavPlace | RestPlace) and chance.uniform(0, 1) < 0.8:
            moment = int(chance.uniform(0, 3 * ROWS))
            moments = count()
            self.place.proxy.on_request = lambda: process.kill() if next(moments) == moment else None
            timeout = 60.0
        else:
            timeout = chance.uniform(0.5, 1.0) * seconds
        with self.start() as process:
            code = process.end_after(timeout)
        if isinstance(self.place, CalDavPlace | RestPlace):
            self.place.proxy.on_request = lambda: None
        return code != 0


@pytest.mark.parametrize(
    ("kind", "seed", "kills"),
    [
        pytest.param("rest", 0, 1, marks=pytest.mark.slow),  # the round trip kills it at the others
        *(pytest.param(kind, seed, 5, marks=pytest.mark.soak) for kind in KINDS for seed in range(1, 9)),
    ],
)
def test_killed_synchronization_loses_and_doubles_no_row(
    kind: str, seed: int, kills: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with place_of(kind, request, tmp_path) as place:
        others, chance = place.others(), SeededChance(seed)
        device = Device(place, tmp_path)
        device.bench.clock.set_wall(device.bench.clock.now().replace(year=2100))  # edits follow all writes
        names = (f"item{number:03}x" for number in count())
        rows = {device.bench.approve({"title": (name := next(names))}): name for _ in range(ROWS)}
        seconds, killed, gone = device.run(), 0, []
        while killed < kills:
            device.bench.clock.advance(60)
            for row in list(rows)[:2]:
                rows[row] = next(names)
                device.bench.change(row, {"title": rows[row]})
            row, *_ = list(rows)[2:]
            device.bench.delete(row)
            gone.append(rows.pop(row))
            name = next(names)
            rows[device.bench.approve({"title": name})] = name
            killed += device.run_and_kill(chance, seconds)
            if chance.uniform(0, 1) < 0.3:
                device.run()
        device.run()
        assert [name for name in rows.values() if place.text.count(name) != 1] == []
        assert [name for name in gone if name in place.text] == []
        assert {row: device.bench.row(row)["title"] for row in rows} == rows
        # What was written, but not recorded, differs from what both sides had last.
        assert (place.others(), {*device.bench.history()} - {"conflict", "removed"}) == (others, set())
