"""A broadcast with a gateway down, in a hub of its own; ``make soak`` does it with three hundred boards."""

from pathlib import Path

import pytest

from tests.scenarios.broadcasts import REFUSALS, tell_all


@pytest.mark.soak
async def test_a_broadcast_with_a_gateway_down_names_each_board_and_reaches_all_in_the_end(
    tmp_path: Path,
) -> None:
    went = await tell_all(tmp_path, boards=30, gateways=3, down=1)

    assert went.faults(30) == []
    assert went.codes == {"gateway_refused": REFUSALS, "gateway_unreachable": 10}
    assert went.first == {
        "ok": False,
        "boards": 30,
        "sent": 17,
        "failed": REFUSALS,
        "waiting": 10,
        "rounds": 1,
    }
    assert (went.resumed["sent"], went.resumed["failed"], went.resumed["rounds"]) == (20, 0, 2)
