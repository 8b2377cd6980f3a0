"""Whether the hub takes work: each thing it needs, looked at in a time that a load balancer waits for."""

from collections.abc import Callable, Sequence
from typing import Final

import anyio

from hub.api.view import Check, Readiness
from hub.clock import Clock
from protocol.errors import HubError
from storage.devices import identity
from storage.store import Store

ANSWER_S: Final = 0.03  # of the 50 ms that the whole answer may take (operations 8, OBS-1)
FRESH_S: Final = 1.0  # anybody may ask: the database is touched no more often
STANDS_S: Final = 30.0  # a database that is busy just now and answered so lately is well

Look = Callable[[], Check]


class ReadinessChecks:
    """Asks the database and everything in *looks*, which answer at once."""

    def __init__(self, *, store: Store, clock: Clock, looks: Sequence[Look]) -> None:
        self._store = store
        self._clock = clock
        self._looks = looks
        self._answered_at: float | None = None  # when the database did last

    async def readiness(self) -> Readiness:
        """All checks; ready when each is passed, degraded when one of them only just."""
        checks = (await self._database(), *(look() for look in self._looks))
        return Readiness(
            ready=all(check.ok for check in checks),
            degraded=any(check.degraded for check in checks),
            checks=checks,
        )

    async def _database(self) -> Check:
        if self._answered_within(FRESH_S):
            return Check(name="database", ok=True)
        try:
            with anyio.move_on_after(ANSWER_S) as waiting:
                await self._store.write(identity.touch)
                self._answered_at = self._clock.monotonic()
        except HubError as exc:
            self._answered_at = None
            return Check(name="database", ok=False, detail=str(exc))
        if waiting.cancelled_caught and not self._answered_within(STANDS_S):
            return Check(name="database", ok=False, detail=f"no answer within {ANSWER_S * 1000:g} ms")
        return Check(name="database", ok=True)

    def _answered_within(self, seconds: float) -> bool:
        at = self._answered_at
        return at is not None and self._clock.monotonic() - at < seconds
