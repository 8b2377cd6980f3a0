"""Runs stopped from outside and let go on, and agents whose quota is used up."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BootId, CallId, DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage.agents import agents, exhaustion
from storage.agents.configs import ModelUse
from storage.agents.declared_agents import DeclaredAgent
from storage.runs import run_moves, run_pauses, run_resumes, runs, waiting_runs
from storage.runs.calls import mark_sent
from storage.runs.runs import RunRow
from storage.runs.waiting_runs import Swept
from storage.schema import runs as run_table
from tests.storage.rows import AT, BOOT, LAPTOP, calls, claim, declare, make_agent, make_run, plan
from tests.support.coded import coded
from tests.support.stored import agent_history

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def exhaust(
    c: sa.Connection,
    run_id: str = "run-1",
    *,
    cause: str = "rate_limit",
    retry_after_ms: int | None = None,
    at: int = AT,
) -> None:
    """A run of the agent meets the end of the quota."""
    run = make_run(c, run_id, state=RunState.RUNNING, at=at)
    run_pauses.exhaust_run(
        c, run.held, agent_id=run.agent_id, cause=cause, retry_after_ms=retry_after_ms, at=at, reason="429"
    )


def waits(c: sa.Connection) -> int | None:
    """How long from now until the first agent is back."""
    back = exhaustion.next_recovery(c)
    return None if back is None else back - AT


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.PAUSED])
def test_waiting_run_can_be_paused_and_resumed_by_a_person(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    paused = run_pauses.pause_run(c, run.id, AT, actor="anna")
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.USER)
    assert run_pauses.pause_run(c, run.id, AT, actor="anna") == paused
    assert run_resumes.resume_runs(c, PauseReason.DEVICE_OFFLINE, at=AT) == []
    assert run_pauses.resume_run(c, run.id, AT, actor="anna").state is RunState.QUEUED


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.COMPLETED])
def test_pause_of_an_executing_or_ended_run_is_refused(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    with pytest.raises(HubError, check=coded(ErrorCode.ILLEGAL_TRANSITION)):
        run_pauses.pause_run(c, run.id, AT, actor="anna")
    assert runs.get_run(c, run.id) == run


def test_runs_waiting_for_a_model_are_counted_for_each_model_with_the_oldest_pause(
    c: sa.Connection,
) -> None:
    assert waiting_runs.model_waits(c) == []
    local = DeclaredAgent(name="local", device_name="tower", model_use=ModelUse(allow_cloud=False))
    declare(c, DeclaredAgent(name="inbox", device_name=LAPTOP), local)
    for at, name in enumerate(("inbox", "inbox", "local"), AT):
        run = make_run(
            c, f"run-{at}", agent=agents.find_agent_by_name(c, name), state=RunState.RUNNING, at=at
        )
        run_moves.move(c, run.held, RunEvent.MODEL_AWAY, at=at, actor="hub")
    assert sorted(waiting_runs.model_waits(c), key=lambda waits: waits.count) == [
        waiting_runs.ModelWaits(count=1, since=AT + 2, allow_cloud=False),
        waiting_runs.ModelWaits(count=2, since=AT, allow_cloud=True),
    ]


def test_paused_runs_are_resumed_by_pause_reason_device_and_agent(c: sa.Connection) -> None:
    paused = make_run(c, state=RunState.PAUSED)
    assert waiting_runs.awaited_devices(c) == {DeviceId("device-laptop")}
    assert run_resumes.resume_runs(c, PauseReason.EXHAUSTED, at=AT) == []
    assert run_resumes.resume_runs(c, PauseReason.DEVICE_OFFLINE, devices=[DeviceId("device-x")], at=AT) == []
    assert run_resumes.resume_runs(c, PauseReason.DEVICE_OFFLINE, agents=[AgentId("x")], at=AT) == []
    assert run_resumes.resume_runs(
        c, PauseReason.DEVICE_OFFLINE, devices=[DeviceId("device-laptop")], at=AT + 7
    ) == [paused.id]
    row = runs.get_run(c, paused.id)
    assert (row.state, row.pause_reason, row.eligible_at, row.fence) == (
        RunState.QUEUED,
        None,
        AT + 7,
        paused.fence,
    )
    last = runs.run_history(c, paused.id)[-1]
    assert (last.old_state, last.new_state, last.at) == (RunState.PAUSED, RunState.QUEUED, AT + 7)


def test_runs_resumed_together_are_spread_over_time(c: sa.Connection) -> None:
    for n in range(3):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}", device=f"desk-{n}"))
        run_pauses.pause_run(c, RunId(f"run-{n}"), AT, actor="anna")
    c.execute(sa.update(run_table).values(pause_reason=PauseReason.DRAIN))
    back = run_resumes.resume_runs(c, PauseReason.DRAIN, at=AT, spread_ms=500)
    assert [runs.get_run(c, run_id).eligible_at - AT for run_id in back] == [0, 500, 1_000]


def test_run_of_an_exhausted_agent_is_paused_until_recovery(c: sa.Connection) -> None:
    exhaust(c, retry_after_ms=5 * MINUTE)
    run = runs.get_run(c, RunId("run-1"))
    assert (run.state, run.pause_reason, run.attempt) == (RunState.PAUSED, PauseReason.EXHAUSTED, 1)
    assert (waits(c), run_resumes.recover_agents(c, AT + 5 * MINUTE - 1)) == (5 * MINUTE, [])
    assert run_resumes.recover_agents(c, AT + 5 * MINUTE) == [run.agent_id]
    assert runs.get_run(c, run.id).state is RunState.QUEUED
    told = [
        (move.new_value, move.reason)
        for move in agent_history(c, run.agent_id)
        if move.axis == "availability"
    ]
    assert told == [("exhausted", "rate_limit"), ("available", "recovered")]


def exhaust_again(c: sa.Connection, times: int, cause: str) -> list[int | None]:
    found = []
    agent = make_agent(c)
    for _ in range(times):
        exhaustion.exhaust(c, agent.id, cause=cause, retry_after_ms=None, at=AT, actor="hub")
        found.append(waits(c))
        exhaustion.recover_agent(c, agent.id, at=AT, actor="hub")
    return found


@pytest.mark.parametrize(
    ("cause", "minutes"),
    [
        ("rate_limit", (1, 2, 4, 8, 16, 32, 60, 60)),
        ("billing", (10, 20, 40, 80, 160, 320, 360, 360)),  # it is asked about
    ],
)
def test_consecutive_exhaustions_double_the_wait_up_to_a_limit(
    c: sa.Connection, cause: str, minutes: tuple[int, ...]
) -> None:
    assert exhaust_again(c, 8, cause) == [n * MINUTE for n in minutes]


def test_billing_exhaustion_ends_after_ten_minutes_by_a_probe(c: sa.Connection) -> None:
    exhaust(c, cause="billing")
    assert run_resumes.recover_agents(c, AT + 10 * MINUTE) != []
    last = agent_history(c, runs.get_run(c, RunId("run-1")).agent_id)[-1]
    assert (last.new_value, last.reason) == ("available", "probe")


def test_second_exhaustion_of_an_agent_only_prolongs_the_wait(c: sa.Connection) -> None:
    agent = make_agent(c)
    for wait in (5, 1, 9):
        exhaustion.exhaust(c, agent.id, cause="rate_limit", retry_after_ms=wait * MINUTE, at=AT, actor="hub")
    assert waits(c) == 9 * MINUTE
    assert len([move for move in agent_history(c, agent.id) if move.axis == "availability"]) == 1


def is_overdue(c: sa.Connection, at: int) -> bool:
    return waiting_runs.read_gates(c, boot_id=BOOT, at=at, paused_ms=7 * DAY).is_overdue


def test_run_waiting_too_long_is_given_up_unless_paused_by_a_person(c: sa.Connection) -> None:
    late = make_run(c, "late")
    c.execute(sa.update(run_table).values(start_deadline_at=AT + 5))
    left = make_run(c, "left", agent=make_agent(c, "b", device="desk-b"), state=RunState.PAUSED)
    kept = make_run(c, "kept", agent=make_agent(c, "c", device="desk-c"))
    run_pauses.pause_run(c, kept.id, AT, actor="anna")

    assert not is_overdue(c, AT + 4) and is_overdue(c, AT + 5)
    assert waiting_runs.sweep(c, AT + 7 * DAY, paused_ms=7 * DAY) == Swept((late.id,), (left.id,))
    assert runs.get_run(c, late.id).reason == "start_deadline"
    assert runs.get_run(c, left.id).errors[0].code == "paused_too_long"
    assert runs.get_run(c, kept.id).state is RunState.PAUSED


@pytest.mark.parametrize(("state", "is_late"), [(RunState.PREPARING, True), (RunState.RUNNING, False)])
def test_run_sent_back_before_acknowledgement_still_has_the_start_deadline(
    c: sa.Connection, state: RunState, is_late: bool
) -> None:
    run = make_run(c, state=state)
    c.execute(sa.update(run_table).values(start_deadline_at=AT + 5))
    run_moves.move(c, run.held, RunEvent.SENT_BACK, at=AT, actor="hub")
    assert is_overdue(c, AT + 5) is is_late


def test_read_gates_of_an_idle_hub_uses_a_single_statement(c: sa.Connection) -> None:
    asked: list[str] = []
    sa.event.listen(c, "before_cursor_execute", lambda *call: asked.append(call[2]))
    seen = waiting_runs.read_gates(c, boot_id=BOOT, at=AT, paused_ms=7 * DAY)
    assert (len(asked), seen.recovery_at) == (1, None)
    assert not any(value for value in msgspec.structs.astuple(seen))


def test_read_gates_finds_drained_runs_and_runs_of_an_expired_lease(c: sa.Connection) -> None:
    make_run(c, "left", state=RunState.RUNNING, at=AT)
    make_run(c, "drained", agent=make_agent(c, "b", device="desk-b"), state=RunState.PAUSED)
    c.execute(sa.update(run_table).where(run_table.c.id == "drained").values(pause_reason=PauseReason.DRAIN))
    seen = waiting_runs.read_gates(c, boot_id=BootId("other"), at=AT, paused_ms=7 * DAY)
    assert (seen.is_any_left, seen.is_any_drained, seen.executing) == (False, True, set())
    c.execute(sa.update(run_table).where(run_table.c.id == "left").values(lease_expires_at=1))
    seen = waiting_runs.read_gates(c, boot_id=BootId("other"), at=AT, paused_ms=7 * DAY)
    assert seen.is_any_left
    assert not waiting_runs.read_gates(c, boot_id=BOOT, at=AT, paused_ms=7 * DAY).is_any_left


def test_runs_to_cancel_returns_requested_cancellations_to_the_holder(c: sa.Connection, run: RunRow) -> None:
    assert waiting_runs.runs_to_cancel(c, BOOT) == []
    run_pauses.request_cancel(c, run.id, "enough", AT)
    run_pauses.request_cancel(c, run.id, "too late", AT + 1)
    assert waiting_runs.runs_to_cancel(c, BOOT) == [(run.id, "enough")]


def test_begun_run_of_a_device_absent_for_days_is_given_up(c: sa.Connection, run: RunRow) -> None:
    run_moves.move(c, run.held, RunEvent.RETRIED, at=AT, actor="hub")
    assert not is_overdue(c, AT + 7 * DAY - 1)
    assert waiting_runs.sweep(c, AT + 7 * DAY, paused_ms=7 * DAY) == Swept(stranded=(run.id,))
    assert runs.get_run(c, run.id).reason == "device_gone"


def test_waiting_runs_follow_their_agent_to_another_device(c: sa.Connection) -> None:
    sent = make_run(c, "sent", agent=make_agent(c, "b"), state=RunState.RUNNING)
    run = make_run(c, "fresh")
    plan(c, sent.held, of=calls("call-1"))
    mark_sent(c, sent.held, [CallId("call-1")], AT)
    run_moves.move(c, sent.held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    assert run_pauses.follow_agents(c, AT, actor="hub.toml") == []

    for name in ("inbox", "b"):
        make_agent(c, name, device="desktop")

    assert set(run_pauses.follow_agents(c, AT, actor="hub.toml")) == {run.id, sent.id}
    assert runs.get_run(c, run.id).device_id == "device-desktop"
    assert runs.get_run(c, sent.id).state is RunState.CANCELLED


def test_run_past_the_start_deadline_is_not_claimed(c: sa.Connection) -> None:
    make_run(c)
    c.execute(sa.update(run_table).values(start_deadline_at=AT + 5))
    assert claim(c, at=AT + 5) is None and claim(c, at=AT + 4) is not None
