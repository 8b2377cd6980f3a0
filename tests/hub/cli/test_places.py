"""``hub places``: add, test, list and remove places of approved items."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hub.cli.errors import Exit
from tests.hub.cli.conftest import Hub, ends
from tests.hub.cli.test_device import home, installed
from tests.hub.device.sinks.bench import SinkBench
from tests.support.hub import ServedHub
from tests.support.radicale import PASSWORD, Radicale

__all__ = ["home"]  # a fixture


def test_place_is_added_after_a_test_and_removed(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    before = file.read_text()
    (home / "state/devices").mkdir(parents=True)
    SinkBench(home / "state/devices").approve({"title": "Call Ana"})
    ends(hub("places"), 0, "none yet; add one: hub places add")
    path = str(home / "todo.txt")
    ends(hub("places", "add", "todo.txt", path), Exit.USAGE, "1 approved item goes there now")
    ends(hub("places", "add", "todo.txt", path, "--yes"), 0, "added todo: 1 approved item goes there now")
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


@pytest.mark.parametrize("lasts", [False, True])
def test_problem_of_a_place_is_named_with_its_remedy_by_doctor_and_list(
    hub: Hub, served: ServedHub, home: Path, lasts: bool
) -> None:
    installed(hub, home)
    (home / "state/devices").mkdir(parents=True)
    SinkBench(home / "state/devices").approve({"title": "Call Ana"})
    disk = home / "disk"
    disk.mkdir()
    ends(hub("places", "add", "todo.txt", str(disk / "todo.txt"), "--yes"), 0)
    ends(hub("device", "sync"), 0)
    assert "place.away" not in hub("doctor").stdout
    disk.rename(home / "away")
    ends(hub("device", "sync"), Exit.FAILED, "there is no folder")
    remedy = "put its folder or disk back, or see to its server; what waits follows by itself"
    ends(hub("places"), 0, stdout=["there is no folder", f"todo: {remedy}"])
    if lasts:
        with closing(sqlite3.connect(home / "state/devices/desk.db")) as db, db:
            db.execute("UPDATE sink_states SET at_ms = at_ms - 86400000")
    (issue,) = [
        one for one in json.loads(hub("doctor", "--json").stdout)["issues"] if one["id"] == "place.away"
    ]
    severity = "warning" if lasts else "notice"
    assert (issue["severity"], issue["subject"], issue["fix"]) == (severity, "todo", remedy)
    (home / "away").rename(disk)
    ends(hub("device", "sync"), 0)
    assert "place.away" not in hub("doctor").stdout


def test_calendar_is_added_with_a_password_from_standard_input(
    hub: Hub, home: Path, radicale: Radicale, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(hub, home)
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo")
    words = ("places", "add", "calendar", address, "--user", user, "--yes")
    ends(hub(*words, input="wrong\n"), Exit.FAILED, "refuses the user or the password")
    of_server = (*words[:3], f"{radicale.url}/".removeprefix("http://"), *words[4:])
    listed = hub(*of_server, input=f"{PASSWORD}\n")
    ends(listed, Exit.FAILED, "name one of these addresses")
    assert f"1  {address}" in listed.stderr
    added = hub(*words, input=f"{PASSWORD}\n")
    ends(added, 0, "added todo: 0 approved items")
    assert PASSWORD not in added.stdout + added.stderr
    (place,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
    assert (place["kind"], place["path"]) == ("caldav", address)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    chosen = hub(*of_server, "--name", "again", input=f"{PASSWORD}\n1\n")
    ends(chosen, 0, "added again: 0 approved items")
