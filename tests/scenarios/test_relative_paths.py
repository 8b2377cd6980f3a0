"""A hub that was given relative paths only works with absolute ones."""

import os
from pathlib import Path

import pytest

from tests.support.faulty_hub import FaultyHub
from tests.support.processes import ROOT, SETTINGS, closing

MODEL = """\
[model]
kind = "openai"
base_url = "http://127.0.0.1:9"
name = "m"
api_key = { file = "model.key" }
"""


@pytest.mark.soak
async def test_a_hub_whose_state_folder_and_settings_were_given_relatively_backs_itself_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.key").write_text("secret")
    (tmp_path / "database").write_text("sqlite:///hub.db")
    monkeypatch.setenv("HUB__STORAGE__URL", '{ file = "database" }')
    monkeypatch.chdir(ROOT)  # where the hub is started
    folder = Path(os.path.relpath(tmp_path, ROOT))  # noqa: ASYNC240 - of names alone
    hub = FaultyHub(folder, settings=SETTINGS.format(model=MODEL), is_forked=False)
    hub.faults = ("--given", "hub.backups:FIRST_AFTER_S=0.0")
    async with closing(hub):
        await hub.start()
        await hub.says('"backup.made"')
        assert await hub.stop() == 0
    assert [file.suffix for file in (tmp_path / "backups").iterdir()] == [".hub-backup"]
