"""Jobs for tests of databases, and what became of them."""

import sqlalchemy as sa

from storage.kernel.database import Database
from storage.schema import users


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
