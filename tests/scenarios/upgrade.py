"""A hub of the release before and a hub of this one on one PostgreSQL, as during an upgrade.

``python -m tests.scenarios.upgrade`` (``make soak``) takes the earlier release from the history of the
project. Its hub makes the tables, has the devices and is in the middle of runs when a hub of this release
starts beside it. Then the earlier one is stopped. Every item is there once, and what only the earlier hub
needs is removed after its end.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from subprocess import DEVNULL

import anyio
from rich.console import Console

from storage.kernel.migrate import releases, revisions
from tests.scenarios.cluster import open_cluster
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import ROOT, HubProcess, Running

DEVICES, PAGES = 6, 15


class EarlierHub(HubProcess):
    """Hub process of an earlier release, whose source is in *source*."""

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


def why_no_history() -> str | None:
    """Return why the earlier release cannot be taken from the history; None if it can."""
    commit = releases()[0].commit
    known = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True)
    return f"the history has no commit {commit}: fetch all of it" if known.returncode else None


def take_earlier_release(folder: Path) -> None:
    """Write the source of the oldest release that this one upgrades into *folder*."""
    archive = ["git", "archive", str(releases()[0].commit), "hub", "storage", "protocol", "hub.toml"]
    made = subprocess.run(archive, cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(made)) as tar:
        tar.extractall(folder, filter="data")


async def upgrade(folder: Path) -> dict[str, str]:
    """Replace a hub of the earlier release by one of this one in the middle of runs.

    Returns the revision of the tables at each step.

    Raises:
        AssertionError: an item is lost or doubled, or a run did not end well.
    """
    source = folder / "earlier"
    source.mkdir()
    take_earlier_release(source)
    made: list[HubProcess] = []

    def make_hub(state: Path, settings: str) -> HubProcess:
        kind = FaultyHub(state, settings=settings) if made else EarlierHub(state, source, settings=settings)
        made.append(kind)
        return kind

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


def main() -> int:
    """Upgrade, and print the revisions; 0 if every item is there once, and the tables are as they must be."""
    console = Console(highlight=False)
    if (problem := why_no_history()) is not None:
        console.print(problem)
        return 69
    with tempfile.TemporaryDirectory() as folder:
        seen = anyio.run(upgrade, Path(folder))
    for when, revision in seen.items():
        console.print(f"{when}: tables of revision {revision}")
    return 0 if list(seen.values())[-1] == revisions()[-1] else 1


if __name__ == "__main__":
    sys.exit(main())
