"""Queries of the checks of each minute, on both databases: they return rows with a finding, and no others."""

from typing import Any

import sqlalchemy as sa

from protocol.lifecycles import RunOutcome, RunState
from storage.agents import agents_in_trouble, exhaustion, state_moves
from storage.agents.agents import AgentRow
from storage.devices.tokens import DEVICE_TOKENS
from storage.runs import agreement, failing_agents
from storage.schema import agent_states as state_table
from storage.schema import agents, devices, runs, schedules, unit_ledger
from tests.storage.rows import AT, declare, make_agent, make_run, undone
from tests.storage.test_agents import INBOX
from tests.support.presence import appear, live


def names(rows: list[AgentRow]) -> list[str]:
    return [row.name for row in rows]


def test_healthy_agent_is_found_only_by_the_check_for_unpaired_devices(
    c: sa.Connection,
) -> None:
    agent = make_agent(c)
    assert agent.device_id is not None
    assert (agents_in_trouble.exhausted_or_failing(c), agents_in_trouble.reading_without_grant(c)) == ([], [])
    assert (agents_in_trouble.stopped_schedules(c), agents_in_trouble.silent(c, [])) == ([], [])
    assert DEVICE_TOKENS.ending_or_unused(c, ends_after=0, ends_by=AT, unused_since=AT) == []
    assert agreement.differing_stores(c, agreed_since=AT) == []
    (paths,) = agents_in_trouble.paths_on(c, [agent.device_id])
    assert (paths.agent_id, paths.paths) == (agent.id, agent.paths)
    assert names(agents_in_trouble.on_unpaired_devices(c)) == [agent.name]
    c.execute(sa.update(devices).values(last_seen_at=AT))
    assert agents_in_trouble.on_unpaired_devices(c) == []


def test_checks_find_failing_exhausted_silent_and_ungranted_agents(c: sa.Connection) -> None:
    ill, empty, silent, _ = (make_agent(c, name) for name in ("ill", "empty", "silent", "well"))
    assert silent.device_id is not None
    c.execute(sa.update(state_table).values(connectivity="online"))
    state_moves.move(c, ill.id, "health", "error", at=AT, actor="hub", reason="it broke")
    exhaustion.exhaust(c, empty.id, cause="rate_limit", retry_after_ms=None, at=AT, actor="hub")
    state_moves.move(c, silent.id, "connectivity", "offline", at=AT, actor="hub", reason="no heartbeat")
    assert names(agents_in_trouble.exhausted_or_failing(c)) == ["empty", "ill"]
    assert names(agents_in_trouble.silent(c, [silent.device_id])) == ["silent"]
    c.execute(sa.update(devices).values(grants=["agents"]))
    assert len(agents_in_trouble.reading_without_grant(c)) == 4


def test_schedule_paused_by_the_hub_after_failures_is_found_as_stopped(c: sa.Connection) -> None:
    declare(c, INBOX)
    for enabled, reason, count in ((1, None, 0), (0, "user", 0), (0, "failures", 1), (0, "finished", 0)):
        c.execute(sa.update(schedules).values(enabled=bool(enabled), paused_reason=reason))
        assert len(agents_in_trouble.stopped_schedules(c)) == count, reason


def test_enabled_schedule_with_an_undecided_due_fire_is_overdue(c: sa.Connection) -> None:
    declare(c, INBOX)
    c.execute(sa.update(schedules).values(cursor_at=0, next_fire_at=AT, due_at=AT))
    for by, count in ((AT - 1, 0), (AT, 1)):
        assert len(agents_in_trouble.overdue_schedules(c, by)) == count
    c.execute(sa.update(schedules).values(enabled=False))
    assert agents_in_trouble.overdue_schedules(c, AT) == []


def test_device_is_absent_while_offline_with_waiting_runs_of_active_agents(
    c: sa.Connection,
) -> None:
    run = make_run(c)
    where = devices.c.id == run.device_id

    def absent(by: int = AT) -> list[tuple[str, int, str]]:
        return [(row.name, row.runs, row.agent_name) for row in agents_in_trouble.absent_devices(c, by)]

    assert absent(AT - 1) == []
    assert absent() == [("laptop", 1, "inbox")]  # it never connected
    c.execute(sa.update(devices).where(where).values(last_seen_at=AT + 1))
    assert (absent(), absent(AT + 1)) == ([], [("laptop", 1, "inbox")])
    for table, values in (
        (state_table, {"lifecycle": "paused"}),
        (agents, {"executor": "connector"}),
        (agents, {"deleted_at": AT}),
        (runs, {"state": "CANCELLED", "completed_at": AT}),
        (runs, {"state": "PAUSED", "pause_reason": "user"}),
    ):
        with undone(c):
            c.execute(sa.update(table).values(values))
            assert absent(AT + 1) == [], values
    c.execute(sa.update(runs).values(state="PAUSED", pause_reason="device_offline"))
    assert absent(AT + 1) == [("laptop", 1, "inbox")]
    assert run.device_id is not None
    live(c)
    appear(c, [run.device_id])
    assert absent(AT + 1) == []


HOUR_MS = 3_600_000
S, P, E, C = RunOutcome.SUCCESS, RunOutcome.PARTIAL, RunOutcome.ERROR, None  # the last: cancelled
# Outcomes of an agent's runs, the newest last, with hours since; and the number of those that it failed in.
SERIES = (
    ((), 0),
    (((S, 0),), 0),
    (((E, 0),), 1),  # it never succeeded
    (((P, 0),), 1),
    (((S, 5), (E, 1)), 0),
    (((S, 5), (E, 2), (E, 1)), 0),
    (((S, 5), (E, 3), (P, 2), (E, 1)), 3),
    (((S, 30), (E, 1)), 1),  # no success for a day
    (((E, 9), (E, 8), (E, 7), (S, 6)), 0),  # a success ends it
    (((E, 9), (E, 8), (E, 7), (C, 6)), 3),  # a cancelled run says nothing
    (((E, 9), (S, 8), (C, 7), (E, 6), (C, 5), (E, 4)), 0),
)


def test_agent_fails_after_three_runs_or_a_day_without_success(c: sa.Connection) -> None:
    now = AT + 100 * HOUR_MS
    expected = {}
    for number, (series, count) in enumerate(SERIES):
        agent = make_agent(c, f"a-{number}")
        for place, (outcome, hours) in enumerate(series):
            run = make_run(c, f"r-{number}-{place}", agent=agent)
            state = {S: "COMPLETED", P: "COMPLETED", E: "FAILED", C: "CANCELLED"}[outcome]
            ended = {"state": state, "outcome": outcome, "completed_at": now - hours * HOUR_MS, "fence": 1}
            c.execute(sa.update(runs).where(runs.c.id == run.id).values(ended))
        if count:
            bad = [hours for outcome, hours in series if outcome is not None][-count:]
            newest = max(place for place, (outcome, _) in enumerate(series) if outcome is not None)
            outcomes = [outcome for outcome, _ in series if outcome is not None][-count:]
            alike = outcomes.count(outcomes[-1])
            expected[agent.name] = (f"r-{number}-{newest}", now - bad[0] * HOUR_MS, count, alike)
    c.execute(sa.update(state_table).values(lifecycle="active"))

    failing = failing_agents.failing(c, now)
    assert {one.agent.name: (one.run.id, one.since, one.count, one.alike) for one in failing} == expected
    only = [one.agent.id for one in failing][:2]
    assert [one.agent.id for one in failing_agents.failing(c, now, only)] == only
    c.execute(sa.update(state_table).values(lifecycle="paused"))
    assert failing_agents.failing(c, now) == []


def test_agent_with_files_read_is_emptied_when_the_newest_run_lists_none(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.COMPLETED)
    assert agents_in_trouble.emptied(c) == []  # it never read a file
    entry = {"agent_id": run.agent_id, "unit_key": "a.md", "content_hash": "x", "config_fingerprint": "f"}
    c.execute(sa.insert(unit_ledger), entry | {"run_id": run.id, "done_at": AT})
    ((agent, until),) = agents_in_trouble.emptied(c)
    assert (agent.name, until) == ("inbox", None)
    names = ("total", "skipped", "done", "failed", "unchanged")
    found: list[dict[str, Any]] = [{f"units_{name}": 1} for name in names]
    for values in (*found, {"result": {"unlisted": 3}}):
        with undone(c):
            c.execute(sa.update(runs).values(values))
            assert agents_in_trouble.emptied(c) == [], values
    with undone(c):
        c.execute(sa.update(agents).values(executor="connector"))
        assert agents_in_trouble.emptied(c) == []
