"""The small version of what ``python -m tests.evaluation metrics`` measures."""

from pathlib import Path

import pytest

from storage.agents.measurements import HOUR_MS
from tests.evaluation.measurements import a_month


@pytest.mark.soak
async def test_a_month_of_samples_is_returned_exactly_and_stored_compactly(tmp_path: Path) -> None:
    month = await a_month(tmp_path / "hub.db", samples=2_000, lookup_ms=18 * HOUR_MS)
    assert month.wrong == 0
    assert 0 < month.error <= 0.01
    assert month.percentiles > 1_000
    assert month.pruned > 1_000
    assert month.rows < 10_000
