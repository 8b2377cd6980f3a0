"""Devices keep no node and no connectivity any more: hubs before revision 0002 need them.

A contract: it is postponed while such a hub runs on the same database.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("devices", table_kwargs={"sqlite_strict": True}) as devices:
        devices.drop_constraint(op.f("ck_devices_connectivity"), type_="check")
        devices.drop_constraint(op.f("fk_devices_node_id"), type_="foreignkey")
        devices.drop_column("connectivity")
        devices.drop_column("node_id")
