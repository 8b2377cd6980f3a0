"""Sessions of hubs on a PostgreSQL server: their name, and ending those of a dead hub.

A hub may freeze in the middle of a statement because it was suspended or its machine vanished. It then keeps
the locks of its transaction, and no time-out of the server applies to a partly received statement. A hub that
takes over therefore ends the sessions of the frozen hub first.
"""

from collections.abc import Iterable

import sqlalchemy as sa

END_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND usename = current_user AND pid <> pg_backend_pid()"
)


def session_name(boot_id: str) -> str:
    """Return the application name of the sessions of this hub process."""
    return f"hub {boot_id}"


def end_sessions(c: sa.Connection, boot_ids: Iterable[str]) -> None:
    """End every session of these hub processes, whose leases expired. No effect on SQLite."""
    if c.dialect.name != "postgresql":
        return
    for boot_id in boot_ids:
        c.execute(END_SESSIONS, {"session": session_name(boot_id)})
