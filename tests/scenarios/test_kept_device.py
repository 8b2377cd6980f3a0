"""A kept device, ``hub device run``, as a process: what a hub gets of it, and how it comes back."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from hub.device.owner import approve
from tests.hub.device.test_preview import OFFERED, fill
from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import Scene, are_there_once, rows, scene, write
from tests.support.clock import SeededChance
from tests.support.processes import POLL_S, ROOT, KeptDevice
from tests.support.proxy import Wire, wire

BACK_S: Final = 60.0  # at most, to be connected again
PRIVATE: Final = (
    "node_modules",
    "venv",
    "dist/",
    ".log",
    "drafts",
    ".env",
    "creds",
    "id_rsa",
    "closed",
    "link",
)


async def hub_device(play: Scene, *words: str) -> dict[str, Any]:
    """Return what ``hub device WORDS --json`` prints for the kept device."""
    options = ["--config", str(play.folder / "device.toml"), "--state", str(play.folder), "--json"]
    command = [sys.executable, "-m", "hub", "device", *words, *options]
    done = await anyio.run_process(command, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[tuple[Scene, KeptDevice]]:
    """A hub, and a kept device that is connected to it over a wire."""
    async with scene(folder, {}) as play:
        device = KeptDevice(folder, play.wire.url)
        play.also(device)
        await device.let_in(play.hub)
        await play.has_connected()
        yield play, device


async def test_hub_gets_the_files_of_the_preview_and_no_secret_of_a_mixed_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    secrets = [secret for secret in fill(tmp_path / "notes") if len(secret) >= 8]
    assert sum(path.is_file() for path in (tmp_path / "notes").rglob("*")) >= 460
    assert len(secrets) >= 60
    async with kept(tmp_path) as (play, _):
        before = await hub_device(play, "preview")
        run = await play.hub.ended(await play.hub.start_run())
        logged = (await hub_device(play, "log", "--files", "--limit", "10000"))["entries"]
        held = (await hub_device(play, "log", "--held-back", "--limit", "10000"))["entries"]
        await play.stop_hub()

    assert [error["code"] for error in run["errors"]] == ["bad_ignore_file"]
    frames = [frame for way, frame in play.seen if way == "to_hub"]
    sent = {one["path"]: one for frame in frames if frame["type"] == "agent_data" for one in frame["files"]}
    units = dict(rows(tmp_path / "hub.db", "SELECT unit_key, state FROM run_units"))
    assert sum(folder["files"] for folder in before["offered"]) == len(sent) == OFFERED
    assert {path for path, state in units.items() if state == "DONE"} == sent.keys()
    assert {one["path"]: one["sha256"] for one in logged} == {
        path: one["sha256"] for path, one in sent.items()
    }

    stays = {one["path"].removeprefix(f"{tmp_path}/") for one in before["stays"]}
    assert not sent.keys() & stays
    assert {one["path"] for one in held} == units.keys() - sent.keys() <= stays
    assert [path for path in sent for part in PRIVATE if part in path] == []
    of_hub = [json.dumps(frames, ensure_ascii=False), (tmp_path / "hub.log").read_text()]
    with_text = "\n".join(of_hub).encode() + (tmp_path / "hub.db").read_bytes()
    assert [secret for secret in secrets if secret.encode() in with_text] == []
    assert b"Outside." not in with_text


async def why_waiting(play: Scene, run: str, start: str) -> str:
    """Return why a run waits, once the hub says so in words that begin with *start*."""
    with anyio.fail_after(BACK_S):
        while not str((await play.hub.get(f"/v1/runs/{run}"))["waiting_for"]).startswith(start):
            await anyio.sleep(POLL_S)
    (device,) = (await play.hub.get("/v1/devices"))["devices"]
    return str(device["because"])


async def test_hub_names_a_folder_that_was_renamed_and_the_run_goes_on_once_the_folder_is_back(
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    async with kept(tmp_path) as (play, device):
        write(tmp_path, {"plan.md": "- [ ] Call Ana\n"})
        await play.hub.ended(await play.hub.start_run())
        notes.rename(tmp_path / "renamed")
        await device.says("there is no folder")
        with anyio.fail_after(BACK_S):
            while "device.no_folder" not in await issues(play):
                await anyio.sleep(POLL_S)
        run = await play.hub.start_run()
        because = await why_waiting(play, run, f"{notes} was moved or renamed")
        assert "of a hub elsewhere: hub help device" in because
        assert await issues(play) == {"device.no_folder"}
        (tmp_path / "renamed").rename(notes)
        assert (await play.hub.ended(run))["outcome"] == "success"
        with anyio.fail_after(BACK_S):  # findings of a few seconds ago are not repeated
            while await issues(play):
                await anyio.sleep(POLL_S)


async def issues(play: Scene) -> set[str]:
    """Return the kinds of issues about devices and runs that the doctor lists now."""
    listed = (await play.hub.get("/v1/issues"))["issues"]
    return {issue["id"] for issue in listed if issue["id"].startswith(("device.", "agent.", "run."))}


SINK: Final = """
[[sinks]]
name = "vault"
kind = "markdown"
path = "notes/vault/todo.md"
"""


async def placed(play: Scene, state: str) -> tuple[Any, Any]:
    """The problem and the link of the only item's only place, once it is in that state at the hub."""
    (item,) = (await play.hub.get("/v1/items"))["items"]
    with anyio.fail_after(30):
        while [place["state"] for place in item["places"]] != [state]:
            await anyio.sleep(POLL_S)
            item = await play.hub.get(f"/v1/items/{item['id']}")
    (place,) = item["places"]
    return place["problem"], place["link"]


@pytest.mark.slow
async def test_hub_shows_why_an_approved_item_has_no_place_and_later_the_place(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as (play, device):
        write(tmp_path, {"plan.md": "- [ ] Call Ana\n"})
        closed = SINK.replace("notes/vault", "/sys/kernel")  # where not even root makes files
        device.settings.write_text(device.settings.read_text() + 'codec = "msgpack"\n' + closed)
        await play.hub.ended(await play.hub.start_run())
        approve(device.database, [1], at_ms=1)
        assert await placed(play, "waiting") == ("read_only", None)
        (item,) = (await play.hub.get("/v1/items"))["items"]
        command = [sys.executable, "-m", "hub", "--state", str(tmp_path), "items", "show", item["id"]]
        shown = (await anyio.run_process(command, cwd=ROOT)).stdout.decode()
        assert "not in vault yet: it cannot be written" in shown

        await device.kill()
        await play.kill_hub()
        device.settings.write_text(device.settings.read_text().replace(closed, SINK))
        (tmp_path / "notes/vault").mkdir()
        await device.start()
        await play.start_hub()
        assert await placed(play, "arrived") == (None, "notes/vault/todo.md")
        todo = tmp_path / "notes/vault/todo.md"
        assert todo.read_text().startswith("- [ ] Call Ana ^hub-")
        device.settings.write_text(device.settings.read_text().replace(SINK, ""))
        with anyio.fail_after(30):
            while (await play.hub.get(f"/v1/items/{item['id']}"))["places"]:
                await anyio.sleep(POLL_S)
        assert todo.read_text().startswith("- [ ] Call Ana ^hub-")


class Desk:
    """A desktop whose kept device is stopped, killed, asleep and in another network, while it has work."""

    def __init__(self, play: Scene, device: KeptDevice, other: Wire) -> None:
        self.play, self.device = play, device
        self.wires = [play.wire, other]
        self.chance = SeededChance(7)
        self.planted: list[str] = []
        self.events = [self.kill, self.sleep, self.move, self.log_out, self.cut, self.restart_hub]

    async def kill(self) -> None:
        await self.device.kill()
        await self.device.start()

    async def log_out(self) -> None:
        assert await self.device.stop() == 0
        await self.pause()
        await self.device.start()

    async def sleep(self) -> None:
        os.kill(self.device.pid, signal.SIGSTOP)
        await self.cut()
        await self.pause()
        os.kill(self.device.pid, signal.SIGCONT)

    async def cut(self) -> None:
        self.wires[0].cut()

    async def move(self) -> None:
        """Give the hub another address."""
        self.wires.reverse()
        await self._find_hub()
        self.device.move_to(self.wires[0].url)
        self.wires[1].cut()

    async def restart_hub(self) -> None:
        await self.play.kill_hub()
        await self.play.start_hub()
        await self._find_hub()

    async def pause(self) -> None:
        await anyio.sleep(self.chance.uniform(0.0, 1.5))

    async def _find_hub(self) -> None:
        self.wires[0].hub_url, self.wires[1].hub_url = await self.play.hub.device_url(), None

    async def live(self, number: int) -> None:
        """Give it work, and let an event happen in the middle; wait until it is connected."""
        boxes = [f"Task {number:03}-{box}" for box in range(5)]
        files = {f"page{number:03}-{box[-1]}.md": f"- [ ] {box}\n" for box in boxes}
        write(self.play.folder, files)
        self.planted += boxes
        await self.play.hub.ask("POST", "/v1/agents/notes/runs")
        await anyio.sleep(self.chance.uniform(0.0, 0.6))
        connected = self.device.log().count("connected as")
        await self.events[number % len(self.events)]()
        with anyio.fail_after(BACK_S):
            while self.device.log().count("connected as") == connected:
                await anyio.sleep(POLL_S)
            await self.play.has_connected()


@pytest.mark.parametrize("rounds", [6, pytest.param(40, marks=pytest.mark.soak)])
async def test_kept_device_is_connected_again_and_keeps_each_item_once(tmp_path: Path, rounds: int) -> None:
    async with kept(tmp_path) as (play, device), wire() as other:
        desk = Desk(play, device, other)
        for number in range(rounds):
            await desk.live(number)
        with anyio.fail_after(120):
            while len(rows(device.database, TITLES)) < len(desk.planted):
                await play.hub.ended(await play.hub.start_run())
        are_there_once((title for (title,) in rows(device.database, TITLES)), desk.planted)
