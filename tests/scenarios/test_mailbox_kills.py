"""A hub that reads a mailbox is killed. Sixty times: ``python -m tests.scenarios.mailbox_kills``."""

from pathlib import Path

import pytest

from tests.scenarios.mailbox_kills import post_office
from tests.support.dovecot import why_no_dovecot

_NO_DOVECOT = pytest.mark.skipif(why_no_dovecot() is not None, reason=str(why_no_dovecot()))


@pytest.mark.parametrize(
    ("provider", "kills"),
    [
        pytest.param("imap", 1, marks=_NO_DOVECOT),
        pytest.param("imap", 4, marks=[_NO_DOVECOT, pytest.mark.soak]),
        pytest.param("gmail", 2, marks=pytest.mark.soak),
    ],
)
async def test_each_mail_is_planned_once_and_its_item_kept_once_while_the_hub_is_killed_at_random_moments(
    tmp_path: Path, provider: str, kills: int
) -> None:
    async with post_office(tmp_path, provider=provider, seed=1, is_forked=True) as place:
        toll = await place.outlive(kills)

    assert toll.is_well, toll
