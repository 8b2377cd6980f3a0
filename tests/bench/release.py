"""Sources of earlier commits beside this one, the last release above all, for rows that play in turns.

The release is named in ``pyproject.toml``, ``[tool.bench]``. It runs with the libraries of this source.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.processes import ProcessFailed
from tests.bench.rounds import Rounds, ratio
from tests.bench.rows import NOT_SLOWER, Row
from tests.scenarios.versions import write_source
from tests.support.processes import ROOT

HUB, RELEASE = "hub", "release"
_DISK: Final = "/var/tmp"  # as row 13
_PACKAGES: Final = ("hub", "storage", "protocol")
Sources = dict[str, Path]


@contextmanager
def sources(others: Sequence[str], echo: Callable[[str], None]) -> Iterator[Sources]:
    """Write the source of the last release, and of *others*, into a scratch folder; yield each by its name.

    Raises:
        ProcessFailed: git has no such commit, or it does not start with the libraries of this source.
    """
    found: Sources = {HUB: ROOT}
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as folder:
        for name, commit in ((RELEASE, baseline()), *((other, other) for other in others)):
            echo(f"{name}: commit {commit}")
            found[name] = _written(commit, Path(folder) / name)
        for source in found.values():  # no round pays for that
            words = [sys.executable, "-m", "compileall", "-q", *_PACKAGES]
            subprocess.run(words, cwd=source, check=True)
        yield found


def baseline() -> str:
    """Return the commit of the last release."""
    commit: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["bench"]["baseline"]
    return commit


def compared(number: int, what: str, rounds: Rounds, names: Sequence[str]) -> list[Row]:
    """Return the rows about *what* this source costs of each of the others; slower than the release fails."""
    return [
        Row(
            str(number),
            f"{what} / of {'the last release' if name == RELEASE else name}",
            NOT_SLOWER if name == RELEASE else None,
            ratio(rounds, HUB, name),
            is_timed=False,
        )
        for name in names
        if name != HUB
    ]


def _written(commit: str, folder: Path) -> Path:
    place = "pyproject.toml, [tool.bench], names the commit of the last release"
    try:
        write_source(commit, folder)
    except subprocess.CalledProcessError:
        raise ProcessFailed(f"git has no commit {commit}: git fetch --unshallow; {place}") from None
    words = [sys.executable, "-m", "hub", "serve", "--help"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    started = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if started.returncode:
        reason = started.stderr.strip().rpartition("\n")[2]
        raise ProcessFailed(f"{commit} does not start with the libraries of this source ({reason}); {place}")
    return folder
