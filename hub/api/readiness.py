"""Readiness of the hub: checks of its dependencies, within the timeout of a load balancer."""

from collections.abc import Callable, Sequence
from typing import Final

import anyio

from hub.api.view import Check, Readiness
from hub.clock import Clock
from protocol.errors import HubError
from storage.devices import identity
from storage.store import Store

ANSWER_S: Final = 0.03  # of the 50 ms that the whole response may take
FRESH_S: Final = 1.0  # the route is public: the database is queried at most this often
STANDS_S: Final = 30.0  # a slow database counts as well if it answered this recently

Look = Callable[[], Check]


class ReadinessChecks:
    """Checks of the database and of *looks*, which return without I/O."""

    def __init__(self, *, store: Store, clock: Clock, looks: Sequence[Look]) -> None:
        self._store = store
        self._clock = clock
        self._looks = looks
        self._answered_at: float | None = None  # monotonic time of the database's last answer

    async def readiness(self) -> Readiness:
        """Run all checks. The hub is ready if all are ok, and degraded if a check is degraded."""
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
