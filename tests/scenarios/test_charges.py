"""Callers pay for their requests; all routes: ``make attack``."""

from pathlib import Path

import pytest

from tests.scenarios.charges import Charges, all_charges, opened_rig


@pytest.mark.parametrize(
    ("spent_ms", "charged_ms", "is_paid"), [(2.0, 1.4, True), (2.0, 1.3, False), (0.2, 0.0, True)]
)
def test_request_is_paid_with_seven_tenths_of_the_cost(
    spent_ms: float, charged_ms: float, is_paid: bool
) -> None:
    assert Charges("a", spent_ms, charged_ms, "").is_paid is is_paid


@pytest.mark.slow
async def test_requests_are_charged_to_their_callers(tmp_path: Path) -> None:
    kinds = ("mcp ", "page ", "no ", "GET /v1/s")
    async with opened_rig(tmp_path) as rig:
        measured = [one async for one in all_charges(rig, kinds)]
    assert all(sum(kind in one.name for one in measured) > 2 for kind in kinds)
    assert [one for one in measured if not one.is_paid] == []
