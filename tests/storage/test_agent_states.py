"""How agents stand: moved by tables, remembered, and made busy by their runs."""

from contextlib import suppress
from itertools import pairwise, product
from random import Random

import pytest
import sqlalchemy as sa

from protocol.agent_status import VALUES, Activity, Axes, Axis, IllegalMove, Lifecycle
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent, RunState
from protocol.status_vocabularies import OrchestratorStatus, StateDetail, Vocabulary, pair_of, status_words
from storage.agents import agent_states, agents, exhaustion, state_history, state_moves
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.exhaustion import exhaust
from storage.agents.state_history import AgentMove
from storage.agents.state_moves import Counts, count_runs, move_if_legal
from storage.agents.status_sql import STATE_DETAIL, words_in_sql
from storage.effects import termination
from storage.effects.status_writes import StatusWrite, write_status
from storage.kernel.columns import struct_from
from storage.runs import run_moves, run_pauses, runs
from storage.runs.runs import RunRow
from storage.schedules import schedule_rows
from storage.schema import agent_states as states
from storage.schema import agents as agents_table
from tests.storage.rows import AT, NEXT_BOOT, claim, declare, make_agent, make_run, some
from tests.storage.scheduled import make_schedule
from tests.support import stored
from tests.support.coded import coded

MINUTE = 60_000


def axes_of(c: sa.Connection, agent_id: AgentId) -> dict[str, str]:
    axes = agent_states.find_state(c, agent_id).axes
    return {str(axis): axes.on(axis) for axis in Axis}


def history_of(c: sa.Connection, agent_id: AgentId, axis: Axis) -> list[tuple[str | None, str]]:
    return [
        (move.old_value, move.new_value) for move in stored.agent_history(c, agent_id) if move.axis == axis
    ]


def may_do(c: sa.Connection, agent: AgentRow, at_once: int) -> None:
    c.execute(sa.update(agents_table).values(max_concurrent_runs=at_once))
    assert agents.get_agent(c, agent.id).max_concurrent_runs == at_once


def run_beside(c: sa.Connection, agent: AgentRow, run_id: str) -> None:
    """One more run of the agent, RUNNING while others are."""
    made = make_run(c, run_id, agent=agent)
    claimed = some(claim(c, per_device=9))
    assert claimed.id == made.id
    run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_new_agent_moves_through_each_lifecycle_state_to_active(c: sa.Connection, agent: AgentRow) -> None:
    assert history_of(c, agent.id, Axis.LIFECYCLE) == [
        (None, "created"),
        ("created", "initializing"),
        ("initializing", "ready"),
        ("ready", "active"),
    ]
    assert axes_of(c, agent.id) == {
        "lifecycle": "active",
        "availability": "available",
        "connectivity": "offline",
        "health": "ok",
        "activity": "idle",
    }


def test_illegal_agent_move_is_refused_and_writes_nothing(c: sa.Connection, agent: AgentRow) -> None:
    before = agent_states.find_state(c, agent.id)
    for axis, to, error in (
        ("lifecycle", "created", IllegalMove),
        ("activity", "saturated", IllegalMove),
        ("lifecycle", "asleep", CodedError),
        ("mood", "fine", CodedError),
        ("availability", "exhausted", ValueError),
    ):
        with pytest.raises(error):
            state_moves.move(c, agent.id, axis, to, at=AT + 1, actor="test")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        state_moves.move(c, AgentId("nobody"), "health", "error", at=AT, actor="test")
    assert agent_states.find_state(c, agent.id) == before
    assert not state_moves.move_if_legal(c, agent.id, "lifecycle", "created", at=AT + 1, actor="test")


def test_agent_move_is_recorded_with_actor_reason_and_axes_snapshot(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert state_moves.move(
        c, agent.id, "lifecycle", "maintenance", at=AT + 5, actor="operator:1", reason="new disk"
    )
    assert not state_moves.move(c, agent.id, "lifecycle", "maintenance", at=AT + 6, actor="operator:1")
    last = stored.agent_history(c, agent.id)[-1]
    assert (last.old_value, last.new_value, last.reason, last.actor, last.at, last.snapshot) == (
        "active",
        "maintenance",
        "new disk",
        "operator:1",
        AT + 5,
        agent_states.find_state(c, agent.id).axes,
    )
    assert last.seq == agent_states.find_state(c, agent.id).version


def test_health_reason_of_an_agent_is_cleared_when_the_error_ends(c: sa.Connection, agent: AgentRow) -> None:
    for at, reason in ((AT + 1, "no camera"), (AT + 2, "no camera, no disk")):
        state_moves.move(c, agent.id, "health", "error", at=at, actor="device:d", reason=reason)
        assert agent_states.find_state(c, agent.id).health_reason == reason
    state_moves.move(c, agent.id, "health", "ok", at=AT + 3, actor="device:d")
    assert agent_states.find_state(c, agent.id).health_reason is None
    assert history_of(c, agent.id, Axis.HEALTH) == [("ok", "error"), ("error", "ok")]


@pytest.mark.parametrize("to", ["available", "on_call"])
def test_end_of_exhaustion_clears_all_exhaustion_fields_of_an_agent(
    c: sa.Connection, agent: AgentRow, to: str
) -> None:
    exhaust(c, agent.id, cause="rate_limit", retry_after_ms=None, at=AT, actor="hub")
    state_moves.move(c, agent.id, "availability", to, at=AT + 1, actor="operator")
    state = agent_states.find_state(c, agent.id)
    assert (state.exhaust_reason, state.exhausted_at, state.recovery_at, state.probe_at) == (None,) * 4


@pytest.mark.parametrize(
    ("first", "second", "cause", "until"),
    [
        (("budget", 600), ("rate_limit", 60), "budget", 600),
        (("rate_limit", 120), ("budget", 600), "budget", 600),
        (("billing", None), ("rate_limit", 60), "billing", 600),
    ],
    ids=["budget-first", "budget-later", "billing-first"],
)
def test_second_exhaustion_keeps_the_later_recovery_time_and_cause(
    c: sa.Connection,
    agent: AgentRow,
    first: tuple[str, int | None],
    second: tuple[str, int | None],
    cause: str,
    until: int,
) -> None:
    back = 0
    for why, wait_s in (first, second):
        after = None if wait_s is None else wait_s * 1_000
        back = exhaust(c, agent.id, cause=why, retry_after_ms=after, at=AT, actor="hub")
    state = agent_states.find_state(c, agent.id)
    assert (back, state.exhaust_reason) == (AT + until * 1_000, cause)
    assert (state.recovery_at or state.probe_at, state.recovery_at is None) == (back, cause == "billing")


def test_repeated_budget_exhaustion_does_not_double_the_wait(c: sa.Connection, agent: AgentRow) -> None:
    for _ in range(3):
        assert exhaust(c, agent.id, cause="budget", retry_after_ms=MINUTE, at=AT, actor="hub") == AT + MINUTE
        exhaustion.recover_agent(c, agent.id, at=AT, actor="hub")
    assert agent_states.find_state(c, agent.id).exhaust_count == 0


def test_operator_sets_an_earlier_recovery_time_of_an_exhaustion(c: sa.Connection, agent: AgentRow) -> None:
    exhaust(c, agent.id, cause="billing", at=AT, actor="hub")
    exhaust(c, agent.id, cause="billing", recovery_at=AT + 5, at=AT, actor="operator", is_last_word=True)
    state = agent_states.find_state(c, agent.id)
    assert (state.recovery_at, state.probe_at) == (AT + 5, None)
    assert exhaustion.recover_due(c, AT + 5, actor="hub") == [agent.id]


def test_each_activity_move_of_an_agent_names_the_causing_run(c: sa.Connection, agent: AgentRow) -> None:
    may_do(c, agent, at_once=2)
    make_run(c, "run-1", agent=agent, state=RunState.RUNNING)
    assert history_of(c, agent.id, Axis.ACTIVITY) == [("idle", "waiting"), ("waiting", "processing")]
    run_beside(c, agent, "run-2")
    make_run(c, "run-3", agent=agent)
    assert agent_states.find_state(c, agent.id).activity is Activity.SATURATED
    for run_id in ("run-1", "run-2", "run-3"):
        run_pauses.request_cancel(c, RunId(run_id), "enough", AT)
        held = runs.get_run(c, RunId(run_id)).held
        if held.state is RunState.RUNNING:
            run_moves.move(c, held, RunEvent.CANCELLED, at=AT, actor="hub")
    assert history_of(c, agent.id, Axis.ACTIVITY)[2:] == [
        ("processing", "saturated"),
        ("saturated", "processing"),
        ("processing", "waiting"),
        ("waiting", "idle"),
    ]
    told = [move for move in stored.agent_history(c, agent.id) if move.axis == "activity"]
    assert (told[1].reason, told[-1].reason) == ("run run-1 is RUNNING", "run run-3 is CANCELLED")
    assert all(move.snapshot.activity == move.new_value for move in told)


def test_run_move_without_a_change_of_activity_writes_no_agent_history(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.PREPARING)
    version = agent_states.find_state(c, run.agent_id).version
    run_moves.move(c, run.held, RunEvent.SENT_BACK, at=AT, actor="hub")
    state = agent_states.find_state(c, run.agent_id)
    assert (state.activity, state.version, state.runs_waiting, state.runs_executing, state.runs_running) == (
        Activity.WAITING,
        version,
        1,
        0,
        0,
    )


def test_recount_corrects_wrong_run_counters_and_the_activity_of_an_agent(
    c: sa.Connection, run: RunRow
) -> None:
    assert state_moves.recount(c, at=AT, actor="hub") == []
    c.execute(sa.update(states).values(runs_waiting=4, runs_executing=0, runs_running=0))
    assert state_moves.recount(c, at=AT + 1, actor="hub") == [run.agent_id]
    state = agent_states.find_state(c, run.agent_id)
    assert (state.runs_waiting, state.runs_executing, state.runs_running) == (0, 1, 1)
    assert history_of(c, run.agent_id, Axis.ACTIVITY)[-1] == ("waiting", "saturated")


def test_raised_max_concurrent_runs_ends_the_saturation_of_an_agent(c: sa.Connection) -> None:
    declare(c, DeclaredAgent(name="inbox", device_name="laptop", paths=("notes",)))
    run = make_run(c, agent=agents.get_agent(c, AgentId("agent-inbox")), state=RunState.RUNNING)
    declare(c, DeclaredAgent(name="inbox", device_name="laptop", paths=("notes",), max_concurrent_runs=3))
    assert history_of(c, run.agent_id, Axis.ACTIVITY)[-1] == ("saturated", "processing")


def test_a_terminated_agent_has_no_live_run_no_schedule_and_no_device(c: sa.Connection) -> None:
    make_schedule(c)
    agent = agents.list_agents(c)[0]
    assert agent.device_id is not None
    agent_states.connect_agents(c, [agent.device_id], online=True, at=AT, actor="device:laptop")
    may_do(c, agent, at_once=3)
    paused = make_run(c, "run-1", agent=agent, state=RunState.PAUSED)
    running = make_run(c, "run-2", agent=agent, state=RunState.RUNNING)
    queued = make_run(c, "run-3", agent=agent)
    ended = termination.terminate(c, agent.id, at=AT + 9, actor="operator", reason="not needed")
    assert ended == [paused.id, running.id, queued.id]
    assert [runs.get_run(c, run_id).state for run_id in ended] == ["CANCELLED", "RUNNING", "CANCELLED"]
    marked = runs.get_run(c, running.id)
    assert (marked.cancel_requested_at, marked.cancel_reason) == (AT + 9, "agent terminated")
    assert [row for row in schedule_rows.schedules_of(c, agent.id) if row.enabled] == []
    assert axes_of(c, agent.id) | {"activity": ""} == {
        "lifecycle": "terminated",
        "availability": "available",
        "connectivity": "offline",
        "health": "ok",
        "activity": "",
    }
    agent_states.connect_agents(c, [agent.device_id], online=False, at=AT, actor="device:laptop")
    agent_states.connect_agents(c, [agent.device_id], online=True, at=AT, actor="device:laptop")
    assert agents.get_agent(c, agent.id).connectivity == "offline"
    assert termination.terminate(c, agent.id, at=AT + 10, actor="operator") == []
    assert [row.id for row in agents.list_agents(c)] == [agent.id]  # it stays listed


def test_terminated_agent_gets_no_run_and_no_other_lifecycle_state(c: sa.Connection, agent: AgentRow) -> None:
    termination.terminate(c, agent.id, at=AT, actor="operator")
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_STATUS), match="'inbox' is terminated, for good"
    ):
        make_run(c, agent=agent)
    for to in Lifecycle:
        if to is not Lifecycle.TERMINATED:
            with pytest.raises(IllegalMove, match="terminated is final"):
                state_moves.move(c, agent.id, "lifecycle", to, at=AT, actor="operator")
    declare(c)
    assert declare(c, DeclaredAgent(name="inbox", device_name="laptop")).revived == ("inbox",)
    assert agents.get_agent(c, agent.id).lifecycle == "terminated"


def test_status_lists_time_and_reason_of_each_axis(c: sa.Connection, agent: AgentRow) -> None:
    state_moves.move(c, agent.id, "lifecycle", "paused", at=AT + 7, actor="operator", reason="holidays")
    run = make_run(c, agent=agent, at=AT + 8)
    since = agent_states.status_called(c, agent.name, agent.user_id).since
    assert list(since) == list(Axis)
    assert (since[Axis.LIFECYCLE], since[Axis.ACTIVITY]) == (
        agent_states.Since("paused", AT + 7, "holidays", "operator"),
        agent_states.Since("waiting", AT + 8, f"run {run.id} is QUEUED", "hub"),
    )
    assert since[Axis.HEALTH] == agent_states.Since("ok", None, None, None)  # it was never otherwise


def test_the_history_is_listed_in_pages_the_newest_first(c: sa.Connection, agent: AgentRow) -> None:
    for n in range(6):
        state_moves.move(c, agent.id, "health", ("error", "ok")[n % 2], at=AT + n, actor="device:d")
    first = state_history.history_page(c, agent.id, limit=4)
    rest = state_history.history_page(c, agent.id, limit=9, after=(first[-1].seq,))
    assert [move.seq for move in (*first, *rest)] == list(range(10, 0, -1))
    of_health = state_history.history_page(c, agent.id, limit=9, axis=Axis.HEALTH)
    assert {move.axis for move in of_health} == {"health"} and len(of_health) == 6


def test_recorded_moves_collects_agent_moves_within_the_block_only(c: sa.Connection, agent: AgentRow) -> None:
    with state_moves.recorded_moves(c) as told:
        state_moves.move(c, agent.id, "health", "error", at=AT + 1, actor="device:d", reason="no disk")
        state_moves.move(c, agent.id, "health", "error", at=AT + 2, actor="device:d")
        make_run(c, agent=agent, state=RunState.RUNNING)
    state_moves.move(c, agent.id, "health", "ok", at=AT + 3, actor="device:d")
    assert [(str(move.axis), move.before, move.after) for move in told] == [
        ("health", "ok", "error"),
        ("activity", "idle", "waiting"),
        ("activity", "waiting", "saturated"),
    ]
    assert (told[0].reason, told[0].actor, told[0].at, told[0].agent_id) == (
        "no disk",
        "device:d",
        AT + 1,
        agent.id,
    )


def test_recovery_of_runs_of_a_dead_hub_makes_the_activity_waiting(c: sa.Connection, run: RunRow) -> None:
    run_moves.recover(c, boot_id=NEXT_BOOT, at=AT + 1)
    assert history_of(c, run.agent_id, Axis.ACTIVITY)[-1] == ("saturated", "waiting")


DETAILS = (None, "CREATED", "INITIALIZING", "READY", "ACTIVE")
STEPS = 400
PAGE = 7


def test_status_words_in_sql_equal_the_words_of_the_rules(c: sa.Connection) -> None:
    names = [*map(str, Axis), STATE_DETAIL]
    rows = list(product(*(map(str, VALUES[axis]) for axis in Axis), DETAILS, (1, 2)))
    columns = (sa.Column(name, sa.Text) for name in names)
    table = sa.Table("axes", sa.MetaData(), *columns, sa.Column("slots", sa.Integer), prefixes=["TEMPORARY"])
    table.create(c)
    c.execute(sa.insert(table), [dict(zip(table.columns.keys(), row, strict=True)) for row in rows])
    for vocabulary in Vocabulary:
        read = words_in_sql(vocabulary, {name: table.c[name] for name in names}, table.c.slots)
        words = [column.label(f"read_{name}") for name, column in read.items()]
        for row in c.execute(sa.select(table, *words)):
            axes = struct_from(Axes, row)
            expected = status_words(axes, vocabulary, slots=row.slots)
            assert {name: row._mapping[f"read_{name}"] for name in read} == expected, row


def words_before(move: AgentMove) -> tuple[str, str] | None:
    return None if (axes := move.axes_before) is None else pair_of(axes)


def change(c: sa.Connection, agent: AgentId, chance: Random, waiting: list[int]) -> None:
    """Let a person, a device or a run change the state of the agent."""
    at = AT + chance.randrange(10_000)
    match chance.randrange(4):
        case 0:
            words: dict[str, str | None] = {"status": str(chance.choice(list(OrchestratorStatus)))}
            if chance.random() < 0.7:
                words["state_detail"] = str(
                    chance.choice([one for one in StateDetail if one != "TERMINATED"])
                )
            asked = StatusWrite(vocabulary=Vocabulary.ORCHESTRATOR, words=words)
            with suppress(HubError):
                write_status(c, agent, asked, at=at, actor="test")
        case 1:
            axis = chance.choice([Axis.LIFECYCLE, Axis.CONNECTIVITY, Axis.HEALTH, Axis.AVAILABILITY])
            to = chance.choice([value for value in VALUES[axis] if value not in ("terminated", "exhausted")])
            move_if_legal(c, agent, axis, to, at=at, actor="test")
        case _:
            started = chance.choice([0, 1]) if not waiting else chance.choice([-1, 1])
            waiting.append(1) if started > 0 else waiting and waiting.pop()
            count_runs(c, {agent: Counts(executing=started, running=started)}, at=at, actor="test")


@pytest.mark.parametrize("seed", range(4))
def test_word_changes_of_an_agent_are_listed_over_all_pages_without_gaps(c: sa.Connection, seed: int) -> None:
    agent, chance, runs = make_agent(c).id, Random(seed), list[int]()
    for _ in range(STEPS):
        change(c, agent, chance, runs)
    if seed == 0:
        write_status(c, agent, StatusWrite(axes={"lifecycle": "terminated"}), at=AT, actor="test")
        move_if_legal(c, agent, Axis.HEALTH, "error", at=AT, actor="test")
    every = state_history.history_page(c, agent)
    expected = [move for move in every if words_before(move) != pair_of(move.snapshot)]
    assert 50 < len(expected) < len(every)
    found: list[AgentMove] = []
    while page := state_history.word_changes(c, agent, limit=PAGE, after=(found[-1].seq,) if found else None):
        found += page
    assert found == expected
    for later, earlier in pairwise(found):
        assert words_before(later) == pair_of(earlier.snapshot)
    assert pair_of(agent_states.find_state(c, agent).axes) == pair_of(found[0].snapshot)
