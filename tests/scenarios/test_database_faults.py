"""A running hub says everywhere what is wrong with its database, and loses nothing that can be read."""

from pathlib import Path

import pytest

from tests.scenarios.database_faults import meet_all

FAULTS = ["items root", "runs leaf", "header zeroed", "file cut", "older copy", "by rename", "log removed"]


@pytest.mark.soak
async def test_database_fault_is_shown_everywhere_within_30_s_and_no_readable_row_is_lost(
    tmp_path: Path,
) -> None:
    assert await meet_all(tmp_path, [*FAULTS, "limit of", "EIO"])
