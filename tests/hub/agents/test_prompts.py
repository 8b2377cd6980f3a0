"""Prompts with named variables."""

import pytest

from hub.agents.prompts import OWN, BadPrompt, problems_in, rendered, variables_of
from storage.agents.agent_snapshot import Setup
from storage.agents.templates import WrittenTemplate
from tests.support.families import each

VALUES = {"project": "Apollo", "depth": 3, "deep": True, "tags": ["a", "b"], "agent": "notes"}


@each(
    ("prompt", "said"),
    [
        ("Find what I promised.", "Find what I promised."),
        ("About {{ project }}.", "About Apollo."),
        ("About {{project}} and {{\tproject }}.", "About Apollo and Apollo."),
        ("{{ depth }} {{ deep }} {{ tags }}", '3 true ["a","b"]'),
        ("a { brace } and }} stay", "a { brace } and }} stay"),
    ],
)
def test_prompt_variable_is_replaced_by_the_value_and_other_text_is_unchanged(prompt: str, said: str) -> None:
    assert rendered(prompt, VALUES) == said


def test_variable_syntax_in_a_prompt_value_is_not_expanded() -> None:
    assert rendered("{{ a }}", {"a": "{{ b }}", "b": "no"}) == "{{ b }}"


@each(
    ("prompt", "words"),
    [
        ("{{ projct }}", ("'projct'", "did you mean 'project'", "agent, deep, depth, project, tags")),
        ("one\ntwo {{", ("line 2", "{{ name }}")),
        ("{{ two words }}", ("line 1", "opens no variable")),
        ("{{ a | upper }}", ("opens no variable",)),
    ],
)
def test_prompt_error_names_the_unknown_variable_and_the_known_ones(
    prompt: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(BadPrompt) as refused:
        rendered(prompt, VALUES)
    assert [word for word in words if word not in str(refused.value)] == []


def test_every_problem_is_reported_once() -> None:
    assert (len(problems_in("{{ a }} {{ b }} {{ a }}", {})), problems_in("{{ whatever }}", None)) == (2, [])


def test_prompt_variables_include_configuration_and_hub_values() -> None:
    template = WrittenTemplate(name="t", default_configuration={"depth": 1, "project": "x"})
    setup = Setup(
        name="notes",
        user="anna",
        device="desk",
        timezone="Europe/Berlin",
        data_types=("tasks", "notes"),
        prompt="",
        template=template,
        configs={"project": "Apollo"} | dict.fromkeys(OWN, "of a config"),
    )
    assert variables_of(setup) == {
        "depth": 1,
        "project": "Apollo",
        "agent": "notes",
        "data_types": "tasks, notes",
        "device": "desk",
        "timezone": "Europe/Berlin",
        "user": "anna",
    }
