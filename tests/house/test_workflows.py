"""Workflows of the forge: what they run exists, and what they use is pinned."""

import os
import re
import shlex
from typing import Any

import yaml

from tests.support.source import ROOT

WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
PINNED = re.compile(r"[\w-]+/[\w.-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")
SYSTEMS = ("ubuntu", "macos", "windows")


def jobs() -> list[dict[str, Any]]:
    loaded = [yaml.safe_load(file.read_text("utf-8")) for file in WORKFLOWS]
    return [job for workflow in loaded for job in workflow["jobs"].values()]


def test_commands_of_workflows_exist_and_what_they_use_is_pinned() -> None:
    steps = [step for job in jobs() for step in job["steps"]]
    assert [step["uses"] for step in steps if "uses" in step and not PINNED.fullmatch(step["uses"])] == []
    programs = {shlex.split(line)[0] for step in steps for line in step.get("run", "").splitlines()}
    assert programs and [name for name in programs if not os.access(ROOT / name, os.X_OK)] == []


def test_device_is_tested_on_each_system_and_everything_on_linux() -> None:
    by_command = {step["run"]: job for job in jobs() for step in job["steps"] if "run" in step}
    systems = by_command[".ci/device"]["strategy"]["matrix"]["system"]
    assert [name.partition("-")[0] for name in systems] == list(SYSTEMS)
    assert by_command[".ci/run"]["runs-on"].startswith("ubuntu")


def test_tests_of_the_device_are_in_their_list() -> None:
    paths = (ROOT / ".ci/device-tests").read_text("utf-8").split()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert {"tests/hub/device", "tests/hub/system"} <= set(paths)
