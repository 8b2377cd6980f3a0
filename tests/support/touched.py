"""Prints the tests of the packages that a change touches: ``python -m tests.support.touched [COMMIT]``.

The change is what differs from COMMIT; without one from the branch that is followed, or, where none is
followed, from the commit before the last.
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

    A test belongs to itself; any other file of a package or of its tests belongs to the tests of that
    package, or of the nearest package around it that has some. What all tests share belongs to none.
    """
    found = {ALWAYS}
    for name in changed:
        path = Path(name)
        package = path.relative_to("tests").parent if path.parts[0] == "tests" else path.parent
        if path.parts[0] == "tests" and path.name.startswith("test_"):
            found |= {name} if (root / path).exists() else set()
        elif package.parts and package.parts[0] in PACKAGES:
            found |= _of_package(package, root)
    return sorted(found)


def _of_package(package: Path, root: Path) -> set[str]:
    folder = Path("tests") / package
    while not list((root / folder).glob("test_*.py")):
        folder = folder.parent
    if folder.parts[1:] == ("hub",):  # the folders in it belong to other packages
        return {str(file.relative_to(root)) for file in (root / folder).glob("test_*.py")}
    return {str(folder)}


def changed_files(since: str | None) -> set[str]:
    """Paths of the files that differ from *since*, and of new ones. Raises SystemExit as git fails."""
    if since is None:
        ask = ["git", "rev-parse", "--quiet", "--verify", "@{upstream}"]
        since = "@{upstream}" if subprocess.run(ask, cwd=ROOT, capture_output=True).stdout else "HEAD~1"
    (base,) = _git("merge-base", "HEAD", since)
    changed = _git("diff", "--name-only", "--no-renames", base)  # of a renamed file both names
    return {*changed, *_git("ls-files", "--others", "--exclude-standard")}


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:  # git has said why
        raise SystemExit(
            f"git {' '.join(words)} ended with {done.returncode}; name a commit: make quick SINCE=COMMIT"
        )
    return done.stdout.splitlines()


if __name__ == "__main__":
    sys.stdout.write(" ".join(covering(changed_files(next(iter(sys.argv[1:]), None)))) + "\n")
