"""Crowds of devices, small. A thousand: ``python -m tests.scenarios.crowds``."""

from pathlib import Path

from tests.scenarios.crowds import come_back

A_SHORT_SPREAD = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.02")
SOON_AND_FEW_AT_ONCE = "connected_s = 0.5\nruns = 3\n"


async def test_many_simultaneously_reconnecting_devices_get_their_runs_within_the_limit(
    tmp_path: Path,
) -> None:
    went = await come_back(tmp_path, 60, within_s=0.5, faults=A_SHORT_SPREAD, limits=SOON_AND_FEW_AT_ONCE)
    assert (went.runs, went.most_at_once) == ({"COMPLETED": 60}, 3)
