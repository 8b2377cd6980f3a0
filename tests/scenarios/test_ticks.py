"""A device is killed between its places and its own file. More ticks, at all kinds of places: ``ticks``."""

from pathlib import Path

import pytest

from tests.scenarios.ticks import KINDS, Toll, play_kind


@pytest.mark.parametrize(
    ("kind", "ticks"),
    [
        pytest.param(kind, 12, marks=() if kind in ("markdown", "lines") else pytest.mark.slow)
        for kind in KINDS
    ],
)
def test_killed_device_loses_no_tick_and_invents_none(kind: str, ticks: int, tmp_path: Path) -> None:
    toll = Toll()
    play_kind(kind, tmp_path / "play", ticks, 3, toll)
    assert toll.is_well, toll
