"""``hub places``: add, test, list and remove places of approved items."""

import json
from pathlib import Path

from hub.cli.errors import Exit
from tests.hub.cli.conftest import Hub, ends
from tests.hub.cli.test_device import home, installed
from tests.hub.device.sinks.bench import SinkBench
from tests.support.radicale import PASSWORD, Radicale

__all__ = ["home"]  # a fixture


def test_place_is_added_after_a_test_and_removed(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    before = file.read_text()
    (home / "state/devices").mkdir(parents=True)
    SinkBench(home / "state/devices").approve({"title": "Call Ana"})
    ends(hub("places"), 0, "none yet; add one: hub places add")
    path = str(home / "todo.txt")
    ends(hub("places", "add", "todo.txt", path), Exit.USAGE, "1 approved item go there now")
    ends(hub("places", "add", "todo.txt", path, "--yes"), 0, "added todo: 1 approved item go there now")
    ends(hub("device", "sync"), 0, "todo: 1 written")
    ends(hub("places"), 0, stdout=["todo.txt", path])
    ends(
        hub("places", "add", "vault", f"{home}/a.md", "--name", "todo"), Exit.USAGE, "is a place called todo"
    )
    ends(hub("places", "add", "vault", f"{home}/none/a.md", "--yes"), Exit.FAILED, "there is no folder")
    ends(hub("places", "test", "todo"), 0, "todo can be written")
    ends(hub("places", "test", "other"), Exit.FAILED, "no place called 'other'")
    ends(hub("places", "remove", "todo"), 0, "removed todo")
    assert file.read_text() == before


def test_calendar_is_added_with_a_password_from_standard_input(
    hub: Hub, home: Path, radicale: Radicale
) -> None:
    installed(hub, home)
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo")
    words = ("places", "add", "calendar", address, "--user", user, "--yes")
    ends(hub(*words, input="wrong\n"), Exit.FAILED, "refuses the user or the password")
    added = hub(*words, input=f"{PASSWORD}\n")
    ends(added, 0, "added todo: 0 approved items")
    assert PASSWORD not in added.stdout + added.stderr
    (place,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
    assert (place["kind"], place["path"]) == ("caldav", address)
