"""A command finds the hub that is a service of this machine, and no other hub when one was named."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hub.cli import talk
from hub.cli.app import hub as command
from tests.hub.cli.conftest import ends
from tests.support.hub import ServedHub


@pytest.fixture
def service(served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is a service: its socket is where hub-admin.socket puts it, its state is not ours."""
    monkeypatch.setattr(talk, "ADMIN_SOCKET", served.listening.unix)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def test_without_a_named_hub_the_service_is_used(service: None) -> None:
    ends(CliRunner().invoke(command, ["status"]), 0, stdout=("home",))


def test_a_hub_that_was_named_and_does_not_run_is_not_taken_for_the_service(
    service: None, tmp_path: Path
) -> None:
    ends(
        CliRunner().invoke(command, ["--state", str(tmp_path / "mine"), "status"]), 3, str(tmp_path / "mine")
    )
