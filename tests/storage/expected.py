"""What the rows should say: runs, units, calls and schedules as plain dicts, moved by the design.

Nothing of the storage is used here. The machine does the same to both and compares.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.storage.expected_rows import (
    CRASHES,
    EXECUTING,
    FAILURES_IN_A_ROW,
    FIRED,
    WAITING,
    Agent,
    Call,
    Run,
    Schedule,
)


@dataclass
class World:
    """All of it. Instants are epoch milliseconds."""

    agents: dict[str, Agent] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    units: dict[tuple[str, str], str] = field(default_factory=dict)  # (run, unit): state
    calls: dict[str, Call] = field(default_factory=dict)
    ledger: dict[tuple[str, str], str] = field(default_factory=dict)  # (agent, unit): content
    schedules: dict[str, Schedule] = field(default_factory=dict)

    def live(self, *states: str) -> list[Run]:
        """Runs in one of these states, or all live ones, by id."""
        return [
            run for _, run in sorted(self.runs.items()) if (run.state in states if states else run.is_live)
        ]

    def calls_of(self, run: Run, unit: str | None = None) -> dict[str, Call]:
        """The calls of a run, or of one unit of it."""
        return {
            id: call for id, call in self.calls.items() if call.run == run.id and unit in (None, call.unit)
        }

    def move(self, run: Run, state: str, at: int, *, pause: str | None = None) -> None:
        """A run moves; one that somebody wants to end does not wait again."""
        if run.executes and state in ("FAILED", "CANCELLED"):
            run.fence += 1
        run.state, run.pause, run.touched_at = state, pause, at
        run.has_run = run.has_run or state == "RUNNING"
        if run.is_unwanted and state in WAITING:
            run.state, run.pause = "CANCELLED", None
        if not run.is_live:
            run.ended_at = at
            self._count(run)

    def _count(self, run: Run) -> None:
        schedule = self.schedules.get(run.schedule or "")
        if schedule is None or run.trigger not in FIRED:
            return
        if run.is_success:
            schedule.failures = 0
        elif run.state == "FAILED":
            schedule.failures += 1
            if schedule.failures >= FAILURES_IN_A_ROW and schedule.paused is None:
                schedule.paused = "failures"

    def claimable(self, online: Collection[str], *, per_device: int, total: int, at: int) -> list[str]:
        """The runs that are claimed now: of each device one, then of each device another.

        On its device one that had begun goes first, then what a person asked for; among devices,
        who is ready the longest.
        """
        taken: list[str] = []
        room = total - len(self.live(*EXECUTING))
        while len(taken) < room:
            firsts: dict[str, Run] = {}
            for run in sorted(self.runs.values(), key=_turn):
                if self._may_start(run, online, per_device, taken, at):
                    firsts.setdefault(run.device, run)
            chosen: dict[str, str] = {}  # agent: run; one that moved has runs on two devices
            for run in sorted(firsts.values(), key=lambda run: (run.eligible_at, run.id)):
                chosen.setdefault(run.agent, run.id)
            if not chosen:
                break
            taken += list(chosen.values())[: room - len(taken)]
        return taken

    def _may_start(
        self, run: Run, online: Collection[str], per_device: int, taken: list[str], at: int
    ) -> bool:
        agent = self.agents[run.agent]
        busy = [other for other in self.runs.values() if other.executes or other.id in taken]
        return (
            run.state == "QUEUED"
            and run.id not in taken
            and run.eligible_at <= at
            and (run.has_run or run.start_by is None or run.start_by > at)
            and run.device in online
            and agent.is_active
            and agent.back_at is None
            and sum(other.device == run.device for other in busy) < per_device
            and not any(other.agent == run.agent for other in busy)
            and not self._follows(run, busy)
        )

    def _follows(self, run: Run, busy: list[Run]) -> bool:
        """Runs of one schedule come one after the other, and one that had begun goes first."""
        if run.schedule is None or self.schedules[run.schedule].overlap == "allow":
            return False
        others = [
            other for other in self.runs.values() if other.schedule == run.schedule and other is not run
        ]
        return any(
            other in busy or (other.is_live and other.fence > 0 and run.fence == 0) for other in others
        )

    def recover(self, at: int) -> None:
        """The hub is a new one: nothing executes."""
        for run in self.live(*EXECUTING):
            if run.is_unwanted:
                self.move(run, "CANCELLED", at)
            elif run.crashes + 1 >= CRASHES:
                self.move(run, "FAILED", at)
            else:
                run.crashes += 1
                run.state, run.touched_at = "QUEUED", at

    def resume(
        self, pause: str, at: int, *, devices: Collection[str] = (), agents: Collection[str] = ()
    ) -> None:
        """What paused for this reason may go on; all of it, or that of devices or agents."""
        for run in self.live("PAUSED"):
            is_meant = not (devices or agents) or run.device in devices or run.agent in agents
            if run.pause == pause and is_meant:
                run.state, run.pause, run.eligible_at, run.touched_at = "QUEUED", None, at, at

    def cancel(self, run: Run, at: int) -> None:
        """Somebody wants it to end: now, if it waits."""
        if run.is_live:
            run.is_unwanted, run.touched_at = True, at
            if not run.executes:
                self.move(run, "CANCELLED", at)

    def touch(self, run: Run, at: int, *, got_further: bool = True) -> None:
        """Something of the run was written; whoever gets further has its crashes forgiven."""
        run.touched_at = at
        if got_further:
            run.crashes = 0

    def plan(self, run: Run, unit: str, content: str, ids: list[str], at: int) -> None:
        """A unit was read, and leads to these calls."""
        before = self.units.get((run.id, unit))
        known = [id for id in ids if id in self.calls]
        adopted = [id for id in known if self.calls[id].run != run.id]
        if before is not None:
            for id, call in self.calls_of(run, unit).items():
                if call.state == "PLANNED" and id not in ids:
                    del self.calls[id]
        for id in known:
            call = self.calls[id]
            if id in adopted:
                call.run, call.unit = run.id, unit
            if call.state in ("UNKNOWN", "REJECTED"):
                call.state, call.sends = "PLANNED", 0
            call.carries = call.carries or call.is_open
        fresh = [id for id in ids if id not in self.calls]
        self.calls |= {id: Call(run.id, unit) for id in fresh}
        self.units[run.id, unit] = "EXTRACTED"
        if ids and self.ledger.get((run.agent, unit), content) != content:
            self.ledger[run.agent, unit] = ""
        got_further = before in (None, "FAILED") or bool(adopted or fresh)
        self.touch(run, at, got_further=got_further)

    def settle(self, run: Run, unit: str, content: str, at: int) -> None:
        """All calls of the unit are answered."""
        if self.units[run.id, unit] != "EXTRACTED":
            return
        refused = any(call.state in ("REJECTED", "UNKNOWN") for call in self.calls_of(run, unit).values())
        self.units[run.id, unit] = "FAILED" if refused else "DONE"
        if refused:
            self.ledger.setdefault((run.agent, unit), "")  # tried, so that later runs read others first
        else:
            self.ledger[run.agent, unit] = content
        self.touch(run, at)

    def fail_unit(self, run: Run, unit: str, at: int) -> None:
        """The unit could not be read; what was never sent of it will not be."""
        if self.units.get((run.id, unit)) == "FAILED":
            return
        self.units[run.id, unit] = "FAILED"
        for id, call in self.calls_of(run, unit).items():
            if call.state == "PLANNED":
                del self.calls[id]
        self.ledger.setdefault((run.agent, unit), "")
        self.touch(run, at)

    def has_open_work(self, run: Run) -> bool:
        """Return True if work is left."""
        return any(call.is_open for call in self.calls_of(run).values()) or any(
            state == "EXTRACTED" for (run_id, _), state in self.units.items() if run_id == run.id
        )

    def of_schedule(self, schedule: Schedule) -> tuple[list[Run], list[Run]]:
        """Its live runs: those that have begun, and those that never did."""
        live = [run for run in self.live() if run.schedule == schedule.id]
        return (
            [run for run in live if not run.was_never_started],
            [run for run in live if run.was_never_started],
        )

    def fire(self, schedule: Schedule, run_id: str, at: int) -> str:
        """Every fire up to *at* is decided; what becomes of the newest."""
        newest = schedule.fires(at)[-1]
        schedule.cursor, schedule.next_at = newest, newest + schedule.every
        start_by = None if schedule.start_within is None else newest + schedule.start_within
        begun, waiting = self.of_schedule(schedule)
        if waiting and schedule.overlap in ("skip", "queue_one"):
            merged = waiting[-1]
            merged.eligible_at, merged.start_by, merged.touched_at = at, start_by, at
            merged.fire_at = newest
            merged.device = self.agents[schedule.agent].device
            return "coalesced"
        if begun and schedule.overlap == "skip":
            return "skipped_overlap"
        if schedule.overlap == "cancel_running":
            for run in [*begun, *waiting]:
                self.cancel(run, at)
        self.runs[run_id] = Run(
            run_id,
            schedule.agent,
            self.agents[schedule.agent].device,
            at,
            schedule=schedule.id,
            trigger="schedule",
            fire_at=newest,
            start_by=start_by,
            touched_at=at,
        )
        return "run"

    def declare(self, agent: str, wanted: tuple[int, str, int | None] | None, fresh_id: str, at: int) -> None:
        """The agent's schedule is this from now on: how often, overlap, start deadline; or there is none."""
        old = next((schedule for schedule in self.schedules.values() if schedule.agent == agent), None)
        if wanted is None:
            if old is not None:
                old.paused = "removed"
        elif old is None:
            self.schedules[fresh_id] = Schedule(fresh_id, agent, *wanted, anchor=at, cursor=at)
        elif (old.every, old.overlap, old.start_within) != wanted or old.paused == "removed":
            old.every, old.overlap, old.start_within = wanted
            if old.paused != "user":
                old.paused, old.failures = None, 0
                old.cursor, old.next_at = max(old.cursor, at), None
            elif old.next_at is not None:  # it is known what the edit passes over
                old.cursor, old.next_at = max(old.cursor, at), None

    def enable(self, schedule: Schedule, at: int, *, catch_up: bool) -> None:
        """A paused schedule fires again, for what it passed over too if that is wanted."""
        if schedule.paused not in (None, "removed"):
            schedule.paused, schedule.failures = None, 0
            schedule.next_at = None
            if not catch_up:
                schedule.cursor = max(schedule.cursor, at)

    def step_clock(self, by: int, at: int) -> None:
        """The clock is set by *by* to *at*: what waits goes on waiting, and what happened is not to come."""
        for agent in self.agents.values():
            agent.back_at = None if agent.back_at is None else agent.back_at + by
        for schedule in self.schedules.values():
            schedule.cursor, schedule.anchor = schedule.cursor + by, schedule.anchor + by
            schedule.next_at = None if schedule.next_at is None else schedule.next_at + by
        for run in self.runs.values():
            if run.is_live:
                run.eligible_at, run.touched_at = run.eligible_at + by, run.touched_at + by
                run.start_by = None if run.start_by is None else run.start_by + by
            if by < 0 and run.schedule is not None:
                run.fire_at = min(run.fire_at, self.schedules[run.schedule].cursor)
            if by < 0 and run.touched_at > at:
                run.touched_at += by
            if by < 0 and run.ended_at is not None and run.ended_at > at:
                run.ended_at += by

    def sweep(self, at: int, *, paused_ms: int, online: Collection[str]) -> None:
        """What waits too long is given up."""
        for run in self.live("QUEUED"):
            is_late = not run.has_run and run.start_by is not None and run.start_by <= at
            is_stranded = run.fence > 0 and run.touched_at <= at - paused_ms and run.device not in online
            if is_late or is_stranded:
                self.move(run, "CANCELLED", at)
        for run in self.live("PAUSED"):
            if run.pause != "user" and run.touched_at <= at - paused_ms:
                self.move(run, "FAILED", at)

    def prune(self, *, before: int, failed_before: int, kept: int) -> None:
        """What is old goes."""
        for agent in self.agents:
            ended = [run for run in self.runs.values() if run.agent == agent and run.ended_at is not None]
            ends = sorted((run.ended_at for run in ended if run.ended_at is not None), reverse=True)
            oldest_kept = ends[kept - 1] if len(ends) >= kept else -1
            for run in ended:
                since = failed_before if run.state == "FAILED" else before
                if run.ended_at is not None and run.ended_at < min(before, since, oldest_kept):
                    self._drop(run)

    def _drop(self, run: Run) -> None:
        for id in self.calls_of(run):
            del self.calls[id]
        for key in [key for key in self.units if key[0] == run.id]:
            del self.units[key]
        del self.runs[run.id]

    def forget(self, *, before: int) -> None:
        """What calls of runs that ended carried goes."""
        for call in self.calls.values():
            ended_at = self.runs[call.run].ended_at
            if ended_at is not None and ended_at < before:
                call.carries = False

    def told(self) -> Iterator[tuple[str, object]]:
        """Everything that is compared with the rows."""
        for run in self.runs.values():
            yield (
                f"run {run.id}",
                (
                    run.device,
                    run.state,
                    run.pause,
                    run.fence,
                    run.attempt,
                    run.crashes,
                    run.eligible_at,
                    run.touched_at,
                ),
            )
        for (run_id, unit), state in self.units.items():
            yield f"unit {run_id} {unit}", (state,)
        for call_id, call in self.calls.items():
            yield f"call {call_id}", (call.run, call.unit, call.state, call.sends, call.carries)
        for (agent_id, unit), content in self.ledger.items():
            yield f"ledger {agent_id} {unit}", (content,)
        for agent in self.agents.values():
            yield f"agent {agent.id}", ("active" if agent.is_active else "paused", agent.back_at)
        for schedule in self.schedules.values():
            yield (
                f"schedule {schedule.id}",
                (schedule.paused, schedule.cursor, schedule.next_at, schedule.failures),
            )


def _turn(run: Run) -> tuple[int, int, str]:
    rank = 0 if run.fence else 1 if run.trigger == "manual" else 2
    return rank, run.eligible_at, run.id
