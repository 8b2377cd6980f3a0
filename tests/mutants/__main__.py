"""Plants described faults in a copy of the product, one at a time, and shows which the tests find.

``python -m tests.mutants`` prints a line for each of the hundred in ``mutants.json``, and ends with 1 where
the tests of one fail without it, or one survives that the list does not name as a survivor. ``--tree`` takes
the product and its tests from another checkout, so that two states of the suite can be compared.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from tests.support.time_limit import TookTooLong

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.json")
LONGEST_S = 1800.0  # for the tests of a package without a fault
_TIMES, _MORE_S = 3, 60.0  # of that time, and more: a fault that makes the tests take longer is found
MAX_BYTES = 4 << 30  # of memory: so is one that makes them grow
PASSED, NOT_RUN = 0, (2, 3, 4, 5)  # exit codes of pytest: of the latter none has to do with a test
GENERATED = "tests/house/test_generated_documents.py"  # what is made from the code is a test of it

_End = TypeVar("_End")


class Mutant(NamedTuple):
    """A fault: in *file*, the line that reads *before* becomes *after*; *line* is where it stood at first.

    One that *survives* is found by no test of its package so far.
    """

    file: str
    line: int
    kind: str
    before: str
    after: str
    survives: bool = False

    def plant(self, tree: Path) -> str:
        """Write the fault into *tree* and return the file's text without it.

        Raises:
            LookupError: the line is gone; the list has to follow the code.
        """
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        number = self.place(lines)
        lines[number] = lines[number].replace(self.before, self.after)
        path.write_text("".join(lines), encoding="utf-8")
        return text

    def place(self, lines: Sequence[str]) -> int:
        """Return the index of the line among *lines*, the nearest of several. Raises LookupError for none."""
        places = [index for index, line in enumerate(lines) if line.strip() == self.before]
        if not places:
            raise LookupError(f"{self.file} has no line {self.before!r}")
        return min(places, key=lambda index: abs(index + 1 - self.line))

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


def mutants() -> list[Mutant]:
    return [Mutant(**described) for described in json.loads(LIST.read_text(encoding="utf-8"))]


def attempt(mutant: Mutant, without: str, seconds: float, tree: Path) -> str:
    """Run the tests with *mutant* planted in *tree*: the test that found it, or why none did.

    Args:
        without, seconds: what ``timed`` returned for the same tests without it.
    """
    if without != "SURVIVED":
        return f"NOT RUN: without it {without}"
    try:
        text = mutant.plant(tree)
    except LookupError as gone:
        return f"NOT RUN: {gone}"
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
    listed = dict(enumerate(mutants(), 1))
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "numbers", type=int, nargs="*", help=f"mutants by their number, 1 to {len(listed)}; all by default"
    )
    parser.add_argument(
        "--tree", type=Path, default=ROOT, help="the checkout whose product and tests are taken"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants tried at once")
    given = parser.parse_args()
    if unknown := sorted(set(given.numbers) - listed.keys()):
        parser.error(f"no mutant has the number {unknown[0]}; they are 1 to {len(listed)}")
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
        survivors = []
        tries = [partial(attempt, mutant, *ends[lists[number]]) for number, mutant in wanted.items()]
        ends_of_mutants = pool.map(in_a_copy, tries)
        for (number, mutant), end in zip(wanted.items(), ends_of_mutants, strict=True):
            survivors += [] if end.startswith("found") else [number]
            print(f"{number:3} {mutant.file}:{mutant.line} {mutant.kind}: {end}", flush=True)
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} were found")
    fresh = [number for number in survivors if not listed[number].survives]
    if fresh:
        print("not found, and not listed as survivors:", *fresh)
    return 1 if fresh else 0


if __name__ == "__main__":
    sys.exit(main())
