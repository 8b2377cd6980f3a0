"""Jobs for tests of databases, and what became of them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.util import await_only

from storage.kernel.database import Database
from storage.schema import users
from tests.support.postgres import Postgres

T = TypeVar("T")


def add(c: sa.Connection, name: str, *, guilty: bool = False) -> str:
    """A row of that name; *guilty* fails after it is written."""
    c.execute(sa.insert(users), {"id": name, "name": name, "created_at": 0})
    if guilty:
        raise ValueError(name)
    return name


def names(c: sa.Connection) -> list[str]:
    """Of the rows there are."""
    return list(c.execute(sa.select(users.c.name).order_by(users.c.name)).scalars())


def count_up(c: sa.Connection) -> int:
    """Reads, then writes what it read: an update is lost if another comes between."""
    current = c.execute(sa.select(users.c.created_at)).scalar_one()
    c.execute(sa.update(users).values(created_at=current + 1))
    return int(current) + 1


async def outcome_of(database: Database, outcomes: dict[str, object], name: str, **how: bool) -> None:
    """Add the row, and note what came back or was raised."""
    try:
        outcomes[name] = await database.write(add, name, **how)
    except Exception as error:
        outcomes[name] = error


async def while_the_other_waits(
    postgres: Postgres,
    url: str,
    hubs: list[Database],
    first: Callable[[sa.Connection], object],
    second: Callable[[sa.Connection], T],
) -> T:
    """One hub has done *first* and commits it only when the other one waits for it in *second*."""
    results: list[T] = []

    async def follow() -> None:
        results.append(await hubs[1].write(second))

    async with anyio.create_task_group() as writing, uncommitted(hubs[0], first):
        writing.start_soon(follow)
        await postgres.waits(url)
    return results[0]


async def at_once(
    hubs: Sequence[Database], job: Callable[[int], Callable[[sa.Connection], T]], *, number: int | None = None
) -> list[T]:
    """Run so many jobs, one for each hub by default, at the same time; what they return."""
    results: list[T] = []

    async def write(n: int) -> None:
        results.append(await hubs[n % len(hubs)].write(job(n)))

    async with anyio.create_task_group() as writing:
        for n in range(len(hubs) if number is None else number):
            writing.start_soon(write, n)
    return results


@asynccontextmanager
async def uncommitted(hub: Database, do: Callable[[sa.Connection], object]) -> AsyncIterator[None]:
    """Do it in a transaction that is committed at the end of the block."""
    is_done, may_commit = anyio.Event(), anyio.Event()

    def slowly(c: sa.Connection) -> None:
        do(c)
        is_done.set()
        await_only(may_commit.wait())

    async with anyio.create_task_group() as writing:
        writing.start_soon(hub.write, slowly)
        await is_done.wait()
        try:
            yield
        finally:
            may_commit.set()
