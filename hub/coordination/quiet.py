"""Whether a gateway has settled on its configuration, so that a turn which begins now is not ended by it.

A gateway that takes up another configuration, as with every agent that is made there, drops each turn
that it is just about to begin: the letter stands in the agent's history, and no model was asked. So
letters wait while agents are made at a gateway and until its configuration has been quiet for a while;
but not for ever, whoever keeps changing it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hub.clock import Clock
from hub.openclaw import GatewayEvent, GatewayNews

QUIET_S: Final = 5.0  # a real one needs 4 to 7 s to begin the first turn of an agent
MOST_S: Final = 120.0  # that letters wait for this; an agent that cannot be made holds nobody up for longer
LOOK_S: Final = 1.0  # to the next look, while agents are made
CHANGED: Final = "config.changed"


class _Spell:
    """A time in which a gateway's configuration is not quiet."""

    __slots__ = ("began_at", "last_at", "making")

    def __init__(self, now: float) -> None:
        self.began_at = now
        self.last_at = now
        self.making = 0

    def is_over(self, now: float) -> bool:
        return self.making == 0 and now >= self.last_at + QUIET_S


class Quiet:
    """What is known of each gateway's configuration: who changes it, and when it was changed last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spells: dict[str, _Spell] = {}

    def hear(self, news: GatewayNews) -> None:
        """A gateway says that its configuration is another, whoever changed it."""
        if isinstance(news, GatewayEvent) and news.name == CHANGED:
            self.changed(news.gateway)

    def changed(self, gateway: str) -> None:
        """Its configuration is another from now on."""
        now = self._clock.monotonic()
        self._spell(gateway, now).last_at = now

    @contextmanager
    def making(self, gateway: str) -> Iterator[None]:
        """An agent is made there within the block."""
        self._spell(gateway, self._clock.monotonic()).making += 1
        try:
            yield
        finally:
            self._spells[gateway].making -= 1

    def held_s(self, gateway: str) -> float:
        """For how many seconds letters over it had better wait; 0: they go."""
        spell = self._spells.get(gateway)
        if spell is None:
            return 0.0
        now = self._clock.monotonic()
        if spell.is_over(now):
            del self._spells[gateway]
            return 0.0
        if now >= spell.began_at + MOST_S:
            return 0.0
        return max(LOOK_S if spell.making else 0.0, spell.last_at + QUIET_S - now)

    def _spell(self, gateway: str, now: float) -> _Spell:
        spell = self._spells.get(gateway)
        if spell is None or spell.is_over(now):
            spell = self._spells[gateway] = _Spell(now)
        return spell
