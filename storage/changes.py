"""Changes of what people look at: the newest one of each agent, run, item, device and so on.

Triggers write them, in the transaction of the change, whichever statement makes it; so a reader who has all
changes up to a number has missed none. There is one row for each row that is followed, with the
number of its newest change: what changes a thousand times is read once, and two transactions wait for each
other only where they change the same row.

Numbers grow with the order of the commits. A file has one writer, which counts. On a server the number is
that of the transaction, and only changes before the oldest unfinished transaction are read: a later one
cannot get a lower number any more.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import UserId
from storage.kernel.columns import Int
from storage.schema import changes, hub

MAX_CHANGES: Final = (
    100_000  # subjects; a reader that has not read for so many changes reads everything again
)
PRUNED_AT_ONCE: Final = 5_000
FLOOR: Final = "changes.floor"  # key in the table hub: changes up to this number may be missing

_OF_AGENT = "(SELECT user_id FROM agents WHERE id = {row}.agent_id)"
_OF_DEVICE = "(SELECT user_id FROM devices WHERE id = {row}.device_id)"
_OF_BOARD = "(SELECT user_id FROM boards WHERE id = {row}.board_id)"
_OWN = "{row}.user_id"


class Followed(msgspec.Struct, frozen=True):
    """Table whose rows are followed.

    *owner*: SQL of the user whose row it is, or of NULL; *only*: SQL of a condition of the followed rows.
    """

    table: str
    kind: str
    subject: str = "id"
    owner: str = _OWN
    only: str = "true"


FOLLOWED: Final = (
    Followed(
        "audit_log",  # settings of hub.toml have no other table
        "settings",
        "subject",
        "NULL",
        "{row}.event = 'settings.applied' AND {row}.subject IS NOT NULL",
    ),
    Followed("agents", "agent"),
    Followed("agent_states", "agent", "agent_id", _OF_AGENT),
    Followed("agent_configs", "agent", "agent_id", _OF_AGENT),
    Followed("boards", "board"),
    Followed("board_memory", "board", "board_id", _OF_BOARD),
    Followed("board_members", "board", "board_id", _OF_BOARD),
    Followed("broadcasts", "broadcast"),
    Followed("connectors", "connector"),
    Followed("devices", "device"),
    Followed("gateways", "gateway"),
    Followed("invitations", "invitation"),
    Followed("issue_mutes", "issue", "key"),
    Followed("items", "item"),
    Followed("item_proposals", "proposal", "item_id"),
    Followed("item_verdicts", "verdict", "item_id"),
    Followed("messages", "message"),
    Followed("notify_targets", "target", "name"),  # changed with each of its deliveries
    Followed("pairings", "pairing", owner=_OF_DEVICE),
    Followed("questions", "question"),
    Followed("runs", "run", owner=_OF_AGENT),
    Followed("schedules", "schedule", owner=_OF_AGENT),
)
ISSUES: Final = "issues"  # source of issues, which have no table: ``note``
_KINDS: Final = {each.table: each.kind for each in FOLLOWED} | {ISSUES: "issue"}

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


_NOTED = """
INSERT INTO changes (source, subject, seq, user_id) VALUES (:source, :subject, {number}, :user)
ON CONFLICT (source, subject) DO UPDATE SET seq = excluded.seq, user_id = excluded.user_id"""
_NOTES: Final = {
    "postgresql": sa.text(_NOTED.format(number="pg_current_xact_id()::text::bigint")),
    "sqlite": sa.text(_NOTED.format(number="(SELECT coalesce(max(seq), 0) + 1 FROM changes)")),
}

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
def _statements(each: Followed, dialect: str) -> tuple[str, ...]:
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


def note(c: sa.Connection, source: str, subjects: Iterable[tuple[str, UserId | None]]) -> None:
    """Write changes of subjects without a table, each with the user whose it is."""
    for subject, user in sorted(subjects, key=lambda one: one[0]):
        c.execute(_NOTES[c.dialect.name], {"source": source, "subject": subject, "user": user})


def _of_row(each: Followed, row: str) -> dict[str, str]:
    """Return the parts of a trigger that are about the row that it calls *row*."""
    return {"owner": each.owner.format(row=row), "only": each.only.format(row=row)}


class Change(msgspec.Struct, frozen=True):
    """Newest change of a subject. *version*: its number."""

    kind: str
    subject: str
    version: int


class Changes(msgspec.Struct, frozen=True):
    """Changes in order, up to and including number *upto*.

    *is_gapless*: False if earlier ones are missing, so that everything is to be read again.
    """

    changes: tuple[Change, ...]
    upto: int
    is_gapless: bool
    has_more: bool


_after, _until = sa.bindparam("after", type_=Int), sa.bindparam("until", type_=Int)
_row = (changes.c.source, changes.c.subject, changes.c.seq)
NEWEST = sa.select(sa.func.coalesce(sa.func.max(changes.c.seq), 0))
# Every transaction that may still write a lower number is unfinished.
SETTLED = sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
SINCE = (
    sa.select(*_row)
    .where(
        changes.c.seq > _after,
        changes.c.seq <= _until,
        sa.or_(sa.bindparam("user", type_=sa.Text).is_(None), changes.c.user_id == sa.bindparam("user")),
    )
    .order_by(changes.c.seq)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
MISSING = sa.select(hub.c.value).where(hub.c.key == FLOOR)


def newest(c: sa.Connection) -> int:
    """Return the number up to which all changes can be read now."""
    if c.dialect.name == "postgresql":
        return int(c.execute(SETTLED).scalar_one())
    return int(c.execute(NEWEST).scalar_one())


def changes_after(
    c: sa.Connection, after: int, *, user_id: UserId | None = None, limit: int = 500
) -> Changes:
    """Return the changes after number *after*, about *limit* at once: those with one number stay together.

    Args:
        user_id: only changes of this user's subjects.
    """
    until = newest(c)
    floor = c.execute(MISSING).scalar_one_or_none()
    given = {"after": after, "until": until, "user": user_id}
    rows = c.execute(SINCE, given | {"most": limit + 1}).all()
    has_more = len(rows) > limit
    if has_more:
        last = rows[-1].seq
        until = last - 1 if rows[0].seq < last else last
        rows = c.execute(SINCE, given | {"until": until, "most": 2**31 - 1}).all()
    # The last one of each; a table that an earlier release followed has no kind.
    found = {(_KINDS[row.source], row.subject): row.seq for row in rows if row.source in _KINDS}
    return Changes(
        changes=tuple(Change(kind, subject, seq) for (kind, subject), seq in found.items()),
        upto=max(after, until),
        is_gapless=after >= int(floor or 0),
        has_more=has_more,
    )


_newest_dropped = (
    sa.select(changes.c.seq)
    .order_by(changes.c.seq.desc())
    .offset(sa.bindparam("kept", type_=sa.Integer))
    .limit(1)
)
OLDEST = (
    sa.select(changes.c.source, changes.c.subject)
    .where(changes.c.seq <= _until)
    .order_by(changes.c.seq)
    .limit(PRUNED_AT_ONCE)
)
PRUNE = sa.delete(changes).where(sa.tuple_(changes.c.source, changes.c.subject).in_(OLDEST))


def prune(c: sa.Connection) -> int:
    """Delete the oldest changes beyond ``MAX_CHANGES``. Return their number; call it again until it is 0."""
    until = c.execute(_newest_dropped, {"kept": MAX_CHANGES}).scalar_one_or_none()
    if until is None:
        return 0
    if c.execute(MISSING).first() is None:
        c.execute(sa.insert(hub), {"key": FLOOR, "value": str(until)})
    else:
        c.execute(sa.update(hub).where(hub.c.key == FLOOR).values(value=str(until)))
    return c.execute(PRUNE, {"until": until}).rowcount
