import os
from pathlib import Path

import anyio
import pytest

from storage.devices import nodes
from storage.kernel.database import Busy, Unavailable
from storage.store import open_store


def modes_of(folder: Path) -> dict[str, int]:
    """The files there are, and what others may do with them."""
    return {file.name: file.stat().st_mode & 0o077 for file in folder.iterdir()}


async def test_what_is_kept_is_there_when_the_hub_comes_back(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        first = await store.write(nodes.ensure_hub_id, "hub-1")
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        assert await store.write(nodes.ensure_hub_id, "hub-2") == first == "hub-1"


async def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/elsewhere.db", base=Path("/nowhere")):
        assert (tmp_path / "elsewhere.db").exists()


async def test_a_database_in_memory_is_ready_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite://") as store:
        assert await store.write(nodes.ensure_hub_id, "hub-1") == "hub-1"
    assert modes_of(tmp_path) == {}


async def test_a_second_hub_on_the_same_database_is_refused_by_name(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path):
        with pytest.raises(Busy, match=rf"another hub \(process {os.getpid()}\).*--state"):
            async with open_store("sqlite:///hub.db", base=tmp_path):
                pass
    async with open_store("sqlite:///hub.db", base=tmp_path):
        pass


async def test_a_hub_that_was_killed_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    (tmp_path / "hub.db.lock").write_text("4242\n")  # what a killed process leaves: a file, and no lock
    async with open_store("sqlite:///hub.db", base=tmp_path):
        pass


async def test_others_on_the_machine_cannot_read_the_database(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        await store.write(nodes.ensure_hub_id, "hub-1")
        modes = modes_of(tmp_path)
    assert {"hub.db", "hub.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:hub.db", "sqlite:///", "hub.db"])
async def test_an_address_that_names_no_database_is_reported(url: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"write sqlite:///hub\.db"):
        async with open_store(url, base=tmp_path):
            pass


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        async with open_store("sqlite:///missing/hub.db", base=tmp_path):
            pass


async def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("not a database, " * 100)
    with pytest.raises(Unavailable, match="not a database"):
        async with open_store("sqlite:///hub.db", base=tmp_path):
            pass


async def test_stopping_the_hub_closes_its_database(tmp_path: Path) -> None:
    with anyio.CancelScope() as stopping:
        async with open_store("sqlite:///hub.db", base=tmp_path):
            stopping.cancel()
            await anyio.lowlevel.checkpoint()
    assert modes_of(tmp_path).keys() == {"hub.db", "hub.db.lock"}
