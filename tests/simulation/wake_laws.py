"""Laws about wakes: each slot is settled once, and the row of its fire has the outcome."""

from collections.abc import Sequence
from typing import Final

from hub.clock import epoch_ms
from storage.schedules.calendar_wakeups import WakeRow
from tests.simulation.device import SimDevice
from tests.simulation.facts import Facts
from tests.simulation.laws import Findings, Law, Surroundings
from tests.simulation.store import Commit

SLACK_MS: Final = 300_000  # after the end of a slot, until its hub has had the time to notice
ANSWERED_S: Final = 130.0  # awake: a device has 60 s to answer, and time may be slept through meanwhile
TOLD: Final = {
    "acknowledged": {"woken"},
    "failed": {"wake_failed"},
    "skipped": {"skipped_paused", "skipped_exhausted", "skipped_overlap"},
    "waiting": {"deferred"},
    "sent": {"deferred"},
    "deferred": {"deferred"},
}
WAKES: Final = """
    SELECT wakes.id, wakes.state, wakes.ends_at, schedule_fires.decision FROM wakes
    LEFT JOIN schedule_fires
        ON schedule_fires.schedule_id = wakes.schedule_id AND schedule_fires.fire_at = wakes.fire_at"""
RUNS_OF_SLOTS: Final = """
    SELECT runs.id FROM runs JOIN schedules ON schedules.id = runs.schedule_id
    WHERE schedules.action = 'wake'"""


class WakesEnd(Law):
    """Law that every slot is settled once, and that its fire's row has the outcome."""

    def __init__(
        self,
        facts: Facts,
        around: Surroundings,
        findings: Findings,
        *,
        devices: Sequence[SimDevice],
        was_restored: bool = False,
        called: dict[str, float],
    ) -> None:
        super().__init__(facts, around, findings)
        self._devices = devices
        self._was_restored = was_restored
        self._called = called  # wake: last call of its device, in awake seconds; also before a restore

    def after(self, commit: Commit) -> None:
        if commit.name == "take" and isinstance(wake := commit.args[0], WakeRow):
            self._called[wake.id] = self.around.time.awake_s

    def at_the_end(self) -> None:
        now_ms = min(epoch_ms(machine.clock.now()) for machine in self.around.machines)
        woken = {str(call_id) for device in self._devices for call_id in device.memory.woken}
        for wake_id, state, ends_at, decision in self.facts.disk.rows(WAKES):
            if decision not in TOLD[state]:
                self.findings.add("wakes", f"wake {wake_id} is {state}, its fire says {decision}")
            is_under_way = (
                state == "sent" and self.around.time.awake_s < self._called.get(wake_id, 0.0) + ANSWERED_S
            )
            if decision == "deferred" and ends_at + SLACK_MS < now_ms and not is_under_way:
                self.findings.add("wakes", f"wake {wake_id} is {state}, and its slot is over")
            if state == "acknowledged" and wake_id not in woken and not self._was_restored:
                self.findings.add("wakes", f"wake {wake_id} is acknowledged, and no device knows of it")
        for (run_id,) in self.facts.disk.rows(RUNS_OF_SLOTS):
            self.findings.add("wakes", f"run {run_id} is of a slot, which makes none")
