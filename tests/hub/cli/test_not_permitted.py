"""What is told to somebody who has no right to the hub's folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.cli.failure import Exit, as_failure
from tests.hub.cli.conftest import Hub

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


def test_owner_of_a_folder_without_rights_gets_the_command_that_gives_them(tmp_path: Path) -> None:
    told = as_failure(PermissionError(13, "Permission denied", str(tmp_path / "state" / "hub.db")))
    assert told.next_step == f"let its owner use it: chmod u+rwX '{tmp_path}'"


def test_a_file_that_may_not_be_opened_is_named() -> None:
    told = as_failure(PermissionError(13, "Permission denied", "/var/lib/hub/hub.db"))
    assert told.message == "no permission for /var/lib/hub/hub.db: Permission denied"
