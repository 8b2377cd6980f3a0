"""Tables of an earlier release with rows in them, for tests of upgrades."""

from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from storage.change_triggers import make_triggers
from storage.kernel import migrate
from storage.kernel.migrate import contracts, revisions
from storage.schema import changes

FIRST, *_, NEWEST = revisions()
CONTRACT: Final = contracts()[-1]
BEFORE_CONTRACT: Final = revisions()[revisions().index(CONTRACT) - 1]
ROWS: Final = (
    "INSERT INTO users (id, name, created_at) VALUES ('u', 'anna', 1)",
    "INSERT INTO devices (id, user_id, name, created_at) VALUES ('d', 'u', 'desk', 1)",
    "INSERT INTO agents (id, user_id, name, executor, device_id, created_at, updated_at)"
    " VALUES ('a', 'u', 'notes', 'device', 'd', 1, 1)",
    "INSERT INTO agent_states (agent_id, last_activity_at, updated_at) VALUES ('a', 1, 1)",
    "INSERT INTO schedules (id, agent_id, kind, every_ms, cursor_at, created_at, updated_at)"
    " VALUES ('s', 'a', 'every', 60000, 1, 1, 1)",
)
EARLIER_HUB: Final = (  # of the first release, which lives
    "INSERT INTO nodes (id, boot_id, started_at, seen_at) VALUES ('n', 'b', 1, 1);"
    "INSERT INTO leases (name, holder_boot_id, expires_at) VALUES ('node n', 'b', 9999999999999)"
)


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
    if sa.inspect(c).has_table(changes.name):
        make_triggers(c)
