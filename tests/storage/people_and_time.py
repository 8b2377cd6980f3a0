"""Steps: what people do to agents, schedules and runs, and what time does."""

from functools import partial

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import AtAnotherNode, IllegalTransition
from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent
from storage import leases
from storage.agents import due_schedules, state_moves
from storage.agents.agents import get_agent
from storage.agents.declared_agents import DeclaredAgent
from storage.effects import clock_steps, fire_decisions, retention
from storage.effects.fire_decisions import CoveredFireRow
from storage.effects.fire_runs import FreshRun
from storage.runs import run_moves, run_pauses, run_resumes, waiting_runs
from storage.schedules import fires, schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule, Overlap
from storage.schedules.schedules import NextFire
from tests.storage import rows
from tests.storage.expected_rows import ATTEMPTS, FAILURES_IN_A_ROW, WAITING, Agent, Run, Schedule
from tests.storage.rows import some
from tests.storage.scheduled import decision
from tests.storage.steps import Choose, Steps, held, step

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
AGENTS = {"anna": "desk-1", "bruno": "desk-1", "clara": "desk-2"}
DEVICES = ("desk-1", "desk-2")
OVERLAPS: tuple[Overlap, ...] = ("skip", "queue_one", "queue_all", "cancel_running", "allow")
PAUSED_MS = 7 * DAY
MAX_QUEUED = 6


class PeopleAndTime(Steps):
    """See the module."""

    def begin(self) -> None:
        for name in ("anna", "clara"):
            self._declare(name, AGENTS[name], "", (HOUR, "queue_one", None))
            self.connect(AGENTS[name])
            self._ask_for_a_run(name)

    @step(2)
    def somebody_declares_an_agent(self, choose: Choose) -> None:
        name = choose.among(sorted(AGENTS))
        device, prompt = choose(AGENTS[name], *DEVICES), choose("", "Find everything.")
        wanted = (choose(HOUR, 20 * MINUTE), choose.among(OVERLAPS), choose(None, 30 * MINUTE))
        self._declare(name, device, prompt, choose(wanted, wanted, None))

    def _declare(
        self, name: str, device: str, prompt: str, wanted: tuple[int, Overlap, int | None] | None
    ) -> None:
        schedule = None
        if wanted is not None:
            every, overlap, start_within = wanted
            schedule = DeclaredSchedule(
                kind="every",
                every_ms=every,
                overlap=overlap,
                start_deadline_ms=start_within,
                pause_after_failures=FAILURES_IN_A_ROW,
            )
        self.declared[name] = DeclaredAgent(
            name=name, device_name=device, paths=("notes",), prompt=prompt, schedule=schedule
        )
        self._reconcile()
        agent_id = f"agent-{name}"
        agent = self.world.agents.get(agent_id)
        if agent is None:
            self.world.agents[agent_id] = Agent(agent_id, f"device-{device}")
        else:
            agent.device = f"device-{device}"
            agent.is_active = agent.is_active or agent.is_archived
            agent.is_archived = False
        self.world.declare(agent_id, wanted, f"schedule-{name}-{self.at}", self.at)

    @step(2, when=lambda self: self.declared)
    def somebody_changes_an_agent(self, choose: Choose) -> None:
        name = choose.among(sorted(self.declared))
        what = choose("active", "paused", "active", "removed")
        if what == "removed":
            self._remove(name)
            return
        agent = self.world.agents[f"agent-{name}"]
        with self.hub.transaction() as c:
            state_moves.move(c, AgentId(agent.id), "lifecycle", what, at=self.at, actor="operator")
        agent.is_active = what == "active"

    def _remove(self, name: str) -> None:
        del self.declared[name]
        self._reconcile()
        agent = self.world.agents[f"agent-{name}"]
        agent.is_archived, agent.is_active = True, False
        self.world.declare(agent.id, None, "", self.at)

    def _reconcile(self) -> None:
        with self.hub.transaction() as c:
            rows.declare(c, *self.declared.values(), at=self.at)

    @step(3, when=lambda self: self.declared and len(self.world.live("QUEUED")) < MAX_QUEUED)
    def somebody_asks_for_a_run(self, choose: Choose) -> None:
        self._ask_for_a_run(choose.among(sorted(self.declared)))

    def _ask_for_a_run(self, name: str) -> None:
        agent = self.world.agents[f"agent-{name}"]
        run = Run(self._fresh_run_id(), agent.id, agent.device, self.at, touched_at=self.at)
        with self.hub.transaction() as c:
            run_moves.create_run(
                c,
                id=RunId(run.id),
                agent=get_agent(c, AgentId(agent.id)),
                fire_key=run.id,
                at=self.at,
                config_fingerprint="f",
                max_attempts=ATTEMPTS,
            )
        self.world.runs[run.id] = run

    def _fresh_run_id(self) -> str:
        self.runs_made += 1
        return f"run-{self.runs_made:03}"

    @step(4, when=lambda self: self.world.runs)
    def somebody_changes_a_run(self, choose: Choose) -> None:
        live = [run.id for run in self.world.live()]
        run = self.world.runs[choose.among(live or sorted(self.world.runs))]
        with self.hub.transaction() as c:
            match choose("resume", "pause", "cancel"):
                case "cancel":
                    run_pauses.request_cancel(c, RunId(run.id), "not needed", self.at)
                    self.world.cancel(run, self.at)
                case "pause":
                    self._pause(c, run)
                case "resume":
                    self._resume(c, run)

    def _pause(self, c: sa.Connection, run: Run) -> None:
        if run.state == "RUNNING":
            run_moves.move(c, held(run), RunEvent.USER_PAUSED, at=self.at, actor="operator")
        elif run.state in WAITING:
            run_pauses.pause_run(c, RunId(run.id), self.at, actor="operator")
        else:
            with pytest.raises((AtAnotherNode, IllegalTransition)):
                run_pauses.pause_run(c, RunId(run.id), self.at, actor="operator")
            return
        if run.pause != "user":
            self.world.move(run, "PAUSED", self.at, pause="user")

    def _resume(self, c: sa.Connection, run: Run) -> None:
        if run.pause == "user":
            run_pauses.resume_run(c, RunId(run.id), self.at, actor="operator")
            self.world.move(run, "QUEUED", self.at)
        else:
            with pytest.raises(IllegalTransition):
                run_pauses.resume_run(c, RunId(run.id), self.at, actor="operator")

    @step(3, when=lambda self: self.world.schedules)
    def somebody_pauses_or_enables_a_schedule(self, choose: Choose) -> None:
        schedule = self.world.schedules[choose.among(sorted(self.world.schedules))]
        on, catch_up = choose(True, False), choose(False, True)
        with self.hub.transaction() as c:
            schedules.set_enabled(c, schedule.id, on, at=self.at, catch_up=catch_up)
        if on:
            self.world.enable(schedule, self.at, catch_up=catch_up)
        elif schedule.paused is None:
            schedule.paused = "user"

    def _schedules(self) -> list[Schedule]:
        return [schedule for _, schedule in sorted(self.world.schedules.items())]

    @step(6)
    def time_passes(self, choose: Choose) -> None:
        self.hub.at += choose(MINUTE, 20 * MINUTE, HOUR, 5 * HOUR, DAY)
        back = [agent for agent in self.world.agents.values() if (agent.back_at or self.at + 1) <= self.at]
        with self.hub.transaction() as c:
            assert set(run_resumes.recover_agents(c, self.at)) == {agent.id for agent in back}
        for agent in back:
            agent.back_at = None
            self.world.resume("exhausted", self.at, agents=[agent.id])
        self._plan_schedules()
        for schedule in self._schedules():
            if schedule.paused is None and schedule.next_at is not None and schedule.next_at <= self.at:
                self._decide(schedule)

    def _plan_schedules(self) -> None:
        unplanned = [one for one in self._schedules() if one.paused is None and one.next_at is None]
        with self.hub.transaction() as c:
            found = schedule_rows.unplanned(c, 100)
            assert [row.id for row in found] == [schedule.id for schedule in unplanned]
            for row, schedule in zip(found, unplanned, strict=True):
                schedule.next_at = schedule.after(schedule.cursor)
                plan = NextFire(row.id, row.rev, schedule.next_at, schedule.next_at)
                schedules.plan_next(c, self._lead(c), [plan], self.at)

    def _decide(self, schedule: Schedule) -> None:
        *older, newest = missed = schedule.fires(self.at)
        covered = [CoveredFireRow(older[0], older[-1], len(older), "coalesced", newest)] if older else []
        with self.hub.transaction() as c:
            assert schedule.id in [due.schedule.id for due in due_schedules.due(c, self.at, 100)]
            fire = decision(
                c, schedule.id, runs=[newest], covered=covered, next_fire_at=newest + schedule.every
            )
            fresh = FreshRun(RunId(self._fresh_run_id()), newest)
            fire_decisions.decide(c, self._lead(c), [msgspec.structs.replace(fire, runs=(fresh,))], self.at)
            told = fires.fires_within(c, schedule.id, missed[0], newest)
        fate = self.world.fire(schedule, fresh.id, self.at)
        assert told[-1].decision == fate
        assert sum(row.fires for row in told) == len(missed)
        for at in missed:
            assert sum(row.first_at <= at <= row.fire_at for row in told) == 1

    def _lead(self, c: sa.Connection) -> leases.Term:
        return some(leases.acquire_lease(c, "scheduler", self.hub.boot_id, ttl_ms=MINUTE))

    @step()
    def the_clock_is_set(self, choose: Choose) -> None:
        before, by = self.at, choose(3 * HOUR, -3 * HOUR, 30 * DAY, -30 * DAY)
        self.hub.at += by
        with self.hub.transaction() as c:
            known = clock_steps.record_base(c, before, 0, "")
            base = msgspec.structs.replace(known, at=self.at)
            id = f"step-{known.steps}"
            assert clock_steps.judge_again(c, base, before=before, id=id, follows_wall=lambda _: True)
            for table in clock_steps.REDATE if by < 0 else ():
                clock_steps.redate(c, table, by_ms=by, at=self.at)
        self.memory.clock_was_set()
        self.world.step_clock(by, self.at)

    @step(2)
    def what_waits_too_long_is_given_up(self, choose: Choose) -> None:
        with self.hub.transaction() as c:
            waiting_runs.sweep(c, self.at, paused_ms=PAUSED_MS)
        self.world.sweep(self.at, paused_ms=PAUSED_MS, online={f"device-{device}" for device in self.online})

    @step(2)
    def what_is_old_goes(self, choose: Choose) -> None:
        kept, at_once = choose(1, 2, 3), choose(500, 2)
        before, failed_before = self.at - 6 * HOUR, self.at - 12 * HOUR
        for prune in (
            partial(retention.forget_payloads, before=self.at - 2 * HOUR, at=self.at),
            partial(
                retention.prune_runs,
                agent_ids=[AgentId(id) for id in self.world.agents],
                before=before,
                failed_before=failed_before,
                retained=kept,
            ),
        ):
            went = 1
            while went:
                with self.hub.transaction() as c:
                    went = prune(c, rows=at_once)
        self.world.forget(before=self.at - 2 * HOUR)
        self.world.prune(before=before, failed_before=failed_before, kept=kept)
