"""Configs of agents in hub.toml: typed as TOML has them, told where they are wrong, taken up at a reload."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub.settings.declared import declared_agents
from hub.settings.reading import check_text
from protocol.configs import ConfigType
from protocol.ids import UserId
from storage.agents import agents, config_changes, configs
from storage.agents.config_changes import ConfigOfFile, NewConfig
from storage.agents.declared_agents import reconcile_declared
from storage.connectors.connectors import Reconciled
from storage.devices import devices
from storage.store import open_store

AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""
MODEL = '[model]\nkind = "openai"\nbase_url = "https://models.example/v1"\nname = "m"\n'


def problems(text: str) -> list[str]:
    """Each as ``line: path: ...``."""
    found = check_text(text, Path("hub.toml"), environ={}).problems
    return [f"{one.line}: {one.path}: {one.message}" for one in found]


def test_each_value_has_the_type_that_toml_gives_it() -> None:
    said = 'config = { a = "x", b = 5, c = 0.5, d = true, e = [1, "y"], f = { g = [] } }\n'
    (agent,) = declared_agents(check_text(AGENT + said, Path("hub.toml"), environ={}).usable())
    assert agent.config == (
        NewConfig(key="a", value="x", type=ConfigType.STRING),
        NewConfig(key="b", value=5, type=ConfigType.INTEGER),
        NewConfig(key="c", value=0.5, type=ConfigType.FLOAT),
        NewConfig(key="d", value=True, type=ConfigType.BOOLEAN),
        NewConfig(key="e", value=[1, "y"], type=ConfigType.JSON),
        NewConfig(key="f", value={"g": []}, type=ConfigType.JSON),
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("config = { timezone = 'UTC' }", "7: agents.notes.config.timezone: this is a setting of the agent"),
        ("config = { limit = nan }", "7: agents.notes.config.limit: expected a float that is finite"),
        ("config = { '9 lives' = 1 }", "7: agents.notes.config.9 lives: a key begins with a letter or _"),
        ("config = { at = 2026-01-05 }", "7: agents.notes.config.at: expected json, not a date"),
        ("config = { n = 9223372036854775808 }", "7: agents.notes.config.n: an integer has 64 bits"),
        (f"config = {{ t = '{'x' * 65_537}' }}", "7: agents.notes.config.t: a value of at most 65536 bytes"),
        (
            "[agents.config]\n" + "\n".join(f"t{n} = '{'x' * 60_000}'" for n in range(5)),
            "7: agents.notes.config: all configs of an agent together have at most 262144 bytes, ",
        ),
        ("config = 5", "7: agents.notes.config: "),
        (
            "[agents.config]\ngood = 1\nbad = inf",
            "9: agents.notes.config.bad: expected a float that is finite",
        ),
    ],
    ids=["reserved", "nan", "key", "date", "65-bits", "long", "long-together", "no-table", "as-a-table"],
)
def test_a_mistake_is_reported_with_its_position(lines: str, problem: str) -> None:
    (told,) = problems(f"{AGENT}{lines}\n{MODEL}")
    assert told.startswith(problem)


async def test_a_file_that_is_taken_up_changes_its_own_configs_and_no_others() -> None:
    def take_up(c: sa.Connection, at: int, config: str) -> Reconciled:
        owner = devices.ensure_user(c, UserId("u"), "owner", 1)
        declared = declared_agents(check_text(AGENT + config, Path("hub.toml"), environ={}).usable())
        return reconcile_declared(
            c, user_id=owner, declared=declared, at=at, fresh_ids=["a-1", "d-1", "s-1", "u-1"]
        )

    async with open_store("sqlite://") as store:

        async def now() -> dict[str, Any]:
            row = await store.read(agents.find_agent_by_name, "notes")
            assert row is not None
            return await store.read(configs.configuration_of, row.id)

        assert (await store.write(take_up, 1, "config = { a = 1, b = 2 }\n")).created == ("notes",)
        row = await store.read(agents.find_agent_by_name, "notes")
        assert row is not None
        mine = [NewConfig(key="mine", value="x")]
        await store.write(config_changes.change, row.id, mine, at=2, actor="operator:7")
        with pytest.raises(ConfigOfFile):
            await store.write(config_changes.change, row.id, drops=["a"], at=2, actor="operator:7")
        assert (await store.write(take_up, 3, "config = { a = 1, b = 2 }\n")).updated == ()
        assert (await store.write(take_up, 4, "config = { b = 3 }\n")).updated == ("notes",)
        assert await now() == {"b": 3, "mine": "x"}
        assert (await store.write(take_up, 5, "")).updated == ("notes",)
        assert await now() == {"mine": "x"}
        history = await store.read(configs.config_history, row.id, limit=9)
        assert [(move.key, move.new_text, move.actor) for move in history] == [
            ("b", None, "hub.toml"),
            ("b", "3", "hub.toml"),
            ("a", None, "hub.toml"),
            ("mine", "x", "operator:7"),
            ("b", "2", "hub.toml"),
            ("a", "1", "hub.toml"),
        ]
