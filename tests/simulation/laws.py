"""Base of the laws of the simulation: findings, and the events at which a law checks the world."""

from dataclasses import dataclass
from typing import Final

from tests.simulation.clock import SimHubClock, WorldTime
from tests.simulation.facts import Facts
from tests.simulation.hub import Machine
from tests.simulation.store import Commit

ENOUGH: Final = 5  # violations of one world; later ones are mostly their consequences


@dataclass(frozen=True, slots=True)
class Violation:
    """A violated law, with time and description."""

    law: str
    text: str
    at_s: float


class Findings:
    """Violations in one world; with *only*, just the first one whose text contains it."""

    def __init__(self, time: WorldTime, *, only: str | None = None) -> None:
        self._time = time
        self._only = only
        self.enough = ENOUGH if only is None else 1
        self._lasting: set[tuple[str, str]] = set()
        self.all: list[Violation] = []

    def add_once(self, law: str, subject: str, text: str) -> None:
        """Record that *law* was violated for *subject*; repeated violations are ignored."""
        if (law, subject) not in self._lasting:
            self._lasting.add((law, subject))
            self.add(law, text)

    def add(self, law: str, text: str) -> None:
        """Record that *law* was violated."""
        if self._only is not None and self._only not in f"{law}: {text}":
            return
        if len(self.all) < self.enough:
            self.all.append(Violation(law, text, self._time.now_s))


class Surroundings:
    """State of the world that laws need in addition to its rows."""

    def __init__(self, time: WorldTime, machines: list[Machine], *, is_shared: bool) -> None:
        self.time = time
        self.machines = machines
        self.is_shared = is_shared
        self.calm_since_s = 0.0  # awake seconds: since then every hub has been up and reachable
        self.clocks_since_s = 0.0  # awake seconds: since then no wall clock has jumped
        self.set_since_s = 0.0  # awake seconds: since then no clock was set, nor did a hub begin to follow it

    def look(self) -> None:
        """Update which hubs and devices are disturbed."""
        for machine in self.machines:
            if machine.live is None or machine.is_away:
                self.disturb()

    def disturb(self) -> None:
        """Mark the whole world as disturbed for a while."""
        self.calm_since_s = self.time.awake_s

    def clocks_changed(self) -> None:
        """Record that wall clocks were changed."""
        self.clocks_since_s = self.time.awake_s

    def clock_set(self) -> None:
        """Record that a clock was set, or that a hub begins to follow it."""
        self.clocks_changed()
        self.set_since_s = self.time.awake_s

    @property
    def boots(self) -> set[str]:
        """Return the boots of the live hubs."""
        return {machine.hub.boot_id for machine in self.machines if machine.hub is not None}

    def clock_of(self, process: str) -> SimHubClock:
        """Return the clock of a process."""
        for machine in self.machines:
            if process.startswith(machine.name):
                return machine.clock
        return self.machines[0].clock


class Law:
    """A condition that must always hold. Subclasses override the methods that they need."""

    def __init__(self, facts: Facts, around: Surroundings, findings: Findings) -> None:
        self.facts = facts
        self.around = around
        self.findings = findings

    def after(self, commit: Commit) -> None:
        """Check the rows after a commit."""

    def look(self) -> None:
        """Check the conditions that depend on time."""

    def at_the_end(self) -> None:
        """Check the conditions that hold once all work is finished."""
