"""``hub migrate``: how far the tables are, bring them to this release, hold them against it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
import sqlalchemy as sa

from hub.cli.errors import Exit
from storage.kernel.backup import verify
from storage.kernel.migrate import oldest_supported, revisions, words_of
from storage.kernel.postgres import run_once
from storage.store import open_store
from tests.hub.cli.conftest import Hub, ends
from tests.support.broken_rows import faults, plant
from tests.support.database import new_database
from tests.support.old_tables import CONTRACT, EARLIER_HUB, FIRST, NEWEST, make_old
from tests.support.postgres import Postgres

URL = "sqlite:///hub.db"


def run_sql(state: Path, statement: str) -> None:
    """Somebody besides the hub."""
    with closing(sqlite3.connect(state / "hub.db")) as opened:
        opened.execute(statement)
        opened.commit()


def test_migrate_shows_revisions_in_words_and_applies_missing_ones(hub: Hub, state: Path) -> None:
    ends(
        hub("migrate", "status"),
        1,
        stdout=("missing: 0001", f"{FIRST}      The tables of the first release."),
    )
    assert "applied: 0001" in hub("migrate", "up").stderr
    assert state.stat().st_mode & 0o777 == 0o700
    after = hub("migrate", "status", "--json")
    told = json.loads(after.stdout)
    assert (after.exit_code, told["current"], told["missing"]) == (0, revisions()[-1], [])
    assert (told["oldest_supported"], told["refusal"]) == (msgspec.to_builtins(oldest_supported()), None)
    assert [known["revision"] for known in told["known"]] == revisions()
    assert "nothing to do" in hub("migrate", "up").stderr
    ends(hub("migrate", "verify"), 0, f"match this release, revision {revisions()[-1]}")


@pytest.fixture
def new(state: Path) -> None:
    """A database with the tables of this release."""
    state.mkdir()
    new_database(state / "hub.db")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (f"UPDATE alembic_version SET version_num = '{FIRST}'", "a hub between two releases made its tables"),
        ("DROP TABLE alembic_version", "it is the database of another program, with the table"),
    ],
)
def test_migrate_status_and_migrate_up_refuse_the_same_tables(
    hub: Hub, state: Path, new: None, statement: str, why: str
) -> None:
    run_sql(state, statement)
    ends(hub("migrate", "status"), Exit.FAILED, stdout=(f"this hub cannot open the database: {why}",))
    ends(hub("migrate", "up"), Exit.UNAVAILABLE, why)


def test_migrate_names_an_uncreatable_state_folder(hub: Hub, state: Path) -> None:
    state.write_text("a file")
    ends(hub("migrate", "up"), Exit.CANNOT_CREATE, f"cannot make the folder {state}: it exists already")


def test_migrate_of_a_server_database_creates_no_state_folder(hub: Hub, state: Path) -> None:
    assert hub("migrate", "up", "--url", "postgresql://hub@127.0.0.1:1/hub").exit_code
    assert not state.exists()


def test_migrate_up_backs_up_and_migrates_unless_a_row_violates_a_check(hub: Hub, state: Path) -> None:
    state.mkdir()
    with sa.create_engine(f"sqlite:///{state}/hub.db", poolclass=sa.NullPool).begin() as c:
        make_old(c)
    assert f"{NEWEST}      {words_of(NEWEST)}" in hub("migrate", "status").stdout
    run_sql(state, "UPDATE agents SET name = ''")
    ends(
        hub("migrate", "up"),
        Exit.UNAVAILABLE,
        "row agents a: violates ck_agents_name; correct or delete these rows",
    )
    assert json.loads(hub("migrate", "status", "--json").stdout)["current"] == FIRST
    run_sql(state, "UPDATE agents SET name = 'notes'")
    ends(hub("migrate", "up"), Exit.DONE, "backed up to ", f"applied: {', '.join(revisions()[1:])}")
    assert "nothing to do" in hub("migrate", "up").stderr
    backups = [*(state / "backups").iterdir()]
    assert len(backups) == 2, "both of one second have names of their own"
    assert {verify(backup).revision for backup in backups} == {FIRST}
    assert hub("migrate", "verify").exit_code == Exit.DONE


def test_migrate_up_names_revisions_waiting_for_an_earlier_hub(hub: Hub, postgres: Postgres) -> None:
    with postgres.bare_database() as url:
        anyio.run(run_once, url, make_old)
        postgres.run(EARLIER_HUB, url=url)
        waits = hub("migrate", "up", "--url", url)
        assert (waits.exit_code, waits.stdout) == (Exit.FAILED, "")
        left = ", ".join(one for one in revisions() if one >= CONTRACT)
        assert f"{left} waits: a hub of an earlier release runs" in waits.stderr
        postgres.run("UPDATE nodes SET stopped_at = 1", url=url)
        assert f"applied: {left}" in hub("migrate", "up", "--url", url).stderr


def test_migrate_status_of_a_newer_database_reports_the_reason(hub: Hub, state: Path, new: None) -> None:
    run_sql(state, "UPDATE alembic_version SET version_num = '9999'")
    ends(hub("migrate", "status"), 1, stdout=("was written by a newer hub",))


def test_migrate_commands_accept_a_database_url_without_settings(hub: Hub, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    assert hub("migrate", "up", "--url", url).exit_code == 0
    assert (tmp_path / "other.db").is_file()
    assert "up to date" in hub("migrate", "status", "--url", url).stdout
    assert hub("migrate", "verify", "--url", url).exit_code == 0


def test_migrate_refuses_an_unknown_database_url_without_repeating_the_url(hub: Hub) -> None:
    for command in ("status", "up", "verify"):
        ends(
            hub("migrate", command, "--url", "mysql://anna:secret@host/hub"),
            Exit.UNAVAILABLE,
            "write sqlite:///hub.db or postgresql://user@host/name",
            unsaid=("secret",),
        )


def test_migrate_verify_prints_each_difference_and_exits_with_1(hub: Hub, state: Path, new: None) -> None:
    run_sql(state, "DROP INDEX runs_ready")
    run_sql(state, "ALTER TABLE users ADD COLUMN mine TEXT")
    lines = ["index runs.runs_ready is missing", "column users.mine is not of this release: TEXT"]
    told = hub("migrate", "verify")
    assert (told.exit_code, told.stdout.splitlines()) == (1, lines)
    assert "in 2 places: they were changed by other means than the hub" in told.stderr
    answer = json.loads(hub("migrate", "verify", "--json").stdout)
    column = {"table": "users", "kind": "column", "name": "mine"}
    assert (answer["ok"], answer["differences"][1]) == (
        False,
        {**column, "wanted": None, "found": "TEXT", "words": lines[1]},
    )
    ends(hub("migrate", "up"), Exit.FAILED, stdout=lines, unsaid=("nothing to do",))
    assert json.loads(hub("migrate", "up", "--json").stdout)["differences"] == lines


def test_migrate_verify_names_each_broken_row(hub: Hub, state: Path, new: None) -> None:
    worlds = {
        "agents.needs.json": "needs is no JSON",
        "agents.ck-agents-type.check": "violates ck_agents_type",
        "agents.template-id.reference": "template_id refers to no row of agent_templates",
    }
    plant(state / "hub.db", [one for one in faults() if one.world in worlds])
    told = hub("migrate", "verify")
    assert told.exit_code == 1
    assert {*told.stdout.splitlines()} == {f"row agents {world}: {fault}" for world, fault in worlds.items()}
    assert "3 rows were changed by other means than the hub" in told.stderr
    answer = json.loads(hub("migrate", "verify", "--json").stdout)
    assert (answer["ok"], answer["differences"], len(answer["broken_rows"])) == (False, [], 3)


def test_migrate_verify_without_a_database_is_refused(hub: Hub, state: Path) -> None:
    state.mkdir()
    ends(hub("migrate", "verify"), 1, "use --config FILE or --url URL")
    assert list(state.iterdir()) == []


def test_migrate_reads_but_does_not_change_a_database_in_use(hub: Hub, state: Path, new: None) -> None:
    async def while_it_runs() -> list[int]:
        async with open_store(URL, base=state):
            return [
                (await anyio.to_thread.run_sync(lambda word=word: hub("migrate", word))).exit_code  # type: ignore[misc]
                for word in ("status", "verify", "up")
            ]

    assert anyio.run(while_it_runs) == [Exit.DONE, Exit.DONE, Exit.TRY_AGAIN]


def test_migrate_creates_and_verifies_tables_of_a_server_database(hub: Hub, postgres: Postgres) -> None:
    with postgres.bare_database() as url:
        ends(hub("migrate", "status", "--url", url), 1, stdout=(f"missing: {', '.join(revisions())}",))
        assert f"applied: {', '.join(revisions())}" in hub("migrate", "up", "--url", url).stderr
        ends(hub("migrate", "verify", "--url", url), 0, f"revision {NEWEST}")
        postgres.run("DROP INDEX runs_ready; ALTER TABLE runs DROP COLUMN status_message", url=url)
        damaged = hub("migrate", "verify", "--url", url)
        assert (damaged.exit_code, damaged.stdout.splitlines()) == (
            1,
            ["column runs.status_message is missing", "index runs.runs_ready is missing"],
        )
