"""A live hub is killed again and again. More often: ``python -m tests.scenarios.kills``."""

from pathlib import Path

import pytest

from tests.scenarios.kills import SECRET, Kind, place
from tests.support.dovecot import why_no_dovecot

_NO_DOVECOT = pytest.mark.skipif(why_no_dovecot() is not None, reason=str(why_no_dovecot()))


@pytest.mark.parametrize(
    ("of", "kills"),
    [
        ("folders", 4),
        pytest.param("imap", 4, marks=[_NO_DOVECOT, pytest.mark.soak]),
        pytest.param("gmail", 2, marks=pytest.mark.soak),
        pytest.param("outlook", 2, marks=pytest.mark.soak),
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
