"""The units that are shipped: well made, tight, and written where systemd looks for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from hub.app.systemd import is_out_of_reach, unit_files
from tests.hub.cli.conftest import Hub, ends

PREFIX, PYTHON = Path("/opt/hub"), Path("/usr/bin/python3.11")
EXPOSURE = 15  # tenths; the bar is 1.5 of 10


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with programs that are there, so that systemd's own checks can look at them."""
    for place, text in unit_files(PREFIX, PYTHON).items():
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    program = tmp_path / "opt/hub/bin/hub"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def test_the_unit_is_as_tight_as_it_should_be(installed: Path) -> None:
    unit = installed / "etc/systemd/system/hub.service"
    words = ["security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    units = sorted((installed / "etc/systemd/system").iterdir())
    assert [unit.name for unit in units] == ["hub-admin.socket", "hub.service", "hub.socket"]
    words = ["verify", "--man=no", "--recursive-errors=no", f"--root={installed}"]
    done = subprocess.run(
        ["systemd-analyze", *words, *(f"/{unit.relative_to(installed)}" for unit in units)],
        capture_output=True,
        text=True,
    )
    assert "hub" not in done.stderr, done.stderr


def test_the_names_of_the_sockets_are_those_of_the_hub() -> None:
    from hub.app.listeners import ADMIN, DEVICES

    told = {place.name: text for place, text in unit_files(PREFIX, PYTHON).items()}
    assert f"FileDescriptorName={DEVICES}\n" in told["hub.socket"]
    assert f"FileDescriptorName={ADMIN}\n" in told["hub-admin.socket"]


def test_the_unit_starts_the_program_that_wrote_it_and_may_execute_nothing_else() -> None:
    (service,) = (
        text for place, text in unit_files(Path("/srv/hub"), PYTHON).items() if place.suffix == ".service"
    )
    assert "ExecStart=/srv/hub/bin/hub serve" in service
    assert "ExecReload=/srv/hub/bin/hub reload" in service
    assert "\nExecPaths=/usr /srv/hub\n" in service
    assert "/opt/hub" not in service


def test_an_interpreter_of_its_own_may_be_executed_too() -> None:
    files = unit_files(PREFIX, Path("/opt/python/bin/python3"))
    assert any("\nExecPaths=/usr /opt/hub /opt/python\n" in text for text in files.values())


def test_a_hub_in_somebodys_home_cannot_be_seen_by_its_service() -> None:
    assert is_out_of_reach(Path("/home/anna/hub"), PYTHON)
    assert not is_out_of_reach(PREFIX, PYTHON)


def test_the_units_are_printed(hub: Hub) -> None:
    told = hub("install-unit", "--print").stdout
    for place in unit_files(PREFIX, PYTHON):
        assert f"# ===== /{place}\n" in told
    assert f"ExecStart={sys.prefix}/bin/hub serve" in told
    assert "g hub-operators -\n" in told


def test_the_units_are_written_below_a_root_and_what_differs_is_not_replaced_unasked(
    hub: Hub, tmp_path: Path
) -> None:
    ends(hub("install-unit", "--root", str(tmp_path)), 0, "systemctl enable --now hub.socket")
    unit = tmp_path / "etc/systemd/system/hub.service"
    assert unit.stat().st_mode & 0o777 == 0o644
    assert "is up to date" in hub("install-unit", "--root", str(tmp_path)).stderr

    unit.write_text("[Service]\nExecStart=/bin/true\n")
    ends(hub("install-unit", "--root", str(tmp_path)), 2, "--yes")
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert hub("install-unit", "--root", str(tmp_path), "--yes").exit_code == 0
    assert "NoNewPrivileges=yes" in unit.read_text()
