"""Laws I2, I3, I4, I5, I9, I10 and I12, about runs after each commit."""

import json
from collections import Counter
from typing import Any

from protocol.errors import HubError
from protocol.ids import DeviceId
from protocol.lifecycles import RunState
from storage.executing_runs import FencedRun
from storage.leases import Term
from tests.simulation.facts import EXECUTING, RunFacts
from tests.simulation.laws import Law
from tests.simulation.store import Commit

# Scheduling 3.1, T1-T13, written down a second time.
LEGAL = frozenset(
    {
        (None, "QUEUED"),
        ("QUEUED", "PREPARING"),
        ("QUEUED", "PAUSED"),
        ("QUEUED", "CANCELLED"),
        ("PREPARING", "RUNNING"),
        ("PREPARING", "QUEUED"),
        ("PREPARING", "FAILED"),
        ("PREPARING", "CANCELLED"),
        ("RUNNING", "PAUSED"),
        ("RUNNING", "QUEUED"),
        ("RUNNING", "COMPLETED"),
        ("RUNNING", "FAILED"),
        ("RUNNING", "CANCELLED"),
        ("PAUSED", "QUEUED"),
        ("PAUSED", "FAILED"),
        ("PAUSED", "CANCELLED"),
    }
)
LEASE_S, POLL_S, SLACK_S = 30.0, 2.0, 4.0
ROUNDED_MS = 2  # instants become whole milliseconds in more than one way
JUST_LEFT_S = 2.0  # a claim may have been on its way when the device went


class OneEach(Law):
    """I2: at most one run per agent and fire key, and at most one run per slot that has not started."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._by_fire: dict[tuple[str, str], str] = {}

    def after(self, commit: Commit) -> None:
        slots: Counter[str] | None = None
        for before, run in self.facts.changes:
            if run is None:
                continue
            if before is not None and commit.name == "judge_again":  # its fire is to come
                self._by_fire.pop((before.agent_id, before.fire_key), None)
            key = (run.agent_id, run.fire_key)
            if self._by_fire.setdefault(key, run.id) != run.id:
                self.findings.add(
                    "I2", f"runs {self._by_fire[key]} and {run.id} have the fire key {run.fire_key}"
                )
            if run.queue_slot is not None and run.was_never_started:
                slots = slots or Counter(
                    other.queue_slot
                    for other in self.facts.live.values()
                    if other.was_never_started and other.queue_slot is not None
                )
                if slots[run.queue_slot] > 1:
                    self.findings.add("I2", f"{slots[run.queue_slot]} runs wait in the slot {run.queue_slot}")


class Limits(Law):
    """I3: the number of executing runs never exceeds a limit; the total is one of each hub process."""

    def __init__(self, *given: Any, per_device: int, total: int) -> None:
        super().__init__(*given)
        self._per_device = per_device
        self._total = total

    def after(self, commit: Commit) -> None:
        if not any(
            run is not None and run.is_executing and (before is None or not before.is_executing)
            for before, run in self.facts.changes
        ):
            return
        executing = [run for run in self.facts.live.values() if run.is_executing]
        for boot, count in Counter(run.lease_boot_id for run in executing).items():
            if count > self._total:
                self.findings.add("I3", f"{count} runs execute under boot {boot}, {self._total} may")
        for device, count in Counter(run.device_id for run in executing).items():
            if count > self._per_device:
                self.findings.add("I3", f"{count} runs execute on {device}, {self._per_device} may")
        for agent, count in Counter(run.agent_id for run in executing).items():
            (limit,) = self.facts.disk.one("SELECT max_concurrent_runs FROM agents WHERE id = ?", agent)
            if count > limit:
                self.findings.add("I3", f"{count} runs of agent {agent} execute, {limit} may")


class Moves(Law):
    """I4: final states never change, outcomes are correct, and each history is a legal path."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._read: dict[str, tuple[int, str | None, int]] = {}  # how far each history was read

    def after(self, commit: Commit) -> None:
        for before, run in self.facts.changes:
            if run is None:
                continue
            if before is not None and before.is_final:
                seen = 3 if commit.name == "redate" else 4
                if _ending(before)[:seen] != _ending(run)[:seen]:
                    self.findings.add("I4", f"run {run.id} was {_ending(before)} and is {_ending(run)}")
            elif run.is_final:
                self._outcome(run)
                self._follow_up(run)
            if before is None or before.state_seq != run.state_seq or before.state != run.state:
                self._history(run)

    def _outcome(self, run: RunFacts) -> None:
        settled = run.units_done + run.units_skipped + run.units_unchanged
        if run.state == "COMPLETED":
            right = "success" if run.error_count == 0 and run.units_failed == 0 else "partial"
            is_nothing = settled == 0 and run.items_created == 0
            if run.outcome != right or (right == "partial" and is_nothing):
                self.findings.add(
                    "I4",
                    f"run {run.id} ended as {run.outcome}: {settled} units settled,"
                    f" {run.units_failed} failed, {run.items_created} items, {run.error_count} errors",
                )
        elif run.outcome != ("error" if run.state == "FAILED" else None):
            self.findings.add("I4", f"run {run.id} is {run.state} with outcome {run.outcome}")

    def _follow_up(self, run: RunFacts) -> None:
        """The commit that ends a run has queued the run that follows it; a cancelled run has none."""
        disk = self.facts.disk
        (result,) = disk.one("SELECT result FROM runs WHERE id = ?", run.id)
        named = json.loads(result or "{}").get("followed_by")
        queued = [id for (id,) in disk.rows("SELECT id FROM runs WHERE fire_key = ?", f"more:{run.id}")]
        (waits,) = disk.one("SELECT count(*) FROM runs WHERE id = ? AND state = 'QUEUED'", named)
        if waits != (named is not None) or not set(queued) <= {named}:
            self.findings.add("I4", f"run {run.id} is followed by {named}, and {queued} were queued")
        if run.state == "CANCELLED" and named is not None:
            self.findings.add("I4", f"run {run.id} was cancelled, and is followed by {named}")

    def _history(self, run: RunFacts) -> None:
        seq, state, fence = self._read.get(run.id, (0, None, 0))
        rows = self.facts.disk.rows(
            "SELECT seq, old_state, new_state, fence FROM run_state_history"
            " WHERE run_id = ? AND seq > ? ORDER BY seq",
            run.id,
            seq,
        )
        for number, old, new, at_fence in rows:
            if number != seq + 1 or old != state or (old, new) not in LEGAL:
                self.findings.add("I4", f"run {run.id}: move {number} is {old} -> {new}, after {state}")
            if at_fence < fence:
                self.findings.add("I5", f"run {run.id}: move {number} has fence {at_fence}, after {fence}")
            seq, state, fence = number, new, at_fence
        if state != run.state or seq != run.state_seq:
            self.findings.add(
                "I4", f"run {run.id} is {run.state} ({run.state_seq}), its history ends in {state} ({seq})"
            )
        self._read[run.id] = (seq, state, fence)


def _ending(run: RunFacts) -> tuple[str, str | None, int, int | None]:
    return run.state, run.outcome, run.fence, run.completed_at


class Fences(Law):
    """I5: fences never decrease, and the holder of an old fence cannot write."""

    def after(self, commit: Commit) -> None:
        for before, run in self.facts.changes:
            if before is not None and run is not None and run.fence < before.fence:
                self.findings.add("I5", f"run {run.id} went from fence {before.fence} to {run.fence}")
        for given in (*commit.args, *commit.kwargs.values()):
            match given:
                case FencedRun():
                    self._run(commit, given)
                case [*units] if commit.name == "plan_units":
                    for unit, plan in zip(units, commit.value, strict=True):
                        if not isinstance(plan, HubError):
                            self._run(commit, unit.held)
                case [*batches] if commit.name == "settle_answers":
                    for batch, settled in zip(batches, commit.value, strict=True):
                        # An answer counts at any time, but settles units only under the run's fence.
                        if settled.done or settled.marked:
                            self._run(commit, batch.held)
                case Term():
                    self._term(commit, given)
        for lease in self.facts.leases.values():
            old = self.facts.leases_before.get(lease.name)
            if old is not None and lease.fence < old.fence:
                self.findings.add("I5", f"lease {lease.name} went from fence {old.fence} to {lease.fence}")

    def _run(self, commit: Commit, held: FencedRun) -> None:
        changed = next((one for one in self.facts.changes if one.after and one.after.id == held.id), None)
        before = changed.before if changed is not None else self.facts.runs.get(held.id)
        if before is None:
            return
        # A former holder no longer holds the run, even while it has no other holder.
        was_taken = held.state in EXECUTING and not before.is_executing
        if before.fence != held.fence or before.is_final or was_taken:
            self.findings.add(
                "I5",
                f"{commit.name} of {commit.by} wrote under fence {held.fence} of run {held.id},"
                f" which was {before.state} under {before.fence}",
            )

    def _term(self, commit: Commit, term: Term) -> None:
        lease = self.facts.leases_before.get(term.name)
        if lease is None or (lease.holder_boot_id, lease.fence) != (term.boot_id, term.fence):
            self.findings.add(
                "I5", f"{commit.name} of {commit.by} wrote in term {term}, the lease was {lease}"
            )


class Recovery(Law):
    """I9: no run executes under a boot that has ended, and no live run is lost."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._orphan_since: dict[tuple[str, int], float] = {}

    def after(self, commit: Commit) -> None:
        for before, run in self.facts.changes:
            if run is None and before is not None and not before.is_final:
                self.findings.add("I12", f"run {before.id} was deleted, {before.state} as it was")
        if commit.name != "recover" or self.around.is_shared:
            return
        for run in self.facts.live.values():
            if run.is_executing:
                self.findings.add("I9", f"after recovery run {run.id} is {run.state} of {run.lease_boot_id}")
        for before, run in self.facts.changes:
            if before is None or run is None or not before.is_executing:
                continue
            right = run.state == "QUEUED"
            right = right or (run.state == "CANCELLED" and run.cancel_requested_at is not None)
            right = right or (run.state == "FAILED" and run.reason in ("crash_loop", "deadline"))
            if not right:
                self.findings.add("I9", f"recovery left run {run.id} {run.state} ({run.reason})")

    def look(self) -> None:
        boots, now = self.around.boots, self.around.time.awake_s
        orphans = [
            (run.id, run.fence)
            for run in self.facts.live.values()
            if run.is_executing and run.lease_boot_id not in boots
        ]
        self._orphan_since = {key: self._orphan_since.get(key, now) for key in orphans}
        allowed_s = LEASE_S + POLL_S + SLACK_S if self.around.is_shared else SLACK_S
        for key, since in self._orphan_since.items():
            if now - max(since, self.around.calm_since_s) > allowed_s:
                self.findings.add(
                    "I9", f"run {key[0]} has executed under a dead boot for {now - since:.1f} s"
                )


class Starts(Law):
    """I10: no run starts while its agent or its device may not start runs."""

    def after(self, commit: Commit) -> None:
        for before, run in self.facts.changes:
            if run is None or before is None or before.state != "QUEUED" or run.state not in EXECUTING:
                continue
            agent = self.facts.agents.get(run.agent_id)
            if agent is None or agent.lifecycle != "active" or agent.availability == "exhausted":
                self.findings.add("I10", f"run {run.id} started, its agent being {agent}")
            is_early = before.eligible_at > self.around.clock_of(commit.by).now_ms() + ROUNDED_MS
            # A clock that was set back while the claim was on its way, in a frozen hub even, makes a
            # right claim look early.
            steady_since_s = max(self.around.clocks_since_s, self.around.calm_since_s)
            if is_early and self.around.time.awake_s - steady_since_s > JUST_LEFT_S:
                self.findings.add("I10", f"run {run.id} started before it was eligible")
            if not self._was_there(run.device_id or ""):
                self.findings.add("I10", f"run {run.id} started while {run.device_id} was offline")

    def _was_there(self, device_id: str) -> bool:
        for machine in self.around.machines:
            hub = machine.hub  # also one that stops: its dispatcher claims until it is notified
            if (
                hub is not None
                and hub.was_serving
                and (
                    hub.roster.find(DeviceId(device_id)) is not None
                    or self.around.time.awake_s - hub.left_at.get(device_id, -JUST_LEFT_S) < JUST_LEFT_S
                )
            ):
                return True
        return False


class Counters(Law):
    """I12: counters equal a recount, and attempts do not exceed their limit."""

    def after(self, commit: Commit) -> None:
        agents = {run.agent_id for _, run in self.facts.changes if run is not None}
        agents.update(commit.touched.ids.get("agent_states", ()))
        for agent_id in sorted(agents):
            stored = self.facts.agents.get(agent_id)
            if stored is None:
                continue
            mine = [run.state for run in self.facts.live.values() if run.agent_id == agent_id]
            executing = sum(state in EXECUTING for state in mine)
            counted = stored.runs_waiting, stored.runs_executing, stored.runs_running
            there_are = len(mine) - executing, executing, mine.count(RunState.RUNNING)
            if counted != there_are:
                self.findings.add(
                    "I12",
                    f"agent {agent_id} counts {counted} waiting, executing and running,"
                    f" there are {there_are} (after {commit.name})",
                )
        for _, run in self.facts.changes:
            if run is not None and run.attempt > run.max_attempts:
                self.findings.add("I12", f"run {run.id} is at attempt {run.attempt} of {run.max_attempts}")
