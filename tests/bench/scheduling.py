"""Row 18: fires decided, set by set and one by one, and how late a run is queued."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import anyio
import sqlalchemy as sa

from hub.base.clock import Clock, IdFactory, SystemChance, SystemClock, epoch_ms
from hub.base.metrics import Metrics
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.runs.scheduler import BATCH, Scheduler
from hub.schedules.trigger import trigger_of
from protocol.ids import BootId
from storage.kernel.migrate import upgrade
from storage.schema import agent_configs, agent_states, agents, devices, schedules, users
from storage.store import open_store
from tests.bench.rounds import alone, play, ratio, spread_of
from tests.bench.rows import Row, at_least, at_most
from tests.support.clock import START, FakeClock

SCHEDULES: Final = 10_000
_ONE_BY_ONE: Final = 500  # of them are enough to tell how fast that is
_DEVICES: Final = 100
_MINUTE_MS: Final = 60_000
_SPREAD_S: Final = 8.0
_DISK: Final = "/var/tmp"  # /tmp is memory on many machines, and nothing is durable there


def _same_minute(number: int) -> dict[str, Any]:
    """One of ten thousand cron expressions that all fire when the bench's clock stands still."""
    minute, hour, month = 1 + number % 59, 10 + number // 59 % 14, 2 + number // 826 % 11
    trigger = {"kind": "cron", "expr": f"0,{minute} 9,{hour} * 1,{month} *", "tz": "UTC"}
    fire_at = epoch_ms(START)
    return trigger | {"cursor_at": fire_at - _MINUTE_MS, "next_fire_at": fire_at, "due_at": fire_at}


def _spread_out(began_ms: int, number: int) -> dict[str, Any]:
    """One that fires every minute, at its own moment of it."""
    first_at = began_ms + number * _MINUTE_MS // SCHEDULES
    trigger = {"kind": "every", "every_ms": _MINUTE_MS, "created_at": first_at - _MINUTE_MS}
    return trigger | {"cursor_at": first_at - _MINUTE_MS, "next_fire_at": first_at, "due_at": first_at}


def _fill(path: Path, schedule_of: Callable[[int], dict[str, Any]], count: int) -> None:
    """A database with so many agents on a hundred devices, each with a schedule."""
    upgrade(path)
    stamps = {"created_at": 0, "updated_at": 0}
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as c:
        c.execute(sa.insert(users), {"id": "u", "name": "owner", "created_at": 0})
        found = [
            {"id": f"d-{n}", "user_id": "u", "name": f"desk {n}", "created_at": 0} for n in range(_DEVICES)
        ]
        c.execute(sa.insert(devices), found)
        numbers = range(count)
        about = {"user_id": "u", "source": "file", "executor": "device", "data_types": ["tasks"]} | stamps
        ids = [{"id": f"a-{n}", "name": f"agent {n}", "device_id": f"d-{n % _DEVICES}"} for n in numbers]
        c.execute(sa.insert(agents), [about | one for one in ids])
        axes = {"lifecycle": "active", "last_activity_at": 0, "updated_at": 0}
        c.execute(sa.insert(agent_states), [axes | {"agent_id": f"a-{n}"} for n in numbers])
        configs = {"paths": '["notes"]', "file_extensions": "[]", "timezone": '"UTC"'}
        c.execute(
            sa.insert(agent_configs),
            [
                {"agent_id": f"a-{n}", "config_key": key, "config_value": value} | stamps
                for n in numbers
                for key, value in configs.items()
            ],
        )
        triggers = [{"id": f"s-{n}", "agent_id": f"a-{n}"} | stamps | schedule_of(n) for n in numbers]
        c.execute(sa.insert(schedules), triggers)
    engine.dispose()


@contextmanager
def _copy_of(pattern: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
        yield Path(shutil.copy(pattern, directory))


def _scheduler(clock: Clock, on_queued: Callable[[], None], metrics: Metrics, **given: Any) -> Scheduler:
    chance = SystemChance()
    return Scheduler(
        extractor=Extractor(Models(), secret=bytes(32)),
        clock=clock,
        ids=IdFactory(clock, chance),
        metrics=metrics,
        boot_id=BootId("bench"),
        on_queued=on_queued,
        on_cancel=lambda run_id: None,
        **given,
    )


async def _decide(pattern: Path, count: int, batch: int) -> float:
    """Decisions a second, from the first look to the last commit."""
    left = count // batch
    done = anyio.Event()

    def one_less() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    with _copy_of(pattern) as path:
        async with open_store(f"sqlite:///{path}") as store, anyio.create_task_group() as tasks:
            scheduler = _scheduler(FakeClock(), one_less, Metrics(), store=store, batch=batch)
            began = perf_counter()
            tasks.start_soon(scheduler.serve)
            await done.wait()
            took_s = perf_counter() - began
            tasks.cancel_scope.cancel()
    return count / took_s


class _Lags(list[float]):
    """In place of the histogram, to know each."""

    observe = list.append


async def _lag(directory: Path) -> float:
    """The 99th percentile of what passes from when a fire is due to when its run is in the queue, in ms."""
    clock = SystemClock()
    path = directory / "spread.db"
    path.unlink(missing_ok=True)
    # Filled first: what is due has to lie ahead by then.
    _fill(path, partial(_spread_out, 0), SCHEDULES)
    engine = sa.create_engine(f"sqlite:///{path}")
    ahead = epoch_ms(clock.now()) + 1_500
    with engine.begin() as c:
        names = ("created_at", "cursor_at", "next_fire_at", "due_at")
        c.execute(sa.update(schedules).values({name: schedules.c[name] + ahead for name in names}))
    engine.dispose()
    metrics, lags = Metrics(), _Lags()
    metrics.scheduler_lag = lags  # type: ignore[assignment]
    async with open_store(f"sqlite:///{path}") as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_scheduler(clock, lambda: None, metrics, store=store).serve)
        await clock.sleep(1.5 + _SPREAD_S)
        tasks.cancel_scope.cancel()
    return quantiles(lags, n=100)[-1] * 1_000


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 18, in this process, each figure on a fresh file."""
    echo(f"{SCHEDULES} agents, each with a schedule; wal, synchronous=full, in {_DISK}, on uvloop")
    expressions = {str(_same_minute(number)["expr"]) for number in range(SCHEDULES)}
    for expr in expressions:  # a hub has read its expressions before they are due
        trigger_of(kind="cron", expr=expr, every_ms=None, at_ms=None, tz="UTC", anchor_ms=0)
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as name:
        directory = Path(name)
        pattern = directory / "same-minute.db"
        _fill(pattern, _same_minute, SCHEDULES)

        def measure(call: Callable[..., Any], *given: Any) -> float:
            return float(anyio.run(call, *given, backend_options={"use_uvloop": True}))

        measurements = {
            "sets": partial(measure, _decide, pattern, SCHEDULES, BATCH),
            "one by one": partial(measure, _decide, pattern, _ONE_BY_ONE, 1),
            "lag": partial(measure, _lag, directory),
        }
        rounds = play(measurements, echo=echo)
    for kind in ("sets", "one by one"):
        spread = spread_of([played[kind].value for played in rounds])
        echo(f"{kind:>10}: {spread.least:6.0f} / {spread.middle:6.0f} / {spread.most:6.0f} decisions/s")
    slowest = SCHEDULES / min(played["sets"].value for played in rounds)
    echo(f"{SCHEDULES} due in the same minute: decided in {slowest:.2f} s at most; the bar is 5 s")
    echo(f"{len(expressions)} different cron expressions among them")
    return [
        Row(
            "18",
            f"fires decided/s, {BATCH} in a transaction / one in each",
            at_least(5.0),
            ratio(rounds, "sets", "one by one"),
        ),
        Row(
            "18",
            f"decisions/s, {SCHEDULES} schedules due in the same minute",
            at_least(SCHEDULES / 5, hard=SCHEDULES / 5),
            alone(rounds, "sets"),
            unit="/s",
        ),
        Row(
            "18",
            f"from due to queued, p99, {SCHEDULES} schedules spread over a minute",
            at_most(250, "ms"),
            alone(rounds, "lag"),
            unit="ms",
        ),
    ]
