"""A hub of one release and a hub of the next on one PostgreSQL, as during an upgrade.

``python -m tests.scenarios.upgrade`` (``make soak``). The later release is the source of this one with two
more revisions, of which the last is a contract. A hub of this release has the devices and is in the middle of
runs when a hub of the later one starts beside it. Then the earlier one is stopped. Every item is there once,
and the contract is applied after the end of the earlier hub. The same from each release of
``storage/kernel/releases.json`` whose tables are upgraded to this source.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import DEVNULL

import anyio

from storage.kernel import migrate
from storage.kernel.migrate import releases
from storage.kernel.postgres import run_once
from tests.scenarios.cluster import open_cluster
from tests.scenarios.program import Verdict, run
from tests.scenarios.versions import write_source
from tests.support.next_revision import CONTRACT, NEWEST, make_old_tables, next_revisions
from tests.support.processes import ROOT, HubProcess, Running

DEVICES, PAGES = 6, 15


class HubOfSource(HubProcess):
    """Hub process of the release whose source is in *source*."""

    def __init__(self, folder: Path, source: Path, *, settings: str) -> None:
        super().__init__(folder, settings=settings)
        self._source = source

    async def _spawn(self, words: list[str], log: Path) -> Running:
        environment = os.environ | {"PYTHONPATH": str(self._source)}
        with log.open("ab") as output:
            return await anyio.open_process(
                [sys.executable, "-m", "hub", *words],
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._source,
                env=environment,
            )


def write_later_release(folder: Path) -> Path:
    """Write the source of the later release into *folder*."""
    for name in ("hub", "storage", "protocol"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(ROOT / "hub.toml", folder)
    next_revisions(folder / "storage/kernel")
    return folder


async def upgrade(
    folder: Path, sources: tuple[Path, Path], prepare: Callable[[str], Awaitable[None]] | None
) -> dict[str, str]:
    """Replace a hub of the earlier release by one of the later one in the middle of runs.

    *sources*: of the earlier release, and of the later one.

    Returns the revision of the tables at each step.

    Raises:
        AssertionError: an item is lost or doubled, or a run did not end well.
    """
    made: list[HubProcess] = []

    def make_hub(state: Path, settings: str) -> HubProcess:
        made.append(HubOfSource(state, sources[len(made)], settings=settings))
        return made[-1]

    async with open_cluster(
        folder, hubs=2, devices=DEVICES, make_hub=make_hub, begin_with=1, has_bus=False, prepare=prepare
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


async def _make_earlier(url: str) -> None:
    """Create the tables that the earlier release has, as the later one's first revision says."""
    known = migrate.MIGRATIONS
    with tempfile.TemporaryDirectory() as folder:
        migrate.MIGRATIONS = next_revisions(Path(folder))
        try:
            await run_once(url, make_old_tables)
        finally:
            migrate.MIGRATIONS = known


async def play(folder: Path) -> Verdict:
    """Replace a hub by one of the next release; the tables are as they must be at each step."""
    seen = await upgrade(
        folder / "next", (ROOT, write_later_release(folder / "next/later")), prepare=_make_earlier
    )
    told = [f"{when}: tables of revision {revision}" for when, revision in seen.items()]
    are_well = [list(seen.values())[-1] == CONTRACT]
    for release in releases():
        if release.revision is not None and release.commit is not None:
            place = folder / release.version
            seen = await upgrade(place, (write_source(release, place / "source"), ROOT), prepare=None)
            told.append(f"hub {release.version}, then this one: {', '.join(seen.values())}")
            are_well.append(list(seen.values())[-1] == NEWEST)
    return "\n".join(told), all(are_well)


if __name__ == "__main__":
    run(play)
