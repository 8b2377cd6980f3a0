"""The machine's clock, as far as it does otherwise than the library below it."""

import anyio

from hub.clock import SystemClock


async def test_sleep_until_a_past_instant_returns_at_once() -> None:
    clock = SystemClock()
    with anyio.fail_after(30):
        await clock.sleep(clock.monotonic() - 10 - clock.monotonic())
