"""Three hubs on one PostgreSQL, one of which is killed: a small one of what ``make cluster-demo`` shows."""

from pathlib import Path

import pytest

from tests.scenarios.cluster import open_cluster
from tests.support.postgres import why_no_postgres


@pytest.mark.soak
@pytest.mark.skipif(why_no_postgres() is not None, reason="no PostgreSQL on this machine")
async def test_devices_and_runs_of_a_killed_hub_go_on_at_the_others_and_bring_each_item_once(
    tmp_path: Path,
) -> None:
    async with open_cluster(tmp_path, devices=6) as cluster:
        for desk in cluster.desks:
            desk.write(8)
        victim = cluster.nodes[0]
        await cluster.start_runs()
        await cluster.until(
            f"SELECT 1 FROM runs JOIN nodes ON nodes.boot_id = lease_boot_id WHERE nodes.id = '{victim.id}'"
            " AND items_created > 0",
            "a run of the first hub has brought items",
        )
        await victim.hub.kill()
        await cluster.all_connected()
        await cluster.all_ended()

        assert cluster.devices_at()[victim.id] == 0
        assert cluster.wrong_items() == (0, 0)
