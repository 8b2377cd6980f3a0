"""Database triggers that record changes of rows for the change stream."""

from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec
import sqlalchemy as sa

_OF_AGENT = "(SELECT user_id FROM agents WHERE id = {row}.agent_id)"
_OF_DEVICE = "(SELECT user_id FROM devices WHERE id = {row}.device_id)"
_OF_BOARD = "(SELECT user_id FROM boards WHERE id = {row}.board_id)"
_OWN = "{row}.user_id"


class FollowedTable(msgspec.Struct, frozen=True):
    """Table whose rows are followed.

    *owner*: SQL of the user whose row it is, or of NULL; *only*: SQL of a condition of the followed rows.
    """

    table: str
    kind: str
    subject: str = "id"
    owner: str = _OWN
    only: str = "true"


FOLLOWED: Final = (
    FollowedTable(
        "audit_log",  # settings of hub.toml have no other table
        "settings",
        "subject",
        "NULL",
        "{row}.event = 'settings.applied' AND {row}.subject IS NOT NULL",
    ),
    FollowedTable("agents", "agent"),
    FollowedTable("agent_states", "agent", "agent_id", _OF_AGENT),
    FollowedTable("agent_configs", "agent", "agent_id", _OF_AGENT),
    FollowedTable("boards", "board"),
    FollowedTable("board_memory", "board", "board_id", _OF_BOARD),
    FollowedTable("board_members", "board", "board_id", _OF_BOARD),
    FollowedTable("broadcasts", "broadcast"),
    FollowedTable("connectors", "connector"),
    FollowedTable("devices", "device"),
    FollowedTable("gateways", "gateway"),
    FollowedTable("invitations", "invitation"),
    FollowedTable("issue_mutes", "issue", "key"),
    FollowedTable("items", "item"),
    FollowedTable("item_proposals", "proposal", "item_id"),
    FollowedTable("item_verdicts", "verdict", "item_id"),
    FollowedTable("messages", "message"),
    FollowedTable("notify_targets", "target", "name"),  # changed with each of its deliveries
    FollowedTable("pairings", "pairing", owner=_OF_DEVICE),
    FollowedTable("questions", "question"),
    FollowedTable("runs", "run", owner=_OF_AGENT),
    FollowedTable("schedules", "schedule", owner=_OF_AGENT),
)
_ON_SERVER = """
CREATE FUNCTION changes_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO changes (source, subject, seq, user_id)
SELECT DISTINCT ON (changed.{subject})
'{table}', changed.{subject}, pg_current_xact_id()::text::bigint, {owner}
FROM changed WHERE {only} ORDER BY changed.{subject}
ON CONFLICT (source, subject) DO UPDATE SET seq = excluded.seq WHERE changes.seq <> excluded.seq;
RETURN NULL; END $$"""
_CALL_ON_SERVER = """
CREATE TRIGGER changes_of_{table}_{when} AFTER {after} ON {table} REFERENCING {row} TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION changes_of_{table}()"""
_IN_FILE = """
CREATE TRIGGER changes_of_{table}_{when} AFTER {after} ON {table} WHEN {only} BEGIN
INSERT INTO changes (source, subject, seq, user_id)
VALUES ('{table}', {row}.{subject}, (SELECT coalesce(max(seq), 0) + 1 FROM changes), {owner})
ON CONFLICT (source, subject) DO UPDATE SET seq = excluded.seq; END"""
_FUNCTIONS = (
    "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::text::regnamespace"
    " AND prorettype = 'trigger'::regtype AND starts_with(proname, 'changes_of_')"
)
_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'changes!_of!_%' ESCAPE '!'"
_MOMENTS: Final = (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))


def make_triggers(c: sa.Connection) -> None:
    """Create the triggers; none of them may exist.

    A table is missing while its revision waits for the end of a hub of an earlier release.
    """
    tables = sa.inspect(c).get_table_names()
    for each in FOLLOWED:
        for statement in _statements(each, c.dialect.name) if each.table in tables else ():
            c.exec_driver_sql(statement)


def drop_triggers(c: sa.Connection) -> None:
    """Drop the triggers of any release: tables cannot be rebuilt with them."""
    if c.dialect.name == "postgresql":
        for name in c.exec_driver_sql(_FUNCTIONS).scalars().all():
            c.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE")
    else:
        for name in c.exec_driver_sql(_TRIGGERS).scalars().all():
            c.exec_driver_sql(f"DROP TRIGGER {name}")


def trigger_names() -> Iterator[tuple[str, str]]:
    """Yield the name of each trigger, behind that of its table."""
    for each in FOLLOWED:
        for after, _ in _MOMENTS:
            yield each.table, f"changes_of_{each.table}_{after.lower()}"


@cache
def _statements(each: FollowedTable, dialect: str) -> tuple[str, ...]:
    is_server, named = dialect == "postgresql", {"table": each.table, "subject": each.subject}
    function = [_ON_SERVER.format(**_of_row(each, "changed"), **named)] if is_server else []
    trigger = _CALL_ON_SERVER if is_server else _IN_FILE
    return (
        *function,
        *(
            trigger.format(after=after, when=after.lower(), row=row, **_of_row(each, row), **named)
            for after, row in _MOMENTS
        ),
    )


def _of_row(each: FollowedTable, row: str) -> dict[str, str]:
    """Return the parts of a trigger that are about the row that it calls *row*."""
    return {"owner": each.owner.format(row=row), "only": each.only.format(row=row)}
