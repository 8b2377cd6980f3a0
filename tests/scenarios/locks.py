"""Locks under torture: many processes want few locks, and those who hold them are stopped and killed.

``python -m tests.scenarios.locks --database postgresql --processes 50 --acquisitions 100000`` (``make
locks``) lets that many processes take locks and write under them, while holders are stopped (SIGSTOP)
for longer than their time and killed (SIGKILL) at random moments. On SQLite they share one file. It fails
when a protected write was accepted out of the order of fences, when somebody who came later was served
earlier, or when anybody waits for a lock that nobody has. The suite does it small.
"""

import argparse
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

import sqlalchemy as sa

from hub.base.clock import Chance
from storage.agents import locks
from storage.agents.locks import database_now
from storage.devices import users
from storage.schema import agent_locks, lock_waits
from storage.schema import metadata as tables
from tests.scenarios.lock_worker import NAMES, TTL_MS, USERS, Database, arrivals, metadata, opened, writes
from tests.support.clock import SeededChance
from tests.support.killing import Victim
from tests.support.postgres import running_postgres

LOOK_EVERY_S: Final = 0.2
HURT_EVERY_S: Final = 1.5
STOPPED_S: Final = TTL_MS / 1_000 * 1.5  # longer than a holder's time
START_S: Final = 2.0  # of the processes, in peace
STUCK_MS: Final = 1_000  # a lock that nobody has for so long, while somebody waits, was not handed over
PATIENCE_S: Final = 60.0
MEMORY: Final = Path("/dev/shm")

DONE = sa.select(sa.func.count()).where(arrivals.c.fence.is_not(None))
WAITED = DONE.where(arrivals.c.waited == 1)
REFUSED = sa.select(sa.func.sum(arrivals.c.refused))
IN_ORDER_OF_WRITING = sa.select(writes.c.resource, writes.c.fence).order_by(writes.c.seq)
IN_ORDER_OF_ARRIVAL = (
    sa.select(arrivals.c.resource, arrivals.c.fence)
    .where(arrivals.c.fence.is_not(None))
    .order_by(arrivals.c.seq)
)
STUCK = (
    sa.select(agent_locks.c.resource)
    .where(
        sa.exists().where(lock_waits.c.resource == agent_locks.c.resource),
        sa.or_(agent_locks.c.holder_id.is_(None), agent_locks.c.expires_at < sa.bindparam("then")),
    )
    .order_by(agent_locks.c.resource)
)


class Toll(NamedTuple):
    """What became of it."""

    took_s: float
    acquisitions: int
    waited: int
    written: int
    refused: int
    stopped: int
    killed: int
    out_of_fence_order: int
    out_of_turn: int
    stuck: int

    @property
    def is_clean(self) -> bool:
        return not (self.out_of_fence_order or self.out_of_turn or self.stuck)


class Crowd:
    """The processes, and who hurts them."""

    def __init__(self, url: str, processes: int, chance: Chance, *, hurt_every_s: float) -> None:
        self._url = url
        self._hurt_every_s = hurt_every_s
        self._chance = chance
        self._started = 0
        self._processes = [self._start() for _ in range(processes)]
        self._hurts_at = perf_counter() + hurt_every_s + START_S
        self._stopped: list[tuple[float, Victim]] = []
        self.stopped = self.killed = 0

    def hurt(self) -> None:
        """Stop one or kill one, if it is time; let those go on that were stopped for long enough."""
        now = perf_counter()
        for until, process in [one for one in self._stopped if one[0] <= now]:
            process.thaw()
            self._stopped.remove((until, process))
        if now < self._hurts_at:
            return
        self._hurts_at = now + self._hurt_every_s
        place = int(self._chance.uniform(0, len(self._processes) - 0.001))
        victim = self._processes[place]
        if any(process is victim for _, process in self._stopped):
            return
        if self._chance.uniform(0, 1) < 0.5:
            victim.freeze()
            self._stopped.append((now + STOPPED_S, victim))
            self.stopped += 1
        else:
            victim.end()
            self._processes[place] = self._start()
            self.killed += 1

    def end(self) -> None:
        """Let everybody finish."""
        for _, process in self._stopped:
            process.thaw()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM), "a worker broke"

    def _start(self) -> Victim:
        self._started += 1
        name = f"worker-{self._started}"
        return Victim([sys.executable, "-m", "tests.scenarios.lock_worker", self._url, name])


def torture(
    url: str, *, processes: int, acquisitions: int, chance: Chance, hurt_every_s: float = HURT_EVERY_S
) -> Toll:
    """Let them at the locks of the database at *url* until so many were taken."""
    began, pause, stuck = perf_counter(), threading.Event(), 0
    with opened(url) as database:
        database.write(_prepare)
    with opened(url) as database:
        crowd = Crowd(url, processes, chance, hurt_every_s=hurt_every_s)
        suspects: set[str] = set()
        while database.write(_count, DONE) < acquisitions:
            pause.wait(LOOK_EVERY_S)
            _hand_over(database)
            still = database.write(_stuck)
            stuck += len(suspects & still)  # seen twice, with a hand-over in between
            suspects = still - suspects
            crowd.hurt()
        took_s = perf_counter() - began
        crowd.end()
        stuck += _left_over(database, pause)
        return database.write(_judge, took_s, crowd.stopped, crowd.killed, stuck)


def _prepare(c: sa.Connection) -> None:
    metadata.create_all(c)
    if c.dialect.name == "postgresql":  # as the sessions of a hub have it, so that one that stands still ends
        name = c.exec_driver_sql("SELECT current_database()").scalar_one()
        for limit in ("lock_timeout = '2s'", "idle_in_transaction_session_timeout = '10s'"):
            c.exec_driver_sql(f"ALTER DATABASE {name} SET {limit}")
    for user_id in USERS:
        users.ensure_user(c, user_id, user_id, 1)


def _hand_over(database: Database) -> None:
    """What the hub's service does."""
    for user_id in database.write(locks.users_due):
        database.write(locks.sweep, user_id)


def _stuck(c: sa.Connection) -> set[str]:
    return set(c.execute(STUCK, {"then": database_now(c) - STUCK_MS}).scalars())


def _left_over(database: Database, pause: threading.Event) -> int:
    """Locks that somebody has or waits for long after everybody is gone."""
    ends_at = perf_counter() + PATIENCE_S
    while (left := database.write(locks.list_locks)) and perf_counter() < ends_at:
        _hand_over(database)  # to those who died waiting, too: each has its time
        pause.wait(LOOK_EVERY_S)
    return len(left)


def _count(c: sa.Connection, query: sa.Select[int]) -> int:
    return c.execute(query).scalar_one() or 0


def _judge(c: sa.Connection, took_s: float, stopped: int, killed: int, stuck: int) -> Toll:
    written = c.execute(IN_ORDER_OF_WRITING).all()
    return Toll(
        took_s=took_s,
        acquisitions=_count(c, DONE),
        waited=_count(c, WAITED),
        written=len(written),
        refused=_count(c, REFUSED),
        stopped=stopped,
        killed=killed,
        out_of_fence_order=_falls([tuple(row) for row in written]),
        out_of_turn=_falls([tuple(row) for row in c.execute(IN_ORDER_OF_ARRIVAL)]),
        stuck=stuck,
    )


def _falls(told: list[tuple[str, int]]) -> int:
    """How often a fence of a lock is lower than one before it."""
    highest: dict[str, int] = {}
    falls = 0
    for resource, fence in told:
        falls += fence < highest.get(resource, 0)
        highest[resource] = max(fence, highest.get(resource, 0))
    return falls


@contextmanager
def place(kind: str) -> Iterator[str]:
    """An empty database of this kind; its URL."""
    with ExitStack() as resources:
        if kind == "postgresql":
            yield resources.enter_context(resources.enter_context(running_postgres()).database())
            return
        memory = MEMORY if MEMORY.is_dir() else None  # not the disk is to be found out about
        folder = resources.enter_context(tempfile.TemporaryDirectory(dir=memory))
        url = f"sqlite:///{Path(folder) / 'hub.db'}"
        with opened(url) as database:
            database.write(tables.create_all)
        yield url


def main(kind: str, processes: int, acquisitions: int, seed: int) -> int:
    """Prints what became of it; 1 when a law was broken."""
    with place(kind) as url:
        toll = torture(url, processes=processes, acquisitions=acquisitions, chance=SeededChance(seed))
    print(  # noqa: T201  # for the person who runs it
        f"{kind}: {processes} processes took {toll.acquisitions} locks ({NAMES} names, {len(USERS)} users)"
        f" in {toll.took_s:.0f} s, {toll.waited} of them after a wait\n"
        f"{toll.stopped} times a process was stopped for {STOPPED_S:g} s, {toll.killed} were killed;"
        f" a holder's time is {TTL_MS / 1_000:g} s\n"
        f"protected writes: {toll.written} accepted, {toll.refused} refused;"
        f" accepted out of fence order: {toll.out_of_fence_order}; served out of turn:"
        f" {toll.out_of_turn}; locks stuck: {toll.stuck}"
    )
    return int(not toll.is_clean)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options.add_argument("--processes", type=int, default=50)
    options.add_argument("--acquisitions", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    sys.exit(main(chosen.database, chosen.processes, chosen.acquisitions, chosen.seed))
