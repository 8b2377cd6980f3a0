"""Clocks that are set under real hubs."""

from pathlib import Path

import pytest

from tests.scenarios.fires import EVERY_5_S, each_was_decided_once
from tests.scenarios.two_hubs import two_hubs
from tests.support.postgres import Postgres

AHEAD_S = 7_200
LED_BY_ANOTHER = "SELECT 1 FROM leases WHERE name = 'scheduler' AND fence > 1"
# of schedules whose newest fire is of the last seconds by the server's clock
FIRING = """\
SELECT 1 FROM (SELECT max(fire_at) AS newest FROM schedule_fires GROUP BY schedule_id) AS fires
WHERE newest BETWEEN extract(epoch FROM clock_timestamp()) * 1000 - 10000
AND extract(epoch FROM clock_timestamp()) * 1000 + 1000 HAVING count(*) = 2"""


@pytest.mark.soak
async def test_hub_with_a_clock_ahead_stops_no_other_hub_of_the_database(
    tmp_path: Path, postgres: Postgres
) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text(str(AHEAD_S))
    async with two_hubs(tmp_path, postgres, east=("--clock-file", str(ahead)), schedule=EVERY_5_S) as hubs:
        await hubs.until(FIRING)  # decided in the east
        assert "clock.wrong" in str(await hubs.east.hub.get("/v1/issues?anew=true"))
        assert "clock.wrong" not in str(await hubs.west.hub.get("/v1/issues?anew=true"))
        ahead.write_text("0")
        await hubs.east.hub.kill()
        await hubs.until(LED_BY_ANOTHER)
        await hubs.until(FIRING)
        assert each_was_decided_once(hubs.sql) > 1
