"""Somebody edits the audit log in the database's file while the hub is stopped: it is found, and told."""

import json
import os
import sqlite3
import sys
from contextlib import closing as closed
from pathlib import Path

import anyio
import pytest

from tests.support.processes import ROOT, Program, closing

SETTINGS = '[listen.devices]\naddress = "127.0.0.1:0"\n[listen.operator]\naddress = "127.0.0.1:0"\n'


async def hub(folder: Path, *words: str, code: int = 0) -> str:
    """``hub WORDS``; its standard output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(folder / "state")}
    command = [sys.executable, "-m", "hub", *words]
    done = await anyio.run_process(command, cwd=folder, env=environment, check=False)
    assert done.returncode == code, f"hub {words}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout.decode()


@pytest.mark.soak
async def test_what_was_done_is_on_record_and_whoever_edits_the_record_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(SETTINGS)
    words = ["serve", "--config", str(tmp_path / "hub.toml")]
    state = tmp_path / "state"
    before, after = (Program(tmp_path, f"{name}.log", words, state=state) for name in ("before", "after"))
    async with closing(before, after):
        await before.start()
        await before.says("is ready")
        for device in ("desk", "laptop"):
            await hub(tmp_path, "token", "create", "--device", device)
        entries = json.loads(await hub(tmp_path, "audit", "--json"))["entries"]
        assert [entry["event"] for entry in entries] == ["token.created", "token.created", "hub.created"]
        assert [entry["actor"] for entry in entries] == [f"operator:{os.getuid()}"] * 2 + ["hub"]
        await hub(tmp_path, "audit", "verify")
        assert await before.stop() == 0

        with closed(sqlite3.connect(state / "hub.db")) as database:
            database.execute("UPDATE audit_log SET actor = 'token:t-9' WHERE seq = 2")
            database.commit()

        await after.start()
        await after.says("is ready")
        assert "entry 2 was edited" in await hub(tmp_path, "audit", "verify", code=1)
        assert "(audit.broken" in await hub(tmp_path, "doctor", code=1)
        assert await after.stop() == 0
