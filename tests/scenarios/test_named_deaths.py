"""The hub dies at named moments of its runs. All of them: ``python -m tests.scenarios.deaths --all``."""

from pathlib import Path

import pytest

from tests.scenarios.deaths import die


@pytest.mark.soak
async def test_each_item_is_there_once_though_the_hub_dies_at_any_commit_and_any_frame_of_a_run(
    tmp_path: Path,
) -> None:
    deaths = await die(tmp_path, step=3)

    assert set(deaths) == {
        *(("commit", "before"), ("commit", "after")),
        *(("send", "before"), ("send", "after")),
    }
