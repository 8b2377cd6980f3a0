"""The log of a device, compared with what the hub has: real processes, each with its own database."""

import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from protocol.receipts import SentFile
from storage.devices.receipts import packed, unpacked
from tests.scenarios.restores import Restores
from tests.scenarios.scene import Point, Scene, scene, write
from tests.support.processes import POLL_S

LIMITS = "[limits]\nrun_files = 20000\n"
EDITS: dict[str, tuple[str, Callable[[list[SentFile]], list[SentFile]]]] = {
    "dropped": ("missing_at_hub", lambda files: files[1:]),
    "added": ("unknown_to_device", lambda files: [("notes/0.md", 1, "0" * 64), *files]),
    "changed": ("different", lambda files: [(files[0][0], 9, files[0][2]), *files[1:]]),
}


def pages(count: int, *, first: int = 0) -> dict[str, str]:
    """So many files without work in them."""
    return {f"{number:05}.md": f"Page {number}: it rained.\n" for number in range(first, first + count)}


async def verify(play: Scene, *, code: int = 0) -> dict[str, Any]:
    """What the command found. *code*: its expected exit code."""
    command = [sys.executable, "-m", "hub", "device", "log", "--verify", "--db", str(play.device.database)]
    done = await anyio.run_process([*command, "--json"], check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kinds(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and path of each difference."""
    return [(one["kind"], one["path"]) for one in found["differences"]]


@asynccontextmanager
async def sent(folder: Path, files: dict[str, str]) -> AsyncIterator[Scene]:
    """A device that has sent files in one run, and has their receipt."""
    async with scene(folder, files, settings=LIMITS) as play:
        await play.device.start()
        await run(play)
        await has_receipts(play, 1)
        yield play


async def run(play: Scene) -> None:
    """A run, once it has ended."""
    await play.hub.ended(await play.hub.start_run(), within_s=300)


async def has_receipts(play: Scene, count: int) -> None:
    """Until the device keeps so many receipts."""
    with anyio.fail_after(30):
        while rows(play.device.database, "SELECT count(receipt) FROM receipts") != [(count,)]:
            await anyio.sleep(POLL_S)


def rows(database: Path, statement: str, *values: object) -> list[Any]:
    """Execute a statement as a person with the file would."""
    with closing(sqlite3.connect(database, timeout=30)) as db, db:
        return db.execute(statement, values).fetchall()


@pytest.mark.soak
async def test_log_of_ten_thousand_files_agrees_with_the_hub(tmp_path: Path) -> None:
    async with sent(tmp_path, pages(10_000)) as play:
        found = await verify(play)
        assert (found["files"], found["differences"], found["not_compared"]) == (10_000, [], [])


async def test_entry_dropped_added_or_changed_by_a_hub_is_found(tmp_path: Path) -> None:
    hub = tmp_path / "hub.db"
    async with sent(tmp_path, pages(40)) as play:
        assert kinds(await verify(play)) == []
        ((stored, receipt),) = rows(hub, "SELECT files, receipt FROM receipts")
        for kind, edit in EDITS.values():
            files = edit(unpacked(stored))
            rows(hub, "UPDATE receipts SET files = ?", packed(files))
            path = "notes/0.md" if kind == "unknown_to_device" else "notes/00000.md"
            assert kinds(await verify(play, code=1)) == [(kind, path)]
        rows(hub, "UPDATE receipts SET files = ?", stored)

        other = json.loads(receipt) | {"files": 39}
        rows(hub, "UPDATE receipts SET receipt = ?", json.dumps(other))
        assert kinds(await verify(play, code=1)) == [("changed", "")]
        rows(hub, "UPDATE receipts SET receipt = ?", receipt)

        rows(hub, "UPDATE audit_log SET hash = zeroblob(32) WHERE event = 'receipt.made'")
        assert kinds(await verify(play, code=1)) == [("audit", "")]
        rows(hub, "UPDATE audit_log SET hash = ? WHERE event = 'receipt.made'", entry_hash(receipt))

        rows(hub, "DELETE FROM receipts")
        assert ("missing_at_hub", "") in kinds(await verify(play, code=1))


def entry_hash(receipt: str) -> bytes:
    return bytes.fromhex(json.loads(receipt)["entry_hash"])


async def test_edited_log_is_found_with_the_hub_and_without(tmp_path: Path) -> None:
    async with sent(tmp_path, pages(40)) as play:
        desk = play.device.database
        rows(desk, "UPDATE sent SET bytes = 9 WHERE number = 1")
        rows(desk, "DELETE FROM sent WHERE number = 2")
        columns = "at_ms, hub, run_id, agent_id, reader, bytes, sha256, receipt"
        rows(
            desk,
            f"INSERT INTO sent (path, {columns}) SELECT 'notes/x.md', {columns} FROM sent WHERE number = 3",
        )
        found = await verify(play, code=1)
        assert kinds(found) == [
            ("log", ""),
            ("different", "notes/00000.md"),
            ("unknown_to_device", "notes/00001.md"),
            ("missing_at_hub", "notes/x.md"),
        ]
        await play.kill_hub()
        await play.device.kill()
        found = await verify(play, code=1)
        assert kinds(found) == [("log", ""), ("root", "")]
        assert "compared with the receipts that it signed alone" in found["not_compared"][0]["words"]

        rows(desk, "UPDATE receipts SET receipt = replace(receipt, '\"files\":40', '\"files\":41')")
        assert ("signature", "") in kinds(await verify(play, code=1))


async def test_reading_whose_trace_was_deleted_from_the_log_is_found(tmp_path: Path) -> None:
    async with sent(tmp_path, pages(3)) as play:
        write(tmp_path, pages(3, first=3))
        await run(play)
        await has_receipts(play, 2)
        assert kinds(await verify(play)) == []
        rows(play.device.database, "DELETE FROM sent WHERE number > 3")
        rows(play.device.database, "DELETE FROM receipts WHERE first > 3")
        assert kinds(await verify(play, code=1)) == [("unknown_to_device", "")]


async def test_receipt_kept_from_the_device_by_a_kill_arrives_once(tmp_path: Path) -> None:
    async with scene(tmp_path, pages(20), settings=LIMITS) as play:
        await play.device.start()
        play.at(Point("the receipt", "to_device", "agent_receipt"), play.restart_device)
        await run(play)
        await play.happened()
        await has_receipts(play, 1)
        assert rows(tmp_path / "hub.db", "SELECT count(*) FROM receipts") == [(1,)]
        found = await verify(play)
        assert (found["files"], found["differences"], found["not_compared"]) == (20, [], [])


async def test_files_under_way_at_a_kill_of_the_hub_are_named_apart(tmp_path: Path) -> None:
    async with scene(tmp_path, pages(20), settings=LIMITS) as play:

        async def restart_hub() -> None:
            await play.kill_hub()
            await play.start_hub()

        await play.device.start()
        play.at(Point("the files", "to_hub", "agent_data"), restart_hub)
        await run(play)
        await play.happened()
        await has_receipts(play, 1)
        found = await verify(play)
        assert (found["files"], found["differences"]) == (20, [])
        (apart,) = found["not_compared"]
        assert "files: no receipt, the hub has none" in apart["words"]


async def test_hub_restored_from_a_backup_is_seen_as_older_than_the_receipts(tmp_path: Path) -> None:
    async with sent(tmp_path, pages(3)) as play:
        restores = Restores(play)
        (tmp_path / "copies").mkdir()
        await restores.keep("before")
        write(tmp_path, pages(3, first=3))
        await run(play)
        await has_receipts(play, 2)
        await restores.hub_goes_back("before")
        await play.has_connected()
        found = await verify(play, code=1)
        assert kinds(found) == [("missing_at_hub", ""), ("chain", "")]
        assert "restored from a backup" in found["differences"][1]["words"]
        await run(play)  # the hub reads the same files again
        await has_receipts(play, 3)
        found = await verify(play, code=1)
        assert kinds(found) == [("missing_at_hub", ""), ("chain", "")]
        assert "receipt 2 does not follow receipt 2" in found["differences"][1]["words"]
