"""An empty database of either kind, and one transaction in it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from protocol.lifecycles import RunState
from storage.agents.agents import AgentRow
from storage.executing_runs import FencedRun
from storage.kernel.database import Database
from storage.kernel.postgres import open_postgres
from storage.kernel.sqlite import empty_database, set_clock
from storage.kernel.statements import KernelConnection
from storage.runs.runs import RunRow
from storage.schedules.schedule_rows import ScheduleRow
from tests.storage.rows import make_agent, make_run, running
from tests.storage.scheduled import make_schedule
from tests.support.blocking import blocking_engine
from tests.support.postgres import Postgres

BACKENDS = ("sqlite", "postgresql")
POSTGRESQL: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
# ``make slow`` runs these tests on PostgreSQL, too; of others ``make test`` looks at what they would send
# there. What PostgreSQL alone can do, several hubs at once above all, has modules of its own.
TWINS = (
    "test_later_run_adopts_calls_and_answers_of_an_ended_run",
    "test_last_answer_settles_a_whole_unit_like_a_separate_settle",
    "test_ledger_knows_a_unit_only_by_the_newest_content_and_prompt",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = getattr(item, "callspec", None)
        is_twin = used is not None and used.params.get("engine") == "postgresql"
        if is_twin and getattr(item, "originalname", "") not in TWINS:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session", params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """Connections to a database that has the tables and nothing in them; each is to roll back at its end.

    A test of what one kind alone can do says so:
    ``@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)``.
    """
    if request.param == "sqlite":
        with _sqlite() as engine:
            yield engine
    else:
        with _postgresql(request.getfixturevalue("postgres")) as engine:
            yield engine


@pytest.fixture
def c(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    """The agent ``inbox`` of a laptop."""
    return make_agent(c)


@pytest.fixture
def held(c: sa.Connection, agent: AgentRow) -> FencedRun:
    """A run of the agent that executes."""
    return running(c, agent=agent)


@pytest.fixture
def run(c: sa.Connection) -> RunRow:
    """A run that executes."""
    return make_run(c, state=RunState.RUNNING)


@pytest.fixture
def schedule(c: sa.Connection) -> ScheduleRow:
    """An hourly schedule of the agent ``inbox``."""
    return make_schedule(c)


@pytest.fixture
async def hubs(
    request: pytest.FixtureRequest, url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Database]]:
    """Connections of two hubs, or HUBS of them, to one PostgreSQL database, which wait long for locks."""
    monkeypatch.setattr("storage.kernel.postgres.LOCK_MS", 60_000)
    async with AsyncExitStack() as opened:
        number = getattr(request.module, "HUBS", 2)
        yield [await opened.enter_async_context(open_postgres(url)) for _ in range(number)]


class _Twofold(KernelConnection):
    """Connection to SQLite that finds a statement of the code that PostgreSQL cannot express."""

    def _compiled(self, statement: Any, *names: Any) -> Any:
        statement.compile(dialect=POSTGRESQL)
        return super()._compiled(statement, *names)


@contextmanager
def _sqlite() -> Iterator[sa.Engine]:
    """Each connection has an empty database of its own: a copy of one that was made once."""
    content = empty_database()

    def copy() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(content)
        connection.execute("PRAGMA foreign_keys=on").close()
        set_clock(connection)
        return connection

    options = {"is_seedable": True}  # see rows.seeded
    engine = sa.create_engine("sqlite://", creator=copy, poolclass=sa.NullPool, execution_options=options)
    engine._connection_cls = _Twofold
    yield engine
    engine.dispose()


@contextmanager
def _postgresql(server: Postgres) -> Iterator[sa.Engine]:
    with server.database() as url:
        engine = blocking_engine(url, server.portal)
        engine._connection_cls = _Uncommitted
        yield engine
        engine.dispose()


class _Uncommitted(KernelConnection):
    """Connection whose transaction is rolled back."""

    def _commit_impl(self) -> None:
        raise AssertionError("what is committed would be there in every test after this one")
