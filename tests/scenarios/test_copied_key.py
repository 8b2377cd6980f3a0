"""A device's key that was copied to another machine: the hub says so, and one of both keeps the device."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scenarios.scene import check_boxes, rows
from tests.support.processes import POLL_S, HubProcess, Program

TITLES = "SELECT title FROM tasks"
FILES, PLANTED = check_boxes(6)


class Machine(Program):
    """``hub connect`` with the key of its folder."""

    def __init__(self, folder: Path, url: str, *options: str) -> None:
        self.database = folder / "desk.db"
        words = [
            "connect",
            url,
            "--root",
            str(folder / "notes"),
            "--db",
            str(self.database),
            "--name",
            "desk",
        ]
        super().__init__(folder, "desk.log", [*words, *options])

    def titles(self) -> list[str]:
        return sorted(title for (title,) in rows(self.database, TITLES))


def share(folder: Path) -> Path:
    (folder / "notes").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / "notes" / name).write_text(text)
    return folder


def copied(files: Path, to: Path) -> Iterator[Path]:
    """Copy the key and what the device knows of its hub, but neither its database nor its output."""
    for file in files.iterdir():
        if file.is_file() and ".db" not in file.name and file.suffix != ".log":
            yield Path(shutil.copy(file, to))


async def issues_of(hub: HubProcess) -> list[dict[str, Any]]:
    found = (await hub.get("/v1/issues?anew=true"))["issues"]
    return [issue for issue in found if issue["id"] == "device.copied"]


@pytest.mark.soak
async def test_copied_key_is_an_issue_until_a_single_machine_keeps_the_device(tmp_path: Path) -> None:
    hub = HubProcess(share(tmp_path / "hub"))
    await hub.start()
    url = await hub.device_url()
    first_place, second_place = share(tmp_path / "first"), share(tmp_path / "second")
    (first_place / "invitation").write_text((await hub.post("/v1/invitations", {"device": "desk"}))["token"])
    (first_place / "invitation").chmod(0o600)
    first = Machine(first_place, url, "--invitation-file", str(first_place / "invitation"))
    second = Machine(second_place, url)
    try:
        await first.start()
        await first.says("connected as")
        await hub.ended(await hub.start_run())
        await first.kill()  # a restart is no copy
        (first_place / "desk.log").unlink()  # so that only the new process has said that it is connected
        first = Machine(first_place, url)
        await first.start()
        await first.says("connected as")
        assert await issues_of(hub) == []

        assert list(copied(first_place, second_place))
        await second.start()
        await second.says("connected as")
        await first.says("not coming back by itself")
        await second.says("in use on another machine too")
        await second.says("hub devices keep desk MACHINE")
        with anyio.fail_after(30):
            while not (issues := await issues_of(hub)):
                await anyio.sleep(POLL_S)
        (issue,) = issues
        assert "is on two machines" in issue["explanation"]
        assert "127.0.0.1" in issue["explanation"]
        assert (await hub.get("/v1/status"))["issues"]["errors"] == 1

        ((file,),) = rows(first.database, "SELECT id FROM store")
        await hub.post("/v1/devices/desk/keep", {"machine": file[-6:]})
        (entry,) = (await hub.get("/v1/audit?event=device.kept"))["entries"]
        assert entry["actor"].startswith("operator:")
        await second.says("not coming back by itself")
        assert await issues_of(hub) == []
        first = Machine(first_place, url)
        await first.start()
        await first.says("connected as")
        again = Machine(second_place, url)
        await again.start()
        await again.says("another machine keeps this key")
        await hub.ended(await hub.start_run())
        assert first.titles() == sorted(PLANTED)
    finally:
        for program in (first, second, hub):
            await program.close()
