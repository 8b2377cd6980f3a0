"""Configs of agents in the database: all keys of a change or none, each remembered with what was before."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.configs import BadConfig, ConfigType
from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId
from protocol.requirements import parse_version
from storage.agents import agents, capabilities, config_changes, configs
from storage.agents.agents import AgentRow
from storage.agents.capabilities import AgentCapability, CapabilityRow, DeclaredCapability, Registered, Source
from storage.agents.config_changes import ConfigLimits, ConfigOfFile, ConfigsChanged, NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.effects import retention
from storage.schema import agent_capabilities
from tests.storage.rows import AT, LAPTOP, make_agent
from tests.storage.rows import declare as declare_agents
from tests.support import stored
from tests.support.coded import coded


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    return make_agent(c)


def put(con: sa.Connection, agent: AgentRow, /, at: int = AT, **values: Any) -> ConfigsChanged:
    puts = [NewConfig(key=key, value=value) for key, value in values.items()]
    return config_changes.change(con, agent.id, puts, at=at, actor="operator:7")


def declare(c: sa.Connection, agent: AgentRow, /, at: int = AT, **values: Any) -> ConfigsChanged:
    puts = [NewConfig(key=key, value=value) for key, value in values.items()]
    return config_changes.declare(c, agent.id, puts, at=at, actor="hub.toml")


def now(c: sa.Connection, agent: AgentRow) -> dict[str, Any]:
    return stored.configuration_of(c, agent.id)


def test_config_is_stored_with_type_and_value(c: sa.Connection, agent: AgentRow) -> None:
    values: dict[str, Any] = {
        "name": "x",
        "limit": 5,
        "share": 0.5,
        "is_on": True,
        "where": {"b": [1, None]},
        "none": None,
    }
    assert (put(c, agent, **values).keys, now(c, agent)) == (tuple(sorted(values)), values)
    assert {row.key: row.type for row in configs.list_configs(c, agent.id)} == {
        "name": ConfigType.STRING,
        "limit": ConfigType.INTEGER,
        "share": ConfigType.FLOAT,
        "is_on": ConfigType.BOOLEAN,
        "where": ConfigType.JSON,
        "none": ConfigType.JSON,
    }


def test_replacing_all_configs_leaves_hub_settings_of_the_agent(c: sa.Connection, agent: AgentRow) -> None:
    before = agents.get_agent(c, agent.id)
    put(c, agent, limit=5)
    config_changes.change(c, agent.id, replaces=True, at=AT, actor="operator:7")
    after = agents.get_agent(c, agent.id)
    assert now(c, agent) == {}
    assert (after.paths, after.timezone, after.model_use) == (before.paths, before.timezone, before.model_use)


def test_config_change_raises_the_revision_by_1_unless_unchanged(c: sa.Connection, agent: AgentRow) -> None:
    rev = agent.config_rev
    assert put(c, agent, a=1, b=2).rev == rev + 1
    again = put(c, agent, a=1)
    assert (again.rev, again.keys, put(c, agent, a=3).keys) == (rev + 1, (), ("a",))
    assert agents.get_agent(c, agent.id).config_rev == rev + 2


def test_config_change_with_an_outdated_revision_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    rev = put(c, agent, a=1).rev
    new = [NewConfig(key="a", value=2)]
    with pytest.raises(
        CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE), match=f"at revision {rev} by now, not {rev - 1}"
    ):
        config_changes.change(c, agent.id, new, at=AT, actor="x", expected_rev=rev - 1)
    assert now(c, agent) == {"a": 1}
    assert config_changes.change(c, agent.id, new, at=AT, actor="x", expected_rev=rev).keys == ("a",)


def test_config_change_with_a_bad_key_writes_nothing(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, limit=5)
    for bad in ({"limit": "five"}, {"9": 1}, {"paths": ["notes"]}, {"text": "a\0b"}):
        with pytest.raises(BadConfig):
            put(c, agent, good=1, **bad)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_CONFIG)):
        config_changes.change(
            c, agent.id, [NewConfig(key="good", value=1)], drops=["gone"], at=AT, actor="operator:7"
        )
    assert (now(c, agent), len(configs.config_history(c, agent.id, limit=9))) == ({"limit": 5}, 1)


def test_config_type_remains_until_a_new_type_is_given(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, share=0.5)
    put(c, agent, share=1)
    assert repr(now(c, agent)["share"]) == "1.0"
    told = "share: expected float, not the text 'half'; give a type to change that which it has"
    with pytest.raises(BadConfig, match=told):
        put(c, agent, share="half")
    typed = NewConfig(key="share", value="half", type=ConfigType.STRING)
    config_changes.change(c, agent.id, [typed], at=AT, actor="operator:7")
    assert now(c, agent) == {"share": "half"}


def test_config_description_remains_until_a_new_description_is_given(
    c: sa.Connection, agent: AgentRow
) -> None:
    config_changes.change(
        c, agent.id, [NewConfig(key="a", value=1, description="how many")], at=AT, actor="operator:7"
    )
    put(c, agent, a=2)
    (row,) = configs.list_configs(c, agent.id)
    assert (row.value, row.description) == (2, "how many")
    for given in (None, "x" * 10_001):
        told = NewConfig(key="a", value=2, description=given)
        if given is None:
            assert config_changes.change(c, agent.id, [told], at=AT, actor="operator:7").keys == ("a",)
        else:
            with pytest.raises(BadConfig, match="description has at most"):
                config_changes.change(c, agent.id, [told], at=AT, actor="operator:7")
    (row,) = configs.list_configs(c, agent.id)
    assert row.description is None
    assert len(configs.config_history(c, agent.id, limit=9)) == 2, "of values alone"


def test_config_history_has_actor_time_and_previous_value(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, AT, a=1)
    put(c, agent, AT + 5, a=2, b="x")
    config_changes.change(c, agent.id, drops=["a"], at=AT + 9, actor="device:d-1")
    told = [
        (move.seq, move.key, move.old_text, move.new_text, move.actor, move.at)
        for move in configs.config_history(c, agent.id, limit=9)
    ]
    assert told == [
        (4, "a", "2", None, "device:d-1", AT + 9),
        (3, "b", None, "x", "operator:7", AT + 5),
        (2, "a", "1", "2", "operator:7", AT + 5),
        (1, "a", None, "1", "operator:7", AT),
    ]
    assert [move.seq for move in configs.config_history(c, agent.id, limit=1, after=(3,))] == [2]
    assert [move.seq for move in configs.config_history(c, agent.id, limit=9, key="b")] == [3]


def test_replacing_all_configs_drops_omitted_keys(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, a=1, b=2)
    done = config_changes.change(
        c, agent.id, [NewConfig(key="b", value=2)], replaces=True, at=AT, actor="operator:7"
    )
    assert (done.keys, now(c, agent)) == (("a",), {"b": 2})


def test_config_revert_restores_the_values_after_the_given_change(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, a=1, b=2)
    typed = NewConfig(key="a", value="one", type=ConfigType.STRING)
    config_changes.change(c, agent.id, [typed], drops=["b"], at=AT, actor="operator:7")
    put(c, agent, c=3)
    config_changes.revert(c, agent.id, to=2, at=AT, actor="operator:7")
    assert now(c, agent) == {"a": 1, "b": 2}
    config_changes.revert(c, agent.id, to=5, at=AT, actor="operator:7")
    assert now(c, agent) == {"a": "one", "c": 3}, "a revert can be taken back"
    config_changes.revert(c, agent.id, to=0, at=AT, actor="operator:7")
    assert now(c, agent) == {}


def test_config_revert_to_a_forgotten_change_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, AT, a=1)
    put(c, agent, AT + 9, a=2)
    assert retention.prune_config_history(c, before=AT + 5) == 1
    for to in (-1, 0, 3):
        with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_CONFIG), match="not remembered"):
            config_changes.revert(c, agent.id, to=to, at=AT, actor="operator:7")
    assert config_changes.revert(c, agent.id, to=1, at=AT, actor="operator:7").keys == ("a",)
    assert now(c, agent) == {"a": 1}


def test_pruning_keeps_the_newest_config_change_for_continuing_numbers(
    c: sa.Connection, agent: AgentRow
) -> None:
    for value in range(3):
        put(c, agent, a=value)
    assert retention.prune_config_history(c, before=AT + 5, rows=1) == 1
    assert retention.prune_config_history(c, before=AT + 5) == 1
    assert retention.prune_config_history(c, before=AT + 5) == 0
    put(c, agent, a=9)
    assert [move.seq for move in configs.config_history(c, agent.id, limit=9)] == [4, 3]


def test_config_history_of_an_agent_is_limited_in_number(
    c: sa.Connection, agent: AgentRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_changes, "REMEMBERED", 3)
    for value in range(6):
        put(c, agent, a=value)
    assert [move.seq for move in configs.config_history(c, agent.id, limit=9)] == [6, 5, 4]


def test_config_history_of_an_agent_is_limited_in_characters(
    c: sa.Connection, agent: AgentRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_changes, "REMEMBERED_CHARACTERS", 100)
    for letter in "abcdef":
        put(c, agent, a=letter * 20)  # each move has the value before it as well
    assert [move.seq for move in configs.config_history(c, agent.id, limit=9)] == [6, 5]


def test_config_declared_in_hub_toml_cannot_be_changed_over_the_api(
    c: sa.Connection, agent: AgentRow
) -> None:
    declare(c, agent, limit=5)
    put(c, agent, mine=1)
    attempts: list[dict[str, Any]] = [
        {"puts": [NewConfig(key="limit", value=6)]},
        {"puts": [NewConfig(key="limit", value=5, description="mine")]},
        {"drops": ["limit"]},
    ]
    for attempt in attempts:
        with pytest.raises(ConfigOfFile, match=r"config 'limit' is managed by hub.toml"):
            config_changes.change(c, agent.id, **attempt, at=AT, actor="operator:7")
    assert put(c, agent, limit=5).keys == (), "the same is no change"
    config_changes.change(c, agent.id, replaces=True, at=AT, actor="operator:7")
    assert now(c, agent) == {"limit": 5}, "what the file says stays"


def test_new_hub_toml_changes_the_declared_configs_and_leaves_the_rest(
    c: sa.Connection, agent: AgentRow
) -> None:
    put(c, agent, mine=1, both=2)
    declare(c, agent, limit=5, both=3)
    assert now(c, agent) == {"mine": 1, "both": 3, "limit": 5}
    assert declare(c, agent, limit=5, both=3).keys == ()
    assert (declare(c, agent, limit=6).keys, now(c, agent)) == (("both", "limit"), {"mine": 1, "limit": 6})
    moves = configs.config_history(c, agent.id, limit=9, key="limit")
    assert [(move.new_text, move.actor) for move in moves] == [("6", "hub.toml"), ("5", "hub.toml")]


def test_a_revert_leaves_the_configs_of_the_file(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, mine=1)
    declare(c, agent, limit=5)
    put(c, agent, mine=2)
    config_changes.revert(c, agent.id, to=0, at=AT, actor="operator:7")
    assert now(c, agent) == {"limit": 5}


@pytest.mark.parametrize(
    ("limits", "values", "limit"),
    [
        (ConfigLimits(keys=2), {"a": 1, "b": 2, "c": 3}, "config_keys"),
        (ConfigLimits(value_bytes=10), {"a": "12345678901"}, "config_value_bytes"),
        (ConfigLimits(value_bytes=10), {"a": "ä" * 6}, "config_value_bytes"),
        (ConfigLimits(total_bytes=20), {"a": "12345678", "b": "12345678"}, "config_bytes"),
    ],
    ids=["keys", "bytes-of-a-value", "bytes-not-characters", "bytes-of-all"],
)
def test_configs_of_an_agent_beyond_the_limits_are_refused(
    c: sa.Connection, agent: AgentRow, limits: ConfigLimits, values: Mapping[str, Any], limit: str
) -> None:
    puts = [NewConfig(key=key, value=value) for key, value in values.items()]
    with pytest.raises(LimitReached, match=limit) as refused:
        config_changes.change(c, agent.id, puts, at=AT, actor="operator:7", limits=limits)
    assert (refused.value.limit, refused.value.code, now(c, agent)) == (limit, ErrorCode.LIMIT_REACHED, {})


def test_config_drop_is_allowed_above_the_limit(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, a=1, b=2, c=3)
    tight = ConfigLimits(keys=1)
    assert config_changes.change(c, agent.id, drops=["a"], at=AT, actor="operator:7", limits=tight).keys == (
        "a",
    )


class NotThis(HubError):
    """What a template would say."""


def test_config_change_refused_by_the_template_check_is_not_written(
    c: sa.Connection, agent: AgentRow
) -> None:
    seen: list[Mapping[str, Any]] = []

    def check(_: sa.Connection, agent_id: AgentId, configuration: Mapping[str, Any]) -> None:
        seen.append(configuration)
        if "bad" in configuration:
            raise NotThis("no")

    put(c, agent, a=1)
    new = [NewConfig(key="bad", value=1)]
    with pytest.raises(NotThis):
        config_changes.change(c, agent.id, new, at=AT, actor="operator:7", check=check)
    assert (now(c, agent), seen) == ({"a": 1}, [{"a": 1, "bad": 1}])
    fine = [NewConfig(key="b", value=2)]
    assert config_changes.change(c, agent.id, fine, drops=["a"], at=AT, actor="x", check=check).keys
    assert seen[-1] == {"b": 2}


def test_config_change_of_an_unknown_agent_is_refused(c: sa.Connection) -> None:
    nobody = AgentId("nobody")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        config_changes.change(c, nobody, at=AT, actor="operator:7")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        config_changes.declare(c, nobody, [], at=AT, actor="hub.toml")
    assert configs.configurations_of(c, [nobody]) == {nobody: {}}


def test_configurations_of_several_agents_are_read_together(c: sa.Connection, agent: AgentRow) -> None:
    other = make_agent(c, "other", device="desktop")
    put(c, agent, a=1)
    assert configs.configurations_of(c, [agent.id, other.id]) == {agent.id: {"a": 1}, other.id: {}}


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
    given = AgentCapability(
        name=name, version=parse_version(version), enabled=enabled, description=description
    )
    return capabilities.register(c, agent.id, given, source=source, at=at, most=most)


def told(row: CapabilityRow) -> str:
    return f"{row.name} {row.version}{' enabled' if row.enabled else ''}"


def able(c: sa.Connection, agent: AgentRow) -> list[str]:
    """What the agent can do, as it is listed."""
    return [told(row) for row in capabilities.list_capabilities(c, agent.id)]


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


def test_newer_version_is_enabled_and_an_older_version_only_on_request(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert register(c, agent, "read 1.2.0").disabled is None
    assert register(c, agent, "read 1.1.0").row.enabled is False
    done = register(c, agent, "read 1.3.0")
    assert (done.is_new, done.disabled) == (True, parse_version("1.2.0"))
    assert able(c, agent) == ["read 1.3.0 enabled", "read 1.2.0", "read 1.1.0"]


def test_enabling_a_version_disables_the_other_in_the_same_write(c: sa.Connection, agent: AgentRow) -> None:
    register(c, agent, "read 1.2.0")
    register(c, agent, "read 1.3.0")
    done = register(c, agent, "read 1.2.0", enabled=True, at=AT + 5)
    assert (done.is_new, done.disabled) == (False, parse_version("1.3.0"))
    assert able(c, agent) == ["read 1.3.0", "read 1.2.0 enabled"]
    register(c, agent, "read 1.2.0", enabled=False)
    assert (able(c, agent), capabilities.enabled_of(c, [agent.id])) == (["read 1.3.0", "read 1.2.0"], {})


def test_database_refuses_two_enabled_versions_of_a_capability(c: sa.Connection, agent: AgentRow) -> None:
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


def test_capability_beyond_the_limit_of_an_agent_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    register(c, agent, "read 1.0.0", most=2)
    register(c, agent, "read 1.1.0", most=2)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="capabilities_per_agent"
    ) as caught:
        register(c, agent, "web 1.0.0", most=2)
    assert caught.value.code is ErrorCode.LIMIT_REACHED
    register(c, agent, "read 1.1.0", description="one that is there may change", most=2)
    assert len(able(c, agent)) == 2


def test_capability_is_removed_in_a_single_version_or_in_all(c: sa.Connection, agent: AgentRow) -> None:
    for spelled in ("read 1.0.0", "read 1.1.0", "read 1.2.0", "web 1.0.0"):
        register(c, agent, spelled)
    (gone,) = capabilities.remove(c, agent.id, "read", parse_version("1.1.0"))
    assert told(gone) == "read 1.1.0"
    assert [told(row) for row in capabilities.remove(c, agent.id, "read")] == [
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
        capabilities.remove(c, agent.id, "read", parse_version("2.0.0"))
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_CAPABILITY), match=r"no capability web$"):
        capabilities.remove(c, agent.id, "web")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        register(c, msgspec.structs.replace(agent, id=AgentId("nobody")), "read 1.0.0")


def declared(c: sa.Connection, *spelled: str, at: int = AT) -> AgentRow:
    """The agent of hub.toml with these capabilities; ``read 1.0.0 on`` is enabled."""
    given = [one.split() for one in spelled]
    able = tuple(
        AgentCapability(name=one[0], version=parse_version(one[1]), enabled=len(one) > 2) for one in given
    )
    declare_agents(c, DeclaredAgent(name="inbox", device_name=LAPTOP, capabilities=able), at=at)
    return agents.get_agent(c, AgentId("agent-inbox"))


def test_capabilities_of_hub_toml_follow_the_file(c: sa.Connection) -> None:
    agent = declared(c, "read 1.0.0", "read 1.1.0 on")
    register(c, agent, "web 1.0.0")
    assert able(c, agent) == ["read 1.1.0 enabled", "read 1.0.0", "web 1.0.0 enabled"]
    agent = declared(c, "read 1.0.0 on", "mail 2.0.0 on")
    assert able(c, agent) == ["mail 2.0.0 enabled", "read 1.0.0 enabled", "web 1.0.0 enabled"]
    assert able(c, declared(c)) == ["web 1.0.0 enabled"]


def test_unchanged_agent_of_hub_toml_is_not_written_again(c: sa.Connection) -> None:
    declared(c, "read 1.0.0 on")
    given = AgentCapability(name="read", version=parse_version("1.0.0"), enabled=True)
    as_it_is = DeclaredAgent(name="inbox", device_name=LAPTOP, capabilities=(given,))
    assert declare_agents(c, as_it_is, at=AT + 1).updated == ()
    assert declare_agents(c, DeclaredAgent(name="inbox", device_name=LAPTOP), at=AT + 2).updated == ("inbox",)


@pytest.mark.parametrize("source", ["api", "device"])
def test_capability_declared_in_hub_toml_cannot_be_changed_otherwise(
    c: sa.Connection, source: Source
) -> None:
    agent = declared(c, "read 1.0.0 on")
    with pytest.raises(DeclaredCapability, match=r"read 1\.0\.0 is declared in hub\.toml"):
        register(c, agent, "read 1.0.0", enabled=False, source=source)
    with pytest.raises(DeclaredCapability, match=r"hub\.toml enables read 1\.0\.0"):
        register(c, agent, "read 2.0.0", enabled=True, source=source)
    with pytest.raises(DeclaredCapability, match="remove it there"):
        capabilities.remove(c, agent.id, "read")
    assert register(c, agent, "read 2.0.0", source=source).row.enabled is False
    assert able(c, agent) == ["read 2.0.0", "read 1.0.0 enabled"]
