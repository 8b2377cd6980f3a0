"""A folder of more files than one run may read. Memory and time of large ones: ``make soak``."""

from pathlib import Path

from tests.scenarios.folders import read_over_runs


async def test_a_folder_of_more_files_than_one_run_reads_is_read_over_several_runs(tmp_path: Path) -> None:
    """Each run reads the files that none has read before one that changes all the time."""
    left = [left async for left, _ in read_over_runs(tmp_path, 12, most_files=5)]
    assert left == [7, 3, 0]
