"""A hub is killed while its disk is full, starts again on it, and goes on once there is room.

``python -m tests.scenarios.full_disk`` fills a real file system of its own, a tmpfs in a mount
name space that needs no rights, and runs the daemon as it is installed. It prints what was seen as JSON, and
exits with 1 if it is not what a hub has to do.
"""

import json
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from subprocess import run
from time import perf_counter
from typing import Any, Final

import anyio
import httpx2

from hub.runs.disk import BALLAST, BALLAST_BYTES
from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import check_boxes, rows
from tests.support.device import open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import POLL_S, HubProcess
from tests.support.proxy import wire

SIZE: Final = "320m"  # a hub wants 200 MB to be free before it starts a run
INSIDE: Final = "--inside"
UNSHARED: Final = ("unshare", "--user", "--map-root-user", "--mount")
FILES, PLANTED = check_boxes(8, each=3)


def why_not_here() -> str | None:
    """Return why this machine lets nobody mount a file system of their own; ``None`` where it does."""
    try:
        done = run([*UNSHARED, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr if done.returncode else None


async def outlive(disk: Path, elsewhere: Path) -> dict[str, Any]:
    """Fill *disk*, kill the hub on it, start it again, order a run, make room; return what was seen."""
    hub = FaultyHub(disk)  # no fault but the disk: started from what has imported everything
    seen: dict[str, Any] = {}
    try:
        await hub.start()
        async with wire() as line, open_device(line.url, elsewhere, await hub.token()) as device:
            line.hub_url = await hub.device_url()
            for name, text in FILES.items():
                device.write(name, text)
            while _size_of(disk / BALLAST) != BALLAST_BYTES:
                await anyio.sleep(POLL_S)
            with closing(sqlite3.connect(disk / "hub.db")) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the pages of its log would be room
            _fill(disk / "filler")
            line.hub_url = None
            await hub.kill()
            _fill(disk / "more")

            await super(HubProcess, hub).start()
            await _answers(hub)
            line.hub_url = await hub.device_url()
            seen["ballast of a hub on a full disk"] = _size_of(disk / BALLAST)
            while not (await hub.get("/v1/status"))["devices_connected"]:
                await anyio.sleep(POLL_S)
            run_id = await hub.start_run()
            waiting = await hub.get(f"/v1/runs/{run_id}")
            seen["waits"] = [waiting["state"], waiting["waiting_for"]]
            worst = (await hub.get("/v1/status"))["worst"]
            seen["status"] = " ".join(issue["explanation"] for issue in worst)
            seen["issues"] = [issue["id"] for issue in (await hub.get("/v1/issues"))["issues"]]

            (disk / "filler").unlink()
            (disk / "more").unlink()
            began = perf_counter()
            while (await hub.get(f"/v1/runs/{run_id}"))["state"] == "QUEUED":
                await anyio.sleep(POLL_S)
            seen["goes on after s"] = round(perf_counter() - began, 1)
            ended = await hub.ended(run_id)
            seen["ended"] = [ended["state"], ended["outcome"]]
            seen["items are right"] = sorted(t for (t,) in rows(device.db, TITLES)) == sorted(PLANTED)
            while _size_of(disk / BALLAST) != BALLAST_BYTES:
                await anyio.sleep(POLL_S)
        seen["exit"] = await hub.stop()
        return seen
    except BaseException:
        sys.stderr.write(hub.log()[-6000:])
        raise
    finally:
        await hub.close()


async def _answers(hub: HubProcess) -> Any:
    """The status of a hub that may not be ready for work. Raises AssertionError: it ended."""
    assert hub.process is not None
    while hub.process.returncode is None:
        with suppress(httpx2.TransportError, OSError):
            return await hub.get("/v1/status")
        await anyio.sleep(POLL_S)
    raise AssertionError("the hub does not start on a full disk")


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _fill(file: Path) -> None:
    """Take every byte that is free."""
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(1 << 20))
    with file.open("ab", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))


def main() -> int:
    """Go into a mount name space of its own and print what was seen there."""
    if INSIDE not in sys.argv:
        return run(
            [*UNSHARED, sys.executable, "-m", "tests.scenarios.full_disk", INSIDE], check=False
        ).returncode
    with tempfile.TemporaryDirectory() as name:
        disk, elsewhere = Path(name, "disk"), Path(name, "device")
        disk.mkdir()
        elsewhere.mkdir()
        run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(disk)], check=True)
        try:
            seen = anyio.run(outlive, disk, elsewhere)
        finally:
            run(["umount", str(disk)], check=True)
    print(json.dumps(seen))  # noqa: T201  # for the person, or the test, that runs it
    is_right = (
        seen["waits"][0] == "QUEUED"
        and "disk.full" in seen["issues"]
        and seen["ended"] == ["COMPLETED", "success"]
        and seen["items are right"]
        and seen["exit"] == 0
    )
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
