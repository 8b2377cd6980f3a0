"""Detection of a gateway's configuration changes, which would abort turns that are beginning.

A gateway that applies a new configuration, as for every agent created there, drops each turn that is about to
begin: the letter is in the agent's history, but no model was asked. So letters wait while agents are created,
and until the configuration has been stable for a while. The wait is limited, even if the changes continue.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hub.clock import Clock
from hub.openclaw import GatewayEvent, GatewayNews

QUIET_S: Final = 5.0  # a real gateway needs 4 to 7 s to begin the first turn of an agent
MOST_S: Final = 120.0  # limit of the wait, so that an agent that cannot be created does not block letters
POLL_S: Final = 1.0  # interval of checks while agents are created
CHANGED: Final = "config.changed"


class _Spell:
    """A period in which a gateway's configuration changes."""

    __slots__ = ("began_at", "last_at", "making")

    def __init__(self, now: float) -> None:
        self.began_at = now
        self.last_at = now
        self.making = 0

    def is_over(self, now: float) -> bool:
        return self.making == 0 and now >= self.last_at + QUIET_S


class Quiet:
    """Periods of configuration changes, by gateway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spells: dict[str, _Spell] = {}

    def on_news(self, news: GatewayNews) -> None:
        """Record a gateway's event about a changed configuration."""
        if isinstance(news, GatewayEvent) and news.name == CHANGED:
            self.changed(news.gateway)

    def changed(self, gateway: str) -> None:
        """Record a change of the gateway's configuration."""
        now = self._clock.monotonic()
        self._spell(gateway, now).last_at = now

    @contextmanager
    def making(self, gateway: str) -> Iterator[None]:
        """Mark that an agent is being created at the gateway, for the duration of the block."""
        self._spell(gateway, self._clock.monotonic()).making += 1
        try:
            yield
        finally:
            self._spells[gateway].making -= 1

    def held_s(self, gateway: str) -> float:
        """Return the seconds for which letters to the gateway should wait; 0 for none."""
        spell = self._spells.get(gateway)
        if spell is None:
            return 0.0
        now = self._clock.monotonic()
        if spell.is_over(now):
            del self._spells[gateway]
            return 0.0
        if now >= spell.began_at + MOST_S:
            return 0.0
        return max(POLL_S if spell.making else 0.0, spell.last_at + QUIET_S - now)

    def _spell(self, gateway: str, now: float) -> _Spell:
        spell = self._spells.get(gateway)
        if spell is None or spell.is_over(now):
            spell = self._spells[gateway] = _Spell(now)
        return spell
