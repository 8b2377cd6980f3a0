"""A thousand devices come back within seconds, each with a run that is overdue.

``python -m tests.scenarios.herd`` (``make soak``) does it at full size: every run ends, never more at
once than may be, and the hub's event loop is never late for long. The suite does it small.

The devices are nothing but a socket each, all in this process; what they are asked for has no files.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import anyio
import msgspec
import sqlalchemy as sa
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.clock import SystemClock, epoch_ms
from hub.tokens import hash_token
from storage import schema
from storage.schema import agent_configs, agent_states, agents, device_tokens, run_state_history, users
from tests.bench.machine import allow_open_files
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import CROWD, POLL_S

LAG_P95_S = 0.1
COME_WITHIN_S = 5.0
_AGAIN_S = 0.5  # after a hub's "not now"
_END_S = 150.0  # a crowd is spread over a minute
_AT_ONCE = 32  # runs; the hub's own limit

Row = dict[str, Any]


class Return(msgspec.Struct, frozen=True):
    """How it went."""

    runs: dict[str, int]  # by state
    most_at_once: int  # runs that executed
    took_s: float  # from the first connection until all had ended
    lag_p95_s: float  # what the hub's event loop was late by
    lag_max_s: float


async def come_back(
    folder: Path,
    devices: int,
    *,
    within_s: float = COME_WITHIN_S,
    faults: Collection[str] = (),
    limits: str = "",
    seed: int = 1,
) -> Return:
    """Let so many devices come to a hub that has a run for each, and wait until all runs have ended.

    Args:
        limits: lines of ``[limits]``.
    """
    allow_open_files(devices + 200)
    lag = folder / "lag"
    hub = FaultyHub(folder, settings=CROWD + limits)
    hub.faults = ["--lag-file", str(lag), *faults]
    chance = SeededChance(seed)
    try:
        await hub.start()  # makes the tables
        await hub.kill()
        fill(folder / "hub.db", devices, at=epoch_ms(SystemClock().now()))
        await hub.start()
        url = f"{await hub.device_url()}/v1/device"
        began = perf_counter()
        async with anyio.create_task_group() as herd:
            for number in range(devices):
                herd.start_soon(_come, url, token(number), chance.uniform(0.0, within_s))
            await _all_ended(folder / "hub.db", hub)
            took_s = perf_counter() - began
            herd.cancel_scope.cancel()
    finally:
        await hub.close()
    lags = [float(line) for line in lag.read_text().splitlines()]
    return Return(
        runs=dict(rows(folder / "hub.db", "SELECT state, count(*) FROM runs GROUP BY 1")),
        most_at_once=_most_at_once(folder / "hub.db"),
        took_s=took_s,
        lag_p95_s=quantiles(lags, n=20)[-1],
        lag_max_s=max(lags),
    )


async def _come(url: str, token: str, after_s: float) -> None:
    """One device: it says hello, and answers a run with its end."""
    await anyio.sleep(after_s)
    while True:
        try:
            async with connect(url, compression=None, open_timeout=60) as socket:
                await _answer_runs(socket, token)
        except (InvalidStatus, ConnectionClosed):  # too many stood at the hub's door
            await anyio.sleep(_AGAIN_S)


async def _answer_runs(socket: ClientConnection, token: str) -> None:
    await socket.send(json.dumps({"type": "device_hello", "token": token}))
    async for message in socket:
        frame = json.loads(message)
        if frame["type"] == "agent_run":
            await socket.send(json.dumps({"type": "agent_complete", "run_id": frame["run_id"]}))


async def _all_ended(database: Path, hub: FaultyHub) -> None:
    with anyio.move_on_after(_END_S):
        while rows(database, "SELECT 1 FROM runs WHERE completed_at IS NULL LIMIT 1"):
            await anyio.sleep(POLL_S)
        return
    states = rows(database, "SELECT state, reason, count(*) FROM runs GROUP BY 1, 2")
    raise AssertionError(f"runs do not end: {states}\n{hub.log()[-4000:]}")


def _most_at_once(database: Path) -> int:
    """How many runs executed at the same time, at most, by their history."""
    moves = rows(
        database,
        """SELECT (new_state IN ('PREPARING', 'RUNNING')) - COALESCE(old_state IN ('PREPARING', 'RUNNING'), 0)
           FROM run_state_history ORDER BY at, 1""",
    )
    most = now = 0
    for (change,) in moves:
        now += change
        most = max(most, now)
    return most


def token(number: int) -> str:
    """Of the device of that number."""
    return f"hub_dev_{number}"


def fill(database: Path, devices: int, *, at: int) -> None:
    """So many devices, each with a token, an agent and a run whose time has passed."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as c:
        user: str = c.execute(sa.select(users.c.id)).scalar_one()
        for table, made in _rows(user, range(devices), at):
            c.execute(sa.insert(table), made)
    engine.dispose()


def _rows(user: str, numbers: range, at: int) -> Iterator[tuple[sa.Table, list[Row]]]:
    """Devices with a token each, an agent on each, and a run of that agent whose time has passed."""
    stamps = {"created_at": at, "updated_at": at}
    device = {"user_id": user, "created_at": at}
    yield schema.devices, [device | {"id": f"desk{n}", "name": f"desk{n}"} for n in numbers]
    yield (
        device_tokens,
        [
            {"id": f"t{n}", "device_id": f"desk{n}", "token_hash": hash_token(token(n)), "created_at": at}
            for n in numbers
        ],
    )
    agent = {"user_id": user, "executor": "device", "data_types": ["tasks"], "prompt_template": "Find tasks."}
    yield (
        agents,
        [agent | stamps | {"id": f"a{n}", "name": f"a{n}", "device_id": f"desk{n}"} for n in numbers],
    )
    paths = {"config_key": "paths", "config_type": "json", "config_value": '["notes"]'} | stamps
    yield agent_configs, [paths | {"agent_id": f"a{n}"} for n in numbers]
    state = {"lifecycle": "active", "runs_waiting": 1, "last_activity_at": at, "updated_at": at}
    yield agent_states, [state | {"agent_id": f"a{n}"} for n in numbers]
    yield schema.runs, [_run(n, at) | stamps for n in numbers]
    move = {"seq": 1, "new_state": "QUEUED", "attempt": 1, "fence": 0, "actor": "hub", "at": at}
    yield run_state_history, [move | {"run_id": f"run{n}"} for n in numbers]


def _run(number: int, at: int) -> Row:
    return {
        "id": f"run{number}",
        "agent_id": f"a{number}",
        "device_id": f"desk{number}",
        "trigger_kind": "catchup",
        "fire_key": f"s:{number}:{at}",
        "fire_at": at,
        "eligible_at": at,
        "state": "QUEUED",
        "config_rev": 1,
        "config_fingerprint": "as it is",
        "settings": {
            "paths": ["notes"],
            "file_extensions": [],
            "data_types": ["tasks"],
            "prompt": "Find the tasks that a person has to do.",
            "timezone": "UTC",
            "config_fingerprint": "as it is",
        },
    }


async def main(devices: int, seed: int) -> int:
    """Prints how it went; 1 when a run did not end well, too many executed, or the loop was late."""
    with tempfile.TemporaryDirectory() as folder:
        went = await come_back(Path(folder), devices, seed=seed)
    print(  # noqa: T201  # for the person who runs it
        f"{devices} devices came within {COME_WITHIN_S:g} s: {went.runs} after {went.took_s:.1f} s,"
        f" {went.most_at_once} runs at once at most; the loop was late by {went.lag_p95_s * 1000:.1f} ms"
        f" (p95), {went.lag_max_s * 1000:.0f} ms at most"
    )
    is_well = went.runs == {"COMPLETED": devices} and went.most_at_once <= _AT_ONCE
    return int(not is_well or went.lag_p95_s >= LAG_P95_S)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--devices", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    sys.exit(anyio.run(main, chosen.devices, chosen.seed))
