"""The machine's clock, as far as it does otherwise than the library below it."""

import anyio

from hub.clock import SystemClock


async def test_who_comes_late_for_an_instant_goes_on_at_once() -> None:
    clock = SystemClock()
    with anyio.fail_after(30):
        await clock.sleep(clock.monotonic() - 10 - clock.monotonic())
