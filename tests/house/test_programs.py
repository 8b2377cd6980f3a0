"""Rooms and programs as a test: each rule holds in the product, and finds a violation that is planted."""

from collections.abc import Callable, Collection, Iterator

from tests.house.programs import (
    MAX_ARROWS,
    PROVIDERS,
    ROOMS,
    arrows_of,
    floors,
    programs_keep_to_their_reach,
    providers_keep_apart,
    rooms_keep_to_their_arrows,
)
from tests.support.families import each
from tests.support.source import Module, modules_of_the_product

PRODUCT = modules_of_the_product()
Rule = Callable[[Collection[Module]], Iterator[str]]


@each("rule", [rooms_keep_to_their_arrows, programs_keep_to_their_reach, providers_keep_apart])
def test_product_breaks_no_rule_of_programs(rule: Rule) -> None:
    assert list(rule(PRODUCT)) == []


def test_rooms_have_few_arrows_and_each_is_used() -> None:
    arrows = arrows_of(PRODUCT)
    assert arrows == {(name, other) for name, room in ROOMS.items() for other in room.imports}
    assert len(arrows) <= MAX_ARROWS


def test_arrows_between_rooms_make_no_circle() -> None:
    assert {*floors()} == {*ROOMS}


def test_providers_are_modules_of_the_product() -> None:
    assert {f"hub.connectors.{provider}" for provider in PROVIDERS} <= {module.name for module in PRODUCT}


@each(
    ("rule", "name", "source"),
    [
        (rooms_keep_to_their_arrows, "hub.base.clock", "from storage.store import Store"),
        (rooms_keep_to_their_arrows, "hub.device.app", "def f():\n    import hub.api.resource"),
        (rooms_keep_to_their_arrows, "hub.links.auth", "if TYPE_CHECKING:\n    from hub.runs import runner"),
        (rooms_keep_to_their_arrows, "hub.utils", "x = 1"),
        (programs_keep_to_their_reach, "hub.device.app", "import hub.extraction.extractor"),
        (programs_keep_to_their_reach, "hub.device.review.server", "import hub.api.resource"),
        (programs_keep_to_their_reach, "hub.extraction.rules_main", "import storage.store"),
        (programs_keep_to_their_reach, "storage.store", "import hub.base.clock"),
        (programs_keep_to_their_reach, "hub.cli.declared", "import hub.api.resource"),
        (providers_keep_apart, "hub.connectors.imap", "import hub.connectors.gmail"),
        (providers_keep_apart, "hub.connectors.process", "import hub.connectors.mcp"),
    ],
)
def test_planted_violation_of_programs_is_found(rule: Rule, name: str, source: str) -> None:
    others = [module for module in PRODUCT if module.name != name]
    assert len(list(rule([*others, Module(name, source)]))) >= 1


def test_import_in_a_function_is_not_in_the_reach_of_a_program() -> None:
    lazy = Module("hub.device.app", "def f():\n    import hub.extraction.extractor")
    extractor = Module("hub.extraction.extractor", "")
    assert list(programs_keep_to_their_reach([lazy, extractor])) == []
