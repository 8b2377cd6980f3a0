"""What every law of the simulation has: a way to say that it was broken, and moments to look."""

from dataclasses import dataclass
from typing import Final

from tests.simulation.clock import SimClock, WorldTime
from tests.simulation.facts import Facts
from tests.simulation.hub import Machine
from tests.simulation.store import Commit

ENOUGH: Final = 5  # violations of one world; what follows is mostly of their making


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, when, and how."""

    law: str
    text: str
    at_s: float


class Findings:
    """The violations of one world; with *only*, those that say so, for others would hide them."""

    def __init__(self, time: WorldTime, *, only: str | None = None) -> None:
        self._time = time
        self._only = only
        self._lasting: set[tuple[str, str]] = set()
        self.all: list[Violation] = []

    def add_once(self, law: str, subject: str, text: str) -> None:
        """*law* was broken for *subject*, which may last; it is told of the first time alone."""
        if (law, subject) not in self._lasting:
            self._lasting.add((law, subject))
            self.add(law, text)

    def add(self, law: str, text: str) -> None:
        """*law* was broken."""
        if self._only is not None and self._only not in f"{law}: {text}":
            return
        if len(self.all) < ENOUGH:
            self.all.append(Violation(law, text, self._time.now_s))


class Surroundings:
    """What laws may know of the world besides its rows."""

    def __init__(self, time: WorldTime, machines: list[Machine], *, is_shared: bool) -> None:
        self.time = time
        self.machines = machines
        self.is_shared = is_shared
        self.calm_since_s = 0.0  # awake seconds: since then every hub has been up and reachable
        self.clocks_since_s = 0.0  # awake seconds: since then no wall clock has jumped

    def look(self) -> None:
        """Notice whether somebody is in trouble."""
        for machine in self.machines:
            hub = machine.live
            if hub is None or hub.process.is_halted or hub.weather.is_cut_off:
                self.disturb()

    def disturb(self) -> None:
        """Nothing can be asked of anybody for a while."""
        self.calm_since_s = self.time.awake_s

    def clocks_changed(self) -> None:
        """Walls tell another time."""
        self.clocks_since_s = self.time.awake_s

    @property
    def boots(self) -> set[str]:
        """The hubs that live."""
        return {machine.hub.boot_id for machine in self.machines if machine.hub is not None}

    def clock_of(self, process: str) -> SimClock:
        """The clock that a process goes by."""
        for machine in self.machines:
            if process.startswith(machine.name):
                return machine.clock
        return self.machines[0].clock


class Law:
    """Something that must hold. Subclasses override what they need."""

    def __init__(self, facts: Facts, around: Surroundings, findings: Findings) -> None:
        self.facts = facts
        self.around = around
        self.findings = findings

    def after(self, commit: Commit) -> None:
        """Rows have changed."""

    def look(self) -> None:
        """Some time has passed."""

    def at_the_end(self) -> None:
        """Everything had the time to come to its end."""
