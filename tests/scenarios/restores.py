"""Snapshots of a hub's and a device's state, put back later: as by a backup, a copy of a disk, or a loss."""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import sqlalchemy as sa

from protocol.lifecycles import CallState
from storage import retention
from storage.schema import run_calls
from tests.scenarios.scene import Scene
from tests.support.database import new_database
from tests.support.processes import POLL_S

Item = tuple[str, str]  # path and quote

AGREES_S: Final = 30.0


def snapshot(database: Path, copy: Path) -> None:
    """Copy a database, or a store of lines that are only appended, that may be in use, as it is now."""
    with database.open("rb") as opened:
        is_sqlite = opened.read(6) == b"SQLite"
    if not is_sqlite:
        shutil.copyfile(database, copy)
        return
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def put_back(copy: Path, database: Path) -> None:
    """Put a snapshot in the place of a database that nobody has open."""
    lose(database)
    snapshot(copy, database)


def lose(database: Path) -> None:
    """Remove a database with what belongs to it."""
    for file in database.parent.glob(f"{database.name}*"):
        if not file.name.endswith(".lock"):
            file.unlink()


class Restores:
    """A scene whose two ends can be put back to an earlier moment.

    Moments have names; ``keep`` copies both databases as they are.
    """

    def __init__(self, play: Scene) -> None:
        self.play = play
        self.hub_database = play.folder / "hub.db"

    async def keep(self, moment: str) -> None:
        """Remember both states."""
        for database in (self.hub_database, self.play.device.database):
            await anyio.to_thread.run_sync(snapshot, database, self._copy(database, moment))

    async def hub_goes_back(self, moment: str) -> None:
        """Kill the hub, put its database back, start it."""
        await self.play.kill_hub()
        put_back(self._copy(self.hub_database, moment), self.hub_database)
        await self.play.start_hub()

    async def hub_is_lost(self) -> None:
        """Kill the hub, start one with an empty database, which its device accepts, and let that in anew."""
        await self.play.kill_hub()
        lose(self.hub_database)
        new_database(self.hub_database)
        await self.play.device.kill()
        await self.play.start_hub()
        (self.play.folder / "desk.token").write_text(await self.play.hub.token())
        known = (await self.play.hub.get("/v1/status"))["key"]
        device = self.play.device
        words, device.words = device.words, [*device.words, "--accept-hub", known]
        await device.start()
        device.words = words

    async def hub_forgets(self) -> None:
        """Kill the hub, delete all that its housekeeping ever may, as after years, start it."""
        await self.play.kill_hub()
        engine = sa.create_engine(f"sqlite:///{self.hub_database}")
        with engine.begin() as c:
            far = 2**53
            assert retention.prune_units(c, ("", ""), before=far, since=0, rows=10_000)[0] > 0
            retention.prune_items(c, "", before=far, rows=10_000)
            c.execute(sa.delete(run_calls).where(run_calls.c.state == CallState.ACKED))
            retention.prune_items(c, "", before=far, rows=10_000)
        engine.dispose()
        await self.play.start_hub()

    async def device_goes_back(self, moment: str) -> None:
        """Kill the device, put its database back, start it."""
        await self.play.device.kill()
        put_back(self._copy(self.play.device.database, moment), self.play.device.database)
        await self.play.device.start()

    async def device_is_lost(self) -> None:
        """Kill the device, and start it without a database."""
        await self.play.device.kill()
        lose(self.play.device.database)
        await self.play.device.start()

    async def run(self) -> dict[str, object]:
        """A run, to its end."""
        return await self.play.hub.ended(await self.play.hub.start_run())

    def items(self) -> Counter[Item]:
        """What the device has, by path and quote."""
        return Counter(self.play.device.items())

    async def has(self, wanted: Counter[Item]) -> None:
        """Until the device has just these; by itself, without a run."""
        with anyio.move_on_after(AGREES_S):
            while self.items() != wanted:
                await anyio.sleep(POLL_S)
            return
        found = self.items()
        raise AssertionError(
            f"lost {wanted - found}, too many {found - wanted}\n{self.play.hub.log()[-3000:]}"
        )

    def _copy(self, database: Path, moment: str) -> Path:
        return self.play.folder / "copies" / f"{database.name} {moment}"
