"""The rules read all gold sets as the goldens say, and commits that change these say why."""

import shutil
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from subprocess import run

import pytest

from tests.goldens import SETS, path_of, written

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_reader_finds_in_a_gold_set_what_its_goldens_say(name: str) -> None:
    golden = path_of(name).read_text(encoding="utf-8")
    now = written(name).splitlines()
    changed = unified_diff(golden.splitlines(), now, "golden", "now", n=0, lineterm="")
    # If the change is meant: make goldens, and a line "Goldens: why" in the message of the commit.
    assert [*islice(changed, 20)] == []


def test_commit_that_changes_goldens_says_why() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no history of commits")
    # The first commit of a shallow clone seems to add all files.
    if _git("rev-parse", "--is-shallow-repository").strip() != "false":
        pytest.skip("a part of the history of commits")
    log = _git("log", "--format=%h %s%n%b%x00", "--", "tests/goldens/*.jsonl")
    commits = filter(None, map(str.strip, log.split("\0")))
    assert [commit for commit in commits if "\nGoldens: " not in commit] == []


def _git(*command: str) -> str:
    """Return what git prints; nothing if it refuses, as in a folder of another user."""
    return run(("git", *command), cwd=ROOT, capture_output=True, check=False, encoding="utf-8").stdout
