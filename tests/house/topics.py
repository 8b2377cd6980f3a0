"""Rules for what a reader carries: one topic a module, one thing a class name, words of the field."""

import ast
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Final, TypeGuard

from tests.house.rules import Rule
from tests.support.source import Module, nodes_of, tree_of

MIN_TOPIC: Final = 30  # statements of definitions that share no name with the others of their module
CONNECTS_NOTHING: Final = {"log", "__all__"}
# Class names of two or more modules, each with the reason why the reader expects the same word there.
SAME_WORD: Final = {
    "Answer": "the file hub_connector.py of a connector by others stands alone, away from the product",
    "Connector": "the same file",
    "Message": "the same file",
    "Page": "the same file",
    "Limits": "a table of hub.toml, and a frame of the wire; both names are public",
    "NotifySettings": "tables of hub.toml and of device.toml, whose JSON Schemas have the name",
}
VAGUE_FUNCTIONS: Final = {"take", "put", "let_go", "one"}
# Functions that keep such a name, each with the object that gives it a meaning.
KEPT_FUNCTIONS: Final = {
    "hub.api.resources.agent_configs.put": "name of the operation in the OpenAPI document",
    "hub.api.resources.agents.put": "name of the operation in the OpenAPI document",
    "hub.api.resources.checkpoints.put": "name of the operation in the OpenAPI document",
    "hub.api.resources.locks.take": "name of the operation in the OpenAPI document",
    "hub.api.resources.souls.put": "name of the operation in the OpenAPI document",
    "storage.kernel.statements.one": "name of the method of SQLAlchemy's result",
}
OLD_LIMITS: Final = ("MOST_", "LEAST_")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules_have_one_topic(modules: Collection[Module]) -> Iterator[str]:
    """Definitions of a module use each other; no two groups of MIN_TOPIC statements share no name."""
    for module in modules:
        sizes = [size for size in _topics(tree_of(module)) if size >= MIN_TOPIC]
        if len(sizes) > 1:
            yield f"{module.name}: {len(sizes)} topics of {sizes} statements; move all but one of them"


def modules_have_one_head(modules: Collection[Module]) -> Iterator[str]:
    """A module has one docstring, and one block of imports before its first class or function."""
    for module in modules:
        body = tree_of(module).body
        definitions = (n for n, node in enumerate(body) if isinstance(node, Function | ast.ClassDef))
        first = next(definitions, len(body))
        for number, node in enumerate(body):
            if isinstance(node, ast.Import | ast.ImportFrom) and number > first:
                yield f"{module.name}:{node.lineno}: import below the first definition"
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text and number > 0:
                yield f"{module.name}:{node.lineno}: second docstring of the module"


def class_names_are_of_one_module(modules: Collection[Module]) -> Iterator[str]:
    """No class name is defined in two modules, but those of SAME_WORD."""
    places = defaultdict(set)
    for module in modules:
        for node in _with_statements(tree_of(module)):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(module.name)
    for name, found in sorted(places.items()):
        if len(found) > 1 and name not in SAME_WORD:
            yield f"{name}: a class in {', '.join(sorted(found))}; name each by what it is"


def names_are_words_of_the_field(modules: Collection[Module]) -> Iterator[str]:
    """Limits are MAX_ and MIN_; no loop variable is ``one``; functions say what they do with what."""
    for module in modules:
        has_old_limit = any(limit in module.source for limit in OLD_LIMITS)  # a name, and so a leaf
        for node in (ast.walk if has_old_limit else nodes_of)(tree_of(module)):
            if isinstance(node, Function) and node.name.lstrip("_") in VAGUE_FUNCTIONS:
                if f"{module.name}.{node.name}" not in KEPT_FUNCTIONS:
                    yield f"{module.name}:{node.lineno}: function {node.name}; say what it does with what"
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                if isinstance(node.target, ast.Name) and node.target.id == "one":
                    yield f"{module.name}:{node.target.lineno}: loop variable one; name what it holds"
            elif _is_old_limit(node):
                yield f"{module.name}:{node.lineno}: limits are called MAX_ and MIN_"


TOPIC_RULES: Final[tuple[Rule, ...]] = (
    modules_have_one_topic,
    modules_have_one_head,
    class_names_are_of_one_module,
    names_are_words_of_the_field,
)


def _is_old_limit(node: ast.AST) -> TypeGuard[ast.Name]:
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Store):
        return False
    return node.id.lstrip("_").startswith(OLD_LIMITS)


def statements(node: ast.AST) -> int:
    """Count the statements in *node*, docstrings left out."""
    return sum(isinstance(inner, ast.stmt) and not _is_text(inner) for inner in _with_statements(node))


def _is_text(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _with_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield *node*, the statements in it and their branches, without expressions."""
    yield node
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _with_statements(inner)


def _topics(tree: ast.Module) -> list[int]:
    """Return the statements of each group of top-level definitions that are connected by names."""
    nodes: dict[str, list[ast.stmt]] = defaultdict(list)
    for node in tree.body:
        for name in _defined(node):
            if name not in CONNECTS_NOTHING:
                nodes[name].append(node)
    group = {name: name for name in nodes}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for name, defining in nodes.items():
        for used in (used for node in defining for used in _names(node)):
            if used in group:
                group[root(name)] = root(used)
    sizes: Counter[str] = Counter()
    for name, defining in nodes.items():
        sizes[root(name)] += sum(statements(node) for node in defining)
    return list(sizes.values())


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _names(node: ast.stmt) -> Iterator[str]:
    """Yield all names in *node*, those in quoted annotations as well."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value.strip('"')
