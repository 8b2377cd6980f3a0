"""Row 13: durable rows a second, with group commit and with a transaction for each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import aiosqlite
import anyio
import sqlalchemy as sa

from storage.kernel.sqlite import open_sqlite
from tests.bench.rounds import play, ratio, spread_of
from tests.bench.rows import Row, gate

_WARM_S: Final = 0.1
_SECONDS: Final = 0.5
_DISK: Final = "/var/tmp"  # /tmp is memory on many machines, and nothing is durable there

_TABLE: Final = sa.Table(
    "bench_rows",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Integer),
    sa.Column("message", sa.Text),
)
_INSERT: Final = sa.insert(_TABLE)
_INSERT_TEXT: Final = "INSERT INTO bench_rows (id, at, message) VALUES (?, ?, ?)"
_AT: Final = 1_766_000_000_000
_MESSAGE: Final = "an item reached its device and was settled there; " * 2

Write = Callable[[int], Awaitable[object]]
Open = Callable[[Path], AbstractAsyncContextManager[Write]]


@asynccontextmanager
async def _open_each(path: Path) -> AsyncIterator[Write]:
    """The ordinary way: one aiosqlite connection, a lock, and a transaction for every row."""
    async with aiosqlite.connect(path) as connection:
        for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
            await connection.execute(f"PRAGMA {pragma}")
        lock = anyio.Lock()

        async def write(number: int) -> None:
            async with lock:
                await connection.execute(_INSERT_TEXT, (number, _AT, _MESSAGE))
                await connection.commit()

        yield write


@asynccontextmanager
async def _open_group(path: Path, insert: Callable[[sa.Connection, int], None]) -> AsyncIterator[Write]:
    """The hub's own database, one job for each row."""
    async with open_sqlite(path) as database:

        async def write(number: int) -> None:
            await database.write(insert, number)

        yield write


def _insert_text(c: sa.Connection, number: int) -> None:
    driver: Any = c.connection.driver_connection  # as the other side does: the driver, and nothing between
    driver.execute(_INSERT_TEXT, (number, _AT, _MESSAGE)).close()


def _insert_core(c: sa.Connection, number: int) -> None:
    c.execute(_INSERT, {"id": number, "at": _AT, "message": _MESSAGE})


_KINDS: Final[dict[str, Open]] = {
    "each": _open_each,
    "group": partial(_open_group, insert=_insert_text),
    "group, Core": partial(_open_group, insert=_insert_core),
}


async def _rate(write: Write, numbers: "count[int]", writers: int) -> float:
    """Rows a second of so many writers, each waiting for its row before the next."""
    done = 0
    is_over = False

    async def keep_writing() -> None:
        nonlocal done
        while not is_over:
            await write(next(numbers))
            done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(writers):
            tasks.start_soon(keep_writing)
        await anyio.sleep(_WARM_S)
        before, began = done, perf_counter()
        await anyio.sleep(_SECONDS)
        rate = (done - before) / (perf_counter() - began)
        is_over = True
    return rate


async def _measure(open_writer: Open, writers: int) -> float:
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
        path = Path(directory) / "bench.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        _TABLE.create(engine)
        engine.dispose()
        async with open_writer(path) as write:
            return await _rate(write, count(), writers)


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 13, in this process, each figure on a fresh file."""
    echo(f"a row of 100 B a transaction, or a job; wal, synchronous=full, in {_DISK}, on uvloop")

    def measure(kind: str, writers: int) -> float:
        return anyio.run(_measure, _KINDS[kind], writers, backend_options={"use_uvloop": True})

    measurements = {f"{kind} {n}": partial(measure, kind, n) for kind in _KINDS for n in (1, 100)}
    rounds = play(measurements, echo=echo)
    for name in measurements:
        spread = spread_of([played[name].value for played in rounds])
        echo(f"{name:>15}: {spread.least:8.0f} / {spread.middle:8.0f} / {spread.most:8.0f} rows/s")
    many, one = "rows/s, 100 writers: group", "rows/s, 1 writer: group"
    return [
        Row("13", f"{many} / each, same SQL", gate(20), ratio(rounds, "group 100", "each 100")),
        Row("13", f"{one} / each, same SQL", gate(0.8), ratio(rounds, "group 1", "each 1")),
        Row("13", f"{many} of Core / each", None, ratio(rounds, "group, Core 100", "each 100")),
        Row("13", f"{one} of Core / each", None, ratio(rounds, "group, Core 1", "each 1")),
    ]
