"""Keys that seal sign-ins, on the command line."""

import json

from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub


def test_keys_are_listed_rotated_and_forgotten_and_never_shown(hub: Hub, served: ServedHub) -> None:
    shown = hub("keys").output
    assert "a backup of the hub does not contain them" in shown
    (old,) = json.loads(hub("keys", "ls", "--json").stdout)["keys"]
    assert (old["rows"], old["is_newest"]) == (0, True)
    refused = hub("keys", "rm", old["id"], "--yes")
    assert refused.exit_code != 0
    assert "hub keys rotate" in refused.output
    rotated = json.loads(hub("keys", "rotate", "--json").stdout)["keys"]
    assert [one["id"] for one in rotated][1:] == [old["id"]]
    assert old["id"] not in hub("keys", "rm", old["id"], "--yes").output
    assert "there is no key" in hub("keys", "rm", old["id"], "--yes").output
    secret = (served.listening.unix.parent / "keys" / "credentials.keys").read_text().split()[-1]
    assert secret not in shown + hub("keys").output
