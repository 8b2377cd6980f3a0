"""Row 33: hellos and claims on PostgreSQL with 1,000, 10,000 and 100,000 connected devices of other nodes.

By CPU time, of this process and of the server, because that is what bounds them: devices that connect come in
sets, and a claim takes up to 32 runs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Final

import anyio

from protocol.ids import BootId, DeviceId, RunId, TokenId
from storage.effects import sessions
from storage.effects.sessions import Opened, Opening
from storage.runs import run_claims, run_moves
from storage.runs.run_claims import Gates
from storage.store import Store, open_store
from tests.bench.machine import cpu_seconds
from tests.bench.rounds import Rounds, alone, play, ratio
from tests.bench.rows import Row, at_most
from tests.support.postgres import Postgres, running_postgres, why_no_postgres
from tests.support.presence import live
from tests.support.runs import declare_agent

_FEW, _MORE, _MANY = _COUNTS = (1_000, 10_000, 100_000)
_HELLOS: Final = 1_000
_SET: Final = 50  # devices that connect together
_RUNS: Final = 640  # of devices that connected
_BEATS: Final = 200
_AT: Final = 1_000_000
_ROUNDS: Final = 2
_THERE, _HERE = BootId("there"), BootId("here")
# Copies of the only row of each table, in the order of their references.
_COPIES: Final = (
    ("users", "'id', 'u-' || n, 'name', 'user ' || n"),
    ("devices", f"'id', 'd-' || n, 'user_id', 'u-' || n, 'name', 'desk', 'boot_id', '{_THERE}'"),
    ("device_tokens", "'id', 't-' || n, 'device_id', 'd-' || n, 'token_hash', '\\x' || md5(n::text)"),
    ("agents", "'id', 'a-' || n, 'user_id', 'u-' || n, 'device_id', 'd-' || n, 'name', 'notes ' || n"),
    ("agent_states", "'agent_id', 'a-' || n"),
)
_QUEUED: Final = "'id', 'r-' || n, 'agent_id', 'a-' || n, 'device_id', 'd-' || n, 'fire_key', 'f-' || n"


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 33."""
    if (problem := why_no_postgres()) is not None:
        echo(f"left out: {problem}")
        return []
    kinds = ("hello", "claim", "beat")
    spent: dict[str, dict[int, float]] = {kind: {} for kind in kinds}

    def hello_ms(connected: int) -> float:
        with running_postgres(buffers="512MB") as postgres:
            found = anyio.run(_measure, postgres, connected)
        for kind, value in zip(kinds, found, strict=True):
            spent[kind][connected] = value
        figures = ", ".join(f"{kind} {spent[kind][connected]:.2f} ms" for kind in kinds)
        echo(f"{connected:7,} devices: {figures}")
        return found[0]

    rounds: Rounds = []
    for _ in range(_ROUNDS):
        (played,) = play({str(n): partial(hello_ms, n) for n in _COUNTS}, echo=echo, rounds=1, extra=0)
        for kind in kinds:
            for connected in _COUNTS:
                value = spent[kind][connected]
                played[f"{kind} {connected}"] = played[str(connected)]._replace(value=value)
        rounds.append(played)
    rows = []
    for kind, count in product(("hello", "claim"), (_MORE, _MANY)):
        grown = ratio(rounds, f"{kind} {count}", f"{kind} {_FEW}")
        rows.append(Row("33", f"CPU of a {kind}, {count:,} devices of {_FEW:,}", at_most(2), grown, False))
    most = {kind: alone(rounds, f"{kind} {_MANY}") for kind in kinds}
    return rows + [Row("33", f"... CPU of a {kind}", None, most[kind], False, "ms") for kind in kinds]


async def _measure(postgres: Postgres, connected: int) -> tuple[float, float, float]:
    """Return the milliseconds of CPU of a hello, of a claim, and of a beat."""
    with postgres.database() as url:
        async with open_store(url, boot_id=_HERE) as store:
            await _fill(store, postgres, url, connected)
            step = connected // _HELLOS
            numbers = [1 + n * step for n in range(_HELLOS)]
            with _metered(postgres) as hellos:
                for first in range(0, _HELLOS, _SET):
                    await _connect(store, numbers[first : first + _SET])
            _copy(postgres, url, "runs", _QUEUED, f"unnest(ARRAY{numbers[:_RUNS]})")
            postgres.run("DELETE FROM runs WHERE id = 'r'; ANALYZE runs", url=url)
            gates = Gates(online=frozenset(DeviceId(f"d-{n}") for n in numbers), total=2 * _RUNS)
            claim = partial(run_claims.claim_runs, boot_id=_HERE, gates=gates, lease_ms=30_000, at=_AT)
            claimed = 0
            with _metered(postgres) as claims:
                while found := await store.write(claim):
                    claimed += len(found)
            assert claimed == _RUNS
            with _metered(postgres) as beats:
                for _ in range(_BEATS):
                    await store.write(partial(live, boot=_HERE))
    return hellos[0] / _HELLOS, claims[0] / _RUNS, beats[0] / _BEATS


async def _fill(store: Store, postgres: Postgres, url: str, connected: int) -> None:
    agent = await declare_agent(store)
    for boot in (_THERE, _HERE):
        await store.write(partial(live, boot=boot))
    made = partial(run_moves.create_run, fire_key="f", at=_AT, config_fingerprint="p")
    await store.write(partial(made, id=RunId("r"), agent=agent))
    columns = "id, device_id, token_hash, created_at"
    postgres.run(f"INSERT INTO device_tokens ({columns}) SELECT 't', id, '', 0 FROM devices", url=url)
    for table, values in _COPIES:
        _copy(postgres, url, table, values, f"generate_series(1, {connected})")
    postgres.run("ANALYZE", url=url)


def _copy(postgres: Postgres, url: str, table: str, values: str, numbers: str) -> None:
    row = f"(jsonb_populate_record(original, jsonb_build_object({values}))).*"
    postgres.run(f"INSERT INTO {table} SELECT {row} FROM {table} AS original, {numbers} AS n", url=url)


async def _connect(store: Store, numbers: list[int]) -> None:
    openings = [Opening(device_id=DeviceId(f"d-{n}"), credential=TokenId(f"t-{n}")) for n in numbers]
    opened = await store.write(
        sessions.open_sessions, openings, boot_id=_HERE, at=_AT, is_shared=True, per_user=100
    )
    assert all(isinstance(one, Opened) and one.taken_from == _THERE for one in opened)


@contextmanager
def _metered(postgres: Postgres) -> Iterator[list[float]]:
    """Append the milliseconds of CPU of this process and of the server in the block."""
    spent: list[float] = []
    before = cpu_seconds() + postgres.cpu_seconds()
    yield spent
    spent.append(1_000 * (cpu_seconds() + postgres.cpu_seconds() - before))
