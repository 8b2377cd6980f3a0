"""Workflows of the forge: what they run exists, and what they use is pinned."""

import os
import re
import shlex
import tomllib
from typing import Any

import yaml

from tests.support.source import ROOT

WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
DEPENDABOT = ROOT / ".github/dependabot.yml"
PINNED = re.compile(r"[\w-]+/[\w.-]+@[0-9a-f]{40}")
NAMED = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
SYSTEMS = ("ubuntu", "macos", "windows")


def jobs() -> list[dict[str, Any]]:
    loaded = [yaml.safe_load(file.read_text("utf-8")) for file in WORKFLOWS]
    return [job for workflow in loaded for job in workflow["jobs"].values()]


def jobs_with(command: str) -> list[dict[str, Any]]:
    return [job for job in jobs() if command in [step.get("run") for step in job["steps"]]]


def test_workflow_commands_exist_and_actions_are_pinned() -> None:
    steps = [step for job in jobs() for step in job["steps"]]
    assert [step["uses"] for step in steps if "uses" in step and not PINNED.fullmatch(step["uses"])] == []
    commands = [shlex.split(line) for step in steps for line in step.get("run", "").splitlines()]
    assert commands and [words for words in commands if not exists(words)] == []


def exists(words: list[str]) -> bool:
    """Check whether a command is a target of the Makefile, or a program of the repository."""
    program, *rest = words
    if program == "make":
        return bool(rest) and all(word in TARGETS for word in rest if "=" not in word)
    return os.access(ROOT / program, os.X_OK)


def test_missing_command_of_a_workflow_is_found() -> None:
    assert exists(["make", "test"]) and exists([".ci/run"])
    assert not any(map(exists, (["make", "nothing"], ["make"], [".ci/nothing"])))


def test_version_of_each_pinned_action_is_named_beside_the_commit() -> None:
    lines = [line.strip() for file in WORKFLOWS for line in file.read_text("utf-8").splitlines()]
    assert [line for line in lines if "uses:" in line and not NAMED.search(line)] == []


def test_commands_of_the_readme_run_with_each_supported_python() -> None:
    (job,) = jobs_with("make demo")
    assert {"make demo", "make test"} <= {step.get("run") for step in job["steps"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    kinds = [kind.rpartition(" :: ")[2] for kind in project["classifiers"] if ":: Python :: 3." in kind]
    pythons = job["strategy"]["matrix"]["python"]
    assert (pythons[0], pythons[: len(kinds)]) == (project["requires-python"].removeprefix(">="), kinds)


def test_release_check_runs_on_a_tag_after_all_other_jobs() -> None:
    (release,) = (
        job for job in jobs() if any(step.get("run") == "make release-check" for step in job["steps"])
    )
    names = [name for file in WORKFLOWS for name in yaml.safe_load(file.read_text("utf-8"))["jobs"]]
    assert release["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert {*release["needs"], "release"} == {*names}


def test_updates_are_proposed_for_folders_with_lock_files() -> None:
    updates = {
        one["package-ecosystem"]: one for one in yaml.safe_load(DEPENDABOT.read_text("utf-8"))["updates"]
    }
    folders = {ROOT / folder.lstrip("/") for folder in updates["npm"]["directories"]}
    locked = {
        file.parent for file in ROOT.glob("hub/**/package-lock.json") if "node_modules" not in file.parts
    }
    assert folders == locked
    assert updates["pip"]["open-pull-requests-limit"] == 0, "lock files are written by 'make lock'"


def test_device_is_tested_on_each_system_and_everything_on_linux() -> None:
    by_command = {step["run"]: job for job in jobs() for step in job["steps"] if "run" in step}
    systems = by_command[".ci/device"]["strategy"]["matrix"]["system"]
    assert [name.partition("-")[0] for name in systems] == list(SYSTEMS)
    assert by_command[".ci/run"]["runs-on"].startswith("ubuntu")


def test_device_tests_list_names_existing_paths() -> None:
    paths = (ROOT / ".ci/device-tests").read_text("utf-8").split()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert {"tests/hub/device", "tests/hub/base/system"} <= set(paths)
