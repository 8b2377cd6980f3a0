"""One of the processes that ``tests.scenarios.locks`` stops and kills: it takes locks and writes under them.

``python -m tests.scenarios.lock_worker URL NAME`` uses the functions of storage over a connection
of its own, as a hub does: acquire, wait for its turn, write what the lock protects in a transaction
that checks the fence, release. It ends when it is told to (SIGTERM), after the round it is in.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal
from sqlalchemy import exc

from protocol.ids import UserId
from storage.agents import locks
from storage.agents.locks import Acquired, Holder, LockGrant, LockLimits, LockLost, LockRequest
from storage.kernel.sqlite import set_clock
from tests.support.blocking import blocking_engine
from tests.support.clock import SeededChance

P = ParamSpec("P")
T = TypeVar("T")

USERS: Final = tuple(UserId(f"user-{n}") for n in range(5))
NAMES: Final = 25  # of locks: five of each user
TTL_MS: Final = 1_500
WAIT_MS: Final = 15_000
LOOK_S: Final = 0.05  # and the longer it waits, the longer between two looks
LONGEST_LOOK_S: Final = 0.5
MAX_WORK_S: Final = 0.02  # with a lock in hand and no transaction open
LIMITS: Final = LockLimits(lock_waits=1_000)

metadata = sa.MetaData()
_COUNTED = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# What becomes of each request, in the order in which they came: one transaction with the request itself.
arrivals = sa.Table(
    "torture_arrivals",
    metadata,
    sa.Column("seq", _COUNTED, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.Text, nullable=False, unique=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("waited", _COUNTED, nullable=False),
    sa.Column("fence", _COUNTED),  # once it was granted
    sa.Column("refused", _COUNTED, nullable=False, server_default=sa.text("0")),  # its write, too late
)
# What the locks protect: a write is accepted in the transaction that checks its fence.
writes = sa.Table(
    "torture_writes",
    metadata,
    sa.Column("seq", _COUNTED, primary_key=True, autoincrement=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("fence", _COUNTED, nullable=False),
)
_OF_REQUEST = arrivals.c.request_id == sa.bindparam("request")
GRANTED = sa.update(arrivals).where(_OF_REQUEST).values(fence=sa.bindparam("got"))
REFUSED = sa.update(arrivals).where(_OF_REQUEST).values(refused=1)


class Database(NamedTuple):
    """Connections of this process alone."""

    engine: sa.Engine

    def write(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``storage.kernel.database`` has it: all or nothing, and again where others were in the way."""
        while True:
            try:
                with self.engine.begin() as c:
                    return fn(c, *args, **kwargs)
            except exc.DBAPIError as error:  # whoever held the lock stood still, or this session was ended
                if isinstance(error, exc.IntegrityError):
                    raise

    def read(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``storage.kernel.database`` has it: one snapshot."""
        while True:
            try:
                with self.engine.connect().execution_options(reads=True) as c:
                    return fn(c, *args, **kwargs)
            except exc.DBAPIError:  # as above
                continue


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database at *url*: of a server, or a file that many processes write."""
    if url.startswith("postgresql"):
        with start_blocking_portal() as portal:
            engine = blocking_engine(url, portal, pool_size=1, max_overflow=0)
            yield Database(engine)
            engine.dispose()
        return
    engine = sa.create_engine(url, connect_args={"timeout": 120, "isolation_level": None})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    yield Database(engine)
    engine.dispose()


def _prepare(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    set_clock(connection)


def _begin(c: sa.Connection) -> None:
    c.exec_driver_sql("BEGIN" if c.get_execution_options().get("reads") else "BEGIN IMMEDIATE")


def arrive(c: sa.Connection, wanted: LockRequest) -> Acquired:
    """The request, and where it came in the order of all requests."""
    acquired = locks.acquire(c, wanted, LIMITS)
    c.execute(
        sa.insert(arrivals),
        {
            "request_id": wanted.request_id,
            "resource": wanted.names[0],
            "waited": int(acquired.grant is None),
            "fence": None if acquired.grant is None else acquired.grant.fences[wanted.names[0]],
        },
    )
    return acquired


def note(c: sa.Connection, grant: LockGrant) -> None:
    """A request was granted."""
    (fence,) = grant.fences.values()
    c.execute(GRANTED, {"request": grant.request_id, "got": fence})


def write_protected(c: sa.Connection, grant: LockGrant) -> None:
    """What a lock is for. Raises LockLost; nothing was written."""
    for resource, fence in grant.fences.items():
        locks.check_fence(c, grant.user_id, resource, fence)
        c.execute(sa.insert(writes), {"resource": resource, "fence": fence})


def last_write(c: sa.Connection, grant: LockGrant) -> None:
    """One more write, and the lock is let go. Raises LockLost; nothing was written."""
    write_protected(c, grant)
    locks.release(c, grant.user_id, grant.fences, grant.holder)


def late(c: sa.Connection, grant: LockGrant) -> None:
    """A write was refused."""
    c.execute(REFUSED, {"request": grant.request_id})


def given_up(c: sa.Connection, wanted: LockRequest) -> LockGrant | None:
    """The request waits no longer; what it got in the last moment."""
    grant = locks.withdraw(c, wanted.user_id, wanted.request_id).grant
    if grant is not None:
        note(c, grant)
    return grant


class Worker:
    """Takes locks, one after the other, until it is told to stop."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._chance = SeededChance(sum(name.encode()))
        self._is_over = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._is_over.set())

    def work(self) -> None:
        """Round after round."""
        rounds = 0
        while not self._is_over.is_set():
            rounds += 1
            grant = self._acquire(int(self._chance.uniform(0, NAMES)), f"{self._name}-{rounds}")
            if grant is not None:
                self._use(grant)

    def _acquire(self, number: int, request_id: str) -> LockGrant | None:
        write = self._database.write
        wanted = LockRequest(
            request_id=request_id,
            user_id=USERS[number % len(USERS)],
            names=(f"lock-{number:02}",),
            holder=Holder("device", self._name),
            ttl_ms=TTL_MS,
            wait_ms=WAIT_MS,
        )
        grant = write(arrive, wanted).grant
        waited_s, look_s = 0.0, LOOK_S
        while grant is None:
            self._is_over.wait(look_s)
            waited_s += look_s
            look_s = min(look_s * 1.5, LONGEST_LOOK_S)
            if waited_s * 1_000 > WAIT_MS or self._is_over.is_set():
                return write(given_up, wanted)
            grant = self._database.read(locks.granted, [request_id]).get(request_id)
        if waited_s:
            write(note, grant)
        return grant

    def _use(self, grant: LockGrant) -> None:
        write = self._database.write
        try:
            if self._chance.uniform(0, 1) < 0.5:
                self._is_over.wait(self._chance.uniform(0, MAX_WORK_S))
                write(write_protected, grant)
            write(last_write, grant)
        except LockLost:  # it was stopped for longer than its time
            write(late, grant)


if __name__ == "__main__":
    with opened(sys.argv[1]) as found_database:
        Worker(found_database, sys.argv[2]).work()
