"""Hubs that cannot be reached, and the one that a command finds by itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner, Result

from hub.base.tokens import TokenKind, make
from hub.base.version import VERSION
from hub.cli import hub_client
from hub.cli.app import hub as command
from hub.cli.errors import Exit, as_failure
from hub.cli.hub_client import HubClient
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import SeededChance
from tests.support.hub import ServedHub
from tests.support.no_hub import listening

Asked = Callable[[str], Result]


@pytest.fixture
def asked(hub: Hub, tmp_path: Path) -> Asked:
    """``hub status`` of the hub at a URL."""
    file = tmp_path / "token"
    file.write_text(make(TokenKind.OPERATOR, SeededChance()))
    file.chmod(0o600)
    return lambda url: hub("status", "--url", url, "--token-file", str(file))


@pytest.mark.parametrize(
    ("scheme", "has_tls", "code", "said"),
    [
        ("https", True, 69, ("the certificate of {} is not trusted", "SSL_CERT_FILE=")),
        ("http", True, 69, ("use https: --url https://{}",)),
        ("https", False, 69, ("{} does not use TLS",)),
        ("http", False, 1, ("is this the hub's port for operators? see [listen.operator]",)),
    ],
    ids=["certificate", "http at TLS", "https without TLS", "devices"],
)
def test_url_of_a_wrong_port_is_reported_with_the_remedy(
    asked: Asked,
    portal: BlockingPortal,
    tmp_path: Path,
    scheme: str,
    has_tls: bool,
    code: int,
    said: tuple[str, ...],
) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path, tls=has_tls)) as where:
        ends(asked(f"{scheme}://{where}"), code, *(text.format(where) for text in said))


def test_address_of_a_closed_port_is_reported_as_unreachable(asked: Asked) -> None:
    ends(asked("http://127.0.0.1:1"), 3, "no hub answers at http://127.0.0.1:1")


@pytest.fixture
def service(served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is a service: its socket is where hub-admin.socket puts it, its state is not ours."""
    monkeypatch.setattr(hub_client, "ADMIN_SOCKET", served.listening.unix)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def test_command_without_a_named_hub_uses_the_system_service(service: None) -> None:
    ends(CliRunner().invoke(command, ["status"]), 0, stdout=("home",))


def test_command_for_a_named_stopped_hub_does_not_use_the_service(service: None, tmp_path: Path) -> None:
    ends(
        CliRunner().invoke(command, ["--state", str(tmp_path / "mine"), "status"]), 3, str(tmp_path / "mine")
    )


NOBODY = 65_534


@contextmanager
def _without_rights(folder: Path) -> Iterator[None]:
    """Nobody may look into *folder*; root is nobody meanwhile."""
    folder.chmod(0)
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(uid)
        folder.chmod(0o700)


@pytest.mark.parametrize(
    "words", [["status"], ["doctor"], ["backup", "/nowhere/file"], ["migrate", "status"]], ids=" ".join
)
def test_a_user_without_access_to_the_folder_is_referred_to_the_hubs_user(
    hub: Hub, state: Path, words: list[str]
) -> None:
    state.mkdir(mode=0o700)
    hub(*words)  # all that is imported is imported, also where it may not be read then
    with _without_rights(state):
        told = hub(*words)
    assert told.exit_code == Exit.NOT_PERMITTED, told.output
    assert "as the hub's own user, or as a member of the group hub-operators" in told.stderr


def test_permission_error_in_an_own_folder_names_the_chmod_command(tmp_path: Path) -> None:
    told = as_failure(PermissionError(13, "Permission denied", str(tmp_path / "state" / "hub.db")))
    assert told.next_step == f"let its owner use it: chmod u+rwX {tmp_path}"


def test_permission_error_names_the_file() -> None:
    told = as_failure(PermissionError(13, "Permission denied", "/var/lib/hub/hub.db"))
    assert told.message == "no permission for /var/lib/hub/hub.db: Permission denied"


@pytest.mark.parametrize(
    ("version", "words"), [("9.9.9", "the hub has version 9.9.9, this command"), (VERSION, "a bug in hub")]
)
def test_field_missing_from_the_answer_of_another_version_names_both_versions(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch, version: str, words: str
) -> None:
    send = HubClient.send

    def without_field(client: HubClient, *words: Any, **options: Any) -> Any:
        found = send(client, *words, **options)
        del found["worst"]
        return found | {"version": version}

    monkeypatch.setattr(HubClient, "send", without_field)
    ends(hub("status"), Exit.FAILED, words)
