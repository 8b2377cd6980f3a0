"""Snapshots of a hub's and a device's state, put back later: as by a backup, a copy of a disk, or a loss."""

import json
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import sqlalchemy as sa

from hub.base.clock import SystemClock
from hub.device.device_file import connect_shared
from hub.device.items import read_items
from hub.device.owner import approve
from hub.device.sinks.reports import destinations
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from protocol.lifecycles import CallState
from storage.effects import orphans
from storage.schema import run_calls
from tests.scenarios.scene import Scene, rows
from tests.support.processes import POLL_S

Item = tuple[str, str]  # path and quote
Places = dict[str, list[str]]  # states, by row

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
        """Kill the hub, begin anew without its database, let its device accept that, and let it in anew."""
        await self.play.kill_hub()
        lose(self.hub_database)
        assert not await self.play.hub.comes_up()  # it does not begin anew by itself
        state = str(self.play.folder)
        await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", state, "restore", "--anew", "--yes"], cwd=state
        )
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
            assert orphans.prune_units(c, ("", ""), before=far, since=0, rows=10_000)[0] > 0
            orphans.prune_items(c, "", before=far, rows=10_000)
            c.execute(sa.delete(run_calls).where(run_calls.c.state == CallState.ACKED))
            orphans.prune_items(c, "", before=far, rows=10_000)
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

    async def approve(self) -> None:
        """Approve all items at the device, and wait until the hub knows, and how far its file has come."""
        database, is_open = self.play.device.database, "SELECT 1 FROM items WHERE verdict = 'open'"
        waiting = [item.label for item in read_items(database) if item.verdict == "open"]
        assert approve(database, waiting, at_ms=1).refused == []
        with anyio.fail_after(AGREES_S):
            while rows(self.hub_database, is_open):
                await anyio.sleep(POLL_S)
            await self.play.restart_device()
            counters = (self.hub_database, "device_stores"), (database, "store")
            while (
                len({found for of, table in counters for found in rows(of, f"SELECT counter FROM {table}")})
                > 1
            ):
                await anyio.sleep(POLL_S)

    def place(self) -> None:
        """Write the approved items to a file, as a kept device does."""
        with connect_shared(self.play.device.database) as db:
            target = TextFile(self.play.folder / "vault.md", Markdown())
            assert synchronize(db, Sink("vault", target, ("tasks",)), SystemClock().now()).problem == ""

    def places(self) -> tuple[Places, Places]:
        """Return the states of all rows at their places, as the device and as the hub has them."""
        with connect_shared(self.play.device.database) as db:
            found = destinations(db)
            ids = [row_id for (row_id,) in db.execute("SELECT row_id FROM reviews")]
        own = {row_id: [place.state.value for place in of_row] for (_, row_id), of_row in found.items()}
        listed = rows(self.hub_database, "SELECT row_id, places FROM items WHERE row_id IS NOT NULL")
        at_hub = {row_id: [place["state"] for place in json.loads(text)] for row_id, text in listed}
        return {row_id: own.get(row_id, []) for row_id in ids}, at_hub

    async def places_agree(self) -> None:
        """Wait until the hub has the places of each row as the device has them."""
        with anyio.move_on_after(AGREES_S):
            while True:
                own, at_hub = self.places()
                if own == {row_id: at_hub.get(row_id) for row_id in own}:
                    return
                await anyio.sleep(POLL_S)
        raise AssertionError(f"at the device {own}, at the hub {at_hub}\n{self.play.hub.log()[-3000:]}")

    def _copy(self, database: Path, moment: str) -> Path:
        return self.play.folder / "copies" / f"{database.name} {moment}"
