"""Devices keep no node and no connectivity any more: hubs before revision 0002 need them.

A contract: it is postponed while such a hub runs on the same database.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    with op.batch_alter_table("devices", table_kwargs=_STRICT) as devices:
        devices.drop_constraint(op.f("ck_devices_connectivity"), type_="check")
        devices.drop_constraint(op.f("fk_devices_node_id"), type_="foreignkey")
        devices.drop_column("connectivity")
        devices.drop_column("node_id")


def downgrade() -> None:
    column = sa.Column("connectivity", sa.Text(), nullable=False, server_default="offline")
    op.add_column("devices", column)
    op.add_column("devices", sa.Column("node_id", sa.Text()))
    op.execute(
        "UPDATE devices SET connectivity = 'online', node_id = (SELECT nodes.id FROM nodes WHERE"
        " nodes.boot_id = devices.boot_id) WHERE boot_id IS NOT NULL"
    )
    with op.batch_alter_table("devices", table_kwargs=_STRICT) as devices:
        devices.create_check_constraint(
            op.f("ck_devices_connectivity"), "connectivity IN ('online', 'offline')"
        )
        devices.create_foreign_key(op.f("fk_devices_node_id"), "nodes", ["node_id"], ["id"])
