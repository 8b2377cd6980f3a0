"""The commands on the hub as a whole: drain, backup, restore."""

import json
import os
import socket
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import Result

from hub.base.supervisor import Drain
from protocol.ids import UserId
from storage import audit
from storage.devices import users
from storage.store import open_store
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import TEXT, ServedHub, serving
from tests.support.postgres import Postgres

AT = 1_767_600_000_000


@pytest.fixture
def known(state: Path) -> Path:
    """A state folder with a database in which Anna is."""
    state.mkdir(mode=0o700)
    anyio.run(_add, state, "anna")
    return state


async def _add(state: Path, name: str) -> None:
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(users.ensure_user, UserId(name), name, AT)


def test_drain_with_restart_cannot_be_taken_back_by_a_later_drain(hub: Hub, served: ServedHub) -> None:
    ends(hub("drain", "--restart"), 0, "runs in progress: 0")
    assert (served.drain.is_begun, served.drain.restarts) == (True, True)
    again = json.loads(hub("drain", "--json").stdout)
    assert (again["schema"], again["restarts"]) == ("hub.drain/1", True), "it cannot be taken back"
    entries = json.loads(hub("audit", "ls", "--event", "hub.drained", "--json").stdout)["entries"]
    actor = f"operator:{os.getuid()}"
    assert [(entry["actor"], entry["detail"]) for entry in entries] == [(actor, {"executing": 0})]


def test_drain_hurry_before_the_listener_is_delivered_later() -> None:
    drain, hurried = Drain(), list[bool]()
    drain.hurry()
    drain.on_hurry(lambda: hurried.append(True))
    assert hurried == [True]


def test_a_backup_is_made_checked_and_restored(hub: Hub, known: Path, tmp_path: Path) -> None:
    file, settings = tmp_path / "one.hub-backup", tmp_path / "hub.toml"
    settings.write_text('[hub]\nname = "attic"\n')
    made = hub("backup", str(file), "--config", str(settings), "--json")
    assert made.exit_code == 0, made.output
    assert set(json.loads(made.stdout)["files"]) == {"hub.db", "hub.toml"}
    assert "is valid" in hub("backup", "--verify", str(file)).stdout

    anyio.run(_add, known, "bo")
    ends(hub("restore", str(file), "--config", str(settings)), 2, "--yes")
    ends(
        hub("restore", str(file), "--config", str(settings), "--yes"),
        0,
        "before-restore-",
        f"{settings} stays as it is",
        f"next: hub serve --state {known} --config {settings}",
    )
    assert ((known / "hub.toml").read_text(), anyio.run(_people, known)) == (settings.read_text(), ["anna"])


def test_restore_leaves_settings_in_the_state_folder_unchanged(hub: Hub, known: Path, tmp_path: Path) -> None:
    file, settings = tmp_path / "one.hub-backup", known / "hub.toml"
    settings.write_text('[hub]\nname = "attic"\n')
    ends(hub("backup", str(file), "--config", str(settings)), 0)
    settings.write_text('[hub]\nname = "cellar"\n')
    restored = known / "hub.toml.restored"
    ends(
        hub("restore", str(file), "--config", str(settings), "--yes"),
        0,
        f"{settings} stays as it is; the settings of the backup are in {restored}",
    )
    assert ("cellar" in settings.read_text(), "attic" in restored.read_text()) == (True, True)


async def _people(state: Path) -> list[str]:
    async with open_store("sqlite:///hub.db", base=state) as store:
        return [user.name for user in await store.read(users.list_users)]


def test_a_backup_without_settings_is_reported(hub: Hub, known: Path, tmp_path: Path) -> None:
    ends(
        hub("backup", str(tmp_path / "one"), "--config", str(tmp_path / "none.toml")),
        0,
        "the backup has no settings",
    )


def test_backup_does_not_replace_an_existing_file(hub: Hub, known: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("precious")
    ends(hub("backup", str(tmp_path / "one")), 73, "choose another FILE")


def test_backup_verify_of_a_broken_or_missing_file_exits_with_1(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    assert hub("backup", "--verify", str(tmp_path / "one")).exit_code == 1
    assert hub("restore", str(tmp_path / "one"), "--yes").exit_code == 1
    ends(hub("backup", "--verify", str(tmp_path / "nope")), 1, "write a new one: hub backup FILE")


def test_backup_without_a_database_is_refused(hub: Hub, tmp_path: Path) -> None:
    ends(hub("backup", str(tmp_path / "one")), 1, "use --state DIR")


@pytest.mark.parametrize("yes", [("--yes",), ()], ids=["yes", "asked"])
def test_restore_over_a_running_hub_is_refused_without_a_question(
    hub: Hub, known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yes: tuple[str, ...]
) -> None:
    hub("backup", str(tmp_path / "one"))
    asked: list[str] = []
    monkeypatch.setattr("hub.cli.show.confirm", asked.append)

    async def while_it_runs() -> Result:
        async with open_store("sqlite:///hub.db", base=known):
            return await anyio.to_thread.run_sync(lambda: hub("restore", str(tmp_path / "one"), *yes))

    refused = anyio.run(while_it_runs)
    assert (refused.exit_code, asked) == (75, [])
    assert "stop it first" in refused.stderr
    assert not list(known.glob("before-restore-*"))


def test_backup_of_a_server_database_is_refused_with_pg_dump(hub: Hub, tmp_path: Path) -> None:
    settings = tmp_path / "hub.toml"
    settings.write_text('[storage]\nurl = "postgresql://hub@db.example/hub"\n')
    ends(hub("backup", str(tmp_path / "one"), "--config", str(settings)), 2, "pg_dump")


def test_backup_record_of_a_dump_file_is_audited_while_a_hub_runs(
    hub: Hub, tmp_path: Path, postgres: Postgres
) -> None:
    settings, dump = tmp_path / "hub.toml", tmp_path / "hub.dump"
    dump.write_bytes(bytes(12_345))

    async def while_it_runs(url: str) -> tuple[Result, list[tuple[str, str | None, object]]]:
        async with open_store(url) as store:
            words = ("backup", "--record", str(dump), "--config", str(settings))
            done = await anyio.to_thread.run_sync(lambda: hub(*words))
            entries = await store.read(audit.list_entries, limit=5)
            return done, [(row.event, row.subject, row.detail) for row in entries]

    with postgres.database() as url:
        settings.write_text(f'[storage]\nurl = "{url}"\n')
        done, entries = anyio.run(while_it_runs, url)
    assert "recorded as the newest backup" in done.stderr
    assert entries == [("backup.made", "hub.dump", '{"size_bytes":12345}')]


def test_backup_record_of_a_snapshot_name_is_stored_without_a_size(hub: Hub, known: Path) -> None:
    told = json.loads(hub("backup", "--record", "snapshot-of-monday", "--json").stdout)
    assert (told["file"], told["size_bytes"]) == ("snapshot-of-monday", None)


def test_running_hub_with_an_in_memory_database_refuses_a_backup(state: Path, portal: BlockingPortal) -> None:
    state.mkdir()
    in_memory = TEXT + '[storage]\nurl = "sqlite://"\n'
    with (
        portal.wrap_async_context_manager(serving(state, in_memory)) as served,
        socket.socket(socket.AF_UNIX) as asking,
    ):
        asking.connect(str(served.listening.unix))
        asking.sendall(
            b"POST /v1/backups HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
            b"content-length: 2\r\nconnection: close\r\n\r\n{}"
        )
        answer = b"".join(iter(lambda: asking.recv(65_536), b""))
    assert b" 409 " in answer.splitlines()[0]
    assert b'"backup_refused"' in answer


def test_a_backup_is_in_the_audit_log_of_the_running_hub(hub: Hub, known: Path, tmp_path: Path) -> None:
    async def while_it_runs() -> list[tuple[str, str | None]]:
        async with open_store("sqlite:///hub.db", base=known) as store:
            await anyio.to_thread.run_sync(lambda: hub("backup", str(tmp_path / "one")))
            return [(row.event, row.subject) for row in await store.read(audit.list_entries, limit=5)]

    assert anyio.run(while_it_runs) == [("backup.made", "one")]
