"""A live hub is killed again and again. More often, and with mailboxes: ``tests.scenarios.kills``."""

from pathlib import Path

import pytest

from tests.scenarios.kills import SECRET, Kind, place


@pytest.mark.parametrize(
    ("of", "kills"),
    [
        ("folders", 4),
        pytest.param("hooks", 3, marks=pytest.mark.soak),
    ],
)
async def test_no_item_is_lost_or_doubled_while_a_live_hub_is_killed_at_random_moments(
    tmp_path: Path, of: Kind, kills: int
) -> None:
    async with place(tmp_path, of, devices=4, is_forked=True) as opened:
        opened.lives_s = min(opened.lives_s, (0.0, 1.2))
        toll = await opened.outlive(kills)
    assert toll.is_well, toll
    assert files_with(SECRET.encode(), tmp_path) == (["builds.secret"] if of == "hooks" else [])


def files_with(words: bytes, folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and words in file.read_bytes()]
