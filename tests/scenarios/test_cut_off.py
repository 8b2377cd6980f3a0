"""Devices of a node without its database work at another node; if no node has it, they stay."""

from pathlib import Path

import pytest

from tests.scenarios.cut_off import CASES, meet_all
from tests.support.nats import why_no_nats
from tests.support.postgres import why_no_postgres


@pytest.mark.soak
@pytest.mark.skipif(bool(why_no_postgres() or why_no_nats()), reason="needs PostgreSQL and NATS")
async def test_devices_of_a_node_without_database_work_elsewhere_and_stay_if_no_node_has_a_database(
    tmp_path: Path,
) -> None:
    rows = await meet_all(tmp_path)
    assert len(rows) == len(CASES) and all(row.is_right for row in rows), "\n".join(map(str, rows))
