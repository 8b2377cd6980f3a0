"""A hub is killed while others post to it. Sixty times: ``python -m tests.scenarios.hook_kills``."""

from pathlib import Path

import pytest

from tests.scenarios.hook_kills import SECRET, senders


@pytest.mark.soak
async def test_what_is_posted_while_the_hub_is_killed_is_kept_once_and_its_item_is_at_the_device_once(
    tmp_path: Path,
) -> None:
    async with senders(tmp_path, seed=1, is_forked=True) as place:
        toll = await place.outlive(3)
    assert toll.is_well, toll
    assert _files_with(SECRET.encode(), tmp_path) == ["builds.secret"]


def _files_with(words: bytes, folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and words in file.read_bytes()]
