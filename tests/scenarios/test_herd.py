"""Many devices come back at once. A thousand: ``python -m tests.scenarios.herd``."""

from pathlib import Path

from tests.scenarios.herd import come_back

A_SHORT_SPREAD = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.02")
SOON_AND_FEW_AT_ONCE = "connected_s = 0.5\nruns = 3\n"


async def test_of_many_devices_that_come_back_at_once_each_gets_its_run_and_only_so_many_execute(
    tmp_path: Path,
) -> None:
    went = await come_back(tmp_path, 60, within_s=0.5, faults=A_SHORT_SPREAD, limits=SOON_AND_FEW_AT_ONCE)

    assert went.runs == {"COMPLETED": 60}
    assert went.most_at_once == 3
