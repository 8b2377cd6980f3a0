"""The commands about who may come in: devices, pairing, users, tokens."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
import segno
from anyio.from_thread import BlockingPortal

from hub.base import tokens
from hub.base.tokens import TokenKind
from hub.cli.access import GRANTS, has_display
from hub.cli.errors import Exit
from hub.links.device_link import RoundTrip
from protocol.grants import Grant
from storage.devices import keys as devices_keys
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import SeededChance
from tests.support.families import each
from tests.support.hub import TEXT, ServedHub, serving
from tests.support.identity import CODE
from tests.support.programs import ending, read_until


@pytest.fixture
def waiting(served: ServedHub, portal: BlockingPortal) -> Any:
    """A device that nobody knows shows ``CODE``."""
    return portal.call(served.asks)


def test_devices_watch_lists_devices_again_when_a_device_connects(
    state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    words = [sys.executable, "-m", "hub", "--state", str(state), "devices", "--watch", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching, ending(watching):
        assert watching.stdout is not None
        assert [one["name"] for one in json.loads(watching.stdout.readline())["devices"]] == ["desk"]
        portal.call(served.device, "lab")
        for event in ("run.moved", "device.connected"):  # of which one is about a device
            served.ring.append(at=0, level="info", event=event, channel="test", fields={})
        assert [one["name"] for one in json.loads(watching.stdout.readline())["devices"]] == ["desk", "lab"]
        watching.send_signal(signal.SIGINT)
        assert (watching.wait(30), watching.stdout.read()) == (0, "")


@each(
    ("words", "schema"),
    [
        (["devices"], "hub.devices/1"),
        (["devices", "show", "desk"], "hub.device/1"),
        (["devices", "kick", "desk"], "hub.device/1"),
        (["devices", "grant", "desk", "+connectors", "-files"], "hub.device/1"),
        (["devices", "rename", "desk", "lab"], "hub.device/1"),
        (["pair"], "hub.pairings/1"),
        (["pair", "approve", CODE, "--yes"], "hub.paired/1"),
        (["pair", "invite"], "hub.invitation/1"),
        (["pair", "invitations"], "hub.invitations/1"),
        (["users"], "hub.users/1"),
        (["users", "create", "anna"], "hub.user/1"),
        (["token"], "hub.tokens/1"),
        (["token", "create", "--device", "lab"], "hub.token/1"),
        (["token", "create", "--role", "viewer"], "hub.token/1"),
        (["devices", "revoke", "lab", "--yes"], "hub.device/1"),
    ],
)
def test_json_output_is_a_single_object_with_the_schema_name(
    hub: Hub, served: ServedHub, waiting: object, words: list[str], schema: str
) -> None:
    result = hub(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["schema"] == schema


def test_devices_show_lists_credentials_and_round_trip_of_the_device(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "round trip" not in hub("devices", "show", "desk").stdout
    link = portal.call(served.connect, portal.call(served.device, "desk"))
    link.round_trip = RoundTrip(0.0124, age_s=60)
    made = hub("token", "create", "--device", "desk").stdout.strip()
    told = hub("devices", "show", "desk").stdout
    assert f"(...{made[-4:]})" in told
    assert made not in told
    assert re.search(r"round trip +12\.4 ms, measured 2026-01-05 ", told)


def test_a_device_is_revoked_only_after_a_confirmation(hub: Hub, served: ServedHub) -> None:
    ends(hub("devices", "revoke", "desk"), 2, "revoke device desk with its keys")
    assert hub("devices", "revoke", "desk", "--yes").exit_code == 0
    assert "desk" not in hub("devices").stdout
    assert "desk" in hub("devices", "ls", "--all").stdout
    assert "revoked" in hub("devices", "show", "desk").stdout
    for change in (["rename", "desk", "lab"], ["grant", "desk", "+files"]):
        changed = hub("devices", *change)
        assert changed.exit_code == 1
        assert "'desk' was revoked" in changed.stderr and "--name desk --new-key" in changed.stderr, change


def test_renamed_device_is_known_only_by_the_new_name(hub: Hub, served: ServedHub) -> None:
    assert hub("devices").stdout.splitlines()[1].split()[:5] == ["desk", "owner", "yes", "linux", "now"]
    assert hub("devices", "rename", "desk", "lab").exit_code == 0
    assert hub("devices").stdout.splitlines()[1].split()[0] == "lab"
    assert hub("devices", "show", "desk").exit_code == 1


def test_pair_approve_shows_the_fingerprint_before_asking(
    hub: Hub, served: ServedHub, waiting: Any, portal: BlockingPortal
) -> None:
    refused = hub("pair", "approve", CODE.lower())
    assert refused.exit_code == 2
    assert re.search(r"fingerprint +([A-Z2-7]{7}-){7}[A-Z2-7]{7}\n", refused.stderr)
    assert "admits it as laptop of owner" in refused.stderr
    assert portal.call(served.store.read, devices_keys.find_key, waiting.key_id) is None

    assert "laptop of owner is admitted" in hub("pair", "approve", CODE, "--yes").stderr
    assert portal.call(served.store.read, devices_keys.find_key, waiting.key_id) is not None


def test_pairing_of_a_revoked_device_reports_the_revocation(
    hub: Hub, served: ServedHub, waiting: Any, portal: BlockingPortal
) -> None:
    for admits, is_asked in (
        (["pair", "approve", CODE, "--name", "desk"], True),
        (["pair", "approve", CODE, "--name", "desk", "--yes"], False),
        (["token", "create", "--device", "desk"], False),
    ):
        known = json.loads(hub("devices", "show", "desk", "--json").stdout)["id"]
        assert hub("devices", "revoke", "desk", "--yes").exit_code == 0
        told = hub(*admits).stderr
        assert "desk was revoked at 2026-01-05" in told and "as the same device" in told
        shown = json.loads(hub("devices", "show", "desk", "--json").stdout)
        assert (shown["revoked_at"] is not None) == is_asked
        if is_asked:
            assert hub("token", "create", "--device", "desk").exit_code == 0
        assert json.loads(hub("devices", "show", "desk", "--json").stdout)["id"] == known


@pytest.mark.parametrize("says_meanwhile", ["laptop", "root"])
def test_pair_approve_refuses_a_device_other_than_the_shown_device(
    state: Path, served: ServedHub, waiting: Any, portal: BlockingPortal, says_meanwhile: str
) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "hub", "--state", str(state), "pair", "approve", CODE]
    with subprocess.Popen(words, stdin=theirs, stderr=subprocess.PIPE) as approving, ending(approving):
        assert approving.stderr is not None
        read_until(approving.stderr, b"[y/N]: ")
        portal.call(served.asks, says_meanwhile)  # again, under the same code
        os.write(ours, b"y\n")
        told = approving.stderr.read()
        approving.wait(30)
    os.close(ours)
    os.close(theirs)
    is_in = portal.call(served.store.read, devices_keys.find_key, waiting.key_id) is not None
    assert (approving.returncode, is_in) == ((0, True) if says_meanwhile == "laptop" else (1, False))
    assert is_in or b"than the one that you were shown" in told


def test_pair_command_lists_waiting_devices_without_codes(hub: Hub, served: ServedHub, waiting: Any) -> None:
    told = hub("pair")
    assert told.stdout.splitlines()[1].split()[:3] == ["laptop", "linux", "192.0.2.7"]
    assert CODE not in told.output
    assert "hub pair approve CODE" in told.stderr


def test_pair_approve_with_a_wrong_code_names_the_next_step(
    hub: Hub, served: ServedHub, waiting: Any
) -> None:
    ends(hub("pair", "approve", "2222-2222", "--yes"), 1, "give the code that the device shows now")
    for _ in range(4):
        hub("pair", "approve", "2222-2222", "--yes")
    ends(hub("pair", "approve", CODE, "--yes"), 75, "try again in 600 s")


def test_pair_invite_prints_only_the_invitation_on_stdout_and_uninvite_revokes(
    hub: Hub, served: ServedHub
) -> None:
    made = hub("pair", "invite", "--device", "lab", "--ttl", "2h")
    assert (
        "\n  hub connect URL --root DIR --name lab --invitation-file FILE\n" in made.stderr
    )  # to be copied whole
    assert tokens.check(made.stdout.strip(), TokenKind.INVITATION) is None
    assert "2026-01-05 11:00 UTC" in made.stderr and "Nothing outside of DIR is read." in made.stderr

    listed = hub("pair", "invitations").stdout.splitlines()[1].split()
    assert (listed[1:4], hub("pair", "uninvite", listed[0]).exit_code) == (["owner", "lab", "1"], 0)
    assert hub("pair", "invitations").stdout.splitlines()[1].endswith("2026-01-05 09:00 UTC")


def test_token_create_prints_only_the_token_on_stdout(hub: Hub, served: ServedHub) -> None:
    device = hub("token", "create", "--device", "desk")
    operator = hub("token", "create", "--role", "viewer", "--name", "script", "--ttl", "30d")
    assert tokens.check(device.stdout.strip(), TokenKind.DEVICE) is None
    assert tokens.check(operator.stdout.strip(), TokenKind.OPERATOR) is None
    assert "shown only once" in device.stderr
    assert "It expires 2026-02-04 09:00 UTC" in operator.stderr
    assert "hub status --url http://127.0.0.1:" in operator.stderr and "HOST:8771" not in operator.stderr
    assert "nodev is a new device of owner" in hub("token", "create", "--device", "nodev").stderr
    assert "new device" not in hub("token", "create", "--device", "nodev").stderr


def test_device_credentials_and_token_list_fit_80_columns(hub: Hub, served: ServedHub, waiting: Any) -> None:
    hub("pair", "approve", CODE, "--yes")
    hub("token", "create", "--device", "laptop")
    hub("token", "create", "--role", "operator", "--name", "script")
    shown, listed = hub("devices", "show", "laptop").stdout, hub("token", "ls").stdout
    assert "created 2026-01-05 09:00 UTC" in shown
    assert max(map(len, [*shown.splitlines(), *listed.splitlines()])) <= 80
    assert hub("token", "revoke", listed.splitlines()[1].split()[0], "--yes").exit_code == 0


def test_token_list_shows_scopes_differing_from_the_role(hub: Hub, served: ServedHub) -> None:
    for role, *scopes in (
        ("operator",),
        ("operator", "run", "read"),
        ("operator", "read", "review"),
        ("admin",),
    ):
        words = [word for scope in scopes for word in ("--scope", scope)]
        hub("token", "create", "--role", role, "--name", "script", *words)
    listed = [
        line.split("script")[1].split("all")[0].strip() for line in hub("token", "ls").stdout.splitlines()[1:]
    ]
    assert sorted(listed) == ["", "", "(read review)", "(read run)"]


def test_a_token_is_revoked_only_after_a_confirmation(hub: Hub, served: ServedHub) -> None:
    for words in (["--device", "desk"], ["--role", "viewer", "--name", "script"]):
        made = json.loads(hub("token", "create", *words, "--json").stdout)
        assert hub("token", "revoke", made["id"]).exit_code == 2
        assert hub("token", "revoke", made["id"], "--yes").exit_code == 0
    told = hub("token", "ls").stdout.splitlines()[1:]
    assert [line.endswith("01-05 09:00") for line in told] == [True, True]
    assert hub("token", "revoke", "nothing", "--yes").exit_code == 1


@each(
    "words",
    [
        [],
        ["--device", "desk", "--device", "lab"],
        *(["--device", "desk", f"--{one}", "read"] for one in ("scope", "table", "root")),
    ],
)
def test_token_create_without_or_with_conflicting_options_is_a_usage_error(
    hub: Hub, served: ServedHub, words: list[str]
) -> None:
    assert hub("token", "create", *words).exit_code == 2


@each("ttl", ["", "90", "0d", "1y", "d"])
def test_invalid_token_ttl_is_a_usage_error(hub: Hub, served: ServedHub, ttl: str) -> None:
    ends(hub("token", "create", "--device", "desk", "--ttl", ttl), 2, "write it as in 90d, 12h, 10m or 30s")


@pytest.fixture
def token_file(hub: Hub, served: ServedHub, tmp_path: Path) -> Path:
    """The token of a viewer."""
    file = tmp_path / "viewer.token"
    file.write_text(hub("token", "create", "--role", "viewer").stdout, "utf-8")
    file.chmod(0o600)
    return file


def test_command_with_url_and_token_file_queries_a_remote_hub(
    hub: Hub, served: ServedHub, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://{served.listening.tcp}"
    where = ["--url", url, "--token-file", str(token_file)]
    assert "desk" in hub("devices", *where).stdout
    assert "desk" in hub(*where, "devices").stdout
    monkeypatch.setenv("HUB_TOKEN_FILE", str(token_file))
    assert "desk" in hub("devices", "--url", url).stdout
    ends(
        hub("devices", "kick", "desk", *where),
        77,
        "the least role that has it: hub token create --role operator",
    )
    token_file.chmod(0o644)
    ends(hub("devices", *where), 0, f"chmod 600 {token_file}")


@each(
    ("url", "told"),
    [
        ("http://192.0.2.1:8771", "others could read the token"),
        ("http://127.0.0.1.example:8771", "others could read the token"),
        ("http://127.example", "others could read the token"),
        ("http://localhost.example", "others could read the token"),
        ("ftp://127.0.0.1", "does not use TLS"),
    ],
)
def test_command_refuses_to_send_a_token_without_tls(hub: Hub, token_file: Path, url: str, told: str) -> None:
    ends(hub("devices", "--url", url, "--token-file", str(token_file)), 2, told)


def test_command_with_url_without_a_valid_token_is_refused(
    hub: Hub, served: ServedHub, token_file: Path, tmp_path: Path
) -> None:
    nowhere = ("--url", "http://127.0.0.1:9")
    ends(hub("devices", *nowhere), 2, "hub token create --role viewer")
    ends(hub("devices", *nowhere, "--token-file", str(tmp_path)), Exit.UNAVAILABLE)
    token_file.write_text(token_file.read_text("utf-8").strip()[:-1] + "?", "utf-8")
    where = ("--token-file", str(token_file))
    ends(hub("devices", *nowhere, *where), 77, "a character in it is wrong")
    token_file.write_text(tokens.make(TokenKind.OPERATOR, SeededChance(3)), "utf-8")
    refused = hub("devices", "--url", f"http://{served.listening.tcp}", *where)
    ends(refused, 77, "hub token create --role ROLE", unsaid=("--device",))


def test_devices_grant_adds_and_removes_grants(hub: Hub, served: ServedHub) -> None:
    ends(
        hub("devices", "grant", "desk", "+connectors", "-files"),
        0,
        "desk is granted: agents, connectors, coordination",
    )
    for shown in (hub("devices"), hub("devices", "show", "desk")):
        assert "agents, connectors, coordination" in shown.stdout
    for change in ("connectors", "+mail", "--files", "+"):
        ends(hub("devices", "grant", "desk", change), 2, "files, agents, connectors, coordination")
    of_owner = hub("devices", "grant", "desk", "+files.read=notes")
    ends(of_owner, 2, "on the device: hub grants +files.read=notes")


def test_grants_of_the_command_line_equal_the_grants_of_the_hub() -> None:
    assert tuple(Grant) == GRANTS


def test_link_typed_over_ssh_is_printed_with_the_tunnel_to_the_port(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ssh -L" not in hub("dashboard", "--no-open").stderr
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50122 192.0.2.9 22")
    made = hub("dashboard", "--no-open")
    port = made.stdout.partition("/login")[0].rpartition(":")[2]
    assert f"ssh -L {port}:127.0.0.1:{port} {getuser()}@192.0.2.9\n" in made.stderr


def test_dashboard_prints_a_link_whose_session_is_listed_and_revoked(hub: Hub, served: ServedHub) -> None:
    made = hub("dashboard", "--no-open", "--role", "viewer")
    assert made.exit_code == 0, made.stderr
    link = made.stdout.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/login#hub_lnk_\w{39}", link), link
    assert "works once" in made.stderr
    (listed,) = json.loads(hub("token", "ls", "--json").stdout)["sessions"]
    assert (listed["role"], listed["opened_at"], listed["last4"]) == ("viewer", None, link[-4:])
    assert "browser of uid" in hub("token", "ls").stdout
    assert "revoked" in hub("token", "revoke", listed["id"][-6:], "--yes").stderr
    (ended,) = json.loads(hub("token", "ls", "--json").stdout)["sessions"]
    assert ended["revoked_at"] is not None


@each(
    ("users", "options", "name"),
    [(1, (), "desk"), (1, ("--role", "admin"), "uid"), (1, ("--user", "owner"), "uid"), (2, (), "uid")],
)
def test_link_of_the_only_user_on_the_machine_of_the_hub_opens_the_page_of_an_owner(
    hub: Hub, served: ServedHub, portal: BlockingPortal, users: int, options: Sequence[str], name: str
) -> None:
    if users == 2:
        portal.call(served.user, "bob")
    made = hub("dashboard", "--json", *options)
    assert json.loads(made.stdout)["name"].split()[0] == name, made.stderr


def test_dashboard_qr_is_refused_without_an_address_for_phones(hub: Hub, served: ServedHub) -> None:
    ends(
        hub("dashboard", "--qr"),
        78,
        "hub tls init",
        'hosts = ["NAME',
        'address = "0.0.0.0:',
        "then: hub down",
    )
    assert json.loads(hub("token", "ls", "--json").stdout)["sessions"] == []


def test_a_code_for_a_phone_holds_the_printed_link(hub: Hub, state: Path, portal: BlockingPortal) -> None:
    state.mkdir(mode=0o700)
    name = "hub.home.arpa"
    assert hub("tls", "init", "--config", str(state / "hub.toml"), "--name", name).exit_code == 0
    tls = 'tls = { certificate = "hub.crt", key = "hub.key" }'
    operator = f'operator = {{ address = "0.0.0.0:0", hosts = ["{name}"], {tls} }}'
    text = TEXT.replace('operator = { address = "127.0.0.1:0" }', operator)
    with portal.wrap_async_context_manager(serving(state, text)):
        printed = hub("dashboard", "--qr")
    assert printed.exit_code == 0, printed.stderr
    link, *code = printed.stdout.splitlines()
    assert re.fullmatch(rf"https://{name}:\d+/login#hub_lnk_\w{{39}}", link), link
    halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}  # 1: dark
    rows = [[halves[block][half] for block in line] for line in code for half in (0, 1)]
    expected = [list(row) for row in segno.make_qr(link).matrix_iter(border=4)]
    assert rows[: len(expected)] == expected
    assert "works once" in printed.stderr


def test_link_is_of_the_running_listener_until_a_restart_reads_new_settings(
    hub: Hub, state: Path, portal: BlockingPortal
) -> None:
    state.mkdir(mode=0o700)
    config = state / "hub.toml"
    assert hub("tls", "init", "--config", str(config), "--name", "hub.home.arpa").exit_code == 0
    with portal.wrap_async_context_manager(serving(state, TEXT)):
        tls = 'hosts = ["hub.home.arpa"], tls = { certificate = "hub.crt", key = "hub.key" }'
        before = 'operator = { address = "127.0.0.1:0"'
        config.write_text(config.read_text().replace(before, f"{before}, {tls}"))
        assert hub("reload").exit_code == 0
        assert hub("dashboard", "--no-open").stdout.startswith("http://127.0.0.1:")
        missing = hub("dashboard", "--qr").stderr
    assert ("tls init" in missing, 'address = "0.0.0.0:' in missing, "then: hub down" in missing) == (
        *(False, True, True),
    )


@each(
    ("environ", "is_shown"),
    [({}, False), ({"DISPLAY": ""}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w-0"}, True)],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
def test_dashboard_opens_a_browser_only_with_a_display(environ: dict[str, str], is_shown: bool) -> None:
    assert has_display(environ) is is_shown
