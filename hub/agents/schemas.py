"""JSON Schemas of templates: which schemas are accepted, and validation of agents' configurations.

A schema is fully checked before it is stored, so that later validation cannot fail. Three rules are stricter
than the standard, to keep validation linear in time:

- A reference leads to ``#/$defs/NAME`` of the same schema, without cycles.
- A pattern must be matchable in linear time: matches of 1 to 512 characters, without backreferences and
  lookarounds (``hub.text.patterns``).
- A schema that expands to more than ``MAX_PARTS`` is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from hub.agents.prompts import problems_in as problems_in_prompt
from hub.agents.prompts import variables_of
from hub.text.patterns import BadPattern, pattern_of
from protocol.errors import ErrorCode, HubError
from storage.agents import agent_snapshot
from storage.agents.agent_snapshot import Setup

if TYPE_CHECKING:
    from jsonschema import ValidationError


DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES: Final = 65_536  # of a schema, and of its defaults, as JSON
MAX_LEVELS: Final = 32
MAX_PARTS: Final = 10_000  # subschemas, counted at each reference to them
MAX_PROBLEMS: Final = 10  # problems listed per configuration
_REFERENCE: Final = "#/$defs/"
_ONE: Final = (
    *("not", "if", "then", "else", "items", "contains", "additionalProperties"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
)
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_TABLES: Final = ("properties", "$defs", "dependentSchemas")
_REFUSED: Final = {
    "$id": "a schema has no address of its own here",
    "$anchor": "refer to #/$defs/NAME instead",
    "$dynamicRef": "refer to #/$defs/NAME instead",
    "$dynamicAnchor": "refer to #/$defs/NAME instead",
    "patternProperties": "name the properties, or say with additionalProperties what all others are",
    "definitions": "write $defs",
}
_KINDS: Final = {
    "object": "a table",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS: Final = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} elements",
    "maxItems": "at most {} elements",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "pattern": "must match {}",
    "const": "must be {}",
}


class BadSchema(HubError):
    """The schema of a template or a default is invalid; nothing was written."""

    code = ErrorCode.BAD_PARAMS


def check_schema(schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check the schema and defaults of a template.

    Defaults may lack required keys, because each agent adds its own.

    Raises:
        BadSchema: the message says where and why.
    """
    import jsonschema  # imported here, because it loads many libraries

    for name, value in (("configuration_schema", schema), ("default_configuration", defaults)):
        if len(msgspec.json.encode(value)) > MAX_BYTES:
            raise BadSchema(f"{name}: longer than {MAX_BYTES:,} bytes as JSON")
        if levels_of(value) > MAX_LEVELS:
            raise BadSchema(f"{name}: deeper than {MAX_LEVELS} levels")
    if (dialect := schema.get("$schema", DIALECT)) not in (DIALECT, f"{DIALECT}#"):
        raise BadSchema(f"configuration_schema: $.$schema: {dialect!r} is not {DIALECT}")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        inner = next(
            (inner_error for inner_error in error.context or () if inner_error.validator == "enum"), error
        )
        raise BadSchema(f"configuration_schema: {error.json_path}: {inner.message[:300]}") from error
    _Parts(schema).count()
    if wrong := problems_in(schema, defaults, is_whole=False):
        raise BadSchema(f"default_configuration: {'; '.join(wrong)}")


def problems_in(
    schema: Mapping[str, Any], configuration: Mapping[str, Any], *, is_whole: bool = True
) -> list[str]:
    """Return the problems of *configuration* with their JSON paths; values are not repeated.

    Args:
        schema: a schema that passed ``check_schema``.
        is_whole: False to allow missing keys at the top level.
    """
    if not schema:
        return []
    from referencing import Registry

    found: dict[str, None] = {}
    validator = _validator()(schema, registry=Registry())
    for error in sorted(validator.iter_errors(configuration), key=lambda one: one.json_path):
        if is_whole or error.absolute_path or error.validator not in ("required", "minProperties"):
            found[f"{error.json_path}: {_describe(error)}"] = None
    problems = list(found)
    more = len(problems) - MAX_PROBLEMS
    return problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])


@lru_cache(maxsize=1)
def _validator() -> Any:
    """Return a validator for draft 2020-12 with linear patterns and a linear check for duplicates."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, source: str, value: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not _matches(source, value):
            yield ValidationError("")

    def unique(_: Any, is_unique: bool, value: Any, __: Any) -> Iterator[ValidationError]:
        if is_unique and isinstance(value, list) and len(set(map(_likeness, value))) < len(value):
            yield ValidationError("")

    return validators.extend(Draft202012Validator, {"pattern": pattern, "uniqueItems": unique})


def _matches(source: str, text: str) -> bool:
    """Return True if the pattern matches in *text*; ``^`` and ``$`` match the ends of the text."""
    return any(
        (not source.startswith("^") or start == 0) and (not source.endswith("$") or end == len(text))
        for start, end in pattern_of(source).find(text)
    )


def _likeness(value: Any) -> bytes:
    """Return equal bytes for values that JSON Schema considers equal: 1 and 1.0, but not 1 and true."""
    return msgspec.json.encode(_plain(value), order="sorted")


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
    return value


class _Parts:
    """Subschemas of one schema, including those behind references."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._defined: Mapping[str, Any] = schema.get("$defs", {})
        self._schema = schema
        self._counted: dict[str, int] = {}
        self._under_way: list[str] = []

    def count(self) -> None:
        """Check references and size of the schema. Raises BadSchema."""
        if self._count(self._schema, "$") > MAX_PARTS:
            self._refuse("$", f"unfolds to more than {MAX_PARTS:,} parts")
        for name in self._defined:
            self._follow(name, f"$.$defs.{name}")

    def _count(self, part: Any, path: str) -> int:
        if not isinstance(part, Mapping):  # true and false are schemas too
            return 1
        for key, hint in _REFUSED.items():
            if key in part:
                self._refuse(f"{path}.{key}", f"is not allowed here: {hint}")
        if "pattern" in part:
            try:
                pattern_of(part["pattern"])
            except BadPattern as error:
                self._refuse(f"{path}.pattern", str(error))
        inner = [(part[key], f"{path}.{key}") for key in _ONE if key in part]
        inner += [(one, f"{path}.{key}[{n}]") for key in _LISTS for n, one in enumerate(part.get(key, ()))]
        tables = [key for key in _TABLES if key != "$defs" or part is not self._schema]
        inner += [(one, f"{path}.{key}.{name}") for key in tables for name, one in part.get(key, {}).items()]
        total = 1 + sum(self._count(one, at) for one, at in inner)
        if "$ref" in part:
            reference = part["$ref"]
            if (
                not reference.startswith(_REFERENCE)
                or reference.removeprefix(_REFERENCE) not in self._defined
            ):
                hint = "a reference must be #/$defs/NAME of the same schema; other documents are not fetched"
                self._refuse(f"{path}.$ref", f"{reference!r}: {hint}")
            total += self._follow(reference.removeprefix(_REFERENCE), f"{path}.$ref")
        return total

    def _follow(self, name: str, path: str) -> int:
        if name in self._under_way:
            self._refuse(path, f"leads in a circle: {' -> '.join([*self._under_way, name])}")
        if name not in self._counted:
            self._under_way.append(name)
            self._counted[name] = self._count(self._defined[name], f"$.$defs.{name}")
            self._under_way.pop()
        return self._counted[name]

    def _refuse(self, path: str, problem: str) -> NoReturn:
        raise BadSchema(f"configuration_schema: {path}: {problem}")


def _describe(error: "ValidationError") -> str:
    """Return a problem as a sentence without the value, which may be a secret."""
    expected, value = error.validator_value, error.instance
    match error.validator:
        case "type":
            kinds = [expected] if isinstance(expected, str) else expected
            return f"{' or '.join(_KINDS[kind] for kind in kinds)} is expected, not {_kind(value)}"
        case "enum":
            return f"must be one of {', '.join(_json(value) for value in expected)}"
        case "required":
            return f"missing: {', '.join(name for name in expected if name not in value)}"
        case "additionalProperties" | "unevaluatedProperties" if expected is False:
            known = sorted(error.schema.get("properties", {}))
            more = ", ".join(sorted(set(value) - set(known)))
            return f"there is no key {more}; known are {', '.join(known) or 'none'}"
        case "uniqueItems":
            return "an element occurs twice"
        case "contains":
            return "no element matches the schema of contains"
        case "anyOf" | "oneOf":
            return "matches none, or more than one, of the schemas of anyOf or oneOf"
        case "not":
            return "matches the schema that is excluded by not"
        case str() as key if key in _BOUNDS:
            return _BOUNDS[key].format(_json(expected) if key in ("pattern", "const") else expected)
        case key:
            return f"does not keep to {key} of the schema"


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case None:
            return "null"
    return "a table" if isinstance(value, dict) else "a list"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:100]


def levels_of(value: Any) -> int:
    """Return the depth of a JSON value; a text has depth 1. Stops at the limit."""
    level, here = 0, [value]
    while here and level <= MAX_LEVELS:
        level += 1
        here = [
            inner
            for value in here
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return level


def problems_of(setup: Setup) -> Sequence[str]:
    """Return the problems of an agent's configuration and prompt, and of its schedules without a setting.

    Pure.
    """
    template = setup.template
    found = list(setup.problems)
    if template is not None:
        by = f" (template {template.name})"
        wrong = problems_in(template.configuration_schema, setup.configuration)
        found += [f"configuration: {problem}{by}" for problem in wrong]
    return [*found, *problems_in_prompt(setup.prompt_in_use, variables_of(setup))]


# Callback for changes of an agent, called within their transaction as ``check_agent(c, agent_id)``.
check_agent: Final = partial(agent_snapshot.check_setup, check=problems_of)
