import sqlalchemy as sa

from protocol.ids import DeviceId, UserId
from protocol.lifecycles import RunState
from storage.agents import agents
from storage.agents.schema import agents as agent_table
from storage.devices import device_keys, devices, users
from storage.runs import runs
from tests.storage.rows import AT, LAPTOP, ME, make_agent, make_run


def revoke(c: sa.Connection, device_id: DeviceId | None) -> None:
    assert device_id is not None
    devices.revoke_device(c, device_id, at=AT + 1, actor="operator:7")


def come(c: sa.Connection, name: str = LAPTOP, *, user_id: UserId = ME) -> DeviceId:
    """A device of that name comes in."""
    id = DeviceId(f"new-{user_id}")
    return device_keys.ensure_device(c, id=id, user_id=user_id, name=name, at=AT + 2).id


def test_an_agent_of_hub_toml_goes_on_with_the_next_device_of_the_name(c: sa.Connection) -> None:
    run = make_run(c)
    revoke(c, run.device_id)
    new = come(c)
    assert agents.get_agent(c, run.agent_id).device_id == new
    assert runs.get_run(c, run.id).device_id == new


def test_a_run_that_has_ended_stays_with_the_device_it_was_on(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.COMPLETED)
    revoke(c, run.device_id)
    come(c)
    assert runs.get_run(c, run.id).device_id == run.device_id


def test_a_device_that_was_not_revoked_keeps_its_agents(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert come(c) == agent.device_id
    assert come(c, "desk") != agent.device_id
    assert agents.get_agent(c, agent.id).device_id == agent.device_id


def test_a_device_of_another_name_is_no_successor(c: sa.Connection) -> None:
    agent = make_agent(c)
    revoke(c, agent.device_id)
    come(c, "desk")
    assert agents.get_agent(c, agent.id).device_id == agent.device_id


def test_another_users_device_of_the_name_is_no_successor(c: sa.Connection) -> None:
    agent = make_agent(c)
    revoke(c, agent.device_id)
    come(c, user_id=users.ensure_user(c, UserId("anna"), "anna", AT))
    assert agents.get_agent(c, agent.id).device_id == agent.device_id


def test_an_agent_that_was_given_a_device_by_its_id_stays_with_it(c: sa.Connection) -> None:
    agent = make_agent(c)
    c.execute(sa.update(agent_table).values(source="api"))
    revoke(c, agent.device_id)
    come(c)
    assert agents.get_agent(c, agent.id).device_id == agent.device_id
