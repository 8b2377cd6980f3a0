"""What the owner of a device grants its hub, at the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hub.cli.app import hub
from hub.cli.connect import ask_grants
from hub.clock import IdFactory
from hub.device.credentials import KnownHub, KnownHubs
from hub.device.inserts import open_device_store
from hub.links.auth import HubKey
from tests.hub.cli.conftest import ends
from tests.support.clock import FakeClock, SeededChance

ONE, OTHER = HubKey(bytes([1]) * 32), HubKey(bytes([2]) * 32)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A device's file, which knows a hub."""
    path, clock = tmp_path / "desk.db", FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())):
        knows(path, "hub.example", ONE)
    return path


def knows(db: Path, address: str, key: HubKey) -> None:
    KnownHubs(db.with_suffix(".hubs"), db.with_suffix(".key")).keep(
        KnownHub(address, key.public_key, "desk.key")
    )


def grants(db: Path, *words: str) -> Result:
    return CliRunner().invoke(hub, ["grants", "--db", str(db), *words])


def grants_of(db: Path, *words: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(grants(db, "--json", *words).stdout)["grants"]
    return found


def test_nothing_is_granted_until_the_owner_does_it_and_all_can_be_taken_back(db: Path) -> None:
    assert grants_of(db) == {}
    nothing = grants(db)
    assert nothing.stdout == "", "a table with no line in it says nothing"
    assert "the hub at hub.example may only write suggestions" in nothing.stderr
    assert "hub grants +rows.read=tasks,notes" in nothing.stderr
    assert "hub grants +review.remote" in nothing.stderr
    assert grants_of(db, "+rows.read=tasks,notes", "+review.remote") == {
        "review.remote": [],
        "rows.read": ["tasks", "notes"],
    }
    assert "tasks, notes" in grants(db).stdout
    assert grants_of(db, "-review.remote", "+rows.read=tasks") == {"rows.read": ["tasks"]}
    assert grants_of(db, "-rows.read") == {}


@pytest.mark.parametrize(
    "change",
    [
        "review.remote",
        "+review.remote=tasks",
        "-review.remote=marked",
        "+everything",
        "+rows.read",
        "+rows.read=",
        "+rows.read=calls",
        "-rows.read=tasks",
    ],
)
def test_an_invalid_change_changes_nothing_and_is_refused_with_an_example(db: Path, change: str) -> None:
    ends(grants(db, "+review.remote", change), 2, repr(change))
    assert grants_of(db) == {}


def test_of_several_hubs_one_is_named(db: Path) -> None:
    knows(db, "other.example", OTHER)
    ends(grants(db, "+review.remote"), 2, "hub.example, other.example")
    assert grants_of(db, "--hub", "other.example", "+review.remote") == {"review.remote": []}
    assert grants_of(db, "--hub", "hub.example") == {}


def test_a_hub_replaced_by_another_needs_no_address(db: Path) -> None:
    assert grants_of(db, "+review.remote") == {"review.remote": []}
    knows(db, "hub.example", OTHER)
    assert grants_of(db) == {}, "what was granted to the hub before it is not its own"


def test_a_device_without_a_hub_is_advised_to_connect_once(db: Path) -> None:
    db.with_suffix(".hubs").unlink()
    ends(grants(db), 2, "hub connect")


@pytest.mark.parametrize(
    ("typed", "granted"),
    [
        ("\n\n", ()),
        ("y\nn\n", ("+review.remote",)),
        ("n\ny\ntasks, notes\n", ("+rows.read=tasks,notes",)),
        ("y\ny\n\n", ("+review.remote", "+rows.read=tasks,notes,timelines,projects,taskComments")),
    ],
)
def test_the_owner_is_asked_when_a_device_meets_a_hub_for_the_first_time(
    db: Path, typed: str, granted: tuple[str, ...]
) -> None:
    with CliRunner().isolation(input=typed):
        assert ask_grants("wss://new.example", db) == granted
    with CliRunner().isolation(input="y\ny\n"):
        assert ask_grants("wss://hub.example", db) == (), "that one is known"
