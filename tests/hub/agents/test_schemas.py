"""Schemas of templates: what they may say, and what is wrong with a configuration by them."""

from typing import Any

import pytest

from hub.agents.schemas import MAX_PROBLEMS, BadSchema, check_schema, problems_in
from tests.support.families import each

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["project"],
    "additionalProperties": False,
    "properties": {
        "project": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
        "depth": {"type": "integer", "minimum": 1, "maximum": 9},
        "mode": {"enum": ["fast", "slow"]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": True, "maxItems": 3},
        "owner": {"type": ["string", "null"]},
    },
    "$defs": {"tag": {"type": "string", "minLength": 2}},
}


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"properties": {"a": found}}
    return found


def test_configuration_valid_by_the_schema_has_no_problems() -> None:
    check_schema(SCHEMA, {"depth": 2})
    good = {"project": "apollo", "depth": 9, "mode": "fast", "tags": ["ab", "cd"], "owner": None}
    assert (problems_in(SCHEMA, good), problems_in({}, {"anything": [1]})) == ([], [])


@each(
    ("configuration", "told"),
    [
        ({}, "$: missing: project"),
        ({"project": 5}, "$.project: a text is expected, not a number"),
        ({"project": "Apollo"}, '$.project: must match "^[a-z]+$"'),
        ({"project": "ok\nbad!"}, '$.project: must match "^[a-z]+$"'),
        ({"project": "averylongname"}, "$.project: at most 8 characters"),
        ({"project": "a", "depth": 0}, "$.depth: must be at least 1"),
        ({"project": "a", "depth": 1.5}, "$.depth: a whole number is expected, not a number"),
        ({"project": "a", "depth": True}, "$.depth: a whole number is expected, not true or false"),
        ({"project": "a", "mode": "s3cret"}, '$.mode: must be one of "fast", "slow"'),
        ({"project": "a", "tags": ["x"]}, "$.tags[0]: at least 2 characters"),
        ({"project": "a", "tags": ["ab", "ab"]}, "$.tags: an element occurs twice"),
        ({"project": "a", "owner": 1}, "$.owner: a text or null is expected, not a number"),
        ({"project": "a", "x": 1}, "$: there is no key x; known are depth, mode, owner, project, tags"),
    ],
)
def test_schema_problem_is_reported_with_path_and_expected_value(
    configuration: dict[str, Any], told: str
) -> None:
    assert problems_in(SCHEMA, configuration) == [told]


def test_schema_problems_do_not_repeat_configuration_values() -> None:
    assert "s3cret" not in str(problems_in(SCHEMA, {"project": "S3CRET s3cret", "mode": "s3cret"}))


def test_schema_problems_beyond_the_limit_are_summarized_by_count() -> None:
    told = problems_in({"additionalProperties": {"type": "string"}}, {f"k{n:02}": n for n in range(30)})
    assert (len(told), told[-1]) == (MAX_PROBLEMS + 1, f"and {30 - MAX_PROBLEMS} more")


@each(
    ("schema", "words"),
    [
        ({"type": "objet"}, ("$.type",)),
        ({"properties": []}, ("$.properties",)),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("$.$schema", "2020-12")),
        ({"$ref": "https://example.com/schema.json"}, ("$.$ref", "other documents are not fetched")),
        ({"$ref": "#/$defs/nowhere"}, ("$.$ref", "#/$defs/NAME")),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, ("$.$ref",)),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}, ("circle", "a -> a")),
        ({"$id": "https://example.com/"}, ("$.$id", "no address")),
        ({"$dynamicRef": "#x"}, ("$.$dynamicRef",)),
        ({"patternProperties": {"a": {}}}, ("$.patternProperties", "additionalProperties")),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, ("$.properties.a.pattern",)),
        ({"properties": {"a": {"pattern": "("}}}, ("$.properties.a.pattern",)),
        ({"properties": {"a": {"pattern": "^a*$"}}}, ("$.properties.a.pattern", "at least one character")),
        (nested(20), ("32 levels",)),
        ({"description": "x" * 70_000}, ("65,536 bytes",)),
    ],
)
def test_unsupported_configuration_schema_is_refused(schema: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(BadSchema) as refused:
        check_schema(schema, {})
    assert [word for word in ("configuration_schema", *words) if word not in str(refused.value)] == []


def test_exponentially_unfolding_schema_is_refused() -> None:
    blown = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 10} for n in range(30)}
    with pytest.raises(BadSchema, match="10,000 parts"):
        check_schema({"$ref": "#/$defs/a0", "$defs": {**blown, "a30": {"type": "string"}}}, {})


def test_schema_pattern_runs_without_exponential_backtracking() -> None:
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    check_schema(schema, {})
    assert problems_in(schema, {"a": "a" * 400 + "!"}) == ['$.a: must match "^(a+)+$"']


@each(
    ("pattern", "text", "fits"),
    [("b+", "abc", True), ("^b", "ab", False), ("^b", "ba", True), ("a$", "ab", False), ("b$", "ab", True)],
)
def test_schema_pattern_matches_anywhere_in_the_text(pattern: str, text: str, *, fits: bool) -> None:
    assert (problems_in({"properties": {"a": {"pattern": pattern}}}, {"a": text}) == []) == fits


@each(
    ("values", "are_unique"),
    [([1, 1.0], False), ([1, True], True), ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], False), ([[1], [2]], True)],
)
def test_elements_equal_in_json_schema_are_duplicates(values: list[Any], *, are_unique: bool) -> None:
    assert (problems_in({"properties": {"a": {"uniqueItems": True}}}, {"a": values}) == []) == are_unique


def test_default_configuration_may_be_incomplete_but_not_invalid() -> None:
    check_schema(SCHEMA, {})
    with pytest.raises(BadSchema, match=r"default_configuration: \$\.depth"):
        check_schema(SCHEMA, {"depth": "deep"})
