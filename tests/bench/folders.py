"""Rows 31 and 34: a folder of 100,000 files, run over by a real hub and a real device, and the idle device.

The ledger is filled as if earlier runs had read the files. Against it: one walk over the same folder with
``os.scandir`` and a ``stat`` of each file, which is the least that finds out whether something has changed.
Syncthing walks so each hour by default (``rescanIntervalS`` = 3600), in addition to a watcher: a sixtieth
of a walk a minute, and what its watcher and connections cost.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import anyio
from anyio.from_thread import start_blocking_portal

from tests.bench.machine import bytes_read, cpu_seconds, tree_cpu_s, tree_rss_bytes
from tests.bench.rounds import alone, play, ratio
from tests.bench.rows import Row, at_most
from tests.scenarios.scene import Scene, scene, write
from tests.support.processes import KeptDevice

_FILES: Final = 100_000
_DISK: Final = "/var/tmp"  # as row 13
_RUN_S: Final = 300.0
_IDLE_S: Final = 20.0
_MIB: Final = 2.0**20
ROWS: Final = frozenset({31, 34})
# 2 KiB of text, so that reading all contents is far more than reading their digests.
_TEXT: Final = "# Page\n\nNothing is to be done.\n\n" + "We met on Monday, and it rained.\n" * 60
_OF_MANIFEST: Final = frozenset({"agent_manifest", "agent_fetch", "agent_data"})


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of both rows."""
    echo(f"{_FILES:,} files are written")
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as folder, start_blocking_portal() as portal:
        settings = "[limits]\nrun_files = 1\n"
        with portal.wrap_async_context_manager(scene(Path(folder), {}, settings=settings)) as play_in:
            device = KeptDevice(Path(folder), play_in.wire.url, is_forked=False)
            play_in.also(device)
            portal.call(prepare, play_in, device)
            walls: list[float] = []
            frames: list[float] = []
            memory: list[float] = []

            def unchanged() -> float:
                used, wall, sent = portal.call(_run, play_in, device)
                walls.append(wall)
                frames.append(sent)
                memory.append(tree_rss_bytes(device.pid) / _MIB)
                return float(used)

            measurements: dict[str, Callable[[], float]] = {
                "run": unchanged,
                "walk": partial(_walk, Path(folder) / "notes"),
                "idle": lambda: portal.call(_idle, device.pid),
                "change": lambda: portal.call(_change, play_in, device),
            }
            rounds = play(measurements, echo=echo)
    for played, wall, sent, mib in zip(rounds, walls, frames, memory, strict=True):
        played["wall"] = played["run"]._replace(value=wall)
        played["frames"] = played["run"]._replace(value=sent)
        played["memory"] = played["run"]._replace(value=mib)
    return [
        Row(
            "31",
            "100,000 unchanged files: frames of the manifest, both ways",
            at_most(2, ""),
            alone(rounds, "frames"),
            False,
            "",
        ),
        Row(
            "31", "... seconds from the request to the end", at_most(2, "s"), alone(rounds, "wall"), unit="s"
        ),
        Row("31", "... CPU of hub and device / of a walk", at_most(6), ratio(rounds, "run", "walk"), False),
        Row(
            "34",
            "100,000 files, idle: CPU a minute of the kept device / of a walk",
            at_most(0.5),
            ratio(rounds, "idle", "walk"),
            False,
        ),
        Row("34", "... RSS of the device", at_most(200, "MiB"), alone(rounds, "memory"), False, "MiB"),
        Row("34", "... one change: bytes read / of all files", at_most(0.25), alone(rounds, "change"), False),
    ]


async def prepare(
    play_in: Scene,
    device: KeptDevice,
    *,
    count: int = _FILES,
    change_settings: Callable[[str], str] = lambda text: text,
) -> None:
    """Fill the folder, and the ledger with the digests of its files; list it once.

    Args:
        change_settings: returns the text of hub.toml after the ledger was filled, of the text before.
    """
    digests: dict[str, str] = {}
    files: dict[str, str] = {}
    for number in range(count):
        name = f"{number % 20:02}/{number // 20 % 50:02}/page{number:06}.md"
        files[name] = f"{_TEXT}{number}\n"
        digests[f"notes/{name}"] = hashlib.sha256(files[name].encode()).hexdigest()
    write(play_in.folder, files)
    await device.let_in(play_in.hub)
    await play_in.has_connected()
    await play_in.hub.ended(await play_in.hub.start_run(), within_s=_RUN_S)
    await play_in.stop_hub()
    with closing(sqlite3.connect(play_in.folder / "hub.db")) as db, db:
        agent, *others = db.execute(
            "SELECT agent_id, config_fingerprint, run_id, done_at FROM unit_ledger"
        ).fetchone()
        rows = [(agent, path, sha256, *others) for path, sha256 in digests.items()]
        db.executemany("INSERT OR REPLACE INTO unit_ledger VALUES (?, ?, ?, ?, ?, ?)", rows)
    settings = anyio.Path(play_in.folder / "hub.toml")
    await settings.write_text(change_settings(await settings.read_text()))
    await play_in.start_hub()
    await play_in.has_connected()
    run = await play_in.hub.ended(await play_in.hub.start_run(), within_s=_RUN_S)
    assert run["units_skipped"] == count, run


async def _run(play_in: Scene, device: KeptDevice) -> tuple[float, float, float]:
    """Run over the folder; CPU seconds of hub and device, wall seconds, frames of its manifest."""
    pids = (play_in.hub.pid, device.pid)
    play_in.seen.clear()
    used, began = sum(map(tree_cpu_s, pids)), perf_counter()
    run: dict[str, Any] = await play_in.hub.ended(await play_in.hub.start_run(), within_s=_RUN_S)
    wall = perf_counter() - began
    used = sum(map(tree_cpu_s, pids)) - used
    assert (run["outcome"], run["units_skipped"]) == ("success", _FILES), run
    sent = sum(frame["type"] in _OF_MANIFEST for _, frame in play_in.seen)
    return used, wall, float(sent)


async def _change(play_in: Scene, device: KeptDevice) -> float:
    """Change a file; return the share of all bytes that the device reads in the run that offers it."""
    changed = f"{_TEXT}Changed {perf_counter()}\n"
    write(play_in.folder, {"00/00/page000000.md": changed})
    before = bytes_read(device.pid)
    run = await play_in.hub.ended(await play_in.hub.start_run(), within_s=_RUN_S)
    assert (run["outcome"], run["units_done"], run["units_skipped"]) == ("success", 1, _FILES - 1), run
    return (bytes_read(device.pid) - before) / (_FILES * len(changed))


async def _idle(pid: int) -> float:
    """CPU seconds a minute of the device while nothing happens."""
    before = tree_cpu_s(pid)
    await anyio.sleep(_IDLE_S)
    return (tree_cpu_s(pid) - before) * 60 / _IDLE_S


def _walk(folder: Path) -> float:
    """CPU seconds of a walk that asks for the metadata of every file."""
    began, found = cpu_seconds(), 0
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    found += 1
    assert found == _FILES
    return cpu_seconds() - began
