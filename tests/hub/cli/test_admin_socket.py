"""A command finds the hub that is a service of this machine, and no other hub when one was named."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hub.cli import talk
from hub.cli.app import hub as command
from tests.support.hub import ServedHub


@pytest.fixture
def service(served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is a service: its socket is where hub-admin.socket puts it, its state is not ours."""
    monkeypatch.setattr(talk, "ADMIN_SOCKET", served.listening.unix)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def test_without_a_named_hub_the_service_is_used(service: None) -> None:
    told = CliRunner().invoke(command, ["status"])
    assert told.exit_code == 0, told.output
    assert "home" in told.stdout


def test_a_hub_that_was_named_and_does_not_run_is_not_taken_for_the_service(
    service: None, tmp_path: Path
) -> None:
    told = CliRunner().invoke(command, ["--state", str(tmp_path / "mine"), "status"])
    assert told.exit_code == 3
    assert str(tmp_path / "mine") in told.stderr
