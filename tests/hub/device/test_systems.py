"""The device where a system lacks what Linux has: what goes on, and what names what it lacks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.base.system import missing_for_hub
from protocol.skipped_files import SkipReason
from tests.scenarios.lacking import LACKING, NAMES, WINDOWS, without

OF_HUB = frozenset(NAMES) - {"pwd", "os.fork"}  # without these alone, a hub runs
AT_HOME = ("termios", "os.O_NONBLOCK", "os.mkfifo")  # other tests need them


@pytest.mark.parametrize(
    "names",
    [*(pytest.param((name,), marks=pytest.mark.soak) for name in NAMES), WINDOWS + AT_HOME],
    ids=lambda names: names[0],
)
def test_device_works_without_linux_functions_and_the_hub_refuses_to_start(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.md").write_text("call Ana")
    (tmp_path / "notes/link.md").symlink_to(tmp_path / "notes/a.md")
    done = subprocess.run(
        [sys.executable, str(LACKING / "round_trip.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=without(names),
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    missing = found["missing"]
    assert OF_HUB.intersection(names) <= set(missing) <= {*names, *missing_for_hub()}
    refusal = f"a hub runs on Linux; here is no {', '.join(missing)}"
    assert found["refused"] == (2 * [refusal] if missing else [])
    assert {name: found[name] for name in ("offered", "lock", "approved", "key", "pause")} == {
        "offered": [["notes/a.md"], {"notes/link.md": SkipReason.SYMLINK}, "call Ana"],
        "lock": [
            True,
            "another device, process PID, uses FILE; end it first, or give this one another name",
            False,
        ],
        "approved": [1, ["approved"]],
        "key": [False, True],
        "pause": ["paused until it is resumed: hub device resume", True],
    }
