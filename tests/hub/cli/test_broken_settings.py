"""Operators' commands beside a hub.toml that is broken, while a hub goes on with the last good settings."""

import json
from pathlib import Path

import anyio
import pytest

from hub.settings.reading import keep_last_good
from storage.store import open_store
from tests.hub.cli.conftest import Hub, ends

LAST_GOOD = '[storage]\nurl = "sqlite:///kept.db"\n'
BROKEN = {
    "not TOML": "[storage\nurl = 1",
    "empty": "",
    "an unknown table": LAST_GOOD + "[nonsense]\nx = 1\n",
    "a wrong value": LAST_GOOD + "[limits]\nruns = -1\n",
    "another database": '[storage]\nurl = "sqlite:///other.db"\n[limits]\nruns = -1\n',
    "no such database": '[storage]\nurl = "mysql://host/name"\n',
    "no UTF-8": "[hub]\nname = \udcff",
}


@pytest.fixture
def known(state: Path) -> Path:
    """A state folder with a database and the settings that its hub uses."""
    state.mkdir(mode=0o700)
    anyio.run(_create, state)
    keep_last_good(state, LAST_GOOD, state / "hub.toml")
    return state


async def _create(state: Path) -> None:
    async with open_store("sqlite:///kept.db", base=state):
        pass


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(
            name, marks=() if name in ("not TOML", "another database", "missing") else pytest.mark.slow
        )
        for name in (*BROKEN, "missing")
    ],
)
def test_reading_commands_use_the_last_good_settings(
    hub: Hub, known: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(known.parent)  # where no other hub.toml is found
    if broken != "missing":
        (known / "hub.toml").write_bytes(BROKEN[broken].encode("utf-8", "surrogateescape"))
    file = known.parent / "one.backup"
    made = hub("backup", str(file), "--json")
    ends(made, 0, "last good settings")
    assert "last-good.toml" in json.loads(made.stdout)["files"]
    ends(hub("backup", "--record", str(file)), 0)
    ends(hub("migrate", "status"), 0)
    ends(hub("migrate", "verify"), 0)
    ends(hub("doctor"), 1, unsaid=["database."])
    assert sorted(path.name for path in known.glob("*.db")) == ["kept.db"]


@pytest.mark.parametrize("broken", ["another database", "no such database", "empty"])
def test_writing_commands_refuse_a_file_possibly_naming_another_database(
    hub: Hub, known: Path, broken: str
) -> None:
    (known / "hub.toml").write_text(BROKEN[broken])
    ends(hub("backup", str(known / "one.backup")), 0)
    for words in (["restore", str(known / "one.backup"), "--yes"], ["migrate", "up"]):
        refused = hub(*words)
        assert (refused.exit_code, "last good" in refused.output) == (78, True), refused.output


def test_restore_beside_broken_settings_uses_the_database_of_the_last_good_ones(
    hub: Hub, known: Path
) -> None:
    file = known.parent / "one.backup"
    (known / "hub.toml").write_text(BROKEN["a wrong value"])
    ends(hub("backup", str(file)), 0)
    (known / "kept.db").unlink()
    ends(hub("restore", str(file), "--yes"), 0, "restored")
    assert (known / "kept.db").exists()
