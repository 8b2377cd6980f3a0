"""The command that adds an extra is of the installer that made the environment."""

from pathlib import Path

from hub.base.version import command_to_add
from tests.support.families import each

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
    shown = command_to_add("local", environment=tmp_path)
    file.unlink()
    assert shown == command.replace("W", "FOLDER-OF-WHEELS")
