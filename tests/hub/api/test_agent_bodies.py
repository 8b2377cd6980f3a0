"""Agents as they are written over the API."""

from typing import Any, get_args

import msgspec
import pytest

from hub.api.agent_bodies import AgentBody, AgentChanges, CommonAgentSettings, body_of, changed_by, made_of
from hub.settings.agent_settings import AgentSettings, WrittenType
from protocol.agent_types import TYPE_NAMES, AgentSubtype, AgentType, kind_of
from protocol.errors import CodedError, ErrorCode
from protocol.secret_rules import RedactionRule
from storage.agents.config_changes import NewConfig
from storage.agents.configs import ModelUse
from storage.agents.declared_agents import DeclaredAgent
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support.coded import coded
from tests.support.families import each

MAIL: dict[str, Any] = {
    "name": "mail",
    "device": "desk",
    "paths": ["mail"],
    "data_types": ["tasks"],
    "prompt": "Find tasks.",
}
NOW = DeclaredAgent(
    name="mail",
    device_name="desk",
    type=AgentType.COORDINATOR,
    subtype=AgentSubtype.PLANNER,
    description="Reads mail.",
    paths=("mail",),
    data_types=("tasks",),
    prompt="Find tasks.",
    schedule=DeclaredSchedule(kind="cron", expr="0 9 * * *", tz="UTC"),
    slots=(DeclaredSchedule(kind="every", every_ms=3_600_000, action="wake", label="rounds"),),
    model_use=ModelUse(allow_cloud=False, budget_nanos=5),
)
RULES = CommonAgentSettings(run_wall_s=60.0, patterns={"ticket": "T-[0-9]+"})


def changed(**changes: Any) -> DeclaredAgent:
    return changed_by(changes, NOW, RULES)


def test_agent_body_is_converted_by_the_rules_of_hub_toml() -> None:
    made = made_of(
        body_of(
            MAIL
            | {
                "schedule": {"at": "2027-01-01T09:00:00+01:00"},
                "redact": ["ticket"],
                "type": "DEPLOYMENT",
                "config": {"depth": 3},
            }
        ),
        RULES,
    )
    assert made.schedule == DeclaredSchedule(kind="at", at_ms=1_798_790_400_000, run_timeout_ms=60_000)
    assert made.model_use.redact == (RedactionRule("ticket", "T-[0-9]+"),)
    assert (made.type, made.subtype) == ("SPECIALIST", "DEPLOYMENT")
    assert [(one.key, one.value) for one in made.config] == [("depth", 3)]
    assert made_of(body_of(MAIL), RULES).type is None


def test_agent_body_accepts_every_key_of_hub_toml() -> None:
    said = set(AgentSettings.model_fields)
    assert set(AgentBody.model_fields) == said | {"start"}
    assert set(AgentChanges.__struct_fields__) == said - {"user", "capabilities"}


def test_every_agent_type_of_both_vocabularies_is_parsed_and_written_back() -> None:
    assert get_args(WrittenType) == TYPE_NAMES
    assert [kind_of(name).written for name in TYPE_NAMES] == list(TYPE_NAMES)
    with pytest.raises(ValueError, match="WIZARD"):
        kind_of("WIZARD")


def test_agent_body_with_several_errors_reports_every_error() -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        body_of({"name": "a b", "device": "desk", "paths": [], "data_types": [1], "prompt": "x", "y": 1})
    told = str(refused.value)
    assert all(f"{key}: " in told for key in ("name", "paths", "data_types.0", "y"))


def test_agent_change_leaves_omitted_fields_unchanged() -> None:
    assert (changed(), changed(priority=3)) == (NOW, msgspec.structs.replace(NOW, priority=3))


@each(
    ("changes", "fields"),
    [
        ({"name": "post", "device": "lab"}, {"name": "post", "device_name": "lab"}),
        ({"type": "AUDITOR"}, {"type": AgentType.AUDITOR, "subtype": None}),
        ({"type": None}, {"type": None, "subtype": None}),
        ({"description": None, "schedule": None}, {"description": None, "schedule": None}),
        ({"prompt": None, "template": "t"}, {"prompt": "", "template": "t"}),
        ({"allow_cloud": True}, {"model_use": ModelUse(allow_cloud=True, budget_nanos=5)}),
        ({"budget_usd": None}, {"model_use": ModelUse(allow_cloud=False)}),
        ({"slots": []}, {"slots": ()}),
    ],
)
def test_agent_change_sets_each_given_field(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    assert changed(**changes) == msgspec.structs.replace(NOW, **fields)


def test_change_of_the_agent_timezone_moves_the_schedules_to_the_new_timezone() -> None:
    moved = changed(timezone="Europe/Berlin")
    assert moved.schedule is not None
    assert {moved.schedule.tz, moved.slots[0].tz, moved.timezone} == {"Europe/Berlin"}
    again = changed(schedule="0 7 * * *", timezone="Europe/Rome")
    assert again.schedule is not None
    assert (again.schedule.expr, again.schedule.tz) == ("0 7 * * *", "Europe/Rome")


def test_agent_change_writes_only_the_given_configs() -> None:
    assert [one.key for one in changed(config={"depth": 3}).config] == ["depth"]
    full = msgspec.structs.replace(NOW, config=(NewConfig(key="a", value=1),))
    assert changed_by({"priority": 1}, full, RULES).config == ()


@each(
    ("changes", "words"),
    [
        ({"prompt": ""}, ("prompt:",)),
        ({"priority": "high"}, ("priority: a whole number",)),
        ({"priorty": 1}, ("priorty: there is no such field",)),
        ({"user": "anna"}, ("user: there is no such field",)),
        ({"schedule": {"every_s": 60, "jitter_s": 40}}, ("schedule.jitter_s", "change their order")),
        ({"paths": []}, ("paths:",)),
    ],
)
def test_agent_change_is_validated_together_with_unchanged_fields(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        changed(**changes)
    assert [word for word in words if word not in str(refused.value)] == []
