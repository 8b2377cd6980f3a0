"""``capabilities`` and ``needs`` of an agent in hub.toml."""

from pathlib import Path

import pytest

from hub.settings.declared import declared_agent
from hub.settings.problems import SettingsInvalid
from hub.settings.reading import load_settings
from storage.agents.declared_agents import DeclaredAgent

AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""


def declared(folder: Path, line: str) -> DeclaredAgent:
    file = folder / "hub.toml"
    file.write_text(AGENT + line)
    return declared_agent(load_settings(file).agents[0], run_wall_s=1_800.0)


def able(agent: DeclaredAgent) -> list[str]:
    return [f"{one.name} {one.version}{' enabled' if one.enabled else ''}" for one in agent.capabilities]


@pytest.mark.parametrize(
    ("written", "enabled"),
    [
        ('[{ name = "read" }]', ["read 1.0.0 enabled"]),
        (
            '[{ name = "read", version = "1.10.0" }, { name = "read", version = "1.9.0" }]',
            ["read 1.10.0 enabled", "read 1.9.0"],
        ),
        (
            '[{ name = "read", version = "2.0.0" }, { name = "read", version = "1.9.0", enabled = true }]',
            ["read 2.0.0", "read 1.9.0 enabled"],
        ),
        (
            '[{ name = "read", version = "2.0.0", enabled = false }, { name = "read", version = "1.9.0" }]',
            ["read 2.0.0", "read 1.9.0 enabled"],
        ),
        ('[{ name = "read", enabled = false }, { name = "web" }]', ["read 1.0.0", "web 1.0.0 enabled"]),
    ],
)
def test_the_newest_version_of_a_name_is_enabled_unless_it_is_said_otherwise(
    tmp_path: Path, written: str, enabled: list[str]
) -> None:
    assert able(declared(tmp_path, f"capabilities = {written}")) == enabled


def test_needs_are_kept_in_one_spelling(tmp_path: Path) -> None:
    assert declared(tmp_path, 'needs = ["read>=1.2,<2", "web"]').needs == ("read >= 1.2, < 2", "web")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('capabilities = [{ version = "1.0.0" }]', "name"),
        ('capabilities = [{ name = "read files" }]', "1 to 255 letters"),
        ('capabilities = [{ name = "read", version = "1.0" }]', "'1.0' is no version"),
        ('capabilities = [{ name = "read" }, { name = "read" }]', "read 1.0.0 is listed twice"),
        (
            'capabilities = [{ name = "read", enabled = true },'
            ' { name = "read", version = "2.0.0", enabled = true }]',
            "read is enabled in 1.0.0 already",
        ),
        ('capabilities = [{ name = "read", config = { since = 2026-01-05 } }]', "config: expected a JSON"),
        ('needs = ["read => 1"]', "expected an operator"),
    ],
)
def test_an_invalid_value_is_refused_with_its_position(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        declared(tmp_path, written)
    said = str(caught.value)
    assert told in said
    assert "hub.toml:7" in said
