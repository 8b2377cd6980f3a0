"""Keys that seal sign-ins and passwords, on the command line."""

import json
from functools import partial
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from storage.connectors import credentials
from tests.hub.cli.conftest import Hub
from tests.support.hub import TEXT, ServedHub, over_unix, serving


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


@pytest.mark.parametrize(
    ("secret", "told"),
    [("", "hub connectors test post"), ('secret = { file = "pw" }', "by the secret that hub.toml names")],
)
def test_the_password_of_a_mailbox_is_sealed_unless_hub_toml_names_it(
    state: Path, portal: BlockingPortal, hub: Hub, secret: str, told: str
) -> None:
    mailbox = 'settings = { host = "imap.example.org", username = "ana" }'
    text = f'{TEXT}[[connectors]]\nname = "post"\nprovider = "imap"\n{mailbox}\n{secret}\n'
    state.mkdir(mode=0o700)
    (state / "pw").touch(0o600)
    (state / "pw").write_text("of the file\n")
    with portal.wrap_async_context_manager(serving(state, text)) as served:
        client = portal.wrap_async_context_manager(over_unix(served))
        with client as operator:
            given = portal.call(
                partial(operator.put, "/v1/connectors/post/password", json={"password": "x-y-z"})
            )
            assert (given.status_code == 200) is (secret == "")
            assert "x-y-z" not in given.text
        (row,) = json.loads(hub("connectors", "--json").stdout)["connectors"]
        assert (row["state"], row["way_in"]) == ("untested", None if secret else "password")
        if not secret:
            assert told in hub("connectors", "login", "post", input="p-q-r\n").output
            held = portal.call(served.store.read, credentials.find_credential, row["id"])
            assert held is not None and (held.version, b"p-q-r" in held.sealed) == (2, False)
        else:
            assert told in given.text
