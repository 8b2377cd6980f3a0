"""Prints the tests of the packages that a change touches: ``python -m tests.support.touched``.

The change is what differs from the branch that is followed, or from the commit before where none is followed.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ALWAYS: Final = "tests/house"
PACKAGES: Final = ("hub", "protocol", "storage")


def covering(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """Test files and folders for *changed* files, given by their paths below *root*.

    A test belongs to itself; a module to the tests of its package, or of the nearest package around it
    that has some. What all tests share belongs to none.
    """
    found = {ALWAYS}
    for name in changed:
        path = Path(name)
        if path.parts[0] == "tests":
            if path.name.startswith("test_") and (root / path).exists():
                found.add(name)
        elif path.suffix == ".py" and path.parts[0] in PACKAGES:
            found |= _of_package(path.parent, root)
    return sorted(found)


def _of_package(package: Path, root: Path) -> set[str]:
    folder = Path("tests") / package
    while not list((root / folder).glob("test_*.py")):
        folder = folder.parent
    if folder.parts[1:] == ("hub",):  # the folders in it belong to other packages
        return {str(file.relative_to(root)) for file in (root / folder).glob("test_*.py")}
    return {str(folder)}


def changed_files() -> set[str]:
    """Paths of the files that differ from the followed branch, and of new ones."""
    upstream = _git("rev-parse", "--verify", "--quiet", "@{upstream}")
    since = _git("merge-base", "HEAD", upstream[0]) if upstream else ["HEAD"]
    changed = {*_git("diff", "--name-only", *since), *_git("ls-files", "--others", "--exclude-standard")}
    return changed or set(_git("diff", "--name-only", "HEAD~1"))


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1]


if __name__ == "__main__":
    sys.stdout.write(" ".join(covering(changed_files())) + "\n")
