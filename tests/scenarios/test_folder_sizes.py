"""Large folders cost time, not memory, and are read over several runs. At full size: ``make soak``."""

from pathlib import Path

import pytest

from tests.scenarios.folders import MAX_GROWTH_MIB, measured, read_over_runs


@pytest.mark.soak
@pytest.mark.parametrize(
    ("count", "size", "with_model"),
    [(300, 1_000, True), (4, 1_000_000, False)],
    ids=["many small files", "a few files of 1 MB"],
)
async def test_a_run_over_a_large_folder_keeps_the_hub_small(
    tmp_path: Path, count: int, size: int, with_model: bool
) -> None:
    async with measured(tmp_path, count, size, with_model=with_model) as figures:
        assert figures.growth_mib < MAX_GROWTH_MIB


async def test_a_folder_of_more_files_than_one_run_reads_is_read_over_several_runs(tmp_path: Path) -> None:
    """Each run reads the files that none has read before one that changes all the time."""
    left = [left async for left, _ in read_over_runs(tmp_path, 12, most_files=5)]
    assert left == [7, 3, 0]
