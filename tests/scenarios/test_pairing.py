"""Real processes: a device with its own key, the operator who lets it in, and who sends it away."""

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2

from hub.device.app import EXIT_NOT_PERMITTED
from tests.scenarios.scene import check_boxes, rows, write
from tests.support.processes import POLL_S, ROOT, HubProcess, Program, closing

SETTLED_S = 30.0


async def hub(folder: Path, *words: str) -> str:
    """``hub WORDS`` for the hub in *folder*; its standard output."""
    command = [sys.executable, "-m", "hub", "--state", str(folder), *words]
    done = await anyio.run_process(command, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


class Desk(Program):
    """``hub connect`` with a key of its own."""

    def __init__(self, folder: Path, url: str, *options: str) -> None:
        (folder / "notes").mkdir(exist_ok=True)
        self.key = folder / "desk.key"
        files = ["--root", str(folder / "notes"), "--db", str(folder / "desk.db")]
        super().__init__(folder, "desk.log", ["connect", url, *files, "--name", "desk", *options])

    async def shows_code(self, count: int = 1) -> str:
        """The last pairing code, once so many are shown."""
        codes: list[str] = []
        with anyio.fail_after(SETTLED_S):
            while len(codes) < count:
                await anyio.sleep(POLL_S)
                codes = re.findall(r"hub pair approve (\S+)", self.log())
        return codes[-1]

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        with anyio.fail_after(SETTLED_S):
            return await self.process.wait()


@asynccontextmanager
async def place(folder: Path, *options: str) -> AsyncIterator[tuple[HubProcess, Desk]]:
    """A hub that runs, and a device that was started."""
    daemon = HubProcess(folder)
    async with closing(daemon):
        await daemon.start()
        desk = Desk(folder, await daemon.device_url(), *options)
        async with closing(desk):
            await desk.start()
            yield daemon, desk


async def test_paired_device_is_admitted_by_the_code_and_refused_once_revoked(tmp_path: Path) -> None:
    async with place(tmp_path) as (daemon, desk):
        code = await desk.shows_code()
        (waiting,) = json.loads(await hub(tmp_path, "pair", "--json"))["pairings"]
        assert waiting["label"] == "desk"
        assert waiting["fingerprint"] in desk.log()
        await hub(tmp_path, "pair", "approve", code.lower(), "--yes")
        await desk.says("connected as")

        await desk.kill()
        await desk.start()  # it is known now, however it was ended
        await until_connected(daemon)

        link = (await hub(tmp_path, "open", "--db", str(tmp_path / "desk.db"), "--no-open")).strip()
        address, _, secret = link.partition("/login#")
        assert (tmp_path / "desk.sock").stat().st_mode & 0o777 == 0o600
        async with httpx2.AsyncClient(base_url=address) as browser:
            signed_in = await browser.post("/v1/sessions", headers={"authorization": f"Bearer {secret}"})
            assert (signed_in.status_code, signed_in.json()["user"]) == (201, "owner")

        await hub(tmp_path, "devices", "revoke", "desk", "--yes")
        assert await desk.ended() == EXIT_NOT_PERMITTED
        assert "device or token revoked" in desk.log()
        assert "--new-key" in desk.log()

        desk.words = [*desk.words, "--new-key"]
        await desk.start()
        with anyio.fail_after(SETTLED_S):
            while (again := await desk.shows_code()) == code:
                await anyio.sleep(POLL_S)
        await hub(tmp_path, "pair", "approve", again, "--yes")
        await until_connected(daemon)


async def test_revoked_device_paired_anew_gets_no_item_again(tmp_path: Path) -> None:
    files, _ = check_boxes(3)
    write(tmp_path, files)
    async with place(tmp_path, "--grant=+review.remote") as (daemon, desk):
        await daemon.post("/v1/pairings/approve", {"code": await desk.shows_code()})
        await until_connected(daemon)
        assert (await daemon.ended(await daemon.start_run()))["items_created"] == 6
        found = (await daemon.get("/v1/items"))["items"]
        approved, edited, *_, rejected = sorted(found, key=lambda item: str(item["title"]))
        given = [
            {"id": approved["id"], "verdict": "approve"},
            {"id": rejected["id"], "verdict": "reject"},
            {"id": edited["id"], "verdict": "edit", "data": {"title": "In my words"}},
        ]
        await daemon.post("/v1/items/verdicts", {"verdicts": given})
        with anyio.fail_after(SETTLED_S):
            while (await verdicts(daemon)).count("open") != 3:
                await anyio.sleep(POLL_S)
        (device,) = (await daemon.get("/v1/devices"))["devices"]
        stored = "SELECT id, isApproved FROM tasks ORDER BY id"  # a changed line is a change of its row
        kept = rows(tmp_path / "desk.db", stored)

        for is_fresh in (False, True):  # the same machine with a new key, and one that has lost everything
            await daemon.post("/v1/devices/desk/revoke")
            await desk.ended()
            for file in [desk.key, tmp_path / "desk.db"] if is_fresh else []:
                file.unlink()
            desk.words = [*desk.words, "--new-key"]
            await desk.start()
            code = await desk.shows_code(2 + is_fresh)  # which the hub has before the device shows it
            await daemon.post("/v1/pairings/approve", {"code": code})
            await until_connected(daemon)
            for name, text in files.items():
                (tmp_path / "notes" / name).write_text(text.replace("-0\n", f"-0, {is_fresh}\n"))
            run = await daemon.ended(await daemon.start_run())
            assert (run["outcome"], run["items_created"]) == ("success", 0)
            assert [row["id"] for row in (await daemon.get("/v1/devices"))["devices"]] == [device["id"]]
            has = rows(tmp_path / "desk.db", stored)
            assert len(has) == 5 and (is_fresh or has == kept)
            of_words = ["open"] * 5 if is_fresh else ["edited", *["open"] * 4]  # lost rows are suggestions
            assert await verdicts(daemon) == [*of_words, "rejected"]


async def verdicts(daemon: HubProcess) -> list[str]:
    """The verdict of each item that the hub knows, sorted."""
    return sorted(item["verdict"] for item in (await daemon.get("/v1/items"))["items"])


async def until_connected(daemon: HubProcess) -> None:
    """Until the hub has the device in its roster."""
    with anyio.fail_after(SETTLED_S):
        while not (await daemon.get("/v1/status"))["devices_connected"]:
            await anyio.sleep(POLL_S)
