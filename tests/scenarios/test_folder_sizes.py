"""A folder of more files than one run may read. Memory and time of large ones: ``make soak``."""

from pathlib import Path

import pytest

from tests.scenarios.folders import read_over_breaks, read_over_runs


async def test_folder_with_more_files_than_a_run_reads_is_read_by_following_runs(tmp_path: Path) -> None:
    left = [left async for left, _ in read_over_runs(tmp_path, 12, most_files=5)]
    assert left == [7, 2, 0]


@pytest.mark.slow
async def test_killed_hub_and_device_read_a_large_folder_once(tmp_path: Path) -> None:
    runs = await read_over_breaks(tmp_path, 24, most_files=4)
    assert [run["units_left"] for run in runs] == [20, 16, 12, 8, 4, 0]
    assert [run["outcome"] for run in runs] == ["success"] * 6
