from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import DeviceId, RunId, UserId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import agents, state_moves
from storage.agents.agents import AgentRow
from storage.runs import run_claims, run_moves, run_pauses, runs
from storage.runs.run_claims import MOVES_AT_ONCE, Gates, WaitingLimits
from storage.runs.run_devices import NoDevice
from storage.runs.runs import RunRow
from storage.schema import agent_states as state_table
from storage.schema import agents as agent_table
from storage.schema import devices as device_table
from storage.schema import runs as run_table
from storage.schema import schedules, users
from tests.storage.rows import AT, BOOT, claim, make_agent, make_run, running, some
from tests.support.coded import coded
from tests.support.presence import appear, live, open_session


@pytest.fixture
def waiting(c: sa.Connection) -> None:
    """A run that waits."""
    make_run(c)


def test_longest_waiting_run_is_claimed_with_a_new_fence_and_a_lease(c: sa.Connection) -> None:
    agent = make_agent(c)
    make_run(c, "run-1", agent=agent, at=AT + 5)
    make_run(c, "run-2", agent=agent, at=AT)
    claimed = some(claim(c, at=AT + 9))
    assert (claimed.id, claimed.state, claimed.fence, claimed.lease_boot_id) == (
        "run-2",
        RunState.PREPARING,
        1,
        BOOT,
    )
    last = runs.run_history(c, claimed.id)[-1]
    assert (last.old_state, last.new_state, last.fence) == (RunState.QUEUED, RunState.PREPARING, 1)


def test_run_is_not_claimed_before_eligible_at(c: sa.Connection) -> None:
    make_run(c, at=AT + 1)
    assert claim(c, at=AT) is None and claim(c, at=AT + 1) is not None


@pytest.mark.usefixtures("waiting")
def test_run_of_a_disconnected_device_is_not_claimed(c: sa.Connection) -> None:
    assert claim(c, "desktop") is None
    assert run_claims.claim_runs(c, boot_id=BOOT, gates=Gates(online=frozenset()), lease_ms=1, at=AT) == []


def test_run_of_a_silent_connected_device_is_not_claimed(c: sa.Connection) -> None:
    run = make_run(c)
    assert run.device_id is not None
    live(c)
    open_session(c, run.device_id, boot_id=BOOT, platform=None, at=AT)
    state_moves.move(c, run.agent_id, "connectivity", "offline", at=AT, actor="hub")
    assert claim(c) is None
    state_moves.move(c, run.agent_id, "connectivity", "online", at=AT, actor="hub")
    assert claim(c) is not None


def test_run_beyond_the_limit_of_the_device_is_not_claimed(c: sa.Connection) -> None:
    for n in range(3):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}"))
    assert claim(c, per_device=2) is not None and claim(c, per_device=2) is not None
    assert claim(c, per_device=2) is None


def test_run_beyond_max_concurrent_runs_of_the_agent_is_not_claimed(c: sa.Connection) -> None:
    agent = make_agent(c)
    make_run(c, "run-1", agent=agent)
    make_run(c, "run-2", agent=agent)
    assert claim(c, per_device=9) is not None and claim(c, per_device=9) is None
    c.execute(sa.update(agent_table).values(max_concurrent_runs=2))
    assert claim(c, per_device=9) is not None


def test_run_limit_of_an_agent_moved_between_devices_spans_both(c: sa.Connection) -> None:
    make_run(c, "run-1", agent=make_agent(c, device="desk-1"))
    make_run(c, "run-2", agent=make_agent(c, device="desk-2"))
    there = frozenset({DeviceId("device-desk-1"), DeviceId("device-desk-2")})
    appear(c, there)
    claimed = run_claims.claim_runs(c, boot_id=BOOT, gates=Gates(online=there), lease_ms=30_000, at=AT)
    assert [run.id for run in claimed] == ["run-1"]


def test_run_beyond_the_limit_of_the_hub_is_not_claimed(c: sa.Connection) -> None:
    for n in range(3):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}", device=f"desk-{n}"))
    online = ("desk-0", "desk-1", "desk-2")
    assert claim(c, *online, total=2) is not None and claim(c, *online, total=2) is not None
    assert claim(c, *online, total=2) is None


def test_run_of_a_busy_device_does_not_block_runs_of_other_devices(c: sa.Connection) -> None:
    first, second = make_agent(c, "first"), make_agent(c, "second", device="desktop")
    make_run(c, "run-1", agent=first, at=AT)
    make_run(c, "run-2", agent=first, at=AT + 1)
    make_run(c, "run-3", agent=second, at=AT + 2)
    taken = [claim(c, "laptop", "desktop", at=AT + 9) for _ in range(3)]
    assert [run.id if run else None for run in taken] == ["run-1", "run-3", None]


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize(
    "gate",
    [
        {"lifecycle": "paused"},
        {"availability": "exhausted", "exhaust_reason": "rate_limit", "exhausted_at": AT},
    ],
)
def test_run_of_a_paused_or_exhausted_agent_is_not_claimed(c: sa.Connection, gate: dict[str, str]) -> None:
    c.execute(sa.update(state_table).values(gate))
    assert claim(c) is None


def test_oldest_run_is_claimed_among_thousands_of_devices(c: sa.Connection) -> None:
    make_run(c, "run-1", agent=make_agent(c, "z", device="zebra"), at=AT)
    make_run(c, "run-2", agent=make_agent(c, "a", device="aardvark"), at=AT + 1)
    assert some(claim(c, *[f"desk-{n}" for n in range(2_000)], "aardvark", "zebra", at=AT + 9)).id == "run-1"


@pytest.mark.usefixtures("waiting")
def test_fence_of_a_run_rises_with_each_claim(c: sa.Connection) -> None:
    fences = []
    for _ in range(4):
        claimed = some(claim(c))
        fences.append(claimed.fence)
        run_moves.move(c, claimed.held, RunEvent.SENT_BACK, at=AT, actor="hub")
    assert fences == [1, 2, 3, 4]


def claim_all(
    c: sa.Connection,
    *devices: str,
    settled: tuple[str, ...] | None = None,
    total: int = 32,
    is_held: bool = False,
) -> list[str]:
    """The ids of all that can be claimed for these devices, in the order of the claims."""
    online = frozenset(DeviceId(f"device-{name}") for name in devices)
    there = online if settled is None else frozenset(DeviceId(f"device-{name}") for name in settled)
    appear(c, online)
    gates = Gates(online=online, settling=online - there, total=total, is_held=is_held)
    return [
        run.id for run in run_claims.claim_runs(c, boot_id=BOOT, gates=gates, lease_ms=30_000, at=AT + 99)
    ]


def change(c: sa.Connection, run: RunRow, **values: object) -> None:
    c.execute(sa.update(run_table).where(run_table.c.id == run.id).values(values))


def test_many_runs_are_claimed_together_and_each_once(c: sa.Connection) -> None:
    desks = [f"desk-{n}" for n in range(9)]
    for n, desk in enumerate(desks):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}", device=desk))
    assert claim_all(c, *desks, total=7) == [f"run-{n}" for n in range(7)]
    assert claim_all(c, *desks, total=7) == []
    agent = some(agents.find_agent_by_name(c, "agent-0"))
    assert (agent.runs_waiting, agent.runs_executing) == (0, 1)


def test_run_of_higher_priority_is_claimed_first(c: sa.Connection) -> None:
    make_run(c, "run-1", agent=make_agent(c, "low", device="desk-1"))
    change(c, make_run(c, "run-2", agent=make_agent(c, "high", device="desk-2")), priority=5)
    assert claim_all(c, "desk-1", "desk-2", total=1) == ["run-2"]


def test_user_with_many_runs_does_not_block_the_run_of_another_user(c: sa.Connection) -> None:
    for n in range(4):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}", device=f"desk-{n}"))
    late = make_run(c, "run-9", agent=make_agent(c, "other", device="other-desk"), at=AT + 1)
    c.execute(sa.insert(users), {"id": "you", "name": "you", "created_at": AT})
    c.execute(sa.update(agent_table).where(agent_table.c.id == late.agent_id).values(user_id=UserId("you")))
    desks = [f"desk-{n}" for n in range(4)]
    assert claim_all(c, *desks, "other-desk", total=3) == ["run-0", "run-9", "run-1"]


def test_unsettled_device_gets_only_runs_requested_by_a_person(c: sa.Connection) -> None:
    change(c, make_run(c, "run-1", agent=make_agent(c, "fired", device="desk-1")), trigger_kind="schedule")
    make_run(c, "run-2", agent=make_agent(c, "asked", device="desk-2"))
    assert claim_all(c, "desk-1", "desk-2", settled=()) == ["run-2"]
    assert claim_all(c, "desk-1", "desk-2", settled=("desk-1",)) == ["run-1"]


def test_run_moved_with_the_device_is_claimed_immediately_within_a_move_limit(
    c: sa.Connection,
) -> None:
    moved = make_run(c, "run-1", agent=make_agent(c, "fired", device="desk-1"))
    change(c, moved, trigger_kind="schedule", reason="device_moved", fence=MOVES_AT_ONCE + 1)
    assert claim_all(c, "desk-1", settled=()) == []
    change(c, moved, fence=MOVES_AT_ONCE)
    assert claim_all(c, "desk-1", settled=()) == ["run-1"]


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        ({"trigger_kind": "catchup"}, False),
        ({"trigger_kind": "schedule", "crash_count": 1}, False),
        ({"trigger_kind": "schedule"}, True),
        ({"trigger_kind": "manual", "crash_count": 1}, True),
    ],
)
def test_crash_loop_hold_delays_catchup_and_crashed_runs_only(
    c: sa.Connection, values: dict[str, object], starts: bool
) -> None:
    change(c, make_run(c, agent=make_agent(c, device="desk")), **values)
    assert bool(claim_all(c, "desk", is_held=True)) is starts and bool(claim_all(c, "desk")) is not starts


def test_runs_of_a_schedule_execute_in_sequence_unless_overlap_is_allowed(c: sa.Connection) -> None:
    agent = make_agent(c, device="desk")
    c.execute(sa.update(agent_table).values(max_concurrent_runs=9))
    schedule = {"id": "s", "agent_id": agent.id, "kind": "every", "every_ms": 5_000}
    stamps = {"cursor_at": AT, "created_at": AT, "updated_at": AT}
    c.execute(sa.insert(schedules), schedule | {"overlap": "queue_all"} | stamps)
    for n in range(2):
        change(c, make_run(c, f"run-{n}", agent=agent), schedule_id="s", trigger_kind="schedule")
    wide = Gates(
        online=frozenset({DeviceId("device-desk")}),
        per_device=9,
    )

    appear(c, wide.online)

    def claimed() -> list[str]:
        return [run.id for run in run_claims.claim_runs(c, boot_id=BOOT, gates=wide, lease_ms=1, at=AT + 99)]

    assert (claimed(), claimed()) == (["run-0"], [])
    c.execute(sa.update(schedules).values(overlap="allow"))
    assert claimed() == ["run-1"]


def test_agent_in_error_starts_only_manual_runs(c: sa.Connection) -> None:
    fired = make_run(c, "run-1", agent=make_agent(c, device="desk"))
    change(c, fired, trigger_kind="schedule")
    c.execute(sa.update(state_table).values(health="error"))
    assert claim_all(c, "desk") == []
    change(c, fired, trigger_kind="manual")
    assert claim_all(c, "desk") == ["run-1"]


def test_claimed_run_has_a_deadline_and_a_run_sent_back_has_none(c: sa.Connection) -> None:
    run = make_run(c)
    claimed = some(claim(c, at=AT + 7))
    assert claimed.deadline_at == AT + 7 + run.timeout_ms
    run_moves.move(c, claimed.held, RunEvent.SENT_BACK, at=AT, actor="hub")
    assert runs.get_run(c, run.id).deadline_at is None


def test_begun_run_is_claimed_before_a_new_run(c: sa.Connection) -> None:
    agent = make_agent(c, device="desk")
    change(c, make_run(c, "run-2", agent=agent, at=AT + 1), fence=1)
    make_run(c, "run-1", agent=agent, at=AT)
    assert claim_all(c, "desk") == ["run-2"]


# --- runs that a person starts ---


LIMITS = WaitingLimits(waiting_manual_runs=2, waiting_manual_runs_per_device=3)


def start(
    c: sa.Connection,
    agent: AgentRow,
    key: str,
    *,
    trigger: str = "manual",
    seen: int | None = AT,
    **other: Any,
) -> RunRow:
    c.execute(sa.update(device_table).values(last_seen_at=seen))
    return run_claims.start_run(
        c,
        agent=agent,
        fire_key=key,
        limits=LIMITS,
        id=RunId(f"run-{agent.name}-{key}"),
        at=AT,
        config_fingerprint="",
        trigger_kind=trigger,
        **other,
    )


JOINED: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "equal": ({}, {}, True),
    "equal in all": (
        {"needs": ["a"], "locks": ["x", "b"], "parameters": {"n": [1]}},
        {"needs": ["a"], "locks": ["b", "x"], "parameters": {"n": [1]}},
        True,
    ),
    "another need": ({}, {"needs": ["a"]}, False),
    "another lock": ({"locks": ["a"]}, {"locks": ["b"]}, False),
    "other parameters": ({"parameters": {"n": 1}}, {"parameters": {"n": 2}}, False),
    "a context": ({}, {"context": {"task_id": "t"}}, False),
    "another trigger": ({"trigger": "rerun", "rerun_of": RunId("a")}, {}, False),
    "reruns of two runs": (
        {"trigger": "rerun", "rerun_of": RunId("a")},
        {"trigger": "rerun", "rerun_of": RunId("b")},
        False,
    ),
}


@pytest.mark.parametrize(("first", "second", "is_joined"), JOINED.values(), ids=JOINED)
def test_request_joins_an_equal_run_with_nothing_read(
    c: sa.Connection, agent: AgentRow, first: dict[str, Any], second: dict[str, Any], *, is_joined: bool
) -> None:
    known = start(c, agent, "a", joins=True, **first)
    assert (start(c, agent, "b", joins=True, **second).id == known.id) is is_joined


@pytest.mark.parametrize(
    ("change_of_run", "is_joined"),
    [
        ({"fence": 1}, True),  # a device has sent it back
        ({"state": RunState.PAUSED, "pause_reason": "user"}, True),
        ({"started_at": AT}, False),
        ({"state": RunState.PAUSED, "pause_reason": "device_offline", "started_at": AT}, False),
        ({"cancel_requested_at": AT}, False),
    ],
)
def test_request_is_followed_by_another_run_once_the_equal_run_has_begun(
    c: sa.Connection, agent: AgentRow, change_of_run: dict[str, Any], *, is_joined: bool
) -> None:
    first = start(c, agent, "a", joins=True)
    change(c, first, **change_of_run)
    follower = start(c, agent, "b", joins=True)
    assert (follower.id == first.id) is is_joined
    assert start(c, agent, "c", joins=True).id == follower.id


def test_request_joining_a_run_ends_the_delay(c: sa.Connection, agent: AgentRow) -> None:
    change(c, start(c, agent, "a", joins=True), eligible_at=AT + 60_000)
    assert start(c, agent, "b", joins=True).eligible_at == AT


def test_equal_requests_beyond_the_limit_of_waiting_runs_join(c: sa.Connection, agent: AgentRow) -> None:
    start(c, agent, "a", parameters={"n": 1})
    known = start(c, agent, "b", joins=True)
    assert {start(c, agent, str(number), joins=True).id for number in range(5)} == {known.id}


def test_run_on_a_never_paired_device_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    with pytest.raises(NoDevice, match="works on device laptop, which was never paired") as refused:
        start(c, agent, "a", seen=None)
    assert (
        refused.value.hint == "on that device: hub connect URL --root DIR --name laptop; then here: hub pair"
    )


def test_run_on_a_revoked_device_is_refused_with_the_command_for_a_new_key(
    c: sa.Connection, agent: AgentRow
) -> None:
    c.execute(sa.update(device_table).values(revoked_at=AT))
    with pytest.raises(NoDevice, match="works on device laptop, which was revoked") as refused:
        start(c, agent, "a")
    assert "--new-key" in refused.value.hint


def test_the_waiting_runs_of_an_agent_are_limited(c: sa.Connection, agent: AgentRow) -> None:
    start(c, agent, "a")
    start(c, agent, "b", trigger="rerun")
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.LIMIT_REACHED),
        match=r"2 runs of 'inbox' wait.*waiting_manual_runs.*cancel some",
    ) as caught:
        start(c, agent, "c")
    assert (caught.value.code, caught.value.limit) == (ErrorCode.LIMIT_REACHED, "waiting_manual_runs")


def test_waiting_manual_runs_are_limited_for_each_device(c: sa.Connection) -> None:
    first, second = make_agent(c), make_agent(c, "outbox")
    for agent, key in ((first, "a"), (first, "b"), (second, "a")):
        start(c, agent, key)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)) as caught:
        start(c, second, "b")
    assert caught.value.limit == "waiting_manual_runs_per_device"
    assert start(c, make_agent(c, "elsewhere", device="desktop"), "a").id == "run-elsewhere-a"


def test_run_with_a_known_fire_key_is_returned_above_the_waiting_limit(
    c: sa.Connection, agent: AgentRow
) -> None:
    known = start(c, agent, "a")
    start(c, agent, "b")
    assert start(c, agent, "a") == known


def test_scheduled_begun_or_ended_runs_do_not_count_as_waiting_manual_runs(
    c: sa.Connection, agent: AgentRow
) -> None:
    for n in range(3):
        run_pauses.request_cancel(c, start(c, agent, f"gone-{n}").id, "not needed", AT)
    start(c, agent, "a")
    start(c, agent, "b")
    assert claim(c) is not None
    for n in range(3):
        id = RunId(f"run-fired-{n}")
        run_moves.create_run(
            c, id=id, agent=agent, fire_key=id, at=AT, config_fingerprint="", trigger_kind="schedule"
        )
    start(c, agent, "c")
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)):
        start(c, agent, "d")


def test_following_run_is_claimed_after_runs_waiting_before(c: sa.Connection) -> None:
    agent, other = make_agent(c, "first"), make_agent(c, "second")
    held = running(c, agent=agent)
    c.execute(sa.update(run_table).values(units_done=1))
    make_run(c, "run-2", agent=other, at=AT + 1)
    follow_up = run_moves.FollowUp(RunId("run-3"), "f", {})
    ended = RunOutcome.SUCCESS
    run_moves.move(c, held, RunEvent.FINISHED, at=AT + 2, actor="hub", outcome=ended, follow_up=follow_up)
    make_run(c, "run-4", agent=other, at=AT + 3)
    claimed = [some(claim(c, at=AT + 9, per_device=9)).id for _ in range(2)]
    assert claimed == ["run-2", "run-3"]
