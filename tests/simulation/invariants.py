"""Checker of the laws in one world: of scheduling, of extraction, and of several hubs on one database."""

from collections.abc import Collection

from tests.simulation.clock import WorldTime
from tests.simulation.cluster_laws import OneClaim, OneOwner, SameAnswer
from tests.simulation.delivery_laws import Deliveries, Questions
from tests.simulation.device import Review, SimDevice
from tests.simulation.facts import Facts, RunFacts
from tests.simulation.fire_laws import Fires, FirstRuns, WakesEnd
from tests.simulation.hub import Machine
from tests.simulation.laws import Findings, Law, Surroundings, Violation
from tests.simulation.memory import Row
from tests.simulation.run_laws import Counters, Fences, Limits, Moves, OneEach, Recovery, Starts
from tests.simulation.scene import Scene
from tests.simulation.store import Commit, Disk
from tests.simulation.time_laws import Cancels, Liveness, Quotas
from tests.simulation.verdict_laws import Given, VerdictsArrive


class Witness:
    """Observer of every commit, row and question; reports violated laws."""

    def __init__(
        self,
        disk: Disk,
        time: WorldTime,
        machines: list[Machine],
        devices: list[SimDevice],
        scene: Scene,
        *,
        only: str | None = None,
    ) -> None:
        self.facts = Facts(disk)
        self.around = Surroundings(time, machines, is_shared=scene.is_shared)
        self.findings = Findings(time, only=only)
        self._scene = scene
        self._devices = devices
        self._sent: set[str] = set()
        self._called: dict[str, float] = {}
        self._given: dict[str, Given] = {}
        self._make_laws()

    def _make_laws(self, *, was_restored: bool = False) -> None:
        scene, devices = self._scene, self._devices
        given = (self.facts, self.around, self.findings)
        limits = {"per_device": scene.settings.per_device, "total": scene.settings.total}
        self._deliveries = Deliveries(*given, devices=devices, was_restored=was_restored, sent=self._sent)
        self._questions = Questions(*given)
        self._liveness = Liveness(*given, **limits)
        self._verdicts = VerdictsArrive(*given, devices=devices, was_restored=was_restored, given=self._given)
        self._laws: list[Law] = [
            Fires(*given),
            FirstRuns(*given),
            OneEach(*given),
            Limits(*given, **limits),
            Moves(*given),
            Fences(*given),
            self._deliveries,
            self._questions,
            Cancels(*given),
            Recovery(*given),
            Starts(*given),
            Quotas(*given),
            self._liveness,
            Counters(*given),
            WakesEnd(*given, devices=devices, was_restored=was_restored, called=self._called),
            self._verdicts,
        ]
        if scene.is_shared:
            self._laws += [OneClaim(*given), OneOwner(*given, devices=devices), SameAnswer(*given)]

    def restored(self, *, sent: Collection[str] = ()) -> None:
        """Forget earlier observations, because the hub's or a device's rows were restored.

        Args:
            sent: calls of the replaced rows, which may still be in flight.
        """
        self._sent |= {*sent}
        self.facts.look_anew()
        self._make_laws(was_restored=True)
        self.around.disturb()

    @property
    def violations(self) -> list[Violation]:
        """Return the violations so far, the oldest first."""
        return self.findings.all

    @property
    def has_seen_enough(self) -> bool:
        """Return True if further simulation would add nothing."""
        return len(self.findings.all) >= self.findings.enough

    def committed(self, commit: Commit) -> None:
        """Check the laws after a commit."""
        self.facts.take(commit)
        for law in self._laws:
            law.after(commit)

    def row_made(self, device: SimDevice, row: Row) -> None:
        """Check a row that a device is about to write."""
        self._deliveries.row_made(device, row)

    def reviewed(self, device: SimDevice, review: Review) -> None:
        """Check a verdict that a hub has brought to a device."""
        self._verdicts.reviewed(device, review)

    def decided(self, device: SimDevice, row: Row) -> None:
        """Note a row about which its owner decides at the device."""
        self._verdicts.decided(row)

    def asked(self, path: str, number: int, question: str) -> None:
        """Check a question to the model."""
        self._questions.asked(path, number, question)

    def look(self) -> None:
        """Check the laws that depend on time."""
        self.around.look()
        for law in self._laws:
            law.look()

    def left_over(self) -> list[RunFacts]:
        """Return live runs that should have continued or ended."""
        return self._liveness.left_over()

    def at_the_end(self) -> None:
        """Check the laws that hold once all work is finished."""
        for law in self._laws:
            law.at_the_end()
