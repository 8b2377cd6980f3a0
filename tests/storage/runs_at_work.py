"""Steps: runs that are claimed, planned, delivered and ended, and the devices they run on."""

import pytest

from protocol.errors import IllegalTransition
from protocol.ids import AgentId, CallId, DeviceId
from protocol.lifecycles import CallEvent, PauseReason, RunEvent, RunOutcome
from storage.agents import exhaustion
from storage.effects import sessions
from storage.kernel.database import Conflict
from storage.runs import plans, run_claims, run_moves, run_pauses, run_resumes, units
from storage.runs.calls import CallAnswer, mark_sent
from storage.runs.items import Decision, PlannedCall
from storage.runs.plans import UnitPlan
from storage.runs.run_claims import Gates
from storage.runs.units import StillOpen
from tests.storage.expected_rows import ATTEMPTS, Run
from tests.storage.people_and_time import PeopleAndTime
from tests.storage.rows import plan_unit, settle_call
from tests.storage.steps import Choose, has_run, held, step
from tests.support.presence import appear

LEASE_MS = 3_600_000
UNITS = ("a.txt", "b.txt")


class RunsAtWork(PeopleAndTime):
    """See the module."""

    @step(8, when=lambda self: self._claimable())
    def runs_are_claimed(self, choose: Choose) -> None:
        self._claim(is_taken_on=choose(True, False))

    @step(when=lambda self: not self._claimable())
    def nothing_can_be_claimed(self, choose: Choose) -> None:
        self._claim(is_taken_on=False)

    def _online(self) -> frozenset[DeviceId]:
        return frozenset(DeviceId(f"device-{device}") for device in self.online)

    def _claimable(self) -> list[str]:
        return self.world.claimable(self._online(), per_device=self.per_device, total=self.total, at=self.at)

    def _claim(self, *, is_taken_on: bool) -> None:
        online, expected = self._online(), self._claimable()
        gates = Gates(online=online, per_device=self.per_device, total=self.total)
        with self.hub.transaction() as c:
            appear(c, online, self.hub.boot_id)
            claimed = run_claims.claim_runs(
                c, boot_id=self.hub.boot_id, gates=gates, lease_ms=LEASE_MS, at=self.at
            )
        found = sorted(run.id for run in claimed)
        assert found == sorted(expected), (found, expected)
        for run_id in expected:
            run = self.world.runs[run_id]
            run.state, run.touched_at = "PREPARING", self.at
            run.fence += 1
            if is_taken_on:
                self.move(run, RunEvent.ACKNOWLEDGED, "RUNNING")

    @step(3, when=has_run("PREPARING"))
    def a_run_is_taken_on(self, choose: Choose) -> None:
        self.move(self.run(choose, "PREPARING"), RunEvent.ACKNOWLEDGED, "RUNNING")

    @step(when=has_run("PREPARING"))
    def a_run_is_sent_back(self, choose: Choose) -> None:
        run = self.run(choose, "PREPARING")
        run.eligible_at = self.at + 5_000
        self.move(run, RunEvent.SENT_BACK, "QUEUED", eligible_at=run.eligible_at)

    @step(3)
    def a_device_connects(self, choose: Choose) -> None:
        self.connect(choose.among(sorted(self.epochs)))

    @step()
    def an_old_connection_ends(self, choose: Choose) -> None:
        device = choose.among(sorted(self.epochs))
        with self.hub.transaction() as c:
            epoch = self.epochs[device] - 1
            assert not sessions.close_session(c, DeviceId(f"device-{device}"), epoch, self.at)

    @step(when=lambda self: self.online)
    def a_device_is_lost(self, choose: Choose) -> None:
        device = choose.among(sorted(self.online))
        with self.hub.transaction() as c:
            assert sessions.close_session(c, DeviceId(f"device-{device}"), self.epochs[device], self.at)
        self.online.remove(device)
        for run in self.world.live("PREPARING", "RUNNING"):
            if run.device == f"device-{device}":
                if run.state == "PREPARING":
                    self.move(run, RunEvent.DEVICE_LOST, "QUEUED")
                else:
                    self.move(run, RunEvent.DEVICE_LOST, "PAUSED", pause="device_offline")

    @step(6, when=has_run("RUNNING"))
    def a_unit_is_planned(self, choose: Choose) -> None:
        self._plan(self.run(choose, "RUNNING"), choose)

    def _plan(self, run: Run, choose: Choose) -> None:
        unit, content, calls = choose.among(UNITS), choose(1, 2), choose(2, 1, 0)
        ids = [f"{run.agent}|{unit}|{content}|{ordinal}" for ordinal in range(calls)]
        state = self.world.units.get((run.id, unit))
        others = [call.run for id, call in self.world.calls.items() if id in ids and call.run != run.id]
        refused: type[Exception] | None = None
        if state in ("DONE", "SKIPPED"):
            refused = IllegalTransition
        elif any(self.world.runs[other].is_live for other in others):
            refused = Conflict
        if refused is not None:
            with pytest.raises(refused):
                self._plan_calls(run, unit, content, ids)
            return
        plan = self._plan_calls(run, unit, content, ids, most_sent=choose(0, 9))
        self.world.plan(run, unit, str(content), ids, self.at)
        self.contents[run.id, unit] = str(content)
        for id in ids[: plan.marked]:
            assert (state, others) == (None, [])
            self.world.calls[id].state, self.world.calls[id].sends = "SENT", 1
        assert plan.adopted == len(others)
        still_open = {id for id, call in self.world.calls_of(run, unit).items() if call.is_open}
        assert {call.call_id for call in plan.open_calls} == still_open
        assert not still_open & {id for id, call in self.world.calls.items() if call.state == "ACKED"}

    def _plan_calls(
        self, run: Run, unit: str, content: int, ids: list[str], *, most_sent: int = 0
    ) -> UnitPlan:
        with self.hub.transaction() as c:
            about = plans.UnitToPlan(
                held=held(run),
                unit_key=unit,
                content_hash=str(content),
                size_bytes=1,
                found=(),
                decide=lambda known: [Decision(call=_call(id, n)) for n, id in enumerate(ids)],
                at=self.at,
                most_sent=most_sent,
            )
            return plan_unit(c, about)

    @step(when=has_run("RUNNING"))
    def a_unit_is_passed_over(self, choose: Choose) -> None:
        run, unit = self.run(choose, "RUNNING"), choose.among(UNITS)
        is_new = (run.id, unit) not in self.world.units
        with self.hub.transaction() as c:
            assert units.skip_units(c, held(run), [(unit, "1", None)], self.at) == is_new
        if is_new:
            self.world.units[run.id, unit] = "SKIPPED"
            self.world.touch(run, self.at)

    @step(4, when=lambda self: self._open_calls("PLANNED", "SENT"))
    def calls_are_sent(self, choose: Choose) -> None:
        self._send(self.run(choose, "RUNNING"), arrives=choose(True, False))

    def _open_calls(self, *states: str) -> bool:
        running = {run.id for run in self.world.live("RUNNING")}
        return any(call.run in running and call.state in states for call in self.world.calls.values())

    def _send(self, run: Run, *, arrives: bool) -> None:
        calls = {id: call for id, call in self.world.calls_of(run).items() if call.is_open}
        with self.hub.transaction() as c:
            sent = mark_sent(c, held(run), [CallId(id) for id in self.world.calls_of(run)], self.at)
        assert set(sent) == set(calls)
        for call in calls.values():
            call.state = "SENT"
            call.sends += 1
        if arrives:
            self.applied |= set(calls)

    @step(4, when=lambda self: self._open_calls("SENT"))
    def every_answer_comes(self, choose: Choose) -> None:
        for call_id, call in sorted(self.world.calls.items(), key=lambda found: found[0]):
            if call.state == "SENT":
                self._answer(call_id, is_lost=choose(False, True))

    @step(4, when=lambda self: self._open_calls("SENT"))
    def answers_settle_whole_units(self, choose: Choose) -> None:
        run = self.run(choose, "RUNNING")
        sent = {id: call for id, call in self.world.calls_of(run).items() if call.state == "SENT"}
        taken = [id for id in sorted(sent) if id in self.applied]
        answers = [CallAnswer(call_id=CallId(id), event=CallEvent.ACKED) for id in taken]
        with self.hub.transaction() as c:
            batch = units.AnsweredCalls(held=held(run), answers=answers, at=self.at, whole=UNITS)
            (settled,) = units.settle_answers(c, [batch])
        for id in taken:
            sent[id].state = "ACKED"
            self.world.touch(run, self.at)
        for unit in settled.done:
            calls = self.world.calls_of(run, unit)
            assert {*calls} & {*taken} and {call.state for call in calls.values()} == {"ACKED"}
            self.world.settle(run, unit, self.contents[run.id, unit], self.at)

    @step(2, when=lambda self: self.world.calls)
    def an_answer_comes(self, choose: Choose) -> None:
        """Whatever has become of the run; twice, perhaps, or never."""
        self._answer(choose.among(sorted(self.world.calls)), is_lost=choose(False, True))

    def _answer(self, call_id: str, *, is_lost: bool = False) -> None:
        call = self.world.calls[call_id]
        event, after = CallEvent.ACKED, "ACKED"
        if call_id not in self.applied:
            event, after = (CallEvent.GIVEN_UP, "UNKNOWN") if is_lost else (CallEvent.REJECTED, "REJECTED")
        with self.hub.transaction() as c:
            if call.state == "PLANNED" and after != "UNKNOWN":
                with pytest.raises(IllegalTransition):
                    settle_call(c, CallId(call_id), event, {"result": {}}, self.at)
                return
            settled = settle_call(c, CallId(call_id), event, {"result": {}}, self.at)
        assert settled == call.is_open
        if settled:
            call.state = after
            self.world.touch(self.world.runs[call.run], self.at)

    @step(4, when=lambda self: any(self._units(run, "EXTRACTED") for run in self.world.live("RUNNING")))
    def units_are_settled(self, choose: Choose) -> None:
        self._settle(self.run(choose, "RUNNING"))

    def _settle(self, run: Run) -> None:
        for unit in self._units(run, "EXTRACTED"):
            calls = self.world.calls_of(run, unit)
            with self.hub.transaction() as c:
                if any(call.is_open for call in calls.values()):
                    with pytest.raises(StillOpen):
                        units.settle_unit(c, held(run), unit, self.at)
                    continue
                after = units.settle_unit(c, held(run), unit, self.at)
            self.world.settle(run, unit, self.contents[run.id, unit], self.at)
            if after == "DONE":
                assert set(calls) <= self.applied

    def _units(self, run: Run, state: str) -> list[str]:
        return sorted(
            unit for (run_id, unit), found in self.world.units.items() if (run_id, found) == (run.id, state)
        )

    @step(when=has_run("RUNNING"))
    def a_unit_fails(self, choose: Choose) -> None:
        run, unit = self.run(choose, "RUNNING"), choose.among(UNITS)
        state, calls = self.world.units.get((run.id, unit)), self.world.calls_of(run, unit).values()
        refused: type[Exception] | None = None
        if state != "FAILED" and any(call.state == "SENT" for call in calls):
            refused = StillOpen
        elif state in ("DONE", "SKIPPED"):
            refused = IllegalTransition
        if refused is not None:
            with pytest.raises(refused):
                self._fail_unit(run, unit)
            return
        self._fail_unit(run, unit)
        self.world.fail_unit(run, unit, self.at)

    def _fail_unit(self, run: Run, unit: str) -> None:
        with self.hub.transaction() as c:
            units.fail_unit(
                c, held(run), unit_key=unit, content_hash="", size_bytes=None, error="broken", at=self.at
            )

    @step(2, when=has_run("RUNNING"))
    def a_run_is_done(self, choose: Choose) -> None:
        run = self.run(choose, "RUNNING")
        self._finish(run, choose(RunOutcome.SUCCESS, RunOutcome.PARTIAL))

    def _finish(self, run: Run, outcome: RunOutcome) -> None:
        if self.world.has_open_work(run):
            with pytest.raises(IllegalTransition), self.hub.transaction() as c:
                run_moves.move(c, held(run), RunEvent.FINISHED, at=self.at, actor="hub", outcome=outcome)
        else:
            run.is_success = outcome is RunOutcome.SUCCESS
            self.move(run, RunEvent.FINISHED, "COMPLETED", outcome=outcome)

    @step(5, when=has_run("RUNNING"))
    def a_run_does_all_it_should(self, choose: Choose) -> None:
        """But its device may refuse what it is sent."""
        run = self.run(choose, "RUNNING")
        self._plan(run, choose)
        self._send(run, arrives=choose(True, False))
        for call_id in sorted(self.world.calls_of(run)):
            self._answer(call_id)
        self._settle(run)
        self._finish(run, RunOutcome.SUCCESS)

    @step(2, when=has_run("PREPARING", "RUNNING"))
    def a_run_fails(self, choose: Choose) -> None:
        run = self.run(choose, "PREPARING", "RUNNING")
        if run.is_unwanted:
            self.move(run, RunEvent.CANCELLED, "CANCELLED")
        else:
            self.move(run, RunEvent.FAILED, "FAILED", reason="broken")

    @step(2, when=has_run("RUNNING"))
    def a_run_is_to_be_tried_again(self, choose: Choose) -> None:
        run = self.run(choose, "RUNNING")
        if run.attempt == ATTEMPTS:
            with pytest.raises(IllegalTransition), self.hub.transaction() as c:
                run_moves.move(c, held(run), RunEvent.RETRIED, at=self.at, actor="hub")
        else:
            run.attempt += 1
            run.eligible_at = self.at + 30_000
            self.move(run, RunEvent.RETRIED, "QUEUED", eligible_at=run.eligible_at)

    @step(2, when=has_run("RUNNING"))
    def the_quota_is_used_up(self, choose: Choose) -> None:
        run = self.run(choose, "RUNNING")
        agent = self.world.agents[run.agent]
        agent.times += 1
        agent.back_at = self.at + min(60, 2 ** (agent.times - 1)) * 60_000
        with self.hub.transaction() as c:
            run_pauses.exhaust_run(
                c,
                held(run),
                agent_id=AgentId(agent.id),
                cause="rate_limit",
                retry_after_ms=None,
                at=self.at,
            )
        self.world.move(run, "PAUSED", self.at, pause="exhausted")

    @step(when=lambda self: any(agent.back_at for agent in self.world.agents.values()))
    def the_quota_is_bought(self, choose: Choose) -> None:
        agents = self.world.agents
        agent = agents[choose.among([id for id, agent in agents.items() if agent.back_at])]
        with self.hub.transaction() as c:
            assert exhaustion.recover_agent(c, AgentId(agent.id), at=self.at, actor="operator")
            run_resumes.resume_runs(c, PauseReason.EXHAUSTED, agents=[AgentId(agent.id)], at=self.at)
        agent.back_at = None
        self.world.resume("exhausted", self.at, agents=[agent.id])


def _call(id: str, ordinal: int) -> PlannedCall:
    return PlannedCall(call_id=CallId(id), ordinal=ordinal, table="tasks", payload={"data": {"title": id}})
