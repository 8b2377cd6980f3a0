"""Laws about first connections, and I1 and I13 about fires, whose times come from a model of cron."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from hub.base.clock import epoch_ms
from storage.effects.first_runs import FIRE_KEY
from storage.schedules.schedules import REPEATED_MS
from storage.schedules.wakes import WakeRow, claim_wake
from tests.hub.schedules.brute_force import Job, fires, wall_clock
from tests.simulation.device import SimDevice
from tests.simulation.facts import Facts, ScheduleFacts
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
        if commit.name == claim_wake.__name__ and isinstance(wake := commit.args[0], WakeRow):
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


MINUTE_MS, DAY_MS = 60_000, 86_400_000
NOTICED_S = 15.0  # a step of the clock, after a start, too
BEFORE, AFTER = (
    timedelta(days=4),
    timedelta(days=11),
)  # around an epoch: the longest world, and clocks that jump


class Fires(Law):
    """I1: one row covers each fire up to the cursor, and cursors only grow; I13: there are no other fires."""

    def after(self, commit: Commit) -> None:
        for schedule_id, before in self.facts.schedules_before.items():
            schedule = self.facts.schedules[schedule_id]
            if before is None or commit.name == "judge_again":  # times count anew
                continue
            if schedule.cursor_at < before.cursor_at:
                self._found("I1", schedule, f"the cursor fell by {before.cursor_at - schedule.cursor_at} ms")
            if (
                schedule.rev == before.rev
                and schedule.next_fire_at is not None
                and before.next_fire_at is not None
                and schedule.next_fire_at < before.next_fire_at
            ):
                self._found("I1", schedule, "the next fire is earlier than it was")
            if schedule.next_fire_at is not None and schedule.next_fire_at <= schedule.cursor_at:
                self._found("I1", schedule, "the next fire is not after the cursor")
            if schedule.cursor_at > before.cursor_at:
                self._passed(schedule, before, is_exact=commit.name == "decide")
        for schedule_id in commit.touched.ids.get("schedule_fires", ()):
            self._disjoint(self.facts.schedules[schedule_id])

    def look(self) -> None:
        """Check that no schedule waits for longer than until its next fire by the clock."""
        steady_s = self.around.time.awake_s - max(self.around.calm_since_s, self.around.set_since_s)
        hubs = [machine.clock for machine in self.around.machines if machine.live is not None]
        if not hubs or steady_s < NOTICED_S:
            return
        now_ms = hubs[0].now_ms()
        for schedule in self.facts.schedules.values():
            follows = schedule.kind == "every" or (schedule.expr and Job(schedule.expr).is_wildcard)
            since_ms = now_ms if follows else now_ms + REPEATED_MS
            fires = fires_of(schedule, since_ms, since_ms + DAY_MS, self.around.time.epoch)
            next_at = schedule.next_fire_at or 0
            if schedule.enabled and fires and next_at > fires[0]:
                text = f"schedule {schedule.id} waits until {told(next_at)}, and fires at {told(fires[0])}"
                self.findings.add_once("silence", schedule.id, text)

    def _passed(self, schedule: ScheduleFacts, before: ScheduleFacts, *, is_exact: bool) -> None:
        """Check that every fire that the cursor has passed has a row."""
        if not is_exact and not before.enabled and before.paused_reason == "removed":
            return  # it was not declared, so it had no fires
        due = fires_of(before, before.cursor_at, schedule.cursor_at, self.around.time.epoch)
        rows = self.facts.disk.rows(
            "SELECT first_at, fire_at, missed_count FROM schedule_fires"
            " WHERE schedule_id = ? AND fire_at > ? AND first_at <= ? ORDER BY fire_at",
            schedule.id,
            before.cursor_at,
            schedule.cursor_at,
        )
        for fire_at in due:
            covering = sum(first <= fire_at <= last for first, last, _ in rows)
            if covering != 1:
                self._found("I1", schedule, f"the fire {told(fire_at)} is covered by {covering} rows")
        for first, last, missed in rows:
            within = bisect_right(due, last) - bisect_right(due, first - 1)
            if is_exact and within != missed + 1:
                self._found(
                    "I13", schedule, f"{told(first)}..{told(last)}: {within} fires, {missed + 1} told of"
                )

    def _disjoint(self, schedule: ScheduleFacts) -> None:
        rows = self.facts.disk.rows(
            "SELECT first_at, fire_at FROM schedule_fires WHERE schedule_id = ? ORDER BY fire_at", schedule.id
        )
        for (_, last), (first, _) in pairwise(rows):
            if first <= last:
                self._found("I1", schedule, f"two rows cover {told(first)}")

    def _found(self, law: str, schedule: ScheduleFacts, text: str) -> None:
        self.findings.add(law, f"schedule {schedule.id} ({schedule.expr or schedule.every_ms}): {text}")


class FirstRuns(Law):
    """Law that a first connection is decided, and starts a run only of an agent that has never run."""

    def after(self, commit: Commit) -> None:
        for change in self.facts.changes:
            first = change.after
            if change.before is not None or first is None or first.fire_key != FIRE_KEY:
                continue
            earlier = [
                run.id
                for run in self.facts.runs.values()
                if run.agent_id == first.agent_id and run.id != first.id and run.reason != "start_deadline"
            ]
            if earlier:
                self.findings.add("first", f"run {first.id} is the first of an agent that has {earlier}")

    def at_the_end(self) -> None:
        for schedule in self.facts.schedules.values():
            agent = self.facts.agents[schedule.agent_id]
            if schedule.first_connect == "due" and schedule.enabled and agent.lifecycle == "active":
                self.findings.add("first", f"schedule {schedule.id} is due since its device connected")


def fires_of(schedule: ScheduleFacts, after_ms: int, until_ms: int, epoch: datetime) -> list[int]:
    """Return the expected fires of a schedule in a period, by an independent model."""
    match schedule.kind:
        case "cron":
            assert schedule.expr is not None
            known = _all_of(schedule.expr, schedule.tz, epoch)
            return list(known[bisect_right(known, after_ms) : bisect_right(known, until_ms)])
        case "every":
            assert schedule.every_ms is not None
            first = (after_ms - schedule.created_at) // schedule.every_ms + 1
            start = schedule.created_at + max(0, first) * schedule.every_ms
            return list(range(start, until_ms + 1, schedule.every_ms))
        case _:
            assert schedule.at_ms is not None
            return [schedule.at_ms] if after_ms < schedule.at_ms <= until_ms else []


@lru_cache(maxsize=256)
def _all_of(expr: str, tz: str, epoch: datetime) -> tuple[int, ...]:
    start = int((epoch - BEFORE).timestamp()) // 60
    return tuple((start + minute) * MINUTE_MS for minute in fires(Job(expr), _clock(tz, epoch)))


@lru_cache(maxsize=32)
def _clock(tz: str, epoch: datetime) -> list[int]:
    start = int((epoch - BEFORE).timestamp()) // 60
    return wall_clock(ZoneInfo(tz), start, (BEFORE + AFTER) // timedelta(minutes=1))


def told(at_ms: int) -> str:
    """Format an instant for people."""
    return f"{datetime.fromtimestamp(at_ms / 1_000, ZoneInfo('UTC')):%m-%dT%H:%M:%S}"
