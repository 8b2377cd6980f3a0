"""A release with one more revision, for tests of upgrades: it changes rows and ends at the same tables."""

import shutil
from pathlib import Path

from storage.kernel.migrate import MIGRATIONS, revisions

FIRST, NEWEST = revisions()[0], revisions()[-1]
NEXT = f"{int(NEWEST) + 1:04}"
TITLE = "Limits of devices, names of people."
_TEXT = f'''"""{TITLE}"""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade() -> None:
    with op.batch_alter_table("devices", table_kwargs={{"sqlite_strict": True}}) as devices:
        devices.drop_constraint(op.f("ck_devices_max_concurrent_runs"), type_="check")
        devices.create_check_constraint(
            op.f("ck_devices_max_concurrent_runs"), "max_concurrent_runs BETWEEN 1 AND 64"
        )
    op.add_column("users", sa.Column("nickname", sa.Text()))
    op.execute("UPDATE users SET nickname = name")
    op.drop_column("users", "nickname")
    op.execute("{{statement}}")


def downgrade() -> None:
    with op.batch_alter_table("devices", table_kwargs={{"sqlite_strict": True}}) as devices:
        devices.drop_constraint(op.f("ck_devices_max_concurrent_runs"), type_="check")
        devices.create_check_constraint(
            op.f("ck_devices_max_concurrent_runs"), "max_concurrent_runs BETWEEN 1 AND 32"
        )
'''


def next_revision(folder: Path, *, statement: str = "DELETE FROM users WHERE id = ''") -> Path:
    """Write the migrations of such a release into *folder* and return their path.

    Args:
        statement: run last in the next revision.
    """
    copy = shutil.copytree(MIGRATIONS, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    text = _TEXT.replace("{statement}", statement)
    (copy / "versions" / f"{NEXT}_limits.py").write_text(text, encoding="utf-8")
    return copy
