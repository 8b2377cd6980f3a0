"""Change stream: number of the newest change of each agent, run, item and device.

Triggers write them, in the transaction of the change, whichever statement makes it; so a reader who has all
changes up to a number has missed none. There is one row for each row that is followed, with the
number of its newest change: what changes a thousand times is read once, and two transactions wait for each
other only where they change the same row.

Numbers grow with the order of the commits. A file has one writer, which counts. On a server the number is
that of the transaction, and only changes before the oldest unfinished transaction are read: a later one
cannot get a lower number any more.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import UserId
from storage.change_triggers import FOLLOWED
from storage.kernel.columns import Int
from storage.schema import changes, hub

MAX_CHANGES: Final = (
    100_000  # subjects; a reader that has not read for so many changes reads everything again
)
PRUNED_AT_ONCE: Final = 5_000
FLOOR: Final = "changes.floor"  # key in the table hub: changes up to this number may be missing
ISSUES: Final = "issues"  # source of issues, which have no table: ``note``
_KINDS: Final = {each.table: each.kind for each in FOLLOWED} | {ISSUES: "issue"}
_NOTED = """
INSERT INTO changes (source, subject, seq, user_id) VALUES (:source, :subject, {number}, :user)
ON CONFLICT (source, subject) DO UPDATE SET seq = excluded.seq, user_id = excluded.user_id"""
_NOTES: Final = {
    "postgresql": sa.text(_NOTED.format(number="pg_current_xact_id()::text::bigint")),
    "sqlite": sa.text(_NOTED.format(number="(SELECT coalesce(max(seq), 0) + 1 FROM changes)")),
}


def note(c: sa.Connection, source: str, subjects: Iterable[tuple[str, UserId | None]]) -> None:
    """Write changes of subjects without a table, each with the user whose it is."""
    for subject, user in sorted(subjects, key=lambda subject: subject[0]):
        c.execute(_NOTES[c.dialect.name], {"source": source, "subject": subject, "user": user})


class SubjectChange(msgspec.Struct, frozen=True):
    """Newest change of a subject. *version*: its number."""

    kind: str
    subject: str
    version: int


class ChangeBatch(msgspec.Struct, frozen=True):
    """Changes in order, up to and including number *upto*.

    *is_gapless*: False if earlier ones are missing, so that everything is to be read again.
    """

    changes: tuple[SubjectChange, ...]
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
) -> ChangeBatch:
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
    return ChangeBatch(
        changes=tuple(SubjectChange(kind, subject, seq) for (kind, subject), seq in found.items()),
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
