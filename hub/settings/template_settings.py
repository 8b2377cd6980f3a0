"""Table ``[[templates]]`` of hub.toml: common settings of several agents."""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, JsonValue

from hub.settings.agent_settings import Prompt, Told, WrittenType
from hub.settings.reload_policy import REQUIRED, live
from hub.settings.values import Name, Table, refusal


def _as_table(value: object) -> object:
    """Convert the JSON text of an object to a table; schemas often exist as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise refusal("json", "is no JSON", hint="a table, or the text of a JSON object") from error
    if not isinstance(value, dict):
        raise refusal("json", "a table is expected", hint="or the text of a JSON object")
    return value


Document = Annotated[
    dict[str, JsonValue], BeforeValidator(_as_table, json_schema_input_type=str | dict[str, Any])
]


class TemplateTable(Table):
    """Settings of a template without its name."""

    description: Told | None = live(None, "What it is for, for people.")
    type: WrittenType = live("CUSTOM", 'What kind of colleagues they are, as in "RESEARCHER".')
    configuration_schema: Document = live({}, "What an agent's configuration has to be: JSON Schema 2020-12.")
    default_configuration: Document = live({}, "What an agent's configuration is where it says nothing.")
    prompt: Prompt | None = live(
        None, "The prompt of agents that have none of their own. {{ name }} is a variable."
    )


class TemplateSettings(TemplateTable):
    """Settings of a template."""

    name: Name = live(REQUIRED, "What agents call it.")
