"""Pauses of a reader of another program's output are in proportion to its size."""

from typing import Final

import anyio
import pytest

from hub.base.output_pace import MIN_BYTES, OutputPace

pytestmark = pytest.mark.anyio
BYTES_PER_S: Final = 1 << 20


@pytest.mark.parametrize(("size", "counted"), [(64_000, 64_000), (1, MIN_BYTES)])
async def test_output_pace_sleeps_as_long_as_the_bytes_may_take(
    size: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    pace, parts = OutputPace(BYTES_PER_S), 1_000
    for _ in range(parts):
        await pace.pause(size)
    assert sum(slept) == pytest.approx(parts * counted / BYTES_PER_S, rel=0.02)
