import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

import storage
from storage.database import FromTheFuture
from storage.migrate import revisions, upgrade
from storage.schema import metadata


def clauses(sql: str) -> tuple[str, ...]:
    """The parts of a CREATE statement, in an order that does not depend on who added them when."""
    text = re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")").strip()
    head, _, body = text.partition("(")
    body, _, tail = body.rpartition(")")
    parts, depth = [""], 0
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return (head.strip(), *sorted(part.strip() for part in parts), tail.strip())


def tables_of(path: Path) -> dict[str, tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: clauses(sql) for name, sql in rows if name != "alembic_version"}


def revision_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(revision)


def test_the_revisions_lead_to_the_tables_of_the_schema(tmp_path: Path) -> None:
    upgrade(tmp_path / "replayed.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/made.db", poolclass=sa.NullPool)
    metadata.create_all(engine)
    made = tables_of(tmp_path / "made.db")
    assert tables_of(tmp_path / "replayed.db") == made
    assert set(metadata.tables) <= made.keys()


def test_every_table_is_strict_and_every_constraint_has_a_name(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    made = tables_of(tmp_path / "hub.db")
    assert all("STRICT" in made[name][-1] for name in metadata.tables)
    unnamed = [
        part
        for parts in made.values()
        for part in parts[1:-1]
        if re.match(r"(PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY)\b", part)
    ]
    assert unnamed == []


def test_an_up_to_date_database_is_left_alone(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    before = (tmp_path / "hub.db").read_bytes()
    upgrade(tmp_path / "hub.db")
    assert (tmp_path / "hub.db").read_bytes() == before
    assert revision_of(tmp_path / "hub.db") == revisions()[-1]


def test_a_database_of_a_newer_hub_is_refused_with_a_way_out(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    connection = sqlite3.connect(tmp_path / "hub.db")
    connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.commit()
    connection.close()
    with pytest.raises(FromTheFuture, match=r"revision 0999.*start that newer hub"):
        upgrade(tmp_path / "hub.db")
    assert revision_of(tmp_path / "hub.db") == "0999"


MIGRATE = """
import sys
from pathlib import Path
from storage.migrate import upgrade

upgrade(Path(sys.argv[1]))
"""


def test_three_processes_may_migrate_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MIGRATE, str(tmp_path / "hub.db")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate()[1] for process in processes]
    assert ([process.returncode for process in processes], errors) == ([0, 0, 0], ["", "", ""])
    assert revision_of(tmp_path / "hub.db") == revisions()[-1]


KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy as sa
from storage.migrate import upgrade

@sa.event.listens_for(sa.engine.Engine, "after_cursor_execute")
def watch(connection, cursor, statement, *rest):
    if "CREATE TABLE runs" in statement:
        os.kill(os.getpid(), 9)

upgrade(Path(sys.argv[1]))
"""


def test_a_migration_that_is_killed_half_way_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x TEXT)")
    connection.close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    assert tables_of(path).keys() == {"mine"}
    upgrade(path)
    assert {"mine", "runs"} <= tables_of(path).keys()


def test_a_hub_whose_database_is_up_to_date_does_not_load_the_migration_tool(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    code = MIGRATE + "import storage.store\nassert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "hub.db")], check=True)


def test_every_table_is_described() -> None:
    page = (Path(storage.__file__).parent / "SCHEMA.md").read_text()
    described = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert described == metadata.tables.keys()
