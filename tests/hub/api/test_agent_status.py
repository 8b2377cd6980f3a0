"""Status of agents, as operators read and write it, also in the terms of other vocabularies."""

import json
from typing import Any

import httpx2
import pytest

from hub.api.resource import PageRequest, cursor_of
from hub.api.resources.agent_status import AgentStatusesResource, StatusChange
from hub.base.roles import Principal
from protocol.agent_status import Axis
from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from protocol.lifecycles import RunState
from protocol.status_vocabularies import Vocabulary
from storage import audit
from storage.agents import agent_states, agents
from storage.effects.agent_changes import AgentOfFile
from storage.kernel.columns import Key
from storage.runs import runs
from tests.hub.agents.seed_names import SEED_NAMES
from tests.hub.api.test_agent_configs import an_agent
from tests.support.coded import coded
from tests.support.hub import ServedHub
from tests.support.requests import agents_of, runs_of
from tests.support.runs import Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]


def page_of(limit: int = 99, after: Key | None = None) -> PageRequest:
    """Return the part of a list that follows *after*."""
    return PageRequest(limit=limit, cursor=None if after is None else cursor_of(after))


OPERATOR = Principal.of_uid(1)


TABLES: dict[Vocabulary, dict[str, str | None]] = {
    Vocabulary.CALENDAR: {"agents": None},
    Vocabulary.ORCHESTRATOR: {
        "agent": None,
        "agent_template": "agent_template",
        "agent_checkpoint": "agent_checkpoint",
        "agent_state_history": "agent_state_history",
        "agent_execution": "agent_execution",
        "execution_state_history": "execution_state_history",
    },
    Vocabulary.FOUNDATION: {
        "agent_states": None,
        "agent_configs": "agent_configs",
        "agent_capabilities": "agent_capabilities",
        "agent_metrics": "agent_metrics",
    },
    Vocabulary.COORDINATION: {
        "agents": None,
        "boards": "boards",
        "soul": "soul",
        "activity_events": "activity_events",
    },
}


ELSEWHERE = {"agents.user", "agent.state"}  # a relationship, and what the seed took away again


@pytest.fixture
def statuses(bench: Bench) -> AgentStatusesResource:
    agents = agents_of(bench, runs_of(bench))
    return AgentStatusesResource(store=bench.store, control=bench.control, agents=agents)


@pytest.fixture
async def online(bench: Bench) -> None:
    assert bench.agent.device_id is not None
    await bench.store.write(
        agent_states.connect_agents, [bench.agent.device_id], online=True, at=bench.now_ms, actor="device:d"
    )


async def _audited(bench: Bench) -> list[tuple[str, dict[str, Any]]]:
    rows = await bench.store.read(audit.list_entries, limit=9, event="agent.status_set")
    return [(row.actor, json.loads(row.detail)) for row in rows]


async def test_agent_status_reports_time_reason_actor_and_allowed_moves_of_each_axis(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    bench.clock.advance(60)
    change = StatusChange(lifecycle="maintenance", reason="new disk")
    told = await statuses.write("notes", change, actor="operator:1")
    lifecycle = told.axes["lifecycle"]
    assert (lifecycle.value, lifecycle.reason, lifecycle.actor) == ("maintenance", "new disk", "operator:1")
    assert lifecycle.since is not None and lifecycle.since.timestamp() * 1000 == bench.now_ms
    assert "active" in lifecycle.moves and told.axes["activity"].moves == ()
    assert await _audited(bench) == [("operator:1", {"lifecycle": "maintenance"})]


async def test_run_of_an_agent_in_maintenance_waits_until_the_agent_is_active(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    bench.connect()
    run = await bench.control.submit(bench.agent)
    await statuses.write("notes", StatusChange(lifecycle="maintenance"), actor="o")
    with pytest.raises(AssertionError, match="nothing can be claimed"):
        await bench.claim()
    await statuses.write("notes", StatusChange(lifecycle="active"), actor="o")
    assert (await bench.claim()).run_id == run.id


async def test_agent_declared_in_the_file_cannot_be_terminated_in_any_vocabulary(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    with pytest.raises(AgentOfFile):
        await statuses.terminate("notes", actor="o")
    with pytest.raises(AgentOfFile):
        await statuses.change_document(
            "notes", "orchestrator", {"state_detail": "TERMINATED"}, caller=OPERATOR
        )
    assert (await statuses.get("notes")).lifecycle == "active"


async def test_termination_of_an_agent_cancels_all_live_runs(
    bench: Bench, statuses: AgentStatusesResource, made_over_the_api: None
) -> None:
    waiting = await bench.control.submit(bench.agent)
    told = await statuses.terminate("notes", reason="not needed", actor="operator:1")
    assert (told.lifecycle, told.activity, told.runs_waiting) == ("terminated", "idle", 0)
    assert (await bench.row(waiting.id)).state is RunState.CANCELLED
    again = await statuses.terminate("notes", reason="not needed", actor="operator:1")
    assert again.version == told.version  # twice is once


@pytest.fixture
async def made_over_the_api(bench: Bench) -> None:
    await bench.store.write(_of_the_api)


def _of_the_api(c: Any) -> None:
    c.exec_driver_sql("UPDATE agents SET source = 'api'")


async def test_agent_status_history_is_paged_and_filtered_by_axis(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    await bench.control.submit(bench.agent)
    everything = (await statuses.history("notes", page_of())).items
    assert [move.seq for move in everything] == list(range(len(everything), 0, -1))
    (activity,) = (await statuses.history("notes", page_of(), axis=Axis.ACTIVITY)).items
    assert (activity.before, activity.after) == ("idle", "waiting")
    assert activity.snapshot["lifecycle"] == "active"
    assert (await statuses.history("notes", page_of(2, (3,)))).items == everything[-2:]


async def test_agent_status_is_found_by_external_identifier_of_the_own_user(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    await bench.store.write(lambda c: c.exec_driver_sql("UPDATE agents SET external_id = 'claw-7'"))
    assert (await statuses.get("external:claw-7")).agent == "notes"
    assert (await statuses.document("external:claw-7", "calendar"))["agent_id"] == "claw-7"
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT), match="external identifier 'ghost'"):
        await statuses.get("external:ghost")
    stranger = statuses.seen_by(UserId("somebody-else"))
    for name in ("notes", "external:claw-7"):
        with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
            await stranger.document(name, "calendar")


async def test_calendar_document_sets_and_ends_the_exhaustion_of_an_agent(
    bench: Bench, statuses: AgentStatusesResource, online: None
) -> None:
    change = {"status": "exhausted", "exhaust_reason": "billing", "recovery_at": "2200-01-01T00:00:00Z"}
    told = await statuses.change_document("notes", "calendar", change, caller=OPERATOR)
    assert told["status"] == "exhausted"
    assert (told["exhaust_reason"], told["recovery_at"]) == ("billing", "2200-01-01T00:00:00.000Z")
    told = await statuses.change_document("notes", "calendar", {"status": "idle"}, caller=OPERATOR)
    assert (told["status"], told["exhaust_reason"], told["exhausted_at"]) == ("idle", None, None)
    assert [detail for _, detail in await _audited(bench)] == [
        {"availability": "available"},
        {"availability": "exhausted", "exhaust_reason": "billing", "recovery_at": "7258118400000"},
    ]


async def test_agent_status_written_in_a_vocabulary_is_read_in_all_others(
    bench: Bench, statuses: AgentStatusesResource, online: None
) -> None:
    await statuses.change_document("notes", "orchestrator", {"status": "ERROR"}, caller=OPERATOR)
    assert (await statuses.document("notes", "foundation"))["current_status"] == "error"
    assert (await statuses.document("notes", "orchestrator"))["state_detail"] == "ERROR"
    assert (await statuses.document("notes", "calendar"))["status"] == "idle"
    await statuses.change_document("notes", "foundation", {"current_status": "idle"}, caller=OPERATOR)
    await statuses.change_document("notes", "calendar", {"status": "on_call"}, caller=OPERATOR)
    assert (await statuses.document("notes", "orchestrator"))["status"] == "ACTIVE"
    await statuses.change_document("notes", "orchestrator", {"state_detail": "PAUSED"}, caller=OPERATOR)
    assert (await statuses.document("notes", "orchestrator"))["status"] == "INACTIVE"
    told = await statuses.document("notes", "orchestrator")
    changed = [(move["previous_status"], move["new_status"]) for move in told["agent_state_history"]]
    assert changed[:3] == [("ACTIVE", "INACTIVE"), ("ERROR", "ACTIVE"), ("ACTIVE", "ERROR")]
    details = [move["new_state_detail"] for move in reversed(told["agent_state_history"])]
    assert details == ["CREATED", "INITIALIZING", "READY", "ACTIVE", "ERROR", "ACTIVE", "PAUSED"]


async def test_a_run_is_reported_as_an_execution_and_as_a_line_of_the_run_log(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    bench.connect(runs=folder(a="- [ ] call Anna\n"))
    run = await bench.run()
    told = await statuses.document("notes", "orchestrator")
    (execution,) = told["agent_execution"]
    assert (execution["id"], execution["task_id"], execution["state"]) == (run.id, run.id, run.state)
    states = [move["new_state"] for move in told["execution_state_history"]]
    assert states == ["COMPLETED", "RUNNING", "PREPARING", "QUEUED"]
    log = await statuses.document("notes", "runlog")
    assert json.loads(json.dumps(log)) == log
    (logged,) = log["agent_run_log"]
    assert (logged["run_id"], logged["status"]) == (run.id, "success")
    assert log["last_run_at"] == logged["completed_at"] is not None
    assert log["agent_type"] == "local"


async def test_cancelled_run_is_an_error_with_reason_in_the_run_log(
    bench: Bench, statuses: AgentStatusesResource
) -> None:
    run = await bench.control.submit(bench.agent)
    assert (await statuses.document("notes", "foundation"))["active_workflows"] == [run.id]
    await bench.control.cancel(run.id, actor="o", reason="not needed")
    (logged,) = (await statuses.document("notes", "runlog"))["agent_run_log"]
    assert (logged["status"], logged["errors"]) == ("error", ["cancelled: not needed"])
    assert (await statuses.document("notes", "foundation"))["active_workflows"] == []


@pytest.mark.parametrize("vocabulary", SEED_NAMES)
async def test_vocabulary_document_has_every_column_of_the_seed_names(
    bench: Bench, statuses: AgentStatusesResource, vocabulary: Vocabulary
) -> None:
    await bench.control.submit(bench.agent)
    await bench.store.write(_fill)
    told = await statuses.document("notes", vocabulary)
    assert json.loads(json.dumps(told)) == told
    for name in SEED_NAMES[vocabulary]:
        table, _, column = name.partition(".")
        if table not in TABLES[vocabulary] or " " in name or name in ELSEWHERE:
            continue
        place = TABLES[vocabulary][table]
        rows = told if place is None else told[place]
        row = rows[0] if isinstance(rows, list) else rows
        assert column in row, name


def _fill(c: Any) -> None:
    """A row of each table that the agent has none of yet."""
    (agent_id,) = (row.id for row in agents.list_agents(c))
    made = "0, 0"
    for statement in (
        f"INSERT INTO agent_templates (id, name, created_at, updated_at) VALUES ('t', 't', {made})",
        "UPDATE agents SET template_id = 't'",
        "INSERT INTO checkpoints (agent_id, actor, created_at, updated_at)"
        f" VALUES ('{agent_id}', 'o', {made})",
        "INSERT INTO agent_configs (agent_id, config_key, config_value, created_at, updated_at)"
        f" VALUES ('{agent_id}', 'room', 'seven', {made})",
        "INSERT INTO agent_capabilities (agent_id, name, ver_major, ver_minor, ver_patch, created_at,"
        f" updated_at) VALUES ('{agent_id}', 'file.read', 1, 2, 0, {made})",
        "INSERT INTO metric_series (id, agent_id, name, created_at, last_at)"
        f" VALUES ('s', '{agent_id}', 'files', 0, 7)",
        "INSERT INTO agent_metrics (series_id, bucket_ms, bucket_at, n, sum, min, max, last, last_at)"
        " VALUES ('s', 60000, 0, 1, 1, 1, 1, 1, 7)",
        "INSERT INTO boards (id, user_id, name, created_at, updated_at)"
        f" SELECT 'b', user_id, 'b', {made} FROM agents",
        f"INSERT INTO board_members (agent_id, board_id, joined_at) VALUES ('{agent_id}', 'b', 0)",
        "INSERT INTO soul_versions (agent_id, seq, kind, content, sha256, size_bytes, actor, at)"
        f" VALUES ('{agent_id}', 1, 'seen', 'I dig.', 'x', 6, 'hub', 0)",
        "INSERT INTO activity_log (id, at, event_type, message, agent_id, actor)"
        f" VALUES ('a', 0, 'agent.nudge.sent', 'Nudge sent to b.', '{agent_id}', 'hub')",
    ):
        c.exec_driver_sql(statement)
    assert runs.list_runs(c, agent_id=agent_id)


STATUS = "/v1/agents/inbox/status"


@pytest.fixture
async def inbox(hub: ServedHub) -> None:
    """Store the agent ``inbox``."""
    await hub.store.write(an_agent)


@pytest.mark.usefixtures("inbox")
async def test_if_match_on_a_document_without_an_etag_is_refused(client: httpx2.AsyncClient) -> None:
    tag = {"if-match": (await client.get(STATUS)).headers["etag"]}
    calendar = "/v1/agents/inbox/as/calendar"
    assert (await client.get(calendar, headers=tag)).status_code == 200
    refused = await client.patch(calendar, json={"status": "on_call"}, headers=tag)
    assert (refused.status_code, refused.json()["hint"]) == (422, "leave it out")
    assert "if-match: what is changed here has no ETag" in refused.json()["detail"]
    assert (await client.get(STATUS)).json()["availability"] == "available"


@pytest.mark.usefixtures("inbox")
async def test_status_document_is_read_and_written_in_the_terms_of_the_vocabulary(
    client: httpx2.AsyncClient,
) -> None:
    done = await client.patch(
        "/v1/agents/inbox/as/orchestrator", json={"status": "ERROR", "reason": "no disk"}
    )
    assert (done.status_code, done.json()["status"], done.json()["state_detail"]) == (200, "ERROR", "ERROR")
    assert done.json()["agent_state_history"][0]["reason"] == "no disk"
    assert (await client.get("/v1/agents/inbox/as/foundation")).json()["current_status"] == "error"
    assert (await client.get(STATUS)).json()["health_reason"] == "no disk"
