from typing import Any

import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId, trace_id_of
from storage import audit
from storage.devices import devices
from storage.schema import activity_log
from tests.storage.rows import AT


def record(c: sa.Connection, id: str, at: int, agent: str = "agent-1", run: str | None = None) -> None:
    audit.record(
        c,
        id=id,
        at=at,
        event_type="run.finished",
        message="Read 3 files, found 2 items",
        actor="hub",
        agent_id=AgentId(agent),
        run_id=None if run is None else RunId(run),
        data={"items": 2},
    )


def test_activity_is_listed_newest_first_and_page_by_page(c: sa.Connection) -> None:
    for n in range(5):
        record(c, f"act-{n}", AT + n)
    page = audit.list_activity(c, limit=2)
    last = page[-1]
    assert [entry.id for entry in page] == ["act-4", "act-3"]
    assert [entry.id for entry in audit.list_activity(c, after=(last.at, last.id))] == [
        "act-2",
        "act-1",
        "act-0",
    ]
    assert (page[0].message, page[0].level, page[0].data) == (
        "Read 3 files, found 2 items",
        "info",
        {"items": 2},
    )


def test_activity_can_be_asked_of_one_agent_or_one_run(c: sa.Connection) -> None:
    record(c, "act-1", AT, run="run-1")
    record(c, "act-2", AT, agent="agent-2")
    assert [entry.id for entry in audit.list_activity(c, agent_id=AgentId("agent-2"))] == ["act-2"]
    assert [entry.id for entry in audit.list_activity(c, run_id=RunId("run-1"))] == ["act-1"]


def test_activity_of_a_run_bears_the_trace_of_the_run(c: sa.Connection) -> None:
    record(c, "act-1", AT, run="run-1")
    record(c, "act-2", AT, run=None)
    traces = c.execute(sa.select(activity_log.c.id, activity_log.c.trace_id)).all()
    assert sorted(map(tuple, traces)) == [("act-1", trace_id_of(RunId("run-1"))), ("act-2", None)]


def test_activity_is_found_by_its_name_its_beginning_and_its_time(c: sa.Connection) -> None:
    record(c, "act-1", AT)
    record(c, "act-2", AT + 5)

    def ids(**criteria: Any) -> list[str]:
        return [entry.id for entry in audit.list_activity(c, **criteria)]

    assert ids(event="run.finished") == ids(event="run.") == ["act-2", "act-1"]
    assert ids(event="run.fin") == ids(event="agent.") == []
    assert (ids(since=AT + 5), ids(until=AT + 5)) == (["act-2"], ["act-1"])


def test_activity_of_a_user_is_about_agents_and_devices_of_that_user(c: sa.Connection) -> None:
    anna = devices.ensure_user(c, UserId("anna"), "anna", AT)
    record(c, "act-1", AT)
    assert audit.list_activity(c, user_id=anna) == []
