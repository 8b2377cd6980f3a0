"""Tests assert what a program does, never how long it takes: a busy machine would fail them."""

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from tests.support.families import each

_TESTS: Final = Path(__file__).parents[1]
_CLOCKS: Final = {"time", "monotonic", "perf_counter", "process_time", "thread_time"}
_IMPORT: Final = re.compile(r"^\s*(?:import|from) time\b", re.MULTILINE)
# Measured on purpose: benches, and the growth of a time, which is measured again where it seems to be large.
_MEASURED: Final = {"bench", "evaluation", "fuzz", "linear", "release"}


def timed_assertions(source: str) -> Iterator[int]:
    """Yield the lines of assertions that bound a clock of the machine, or a name that has a time of it."""
    if not _IMPORT.search(source):
        return
    nodes = [*ast.walk(ast.parse(source))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "time"]
    timed = {alias.asname or alias.name for node in imports for alias in node.names if alias.name in _CLOCKS}
    timed |= {f"time.{name}" for name in _CLOCKS}
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        returned = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        if any(_has(node, _timed_in(function, timed)) for node in returned):
            timed.add(function.name)
    for function in functions:
        own = _timed_in(function, timed)
        asserted = [node for node in ast.walk(function) if isinstance(node, ast.Assert)]
        yield from (node.lineno for node in asserted if any(_has(bound, own) for bound in _bounds(node)))


def _timed_in(function: ast.AST, timed: Collection[str]) -> set[str]:
    """Return the names that have a time in a function, with those of *timed*."""
    found = set(timed)
    assignments = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for node in sorted(assignments, key=lambda node: node.lineno):
        if _has(node.value, found):
            parts = [part for target in node.targets for part in ast.walk(target)]
            found |= {part.id for part in parts if isinstance(part, ast.Name)} - {"self"}
    return found


def _bounds(node: ast.AST) -> Iterator[ast.Compare]:
    """Yield the comparisons by size."""
    for part in ast.walk(node):
        if isinstance(part, ast.Compare) and isinstance(part.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            yield part


def _has(node: ast.AST, names: Collection[str]) -> bool:
    used = (part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute))
    return any(ast.unparse(part) in names for part in used)


@each(
    "source",
    [
        "import time\ndef test():\n    began = time.time()\n    assert time.time() - 1 < began",
        "from time import monotonic\ndef test():\n    began = monotonic()\n    assert f(began) < 1",
        "from time import thread_time\ndef f():\n    return thread_time()\ndef test():\n    assert f() < 1",
        "import time\nasync def test():\n    held[0] = time.perf_counter()\n    assert (1, held[0] < 1) == x",
    ],
)
def test_planted_timed_assertion_is_found(source: str) -> None:
    assert [*timed_assertions(source)] == [source.count("\n") + 1]


def test_time_of_a_clock_of_tests_may_be_asserted() -> None:
    source = "from time import monotonic\ndef test(clock):\n    assert clock.monotonic() == 1.0"
    assert [*timed_assertions(source)] == []


def test_no_test_asserts_a_time_of_the_machine() -> None:
    paths = [path for path in _TESTS.rglob("*.py") if path.relative_to(_TESTS).parts[0] not in _MEASURED]
    found = [
        f"{path.relative_to(_TESTS)}:{line}"
        for path in paths
        for line in timed_assertions(path.read_text("utf-8"))
    ]
    assert paths
    assert not found, "count calls, pieces or turns, or give the input to tests/fuzz: " + ", ".join(found)
