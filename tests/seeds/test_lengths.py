"""Lengths of ids, names and keys: the longest that a vocabulary allows is taken, and no longer one."""

from collections.abc import Callable
from typing import Any

import msgspec
import pydantic

from hub.agents.measurements import NAME_CHARACTERS
from hub.api.resources.agents import TemplateName
from hub.settings.agent_settings import CapabilitySettings, Identifier, TemplateSettings, Title
from protocol.configs import BadConfig, check_key
from protocol.requirements import BadVersion, parse_version

Take = Callable[[str], object]


def adapted(kind: Any) -> Take:
    return pydantic.TypeAdapter(kind).validate_python


# by what the vocabularies call it
LENGTHS: dict[str, tuple[int, Take, Callable[[int], str]]] = {
    "calendar agents.agent_id": (128, adapted(Identifier), "a".__mul__),
    "calendar agents.claw_identifier": (128, adapted(Identifier), "a".__mul__),
    "orchestrator agent.name": (100, adapted(Title), "a".__mul__),
    "orchestrator agent_template.id, by hub.toml": (
        50,
        lambda name: TemplateSettings(name=name),
        "a".__mul__,
    ),
    "orchestrator agent_template.id, the API": (
        50,
        lambda name: msgspec.convert(name, TemplateName),
        "a".__mul__,
    ),
    "coordination agent_configs.config_key": (255, check_key, "a".__mul__),
    "coordination agent_capabilities.capability_name": (
        255,
        lambda name: CapabilitySettings(name=name),
        "a".__mul__,
    ),
    "coordination agent_capabilities.capability_version": (
        50,
        parse_version,
        lambda length: "1.0.0-".ljust(length, "a"),
    ),
}
REFUSALS = (BadConfig, BadVersion, msgspec.ValidationError, pydantic.ValidationError)


def test_each_id_name_and_key_is_as_long_as_the_vocabulary_allows_and_no_longer() -> None:
    wrong = []
    for name, (length, take, text) in LENGTHS.items():
        take(text(length))
        try:
            take(text(length + 1))
            wrong.append(f"{name}: {length + 1} characters are taken")
        except REFUSALS:
            pass
    assert wrong == []
    assert NAME_CHARACTERS == 255  # coordination agent_metrics.metric_name
