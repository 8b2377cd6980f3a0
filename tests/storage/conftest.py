"""A database in memory, and one transaction in it."""

import sqlite3
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from storage.schema import metadata


@pytest.fixture(scope="session")
def engine() -> Iterator[sa.Engine]:
    """Each connection has an empty database of its own: a copy of one that was made once."""
    maker = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(maker)
    with maker.connect() as made:
        pattern = made.connection.driver_connection
        assert isinstance(pattern, sqlite3.Connection)

        def copy() -> sqlite3.Connection:
            connection = sqlite3.connect(":memory:")
            pattern.backup(connection)
            connection.execute("PRAGMA foreign_keys=on").close()
            return connection

        engine = sa.create_engine("sqlite://", creator=copy, poolclass=sa.NullPool)
        yield engine
        engine.dispose()
    maker.dispose()


@pytest.fixture
def c(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection
