"""A release two revisions later than an artificial earlier one, for tests of upgrades.

The tables of the earlier release lack a constraint and have a column that its hubs need. The later release
adds the first, removes the second by a contract, and ends at the tables of this release.
"""

import re
import shutil
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from storage.changes import make_triggers
from storage.kernel import migrate
from storage.kernel.migrate import MIGRATIONS, revisions

FIRST, NEWEST = revisions()[0], revisions()[-1]
NEXT, CONTRACT = f"{int(NEWEST) + 1:04}", f"{int(NEWEST) + 2:04}"
TITLE = "Names of agents are checked."
_NEXT = f'''"""{TITLE}"""

from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade() -> None:
    with op.batch_alter_table("agents", table_kwargs={{"sqlite_strict": True}}) as agents:
        agents.create_check_constraint(op.f("ck_agents_name"), "length(name) BETWEEN 1 AND 255")
    op.execute("UPDATE users SET nickname = name")
    op.execute("{{statement}}")
'''
_CONTRACT = f'''"""Users have no nickname any more."""

from alembic import op

revision = "{CONTRACT}"
down_revision = "{NEXT}"


def upgrade() -> None:
    op.drop_column("users", "nickname")
'''
ROWS = (
    "INSERT INTO users (id, name, created_at) VALUES ('u', 'anna', 1)",
    "INSERT INTO devices (id, user_id, name, created_at) VALUES ('d', 'u', 'desk', 1)",
    "INSERT INTO agents (id, user_id, name, executor, device_id, created_at, updated_at)"
    " VALUES ('a', 'u', 'notes', 'device', 'd', 1, 1)",
    "INSERT INTO agent_states (agent_id, last_activity_at, updated_at) VALUES ('a', 1, 1)",
    "INSERT INTO schedules (id, agent_id, kind, every_ms, cursor_at, created_at, updated_at)"
    " VALUES ('s', 'a', 'every', 60000, 1, 1, 1)",
)
EARLIER_HUB = (  # of the first release, which lives
    "INSERT INTO nodes (id, boot_id, started_at, seen_at) VALUES ('n', 'b', 1, 1);"
    "INSERT INTO leases (name, holder_boot_id, expires_at) VALUES ('node n', 'b', 9999999999999)"
)


def next_revisions(folder: Path, *, statement: str = "DELETE FROM users WHERE id = ''") -> Path:
    """Write the migrations of the later release into *folder* and return their path.

    Args:
        statement: run last in the next revision.
    """
    copy = shutil.copytree(
        MIGRATIONS, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    (first,) = (copy / "versions").glob(f"{FIRST}_*.py")
    text = first.read_text(encoding="utf-8")
    for now, earlier in (
        (r",\s+CONSTRAINT ck_agents_name CHECK \(length\(name\) BETWEEN 1 AND 255\)", ""),
        (r"CREATE TABLE users \((?s:.*?)(?=,\s+CONSTRAINT)", r"\g<0>, nickname TEXT"),
    ):
        text, found = re.subn(now, earlier, text)
        assert found == 1, now
    first.write_text(text, encoding="utf-8")
    (copy / "versions" / f"{NEXT}_names.py").write_text(
        _NEXT.replace("{statement}", statement), encoding="utf-8"
    )
    (copy / "versions" / f"{CONTRACT}_contract_users.py").write_text(_CONTRACT, encoding="utf-8")
    return copy


def make_old(c: sa.Connection) -> None:
    """Create the tables of the first revision, with rows in them."""
    make_old_tables(c)
    for row in ROWS:
        c.exec_driver_sql(row)


def make_old_tables(c: sa.Connection, revision: str = FIRST) -> None:
    """Create the tables of a revision."""
    config = Config(attributes={"connection": c})
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    command.upgrade(config, revision)
    make_triggers(c)
