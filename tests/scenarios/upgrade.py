"""A hub of an earlier release becomes one of this source in the middle of runs, and goes back.

``python -m tests.scenarios.upgrade`` (``make soak``), from each release of ``storage/kernel/releases.json``
whose tables are upgraded. On one PostgreSQL, a hub of this source starts beside the earlier one, as during an
upgrade of several hubs; then the earlier one is stopped, and the last contract is applied after its end. With
a database in a file, the earlier hub is killed, and this one starts on its state folder. Every item is there
once. Backups lead back and forth without a lost row: one of the earlier program at this one, and the one that
the upgrade made at the earlier program.
"""

import shutil
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Literal

import anyio

from storage.kernel.migrate import releases, revisions
from tests.scenarios.cluster import open_cluster
from tests.scenarios.program import Verdict, run
from tests.scenarios.versions import Device, Hub, complete_run, write_source
from tests.support.processes import ROOT, HubProcess

DEVICES, PAGES = 6, 15
FEW, MANY = 8, 150  # files of the device, before and in the run that is killed
POLL_S = 0.01
ENDED = "('COMPLETED', 'FAILED', 'CANCELLED')"
Rows = dict[str, tuple[list[str], Counter[tuple[Any, ...]]]]  # columns and rows of each table


async def upgrade_servers(folder: Path, source: Path) -> dict[str, str]:
    """Replace a hub of the earlier release by one of this source on one server, in the middle of runs.

    Returns the revision of the tables at each step.

    Raises:
        AssertionError: an item is lost or doubled, or a run did not end well.
    """
    made: list[HubProcess] = []

    def make_hub(state: Path, settings: str) -> HubProcess:
        made.append(Hub(state, ROOT if made else source, settings))
        return made[-1]

    async with open_cluster(
        folder, hubs=2, devices=DEVICES, make_hub=make_hub, begin_with=1, has_bus=False
    ) as cluster:
        earlier, later = cluster.nodes

        def revision() -> str:
            ((number,),) = cluster.sql("SELECT version_num FROM alembic_version")
            return str(number)

        seen = {"the earlier hub alone": revision()}
        for desk in cluster.desks:
            desk.write(PAGES)
        await cluster.start_runs(earlier)
        await cluster.until("SELECT 1 FROM runs WHERE items_created > 0", "a run has brought items")
        await later.hub.start()
        seen["both hubs"] = revision()
        for desk in cluster.desks[: DEVICES // 2]:  # the earlier hub goes on with the newer tables
            desk.write(PAGES, round=1)
        await cluster.until("SELECT 1 FROM runs WHERE items_created > 5", "the earlier hub goes on")
        await earlier.hub.stop()
        await cluster.all_connected()
        for desk in cluster.desks:
            desk.write(PAGES, round=2)
        await cluster.start_runs(later)
        await cluster.all_ended()
        lost, doubled = cluster.wrong_items()
        assert (lost, doubled) == (0, 0), f"{lost} items are lost, {doubled} are doubled"
        await later.hub.stop()
        await later.hub.start()
        seen["the later hub, started again"] = revision()
        return seen


async def upgrade_file(folder: Path, source: Path) -> str:
    """Kill a hub of the earlier release in the middle of a run, upgrade its file, and go back.

    Returns what was seen.

    Raises:
        AssertionError: a row or an item is lost or doubled, or a run did not end well.
    """
    first, there, restored, back = (folder / name for name in ("first.backup", "there", "restored", "back"))
    for state in (folder, there, restored, back):
        state.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        earlier = Hub(folder, source)
        stack.push_async_callback(earlier.close)
        titles = _write_notes(folder, "few", FEW)
        await earlier.start()
        desk = Device(folder, await earlier.device_url(), await earlier.token(), source, "json")
        stack.push_async_callback(desk.close)
        await desk.start()
        await desk.says("connected as")
        await complete_run(earlier)
        assert desk.titles() == titles, desk.titles()
        await earlier.command("backup", str(first), "--config", str(folder / "hub.toml"))
        titles = sorted(titles + _write_notes(folder, "many", MANY))
        await earlier.start_run()
        with anyio.fail_after(60):
            while _count(folder / "hub.db", "items") < FEW + 5:
                await anyio.sleep(POLL_S)
        await earlier.kill()
        await desk.stop()
        killed = _rows(folder / "hub.db")
        open_runs = _count(folder / "hub.db", f"runs WHERE state NOT IN {ENDED}")
        assert open_runs == 1, f"{open_runs} runs were open when the hub was killed"
        known = _count(folder / "hub.db", "items")
        for name in ("desk.db", "desk.token"):
            shutil.copy(folder / name, back)
        (back / "notes").symlink_to(folder / "notes")

        later = Hub(folder, ROOT)
        stack.push_async_callback(later.close)
        await _complete(later, stack, ROOT, titles)
        await later.command("migrate", "verify")
        await later.command("audit", "verify")
        second = min((folder / "backups").iterdir())  # before the first daily one
        await later.stop()

        await Hub(there, source).command("restore", str(first), "--yes", "--config", str(there / "hub.toml"))
        other = Hub(restored, ROOT)
        await other.command("restore", str(first), "--yes")
        await other.command("migrate", "up")
        lost = _lost(_rows(there / "hub.db"), _rows(restored / "hub.db"))
        assert not lost, f"rows of the earlier backup are lost: {lost}"

        again = Hub(back, source)
        stack.push_async_callback(again.close)
        await again.command("restore", str(second), "--yes", "--config", str(back / "hub.toml"))
        found = _rows(back / "hub.db")
        lost = _lost(killed, found) | _lost(found, killed)
        assert not lost, f"rows of the backup before the upgrade differ: {lost}"
        await _complete(again, stack, source, titles)
        await again.stop()
    rows = sum(of.total() for _, of in killed.values())
    return (
        f"in a file, killed with {known} of {len(titles)} items and {open_runs} open run: every item is there"
        f" once; {rows} rows in {len(killed)} tables, none lost upwards or back"
    )


def _write_notes(folder: Path, name: str, files: int) -> list[str]:
    (folder / "notes").mkdir(exist_ok=True)
    titles = [f"Call {name} {number:03}" for number in range(files)]
    for number, title in enumerate(titles):
        (folder / f"notes/{name}{number:03}.md").write_text(f"- [ ] {title}\n")
    return titles


async def _complete(hub: Hub, stack: AsyncExitStack, source: Path, titles: list[str]) -> None:
    """Start a hub after a kill, and its device; its device has each item once after the next run."""
    await hub.start()
    token = (hub.folder / "desk.token").read_text()
    desk = Device(hub.folder, await hub.device_url(), token, source, "json")
    stack.push_async_callback(desk.close)
    await desk.start()
    with anyio.fail_after(120):
        while _count(hub.folder / "hub.db", f"runs WHERE state NOT IN {ENDED}"):
            await anyio.sleep(0.1)
    await complete_run(hub)
    assert desk.titles() == titles, f"{len(desk.titles())} of {len(titles)} items"
    items = _count(hub.folder / "hub.db", "items")
    assert items == len(titles), f"the hub has {items} of {len(titles)} items"
    await desk.stop()


def _count(database: Path, what: str) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as db:
        return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def _rows(database: Path) -> Rows:
    """Return the rows of all tables; of a file that a hub may have open."""
    found: Rows = {}
    with closing(sqlite3.connect(database, timeout=30)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = db.execute(f"SELECT * FROM {table}")
            found[table] = ([column for column, *_ in rows.description], Counter(rows.fetchall()))
    return found


def _lost(before: Rows, after: Rows) -> dict[str, int]:
    """Return how many rows of each table are not there any more, in the columns that both have."""
    lost = {}
    for table, (columns, rows) in before.items():
        if table == "alembic_version":
            continue
        others, kept = after.get(table, ([], Counter()))
        names = [name for name in columns if name in others and name != "stopped_at"]  # a restore writes it
        was, now = (_in_columns(names, *of) for of in ((columns, rows), (others, kept)))
        if missing := (was - now).total():
            lost[table] = missing
    return lost


def _in_columns(
    names: list[str], columns: list[str], rows: Counter[tuple[Any, ...]]
) -> Counter[tuple[Any, ...]]:
    places = [columns.index(name) for name in names]
    found: Counter[tuple[Any, ...]] = Counter()
    for row, times in rows.items():
        found[tuple(row[place] for place in places)] += times
    return found


async def play(folder: Path, only: Literal["both", "file", "server"] = "both") -> Verdict:
    """Upgrade from each release with other tables, with a database on a server and in a file."""
    told, are_well = [], []
    for release in releases():
        if release.commit is not None and release.revision not in (None, revisions()[-1]):
            source = write_source(release.commit, folder / release.version / "source")
            if only != "server":
                seen = await upgrade_file(folder / release.version / "file", source)
                told.append(f"hub {release.version}, then this one, {seen}")
            if only != "file":
                steps = await upgrade_servers(folder / release.version, source)
                told.append(
                    f"hub {release.version}, then this one, on a server: every item is there once; tables of"
                    f" {', '.join(f'{number} ({when})' for when, number in steps.items())}"
                )
                are_well.append(list(steps.values())[-1] == revisions()[-1])
    told.append(
        f"{len(told)} upgrades: nothing lost, nothing doubled, {are_well.count(False)} left unfinished"
    )
    return "\n".join(told), all(are_well)


if __name__ == "__main__":
    run(play)
