"""Conditions in which the hub starts no run, as the services that watch for them know without I/O.

The issues, the status, readiness, what runs wait for and a metric are views of this list.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from hub.health.issues import Finding


class Conditions:
    """Conditions that hold now, of *sources*, each of which returns the one that it watches for."""

    def __init__(self, *sources: Callable[[], Finding | None]) -> None:
        self._sources = sources

    @property
    def current(self) -> list[Finding]:
        """Conditions that hold now."""
        return [found for source in self._sources if (found := source()) is not None]

    def why_stopped(self) -> str | None:
        """Return a sentence that says why no run is started; None: runs are."""
        return next((found.explanation for found in self.current), None)

    async def check(self, now: datetime) -> Iterable[Finding]:
        """Return the conditions as a check of the issues."""
        return self.current
