"""Rows 26 and 28: what it costs the daemon that devices connect and are there, in CPU time.

Row 26: a device that connects with a thousand others, until all have settled, of a bare accept.
Row 28: 1,000 and 10,000 devices that are only there, and 1,000 agents with schedules that are not due.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
import sqlalchemy as sa

from hub.base.tokens import hash_token
from storage.schema import device_tokens, devices, users
from tests.bench.bare_server import BareConfig
from tests.bench.client import PAUSE_MS, ClientConfig
from tests.bench.machine import allow_open_files, tree_cpu_s, tree_wakeups
from tests.bench.payloads import token_of
from tests.bench.processes import client_process, python_process
from tests.bench.rounds import alone, play, ratio
from tests.bench.rows import Row, at_most
from tests.support.processes import CROWD, HubProcess

ROWS: Final = frozenset({26, 28})
_FEW, _MANY = 1_000, 10_000
_SETTLED_S: Final = 70.0  # after the last one connected
_IDLE_S: Final = 20.0
_COME_S: Final = 240.0
_DISK: Final = "/var/tmp"  # as row 13
_AGENTS: Final = 1_000
_AGENT: Final = """\
[[agents]]
name = "agent-{0}"
device = "desk-{0}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
schedule = "0 0 1 1 *"
"""
_SETTINGS: Final = CROWD.replace("2000", str(_MANY + 1_000))


def run(echo: Callable[[str], None], wanted: set[int]) -> list[Row]:
    """Play those of the rows that are wanted."""
    allow_open_files(_MANY + 1_000)
    rows: list[Row] = []
    if 26 in wanted:
        rows += _connecting(echo)
    if 28 in wanted:
        rows += _idle(echo)
    return rows


# --- a device that connects ---


def _connecting(echo: Callable[[str], None]) -> list[Row]:
    echo(f"{_FEW:,} devices come to a bare server, and to the daemon, which is measured for {_SETTLED_S:g} s")
    rounds = play({"bare": _bare_ms, "hub": _hub_ms}, echo=echo, rounds=2, extra=0)
    for played in rounds:
        echo(f"bare {played['bare'].value:.3f} ms, hub {played['hub'].value:.3f} ms a device")
    name = f"CPU of a device that connects, of {_FEW:,}, of a bare accept"
    return [Row("26", name, at_most(4), ratio(rounds, "hub", "bare"), False)]


def _bare_ms() -> float:
    with python_process("tests.bench.bare_server", BareConfig(devices=_FEW)) as server:
        port = server.hear()["port"]
        before = tree_cpu_s(server.pid)
        with _crowd(port, _FEW):
            return _ms_since(before, server.pid, _FEW)


def _hub_ms() -> float:
    with _daemon(_FEW) as (pid, port):
        before = tree_cpu_s(pid)
        with _crowd(port, _FEW):
            _wait(_SETTLED_S)
            return _ms_since(before, pid, _FEW)


def _wait(seconds: float) -> None:
    anyio.run(anyio.sleep, seconds)


def _ms_since(before_s: float, pid: int, devices: int) -> float:
    return (tree_cpu_s(pid) - before_s) * 1_000 / devices


@contextmanager
def _crowd(port: int, devices: int, pause_ms: int = 0) -> Iterator[None]:
    with client_process(ClientConfig(port=port, devices=devices, pause_ms=pause_ms)) as client:
        client.hear(_COME_S)
        yield


@contextmanager
def _daemon(number: int, *, agents: int = 0) -> Iterator[tuple[int, int]]:
    """Run the hub's daemon with so many devices, and agents whose schedules are not due; its id and port."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=_DISK, prefix="hub-bench-")))
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
        declared = "".join(_AGENT.format(n) for n in range(agents))
        hub = HubProcess(
            folder, settings=f"{_SETTINGS}agents_per_user = {_AGENTS}\n{declared}", is_forked=False
        )
        stack.callback(portal.call, hub.close)
        portal.call(hub.start)  # makes the tables
        portal.call(hub.stop)
        engine = sa.create_engine(f"sqlite:///{folder / 'hub.db'}")
        with engine.begin() as c:
            if number:
                _enrol(c, number)
        engine.dispose()
        portal.call(hub.start)
        _wait(3.0)  # what a start does later
        yield hub.pid, int(portal.call(hub.device_url).rpartition(":")[2])


def _enrol(c: sa.Connection, number: int) -> None:
    numbers = range(number)
    owner = {"user_id": c.execute(sa.select(users.c.id)).scalar_one(), "created_at": 0}
    c.execute(sa.insert(devices), [owner | {"id": f"d-{n}", "name": f"desk {n}"} for n in numbers])
    tokens = [
        {"id": f"t-{n}", "device_id": f"d-{n}", "token_hash": hash_token(token_of(n)), "created_at": 0}
        for n in numbers
    ]
    c.execute(sa.insert(device_tokens), tokens)


# --- devices that are only there ---


def _idle(echo: Callable[[str], None]) -> list[Row]:
    there = f"none, {_FEW:,} and {_MANY:,} devices"
    echo(f"{_AGENTS:,} agents that are not due, {there} that are only there, for {_IDLE_S:g} s each")
    woken: dict[int, float] = {}

    def share(connected: int) -> float:
        with _daemon(connected, agents=_AGENTS) as (pid, port), ExitStack() as stack:
            if connected:
                stack.enter_context(_crowd(port, connected, PAUSE_MS))
            _wait(_SETTLED_S)
            used_s, turns = tree_cpu_s(pid), tree_wakeups(pid)
            _wait(_IDLE_S)
            woken[connected] = (tree_wakeups(pid) - turns) / _IDLE_S
            return 100 * (tree_cpu_s(pid) - used_s) / _IDLE_S

    counts = (0, _FEW, _MANY)
    rounds = play({str(count): partial(share, count) for count in counts}, echo=echo, rounds=1, extra=0)
    played = rounds[0]
    for count in counts:
        echo(f"{count:6,} devices: {played[str(count)].value:.2f} % of a core, {woken[count]:.0f} wake-ups/s")
        played[f"{count}, woken"] = played[str(count)]._replace(value=woken[count])
    growth = ratio(rounds, str(_MANY), str(_FEW))
    found = [Row("28", f"idle CPU, {_MANY:,} devices of {_FEW:,}", at_most(12), growth, False)]
    for count in counts:
        name = f"{count:,} idle devices"
        found.append(Row("28", f"... CPU share, {name}", None, alone(rounds, str(count)), False, "%"))
        taken = alone(rounds, f"{count}, woken")
        found.append(Row("28", f"... wake-ups/s, {name}", None, taken, False, "/s"))
    return found
