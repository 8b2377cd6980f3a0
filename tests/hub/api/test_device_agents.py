"""What a device asks about its own agents, and how it makes, changes and removes them."""

from typing import Any

from protocol.errors import ErrorCode
from storage import audit
from storage.agents import agents
from tests.support.link import FakeLink
from tests.support.requests import refused
from tests.support.requests import result as ask
from tests.support.runs import Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]

MAIL: dict[str, Any] = {
    "name": "mail",
    "paths": ["mail"],
    "data_types": ["tasks"],
    "prompt": "Find {{ project }}.",
    "config": {"project": "apollo"},
    "type": "PLANNER",
}


async def test_a_device_makes_an_agent_that_works_on_it(bench: Bench) -> None:
    made = (await ask(bench, "agents.create", **MAIL))["agent"]
    assert (made["name"], made["type"], made["source"]) == ("mail", "PLANNER", "api")
    assert (made["lifecycle"], made["configuration"]) == ("active", {"project": "apollo"})
    row = await bench.store.read(agents.get_agent, made["agent_id"])
    assert (row.device_id, row.user_id) == (bench.agent.device_id, bench.agent.user_id)
    (entry, *_) = await bench.store.read(audit.list_entries, limit=1)
    assert (entry.event, entry.actor) == ("agent.created", f"device:{bench.agent.device_id}")


async def test_a_device_changes_and_removes_what_it_made(bench: Bench) -> None:
    made = (await ask(bench, "agents.create", **MAIL))["agent"]
    told = await ask(bench, "agents.update", agent_id="mail", priority=3, rev=made["rev"])
    assert (told["agent"]["priority"], told["agent"]["prompt"]) == (3, "Find {{ project }}.")
    assert (await ask(bench, "agents.get", agent_id=made["agent_id"])) == told
    assert (await ask(bench, "agents.delete", agent_id="mail"))["agent"]["name"] == "mail"
    assert (await refused(bench, "agents.get", agent_id="mail")).code == ErrorCode.UNKNOWN_AGENT
    assert len((await ask(bench, "agents.list"))["agents"]) == 1


async def test_an_agent_of_hub_toml_is_returned_completely_and_not_changed(bench: Bench) -> None:
    told = (await ask(bench, "agents.get", agent_id="notes"))["agent"]
    assert (told["source"], told["rev"], told["configuration"]) == ("file", 1, {})
    for method in ("agents.update", "agents.delete"):
        answer = await refused(bench, method, agent_id="notes")
        assert answer.code == ErrorCode.MANAGED_BY_FILE
        assert "hub.toml" in answer.message


async def test_what_another_has_changed_is_read_again_first(bench: Bench) -> None:
    made = (await ask(bench, "agents.create", **MAIL))["agent"]
    await ask(bench, "agents.update", agent_id="mail", priority=3)
    answer = await refused(bench, "agents.update", agent_id="mail", priority=4, rev=made["rev"])
    assert answer.code == ErrorCode.CHANGED_MEANWHILE


async def test_a_device_makes_nothing_elsewhere_and_nothing_that_cannot_be(bench: Bench) -> None:
    for about, code, word in (
        ({"device": "phone"}, ErrorCode.BAD_PARAMS, "device"),
        ({"user": "anna"}, ErrorCode.BAD_PARAMS, "user"),
        ({"name": "notes"}, ErrorCode.NAME_TAKEN, "'notes'"),
        ({"config": {}}, ErrorCode.BAD_CONFIG, "'project'"),
        ({"paths": []}, ErrorCode.BAD_PARAMS, "paths"),
        ({"template": "no"}, ErrorCode.UNKNOWN_TEMPLATE, "'no'"),
    ):
        answer = await refused(bench, "agents.create", **(MAIL | about))
        assert (answer.code, word in answer.message) == (code, True), answer
    stranger = FakeLink("another")
    answer = await refused(bench, "agents.create", stranger, **MAIL)
    assert answer.code == ErrorCode.UNKNOWN_DEVICE
    assert len(await bench.store.read(agents.list_agents)) == 1
