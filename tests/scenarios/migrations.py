"""A migration is killed after each of its statements: the database is as it was, and can be brought through.

``python -m tests.scenarios.migrations`` (``make soak``) kills at every one, in a file and on
a server. The tables are those of the first revision with rows in
them. Each victim is a process of its own that ends itself with SIGKILL: nothing of it
is put in order.
"""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import closing

import anyio
import msgspec
import sqlalchemy as sa

from storage.kernel.postgres import run_once
from storage.kernel.verify import Parts, parts_in, verify
from storage.store import open_store
from tests.support.old_tables import make_old
from tests.support.postgres import running_postgres

KEPT = ("users", "devices", "agents", "schedules")


class Seen(msgspec.Struct, frozen=True):
    """What is in the database."""

    revision: str | None
    parts: Parts
    rows: dict[str, list[str]]  # ids


class Killed(msgspec.Struct, frozen=True):
    """*deaths*: how many processes died; *changed*: after which statements something was left behind."""

    deaths: int
    changed: list[int]
    differences: list[str]  # from this release's tables, once one process came through
    rows_lost: list[str]  # tables of which a row went

    @property
    def is_clean(self) -> bool:
        return self.deaths > 0 and not (self.changed or self.differences or self.rows_lost)


def see(c: sa.Connection) -> Seen:
    """All of it; of a row, its id."""
    revision = c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    rows = {name: list(c.exec_driver_sql(f"SELECT id FROM {name}").scalars()) for name in KEPT}
    return Seen(revision, parts_in(c), rows)


def kill_through(url: str, *, step: int) -> Killed:
    """Let one process after the other migrate the database at *url*, and die a *step* later than the last."""
    before = _seen(url)
    changed: list[int] = []
    deaths, at = 0, 1
    while _migrated_by_another(url, dies_after=at):
        deaths += 1
        if _seen(url) != before:
            changed.append(at)
        at += step
    after, held = _seen(url), anyio.run(verify, url)
    lost = [name for name in before.rows if before.rows[name] != after.rows[name]]
    return Killed(deaths, changed, list(map(str, held.differences)), lost)


def _migrated_by_another(url: str, *, dies_after: int) -> bool:
    """Return True if a migrating process died after that many statements, False if it completed."""
    child = os.fork()
    if child == 0:
        _migrate_and_die(url, dies_after)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"the migration failed instead of dying: exit code {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def _migrate_and_die(url: str, dies_after: int) -> None:
    said = 0

    def count(*_: object) -> None:
        nonlocal said
        said += 1
        if said == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sa.event.listen(sa.Engine, "after_cursor_execute", count)
        anyio.run(_open, url)
        code = 0
    finally:
        os._exit(code)


async def _open(url: str) -> None:
    async with open_store(url):
        pass


def _seen(url: str) -> Seen:
    if url.startswith("postgresql"):
        return anyio.run(run_once, url, see)
    with closing(sa.create_engine(url, poolclass=sa.NullPool).connect()) as c:
        return see(c)


def main() -> None:
    """Print what was seen; exits with 1 if a killed migration left anything behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1, help="statements between two deaths")
    step = parser.parse_args().step
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server, server.bare_database() as url:
        file = f"sqlite:///{folder}/hub.db"
        with sa.create_engine(file, poolclass=sa.NullPool).begin() as c:
            make_old(c)
        anyio.run(run_once, url, make_old)
        results = {address.partition(":")[0]: kill_through(address, step=step) for address in (file, url)}
    for name, killed in results.items():
        told = (
            f"{name}: killed {killed.deaths} times, left something behind {len(killed.changed)} times;"
            f" then complete with {len(killed.differences)} differences, rows lost: {len(killed.rows_lost)}"
        )
        sys.stdout.write("\n  ".join((told, *killed.differences)) + "\n")
    unclean = [name for name, killed in results.items() if not killed.is_clean]
    deaths = sum(killed.deaths for killed in results.values())
    sys.stdout.write(f"{deaths} kills in {len(results)} databases: {len(unclean)} databases differ\n")
    sys.exit(1 if unclean else 0)


if __name__ == "__main__":
    main()
