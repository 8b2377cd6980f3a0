"""Plants faults in a copy of the product, one at a time, and shows which of them the tests find.

``python -m tests.mutants --seed N`` draws a hundred places from all functions of the product, and prints a
line for each; numbers try some of them. It ends with 1 where fewer than SHARE are found. ``--tree`` takes the
product and its tests from another checkout.
"""

import argparse
import ast
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Final, NamedTuple, TypeVar

from tests.support.time_limit import TookTooLong

ROOT: Final = Path(__file__).parents[2]
COUNT: Final = 100
SHARE: Final = 0.95  # of the faults, to be found
LONGEST_S: Final = 1800.0  # for the tests of a package without a fault
_TIMES, _MORE_S = 3, 60.0  # of that time, and more: a fault that makes the tests take longer is found
MAX_BYTES: Final = 4 << 30  # of memory: so is one that makes them grow
PASSED, NOT_RUN = 0, (2, 3, 4, 5)  # exit codes of pytest: of the latter none has to do with a test
GENERATED: Final = "tests/house/test_generated_documents.py"  # what is made from the code is a test of it
_OTHER: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_SYMMETRIC: Final = ("max", "min")  # the order of their arguments means nothing

_End = TypeVar("_End")


class Mutant(NamedTuple):
    """A fault: line *line* of *file*, counted from 1, reads *after* instead of *before*."""

    file: str
    line: int
    kind: str
    before: str
    after: str

    def plant(self, tree: Path) -> str:
        """Write the fault into *tree* and return the file's text without it."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        lines[self.line - 1] = self.after
        path.write_text("".join(lines), encoding="utf-8")
        return text

    def tests(self, tree: Path) -> list[str]:
        """Return the tests of the module's package, those named after the module first.

        The folders in ``tests/hub`` belong to other packages.
        """
        package = Path(self.file).parent
        while not (tree / "tests" / package).is_dir():
            package = package.parent
        folder = tree / "tests" / package
        stem = Path(self.file).stem.rstrip("s")
        found = folder.glob("test_*.py") if package == Path("hub") else folder.rglob("test_*.py")
        files = sorted(found, key=lambda path: (stem not in path.stem, str(path)))
        return [*(str(path.relative_to(tree)) for path in files), GENERATED]


# --- drawing ---


KINDS: Final = (
    *("and, or", "comparison", "condition", "off by one"),
    *("removed await", "removed call", "result", "swapped arguments"),
)


def drawn(tree: Path, seed: int, count: int = COUNT) -> list[Mutant]:
    """Draw places in functions of the product, as many of each kind as of the others."""
    packages = (tree / "hub", tree / "protocol", tree / "storage")
    # Migrations are changed by no release any more.
    files = sorted(
        path for package in packages for path in package.rglob("*.py") if "migrations" not in path.parts
    )
    sizes = [path.stat().st_size for path in files]
    chance, mutants = Random(seed), list[Mutant]()
    while len(mutants) < count:
        kind, (path,) = KINDS[len(mutants) % len(KINDS)], chance.choices(files, sizes)
        text = path.read_text(encoding="utf-8")
        found = [
            (node, fault)
            for of, node, fault in _faults(ast.parse(text))
            if of == kind and node.end_lineno == node.lineno
        ]
        if not found:
            continue
        node, fault = chance.choice(found)
        before = text.splitlines(keepends=True)[node.lineno - 1]
        line = before.encode()
        after = (line[: node.col_offset] + fault().encode() + line[node.end_col_offset :]).decode()
        if after != before:
            mutants.append(Mutant(str(path.relative_to(tree)), node.lineno, kind, before, after))
    return mutants


def _faults(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt, Callable[[], str]]]:
    """Yield kinds of faults, the nodes that they replace, and what makes the text to replace each with."""
    for node in _in_functions(tree):
        match node:
            case ast.Compare(ops=[op]) if type(op) in _OTHER:
                yield "comparison", node, partial(_changed, node, ops=[_OTHER[type(op)]()])
            case ast.BinOp(op=ast.Add() | ast.Sub(), right=ast.Constant(value=int(value))):
                yield "off by one", node, partial(_changed, node, right=ast.Constant(value + 1))
            case ast.BoolOp(op=op):
                other = ast.Or() if isinstance(op, ast.And) else ast.And()
                yield "and, or", node, partial(_changed, node, op=other)
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield "condition", test, partial(_changed, ast.UnaryOp(ast.Not(), test))
            case ast.Await(value=value):
                yield "removed await", node, partial(_changed, value)
            case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call())):
                yield "removed call", node, lambda: "pass"
            case ast.Return(value=ast.Constant(value=bool(value))):
                yield "result", node, f"return {not value}".strip
            case ast.Call(func=called, args=[first, second, *others]):
                starred = any(isinstance(argument, ast.Starred) for argument in (first, second))
                if not starred and not (isinstance(called, ast.Name) and called.id in _SYMMETRIC):
                    swapped = [second, first, *others]
                    yield "swapped arguments", node, partial(_changed, node, args=swapped)


def _in_functions(node: ast.AST, *, is_inside: bool = False) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr) or _is_log(child):  # texts have no place, and few tests
            continue
        if is_inside:
            yield child
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _in_functions(child, is_inside=is_inside or is_function)


def _is_log(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            return True
    return False


def _changed(node: ast.expr, **fields: object) -> str:
    other = copy(node)
    vars(other).update(fields)
    return f"({ast.unparse(other)})"


# --- trying ---


def attempt(mutant: Mutant, without: str, seconds: float, tree: Path) -> str:
    """Run the tests with *mutant* planted in *tree*: the test that found it, or why none did.

    Args:
        without, seconds: what ``timed`` returned for the same tests without it.
    """
    if without != "SURVIVED":
        return f"NOT RUN: without it {without}"
    text = mutant.plant(tree)
    try:
        return run(mutant.tests(tree), tree, seconds * _TIMES + _MORE_S)
    finally:
        (tree / mutant.file).write_text(text, encoding="utf-8")


def timed(tests: Sequence[str], tree: Path) -> tuple[str, float]:
    """Run *tests* in *tree* without a fault: what ``run`` returns, and how many seconds it took."""
    began = time.monotonic()
    return run(tests, tree), time.monotonic() - began


def run(tests: Sequence[str], tree: Path, longest_s: float = LONGEST_S) -> str:
    """Run *tests* in *tree* until one fails: its name, or why there is none."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*words, *tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=longest_s,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES)),
        )
    except subprocess.TimeoutExpired:
        return f"found: the tests hang for {longest_s:.0f} s"
    if done.returncode == PASSED:
        return "SURVIVED"
    failures = [
        line
        for line in done.stdout.splitlines()
        if line.startswith(("FAILED", "ERROR", "SUBFAILED")) or TookTooLong.__name__ in line
    ]
    if done.returncode in NOT_RUN and not failures:
        return f"NOT RUN: {(done.stdout + done.stderr).strip()[-300:]}"
    return "found: " + (failures[0] if failures else f"the tests end with {done.returncode}")[:150]


def copies(source: Path, count: int, folder: Path) -> Iterator[Path]:
    """Copies of *source* that mutants can be planted in."""
    for number in range(count):
        tree = folder / str(number)
        shutil.copytree(
            source, tree, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis")
        )
        yield tree


def main() -> int:
    today = datetime.now(UTC).date().toordinal()
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "numbers", type=int, nargs="*", help=f"faults of the seed, 1 to {COUNT}; all by default"
    )
    parser.add_argument("--seed", type=int, default=today, help=f"which faults are drawn; today {today}")
    parser.add_argument(
        "--tree", type=Path, default=ROOT, help="the checkout whose product and tests are taken"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="faults tried at once")
    given = parser.parse_args()
    listed = dict(enumerate(drawn(given.tree, given.seed), 1))
    if unknown := sorted(set(given.numbers) - listed.keys()):
        parser.error(f"no fault has the number {unknown[0]}; they are 1 to {len(listed)}")
    wanted = {number: listed[number] for number in given.numbers or listed}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for tree in copies(given.tree.resolve(), given.jobs, Path(folder)):
            trees.put(tree)

        def in_a_copy(job: Callable[[Path], _End]) -> _End:
            tree = trees.get()
            try:
                return job(tree)
            finally:
                trees.put(tree)

        lists = {number: tuple(sorted(mutant.tests(given.tree))) for number, mutant in wanted.items()}
        without = dict.fromkeys(lists.values())
        ends = dict(
            zip(without, pool.map(in_a_copy, [partial(timed, tests) for tests in without]), strict=True)
        )
        found = 0
        tries = [partial(attempt, mutant, *ends[lists[number]]) for number, mutant in wanted.items()]
        for (number, mutant), end in zip(wanted.items(), pool.map(in_a_copy, tries), strict=True):
            print(f"{number:3} {mutant.file}:{mutant.line} {mutant.kind}: {end}", flush=True)
            if end.startswith("found"):
                found += 1
            else:
                print(f"    {mutant.before.strip()}\n    {mutant.after.strip()}", flush=True)
    print(f"{found} of {len(wanted)} faults of seed {given.seed} were found")
    return 0 if found >= SHARE * len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
