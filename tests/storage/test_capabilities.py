"""What agents can do: versions, of each name one enabled, whoever says so."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.requirements import parse_version
from storage.agents import agents, configs
from storage.agents.agents import AgentRow
from storage.agents.configs import Capability, CapabilityRow, DeclaredCapability, Registered, Source
from storage.agents.declared_agents import DeclaredAgent
from storage.schema import agent_capabilities
from tests.storage.rows import AT, LAPTOP, declare
from tests.support.coded import coded


def register(
    c: sa.Connection,
    agent: AgentRow,
    spelled: str,
    *,
    enabled: bool | None = None,
    source: Source = "api",
    at: int = AT,
    most: int = 99,
    description: str | None = None,
) -> Registered:
    """``name version``, said of the agent."""
    name, version = spelled.split()
    given = Capability(name=name, version=parse_version(version), enabled=enabled, description=description)
    return configs.register(c, agent.id, given, source=source, at=at, most=most)


def told(row: CapabilityRow) -> str:
    return f"{row.name} {row.version}{' enabled' if row.enabled else ''}"


def able(c: sa.Connection, agent: AgentRow) -> list[str]:
    """What the agent can do, as it is listed."""
    return [told(row) for row in configs.list_capabilities(c, agent.id)]


def test_capabilities_are_listed_by_name_and_the_newest_version_first(
    c: sa.Connection, agent: AgentRow
) -> None:
    for spelled in ("web 1.0.0", "read 1.2.0", "read 1.10.0", "read 2.0.0-beta.2", "read 2.0.0-beta.11"):
        register(c, agent, spelled)
    assert able(c, agent) == [
        "read 2.0.0-beta.11",
        "read 2.0.0-beta.2",
        "read 1.10.0 enabled",
        "read 1.2.0",
        "web 1.0.0 enabled",
    ]


def test_a_newer_version_is_enabled_and_an_older_one_only_on_request(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert register(c, agent, "read 1.2.0").disabled is None
    assert register(c, agent, "read 1.1.0").row.enabled is False
    done = register(c, agent, "read 1.3.0")
    assert (done.is_new, done.disabled) == (True, parse_version("1.2.0"))
    assert able(c, agent) == ["read 1.3.0 enabled", "read 1.2.0", "read 1.1.0"]


def test_enabling_one_version_disables_the_other_in_the_same_write(c: sa.Connection, agent: AgentRow) -> None:
    register(c, agent, "read 1.2.0")
    register(c, agent, "read 1.3.0")
    done = register(c, agent, "read 1.2.0", enabled=True, at=AT + 5)
    assert (done.is_new, done.disabled) == (False, parse_version("1.3.0"))
    assert able(c, agent) == ["read 1.3.0", "read 1.2.0 enabled"]
    register(c, agent, "read 1.2.0", enabled=False)
    assert (able(c, agent), configs.enabled_of(c, [agent.id])) == (["read 1.3.0", "read 1.2.0"], {})


def test_two_versions_of_one_name_are_never_enabled_under_concurrent_writers(
    c: sa.Connection, agent: AgentRow
) -> None:
    register(c, agent, "read 1.2.0")
    register(c, agent, "read 1.3.0")
    with pytest.raises(sa.exc.IntegrityError):
        c.execute(sa.update(agent_capabilities).values(enabled=True))


def test_a_repeated_registration_changes_nothing_and_stays_disabled(
    c: sa.Connection, agent: AgentRow
) -> None:
    register(c, agent, "read 1.2.0", source="device")
    register(c, agent, "read 1.2.0", enabled=False, source="device", at=AT + 1)
    again = register(c, agent, "read 1.2.0", source="device", at=AT + 9)
    assert (again.is_changed, again.row.enabled, again.row.updated_at) == (False, False, AT + 1)
    changed = register(c, agent, "read 1.2.0", source="device", description="reads files", at=AT + 9)
    assert (changed.is_changed, changed.row.created_at, changed.row.updated_at) == (True, AT, AT + 9)


def test_agents_have_as_many_capabilities_as_they_may(c: sa.Connection, agent: AgentRow) -> None:
    register(c, agent, "read 1.0.0", most=2)
    register(c, agent, "read 1.1.0", most=2)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="capabilities_per_agent"
    ) as caught:
        register(c, agent, "web 1.0.0", most=2)
    assert caught.value.code is ErrorCode.LIMIT_REACHED
    register(c, agent, "read 1.1.0", description="one that is there may change", most=2)
    assert len(able(c, agent)) == 2


def test_a_capability_is_removed_in_one_version_or_in_all(c: sa.Connection, agent: AgentRow) -> None:
    for spelled in ("read 1.0.0", "read 1.1.0", "read 1.2.0", "web 1.0.0"):
        register(c, agent, spelled)
    (gone,) = configs.remove(c, agent.id, "read", parse_version("1.1.0"))
    assert told(gone) == "read 1.1.0"
    assert [told(row) for row in configs.remove(c, agent.id, "read")] == [
        "read 1.2.0 enabled",
        "read 1.0.0",
    ]
    assert able(c, agent) == ["web 1.0.0 enabled"]


def test_removing_an_unknown_version_names_the_known_ones(c: sa.Connection, agent: AgentRow) -> None:
    register(c, agent, "read 1.0.0")
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.UNKNOWN_CAPABILITY),
        match=r"no capability read 2\.0\.0; it has 1\.0\.0",
    ):
        configs.remove(c, agent.id, "read", parse_version("2.0.0"))
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_CAPABILITY), match=r"no capability web$"):
        configs.remove(c, agent.id, "web")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        register(c, msgspec.structs.replace(agent, id=AgentId("nobody")), "read 1.0.0")


def declared(c: sa.Connection, *spelled: str, at: int = AT) -> AgentRow:
    """The agent of hub.toml with these capabilities; ``read 1.0.0 on`` is enabled."""
    given = [one.split() for one in spelled]
    able = tuple(
        Capability(name=one[0], version=parse_version(one[1]), enabled=len(one) > 2) for one in given
    )
    declare(c, DeclaredAgent(name="inbox", device_name=LAPTOP, capabilities=able), at=at)
    return agents.get_agent(c, AgentId("agent-inbox"))


def test_capabilities_of_hub_toml_follow_the_file(c: sa.Connection) -> None:
    agent = declared(c, "read 1.0.0", "read 1.1.0 on")
    register(c, agent, "web 1.0.0")
    assert able(c, agent) == ["read 1.1.0 enabled", "read 1.0.0", "web 1.0.0 enabled"]
    agent = declared(c, "read 1.0.0 on", "mail 2.0.0 on")
    assert able(c, agent) == ["mail 2.0.0 enabled", "read 1.0.0 enabled", "web 1.0.0 enabled"]
    assert able(c, declared(c)) == ["web 1.0.0 enabled"]


def test_an_agent_of_hub_toml_that_is_as_it_was_is_not_written_again(c: sa.Connection) -> None:
    declared(c, "read 1.0.0 on")
    given = Capability(name="read", version=parse_version("1.0.0"), enabled=True)
    as_it_is = DeclaredAgent(name="inbox", device_name=LAPTOP, capabilities=(given,))
    assert declare(c, as_it_is, at=AT + 1).updated == ()
    assert declare(c, DeclaredAgent(name="inbox", device_name=LAPTOP), at=AT + 2).updated == ("inbox",)


@pytest.mark.parametrize("source", ["api", "device"])
def test_what_hub_toml_declares_is_changed_there_alone(c: sa.Connection, source: Source) -> None:
    agent = declared(c, "read 1.0.0 on")
    with pytest.raises(DeclaredCapability, match=r"read 1\.0\.0 is declared in hub\.toml"):
        register(c, agent, "read 1.0.0", enabled=False, source=source)
    with pytest.raises(DeclaredCapability, match=r"hub\.toml enables read 1\.0\.0"):
        register(c, agent, "read 2.0.0", enabled=True, source=source)
    with pytest.raises(DeclaredCapability, match="remove it there"):
        configs.remove(c, agent.id, "read")
    assert register(c, agent, "read 2.0.0", source=source).row.enabled is False
    assert able(c, agent) == ["read 2.0.0", "read 1.0.0 enabled"]
