"""What runs need, and that they are claimed once it is there."""

from collections.abc import Mapping, Sequence

import pytest
import sqlalchemy as sa

from protocol.ids import DeviceId, RunId
from protocol.requirements import Unmet, parse_version
from storage.agents import agents, configs
from storage.agents.agents import AgentRow
from storage.agents.configs import Capability
from storage.agents.declared_agents import DeclaredAgent
from storage.runs import run_claims, run_locks, run_moves
from storage.runs.run_claims import READY, Gates
from storage.runs.runs import RunRow
from tests.storage.rows import AT, BOOT, LAPTOP, declare, make_agent
from tests.support.presence import appear

DEVICE = DeviceId(f"device-{LAPTOP}")


def make_run(c: sa.Connection, run_id: str = "run-1", *needs: str, agent: AgentRow | None = None) -> RunRow:
    agent = agent or make_agent(c)
    return run_moves.create_run(
        c, id=RunId(run_id), agent=agent, fire_key=run_id, at=AT, config_fingerprint="f", needs=needs
    )


def claimed(c: sa.Connection, offers: Mapping[str, str] | None = None, *, total: int = 9) -> Sequence[str]:
    """The runs that are claimed for the laptop, which can do this."""
    there = frozenset({DEVICE})
    appear(c, there)
    gates = Gates(online=there, per_device=9, total=total, offered={DEVICE: offers or {}})
    return [run.id for run in run_claims.claim_runs(c, boot_id=BOOT, gates=gates, lease_ms=1, at=AT)]


def enable(c: sa.Connection, agent: AgentRow, name: str, version: str) -> None:
    given = Capability(name=name, version=parse_version(version), enabled=True)
    configs.register(c, agent.id, given, source="api", at=AT, most=9)


@pytest.mark.parametrize(
    ("offers", "is_claimed"),
    [
        ({}, False),
        ({"file.read": "1.1.9"}, False),
        ({"file.read": "1.2.0"}, True),
        ({"file.read": "?"}, False),
    ],
)
def test_a_run_is_claimed_when_its_device_can_do_what_it_needs(
    c: sa.Connection, offers: Mapping[str, str], is_claimed: bool
) -> None:
    make_run(c, "run-1", "file.read >= 1.2")
    assert claimed(c, offers) == (["run-1"] if is_claimed else [])


def test_what_its_agent_can_do_counts_as_much(c: sa.Connection, agent: AgentRow) -> None:
    make_run(c, "run-1", "file.read >= 1.2", agent=agent)
    enable(c, agent, "file.read", "1.1.0")
    assert claimed(c) == []
    enable(c, agent, "file.read", "1.2.0")
    assert claimed(c) == ["run-1"]


def test_a_capability_that_is_not_enabled_does_not_count(c: sa.Connection, agent: AgentRow) -> None:
    make_run(c, "run-1", "file.read", agent=agent)
    given = Capability(name="file.read", version=parse_version("1.0.0"), enabled=False)
    configs.register(c, agent.id, given, source="api", at=AT, most=9)
    assert claimed(c) == []


def test_what_every_device_can_do_need_not_be_listed(c: sa.Connection) -> None:
    make_run(c, "run-1", "tool.insert >= 1")
    assert claimed(c) == ["run-1"]


def test_a_run_that_waits_for_a_capability_does_not_hold_up_the_one_behind_it(c: sa.Connection) -> None:
    make_run(c, "run-1", "file.read", agent=make_agent(c, "first"))
    make_run(c, "run-2", agent=make_agent(c, "second"))
    assert claimed(c) == ["run-2"]


def test_more_runs_than_a_statement_has_room_for_may_wait_for_a_capability(
    c: sa.Connection, agent: AgentRow
) -> None:
    for n in range(3):
        make_run(c, f"needy-{n}", "file.read", agent=agent)
    unmet = [f"run-{n}" for n in range(40_000)]
    appear(c, [DEVICE])
    gates = {"now": AT, "held": 0, "busy_agents": [], "busy_devices": [], "boot": BOOT, "most": 9}
    assert c.execute(READY, gates | {"unmet": unmet}).one().id == "needy-0"
    assert c.execute(READY, gates | {"unmet": [*unmet, "needy-0", "needy-1", "needy-2"]}).all() == []


def test_the_needs_and_locks_of_an_agent_are_those_of_its_runs_and_a_run_may_add_its_own(
    c: sa.Connection,
) -> None:
    declare(
        c,
        DeclaredAgent(name="inbox", device_name=LAPTOP, needs=("file.read >= 1.2",), locks=("b", "a")),
    )
    (agent,) = agents.list_agents(c)
    run = run_moves.create_run(
        c,
        id=RunId("run-1"),
        agent=agent,
        fire_key="run-1",
        at=AT,
        config_fingerprint="f",
        needs=("web", "file.read >= 1.2"),
        locks=("c", "a"),
        context={"task_id": "t-1"},
    )
    assert (run.needs, run.locks, run.context) == (
        ("file.read >= 1.2", "web"),
        ("a", "b", "c"),
        {"task_id": "t-1"},
    )
    assert make_run(c, "run-2", agent=agent).needs == ("file.read >= 1.2",)


def test_unmet_needs_are_listed_with_the_known_versions(c: sa.Connection, agent: AgentRow) -> None:
    run = make_run(c, "run-1", "file.read >= 1.2", "web", agent=agent)
    enable(c, agent, "file.read", "1.0.0")
    found = run_locks.unmet_of(c, [run.id], {DEVICE: {"file.read": "1.1.0"}})
    assert found == {run.id: [Unmet("file.read >= 1.2", of_device="1.1.0", of_agent="1.0.0"), Unmet("web")]}
    assert run_locks.unmet_of(c, [run.id], {DEVICE: {"file.read": "1.2.0", "web": "1.0.0"}}) == {}
