"""The export of all data of a user, and the erasure of a user, on the command line."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.cli import show
from storage import user_data
from storage.schema import device_tokens, users
from tests.hub.cli.conftest import Hub, ends
from tests.storage.test_user_data import ANNA, BOB, make_world
from tests.support.hub import ServedHub


@pytest.fixture(autouse=True)
def _two(served: ServedHub, portal: BlockingPortal) -> None:
    """Two users beside the owner."""

    def keep(c: sa.Connection) -> None:
        make_world(c, BOB, "bob")
        make_world(c, ANNA, "anna")
        token = {"id": "t-1", "device_id": f"device-{ANNA}", "token_hash": b"secret", "created_at": 1}
        c.execute(sa.insert(device_tokens), token)

    portal.call(served.store.write, keep)


def test_all_data_of_a_user_is_exported_without_secrets(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.api.nouns.devices.MOST_LONG", 2)
    file = tmp_path / "anna.zip"
    done = hub("users", "export", "anna", str(file))
    assert (done.exit_code, "rows written:" in done.stderr) == (0, True), done.output
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as packed:
        manifest = json.loads(packed.read("manifest.json"))
        tables = manifest["tables"]
        assert manifest["user"] == "anna" and "device_tokens.token_hash" in manifest["left_out"]
        assert {one["file"] for one in tables.values()} | {"manifest.json"} == {*packed.namelist()}
        for table, about in tables.items():
            content = packed.read(about["file"])
            rows = [json.loads(line) for line in content.splitlines()]
            assert (len(rows), hashlib.sha256(content).hexdigest()) == (about["rows"], about["sha256"]), table
            assert "bob" not in content.decode() and "token_hash" not in content.decode()
    expected = {"users", "devices", "device_tokens", "agents", "agent_configs", "runs", "audit_log"}
    assert expected <= {*tables}
    ends(hub("users", "export", "carl", str(tmp_path / "carl.zip")), 1, "there is no user 'carl'")
    assert not (tmp_path / "carl.zip").exists()


def test_a_user_is_erased_only_if_the_name_is_typed(
    hub: Hub, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(hub("users", "erase", "anna"), 2, "without a terminal, confirm with --yes")
    with monkeypatch.context() as terminal:
        terminal.setattr(show, "confirm", lambda question: None)
        ends(hub("users", "erase", "anna", input="ann\n"), 2, "nothing was erased")
        assert portal.call(served.store.read, user_data.recorded_erasures) == set()
        ends(hub("users", "erase", "anna", input="anna\n"), 0, "user anna is being erased")
    assert portal.call(served.store.read, user_data.recorded_erasures) == {ANNA}
    revoked = sa.select(device_tokens.c.revoked_at)
    assert portal.call(served.store.read, lambda c: c.execute(revoked).scalar_one()) is not None
    assert portal.call(served.store.read, lambda c: c.execute(sa.select(users.c.name)).all()) is not None


def test_an_erasure_that_others_would_notice_is_refused(hub: Hub) -> None:
    ends(hub("users", "erase", "owner", "--yes"), 1, "is made at each start", "delete its state folder")
    ends(hub("users", "erase", "carl", "--yes"), 1, "there is no user 'carl'")
    assert json.loads(hub("users", "erase", "anna", "--yes", "--json").stdout)["name"] == "anna"
