"""A hub that has been used moves from its file to PostgreSQL and back, and delivers nothing twice."""

import sys
from pathlib import Path

import anyio
import pytest

from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import are_there_once, check_boxes, rows
from tests.support.device import open_device
from tests.support.postgres import Postgres
from tests.support.processes import SETTINGS, HubProcess

FILES, PLANTED = check_boxes(4, each=3)


@pytest.mark.soak
async def test_a_used_hub_moves_to_a_server_and_back_and_delivers_each_item_once(
    tmp_path: Path, postgres: Postgres
) -> None:
    hub = HubProcess(tmp_path)
    planted = list(PLANTED)
    with postgres.bare_database() as server:
        await _run(hub, tmp_path, FILES, planted)
        for number, address in enumerate((server, "sqlite:///back.db")):
            await _move(tmp_path, address)
            planted.append(title := f"Write offer {number} to Carla")
            await _run(hub, tmp_path, {f"new-{number}.md": f"- [ ] {title}\n"}, planted)


async def _run(hub: HubProcess, folder: Path, files: dict[str, str], planted: list[str]) -> None:
    """Start the hub, let its agent read *files* too, and stop it; each *planted* title is there once."""
    await hub.start()
    try:
        async with open_device(await hub.device_url(), folder, await hub.token()) as device:
            for name, text in files.items():
                device.write(name, text)
            run = await hub.ended(await hub.start_run())
            assert run["outcome"] == "success", run
            are_there_once([title for (title,) in rows(device.db, TITLES)], planted)
        assert await hub.stop() == 0
    finally:
        await hub.close()


async def _move(folder: Path, address: str) -> None:
    """Copy the database to *address*, and set it in hub.toml."""
    config = folder / "hub.toml"
    words = ["--state", str(folder), "migrate", "copy", "--config", str(config), "--to", address]
    done = await anyio.run_process([sys.executable, "-m", "hub", *words], check=False)
    assert done.returncode == 0, done.stderr.decode()
    config.write_text(f'[storage]\nurl = "{address}"\n{SETTINGS.format(model="")}')
