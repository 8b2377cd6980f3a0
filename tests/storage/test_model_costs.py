"""What models cost, summed up."""

from typing import get_args

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from storage.runs import model_calls
from storage.runs.model_calls import CostsBy, Lately
from storage.runs.runs import Usage
from tests.storage.rows import AT, ME, make_agent, plan, running
from tests.storage.test_model_answers import USAGE, call

DAY = model_calls.DAY_MS


@pytest.fixture
def spent(c: sa.Connection) -> sa.Connection:
    """Four calls: two of one file and one of another by the agent inbox, and one by the agent other."""
    running(c)
    make_agent(c, "other")
    first = call(id="c-1")
    for made in (
        first,
        msgspec.structs.replace(first, id="c-2", outcome="model_unavailable"),
        msgspec.structs.replace(first, id="c-3", unit_key="b.txt", at=AT + DAY, model="small"),
        msgspec.structs.replace(first, id="c-4", agent_id=AgentId("agent-other"), run_id=None),
    ):
        model_calls.record_call(c, made)
    return c


def rows(c: sa.Connection, by: CostsBy, **about: int) -> dict[str, tuple[str | None, int, int]]:
    found = model_calls.costs(c, by, since=about.get("since", 0), until=about.get("until", AT + 10 * DAY))
    return {row.key: (row.agent, row.calls, row.usage.cost_nanos) for row in found}


def test_costs_are_grouped_by_each_supported_key(spent: sa.Connection) -> None:
    assert rows(spent, "agent") == {"inbox": ("inbox", 3, 4_500), "other": ("other", 1, 1_500)}
    assert rows(spent, "user") == {"me": (None, 4, 6_000)}
    assert rows(spent, "model") == {"large": (None, 3, 4_500), "small": (None, 1, 1_500)}
    assert rows(spent, "run") == {"run-1": ("inbox", 3, 4_500)}
    assert rows(spent, "day") == {str(AT - AT % DAY): (None, 3, 4_500), str(DAY): (None, 1, 1_500)}
    assert len(rows(spent, "call")) == 4


def test_the_same_file_of_two_agents_is_two(spent: sa.Connection) -> None:
    found = model_calls.costs(spent, "file", since=0, until=AT + 10 * DAY)
    assert [(row.key, row.agent, row.calls, row.failed) for row in found] == [
        ("a.txt", "inbox", 2, 1),
        ("a.txt", "other", 1, 0),
        ("b.txt", "inbox", 1, 0),
    ]


def test_only_costs_within_the_period_are_reported_and_the_total_is_of_all_rows(spent: sa.Connection) -> None:
    assert rows(spent, "agent", since=AT + 1) == {"inbox": ("inbox", 1, 1_500)}
    assert rows(spent, "agent", until=AT) == {}
    total = model_calls.total(spent, since=0, until=AT + 10 * DAY)
    assert (total.calls, total.failed, total.usage) == (
        4,
        1,
        Usage(requests=8, prompt_tokens=400, completion_tokens=28, cost_nanos=6_000),
    )
    assert model_calls.total(spent, since=0, until=1).usage == Usage()


@pytest.mark.parametrize("by", get_args(CostsBy))
def test_one_user_sees_what_that_user_spent(spent: sa.Connection, by: CostsBy) -> None:
    until = AT + 10 * DAY
    assert model_calls.costs(spent, by, since=0, until=until, user_id=ME)
    assert model_calls.costs(spent, by, since=0, until=until, user_id=UserId("somebody")) == []


def test_the_recent_cost_of_files_is_reported_with_their_size(c: sa.Connection) -> None:
    plan(c, running(c), "a.txt")
    agent = AgentId("agent-inbox")
    for made in (call(id="c-1"), call(id="c-2"), call(id="c-3", at=AT - 5)):
        model_calls.record_call(c, made)
    unread = msgspec.structs.replace(call(id="c-4"), unit_key="never planned", run_id=RunId("run-1"))
    model_calls.record_call(c, unread)

    found = model_calls.lately(c, agent, since=AT)

    twice = Usage(requests=4, prompt_tokens=200, completion_tokens=14, cost_nanos=2 * USAGE.cost_nanos)
    assert found == Lately(files=1, size=10, usage=twice)
