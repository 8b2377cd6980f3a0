"""``python -m tests.autobahn``: the device port before all cases of the Autobahn test suite.

Installs the suite first, which needs CPython 2.7. Exit code 1 when a case is neither passed nor explained, or
passes although it is explained why it cannot; 69 when the suite cannot be installed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from tempfile import TemporaryDirectory
from typing import Final

import anyio

from protocol.frame import PATH
from tests.autobahn.echo import echoing
from tests.support.programs import CannotInstall, cache_folder

_UNAVAILABLE: Final = 69
_SUITE: Final = "autobahntestsuite==25.10.1"
_TOOLS: Final = ("setuptools==44.0.0", "wheel==0.37.1")  # the last ones for Python 2.7, which has none
_QUICK: Final = ["12.*", "13.*"]  # compression: 216 cases that take ten minutes
_AGENT: Final = "hub"
_PASSED: Final = ("OK", "INFORMATIONAL")
_LATE: Final = (
    "text is decoded once its message is whole, so bad UTF-8 is noticed at the end of its last fragment"
)
EXPLAINED: Final = {
    "6.4.1": _LATE,
    "6.4.2": _LATE,
    "6.4.3": _LATE,
    "6.4.4": _LATE,
    "7.1.5": "a close within a fragmented message is answered as an error (1002), as the library does",
}


def install(cache: Path) -> tuple[Path, dict[str, str]]:
    """Install the suite; return its command and the environment that it needs.

    Raises:
        CannotInstall: Python 2.7 is missing, or pip failed.
    """
    python = next(_pythons(), None)
    if python is None:
        raise CannotInstall(
            "the suite needs CPython 2.7, with headers and a C compiler: pyenv install 2.7.18, or set PYTHON2"
        )
    home = cache / _SUITE
    # not PYTHONPATH, which would not read the .pth file of the namespace package zope
    environment = os.environ | {"PYTHONUSERBASE": str(home)}
    environment.pop("PYTHONPATH", None)
    done = home / ".installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        for packages in (_TOOLS, (_SUITE,)):
            command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--user", *packages]
            ended = subprocess.run(command, check=False, stdout=PIPE, stderr=STDOUT, env=environment)
            if ended.returncode != 0:
                raise CannotInstall(f"pip failed: {ended.stdout.decode(errors='replace')[-2000:]}")
        done.touch()
    return home / "bin" / "wstest", environment


def _pythons() -> Iterator[str]:
    """Commands that run Python 2.7."""
    found = [os.environ.get("PYTHON2"), shutil.which("python2.7"), shutil.which("python2")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found += map(str, sorted(pyenv.glob("2.7.*/bin/python2.7")))
    for python in filter(None, found):
        said = subprocess.run([python, "-m", "pip", "--version"], check=False, stdout=PIPE, stderr=DEVNULL)
        if b"(python 2.7)" in said.stdout:
            yield python


async def play(wstest: Path, environment: dict[str, str], left_out: list[str]) -> dict[str, dict[str, str]]:
    """Run the suite against the echo; return what it says of each case."""
    with TemporaryDirectory() as name:
        folder = anyio.Path(name)
        specification = folder / "suite.json"
        async with echoing() as port:
            url = f"ws://127.0.0.1:{port}{PATH}"
            given = {
                "outdir": str(folder / "reports"),
                "servers": [{"agent": _AGENT, "url": url, "options": {"version": 18}}],
                "cases": ["*"],
                "exclude-cases": left_out,
                "exclude-agent-cases": {},
            }
            await specification.write_text(json.dumps(given))
            command = [str(wstest), "-m", "fuzzingclient", "-s", str(specification)]
            await anyio.run_process(command, env=environment, cwd=folder, stderr=STDOUT)
        report: dict[str, dict[str, dict[str, str]]] = json.loads(
            await (folder / "reports" / "index.json").read_text(encoding="utf-8")
        )
        return report[_AGENT]


def main() -> int:
    """Install, play, compare with the explanations."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the cases of compression out")
    chosen = parser.parse_args()
    cache = cache_folder("autobahn")
    print(f"installing into {cache}, unless it is there", flush=True)
    try:
        wstest, environment = install(cache)
    except CannotInstall as missing:
        print(f"autobahn: {missing}", file=sys.stderr)
        return _UNAVAILABLE
    results = anyio.run(
        play, wstest, environment, _QUICK if chosen.quick else [], backend_options={"use_uvloop": True}
    )
    return 1 if judge(results) else 0


def judge(results: dict[str, dict[str, str]]) -> list[str]:
    """Print what came of the cases; return those that nothing explains."""
    behind = {
        case: f"{result['behavior']}, close: {result['behaviorClose']}"
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= set(_PASSED)
    }
    faults = [f"{case}: {behavior}" for case, behavior in behind.items() if case not in EXPLAINED]
    faults += [
        f"{case}: passed, and is explained" for case in EXPLAINED if case in results and case not in behind
    ]
    for case in behind.keys() & EXPLAINED.keys():
        print(f"  {case}: {behind[case]}: {EXPLAINED[case]}")
    print(
        f"{len(results)} cases: {len(results) - len(behind)} passed, "
        f"{len(behind.keys() & EXPLAINED.keys())} explained, {len(faults)} faults"
    )
    for fault in faults:
        print(f"  FAULT {fault}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
