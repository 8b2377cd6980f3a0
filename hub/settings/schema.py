"""JSON Schema of hub.toml for editors: keys, types, bounds, defaults and descriptions."""

import json
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from hub.settings.address import Address
from hub.settings.settings import Settings

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def settings_schema() -> dict[str, Any]:
    """Return the schema; ``x-effect`` of a field says when its change takes effect."""
    schema = Settings.model_json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, **schema, "title": "hub.toml"}


def schema_text() -> str:
    """Return the schema as the content of a file."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Pydantic's generator without parts that only concern Python.

    No titles, because editors show them instead of keys; no null, which TOML does not have; no defaults of
    whole tables, because their fields have defaults.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        told = super().default_schema(schema)
        default = told.get("default", {})
        if default is None or (isinstance(default, dict) and default):
            del told["default"]
        return told

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Address) else super().encode_default(dft)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        told = super().model_schema(schema)
        told.pop("title", None)
        first_line = told.get("description", "").partition("\n")[0]
        return told | {"description": first_line.replace("``", "").replace("*", "")}
