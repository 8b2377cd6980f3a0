"""What every test gets."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.dovecot import Dovecot, running_dovecot, why_no_dovecot
from tests.support.nats import Nats, running_nats, why_no_nats
from tests.support.postgres import Postgres, running_postgres, why_no_postgres
from tests.support.radicale import Radicale, running_radicale

pytest_plugins = ["tests.support.budget", "tests.support.plans", "tests.support.time_limit"]

gc.disable()  # until all tests are collected: looking through modules, which stay, is a quarter of that

# A failed line of a script then says what differs.
pytest.register_assert_rewrite("tests.support.script")

# A shell without job control lets what it starts in the background ignore SIGINT, and so would all we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# readline, which pytest imports, passes 80 on to every process that it starts.
os.environ["COLUMNS"] = ""

# The same examples every time, so that a red build is red at the desk as well.
settings.register_profile("steady", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """websockets' server, uvicorn and SQLAlchemy's async engine need asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests; each takes a database of its own from it."""
    if (reason := why_no_postgres()) is not None:
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """Address of a database of its own on the server."""
    with postgres.database() as fresh:
        yield fresh


@pytest.fixture
def bare(postgres: Postgres) -> Iterator[str]:
    """A database on the server, without tables."""
    with postgres.bare_database() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """Start a NATS server for all tests; each hub has subjects of its own at it."""
    if (reason := why_no_nats()) is not None:
        pytest.skip(reason)
    with running_nats() as server:
        yield server


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """One IMAP server for all tests; each takes a user of its own from it."""
    if (reason := why_no_dovecot()) is not None:
        pytest.skip(reason)
    with running_dovecot() as server:
        yield server


@pytest.fixture(scope="session")
def radicale() -> Iterator[Radicale]:
    """One CalDAV server for all tests; each takes a user of its own from it."""
    with running_radicale() as server:
        yield server


def pytest_collection_finish() -> None:
    """Thousands of tests are held from here to the end: no collection of garbage need look at them.

    Each hub of a test leaves 3,000 objects: with the usual threshold of 700 that is four collections, in all
    4 % of the time of such tests.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def pytest_unconfigure() -> None:
    """Collect once: pytest then does it five times, a second each over what is still held."""
    gc.collect()
    gc.freeze()
