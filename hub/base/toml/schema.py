"""Fields of a settings model: names, defaults, effect of a change, and JSON Schema for editors."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from hub.base.toml.positions import KeyPath
from hub.base.toml.values import EFFECT, Effect, HostPort


class Leaf(NamedTuple):
    """Field that is not a table."""

    path: KeyPath
    field: FieldInfo

    @property
    def effect(self) -> Effect:
        """Time at which its change takes effect."""
        return effect_of(self.field)


def names_at(path: KeyPath, top: type[BaseModel]) -> list[str]:
    """Return the possible keys of the table at *path*; empty if it is not a table."""
    return [name for model in tables_at(path, top) for name in model.model_fields]


def tables_at(path: KeyPath, top: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models of the table at *path* below *top*; several if the table has kinds."""
    found: list[type[BaseModel]] = [top]
    for part in path:
        if isinstance(part, str):
            fields = [model.model_fields[part] for model in found if part in model.model_fields]
            found = [model for field in fields for model in _models_in(field)]
    return found


def default_at(path: KeyPath, top: type[BaseModel]) -> object:
    """Return the default of the field at *path*, or None without one."""
    fields = [model.model_fields.get(str(path[-1])) for model in tables_at(path[:-1], top)] if path else []
    return next((field.default for field in fields if field is not None), None)


def leaves(model: type[BaseModel], path: KeyPath = ()) -> Iterator[Leaf]:
    """Yield every field of a table and its nested tables; a list or union of tables is one field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*path, name))
        else:
            yield Leaf((*path, name), field)


def effect_of(field: FieldInfo) -> Effect:
    """Return when a change of *field* takes effect."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    effect: Any = extra[EFFECT]
    found: Effect = effect
    return found


def _models_in(field: FieldInfo) -> Iterator[type[BaseModel]]:
    """Yield every model in a field's type."""
    open_types: list[Any] = [field.annotation]
    while open_types:
        found = open_types.pop(0)
        if isinstance(found, type) and issubclass(found, BaseModel):
            yield found
        else:
            open_types += get_args(found)


DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Generator(GenerateJsonSchema):
    """Pydantic's generator without parts that only concern Python.

    No titles, because editors show them instead of keys; no null, which TOML does not have; no defaults of
    whole tables, because their fields have defaults.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = super().default_schema(schema)
        default = generated.get("default", {})
        if default is None or (isinstance(default, dict) and default):
            del generated["default"]
        return generated

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, HostPort) else super().encode_default(dft)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        generated.pop("title", None)
        first_line = generated.get("description", "").partition("\n")[0]
        return generated | {"description": first_line.replace("``", "").replace("*", "")}
