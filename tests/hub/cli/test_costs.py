"""What models cost, as a person asks for it."""

import json

import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.clock import epoch_ms
from protocol.ids import AgentId, UserId
from protocol.work import Usage
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices
from storage.runs import model_calls
from storage.runs.model_calls import ModelCall
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import START
from tests.support.hub import ServedHub


def spend(served: ServedHub, portal: BlockingPortal, *, cost_nanos: int = 1_234_000_000) -> None:
    """One call of an agent called mail."""

    def written(c: sa.Connection) -> None:
        owner = devices.ensure_user(c, UserId("u-costs"), "somebody", 1)
        mail = DeclaredAgent(name="mail", device_name="desk-2", paths=("mail",))
        declared_agents.reconcile_declared(
            c, user_id=owner, declared=[mail], at=1, fresh_ids=["agent-mail", "d-2", "s-2", "u-2"]
        )
        call = ModelCall(
            id="c-1",
            at=epoch_ms(START) - 5,
            agent_id=AgentId("agent-mail"),
            user_id=owner,
            run_id=None,
            unit_key="a.md",
            question="q",
            model="large",
            outcome="answered",
            usage=Usage(requests=2, prompt_tokens=100, completion_tokens=7, cost_nanos=cost_nanos),
            took_ms=900,
        )
        model_calls.record_call(c, call)

    portal.call(served.store.write, written)


def test_costs_are_a_table_with_its_sum(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    spend(served, portal)
    told = [line.split() for line in hub("costs").stdout.splitlines()]
    assert told[0] == ["agent", "requests", "failed", "tokens", "in", "out", "USD"]
    assert told[1:] == [["mail", "1", "0", "100", "7", "1.2340"], ["total", "1", "0", "100", "7", "1.2340"]]


def test_costs_of_files_name_their_agents(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    spend(served, portal)
    assert hub("costs", "--by", "file").stdout.splitlines()[1].split()[:2] == ["a.md", "mail"]
    assert hub("costs", "--by", "day").stdout.splitlines()[1].split()[0] == "2026-01-05"


def test_costs_are_printed_as_json_for_programs(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    spend(served, portal)
    told = json.loads(hub("costs", "--since", "1d", "--json").stdout)
    assert (told["schema"], told["total"]["usd"], told["rows"][0]["requests"]) == ("hub.costs/1", 1.234, 2)


def test_without_a_price_the_settings_of_prices_are_named(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    spend(served, portal, cost_nanos=0)
    assert "price_in_usd" in hub("costs").stderr


def test_without_model_requests_the_list_of_costs_is_reported_as_empty(hub: Hub, served: ServedHub) -> None:
    assert "no model requests" in hub("costs").stderr


def test_an_estimate_of_an_unknown_agent_fails_like_its_run(hub: Hub, served: ServedHub) -> None:
    ends(hub("run", "nobody", "--estimate"), 1, "nobody")
