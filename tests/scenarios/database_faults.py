"""Faults of the database of a running hub, and what each view says about them.

``python -m tests.scenarios.database_faults`` damages pages of every table, cuts and zeroes the file, replaces
and removes files, and makes writes fail, each under a hub of its own. It prints a line for each fault: after
how many seconds the status, the issues, the readiness and the metrics said so, what the waiting run says, how
long it took to go on by itself, and the tables that lost rows which could be read after the fault. Names of
faults as arguments choose some.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

import anyio
import httpx2

from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import check_boxes, rows
from tests.support.device import open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import POLL_S, HubProcess
from tests.support.proxy import wire

WITHIN_S: Final = 30.0
FILES, _PLANTED = check_boxes(8, each=3)

SHIM: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Fails writes and syncs of files whose names contain hub.db while the file named by FAULT_FILE exists. */
static int fails(int fd) {
    char link[64], name[4096]; const char *switch_ = getenv("FAULT_FILE"); ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, name, sizeof name - 1);
    if (length < 0 || !switch_ || access(switch_, F_OK)) return 0;
    name[length] = 0;
    if (!strstr(name, "/hub.db") || strstr(name, ".lock")) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITE(name, offset) \
    ssize_t name(int fd, const void *b, size_t n, offset o) { \
        return fails(fd) ? -1 : NEXT(name)(fd, b, n, o); }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
int fsync(int fd) { return fails(fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : NEXT(fdatasync)(fd); }
"""


class Fault(NamedTuple):
    """Fault of a running hub's database.

    Attributes:
        issue: id of the issue that has to report it.
        cause: makes the fault; given the state folder.
        undo: ends it, so that the hub has to go on by itself; ``None``: a person restores.
        environment: of the hub's process.
    """

    name: str
    issue: str
    cause: Callable[[Path], object]
    undo: Callable[[Path], object] | None = None
    environment: dict[str, str] = {}  # noqa: RUF012  # of a tuple


def checkpointed(state: Path) -> Path:
    """Return the database, of which no page is in the log alone."""
    with closing(sqlite3.connect(state / "hub.db", timeout=30)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return state / "hub.db"


def pages_of(file: Path, tree: str) -> list[int]:
    """Return the root page of a table or an index, and its last leaf."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (tree,)).fetchone()
    pages, content = [root], file.read_bytes()
    while True:
        page = content[(pages[-1] - 1) * size :][:size]
        if page[0] not in (2, 5):  # no inner page
            return sorted({pages[0], pages[-1]})
        pages.append(int.from_bytes(page[8:12]))


def overwrite(tree: str, which: int) -> Callable[[Path], object]:
    """Return the fault that a page of *tree* holds something else: 0 its root, -1 its last leaf."""

    def cause(state: Path) -> None:
        file = checkpointed(state)
        page = pages_of(file, tree)[which]
        with closing(sqlite3.connect(file, timeout=30)) as database:
            (size,) = database.execute("PRAGMA page_size").fetchone()
        overwrite_at(file, (page - 1) * size, b"\xa5" * size)

    return cause


def overwrite_at(file: Path, place: int, content: bytes) -> None:
    with file.open("r+b") as out:
        out.seek(place)
        out.write(content)


def cut(state: Path) -> None:
    file = checkpointed(state)
    os.truncate(file, file.stat().st_size // 2)


def replace_by_rename(state: Path) -> None:
    other = state / "other.db"
    with closing(sqlite3.connect(state / "hub.db", timeout=30)) as database:
        database.execute("VACUUM INTO ?", (str(other),))
    other.replace(state / "hub.db")


def overwrite_by_copy(state: Path) -> None:
    older = (state / "older.db").read_bytes()
    checkpointed(state)
    subprocess.run(["sleep", "6"], check=True)  # until the hub has looked at its file
    with (state / "hub.db").open("r+b") as out:
        out.write(older)
        out.truncate()


def limit(bytes: str) -> Callable[[Path], object]:
    """Return the fault that no file of the hub may grow beyond so many bytes: EFBIG, as with ulimit -f."""

    def cause(state: Path) -> None:
        pid = (state / "pid").read_text()
        subprocess.run(["prlimit", "--pid", pid, f"--fsize={bytes}:unlimited"], check=True)

    return cause


LOCKS: list[sqlite3.Connection] = []


def lock(state: Path) -> None:
    LOCKS.append(sqlite3.connect(state / "hub.db", isolation_level=None, timeout=30))
    LOCKS[-1].execute("BEGIN IMMEDIATE")


def tables_of(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        return [name for (name,) in found if not name.startswith("sqlite_")]


def shim(folder: Path) -> Path:
    """Build the library that makes system calls fail."""
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", library, source, "-ldl"], check=True)
    return library


def faults(tables: list[str], library: Path | None) -> Iterator[Fault]:
    """Yield all faults."""
    for table in tables:
        for which, place in ((0, "root"), (-1, "leaf")):
            yield Fault(f"{table} {place}", "database.damaged", overwrite(table, which))
    yield Fault(
        "header zeroed", "database.damaged", lambda state: overwrite_at(checkpointed(state), 0, bytes(100))
    )
    yield Fault("file cut", "database.damaged", cut)
    yield Fault("older copy over it", "database.damaged", overwrite_by_copy)
    yield Fault("replaced by rename", "database.replaced", replace_by_rename)
    yield Fault(
        "moved away, and back",
        "database.replaced",
        lambda state: (state / "hub.db").rename(state / "hub.db.away"),
        lambda state: (state / "hub.db.away").rename(state / "hub.db"),
    )
    yield Fault("log removed", "database.replaced", lambda state: (state / "hub.db-wal").unlink())
    yield Fault("index removed", "database.replaced", lambda state: (state / "hub.db-shm").unlink())
    yield Fault("limit of file size", "database.failing", limit("4096"), limit("unlimited"))
    yield Fault("locked by a program", "database.busy", lock, lambda _: LOCKS.pop().close())
    if library is not None:
        for name, number, issue in (
            ("EIO", 5, "failing"),
            ("ENOSPC", 28, "full"),
            ("EDQUOT", 122, "failing"),
            ("EROFS", 30, "failing"),
        ):
            environment = {"LD_PRELOAD": str(library), "FAULT_ERRNO": str(number)}
            yield Fault(
                f"{name} of writes",
                f"database.{issue}",
                lambda state: (state / "fails").touch(),
                lambda state: (state / "fails").unlink(),
                environment,
            )


class Said(NamedTuple):
    """What each view says about a fault."""

    issues: list[str]
    status: list[str]
    ready: list[str]
    metrics: list[str]
    run: str | None

    @property
    def is_complete(self) -> bool:
        return all((self.issues, self.status, self.ready, self.metrics))


async def said(hub: HubProcess, fault: Fault, run_id: str) -> Said:
    """Look at all views. A view that the database prevents has its sentence in the error."""

    async def answer(path: str) -> Any:
        with suppress(httpx2.TransportError, OSError, ValueError):
            return (await hub.ask("GET", path)).json()
        return {}

    issues, status = await answer("/v1/issues"), await answer("/v1/status")
    ready, run = await answer("/readyz"), await answer(f"/v1/runs/{run_id}")
    metrics = (await hub.ask("GET", "/metrics")).text
    return Said(
        [one["explanation"] for one in issues.get("issues", ()) if one["id"] == fault.issue],
        [one["explanation"] for one in status.get("worst", ()) if one["id"] == fault.issue],
        [one["explanation"] for one in ready.get("issues", ()) if one["id"] == fault.issue],
        [line for line in metrics.splitlines() if f'hub_issues{{id="{fault.issue}"' in line],
        run.get("waiting_for") or run.get("detail"),
    )


async def meet(fault: Fault, folder: Path) -> dict[str, Any]:
    """Let a hub with a device, items and a queued run meet the fault; return what it said and kept."""
    os.environ.update(fault.environment | {"FAULT_FILE": str(folder / "fails")})
    hub = FaultyHub(folder, is_forked=not fault.environment)  # a fork has its libraries already
    seen: dict[str, Any] = {"fault": fault.name}
    try:
        await hub.start()
        (folder / "pid").write_text(str(hub.pid))
        shutil.copy(checkpointed(folder), folder / "older.db")
        async with wire() as line, open_device(line.url, folder, await hub.token()) as device:
            line.hub_url = await hub.device_url()
            for name, text in FILES.items():
                device.write(name, text)
            await hub.ended(await hub.start_run())
            line.hub_url = None
            seen["items"] = len(rows(device.db, TITLES))
        run_id = await hub.start_run()
        fault.cause(folder)
        readable = _rows(folder / "hub.db")
        began, told = monotonic(), None
        while monotonic() - began < 2 * WITHIN_S:
            told = await said(hub, fault, run_id)
            if told.is_complete:
                break
            await anyio.sleep(POLL_S)
        assert told is not None
        seen |= {name: len(lines) for name, lines in told._asdict().items() if name != "run"}
        seen["sentence"] = " | ".join(told.issues or told.status or told.ready)[:200]
        seen["run"] = told.run
        if fault.issue == "database.replaced":
            await hub.says("database.saved")
        if "root" in fault.name or "leaf" in fault.name:
            named = f"tables: {fault.name.split()[0]}"
            with anyio.fail_after(WITHIN_S):
                while named not in " ".join((await said(hub, fault, run_id)).status):
                    await anyio.sleep(POLL_S)
        seen["s"] = round(monotonic() - began, 1)
        saved = _saved_in(folder)
        if fault.undo is not None:
            fault.undo(folder)
            began = monotonic()
            while monotonic() - began < WITHIN_S and (await said(hub, fault, run_id)).status:
                await anyio.sleep(POLL_S)
            seen["goes on after s"] = round(monotonic() - began, 1)
        seen["exit"] = await hub.stop()
        seen["lost"] = _lost(readable, _rows(saved or folder / "hub.db"))
        return seen
    except BaseException:
        sys.stderr.write(hub.log()[-4000:])
        raise
    finally:
        for name in fault.environment:
            del os.environ[name]
        await hub.close()


def _saved_in(folder: Path) -> Path | None:
    return next(iter(folder.glob("hub.db.saved-*")), None)


def _rows(file: Path) -> dict[str, int]:
    """Count the rows of each table that can be read, in a copy of the files."""
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        for part in file.parent.glob(f"{file.name}*"):
            if part.name.removeprefix(file.name) in ("", "-wal"):
                shutil.copy(part, name)
        with closing(sqlite3.connect(Path(name, file.name))) as database:
            try:
                names = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            except sqlite3.DatabaseError:
                return {}
            for (table,) in names:
                with suppress(sqlite3.DatabaseError):
                    rows = database.execute(f"SELECT count(*) FROM {table} NOT INDEXED")
                    counts[table] = rows.fetchone()[0]
    return counts


def _lost(before: dict[str, int], after: dict[str, int]) -> list[str]:
    return sorted(name for name, count in before.items() if after.get(name, 0) < count)


async def meet_all(folder: Path, chosen: list[str]) -> bool:
    """Meet each fault with a hub of its own, and print a line for each. Return True if all went well."""
    wrong: list[bool] = []
    for number, fault in enumerate(_all_faults(folder)):
        if not chosen or any(word in fault.name for word in chosen):
            seen = await meet(fault, _new(folder / str(number)))
            is_late = max(seen["s"], seen.get("goes on after s", 0.0)) > WITHIN_S
            wrong.append(is_late or bool(seen["lost"]))
            print(json.dumps(seen), flush=True)  # noqa: T201  # for the person, or the test, that runs it
    print(f"{len(wrong)} faults: {sum(wrong)} reported late or with rows lost")  # noqa: T201
    return not any(wrong)


def _all_faults(folder: Path) -> Iterator[Fault]:
    library = shim(folder) if shutil.which("gcc") else None
    sample = _new(folder / "sample")
    FaultyHub(sample)  # makes the tables
    yield from faults(tables_of(sample / "hub.db"), library)


def _new(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(0 if anyio.run(meet_all, Path(place), sys.argv[1:]) else 1)
