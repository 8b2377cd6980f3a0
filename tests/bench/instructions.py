"""``python -m tests.bench.instructions``: machine instructions of six small operations, on any busy machine.

Processes of the product run in valgrind, which counts what they execute. No start is counted: each operation
is done N and 6N times, and a figure is the difference divided by 5N. The clock of hub and device is stopped
while one of them works, and advances by STEP_S when all are at rest. So rounds of services are counted in the
idle minute alone. Hub and device take turns, draw the same random numbers each time, collect no garbage, and
the hub's database does not wait for the disk. So other programs change no figure.

Exit code 1 if a figure rose by more than its limit since it was recorded in ``instructions.jsonl``; 69 if it
cannot be compared here. ``--record --why TEXT`` measures three times, and appends the figures that moved.
"""

import argparse
import asyncio
import gc
import math
import os
import platform
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
import uvloop
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.asyncio.client import ClientConnection

from tests.support.clock import START, FakeClock, SeededChance

FIGURES: Final = Path(__file__).with_suffix(".jsonl")
UNAVAILABLE: Final = 69
LEAST: Final = 0.03  # a rise that is no noise
STEP_S: Final = 0.25  # of the clock of hub and device
_MEASUREMENTS: Final = 3  # of a record
_PATIENCE_S: Final = 1_800.0  # on a machine that others use
_CHECKS: Final = 2  # in a row, after which processes are at rest
_CHECK_S: Final = 0.002
_DEVICES: Final = 5  # each called once in a round of calls; few, as the hub pings them by the real clock
_TIMES: Final = 6  # as many operations, from whose cost that of a few is subtracted
_ENTRIES: Final = 20  # boxes or sentences of a file
_SUMMARY: Final = re.compile(r"^summary: (\d+)", re.MULTILINE)
_RESTING: Final = re.compile(r"^State:\t[SZ]", re.MULTILINE)
_TURNS: Final = re.compile(r"ctxt_switches:\t(\d+)")
_CONFINING: Final = ("close_descriptors", "die_with", "leave_others", "limit", "lock")

Key = tuple[str, str]  # row and process
Figures = dict[Key, int]


# --- in the counted processes ---


def serve_stepped(words: Sequence[str]) -> None:
    """Be the program ``hub`` whose clock moves by STEP_S for each byte of the standard input."""
    from hub.__main__ import main as run_program
    from hub.base import clock as base

    clock, chance = FakeClock(), SeededChance(int("serve" in words))
    for name in ("now", "monotonic", "uptime_s", "sleep"):
        setattr(base.SystemClock, name, getattr(clock, name))
    for name in ("token_bytes", "uniform"):
        setattr(base.SystemChance, name, getattr(chance, name))
    set_timers(clock)
    leave_garbage()

    def stepped(serve: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def step() -> None:
            os.read(0, 1)
            clock.advance(STEP_S)

        async def serve_with_steps(*arguments: Any) -> Any:
            asyncio.get_running_loop().add_reader(0, step)
            return await serve(*arguments)

        return serve_with_steps

    if "serve" in words:
        from hub.app import daemon
        from hub.base import loop_lag
        from storage.kernel import sqlite

        # Of the processor's time, which valgrind makes long, in the time of the clock: always an idle loop's.
        vars(loop_lag).update(IDLE=math.inf)
        loop_lag.LoopLag._watch = lambda *_: None  # type: ignore[method-assign]  # by the machine's clock
        # How many writes a transaction has depends on the time that the disk needs for the one before.
        vars(sqlite).update(_PRAGMAS=(*vars(sqlite)["_PRAGMAS"], "PRAGMA synchronous=off"))
        vars(daemon).update(machine_uptime_s=clock.uptime_s, serve=stepped(daemon.serve))
    else:
        from hub.device import app

        app.ReferenceDevice.serve = stepped(app.ReferenceDevice.serve)  # type: ignore[assignment, method-assign]
    sys.argv[1:] = words
    run_program()


def set_timers(clock: FakeClock) -> None:
    """Let the timers of all event loops go by *clock*: many services poll by them."""

    def call_at(loop: Any, when: float, call: Callable[..., Any], *words: Any, context: Any = None) -> Any:
        timer = asyncio.TimerHandle(when, call, words, loop, context)
        clock.call_at(when, lambda: timer.cancelled() or loop.call_soon_threadsafe(timer._run))
        return timer

    def call_later(loop: Any, delay: float, *words: Any, context: Any = None) -> Any:
        return call_at(loop, clock.monotonic() + delay, *words, context=context)

    for kind in (asyncio.BaseEventLoop, uvloop.Loop):
        for method in (call_at, call_later):
            setattr(kind, method.__name__, method)
        setattr(kind, "time", lambda _: clock.monotonic())  # noqa: B010  # mypy refuses an assignment
        setattr(kind, "_timer_handle_cancelled", lambda *_: None)  # noqa: B010


def leave_garbage() -> None:
    """Collect no garbage: as many objects as are there decide when, and what a collection costs."""
    gc.disable()
    vars(gc).update(enable=lambda: None)


def serve_rules() -> None:
    """Be the rules' process without its confinement, in which valgrind could not write what it counted."""
    from hub.extraction import rules_main
    from hub.text import confinement

    vars(confinement).update(dict.fromkeys(_CONFINING, lambda *_, **__: True))
    leave_garbage()
    sys.argv[1:] = ["0", "Europe/Berlin"]
    rules_main.main()


# --- counting ---


class Counter:
    """Instructions of processes that ``counted`` started, by their names."""

    def __init__(self, folder: Path, **pids: int) -> None:
        self._folder, self.pids = folder, pids
        for pid in pids.values():
            _monitor(pid, "instrumentation on")

    def read(self) -> dict[str, int]:
        """Return the instructions of each process since the last call."""
        read = {}
        for name, pid in self.pids.items():
            _monitor(pid, "dump")
            dumps = [*self._folder.glob(f"counted.{pid}.*")]
            read[name] = sum(int(_SUMMARY.findall(dump.read_text())[0]) for dump in dumps)
            for dump in dumps:
                dump.unlink()
        return read

    async def each(self, row: str, operate: Callable[[int], Awaitable[None]], number: int) -> Figures:
        """Return the instructions of one operation in each process.

        N and _TIMES N operations warm up the process; then N, _TIMES N, _TIMES N and N are counted.
        """
        sums: dict[str, int] = defaultdict(int)
        for sign, times in ((0, 1), (0, _TIMES), (-1, 1), (1, _TIMES), (1, _TIMES), (-1, 1)):
            await operate(times * number)
            for name, instructions in self.read().items():
                sums[name] += sign * instructions
        each = 2 * (_TIMES - 1) * number
        return {(row, name): round(instructions / each) for name, instructions in sums.items()}


def _monitor(pid: int, command: str) -> None:
    subprocess.run(["vgdb", f"--pid={pid}", command], check=True, capture_output=True, timeout=_PATIENCE_S)


def counted(folder: Path, module: str, *words: str) -> list[str]:
    """Return the command line of ``python -m MODULE``, in valgrind; nothing is counted yet."""
    valgrind = ["valgrind", "-q", "--fair-sched=yes", "--tool=callgrind", "--instr-atstart=no"]
    return [*valgrind, f"--callgrind-out-file={folder}/counted.%p", sys.executable, "-m", module, *words]


async def at_rest(pids: Sequence[int]) -> None:
    """Wait until no thread of the processes, and of those that they started, works between some checks."""
    calm, before = 0, None
    while calm < _CHECKS:
        await anyio.sleep(_CHECK_S)
        turns = [_turns(pid) for pid in pids]
        calm = calm + 1 if None not in turns and turns == before else 0
        before = turns


def _turns(pid: int) -> list[Any] | None:
    """Return how often threads of the process and of its children have come to rest; None: not all have."""
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None  # a thread ended meanwhile
    # A stopped process is not at rest: it has work left.
    if not all(_RESTING.search(thread) for thread in threads):
        return None
    turns = [_TURNS.findall(thread) for thread in threads], [_turns(int(child)) for child in started]
    return None if None in turns[1] else [*turns]


# --- the operations ---


async def calls(folder: Path) -> Figures:
    """Count a call from the hub to a device and back, in the hub's listener, roster and link."""
    from tests.bench.client import ClientConfig
    from tests.bench.hub_server import HubConfig
    from tests.bench.processes import BenchProcess, client_process

    config = msgspec.json.encode(HubConfig(devices=_DEVICES)).decode()
    with BenchProcess("hub", counted(folder, "tests.bench.hub_server", config)) as hub:
        port = hub.hear(_PATIENCE_S)["port"]
        with client_process(ClientConfig(port=port, devices=_DEVICES)) as client:
            client.hear(_PATIENCE_S)

            async def call(times: int) -> None:
                for _ in range(times):
                    hub.ask({"do": "touch"}, _PATIENCE_S)

            figures = await Counter(folder, hub=hub.pid).each("call", call, 10)
    return {key: figure // _DEVICES for key, figure in figures.items()}


async def rules(folder: Path) -> Figures:
    """Count a file that the rules' process reads."""
    from hub.document import Document
    from hub.extraction.items import ExtractionOptions
    from hub.extraction.ruled import ToExtract, frame_of
    from protocol.tables import TABLES
    from tests.bench.items import SHAPES

    options = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
    line = counted(folder, "tests.bench.instructions", "--be", "rules")
    async with await anyio.open_process(line, stderr=None) as process:
        assert process.stdin is not None and process.stdout is not None
        requests, answers = process.stdin, BufferedByteReceiveStream(process.stdout)

        async def read(files: int, write: Callable[[int, int], str]) -> None:
            for number in range(files):  # those of the warm-up: each pattern is compiled by then
                text = write(number, _ENTRIES)
                document = Document(unit_key="a.md", text=text, content_hash="0" * 64, modified_at=START)
                request = ToExtract(document=document, options=options, reads_prose=True)
                await requests.send(bytes(frame_of(request)))
                await answers.receive_exactly(*struct.unpack("=Q", await answers.receive_exactly(8)))

        await read(1, SHAPES[29].write)  # the process has started
        counter = Counter(folder, rules=process.pid)
        boxes, sentences = (partial(read, write=SHAPES[row].write) for row in (29, 40))
        figures = await counter.each(f"file of {_ENTRIES} boxes", boxes, 1)
        return figures | await counter.each(f"file of {_ENTRIES} sentences", sentences, 1)


async def items(folder: Path) -> Figures:
    """Count an item of a plain device and of our own, and the idle minute of a hub that has both."""
    from tests.bench.foreign_device import ROWS, ForeignDevice
    from tests.bench.items import SHAPES
    from tests.support.processes import ROOT, SETTINGS, DeviceProcess, HubProcess, Program
    from tests.support.processes import closing as ending

    class Stepped(Program):
        """Program that is counted, with the clock of ``serve_stepped``."""

        async def _spawn(self, words: list[str], log: Path) -> anyio.abc.Process:
            line = counted(folder, "tests.bench.instructions", "--be", "program", *words)
            with log.open("ab") as output:
                return await anyio.open_process(line, stdout=output, stderr=output, cwd=ROOT)

        async def start(self) -> None:
            await Program.start(self)
            is_hub = isinstance(self, HubProcess)
            await self.says("is ready" if is_hub else "connected as", within_s=_PATIENCE_S)

    class Plain(ForeignDevice):
        """Device whose answers arrive one by one: as many at once as a moment brings would be noise."""

        async def _answer(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
            await at_rest([hub.pid])
            await super()._answer(socket, frame)

    class Hub(Stepped, HubProcess):
        pass

    class Device(Stepped, DeviceProcess):
        pass

    settings = SETTINGS.format(model="")
    agent = settings[settings.index("[[agents]]") :].replace(
        '"notes"\ndevice = "desk"', '"plain"\ndevice = "plain"'
    )
    hub = Hub(folder, settings=settings + agent)
    (folder / "notes").mkdir()
    async with ending(hub), anyio.create_task_group() as tasks:
        await hub.start()
        url = await hub.device_url()
        device = Device(folder, url, await hub.token())
        async with ending(device):
            await device.start()
            files: dict[str, str] = {}
            plain = Plain(await hub.token("plain"), files, ROWS)
            await tasks.start(lambda *, task_status: plain.serve(url, task_status=task_status))
            pids = [hub.pid, device.pid]
            numbers = count()

            async def step() -> None:
                for program in (hub, device):
                    await program.process.stdin.send(b".")  # type: ignore[union-attr]
                await at_rest(pids)

            async def complete_run(name: str, boxes: int) -> None:
                os.kill(device.pid, signal.SIGSTOP)
                run_id = await hub.start_run(name)
                # As many frames and writes at once as a moment brings would be noise.
                turns = [(hub, device), (device, hub)] if name == "notes" else [(hub, device)]
                with anyio.fail_after(_PATIENCE_S):  # a run ends without any time, as all is there
                    while _state(folder, run_id) not in ("COMPLETED", "FAILED", "CANCELLED"):
                        for works, waits in turns:
                            os.kill(waits.pid, signal.SIGSTOP)
                            os.kill(works.pid, signal.SIGCONT)
                            await at_rest([works.pid])
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
                await at_rest(pids)
                run = await hub.get(f"/v1/runs/{run_id}")
                assert (run["state"], run["items_created"]) == ("COMPLETED", boxes), run

            async def of_plain(boxes: int) -> None:
                number = next(numbers)
                files[f"/home/anna/notes/{number:02}.md"] = SHAPES[29].write(number, boxes)
                await complete_run("plain", boxes)

            async def of_own(boxes: int) -> None:
                number = next(numbers)
                note = folder / f"notes/{number:02}.md"
                note.write_text(SHAPES[29].write(number, boxes))
                os.utime(note, (START.timestamp(), START.timestamp()))
                await complete_run("notes", boxes)

            async def idle_minute() -> None:
                for _ in range(round(60 / STEP_S)):
                    await step()

            figures = await Counter(folder, hub=hub.pid).each("item of a plain device", of_plain, 20)
            counter = Counter(folder, hub=hub.pid, device=device.pid)
            figures |= await counter.each("item of our own device", of_own, 20)
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await idle_minute()  # each has the same rounds of services
                counter.read()
                await idle_minute()
                figures |= {("idle minute", name): number for name, number in counter.read().items()}
    return figures


def _state(folder: Path, run_id: str) -> str | None:
    with closing(sqlite3.connect(f"file:{folder}/hub.db?mode=ro", uri=True)) as db:
        return next((state for (state,) in db.execute("SELECT state FROM runs WHERE id = ?", [run_id])), None)


# --- figures ---


def measure(times: int = 1) -> dict[Key, list[int]]:
    """Return the instructions of each row and process, as often as asked."""
    measured: dict[Key, list[int]] = defaultdict(list)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for figures in pool.map(_measure, [one for one in (items, rules, calls) for _ in range(times)]):
            for key, instructions in figures.items():
                measured[key].append(instructions)
    return measured


def _measure(operation: Callable[[Path], Awaitable[Figures]]) -> Figures:
    with TemporaryDirectory(dir="/var/tmp", prefix="hub-bench-") as folder:
        return anyio.run(operation, Path(folder))


class Figure(msgspec.Struct, frozen=True):
    """Line of the table. *spread*: of its measurements, as a share; *why*: it moved."""

    row: str
    process: str
    instructions: int
    spread: float
    commit: str
    environment: str
    why: str

    @property
    def limit(self) -> float:
        """Share by which the next figure may be higher."""
        return max(LEAST, 2 * self.spread)


def last_figures(table: str, environment: str) -> dict[Key, Figure]:
    """Return the last figure of each row and process in lines of JSON that was recorded in *environment*."""
    figures = [msgspec.json.decode(line, type=Figure) for line in table.splitlines()]
    return {(one.row, one.process): one for one in figures if one.environment == environment}


def moved(last: Mapping[Key, Figure], measured: Mapping[Key, Sequence[int]]) -> dict[Key, str]:
    """Print a line for each figure, and return the word for those beyond the limit: new, rose or fell."""
    found = {}
    for key, values in measured.items():
        value, before = median(values), last.get(key)
        line = f"{key[0]:24} {key[1]:7} {value:13,.0f} instructions"
        if before is None:
            found[key] = "new"
        else:
            change = value / before.instructions - 1
            line += f" {change:+7.2%} of {before.commit}, limit {before.limit:.1%}"
            if abs(change) > before.limit:
                found[key] = "rose" if change > 0 else "fell"
        print(f"{line} {found.get(key, '')}".rstrip(), flush=True)
    return found


def environment() -> str | None:
    """Return what the figures depend on besides the source; None where valgrind is missing."""
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        return None
    valgrind = subprocess.run(
        ["valgrind", "--version"], check=True, capture_output=True, text=True
    ).stdout.strip()
    python = (
        f"{platform.python_implementation()} {platform.python_version()} {' '.join(platform.python_build())}"
    )
    has_avx2 = "avx2" in Path("/proc/cpuinfo").read_text().split()  # libraries choose their loops by it
    machine = platform.machine() + " avx2" * has_avx2
    return ", ".join((python, platform.python_compiler(), *platform.libc_ver(), machine, valgrind))


def main(arguments: Sequence[str] | None = None, table: Path = FIGURES) -> int:
    """Measure, compare with the table, and append to it if asked; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.instructions", description="Count instructions."
    )
    parser.add_argument("--record", action="store_true", help=f"append figures that moved to {FIGURES.name}")
    parser.add_argument("--why", default="", metavar="TEXT", help="why they moved")
    asked = parser.parse_args(arguments)
    if asked.record != bool(asked.why):
        parser.error("--record and --why belong together")
    if (here := environment()) is None:
        print("valgrind is missing: apt-get install valgrind")
        return UNAVAILABLE
    last = last_figures(table.read_text("utf-8") if table.exists() else "", here)
    if not (last or asked.record):
        print(f"no figures of this environment: {here}")
        return UNAVAILABLE
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start compiles the product anew
    measured = measure(_MEASUREMENTS if asked.record else 1)
    beyond = moved(last, measured)
    if not asked.record:
        unexplained = [" ".join(key) for key, word in beyond.items() if word != "fell"]
        print(
            f"more instructions: {', '.join(unexplained)}" if unexplained else f"{len(measured)} figures hold"
        )
        return 1 if unexplained else 0
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=FIGURES.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with table.open("ab") as lines:
        for row, process in beyond:
            values = measured[row, process]
            middle, spread = round(median(values)), round((max(values) - min(values)) / median(values), 4)
            lines.write(
                msgspec.json.encode(Figure(row, process, middle, spread, commit, here, asked.why)) + b"\n"
            )
    print(f"recorded {len(beyond)} of {len(measured)} figures; those of the others hold")
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--be", "rules"]:
            serve_rules()
        case ["--be", "program", *words]:
            serve_stepped(words)
        case _:
            sys.exit(main())
