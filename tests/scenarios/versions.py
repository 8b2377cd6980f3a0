"""The last release and this source on one wire: each one's device at the other's hub, in both codecs.

``python -m tests.scenarios.versions`` (``make soak``). The last release is the newest one in
``storage/kernel/releases.json`` whose commit is recorded. It runs with the libraries of this source.
``--record FILE`` writes the conversation of the release with itself, for ``tests/protocol/test_release.py``.
"""

import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import AsyncExitStack, closing
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio

from storage.kernel.migrate import releases
from tests.scenarios.program import Verdict, run
from tests.support.processes import ROOT, SETTINGS, DeviceProcess, HubProcess, Running

# Put into the device's process: notes each message of its connection.
_RECORDER = """\
import json, os
from websockets.asyncio.client import ClientConnection as Connection

def noting(name, method):
    async def noted(self, *data, **options):
        result = await method(self, *data, **options)
        with open(os.environ["RECORD"], "a") as file:
            file.write(json.dumps({name: json.loads(data[0] if data else result)}) + "\\n")
        return result
    return noted

Connection.send = noting("device", Connection.send)
Connection.recv = noting("hub", Connection.recv)
"""


def write_source(commit: str, folder: Path) -> Path:
    """Write the source of a commit into *folder*, from the history of git.

    Raises:
        subprocess.CalledProcessError: git does not have it.
    """
    words = ["git", "archive", commit, "hub", "storage", "protocol", "hub.toml"]
    archived = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archived)) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def _open(source: Path, words: list[str], log: Path, **variables: str) -> Running:
    with log.open("ab") as output:
        return await anyio.open_process(
            [sys.executable, "-m", "hub", *words],
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            cwd=source,
            env=os.environ | {"PYTHONPATH": str(source)} | variables,
        )


class Hub(HubProcess):
    """Hub of a source, which makes its database if there is none in *folder*."""

    def __init__(self, folder: Path, source: Path, settings: str = SETTINGS.format(model="")) -> None:
        is_new = not (folder / "hub.db").exists()
        super().__init__(folder, settings=settings)
        if is_new:
            (folder / "hub.db").unlink()  # of this source
        self._source = source

    async def command(self, *words: str) -> None:
        """Run a command of its program. Raises AssertionError: it failed."""
        done = await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(self.folder), *words],
            cwd=self._source,
            env=os.environ | {"PYTHONPATH": str(self._source)},
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode()

    async def _spawn(self, words: list[str], log: Path) -> Running:
        return await _open(self._source, words, log)


class Device(DeviceProcess):
    """Device of a source. *variables*: of its environment, in addition."""

    def __init__(
        self, folder: Path, url: str, token: str, source: Path, codec: str, **variables: str
    ) -> None:
        super().__init__(folder, url, token)
        self.words = [*self.words, "--codec", codec]
        self._source, self._variables = source, variables

    async def _spawn(self, words: list[str], log: Path) -> Running:
        return await _open(self._source, words, log, **self._variables)

    def titles(self) -> list[str]:
        """Titles of the tasks in its file."""
        with closing(sqlite3.connect(self.database)) as db:
            return sorted(title for (title,) in db.execute("SELECT title FROM tasks"))


async def talk(folder: Path, hub_source: Path, device_source: Path, codec: str, **variables: str) -> None:
    """Extract, skip what is unchanged, read a change after a restart, report a decision, update the device.

    Raises:
        AssertionError: an item is missing or doubled, or a run did not end well.
    """
    notes = folder / "notes"
    notes.mkdir(parents=True)
    (notes / "a.md").write_text("- [ ] Call Ana\n- [ ] Pay the rent\n")
    (notes / "large.md").write_text("- [ ] Read the report\n" + "Nothing is to do here.\n" * 20_000)
    async with AsyncExitStack() as stack:
        hub = Hub(folder, hub_source)
        stack.push_async_callback(hub.close)
        await hub.start()
        url, token = await hub.device_url(), await hub.token()
        device = Device(folder, url, token, device_source, codec, **variables)
        stack.push_async_callback(device.close)
        await device.start()
        await device.says("connected as")
        expected = ["Call Ana", "Pay the rent", "Read the report"]
        for _ in range(2):
            await complete_run(hub)
            assert device.titles() == expected, device.titles()
        await device.stop()
        (notes / "b.md").write_text("- [ ] Write to Bo\n")
        await device.start()
        await complete_run(hub)
        assert device.titles() == sorted([*expected, "Write to Bo"]), device.titles()
        with closing(sqlite3.connect(device.database)) as db, db:
            db.execute("UPDATE tasks SET isApproved = 1 WHERE title = 'Call Ana'")
        with anyio.fail_after(30):
            while not any(item["verdict"] == "approved" for item in (await hub.get("/v1/items"))["items"]):
                await anyio.sleep(0.1)
        await device.stop()
        updated = Device(folder, url, token, ROOT, codec)  # with the same file
        stack.push_async_callback(updated.close)
        (notes / "c.md").write_text("- [ ] Ask Cleo\n")
        await updated.start()
        await complete_run(hub)
        assert updated.titles() == sorted([*expected, "Write to Bo", "Ask Cleo"]), updated.titles()
        await updated.stop()
        await hub.stop()


async def complete_run(hub: HubProcess) -> None:
    """Start a run, and wait for its end. Raises AssertionError: it did not end well."""
    ended: dict[str, Any] = await hub.ended(await hub.start_run())
    assert ended["state"] == "COMPLETED", ended


def _write_recording(raw: Path, file: str) -> None:
    Path(file).write_text("".join(f"{_recorded(line)}\n" for line in raw.read_text().splitlines()))


def _recorded(line: str) -> str:
    """Return a line of the recording without its secret, and with the beginnings of long texts."""
    ((side, frame),) = json.loads(line).items()
    for file in frame.get("files", ()) if frame["type"] == "agent_data" else ():
        file["content"] = file["content"][:80]
    if "token" in frame:
        frame["token"] = "hub_dev_recorded"
    return json.dumps({side: frame})


async def play(folder: Path, record: str = "") -> Verdict:
    """Connect devices and hubs of the last release and of this source, each to the other."""
    commit, version = [(one.commit, one.version) for one in releases() if one.commit is not None][-1]
    release = write_source(commit, folder / "release")
    if record:
        (folder / "hook").mkdir()
        (folder / "hook/sitecustomize.py").write_text(_RECORDER)
        path = f"{folder / 'hook'}{os.pathsep}{release}"
        raw = folder / "recorded"
        await talk(folder / "itself", release, release, "json", PYTHONPATH=path, RECORD=str(raw))
        _write_recording(raw, record)
    told = []
    for codec in ("json", "msgpack"):
        for number, (hub_source, device_source) in enumerate(((ROOT, release), (release, ROOT))):
            await talk(folder / f"{codec}{number}", hub_source, device_source, codec)
            of_hub, of_device = ("this", version) if hub_source is ROOT else (version, "this")
            told.append(f"hub {of_hub}, device {of_device}, {codec}: every item is there once")
    told.append(f"{len(told)} pairs of a hub and a device: nothing lost, nothing doubled")
    return "\n".join(told), True


if __name__ == "__main__":
    run(play)
