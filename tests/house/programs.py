"""Rooms of the product with the arrows between them, and the modules that each program reaches.

A room is a part of the product that a reader can carry as a whole: packages with one list of the rooms that
they may import. The list has no circle, so no import runs up.
"""

import ast
import graphlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple

from tests.house.rules import within
from tests.support.source import Module, imports_of, tree_of

MAX_ARROWS: Final = 60
PROVIDERS: Final = frozenset(
    ("imap", "gmail", "outlook", "teams", "caldav", "webhook", "maildir", "manifest", "mcp", "process")
)
BUILDS_ON: Final = {("mcp", "process")}  # a provider and the one that it may import


class Room(NamedTuple):
    """Packages and modules of a room, and the rooms that it may import."""

    packages: frozenset[str]
    imports: frozenset[str]


def _room(packages: str, imports: str = "") -> Room:
    return Room(frozenset(packages.split()), frozenset(imports.split()))


# fmt: off
ROOMS: Final[Mapping[str, Room]] = {
    "protocol": _room("protocol"),
    "base": _room("hub.base hub.docs hub.text hub.document hub.clock hub.outbound", "protocol"),
    "storage": _room("storage", "protocol"),
    "extraction": _room("hub.extraction", "protocol base"),
    "connectors": _room("hub.connectors", "protocol base"),
    "device": _room("hub.device", "protocol base"),
    "links": _room("hub.links hub.cluster", "protocol base storage"),
    "gateways": _room("hub.openclaw hub.coordination", "protocol base storage links"),
    "work": _room(
        "hub.agents hub.runs hub.schedules hub.accounts", "protocol base storage extraction connectors links"
    ),
    "operation": _room("hub.settings hub.health hub.notify", "protocol base storage connectors links work"),
    "api": _room("hub.api", "protocol base storage connectors links gateways work operation"),
    "app": _room("hub.app", "protocol base storage extraction connectors links gateways work operation api"),
    "cli": _room("hub.cli hub.__main__", "protocol base storage extraction connectors device operation app"),
    "lab": _room("hub.lab", "protocol base extraction work operation app cli"),
}
# fmt: on


class Program(NamedTuple):
    """Modules that a program starts with, and the packages that they may reach by imports."""

    roots: tuple[str, ...]
    reaches: frozenset[str]


def _program(roots: str, reaches: str) -> Program:
    return Program(tuple(roots.split()), frozenset(reaches.split()))


PROGRAMS: Final[Mapping[str, Program]] = {
    "hub": _program("hub.app.daemon hub.app.hub", "protocol storage hub"),
    "device": _program("hub.device.app hub.device.settings", "protocol hub.base hub.text hub.device"),
    "device with its review page": _program(
        "hub.device.app hub.device.settings hub.device.review.server",
        "protocol hub.base hub.text hub.device",
    ),
    "rules process": _program(
        "hub.extraction.rules_main", "protocol hub.base hub.text hub.document hub.extraction"
    ),
    "storage": _program("storage.store", "protocol storage"),
    "command line": _program("hub.cli.app hub.cli.declared", "protocol hub.base hub.docs hub.cli"),
}


def rooms_keep_to_their_arrows(modules: Collection[Module]) -> Iterator[str]:
    """A room imports only the rooms of its list; each module has a room."""
    names = {module.name for module in modules}
    for module in modules:
        room = room_of(module.name)
        if room is None and module.name == "hub":
            continue  # the package itself, which imports nothing
        if room is None:
            yield f"{module.name}: stands in no room"
            continue
        for target, line in imports_of(module, names):
            other = room_of(target)
            if other is not None and other != room and other not in ROOMS[room].imports:
                yield f"{module.name}:{line}: {room} may not import {target}"


def arrows_of(modules: Collection[Module]) -> set[tuple[str, str]]:
    """Return each pair of rooms of which the first imports the second."""
    names = {module.name for module in modules}
    found = set()
    for module in modules:
        room = room_of(module.name)
        others = {room_of(target) for target, _ in imports_of(module, names)}
        found |= {(room, other) for other in others if room and other and other != room}
    return found


def floors() -> list[str]:
    """Return the rooms, each above those that it imports. Raises CycleError if an import could run up."""
    return [*graphlib.TopologicalSorter({name: room.imports for name, room in ROOMS.items()}).static_order()]


def programs_keep_to_their_reach(modules: Collection[Module]) -> Iterator[str]:
    """A program reaches only the packages of its list; imports within functions are left out."""
    graph = _graph(modules)
    for name, program in PROGRAMS.items():
        for module in sorted(reach(graph, program.roots)):
            if not within(module, {*program.reaches, "hub"} if module == "hub" else program.reaches):
                yield f"{name}: reaches {module}"


def providers_keep_apart(modules: Collection[Module]) -> Iterator[str]:
    """A provider reaches no other one, except one that it builds on."""
    graph = _graph(modules)
    for provider in sorted(PROVIDERS):
        for module in sorted(reach(graph, [f"hub.connectors.{provider}"])):
            other = module.removeprefix("hub.connectors.")
            if other in PROVIDERS - {provider} and (provider, other) not in BUILDS_ON:
                yield f"{provider}: reaches {module}"


def reach(graph: Mapping[str, Collection[str]], roots: Collection[str]) -> set[str]:
    """Return *roots* and all modules that they import, directly or not, with the packages around them."""
    found: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        if name in graph and name not in found:
            found.add(name)
            left += [*graph[name], name.rpartition(".")[0]]
    return found


def room_of(name: str) -> str | None:
    """Return the room of a module; None of the package ``hub`` itself and of libraries."""
    return next((room for room, (packages, _) in ROOMS.items() if within(name, packages)), None)


def _graph(modules: Collection[Module]) -> dict[str, set[str]]:
    names = {module.name for module in modules}
    return {
        module.name: {
            target for target, line in imports_of(module, names) if line not in _lines_in_functions(module)
        }
        & names
        for module in modules
    }


@cache
def _lines_in_functions(module: Module) -> frozenset[int]:
    """Return the lines of functions, whose imports happen when they are called."""
    found: set[int] = set()
    left: list[ast.AST] = [tree_of(module)]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        else:
            left += [inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)]
    return frozenset(found)
