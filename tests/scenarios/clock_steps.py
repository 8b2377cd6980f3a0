"""Steps of the wall clock under a real hub: which fires it decides, and when the next ones are.

``python -m tests.scenarios.clock_steps`` (``make soak``) starts a hub for each case, with a library under
``clock_gettime``, sets its clock while it runs, and fails if a fire is lost or doubled, if a schedule is
silent, or if the hub does not say that its clock was set.
"""

import argparse
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL, run
from time import monotonic
from typing import Any, Final

import anyio

from hub.base.clock import SystemClock
from hub.schedules.cron import parse_cron
from hub.schedules.trigger import trigger_of
from storage.schedules.schedules import REPEATED_MS
from tests.support.processes import CROWD, POLL_S, ROOT, HubProcess, Running
from tests.support.processes import closing as ended

_SOURCE = Path(__file__).with_suffix(".c")
_NS = 1_000_000_000


class NoCompiler(Exception):
    """Error: this machine has no C compiler."""


class MachineClock:
    """Clocks of a machine, for the processes in whose ``environment`` they are.

    Raises:
        NoCompiler: see there.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NoCompiler("a C compiler is needed: apt-get install gcc")
        library = folder / "machine_clock.so"
        run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
        self._file = folder / "machine_clock"
        self.ahead_s = self.suspended_s = 0.0
        self._write()
        self.environment = {"LD_PRELOAD": str(library), "MACHINE_CLOCK": str(self._file)}

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self.ahead_s += seconds
        self._write()

    def suspend(self, seconds: float) -> None:
        """Let time pass in which no process runs: the wall clock and the uptime advance."""
        self.suspended_s += seconds
        self._write()

    def _write(self) -> None:
        added = struct.pack("=qq", round(self.ahead_s * _NS), round(self.suspended_s * _NS))
        with self._file.open("r+b" if self._file.exists() else "w+b", buffering=0) as file:
            file.write(added)  # in place, as it is mapped


class ClockedHub(HubProcess):
    """Hub with the clocks of a ``MachineClock``."""

    def __init__(self, folder: Path, clock: MachineClock, settings: str) -> None:
        super().__init__(folder, settings=settings, is_forked=False)
        self._environment = os.environ | clock.environment

    async def _spawn(self, words: list[str], log: Path) -> Running:
        line = [sys.executable, "-m", "hub", *words]
        with log.open("ab") as output:
            return await anyio.open_process(
                line, stdin=DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=self._environment
            )


EVERY_S: Final = 5.0  # the least there is
NOTICED_S: Final = 30.0  # of a busy machine; the hub checks every five seconds
WATCHED_S: Final = 13.0  # after each step
HOUR_S, DAY_S = 3_600.0, 86_400.0
ZONE: Final = "Europe/Berlin"
SETTLED_MS: Final = 3_000  # after a minute: its fires are decided
EXPRESSIONS: Final = {"minute": "* * * * *", "hour": "0 * * * *", "daily": "30 2 * * *"}
SCHEDULES: Final = {"interval": f"every_s = {EVERY_S}"} | {
    name: f'cron = "{expr}", exact = true' for name, expr in EXPRESSIONS.items()
}
_AGENT: Final = """\
[[agents]]
name = "{name}"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find what to do."
timezone = "{zone}"
schedule = {{ {schedule}, overlap = "allow" }}
"""


@dataclass(frozen=True)
class Step:
    """A change of the machine's clock; *kind*: also a suspension, or a step while the hub is stopped."""

    seconds: float
    kind: str = "step"


@dataclass(frozen=True)
class Case:
    """Steps one after the other, from a moment on."""

    name: str
    begins: datetime
    steps: tuple[Step, ...]


_MACHINE: Final = SystemClock()
MORNING: Final = datetime(2026, 11, 25, 9, 10, 20, tzinfo=UTC)
SPRING, AUTUMN = datetime(2026, 3, 29, 0, 50, tzinfo=UTC), datetime(2026, 10, 25, 0, 20, tzinfo=UTC)
CASES: Final = (
    Case("+2 h, then right", MORNING, (Step(2 * HOUR_S), Step(-2 * HOUR_S))),
    Case("started 2 h ahead, then right", MORNING + timedelta(hours=2), (Step(-2 * HOUR_S),)),
    Case("-1 h", MORNING, (Step(-HOUR_S),)),
    Case("-20 h", MORNING, (Step(-20 * HOUR_S),)),
    Case("-21 d", MORNING, (Step(-21 * DAY_S),)),
    Case("+1 d", MORNING, (Step(DAY_S),)),
    Case("-20 h while the hub is stopped", MORNING, (Step(-20 * HOUR_S, "stopped"),)),
    Case("over the start of summer time, and back", SPRING, (Step(20 * 60), Step(-20 * 60))),
    Case("over the end of summer time, and back", AUTUMN, (Step(80 * 60), Step(-80 * 60))),
    Case("suspended for 10 min", MORNING, (Step(600, "suspend"),)),
)


@dataclass(frozen=True)
class Row:
    """Fires of a schedule in a case; *next_fire*: of the hub's database at the end."""

    case: str
    schedule: str
    next_fire: str
    runs: int
    lost: int
    doubled: int


class Rows:
    """Reader of the hub's database."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hub.db"

    def ask(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def next_fires(self) -> dict[str, int]:
        """Return the next fire of each schedule that is planned."""
        return dict(self.ask(_NEXT_FIRES))

    def runs(self, name: str) -> int:
        """Return the number of runs of a schedule."""
        return int(self.ask(_RUNS, name)[0][0])


_NEXT_FIRES: Final = """\
SELECT agents.name, next_fire_at FROM schedules JOIN agents ON agents.id = agent_id
WHERE enabled AND next_fire_at IS NOT NULL"""
_RUNS: Final = "SELECT count(*) FROM runs JOIN agents ON agents.id = agent_id WHERE agents.name = ?"
_STEPS: Final = "SELECT data FROM activity_log WHERE event_type = 'clock.stepped' ORDER BY rowid"


class Expected:
    """Number of runs that a schedule of wall-clock times gets, by a model of its cursor."""

    def __init__(self, expr: str, begins_ms: int, zone: str = ZONE) -> None:
        self._trigger = trigger_of(
            kind="cron", expr=expr, every_ms=None, at_ms=None, tz=zone, anchor_ms=begins_ms
        )
        self._follows_wall = parse_cron(expr).follows_wall
        self._cursor = begins_ms
        self.runs = 0

    def live(self, until_ms: int) -> "Expected":
        """Let the clock advance: each fire has a run."""
        while (fire := self._after()) <= until_ms:
            self._cursor, self.runs = fire, self.runs + 1
        return self

    def step(self, to_ms: int) -> None:
        """Set the clock: one run makes up for passed fires, and those of the future are yet to come."""
        before = self._cursor
        while (fire := self._after()) <= to_ms:
            self._cursor = fire
        self.runs += self._cursor > before
        if self._cursor > to_ms + (0 if self._follows_wall else REPEATED_MS):
            self._cursor = to_ms

    def _after(self) -> int:
        fire = self._trigger.next_after(self._cursor)
        assert fire is not None
        return fire

    @property
    def next_fire(self) -> int:
        """Return the next fire."""
        return self._after()


async def play(case: Case, folder: Path) -> list[Row]:
    """Run a case, and return what each schedule did.

    Raises:
        AssertionError: the hub did not notice a step, or said nothing of it.
    """
    clock, rows = MachineClock(folder), Rows(folder)
    clock.step(case.begins.timestamp() - _MACHINE.now().timestamp())
    agents = (_AGENT.format(name=name, zone=ZONE, schedule=text) for name, text in SCHEDULES.items())
    hub = ClockedHub(folder, clock, CROWD + "".join(agents))
    async with ended(hub):
        begins_ms, began = now_ms(clock), monotonic()
        await hub.start()
        await _until(lambda: len(rows.next_fires()) == len(SCHEDULES), "the schedules are not planned")
        planned = monotonic()
        await anyio.sleep(WATCHED_S)
        jumps: list[tuple[int, int]] = []
        for number, step in enumerate(case.steps, 1):
            await take(step, clock, hub)
            if step.kind == "suspend":
                jumps.append((now_ms(clock) - round(step.seconds * 1000), now_ms(clock)))
            else:
                await _until(lambda: len(rows.ask(_STEPS)) == number, "the step was not noticed")  # noqa: B023
                data = json.loads(rows.ask(_STEPS)[-1][0])
                jumps.append((data["at"] - data["by_ms"], data["at"]))
            await anyio.sleep(WATCHED_S)
        await _until(lambda: now_ms(clock) % 60_000 > SETTLED_MS, "a minute ends")
        elapsed_s, at_ms = (monotonic() - planned, monotonic() - began), now_ms(clock)
        counts, after = {name: rows.runs(name) for name in SCHEDULES}, rows.next_fires()
        if case.steps[-1].kind != "suspend":
            issues = await hub.get("/v1/issues?anew=true")
            assert "clock.set" in str(issues), issues
        await hub.stop()
    result = []
    for name in SCHEDULES:
        if name == "interval":
            least, most = (int(seconds // EVERY_S) for seconds in elapsed_s)
            least, most, planned_at = least - 1 - len(jumps), most + 1, None
        else:
            expected = Expected(EXPRESSIONS[name], begins_ms)
            for before, to in jumps:
                expected.live(before).step(to)
            least = most = expected.live(at_ms).runs
            planned_at = expected.next_fire
        is_right = after[name] == planned_at if planned_at else 0 < after[name] - at_ms <= EVERY_S * 1000
        lost, doubled = max(0, least - counts[name]), max(0, counts[name] - most)
        told = f"{datetime.fromtimestamp(after[name] / 1000, UTC):%m-%d %H:%M:%S}"
        result.append(
            Row(case.name, name, told if is_right else f"WRONG {told}", counts[name], lost, doubled)
        )
    return result


async def take(step: Step, clock: MachineClock, hub: ClockedHub) -> None:
    """Change the clock."""
    match step.kind:
        case "suspend":
            clock.suspend(step.seconds)
        case "stopped":
            await hub.stop()
            clock.step(step.seconds)
            await hub.start()
        case _:
            clock.step(step.seconds)


def now_ms(clock: MachineClock) -> int:
    """Return the wall time of the hub's machine."""
    return round((_MACHINE.now().timestamp() + clock.ahead_s + clock.suspended_s) * 1000)


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    with anyio.move_on_after(NOTICED_S):
        while not holds():
            await anyio.sleep(POLL_S)
        return
    raise AssertionError(otherwise)


async def main(cases: Sequence[Case]) -> int:
    """Print a line for each schedule and case; 1 if anything is wrong."""
    seen: list[Row] = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            for row in await play(case, Path(folder)):
                seen.append(row)
                print(  # noqa: T201  # for the person who runs it
                    f"{row.case:40} {row.schedule:9} next {row.next_fire:20} {row.runs:3} runs,"
                    f" {row.lost} lost, {row.doubled} doubled",
                    flush=True,
                )
    wrong = sum(map(is_wrong, seen))
    lost, doubled = (sum(numbers) for numbers in zip(*((row.lost, row.doubled) for row in seen), strict=True))
    print(f"{len(cases)} cases: {lost} fires lost, {doubled} doubled, {wrong} schedules wrong")  # noqa: T201
    return int(wrong > 0)


def is_wrong(row: Row) -> bool:
    """Return whether a schedule lost or doubled fires, or goes on at another time."""
    return bool(row.lost or row.doubled or row.next_fire.startswith("WRONG"))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="part of the names of the cases")
    chosen = options.parse_args().only
    sys.exit(anyio.run(main, [case for case in CASES if chosen in case.name]))
