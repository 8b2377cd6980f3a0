import re
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import CallEvent, CallState, RunEvent, RunOutcome, RunState
from storage import audit
from storage.agents import agents, state_moves
from storage.agents.agents import AgentRow
from storage.devices import idempotency
from storage.effects import retention
from storage.kernel.sqlite import open_sqlite
from storage.runs import run_moves, runs, units
from storage.runs.calls import open_calls
from storage.schema import metadata, run_calls, run_state_history, run_units, schedule_fires, schedules
from storage.schema import runs as run_table
from tests.storage.rows import AT, PROMPT_1, answer, calls, known_units, make_agent, make_run, plan
from tests.storage.test_statements import plan_of
from tests.support import stored
from tests.support.database import new_database
from tests.support.source import ROOT

HOUR, DAY = 3_600_000, 24 * 3_600_000
NOW = AT + 1_000 * DAY


def ended(
    c: sa.Connection,
    run_id: str,
    *,
    days_ago: int,
    agent: AgentRow | None = None,
    state: RunState = RunState.COMPLETED,
    unit: str | None = None,
    event: CallEvent = CallEvent.ACKED,
) -> RunId:
    """A run that ended so many days ago, with one unit and one call, ``call-<run_id>``."""
    at = NOW - days_ago * DAY
    held = make_run(c, run_id, agent=agent, state=RunState.RUNNING, at=at).held
    unit = unit or f"{run_id}.txt"
    plan(c, held, unit, of=calls(f"call-{run_id}"), at=at)
    answer(c, held, f"call-{run_id}", event=event, at=at)
    units.settle_unit(c, held, unit, at)
    if state is RunState.COMPLETED:
        run_moves.move(c, held, RunEvent.FINISHED, at=at, actor="hub", outcome=RunOutcome.SUCCESS)
    else:
        run_moves.move(c, held, RunEvent.FAILED, at=at, actor="hub", reason="broken")
    return held.id


def to_the_end(step: Callable[[], int]) -> int:
    """Repeat a step until nothing is left to do; how much went."""
    total = 0
    while went := step():
        total += went
    return total


def with_old_runs(c: sa.Connection, *, retained: int) -> list[str]:
    """Agents with runs older than 30 days, which are examined one by one."""
    found, place = retention.list_agents_with_old_runs(
        c, "", before=NOW - 30 * DAY, retained=retained, rows=1
    )
    while place:
        more, place = retention.list_agents_with_old_runs(
            c, place, before=NOW - 30 * DAY, retained=retained, rows=1
        )
        found += more
    return found


def prune(c: sa.Connection, *, kept: int = 1, rows: int = retention.ROWS) -> int:
    """Runs older than 30 days, failed ones than 90."""
    return to_the_end(
        lambda: retention.prune_runs(
            c,
            with_old_runs(c, retained=kept),
            before=NOW - 30 * DAY,
            failed_before=NOW - 90 * DAY,
            retained=kept,
            rows=rows,
        )
    )


def forget(c: sa.Connection, *, rows: int = retention.ROWS) -> int:
    """Payloads of runs that ended more than 7 days ago."""
    return to_the_end(lambda: retention.forget_payloads(c, before=NOW - 7 * DAY, at=NOW, rows=rows))


def ids(c: sa.Connection) -> set[str]:
    return {run.id for run in runs.list_runs(c)}


def test_run_is_pruned_thirty_days_after_the_end_with_all_rows(c: sa.Connection) -> None:
    ended(c, "old", days_ago=31)
    young = ended(c, "young", days_ago=29)
    prune(c)
    assert ids(c) == {young}
    for table in (run_units, run_calls, run_state_history):
        assert set(c.execute(sa.select(table.c.run_id)).scalars()) == {young}


def test_newest_runs_of_an_agent_are_retained_at_any_age(c: sa.Connection) -> None:
    busy, idle = make_agent(c, "busy"), make_agent(c, "idle", device="desktop")
    for n in range(5):
        ended(c, f"busy-{n}", days_ago=100 + n, agent=busy)
    ended(c, "idle-0", days_ago=900, agent=idle)
    prune(c, kept=2)
    assert ids(c) == {"busy-0", "busy-1", "idle-0"}


def test_agent_without_excess_runs_is_not_listed_for_pruning(c: sa.Connection) -> None:
    busy, idle = make_agent(c, "busy"), make_agent(c, "idle", device="desktop")
    for n in range(2):
        ended(c, f"busy-{n}", days_ago=31 + n, agent=busy)
    ended(c, "idle-0", days_ago=900, agent=idle)
    for retained, found in ((1, [busy.id]), (2, [])):
        assert with_old_runs(c, retained=retained) == found


def test_failed_run_is_retained_for_ninety_days(c: sa.Connection) -> None:
    ended(c, "lately", days_ago=89, state=RunState.FAILED)
    ended(c, "long ago", days_ago=91, state=RunState.FAILED)
    ended(c, "newest", days_ago=40)
    prune(c)
    assert ids(c) == {"lately", "newest"}


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.PREPARING, RunState.RUNNING, RunState.PAUSED])
def test_live_run_is_never_pruned(c: sa.Connection, state: RunState) -> None:
    for n in range(2):
        ended(c, f"ended-{n}", days_ago=300 - n)
    live = make_run(c, "live", state=state, at=NOW - 900 * DAY)
    if state is RunState.RUNNING:
        plan(c, live.held, of=calls("call-live"))
    before = runs.get_run(c, live.id), runs.run_history(c, live.id), open_calls(c, live.id)
    prune(c, kept=1)
    forget(c)
    assert ids(c) == {"live", "ended-1"}
    assert (runs.get_run(c, live.id), runs.run_history(c, live.id), open_calls(c, live.id)) == before


def test_pruning_transaction_deletes_a_limited_number_of_rows(c: sa.Connection) -> None:
    for n in range(3):
        ended(c, f"old-{n}", days_ago=40)
    ended(c, "newest", days_ago=1)
    agent_ids = with_old_runs(c, retained=1)
    steps = []
    while True:
        went = retention.prune_runs(
            c, agent_ids, before=NOW - 30 * DAY, failed_before=NOW - 90 * DAY, retained=1, rows=4
        )
        steps.append(went)
        if not went:
            break
    rows_of_each = 1 + 1 + 1 + 4  # run, unit, call, and four moves
    assert (steps, sum(steps), ids(c)) == ([4, 4, 4, 4, 4, 1, 0], 3 * rows_of_each, {"newest"})


def test_ledger_entry_outlives_the_pruned_run(c: sa.Connection) -> None:
    old = ended(c, "old", days_ago=40, unit="a.txt")
    ended(c, "newest", days_ago=1, unit="b.txt")
    prune(c)
    assert runs.find_run(c, old) is None
    assert known_units(c, AgentId("agent-inbox"), PROMPT_1) == {"a.txt": "sha-1", "b.txt": "sha-1"}


def test_call_of_a_pruned_run_is_planned_again_under_the_same_id(c: sa.Connection) -> None:
    """And the device, which keeps its answer beside the row, answers it from there."""
    ended(c, "old", days_ago=40, unit="a.txt")
    ended(c, "newest", days_ago=1)
    prune(c)
    held = make_run(c, "again", state=RunState.RUNNING, at=NOW).held
    planned = plan(c, held, "a.txt", of=calls("call-old"), at=NOW)
    assert planned.adopted == 0
    assert [(call.call_id, call.state) for call in planned.open_calls] == [("call-old", CallState.PLANNED)]


def test_calls_adopted_by_a_newer_run_survive_pruning_of_the_old_run(c: sa.Connection) -> None:
    ended(c, "old", days_ago=40, unit="a.txt", state=RunState.FAILED)
    ended(c, "new", days_ago=1)
    held = make_run(c, "retry", state=RunState.RUNNING, at=NOW).held
    assert plan(c, held, "a.txt", of=calls("call-old"), at=NOW).adopted == 1
    c.execute(sa.update(run_table).where(run_table.c.id == "old").values(completed_at=NOW - 400 * DAY))
    prune(c)
    assert "old" not in ids(c)
    assert plan(c, held, "a.txt", of=calls("call-old"), at=NOW).open_calls == []


def kept_of(c: sa.Connection, call_id: str) -> tuple[object, ...]:
    """State, answer and payload of a call."""
    columns = (run_calls.c.state, run_calls.c.result, run_calls.c.payload)
    return tuple(c.execute(sa.select(*columns).where(run_calls.c.call_id == call_id)).one())


def test_call_payload_but_not_answer_is_erased_seven_days_after_the_run(
    c: sa.Connection,
) -> None:
    ended(c, "old", days_ago=8)
    ended(c, "young", days_ago=6)
    forget(c)
    assert kept_of(c, "call-old") == (CallState.ACKED, {"result": {"id": "row-call-old"}}, None)
    assert kept_of(c, "call-young")[2] == {"data": {"title": "call call-young"}}


def test_payload_erasure_continues_in_steps(c: sa.Connection) -> None:
    at = NOW - 40 * DAY
    held = make_run(c, state=RunState.RUNNING, at=at).held
    plan(c, held, of=calls("call-1", "call-2", "call-3"), at=at)
    run_moves.move(c, held, RunEvent.FAILED, at=at, actor="hub", reason="broken")
    step = partial(retention.forget_payloads, c, before=NOW, at=NOW, rows=2)
    assert [step(), step(), step()] == [2, 1 + 1, 0]  # the calls, and the run that has no more of them
    assert {kept_of(c, f"call-{n}")[2] for n in (1, 2, 3)} == {None}


@pytest.mark.parametrize("event", [CallEvent.REJECTED, CallEvent.GIVEN_UP])
def test_forgotten_call_sent_again_has_the_payload_of_the_new_plan(
    c: sa.Connection, event: CallEvent
) -> None:
    ended(c, "old", days_ago=8, unit="a.txt", state=RunState.FAILED, event=event)
    forget(c)
    held = make_run(c, "again", state=RunState.RUNNING, at=NOW).held
    (planned,) = plan(c, held, "a.txt", of=calls("call-old"), at=NOW).open_calls
    assert planned.payload == {"data": {"title": "call call-old"}}


def test_erased_payload_of_an_accepted_call_is_not_restored_by_adoption(c: sa.Connection) -> None:
    ended(c, "old", days_ago=8, unit="a.txt")
    forget(c)
    held = make_run(c, "again", state=RunState.RUNNING, at=NOW).held
    assert plan(c, held, "a.txt", of=calls("call-old"), at=NOW).open_calls == []
    assert kept_of(c, "call-old")[2] is None


def fire(c: sa.Connection, schedule_id: str, *, days_ago: int = 0, nth: int = 0) -> None:
    at = NOW - days_ago * DAY + nth
    row = {"schedule_id": schedule_id, "fire_at": at, "first_at": at, "decided_at": at, "decision": "run"}
    c.execute(sa.insert(schedule_fires), row)


def schedule(c: sa.Connection, schedule_id: str) -> None:
    row = {"id": schedule_id, "agent_id": make_agent(c).id, "kind": "every", "every_ms": 60_000}
    c.execute(sa.insert(schedules), row | {"cursor_at": AT, "created_at": AT, "updated_at": AT})


def fires_of(c: sa.Connection, schedule_id: str) -> list[int]:
    fires = sa.select(schedule_fires.c.fire_at).where(schedule_fires.c.schedule_id == schedule_id)
    return [at - NOW for at in c.execute(fires.order_by(schedule_fires.c.fire_at)).scalars()]


def test_fire_decisions_are_retained_for_ninety_days(c: sa.Connection) -> None:
    schedule(c, "s")
    for days_ago in (200, 91, 89, 0):
        fire(c, "s", days_ago=days_ago)
    assert to_the_end(lambda: retention.prune_fires(c, before=NOW - 90 * DAY, rows=1)) == 2
    assert fires_of(c, "s") == [-89 * DAY, 0]


def test_fires_of_a_schedule_beyond_the_limit_are_pruned_oldest_first(c: sa.Connection) -> None:
    for name in ("often", "seldom"):
        schedule(c, name)
    for nth in range(7):
        fire(c, "often", nth=nth)
    fire(c, "seldom", nth=-99)
    crowded, last = retention.list_crowded_schedules(c, "", retained=3, rows=1)
    more, end = retention.list_crowded_schedules(c, last, retained=3, rows=2)
    assert (crowded + more, last, end) == (["often"], "often", "")
    assert to_the_end(partial(retention.prune_crowded_fires, c, crowded + more, retained=3, rows=2)) == 4
    assert (fires_of(c, "often"), fires_of(c, "seldom")) == ([4, 5, 6], [-99])


def test_old_activity_agent_history_and_idempotency_answers_are_pruned(c: sa.Connection) -> None:
    agent = make_agent(c)
    state_moves.move(c, agent.id, "health", "error", at=AT, actor="operator")
    state_moves.move(c, agent.id, "lifecycle", "paused", at=NOW, actor="operator")
    for name, at in (("old", AT), ("new", NOW)):
        audit.record(c, id=name, at=at, event_type="run.failed", message="Run failed", actor="hub")
        idempotency.keep_answer(c, "api", name, request_hash="h", response=None, at=at)
    for prune_one, went in (
        (retention.prune_activity, 1),
        (retention.prune_agent_history, 4),  # its steps until it was active
        (retention.prune_idempotency, 1),
    ):
        assert to_the_end(partial(prune_one, c, before=NOW, rows=1)) == went
    assert [entry.id for entry in audit.list_activity(c)] == ["new"]
    # Since when it stands where it stands can be told, however long that is.
    assert [move.new_value for move in stored.agent_history(c, agent.id)] == ["error", "paused"]
    assert idempotency.find_answer(c, "api", "old") is None
    assert idempotency.find_answer(c, "api", "new") is not None


def test_agent_with_pruned_history_can_move_on(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert retention.prune_agent_history(c, before=NOW) == 3
    state_moves.move(c, agent.id, "lifecycle", "paused", at=NOW, actor="operator")
    assert agents.get_agent(c, agent.id).lifecycle == "paused"


FOUND = {
    "before": 1,
    "since": 1,
    "from": 1,
    "failed_before": 1,
    "newer": 49,
    "rows": 500,
    "agent": "a",
    "old": ["r-1", "r-2"],
    "now": 1,
    "schedule": "s",
    "kept": 1,
    "looks": "",
    "after": "",
    "last": "s",
    **{f"{end}_{part}": part for end in ("after", "last") for part in ("agent", "unit")},
}
STATEMENTS = {
    name: value
    for name, value in vars(retention).items()
    if name.isupper()
    and isinstance(value, sa.Select | sa.Delete | sa.Update)
    and name != "WITH_OLD_RUNS"  # looks at each agent, and at two runs of it
}


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_pruning_statement_uses_an_index(c: sa.Connection) -> None:
    scans = []
    for name, statement in STATEMENTS.items():
        values = {key: value for key, value in FOUND.items() if key in statement.compile().params}
        if "SCAN" in (steps := plan_of(c, partial(c.execute, statement, values))):
            scans.append((name, steps))
    assert scans == []


async def test_database_file_shrinks_after_large_deletions(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    new_database(path)
    empty = path.stat().st_size

    def fill(c: sa.Connection) -> None:
        for n in range(500):
            told = {"id": f"a-{n}", "at": n, "event_type": "run.failed", "actor": "hub"}
            audit.record(c, message="x" * 4_000, **told)  # type: ignore[arg-type]

    async with open_sqlite(path) as database:
        await database.write(fill)
        while await database.write(retention.prune_activity, before=500):
            pass
        assert await database.write(retention.vacuum, pages=3, spare=100) == 3
        while await database.write(retention.vacuum, spare=100):
            pass
        assert (await database.read(lambda c: c.exec_driver_sql("PRAGMA freelist_count").scalar_one())) == 100
        full = sqlite3.connect(path)
        full.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        full.close()
    assert path.stat().st_size < empty + (100 + 20) * 4_096
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_vacuum_frees_no_pages_in_memory_or_on_a_server(c: sa.Connection) -> None:
    assert retention.vacuum(c) == 0


def test_each_table_is_pruned_or_bounded() -> None:
    """A new table is either pruned, or bounded by what people own: say which."""
    pruned = {
        "runs",
        "run_units",
        "run_calls",
        "run_state_history",
        "schedule_fires",
        "wakes",
        "item_proposals",
        "item_verdicts",
        "item_excerpts",
        "activity_log",
        "agent_state_history",
        "agent_config_history",
        "idempotency_keys",
        "pairings",  # by the next one
        "invitations",  # by the next one, a week after their end
        "operator_tokens",  # by the next one, a month after their end
        "assistant_grants",  # with its token
        "device_tokens",  # by the next one, a month after their end
        "browser_sessions",  # by the next one, a day after their end
        "audit_log",
        "receipts",  # but for the newest of each device
        "model_answers",
        "model_calls",
        "model_batches",
        "messages",
        "message_moves",  # with their message
        "agent_tokens",  # by the next one, a month after their end
        "broadcasts",  # once their messages are gone
        "questions",
        "question_tellings",  # with their question
        "seen_messages",
        "posted",  # once settled; as many wait as [limits] has it
        "sign_ins",
        "failed_attempts",
        "deliveries",
        "issue_mutes",  # once they have ended; of those without an end there are 1,000
        "budget_holds",  # by the next one, with their hub process
        "metric_series",  # once nothing of it is kept
        "agent_metrics",
        "changes",
        "settings_revisions",  # by the next one
    }
    bounded = {
        "hub",
        "nodes",
        "users",
        "devices",
        "device_stores",  # one for each device
        "device_keys",  # replaced ones stay, for they must never count again; one a minute at most
        "agents",
        "agent_templates",  # as many as [limits] has it
        "agent_configs",
        "agent_states",
        "agent_capabilities",  # as many versions as [limits] has it
        "checkpoints",  # one for each scope, as many as [limits] has it
        "agent_locks",  # as many names of a user as [limits] has it
        "lock_waits",  # as many for one lock as [limits] has it
        "schedules",
        "leases",
        "folder_trees",  # one for each agent, and one for each of its runs that read
        "unit_ledger",  # as many rows as agents have files
        "item_words",  # one row for each item
        "items",  # as many rows as their files have items, and had
        "gateways",  # as many as hub.toml ever had
        "connectors",  # likewise
        "notify_targets",  # likewise
        "credentials",  # one for each connector
        "connector_cursors",  # one for each agent that reads one
        "boards",  # as many of a user as [limits] has it
        "board_members",  # one for each agent that is on a board
        "board_memory",  # as many items of a board as [limits] has it, and the answers of people
        "gateway_agents",  # one for each agent that lives at one
        "soul_writes",  # as many of an agent as [limits] has it, by the next one
        "soul_versions",  # likewise
    }
    assert pruned | bounded == metadata.tables.keys()


def test_schema_page_names_the_retention_of_each_table() -> None:
    page = (ROOT / "storage" / "SCHEMA.md").read_text()
    section = page.partition("## What goes, and when")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert metadata.tables.keys() - named == set()
