"""Rules of topics and of names, applied to the product and to planted violations."""

import pytest

from tests.house.rules import Rule
from tests.house.topics import (
    KEPT_FUNCTIONS,
    MIN_TOPIC,
    SAME_WORD,
    TOPIC_RULES,
    class_names_are_of_one_module,
    modules_have_one_head,
    modules_have_one_topic,
    names_are_words_of_the_field,
)
from tests.support.families import each
from tests.support.source import Module, modules_of_the_product

MAX_SAME_WORDS = 29
MAX_KEPT_FUNCTIONS = 14


@each("rule", TOPIC_RULES)
def test_source_tree_breaks_no_topic_rule(rule: Rule) -> None:
    assert list(rule(modules_of_the_product())) == []


def test_exceptions_are_few_and_each_has_a_reason() -> None:
    assert len(SAME_WORD) <= MAX_SAME_WORDS
    assert len(KEPT_FUNCTIONS) <= MAX_KEPT_FUNCTIONS
    assert all({**SAME_WORD, **KEPT_FUNCTIONS}.values())


def _function(name: str, uses: str = "", lines: int = MIN_TOPIC) -> str:
    return f"def {name}():\n" + "    x = 1\n" * lines + (f"    {uses}()\n" if uses else "")


@each(
    ("rule", "sources", "findings"),
    [
        (modules_have_one_topic, [_function("a") + _function("b")], 1),
        (modules_have_one_topic, [_function("a") + _function("b", uses="a")], 0),
        (modules_have_one_topic, [_function("a") + _function("b", lines=MIN_TOPIC // 2)], 0),
        (modules_have_one_topic, ['x: "b" = 1\n' + _function("a", uses="x") + _function("b")], 0),
        (modules_have_one_head, ['"""Words."""\nimport a\n"""More words."""'], 1),
        (modules_have_one_head, ["def f(): ...\nimport a"], 1),
        (modules_have_one_head, ['"""Words."""\nimport a\ndef f():\n    import b'], 0),
        (class_names_are_of_one_module, ["class Place: ...", "def f():\n    class Place: ..."], 1),
        (class_names_are_of_one_module, ["class Place: ...\nif x:\n    class Place: ..."], 0),
        (names_are_words_of_the_field, ["MOST_ROWS = 1\n_LEAST_ROWS: int = 1"], 2),
        (names_are_words_of_the_field, ["[one for one in rows]\nfor one in rows: ..."], 2),
        (names_are_words_of_the_field, ["def _take(): ...\nclass A:\n    async def let_go(self): ..."], 2),
        (names_are_words_of_the_field, ["MAX_ROWS = 1\n[row for row in rows]\ndef take_longest(): ..."], 0),
    ],
)
def test_a_planted_violation_is_found(rule: Rule, sources: list[str], findings: int) -> None:
    modules = [Module(f"hub.runs.m{number}", source) for number, source in enumerate(sources)]
    assert len(list(rule(modules))) == findings


@pytest.mark.parametrize("name", sorted(SAME_WORD))
def test_allowed_double_is_still_defined_twice(name: str) -> None:
    found = [module for module in modules_of_the_product() if f"class {name}" in module.source]
    assert len(found) > 1
