"""A thousand devices, nothing but a socket each, all in this process; what they are asked for has no files.

``python -m tests.scenarios.crowds --way come_back`` (``make soak``): they come back within seconds, each with
a run that is overdue. Every run ends, never more at once than may be, and the hub's event loop is never late
for long. ``--way stop``: the hub is stopped while all are connected, part of them at work and part of them
deaf; no run is lost, and the deaf hold the stop up for seconds at most. The suite does both small.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any, Literal

import anyio
import msgspec
import sqlalchemy as sa
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.base.clock import SystemClock, epoch_ms
from hub.base.tokens import hash_token
from storage import schema
from tests.bench.machine import allow_open_files
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import CROWD, POLL_S, closing

LAG_P95_S, STOPPED_S = 0.1, 50.0  # of a stop: drain_timeout_s, and what goodbyes and the database take
COME_WITHIN_S = 5.0
WAITING = {"QUEUED", "PAUSED drain"}  # what a run is after a stop, before its device has begun and after
DEAF_OF = 50  # devices of which one is deaf
_AGAIN_S = 0.5  # after a hub's "not now"
_END_S = 150.0  # a crowd is spread over a minute
_AT_ONCE = 32  # runs; the hub's own limit


class Went(msgspec.Struct, kw_only=True):
    """How it went."""

    took_s: float = 0.0  # until all had ended, or the hub
    runs: dict[str, int] = {}  # by state, and what a paused one waits for
    most_at_once: int = 0  # runs that executed
    lags_s: list[float] = []  # what the hub's event loop was late by
    exit_code: int | None = None
    connected: int = 0
    goodbyes: int = 0


@asynccontextmanager
async def crowd(
    folder: Path, devices: int, *faults: str, limits: str
) -> AsyncIterator[tuple[FaultyHub, str]]:
    """A hub with a run for each device, and their address. *limits*: lines of ``[limits]``."""
    allow_open_files(devices + 200)
    hub = FaultyHub(folder, settings=CROWD + limits)
    hub.faults = ["--lag-file", str(folder / "lag"), *faults]
    async with closing(hub):
        await hub.start()  # makes the tables
        await hub.kill()
        fill(folder / "hub.db", range(devices), at=epoch_ms(SystemClock().now()))
        await hub.start()
        yield hub, f"{await hub.device_url()}/v1/device"


async def come_back(
    folder: Path,
    devices: int,
    *,
    within_s: float = COME_WITHIN_S,
    faults: Collection[str] = (),
    limits: str = "",
    seed: int = 1,
) -> Went:
    """Let so many devices come to a hub that has a run for each, and wait until all runs have ended."""
    chance, went = SeededChance(seed), Went()
    async with crowd(folder, devices, *faults, limits=limits) as (_, url), anyio.create_task_group() as herd:
        began = perf_counter()
        for number in range(devices):
            herd.start_soon(_device, url, number, went, chance.uniform(0.0, within_s))
        live = "SELECT 1 FROM runs WHERE completed_at IS NULL LIMIT 1"
        await _until(lambda: not rows(folder / "hub.db", live))
        went.took_s = perf_counter() - began
        herd.cancel_scope.cancel()
    went.lags_s = [float(line) for line in (folder / "lag").read_text().splitlines()]
    return _seen(folder, went)


async def stop(folder: Path, devices: int, deaf: int) -> Went:
    """Connect so many devices, let their runs begin, and stop the hub; *deaf* of them read no more."""
    went = Went()
    spread = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.001")
    async with (
        crowd(folder, devices, *spread, limits="connected_s = 0.1\n") as (hub, url),
        anyio.create_task_group() as tasks,
    ):
        for number in range(devices):
            tasks.start_soon(_device, url, number, went, 0.0, number < deaf, False)
        executing = "SELECT id FROM runs WHERE state IN ('PREPARING', 'RUNNING')"
        least = min(devices - deaf, _AT_ONCE)
        await _until(lambda: went.connected == devices and len(rows(folder / "hub.db", executing)) >= least)
        began = perf_counter()
        went.exit_code = await hub.stop()
        went.took_s = perf_counter() - began
        await _until(lambda: went.goodbyes >= devices - deaf)
        tasks.cancel_scope.cancel()
    return _seen(folder, went)


def _seen(folder: Path, went: Went) -> Went:
    states = "SELECT state || COALESCE(' ' || pause_reason, ''), count(*) FROM runs GROUP BY 1"
    went.runs = dict(rows(folder / "hub.db", states))
    moves = """
        WITH moves AS (SELECT at, new_state IN ('PREPARING', 'RUNNING') AS executes,
                              COALESCE(old_state IN ('PREPARING', 'RUNNING'), 0) AS executed
                       FROM run_state_history)
        SELECT sum(executes - executed) OVER (ORDER BY at, executes ROWS UNBOUNDED PRECEDING)
        FROM moves ORDER BY 1 DESC LIMIT 1"""
    ((went.most_at_once,),) = rows(folder / "hub.db", moves)
    return went


async def _device(
    url: str, number: int, went: Went, after_s: float, is_deaf: bool = False, answers: bool = True
) -> None:
    """Say hello, and answer a run with its end, if at all, until the hub says goodbye."""
    await anyio.sleep(after_s)
    while True:
        try:
            async with connect(url, compression=None, open_timeout=60, ping_interval=None) as socket:
                try:
                    await socket.send(json.dumps({"type": "device_hello", "token": _token(number)}))
                    async for message in socket:
                        match json.loads(message):
                            case {"type": "welcome"}:
                                went.connected += 1
                                if is_deaf:
                                    socket.transport.pause_reading()
                                    await anyio.sleep_forever()
                            case {"type": "agent_run", "run_id": run_id} if answers:
                                await socket.send(json.dumps({"type": "agent_complete", "run_id": run_id}))
                            case {"type": "goodbye"}:
                                went.goodbyes += 1
                                return
                finally:
                    socket.transport.abort()
        except (InvalidStatus, ConnectionClosed):  # too many stood at the hub's door
            await anyio.sleep(_AGAIN_S)


async def _until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(_END_S):
        while not is_so():
            await anyio.sleep(POLL_S)


def _token(number: int) -> str:
    return f"hub_dev_{number}"


def fill(database: Path, numbers: range, *, at: int) -> None:
    """Write so many devices, each with a token, an agent and a run whose time has passed."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as c:
        user: str = c.execute(sa.select(schema.users.c.id)).scalar_one()
        for table, made in _rows(user, at):
            each = [{name: _of(value, n) for name, value in made.items()} for n in numbers]
            c.execute(sa.insert(table), each)
    engine.dispose()


def _of(value: Any, number: int) -> Any:
    """Return the value of a device's row: a text has its number in the place of #."""
    return (
        value.replace("#", str(number))
        if isinstance(value, str)
        else value(number)
        if callable(value)
        else value
    )


def _rows(user: str, at: int) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Yield the row of each table for a device, an agent on it, and a run of that agent."""
    stamps = {"created_at": at, "updated_at": at}
    token = {"id": "t#", "device_id": "desk#", "token_hash": lambda number: hash_token(_token(number))}
    agent = {"user_id": user, "executor": "device", "data_types": ["tasks"], "prompt_template": "Find tasks."}
    paths = {"config_key": "paths", "config_type": "json", "config_value": '["notes"]'}
    state = {"lifecycle": "active", "runs_waiting": 1, "last_activity_at": at, "updated_at": at}
    move = {"seq": 1, "new_state": "QUEUED", "attempt": 1, "fence": 0, "actor": "hub", "at": at}
    given: dict[str, Any] = {
        "paths": ["notes"],
        "file_extensions": [],
        "data_types": ["tasks"],
        "timezone": "UTC",
    }
    given |= {"prompt": "Find the tasks that a person has to do.", "config_fingerprint": "as it is"}
    due = {"trigger_kind": "catchup", "fire_key": f"s:#:{at}", "fire_at": at, "eligible_at": at}
    due |= {"state": "QUEUED", "config_rev": 1, "config_fingerprint": "as it is", "settings": given}
    yield schema.devices, {"id": "desk#", "name": "desk#", "user_id": user, "created_at": at}
    yield schema.device_tokens, token | {"created_at": at}
    yield schema.agents, agent | stamps | {"id": "a#", "name": "a#", "device_id": "desk#"}
    yield schema.agent_configs, paths | stamps | {"agent_id": "a#"}
    yield schema.agent_states, state | {"agent_id": "a#"}
    yield schema.runs, due | stamps | {"id": "run#", "agent_id": "a#", "device_id": "desk#"}
    yield schema.run_state_history, move | {"run_id": "run#"}


async def play(
    folder: Path, *, way: Literal["come_back", "stop"] = "come_back", devices: int = 1_000, seed: int = 1
) -> Verdict:
    """Let a crowd of devices come back to a hub, or stop the hub of a crowd."""
    if way == "stop":
        deaf = devices // DEAF_OF
        went = await stop(folder, devices, deaf)
        is_well = went.exit_code == 0 and went.took_s <= STOPPED_S and went.runs.keys() <= WAITING
        told = f"exit code {went.exit_code} after {went.took_s:.1f} s, {went.goodbyes} goodbyes heard"
        return f"{devices} devices, {deaf} of them deaf: {told}, {went.runs}", is_well
    went = await come_back(folder, devices, seed=seed)
    lag_s = quantiles(went.lags_s, n=20)[-1]
    told = (
        f"{devices} devices came within {COME_WITHIN_S:g} s: {went.runs} after {went.took_s:.1f} s,"
        f" {went.most_at_once} runs at once at most; the loop was late by {lag_s * 1000:.1f} ms (p95),"
        f" {max(went.lags_s) * 1000:.0f} ms at most"
    )
    return told, went.runs == {"COMPLETED": devices} and went.most_at_once <= _AT_ONCE and lag_s < LAG_P95_S


if __name__ == "__main__":
    run(play)
