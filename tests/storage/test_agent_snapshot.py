"""Templates: written, judged for the agents that are made from them, removed."""

from itertools import product
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.agent_status import VALUES, Axis
from protocol.agent_types import AgentKind, AgentSubtype, AgentType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, TemplateId
from protocol.requirements import parse_requirement, parse_version
from protocol.status_vocabularies import Vocabulary, status_columns, status_words
from storage.agents import (
    agent_snapshot,
    agent_states,
    agents,
    capabilities,
    state_moves,
    template_changes,
    templates,
)
from storage.agents.agent_snapshot import AgentFilter, Setup, conditions_of
from storage.agents.agent_states import AgentState, states_of
from storage.agents.capabilities import AgentCapability
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.template_changes import TemplateOfFile, TemplateWrite, WouldBreak
from storage.agents.templates import UnknownTemplate, WrittenTemplate
from storage.devices import users
from storage.effects import declaring
from storage.schema import agent_states as state_table
from storage.schema import agents as table
from tests.storage.rows import AT, ME, declare, some
from tests.support import stored
from tests.support.coded import coded

RESEARCHER = WrittenTemplate(
    name="researcher",
    description="Reads a lot.",
    agent_type=AgentType.COORDINATOR,
    subtype=AgentSubtype.PLANNER,
    configuration_schema={"required": ["project"]},
    default_configuration={"depth": 2},
    prompt_template="Find {{ project }}.",
)
STRICTER = msgspec.structs.replace(RESEARCHER, configuration_schema={"required": ["owner"]})
NOTES = DeclaredAgent(
    name="notes",
    device_name="desk",
    paths=("notes",),
    data_types=("tasks",),
    template="researcher",
    config=(NewConfig(key="project", value="apollo"),),
)


def needs_a_project(setup: Setup) -> tuple[str, ...]:
    return () if "project" in setup.configuration else ("$: missing: project",)


def wants(key: str) -> agent_snapshot.Check:
    return lambda setup: () if key in setup.configuration else (f"$: missing: {key}",)


def put(
    c: sa.Connection,
    template: WrittenTemplate = RESEARCHER,
    *,
    check: agent_snapshot.Check = needs_a_project,
    **how: int,
) -> TemplateWrite:
    return template_changes.put_template(
        c,
        template,
        fresh_id=TemplateId(f"t-{template.name}"),
        at=AT,
        actor="anna",
        check=check,
        **how,  # type: ignore[arg-type]
    )


def take_up(
    c: sa.Connection,
    *declared: DeclaredAgent,
    of: tuple[WrittenTemplate, ...] = (),
    check: agent_snapshot.Check = needs_a_project,
    force: bool = False,
    at: int = AT,
) -> declaring.AppliedDeclarations:
    """The agents and templates of hub.toml, as they stand now."""
    user = users.ensure_user(c, ME, "me", at)
    fresh = [
        name
        for agent in declared
        for name in (f"agent-{agent.name}", f"device-{agent.device_name}", f"s-{agent.name}", "u")
    ]
    fresh += [f"t-{template.name}" for template in of]
    return declaring.apply_declarations(
        c, user_id=user, declared=declared, at=at, fresh_ids=fresh, templates=of, check=check, force=force
    )


def health(c: sa.Connection, name: str = "notes") -> tuple[str, str | None]:
    state = agent_states.find_state(c, AgentId(f"agent-{name}"))
    return state.health, state.health_reason


@pytest.fixture
def kept(c: sa.Connection) -> None:
    """The template ``researcher``."""
    put(c)


@pytest.fixture
def used(c: sa.Connection, kept: None) -> None:
    """A template with an agent that was made from it."""
    take_up(c, NOTES)


def test_template_reads_back_as_written(c: sa.Connection) -> None:
    done = put(c)
    assert (done.is_new, done.template.source, done.template.version) == (True, "api", 1)
    assert templates.get_template(c, "researcher").written == RESEARCHER
    assert not put(c).is_changed
    assert put(c, msgspec.structs.replace(RESEARCHER, description=None)).template.version == 2
    with pytest.raises(UnknownTemplate, match="'nobody'"):
        templates.get_template(c, "nobody")


def test_agent_inherits_type_prompt_and_config_defaults_of_the_template(c: sa.Connection) -> None:
    take_up(c, NOTES, of=(RESEARCHER,))
    (agent,) = agents.list_agents(c)
    assert (agent.template, agent.type, agent.subtype, agent.own_prompt, agent.prompt) == (
        "researcher",
        "COORDINATOR",
        "PLANNER",
        "",
        "Find {{ project }}.",
    )
    assert agent_snapshot.setup_of(c, agent.id).configuration == {"depth": 2, "project": "apollo"}
    assert agent_snapshot.setup_of(c, agent.id).prompt_in_use == "Find {{ project }}."


def test_own_values_of_an_agent_override_the_values_of_the_template(c: sa.Connection) -> None:
    own = msgspec.structs.replace(
        NOTES,
        type=AgentType.AUDITOR,
        prompt="Mine.",
        config=(NewConfig(key="project", value="x"), NewConfig(key="depth", value=7)),
    )
    take_up(c, own, of=(RESEARCHER,))
    (agent,) = agents.list_agents(c)
    assert (agent.type, agent.subtype, agent.prompt) == ("AUDITOR", None, "Mine.")
    assert agent_snapshot.setup_of(c, agent.id).configuration == {"depth": 7, "project": "x"}


@pytest.mark.usefixtures("used")
def test_template_change_breaking_an_agent_is_refused_with_the_agent_name(c: sa.Connection) -> None:
    with pytest.raises(WouldBreak, match=r"agent notes: \$: missing: owner"):
        put(c, STRICTER, check=wants("owner"))
    assert (templates.get_template(c, "researcher").written, health(c)) == (RESEARCHER, ("ok", None))


@pytest.mark.usefixtures("used")
def test_forced_template_change_puts_broken_agents_in_error_until_valid(
    c: sa.Connection,
) -> None:
    assert [one.name for one in put(c, STRICTER, check=wants("owner"), force=True).broken] == ["notes"]
    assert health(c) == ("error", "not set up right: $: missing: owner")
    put(c)
    assert health(c) == ("ok", None)
    moves = [move for move in stored.agent_history(c, AgentId("agent-notes")) if move.axis == "health"]
    assert [(move.new_value, move.actor) for move in moves] == [("error", "anna"), ("ok", "anna")]


@pytest.mark.usefixtures("used")
def test_template_change_leaves_an_agent_error_of_another_cause(c: sa.Connection) -> None:
    id = AgentId("agent-notes")
    state_moves.move(c, id, "health", "error", at=AT, actor="device:desk", reason="disk broken")
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."))
    assert health(c) == ("error", "disk broken")


@pytest.mark.usefixtures("used")
def test_new_defaults_are_a_new_revision_of_the_agents_and_a_new_description_is_not(c: sa.Connection) -> None:
    before = agents.list_agents(c)[0].config_rev
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."))
    assert agents.list_agents(c)[0].config_rev == before
    done = put(c, msgspec.structs.replace(RESEARCHER, default_configuration={"depth": 3}))
    assert (agents.list_agents(c)[0].config_rev, done.agents) == (before + 1, ("agent-notes",))


@pytest.mark.usefixtures("used")
def test_judging_a_template_change_writes_nothing(c: sa.Connection) -> None:
    assert [one.text for one in template_changes.judge(c, STRICTER, wants("owner"))] == [
        "agent notes: $: missing: owner"
    ]
    assert template_changes.judge(c, msgspec.structs.replace(STRICTER, name="new"), wants("owner")) == []
    assert templates.get_template(c, "researcher").version == 1


@pytest.mark.usefixtures("used")
def test_template_in_use_by_an_agent_is_not_removed(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.TEMPLATE_IN_USE), match="used by notes"):
        template_changes.remove_template(c, "researcher")
    take_up(c)  # the agent is archived, and its template forgotten
    template_changes.remove_template(c, "researcher")
    assert (templates.list_templates(c), some(agents.find_agent_by_name(c, "notes")).template) == (
        [],
        None,
    )


@pytest.mark.usefixtures("kept")
def test_template_write_with_an_outdated_version_is_refused(c: sa.Connection) -> None:
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."), version=1)
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)):
        put(c, RESEARCHER, version=1)


def test_template_beyond_the_limit_is_refused(c: sa.Connection) -> None:
    put(c, most=1)
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."), most=1)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)) as refused:
        put(c, msgspec.structs.replace(RESEARCHER, name="second"), most=1)
    assert refused.value.code is ErrorCode.LIMIT_REACHED


def test_template_declared_in_the_file_cannot_be_changed_over_the_api(c: sa.Connection) -> None:
    assert [one.is_new for one in take_up(c, of=(RESEARCHER,)).templates] == [True]
    assert take_up(c, of=(RESEARCHER,)).templates == ()
    for refused in (lambda: put(c), lambda: template_changes.remove_template(c, "researcher")):
        with pytest.raises(TemplateOfFile):
            refused()


def test_template_removed_from_the_file_remains_only_while_used_by_an_agent(c: sa.Connection) -> None:
    take_up(c, NOTES, of=(RESEARCHER,))
    take_up(c, NOTES)  # the agent still names it
    assert templates.get_template(c, "researcher").source == "api"
    take_up(c, NOTES, of=(RESEARCHER,))
    assert templates.get_template(c, "researcher").source == "file"
    take_up(c)
    assert templates.list_templates(c) == []


def test_file_with_an_agent_refused_by_the_template_is_not_applied(c: sa.Connection) -> None:
    with pytest.raises(WouldBreak, match="agent notes"):
        take_up(c, NOTES, of=(RESEARCHER,), check=wants("owner"))


def test_forced_start_with_an_invalid_agent_puts_the_agent_in_error(c: sa.Connection) -> None:
    done = take_up(c, NOTES, of=(RESEARCHER,), check=wants("owner"), force=True)
    assert [one.name for one in done.broken] == ["notes"]
    assert health(c) == ("error", "not set up right: $: missing: owner")
    owned = msgspec.structs.replace(NOTES, config=(*NOTES.config, NewConfig(key="owner", value="anna")))
    assert take_up(c, owned, of=(RESEARCHER,), check=wants("owner"), at=AT + 1).broken == ()
    assert health(c) == ("ok", None)


def test_declared_agent_of_an_unknown_template_is_refused(c: sa.Connection) -> None:
    with pytest.raises(UnknownTemplate, match="'researcher'"):
        take_up(c, NOTES)


def test_check_setup_judges_an_agent_with_the_proposed_configuration(c: sa.Connection) -> None:
    take_up(c, NOTES, of=(RESEARCHER,))
    id = AgentId("agent-notes")
    agent_snapshot.check_setup(c, id, check=needs_a_project)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_CONFIG), match="agent notes"):
        agent_snapshot.check_setup(c, id, {}, check=needs_a_project)
    assert stored.configuration_of(c, id) == {"project": "apollo"}


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
        c.execute(sa.update(state_table).where(state_table.c.agent_id == agent).values(values))
        slots = 1 + place % 2
        c.execute(sa.update(table).where(table.c.id == agent).values(max_concurrent_runs=max(slots, runs[2])))
        found[name] = states_of(c, [agent])[agent]
    return found


def listed(c: sa.Connection, filters: AgentFilter) -> set[str]:
    return {row.name for row in agents.list_agents(c, only=conditions_of(c, filters))}


def test_agents_are_filtered_by_status_word_and_by_axis_value(
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


def test_agents_are_filtered_by_the_enabled_version_of_a_capability(c: sa.Connection) -> None:
    versions = {"one": "1.0.0", "two": "1.2.0", "three": "1.3.0", "beta": "2.0.0-beta.1", "four": "2.0.0"}
    ids = make_agents(c, "none", *versions)
    for name, version in versions.items():
        agent = ids[name]
        for number, enabled in (("9.9.9", False), (version, True)):
            given = AgentCapability(name="read", version=parse_version(number), enabled=enabled)
            capabilities.register(c, agent, given, source="api", at=AT, most=9)
    for need in NEEDS:
        needed = parse_requirement(need)
        expected = {name for name, version in versions.items() if needed.is_met_by(version)}
        assert listed(c, AgentFilter(needed=needed)) == (set() if needed.name == "write" else expected)


def test_agents_are_filtered_by_type_and_subtype(c: sa.Connection) -> None:
    kinds = {
        "plain": AgentKind(AgentType.COORDINATOR),
        "finer": AgentKind(AgentType.COORDINATOR, AgentSubtype.PLANNER),
        "other": AgentKind(AgentType.AUDITOR),
    }
    for name, agent in make_agents(c, *kinds).items():
        kind = kinds[name]
        values = {"type": kind.type, "subtype": kind.subtype, "project_id": name}
        c.execute(sa.update(table).where(table.c.id == agent).values(values))
    assert listed(c, AgentFilter(kind=kinds["plain"])) == {"plain", "finer"}
    assert listed(c, AgentFilter(kind=kinds["finer"])) == {"finer"}
    assert listed(c, AgentFilter(kind=kinds["finer"], project_id="plain")) == set()
    assert listed(c, AgentFilter(project_id="plain")) == {"plain"}
