"""Sessions of hubs on a PostgreSQL server: what they are called, and ending those of a hub that is gone.

A hub that freezes in the middle of a statement (stopped, or its machine vanished) keeps
the locks of its transaction, and no time-out of the server counts while the server
waits for the rest of it. Who takes over from such a hub ends its sessions first.
"""

from collections.abc import Iterable

import sqlalchemy as sa

END_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND usename = current_user AND pid <> pg_backend_pid()"
)


def session_name(boot_id: str) -> str:
    """What the sessions of this start of a hub are called."""
    return f"hub {boot_id}"


def end_sessions(c: sa.Connection, boot_ids: Iterable[str]) -> None:
    """End every session of these starts of a hub, whose leases are over. On SQLite nobody has one."""
    if c.dialect.name != "postgresql":
        return
    for boot_id in boot_ids:
        c.execute(END_SESSIONS, {"session": session_name(boot_id)})
