from pathlib import Path

import pytest

from hub.base.toml.limits import RetentionSettings
from tests.scenarios.ninety_days import MAX_GROWTH, grow

SIX_DAYS = RetentionSettings(
    runs_days=6, failed_runs_days=6, runs_kept=5, payload_days=2, fires_days=6, activity_days=6
)
NOTHING_GOES = RetentionSettings(
    runs_days=99, failed_runs_days=99, payload_days=99, fires_days=99, activity_days=99
)


@pytest.mark.soak
async def test_database_size_is_constant_once_the_oldest_rows_are_deleted(tmp_path: Path) -> None:
    sizes = await grow(tmp_path, days=30, device_count=4, every_h=2, keep=SIX_DAYS)
    first, last = sizes[10], sizes[30]
    assert last.file_bytes <= MAX_GROWTH * first.file_bytes
    assert {name: n for name, n in last.rows.items() if n > MAX_GROWTH * first.rows[name]} == {}


@pytest.mark.soak
async def test_database_without_deletion_keeps_growing(tmp_path: Path) -> None:
    """The same measure sees growth where there is some."""
    sizes = await grow(tmp_path, days=20, device_count=3, every_h=3, keep=NOTHING_GOES)
    assert sizes[20].file_bytes > MAX_GROWTH * sizes[10].file_bytes
