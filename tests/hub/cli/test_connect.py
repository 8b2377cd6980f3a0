"""What ``hub connect`` finds out before it asks a hub anything."""

import json
from pathlib import Path

import pytest

from hub.base.system import processes
from hub.base.tokens import TokenKind, make
from hub.cli.errors import Exit
from tests.hub.cli.conftest import Hub, device_store, ends
from tests.support.clock import SeededChance
from tests.support.families import each

NOWHERE = "ws://127.0.0.1:1"
TOKEN = make(TokenKind.DEVICE, SeededChance())
INVITATION = make(TokenKind.INVITATION, SeededChance())


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_DEVICE_TOKEN", raising=False)


def secret(folder: Path, text: str) -> str:
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


@each(
    ("option", "text", "told"),
    [
        ("--token-file", TOKEN[:-1], "it has 46 characters, not 47: was all of it copied?"),
        ("--token-file", TOKEN[:-1] + "-", "a character in it is wrong: copy it again"),
        ("--token-file", INVITATION, "it does not begin with hub_dev_"),
        ("--token-file", "", "there is no token in"),
        ("--invitation-file", TOKEN, "it does not begin with hub_inv_"),
        ("--invitation-file", "", "create one: hub pair invite"),
    ],
)
def test_connect_refuses_a_mistyped_secret_without_sending(
    hub: Hub, tmp_path: Path, option: str, text: str, told: str
) -> None:
    result = hub("connect", NOWHERE, "--root", str(tmp_path), option, secret(tmp_path, text))
    ends(result, 2, told)
    assert text not in result.stderr or not text


@each("option", ["--new-key", "--key-file=k", "--invitation-file=i"])
def test_connect_with_both_token_and_key_is_a_usage_error(hub: Hub, tmp_path: Path, option: str) -> None:
    words = ("--root", str(tmp_path), "--token-file", secret(tmp_path, TOKEN), option)
    ends(hub("connect", NOWHERE, *words), 2, "a token or a key, not both")


def test_connect_with_a_missing_secret_file_exits_as_unavailable(hub: Hub, tmp_path: Path) -> None:
    for option in ("--token-file", "--invitation-file"):
        ends(
            hub("connect", NOWHERE, "--root", str(tmp_path), option, str(tmp_path / "none")),
            Exit.UNAVAILABLE,
            "no such file or folder",
        )


def test_connect_warns_of_a_secret_file_readable_by_other_users(hub: Hub, tmp_path: Path) -> None:
    file = Path(secret(tmp_path, TOKEN[:-1]))
    file.chmod(0o644)
    result = hub("connect", NOWHERE, "--root", str(tmp_path), "--token-file", str(file))
    assert f"chmod 600 {file}" in result.stderr


def test_connect_with_an_invalid_address_creates_no_key(hub: Hub, tmp_path: Path) -> None:
    db = tmp_path / "desk.db"
    ends(hub("connect", "http://hub", "--root", str(tmp_path), "--db", str(db)), 2, "is no address of a hub")
    assert not db.with_suffix(".key").exists()


def test_bare_ipv6_address_is_refused_with_the_bracketed_form(hub: Hub, tmp_path: Path) -> None:
    for typed, meant in (
        ("ws://::1:8770", "ws://[::1]:8770"),
        ("::1:8770", "ws://[::1]:8770"),
        ("ws://2001:db8::7", "ws://[2001:db8::7]"),
        ("wss://2001:db8::7:8770/path", "wss://[2001:db8::7]:8770/path"),
    ):
        told = hub("connect", typed, "--root", str(tmp_path), "--name", "desk").stderr
        assert f"did you mean {meant}?" in told
    for typed, meant in (("http://::1:8771", "http://[::1]:8771"), ("::1:8771", "https://[::1]:8771")):
        ends(hub("status", "--url", typed, "--token-file", "none"), 2, f"as in {meant}")


def test_connect_reports_an_invalid_key_with_the_file_name(hub: Hub, tmp_path: Path) -> None:
    key = Path(secret(tmp_path, "not a key"))
    ends(
        hub("connect", NOWHERE, "--root", str(tmp_path), "--db", str(tmp_path / "d.db"), f"--key-file={key}"),
        2,
        f"{key} holds no key",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "node_modules").mkdir(parents=True)
    for name in ("a.md", "b.txt", "node_modules/c.js", "node_modules/d.js"):
        (folder / name).write_text("Call Ana.\n")
    (folder / "wifi.md").write_text("# Home\n\nWifi password: ab7-tr9_xq\n")
    return folder


def test_device_preview_counts_offered_files_and_lists_withheld_files_with_reasons(
    hub: Hub, folder: Path
) -> None:
    shown = hub("device", "preview", "--root", str(folder))
    ends(shown, 0)
    assert [line.split() for line in shown.stdout.splitlines() if line] == [
        ["files", "that", "would", "be", "offered", "to", "the", "hub:", "2"],
        ["folder", "files", "size", "endings"],
        [str(folder), "2", "20", "B", "1", ".md,", "1", ".txt"],
        ["files", "that", "stay", "here:", "3"],
        ["files", "why", "where"],
        ["1", *["key", "in", "text:", "labelled-password", "in", "line", "3"], f"{folder}/wifi.md"],
        ["2", *["generated:", "dependencies"], f"{folder}/node_modules"],
    ]
    found = json.loads(hub("device", "preview", "--root", str(folder), "--names-only", "--json").stdout)
    (offered,) = found["offered"]
    assert (offered["files"], found["unsearched"], [one["reason"] for one in found["stays"]]) == (
        3,
        3,
        ["generated"],
    )


def test_device_preview_without_folders_uses_the_folders_of_the_device(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "desk.db"
    ends(hub("device", "preview", "--db", str(file)), Exit.FAILED, "there is no device database")
    with device_store(file) as store:
        ends(hub("device", "preview", "--db", str(file)), Exit.USAGE, "has not shared a folder yet")
        store.name_roots([str(folder)])
    moved = folder.rename(tmp_path / "moved")
    away = (
        "no folder to share is there\n  put it back, or name its new path: hub up FOLDER; or name a folder: "
    )
    ends(hub("device", "preview", "--db", str(file)), Exit.USAGE, away)
    moved.rename(folder)
    shown = hub("device", "preview", "--db", str(file))
    ends(shown, 0)
    assert "files that would be offered to the hub: 2\n" in shown.stdout


def test_connect_shows_new_folders_and_asks_the_owner_once(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "desk.db"
    words = ("connect", "nowhere", "--root", str(folder), "--db", str(file))
    result = hub(*words)
    ends(result, Exit.USAGE, "3 files, and 2 that stay here by their names", f"preview --root {folder}")

    monkeypatch.setattr(processes, "can_ask", lambda: True)
    refused = hub(*words, input="n\n")
    ends(refused, Exit.FAILED, "nothing is shared")
    assert "labelled-password in line 3" in refused.stdout
    taken = hub(*words, input="y\n")
    assert "nothing is shared" not in taken.stderr
    with device_store(file) as store:
        store.name_roots([str(folder)])
    again = hub(*words)
    assert "Share these files" not in again.stderr + again.stdout
