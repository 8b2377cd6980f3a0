"""What a device may do at its hub: its files, agents, accounts of its user, reaching others."""

from typing import Any

import pytest

from hub.roles import DEVICE_REQUESTS
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.lifecycles import RunOutcome, RunState
from storage.agents import agents
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.devices import devices
from storage.devices.devices import Grant
from tests.hub.api.test_device_agents import MAIL
from tests.support.requests import refused
from tests.support.requests import result as ask
from tests.support.runs import Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]

READER: dict[str, Any] = {
    "name": "reader",
    "connector": "work",
    "data_types": ["tasks"],
    "prompt": "Find it.",
}


async def change(bench: Bench, *, add: tuple[Grant, ...] = (), remove: tuple[Grant, ...] = ()) -> None:
    device_id = bench.agent.device_id
    assert device_id is not None
    await bench.store.write(
        devices.change_grants, device_id, add=add, remove=remove, at=1, actor="operator:0"
    )


async def with_mailbox(bench: Bench) -> None:
    """The user has an account that was signed in."""
    await bench.store.write(
        connectors.reconcile_connectors,
        declared=[DeclaredConnector(name="work", user_name="owner", provider="listed", origin="me")],
        at=1,
        fresh_ids=["work-id", "no-user"],
    )


async def test_a_device_makes_no_agent_that_reads_a_mailbox_of_its_user(bench: Bench) -> None:
    await with_mailbox(bench)
    why = await refused(bench, "agents.create", **READER)
    assert why.code == ErrorCode.NOT_GRANTED
    assert "'connectors'" in why.message and "hub devices grant desk +connectors" in (why.hint or "")
    assert len(await bench.store.read(agents.list_agents)) == 1

    await change(bench, add=(Grant.CONNECTORS,))
    assert (await ask(bench, "agents.create", **READER))["agent"]["name"] == "reader"


async def test_a_device_neither_turns_an_agent_to_a_mailbox_nor_changes_one_that_reads_it(
    bench: Bench,
) -> None:
    await with_mailbox(bench)
    await ask(bench, "agents.create", **MAIL)
    turned: dict[str, Any] = {"connector": "work", "paths": None}
    assert (await refused(bench, "agents.update", agent_id="mail", **turned)).code == ErrorCode.NOT_GRANTED

    await change(bench, add=(Grant.CONNECTORS,))
    await ask(bench, "agents.create", **READER)
    await change(bench, remove=(Grant.CONNECTORS,))
    why = await refused(bench, "agents.update", agent_id="reader", prompt="Copy every mail.")
    assert why.code == ErrorCode.NOT_GRANTED


@pytest.mark.parametrize(
    ("grant", "method", "params"),
    [
        (Grant.AGENTS, "agents.create", MAIL),
        (Grant.AGENTS, "runs.start", {"agent_id": "notes"}),
        (Grant.AGENTS, "status.set", {"agent_id": "notes", "set": {"lifecycle": "paused"}}),
        (Grant.AGENTS, "config.set", {"agent_id": "notes", "values": {}}),
        (Grant.COORDINATION, "boards.list", {}),
        (Grant.COORDINATION, "locks.acquire", {"agent_id": "notes", "resources": ["x"]}),
        (Grant.COORDINATION, "memory.add", {}),
        (Grant.COORDINATION, "messages.list", {}),
    ],
)
async def test_what_was_taken_from_a_device_is_refused_by_its_name(
    bench: Bench, grant: Grant, method: str, params: dict[str, Any]
) -> None:
    await change(bench, remove=(grant,))
    why = await refused(bench, method, **params)
    assert (why.code, repr(grant.value) in why.message) == (ErrorCode.NOT_GRANTED, True)


async def test_files_that_were_taken_from_a_hub_are_not_asked_for(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await change(bench, remove=(Grant.FILES,))
    run = await bench.run()
    assert (run.state, run.outcome) == (RunState.FAILED, RunOutcome.ERROR)
    assert "not granted 'files'" in (run.reason or "")
    assert link.streams == []
    await change(bench, add=(Grant.FILES,))
    assert (await bench.run()).outcome == RunOutcome.SUCCESS


async def test_what_concerns_a_device_or_its_owner_needs_no_grant(bench: Bench) -> None:
    await change(bench, remove=tuple(Grant))
    assert [one["name"] for one in (await ask(bench, "agents.list"))["agents"]] == ["notes"]
    assert (await ask(bench, "review.report", verdicts=[]))["known"] == 0
    assert (await ask(bench, "runs.list"))["runs"] == []


def test_every_method_that_changes_an_agent_or_reaches_another_needs_a_grant() -> None:
    """A new method is decided here, and not forgotten."""
    free = {
        *(Method.AGENTS_LIST, Method.AGENTS_GET, Method.STATUS_GET, Method.CONFIG_GET),
        *(Method.CAPABILITIES_LIST, Method.CHECKPOINTS_GET, Method.LOCKS_LIST, Method.LOCKS_RELEASE),
        *(Method.RUNS_LIST, Method.RUNS_GET, Method.RUNS_REPORT),
        *(Method.METRICS_REPORT, Method.METRICS_QUERY),
        *(Method.REVIEW_REPORT, Method.PLACES_REPORT),
        *(Method.QUESTIONS_LIST, Method.QUESTIONS_ANSWER, Method.SIGN_INS_ANSWER),
        *(Method.KEYS_ROTATE, Method.RECEIPTS_LIST, Method.RECEIPTS_GET),
        *(Method.SUBSCRIBE, Method.UNSUBSCRIBE),
    }
    assert {method for method, need in DEVICE_REQUESTS.items() if need.grant is None} == free
