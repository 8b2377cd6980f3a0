"""Locks on the command line."""

import json

from anyio.from_thread import BlockingPortal

from tests.hub.api.test_lock_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub


def test_locks_are_listed_with_who_has_them_and_who_waits(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no locks are held" in hub("locks").output
    portal.call(served.store.write, keep)
    shown = hub("locks").output
    assert "mailbox" in shown and "device device-anna" in shown and "device device-bert" in shown
    assert "calendar" not in shown
    assert len(json.loads(hub("locks", "ls", "--all", "--json").stdout)["locks"]) == 4


def test_a_lock_is_released_by_force(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    assert "printer is released; it is free now" in hub("locks", "release", "printer", "--yes").output
    ends(hub("locks", "release", "nothing", "--yes"), 1, output=("there is no lock 'nothing'",))
    late = hub("--user", "owner", "locks", "release", "mailbox", "--yes", "--fence", "9")
    assert "under fence 1, not 9" in late.output
    told = hub("--user", "owner", "locks", "release", "mailbox", "--yes", "--json")
    assert json.loads(told.stdout)["holder"]["id"] == "device-bert"
