"""A state folder whose name has characters with a meaning in addresses: hub, device, backup and restore."""

import sys
from pathlib import Path

import anyio
import pytest

from tests.support.processes import ROOT, HubProcess, KeptDevice, closing

NAME = "q?mark %20&a;b#ü"


@pytest.mark.slow
async def test_hub_and_device_work_in_a_folder_with_signs_of_addresses(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir(mode=0o700)
    (folder / "notes").mkdir()
    (folder / "notes/a.md").write_text("- [ ] Water the plants\n")
    hub = HubProcess(folder)
    (folder / "hub.db").unlink()  # the hub's start creates one
    async with closing(hub):
        await hub.start()
        device = KeptDevice(folder, await hub.device_url())
        async with closing(device):
            await device.let_in(hub)
            run = await hub.ended(await hub.start_run())
            assert (run["state"], run["items_created"]) == ("COMPLETED", 1)
        await typed(folder, "backup", str(folder / "one.backup"))
    await typed(folder, "restore", str(folder / "one.backup"), "--yes")
    await typed(folder, "migrate", "verify")
    await hub.start()
    await hub.close()
    assert files_with_modes(tmp_path) == dict.fromkeys(("hub.db", "devices/desk.db", "one.backup"), 0o600)


def files_with_modes(folder: Path) -> dict[str, int]:
    """Return the modes of databases and backups below *folder*, by their paths in the odd folder."""
    found = [path for path in folder.rglob("*") if path.suffix in (".db", ".backup") and path.is_file()]
    kept = [path for path in found if "before-restore" not in str(path)]
    return {str(path.relative_to(folder / NAME)): path.stat().st_mode & 0o777 for path in kept}


async def typed(folder: Path, *words: str) -> None:
    """Run a command on the state folder."""
    command = [sys.executable, "-m", "hub", "--state", str(folder), *words]
    done = await anyio.run_process(command, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr.decode()
