"""Laws I8, I10 (second half) and I11, about time limits."""

from typing import Any

from protocol.ids import DeviceId
from tests.simulation.facts import RunFacts
from tests.simulation.hub import SimHub
from tests.simulation.laws import Law

GRACE_S, TICK_S = 30.0, 2.0
TAKEOVER_S = 35.0  # on a shared database: a lease that runs out, and a poll that finds it
SLOW_S = 4.0  # delay of a slow disk, and interval of the checks
SETTLE_S, FLAP_SETTLE_S, SPREAD_S = 5.0, 60.0, 2.0
FLAPS, FLAP_WINDOW_S = (
    3,
    200.0,
)  # the hub counts 120 s, from when each visit had agreed
USERS = ("manual", "rerun")  # triggers of runs that a person waits for


class Cancels(Law):
    """I8: a cancelled run ends within the grace period and one tick."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._asked: dict[str, float] = {}

    def look(self) -> None:
        now = self.around.time.awake_s
        asked = [run.id for run in self.facts.live.values() if run.cancel_requested_at is not None]
        self._asked = {run_id: self._asked.get(run_id, now) for run_id in asked}
        takeover_s = TAKEOVER_S if self.around.is_shared else 0.0
        for run_id, since in self._asked.items():
            waited_s = now - max(since, self.around.calm_since_s + takeover_s)
            if waited_s > GRACE_S + TICK_S + SLOW_S:
                run = self.facts.live[run_id]
                self.findings.add_once(
                    "I8", run_id, f"run {run_id} is {run.state}, {waited_s:.1f} s after its cancel"
                )


class Quotas(Law):
    """I10: an agent is available within a second after its quota has returned."""

    def look(self) -> None:
        around = self.around
        steady_s = around.time.awake_s - max(around.calm_since_s, around.clocks_since_s)
        hubs = [machine.clock for machine in around.machines if machine.live is not None]
        if not hubs:
            return
        now_ms = min(clock.now_ms() for clock in hubs)
        for agent in self.facts.agents.values():
            back_at = agent.recovery_at or agent.probe_at
            if agent.availability != "exhausted" or back_at is None:
                continue
            late_s = min((now_ms - back_at) / 1_000, steady_s)
            if late_s > 1.0 + SLOW_S:
                self.findings.add_once(
                    "I10",
                    agent.agent_id,
                    f"agent {agent.agent_id} has been due to recover for {late_s:.1f} s",
                )


class Liveness(Law):
    """I11: while all gates are open and a slot is free, the next run in turn starts soon."""

    def __init__(self, *given: Any, per_device: int, total: int) -> None:
        super().__init__(*given)
        self._per_device = per_device
        self._total = total
        self._ready_since: dict[str, float] = {}

    def after(self, commit: Any) -> None:
        if any(run is not None and run.is_executing for _, run in self.facts.changes):
            self._ready_since.clear()  # a run started or is about to end, so the next run in turn changes

    def look(self) -> None:
        now = self.around.time.awake_s
        executing = [run for run in self.facts.live.values() if run.is_executing]
        ready = [run for run in self.facts.live.values() if self._is_ready(run, executing)]
        self._ready_since = {run.id: self._ready_since.get(run.id, now) for run in ready}
        for run in ready:
            waited_s = now - max(
                self._ready_since[run.id], self.around.calm_since_s, self.around.clocks_since_s
            )
            if waited_s > TICK_S + SLOW_S:
                self.findings.add_once("I11", run.id, f"run {run.id} could have started {waited_s:.1f} s ago")

    def left_over(self) -> list[RunFacts]:
        """Return live runs that wait for no person; after a quiet time there are none."""
        executing = [run for run in self.facts.live.values() if run.is_executing]
        return [
            run
            for run in self.facts.live.values()
            if run.is_executing or self._is_ready(run, executing) or self._goes_on(run)
        ]

    def _goes_on(self, run: RunFacts) -> bool:
        """Return True if the run will resume by itself: at a known time, or because its condition is met."""
        hub, agent = self._hub_of(run), self.facts.agents[run.agent_id]
        match run.state, run.pause_reason:
            case "QUEUED", _:
                waits = hub is not None and run.eligible_at > hub.clock.now_ms()
                return waits and agent.lifecycle == "active"
            case "PAUSED", "device_offline":
                return hub is not None
            case "PAUSED", "exhausted":
                return True
            case "PAUSED", "drain":
                return True
        return False

    def _is_ready(self, run: RunFacts, executing: list[RunFacts]) -> bool:
        agent = self.facts.agents.get(run.agent_id)
        if run.state != "QUEUED" or agent is None:
            return False
        hub = self._hub_of(run)
        if hub is None or run.eligible_at > hub.clock.now_ms():
            return False
        starts_by = run.start_deadline_at if run.started_at is None else None
        if starts_by is not None and starts_by <= hub.clock.now_ms():
            return False  # too late; it is given up when the clock can be trusted
        waits_for_user = run.trigger_kind in USERS
        if agent.lifecycle != "active" or agent.availability == "exhausted":
            return False
        if agent.health != "ok" and not waits_for_user:
            return False
        if hub.clock.now_ms() < hub.dispatcher.hold_until_ms and not waits_for_user:
            return False
        if sum(other.lease_boot_id == hub.boot_id for other in executing) >= self._total:
            return False
        if sum(other.device_id == run.device_id for other in executing) >= self._per_device:
            return False
        limit, archived = self.facts.disk.one(
            "SELECT max_concurrent_runs, deleted_at FROM agents WHERE id = ?", run.agent_id
        )
        if archived is not None or sum(other.agent_id == run.agent_id for other in executing) >= limit:
            return False
        return not self._follows(run)

    def _hub_of(self, run: RunFacts) -> SimHub | None:
        """Return the hub that may start the run: its device is connected to it and has settled."""
        for machine in self.around.machines:
            hub = machine.live
            if hub is None or run.device_id is None:
                continue
            visits = hub.visits.get(run.device_id, [])
            if run.device_id in hub.left_at or not visits:
                continue
            link = hub.roster.find(DeviceId(run.device_id))
            if link is None or not hub.agreements.agrees(link):
                continue
            since = max(visits[-1], hub.agreed_at.get(f"{link.device_id} {link.epoch}", 0.0))
            flaps = sum(visit > visits[-1] - FLAP_WINDOW_S for visit in visits) > FLAPS
            settle_s = FLAP_SETTLE_S if flaps else SETTLE_S
            if self.around.time.awake_s - since > settle_s + SPREAD_S + TICK_S:
                return hub
        return None

    def _follows(self, run: RunFacts) -> bool:
        """Return True if another run of the same schedule must start first."""
        if run.schedule_id is None or self.facts.schedules[run.schedule_id].overlap == "allow":
            return False
        return any(
            other.schedule_id == run.schedule_id
            and other.id != run.id
            and (other.is_executing or (other.fence > 0 and run.fence == 0))
            for other in self.facts.live.values()
        )
