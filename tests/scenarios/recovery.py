"""A hub that died with ten thousand live runs: how long it takes until it is ready again.

``python -m tests.scenarios.recovery`` (``make soak``) fills a database, starts the hub as it is
installed, and fails when it is not ready in time. The suite does it small.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import anyio
import msgspec
import sqlalchemy as sa

from hub.base.clock import SystemClock, epoch_ms
from protocol.lifecycles import CallState, PauseReason, RunState, UnitState
from storage import schema
from storage.schema import agent_states, devices, run_calls, run_state_history, run_units, runs, users
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import rows
from tests.support.processes import POLL_S, HubProcess

READY_S = 2.0  # that a start with 10,000 live runs may take, all of it
SETTLED_S = 30.0
PAUSED = "SELECT count(*) FROM runs WHERE state = 'PAUSED'"  # in the end those whose device is not there


_UNITS, _CALLS = 3, 2  # of a run that executes; calls of each unit
_DEAD_BOOT = "a boot that is gone"
_LEASE_MS = 30_000

Row = dict[str, Any]


class _Kind(NamedTuple):
    """What a run was doing when the hub died."""

    state: RunState
    fence: int = 1
    paused: PauseReason | None = None
    crash_count: int = 0
    cancel_reason: str | None = None


EACH = 10  # runs of an agent
_KINDS = (
    _Kind(RunState.QUEUED, fence=0),
    _Kind(RunState.QUEUED, crash_count=1),
    _Kind(RunState.PREPARING),
    *[_Kind(RunState.RUNNING)] * 3,
    _Kind(RunState.RUNNING, crash_count=1),
    _Kind(RunState.PAUSED, paused=PauseReason.DRAIN),
    _Kind(RunState.PAUSED, paused=PauseReason.DEVICE_OFFLINE),
)
_LAST_KIND = _Kind(RunState.RUNNING)
# What the last run of some agents was doing instead: nothing of it is to be done again.
_ENDING = {0: _Kind(RunState.RUNNING, crash_count=2), 1: _Kind(RunState.RUNNING, cancel_reason="not needed")}
_ENDING_EVERY = 20  # agents
_EXECUTING = (RunState.PREPARING, RunState.RUNNING)
_COUNTS = Counter(kind.state in _EXECUTING for kind in (*_KINDS, _LAST_KIND))
assert _COUNTS.total() == EACH


def expected(agents: int) -> dict[str, int]:
    """What becomes of those that executed, with so many agents (a multiple of 20)."""
    ending = agents // _ENDING_EVERY
    return {
        "requeued": agents * _COUNTS[True] - 2 * ending,
        "failed": ending,
        "cancelled": ending,
    }


def fill(database: Path, agents: int, *, at: int) -> None:
    """Write the live runs of so many agents into a SQLite file whose tables are there. *at*: epoch ms."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as c:
        user: str = c.execute(sa.select(users.c.id)).scalar_one()
        for table, made in _rows(user, agents, at):
            c.execute(sa.insert(table), made)
    engine.dispose()


def _rows(user: str, agents: int, at: int) -> Iterator[tuple[sa.Table, list[Row]]]:
    stamps = {"created_at": at, "updated_at": at}
    numbers = range(agents)
    yield (
        devices,
        [{"id": f"desk{n}", "user_id": user, "name": f"desk{n}", "created_at": at} for n in numbers],
    )
    agent = {"user_id": user, "executor": "device"} | stamps
    yield (
        schema.agents,
        [agent | {"id": f"a{n}", "name": f"a{n}", "device_id": f"desk{n}"} for n in numbers],
    )
    running = sum(kind.state is RunState.RUNNING for kind in (*_KINDS, _LAST_KIND))
    counts = {
        "runs_executing": _COUNTS[True],
        "runs_running": running,
        "runs_waiting": _COUNTS[False],
    }
    state = {"lifecycle": "active", "last_activity_at": at, "updated_at": at} | counts
    yield agent_states, [state | {"agent_id": f"a{n}"} for n in numbers]
    live = [
        (f"a{n}-{turn}", n, kind)
        for n in numbers
        for turn, kind in enumerate((*_KINDS, _ENDING.get(n % _ENDING_EVERY, _LAST_KIND)))
    ]
    yield runs, [_run(run, number, kind, at) | stamps for run, number, kind in live]
    yield run_state_history, [_move(run, kind, at) for run, _, kind in live]
    units = [
        (run, f"notes/page{unit}.md")
        for run, _, kind in live
        if kind.state is RunState.RUNNING
        for unit in range(_UNITS)
    ]
    yield run_units, [_unit(run, unit, at) for run, unit in units]
    yield run_calls, [_call(run, unit, n, at) for run, unit in units for n in range(_CALLS)]


def _run(run: str, number: int, kind: _Kind, at: int) -> Row:
    executes = kind.state in _EXECUTING
    return {
        "id": run,
        "agent_id": f"a{number}",
        "device_id": f"desk{number}",
        "trigger_kind": "manual",
        "fire_key": f"m:{run}",
        "fire_at": at,
        "eligible_at": at,
        "state": kind.state,
        "pause_reason": kind.paused,
        "fence": kind.fence,
        "lease_boot_id": _DEAD_BOOT if executes else None,
        "lease_expires_at": at + _LEASE_MS if executes else None,
        "crash_count": kind.crash_count,
        "cancel_requested_at": at if kind.cancel_reason else None,
        "cancel_reason": kind.cancel_reason,
        "config_rev": 1,
        "config_fingerprint": "as it was",
    }


def _move(run: str, kind: _Kind, at: int) -> Row:
    """Its first: the moves between it and the state of the run are left out."""
    return {
        "run_id": run,
        "seq": 1,
        "new_state": kind.state,
        "attempt": 1,
        "fence": kind.fence,
        "actor": "hub",
        "at": at,
    }


def _unit(run: str, unit: str, at: int) -> Row:
    return {
        "run_id": run,
        "unit_key": unit,
        "content_hash": "as it was",
        "state": UnitState.EXTRACTED,
        "calls_planned": _CALLS,
        "updated_at": at,
    }


def _call(run: str, unit: str, ordinal: int, at: int) -> Row:
    return {
        "call_id": f"{run}/{unit}/{ordinal}",
        "run_id": run,
        "unit_key": unit,
        "ordinal": ordinal,
        "target_table": "tasks",
        "payload": {"data": {"title": "Call Rossi"}, "source": {}},
        "state": CallState.SENT,
        "sends": 1,
        "updated_at": at,
    }


async def recover(folder: Path, hub: HubProcess, *, agents: int) -> tuple[dict[str, int], float]:
    """Start *hub* in *folder*, where its database got the live runs of so many agents.

    Returns how many runs the hub says that it has requeued, cancelled and failed, and the seconds until then.
    """
    await hub.start()  # makes the tables
    await hub.kill()
    fill(folder / "hub.db", agents, at=epoch_ms(SystemClock().now()))
    began = perf_counter()
    await hub.start()
    took_s = perf_counter() - began
    with anyio.fail_after(SETTLED_S):  # ready, it goes on with runs that a drain had paused
        while rows(folder / "hub.db", PAUSED) != [(agents,)]:
            await anyio.sleep(POLL_S)
    await hub.kill()
    (*_, last) = (line for line in hub.log().splitlines() if '"hub.recovered"' in line)
    return {name: msgspec.json.decode(last)[name] for name in expected(0)}, took_s


async def play(folder: Path, *, live: int = 10_000) -> Verdict:
    """Start a hub that died with so many live runs."""
    said, took_s = await recover(folder, HubProcess(folder), agents=live // EACH)
    told = ", ".join(f"{number} {what}" for what, number in said.items())
    is_well = took_s <= READY_S and said == expected(live // EACH)
    verdict = (
        f"{live} live runs: ready after {took_s:.2f} s, of {READY_S:g} s allowed; of those that had executed"
    )
    return f"{verdict} {told}", is_well


if __name__ == "__main__":
    run(play)
