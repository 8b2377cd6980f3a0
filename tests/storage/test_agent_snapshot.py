"""Templates: written, judged for the agents that are made from them, removed."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.agent_status import AgentSubtype, AgentType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, TemplateId
from storage.agents import (
    agent_moves,
    agent_snapshot,
    agent_states,
    agents,
    config_changes,
    configs,
    declaring,
)
from storage.agents.agent_snapshot import Setup, UnknownTemplate, WrittenTemplate
from storage.agents.config_changes import NewConfig, Put, TemplateOfFile, WouldBreak
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices
from tests.storage.rows import AT, ME, some
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
) -> Put:
    return config_changes.put_template(
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
) -> declaring.TakenUp:
    """The agents and templates of hub.toml, as they stand now."""
    user = devices.ensure_user(c, ME, "me", at)
    fresh = [
        name
        for agent in declared
        for name in (f"agent-{agent.name}", f"device-{agent.device_name}", f"s-{agent.name}", "u")
    ]
    fresh += [f"t-{template.name}" for template in of]
    return declaring.take_up(
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


def test_a_template_reads_back_as_it_was_written(c: sa.Connection) -> None:
    done = put(c)
    assert (done.is_new, done.template.source, done.template.version) == (True, "api", 1)
    assert agent_snapshot.get_template(c, "researcher").written == RESEARCHER
    assert not put(c).is_changed
    assert put(c, msgspec.structs.replace(RESEARCHER, description=None)).template.version == 2
    with pytest.raises(UnknownTemplate, match="'nobody'"):
        agent_snapshot.get_template(c, "nobody")


def test_an_agent_has_the_type_the_prompt_and_the_defaults_of_its_template(c: sa.Connection) -> None:
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


def test_the_agents_own_values_go_before_its_template(c: sa.Connection) -> None:
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
def test_a_change_that_would_break_an_agent_is_refused_and_names_it(c: sa.Connection) -> None:
    with pytest.raises(WouldBreak, match=r"agent notes: \$: missing: owner"):
        put(c, STRICTER, check=wants("owner"))
    assert (agent_snapshot.get_template(c, "researcher").written, health(c)) == (RESEARCHER, ("ok", None))


@pytest.mark.usefixtures("used")
def test_a_forced_change_puts_the_agents_that_it_breaks_in_error_until_they_are_valid(
    c: sa.Connection,
) -> None:
    assert [one.name for one in put(c, STRICTER, check=wants("owner"), force=True).broken] == ["notes"]
    assert health(c) == ("error", "not set up right: $: missing: owner")
    put(c)
    assert health(c) == ("ok", None)
    moves = [move for move in agent_states.agent_history(c, AgentId("agent-notes")) if move.axis == "health"]
    assert [(move.new_value, move.actor) for move in moves] == [("error", "anna"), ("ok", "anna")]


@pytest.mark.usefixtures("used")
def test_an_error_of_another_cause_stays(c: sa.Connection) -> None:
    id = AgentId("agent-notes")
    agent_moves.move(c, id, "health", "error", at=AT, actor="device:desk", reason="disk broken")
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
def test_a_trial_writes_nothing(c: sa.Connection) -> None:
    assert [one.text for one in config_changes.judge(c, STRICTER, wants("owner"))] == [
        "agent notes: $: missing: owner"
    ]
    assert config_changes.judge(c, msgspec.structs.replace(STRICTER, name="new"), wants("owner")) == []
    assert agent_snapshot.get_template(c, "researcher").version == 1


@pytest.mark.usefixtures("used")
def test_a_template_goes_when_no_agent_is_made_from_it(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.TEMPLATE_IN_USE), match="used by notes"):
        config_changes.remove_template(c, "researcher")
    take_up(c)  # the agent is archived, and its template forgotten
    config_changes.remove_template(c, "researcher")
    assert (agent_snapshot.list_templates(c), some(agents.find_agent_by_name(c, "notes")).template) == (
        [],
        None,
    )


@pytest.mark.usefixtures("kept")
def test_a_write_by_who_has_read_another_version_is_refused(c: sa.Connection) -> None:
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."), version=1)
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)):
        put(c, RESEARCHER, version=1)


def test_there_are_so_many_templates_and_no_more(c: sa.Connection) -> None:
    put(c, most=1)
    put(c, msgspec.structs.replace(RESEARCHER, description="Another."), most=1)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)) as refused:
        put(c, msgspec.structs.replace(RESEARCHER, name="second"), most=1)
    assert refused.value.code is ErrorCode.LIMIT_REACHED


def test_a_template_of_the_file_is_changed_there_alone(c: sa.Connection) -> None:
    assert [one.is_new for one in take_up(c, of=(RESEARCHER,)).templates] == [True]
    assert take_up(c, of=(RESEARCHER,)).templates == ()
    for refused in (lambda: put(c), lambda: config_changes.remove_template(c, "researcher")):
        with pytest.raises(TemplateOfFile):
            refused()


def test_a_template_that_leaves_the_file_goes_or_stays_with_who_needs_it(c: sa.Connection) -> None:
    take_up(c, NOTES, of=(RESEARCHER,))
    take_up(c, NOTES)  # the agent still names it
    assert agent_snapshot.get_template(c, "researcher").source == "api"
    take_up(c, NOTES, of=(RESEARCHER,))
    assert agent_snapshot.get_template(c, "researcher").source == "file"
    take_up(c)
    assert agent_snapshot.list_templates(c) == []


def test_a_file_whose_agents_are_not_what_their_template_asks_for_is_not_taken_up(c: sa.Connection) -> None:
    with pytest.raises(WouldBreak, match="agent notes"):
        take_up(c, NOTES, of=(RESEARCHER,), check=wants("owner"))


def test_a_hub_that_starts_with_such_a_file_starts_and_reports_it(c: sa.Connection) -> None:
    done = take_up(c, NOTES, of=(RESEARCHER,), check=wants("owner"), force=True)
    assert [one.name for one in done.broken] == ["notes"]
    assert health(c) == ("error", "not set up right: $: missing: owner")
    owned = msgspec.structs.replace(NOTES, config=(*NOTES.config, NewConfig(key="owner", value="anna")))
    assert take_up(c, owned, of=(RESEARCHER,), check=wants("owner"), at=AT + 1).broken == ()
    assert health(c) == ("ok", None)


def test_an_agent_cannot_be_made_from_what_is_not_there(c: sa.Connection) -> None:
    with pytest.raises(UnknownTemplate, match="'researcher'"):
        take_up(c, NOTES)


def test_who_changes_an_agent_looks_at_it_as_it_would_be(c: sa.Connection) -> None:
    take_up(c, NOTES, of=(RESEARCHER,))
    id = AgentId("agent-notes")
    agent_snapshot.check_setup(c, id, check=needs_a_project)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_CONFIG), match="agent notes"):
        agent_snapshot.check_setup(c, id, {}, check=needs_a_project)
    assert configs.configuration_of(c, id) == {"project": "apollo"}
