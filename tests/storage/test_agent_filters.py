"""Agents are filtered by the database as their states, types and capabilities say."""

from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.agent_status import (
    VALUES,
    AgentSubtype,
    AgentType,
    Axis,
    Kind,
    Vocabulary,
    status_columns,
    status_words,
)
from protocol.ids import AgentId
from protocol.requirements import parse_requirement, parse_version
from storage.agents import agents, configs
from storage.agents.agent_snapshot import AgentFilter, conditions_of
from storage.agents.agent_states import AgentState, states_of
from storage.agents.configs import Capability
from storage.agents.declared_agents import DeclaredAgent
from storage.schema import agent_states
from storage.schema import agents as table
from tests.storage.rows import AT, declare

RUNS = ((0, 0, 0), (1, 0, 0), (1, 1, 1), (0, 2, 2))  # waiting, executing, running
NEEDS = ("read", "read >= 1.2", "read >= 1.2, < 2", "read == 1.3.0", "read < 2", "read ^ 3", "write")


def make_agents(c: sa.Connection, *names: str) -> dict[str, AgentId]:
    declare(c, *(DeclaredAgent(name=name, device_name="laptop", paths=("notes",)) for name in names))
    return {row.name: row.id for row in agents.list_agents(c)}


@pytest.fixture
def states(c: sa.Connection) -> dict[str, AgentState]:
    """States of agents that differ on every axis, by name."""
    names = [f"agent-{number:02}" for number in range(48)]
    given = product(
        ("active", "paused", "terminated", "maintenance"), ("available", "exhausted"), ("ok", "error"), RUNS
    )
    ids = make_agents(c, *names)
    found = {}
    for place, (name, (lifecycle, availability, health, runs)) in enumerate(zip(names, given, strict=False)):
        agent = ids[name]
        values: dict[str, Any] = dict(
            zip(("runs_waiting", "runs_executing", "runs_running"), runs, strict=True)
        )
        values |= {"connectivity": ("online", "offline")[place % 3 == 0], "lifecycle": lifecycle}
        values |= {"availability": availability, "health": health}
        values |= {"exhausted_at": AT if availability == "exhausted" else None}
        c.execute(sa.update(agent_states).where(agent_states.c.agent_id == agent).values(values))
        slots = 1 + place % 2
        c.execute(sa.update(table).where(table.c.id == agent).values(max_concurrent_runs=max(slots, runs[2])))
        found[name] = states_of(c, [agent])[agent]
    return found


def listed(c: sa.Connection, filters: AgentFilter) -> set[str]:
    return {row.name for row in agents.list_agents(c, only=conditions_of(c, filters))}


def test_agents_of_each_status_word_and_of_each_value_of_an_axis_are_found(
    c: sa.Connection, states: dict[str, AgentState]
) -> None:
    for vocabulary in Vocabulary:
        for column, words in status_columns(vocabulary).items():
            for word in map(str, words):
                expected = {
                    name
                    for name, state in states.items()
                    if status_words(state.axes, vocabulary, slots=state.max_concurrent_runs)[column] == word
                }
                assert listed(c, AgentFilter(vocabulary=vocabulary, words={column: word})) == expected
    for axis in Axis:
        for value in map(str, VALUES[axis]):
            expected = {name for name, state in states.items() if state.axes.on(axis) == value}
            assert listed(c, AgentFilter(axes={axis: value})) == expected


def test_agents_of_a_capability_are_found_by_its_enabled_version(c: sa.Connection) -> None:
    versions = {"one": "1.0.0", "two": "1.2.0", "three": "1.3.0", "beta": "2.0.0-beta.1", "four": "2.0.0"}
    ids = make_agents(c, "none", *versions)
    for name, version in versions.items():
        agent = ids[name]
        for number, enabled in (("9.9.9", False), (version, True)):
            given = Capability(name="read", version=parse_version(number), enabled=enabled)
            configs.register(c, agent, given, source="api", at=AT, most=9)
    for need in NEEDS:
        needed = parse_requirement(need)
        expected = {name for name, version in versions.items() if needed.is_met_by(version)}
        assert listed(c, AgentFilter(needed=needed)) == (set() if needed.name == "write" else expected)


def test_agents_are_found_by_type_and_by_the_finer_one(c: sa.Connection) -> None:
    kinds = {
        "plain": Kind(AgentType.COORDINATOR),
        "finer": Kind(AgentType.COORDINATOR, AgentSubtype.PLANNER),
        "other": Kind(AgentType.AUDITOR),
    }
    for name, agent in make_agents(c, *kinds).items():
        kind = kinds[name]
        values = {"type": kind.type, "subtype": kind.subtype, "project_id": name}
        c.execute(sa.update(table).where(table.c.id == agent).values(values))
    assert listed(c, AgentFilter(kind=kinds["plain"])) == {"plain", "finer"}
    assert listed(c, AgentFilter(kind=kinds["finer"])) == {"finer"}
    assert listed(c, AgentFilter(kind=kinds["finer"], project_id="plain")) == set()
    assert listed(c, AgentFilter(project_id="plain")) == {"plain"}
