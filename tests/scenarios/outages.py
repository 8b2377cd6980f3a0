"""Outages of the database and of the bus of two hubs: what ``hub doctor`` says, and the log's length.

``python -m tests.scenarios.outages`` plays each outage with real processes, and prints a line for each: after
how many seconds which doctor named it, and how many bytes a minute the logs of both hubs grew.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Final, NamedTuple

import anyio
from rich.console import Console

from tests.support.device import open_device
from tests.support.lines import Line, open_line
from tests.support.nats import running_nats
from tests.support.postgres import running_postgres
from tests.support.processes import ROOT, HubProcess

WITHIN_S: Final = 5.0  # until a doctor has named the outage
QUIET_S: Final = 1.0  # for a doctor without an outage, on a machine that does nothing else
MAX_BYTES: Final = 20_000  # of log in a minute

_SETTINGS: Final = """\
[hub]
name = "{side}"
[storage]
url = "postgresql://hub@127.0.0.1:{database}/{name}"
[cluster]
bus = "nats://127.0.0.1:{bus}"
node = "{side}"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
[limits]
connections_per_network = 100
connections_per_user = 100
"""
_AGENT: Final = """\
[[agents]]
name = "{name}"
device = "{name}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
schedule = "* * * * *"
"""


class Doctor(NamedTuple):
    """Findings of a doctor in an outage, and the seconds until its answer."""

    seconds: float
    issues: list[str]
    explanations: list[str]
    words: str

    def names(self, expected: str) -> bool:
        """Return True if an issue, or the refusal, is about that."""
        return any(one.startswith(expected) for one in self.issues) or expected in self.words


class Outages:
    """Two hubs, their database and their bus, each behind a line."""

    def __init__(self, hubs: Sequence[HubProcess], database: Line, bus: Line) -> None:
        self.east, self.west = hubs
        self.database = database
        self.bus = bus

    async def doctor(self, hub: HubProcess, *options: str) -> Doctor:
        """Type ``hub doctor`` at a hub, in a process of its own."""
        began = monotonic()
        words = [*options, "doctor", "--state", str(hub.folder), "--json"]
        done = await anyio.run_process(
            [sys.executable, "-m", "hub", *words], check=False, stdout=PIPE, stderr=PIPE, cwd=ROOT
        )
        seconds = round(monotonic() - began, 1)
        with suppress(ValueError):
            issues = json.loads(done.stdout)["issues"]
            named = [one["id"] for one in issues]
            return Doctor(seconds, named, [one["explanation"] for one in issues], done.stderr.decode())
        return Doctor(seconds, [], [], done.stderr.decode())

    async def log_bytes_a_minute(self, seconds: float) -> dict[str, int]:
        """Return the bytes by which the logs grow in a minute, by hub."""
        hubs = {"east": self.east, "west": self.west}
        before = {name: len(hub.log()) for name, hub in hubs.items()}
        await anyio.sleep(seconds)
        return {name: int((len(hub.log()) - before[name]) * 60 / seconds) for name, hub in hubs.items()}


@asynccontextmanager
async def two_hubs_behind_lines(folder: Path, *, devices: int = 4) -> AsyncIterator[Outages]:
    """Run two hubs with devices and runs each minute; the database and the bus of the east have lines."""
    async with AsyncExitStack() as opened:
        postgres = opened.enter_context(running_postgres())
        url = opened.enter_context(postgres.bare_database())
        nats = opened.enter_context(running_nats())
        database = await opened.enter_async_context(open_line(postgres.port))
        bus = await opened.enter_async_context(open_line(nats.port))
        names = [f"desk-{number}" for number in range(devices)]
        hubs = []
        for side in ("east", "west"):
            (folder / side).mkdir()
            ports = {"database": database.port, "bus": bus.port}
            if side == "west":
                ports = {"database": postgres.port, "bus": nats.port}
            settings = _SETTINGS.format(side=side, name=url.rpartition("/")[2], **ports)
            settings += "".join(_AGENT.format(name=name) for name in names)
            hub = HubProcess(folder / side, settings=settings)
            opened.push_async_callback(hub.close)
            await hub.start()
            hubs.append(hub)
        addresses = [await hub.device_url() for hub in hubs]
        for number, name in enumerate(names):
            (folder / name).mkdir()
            token = await hubs[0].token(name)
            device = open_device(addresses[number % 2], folder / name, token)
            running = await opened.enter_async_context(device)
            running.write("a.md", "- [ ] call Anna by 2027-01-05\n")
        await anyio.sleep(5.0)  # the devices are connected, and have registered their capabilities
        for hub in hubs:
            await hub.get("/v1/issues?anew=true")  # as each minute: since then each knows the other
        yield Outages(hubs, database, bus)


CASES: Final = [
    *(("database", mode) for mode in ("held", "refused", "slow", "half open")),
    *(("bus", mode) for mode in ("refused", "held")),
]


def faults_of(seen: dict[str, Any], what: str) -> list[str]:
    """Return which of the laws an outage broke: what was named too late, or wrongly, or too often."""
    patience_s = WITHIN_S + max(0.0, 2 * (seen["before"] - QUIET_S))  # on a busy machine
    faults = []
    for at in ("first", "of east, at west", "later"):
        doctor: Doctor = seen[at]
        if not doctor.names(what):
            faults.append(f"{at}: {what} is not named: {doctor}")
        if doctor.seconds > patience_s:
            faults.append(f"{at}: after {doctor.seconds} s, {patience_s:.1f} s are allowed")
    if seen["of west, at east"].names("database"):
        faults.append(f"the west is well: {seen['of west, at east']}")
    faults += [f"{hub}: {grown} bytes" for hub, grown in seen["bytes a minute"].items() if grown > MAX_BYTES]
    return faults


async def play(folder: Path, what: str, mode: Any, *, log_s: float = 60.0) -> dict[str, Any]:
    """Let an outage happen, and return what the first doctor said and how much was logged."""
    async with two_hubs_behind_lines(folder) as hubs:
        line = hubs.database if what == "database" else hubs.bus
        well = await hubs.doctor(hubs.east)
        await line.change(mode)
        await anyio.sleep(0.5)
        first = await hubs.doctor(hubs.east)
        other = await hubs.doctor(hubs.west, "--node", "east")
        away = await hubs.doctor(hubs.east, "--node", "west")
        ready = (await hubs.east.ask("GET", "/readyz")).json()
        grown = await hubs.log_bytes_a_minute(log_s)
        later = await hubs.doctor(hubs.east)
        await line.change("open")
        began, issues = monotonic(), ["not yet"]
        while issues and monotonic() - began < 90.0:
            issues = [one for one in (await hubs.doctor(hubs.east)).issues if one.startswith(what)]
        return {
            "outage": f"{what} {mode}",
            "before": well.seconds,
            "first": first,
            "of east, at west": other,
            "of west, at east": away,
            "ready": ready,
            "bytes a minute": grown,
            "later": later,
            "over after s": round(monotonic() - began, 1),
        }


def main(chosen: Sequence[str]) -> int:
    """Play the outages whose names begin with a word of *chosen*; 0 if each was named in time."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    played: list[bool] = []
    for what, mode in CASES:
        if chosen and not any(f"{what} {mode}".startswith(word) for word in chosen):
            continue
        with TemporaryDirectory() as folder:
            seen = anyio.run(play, Path(folder), what, mode)
        faults = faults_of(seen, what)
        played.append(bool(faults))
        for name, value in (seen | {"faults": faults}).items():
            console.print(f"{name}: {value}")
    console.print(f"{len(played)} outages: {sum(played)} with faults")
    return int(any(played))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
