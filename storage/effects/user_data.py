"""All rows of a user: export, erasure, and mentions of the user in the audit log.

A table's rows belong to a user by a column ``user_id``, or by the row that they are deleted with. A table
that has neither is named here, or importing this module fails: so a new table cannot be forgotten.

Some tables have rows of all users. Entries of the audit log about a user lose their content. Stored
responses and old settings that name a thing of the user are deleted. In other entries of the audit log, and
of the activity log, a name of the user is replaced by MASK.

Nothing else of other users is touched. A name that other users have as well is no sign of this one. Erasure
is refused while others use things of the user, or hub.toml declares some, and for the hub's own user.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import RunId, UserId
from storage import audit
from storage.agents.agents import get_agent
from storage.agents.declared_agents import archive_agent
from storage.devices.users import OWNER, UserRow, find_user_by_name
from storage.kernel.columns import Key, in_parts, paged
from storage.schema import (
    LIVE,
    activity_log,
    agent_templates,
    agents,
    audit_log,
    board_members,
    boards,
    budget_holds,
    changes,
    connectors,
    devices,
    failed_attempts,
    gateway_agents,
    gateways,
    hub,
    idempotency_keys,
    leases,
    metadata,
    nodes,
    pairings,
    run_calls,
    runs,
    settings_revisions,
    users,
)

ROWS: Final = 500  # deleted or examined in one transaction
EXAMINED: Final = 5_000  # keys in one read
FEW: Final = 1  # rows of a table that others refer to: for each of them, all rows of those may be searched
NOT_OWNED: Final = frozenset(
    {hub, nodes, settings_revisions, leases, agent_templates, failed_attempts, audit_log, idempotency_keys}
)
SECRET: Final = frozenset({"token_hash", "code_hash", "state_hash", "sealed"})  # columns of no export
_EMPTIED: Final = frozenset({audit.USER_ERASED, audit.ERASED})  # events of entries without content
_NO_NAMES: Final = frozenset({"actor", "scope", "event", "outcome"})  # columns with words of the hub, and ids
_ESCAPED: Final = re.compile(r"\\+[nrtbf\"]")  # in JSON, or in JSON in JSON
_SETTINGS: Final = "settings."  # begins the events of entries about hub.toml
_WORD: Final = re.compile(r"[\w.@-]+")
MASK: Final = "[erased]"  # in place of a name
_MIN_ID: Final = 16  # characters
_user: sa.BindParameter[str] = sa.bindparam("user", type_=sa.Text)
_VIA: Final[Mapping[sa.Table, tuple[str, sa.Column[Any]]]] = {
    run_calls: ("run_id", runs.c.id),
    pairings: ("device_id", devices.c.id),
    budget_holds: ("account", agents.c.id),
}


def _owner(table: sa.Table) -> sa.ColumnElement[Any]:
    """Return the expression of the owner's id of a row; NULL for a row without an owner."""
    if table is users:
        return users.c.id
    if "user_id" in table.c:
        return table.c.user_id
    keys = (key for column in table.c for key in column.foreign_keys)
    deleted_with = ((key.parent.name, key.column) for key in keys if key.ondelete == "CASCADE")
    via = _VIA.get(table) or next(deleted_with, None)
    if via is None:
        raise TypeError(f"whose are the rows of {table.name}? name the table in storage.effects.user_data")
    name, target = via
    return sa.select(_owner(target.table)).where(target == table.c[name]).correlate(table).scalar_subquery()


OWNED: Final = {table: _owner(table) == _user for table in metadata.sorted_tables if table not in NOT_OWNED}
# Rows that refer to others first, the user last.
ORDER: Final = sorted(
    [table for table in reversed(metadata.sorted_tables) if table in OWNED],
    key=lambda table: (table is users, bool(table.foreign_keys)),
)
_REFERRED: Final = frozenset(
    key.column.table for table in OWNED for key in table.foreign_keys if key.ondelete == "SET NULL"
)
_NAMED: Final = (users, devices, agents, boards, connectors, gateways)
_WITH_ID: Final = tuple(table for table in OWNED if [*table.primary_key.columns.keys()] == ["id"])


def _own_ids(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table.c.id).where(OWNED[table])


# Agents and boards of other users that use a thing of the user; what hub.toml declares for the user.
_USING: Final = (
    sa.select(sa.literal("agent"), agents.c.name, users.c.name)
    .join_from(agents, users)
    .where(
        agents.c.user_id != _user,
        agents.c.deleted_at.is_(None),
        sa.or_(
            agents.c.device_id.in_(_own_ids(devices)),
            agents.c.connector_id.in_(_own_ids(connectors)),
            agents.c.id.in_(
                sa.select(board_members.c.agent_id).where(board_members.c.board_id.in_(_own_ids(boards)))
            ),
            agents.c.id.in_(
                sa.select(gateway_agents.c.agent_id).where(
                    gateway_agents.c.gateway_id.in_(_own_ids(gateways))
                )
            ),
        ),
    ),
    sa.select(sa.literal("board"), boards.c.name, users.c.name)
    .join_from(boards, users)
    .where(boards.c.user_id != _user, boards.c.gateway_id.in_(_own_ids(gateways))),
)
_DECLARED: Final = (
    sa.select(sa.literal("agent"), agents.c.name).where(
        OWNED[agents], agents.c.source == "file", agents.c.deleted_at.is_(None)
    ),
    *(
        sa.select(sa.literal(table.name.removesuffix("s")), table.c.name).where(
            OWNED[table], table.c.deleted_at.is_(None)
        )
        for table in (connectors, gateways)
    ),
)
_MAX_NAMED: Final = 10


def get_user(c: sa.Connection, name: str) -> UserRow:
    """Return the user of that name. Raises CodedError (UNKNOWN_USER)."""
    user = find_user_by_name(c, name)
    if user is None:
        raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {name!r}")
    return user


def begin_erasing(c: sa.Connection, name: str, *, at: int, actor: str) -> UserRow:
    """Decide that a user is erased, revoke all credentials, and end the connections.

    Raises:
        CodedError (UNKNOWN_USER): no user has the name.
        CodedError (ILLEGAL_TRANSITION): others use what the user owns, hub.toml declares things of the user,
            or it is the hub's own user; nothing was written.
    """
    user = get_user(c, name)
    if name == OWNER:
        raise CodedError(
            ErrorCode.ILLEGAL_TRANSITION,
            f"user {name!r} is made at each start, and owns what names no other user",
            hint="to leave nothing of it, stop the hub and delete its state folder",
        )
    asked = {"user": user.id}
    using = [f"{kind} {thing!r} of {of!r}" for q in _USING for kind, thing, of in c.execute(q, asked)]
    if using:
        others = ", ".join(using[:_MAX_NAMED])
        hint = "give each of them another device, connector, board or gateway first"
        raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"others use things of {name!r}: {others}", hint=hint)
    declared = [f"{kind} {thing!r}" for q in _DECLARED for kind, thing in c.execute(q, asked)]
    if declared:
        listed = ", ".join(declared[:_MAX_NAMED])
        hint = "take them out of hub.toml, and run: hub reload"
        raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"hub.toml declares for {name!r}: {listed}", hint=hint)
    shut_out(c, user.id, at=at, actor=actor)
    return user


def shut_out(c: sa.Connection, user_id: UserId, *, at: int, actor: str) -> None:
    """Record that a user is erased, and revoke all credentials of the user; no row is deleted yet."""
    audit.append(c, at=at, actor=actor, event=audit.USER_ERASED, subject=user_id)
    for table in (owned for owned in OWNED if "revoked_at" in owned.c):
        revoke = sa.update(table).where(OWNED[table], table.c.revoked_at.is_(None))
        c.execute(revoke.values(revoked_at=at), {"user": user_id})


def recorded_erasures(c: sa.Connection) -> set[UserId]:
    """Return the ids of all users whose erasure the audit log records."""
    query = sa.select(audit_log.c.subject).where(audit_log.c.event == audit.USER_ERASED)
    return {UserId(id) for id in c.execute(query).scalars() if id}


def present_users(c: sa.Connection, ids: Iterable[UserId]) -> list[UserId]:
    """Return those of *ids* that users have."""
    query = sa.select(users.c.id)
    found = (c.execute(query.where(users.c.id.in_(part))).scalars() for part in in_parts(sorted(ids)))
    return [UserId(id) for part in found for id in part]


def stop_work(c: sa.Connection, user_id: UserId, *, at: int) -> tuple[bool, list[RunId]]:
    """Archive one agent of an erased user.

    Returns:
        whether there was one, so that others may follow, and live runs of the user, to be cancelled.
    """
    asked = {"user": user_id}
    active = sa.select(agents.c.id).where(OWNED[agents], agents.c.deleted_at.is_(None)).limit(1)
    if (agent_id := c.execute(active, asked).scalar_one_or_none()) is not None:
        archive_agent(c, get_agent(c, agent_id), at=at, actor="hub", reason="its user is erased")
    live = sa.select(runs.c.id).where(OWNED[runs], sa.text(f"runs.{LIVE}")).limit(ROWS)
    return agent_id is not None, [RunId(id) for id in c.execute(live, asked).scalars()]


class Batch(NamedTuple):
    """Keys of rows of a table that are a user's."""

    table: sa.Table
    keys: list[dict[str, Any]]

    @property
    def parts(self) -> Iterator["Batch"]:
        """Parts that one transaction may delete."""
        size = FEW if self.table in _REFERRED else ROWS
        for start in range(0, len(self.keys), size):
            yield Batch(self.table, self.keys[start : start + size])


def find_rows(
    c: sa.Connection, table: sa.Table, user_id: UserId, after: Key | None = None
) -> tuple[Batch, Key | None]:
    """Return those of the next rows of a table that are the user's, and the key to go on; None at the end."""
    key = [*table.primary_key.columns]
    is_owned = sa.func.coalesce(OWNED[table], sa.false()).label("is_owned")
    query = paged(sa.select(*key, is_owned), *key, limit=EXAMINED, after=after)
    found = c.execute(query, {"user": user_id}).all()
    owned = [{f"key_{one.name}": row[n] for n, one in enumerate(key)} for row in found if row.is_owned]
    return Batch(table, owned), tuple(found[-1][:-1]) if len(found) == EXAMINED else None


def _is_row(table: sa.Table) -> sa.ColumnElement[bool]:
    key = table.primary_key.columns
    return sa.and_(*(column == sa.bindparam(f"key_{column.name}", type_=column.type) for column in key))


def delete_rows(c: sa.Connection, batch: Batch) -> int:
    """Delete rows, and return their number."""
    if batch.keys:
        c.execute(sa.delete(batch.table).where(_is_row(batch.table)), batch.keys)
    return len(batch.keys)


class Signs(NamedTuple):
    """Pattern of the names by which entries tell of a user, and of no other one."""

    user_id: UserId
    names: re.Pattern[str]


def signs_of(c: sa.Connection, user_id: UserId) -> Signs:
    """Return the names of the user and of the user's things that no other user has."""
    asked, names, others = {"user": user_id}, set[str](), set[str]()
    for table in _NAMED:
        names |= {*c.execute(sa.select(table.c.name).where(OWNED[table]), asked).scalars()}
        elsewhere = sa.select(table.c.name).where(sa.func.coalesce(sa.not_(OWNED[table]), sa.true()))
        others |= {*c.execute(elsewhere, asked).scalars()}
    return Signs(user_id, pattern_of_names(names - others))


def pattern_of_names(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of *names* as wholes: also in a key of the settings, and at the end of a sentence."""
    spelled = sorted((re.escape(name) for name in names if name), key=len, reverse=True)
    # Without any name, nothing is found.
    return re.compile(rf"(?<![\w@-])(?:{'|'.join(spelled)})(?![\w@-])" if spelled else "(?!)")


class Mentions(NamedTuple):
    """Rows that tell of a user.

    Attributes:
        about: rows about the user, or with names of the user and of no other one.
        naming: rows with a name of the user, which are about others, too, or about the settings of the hub.
    """

    about: list[dict[str, Any]]
    naming: list[dict[str, Any]]


def find_mentions(
    c: sa.Connection, table: sa.Table, signs: Signs, after: Key | None, *, rows: int = ROWS
) -> tuple[Mentions, Key | None]:
    """Return those of the next *rows* rows that tell of a user, and the key to go on; None at the end."""
    key = [*table.primary_key.columns]
    query = paged(sa.select(table), *key, limit=rows, after=after)
    found = [dict(row) for row in c.execute(query).mappings()]
    texts = [_text_of(row) for row in found]
    tokens = [
        {*_WORD.findall(f"{text} {row.get('actor') or row.get('scope', '')}")}
        for row, text in zip(found, texts, strict=True)
    ]
    ids = {token for each in tokens for token in each if len(token) >= _MIN_ID}
    owned, others = _owners(c, signs.user_id, ids)
    mentions = Mentions([], [])
    for row, text, words in zip(found, texts, tokens, strict=True):
        is_named, event = signs.names.search(text) is not None, row.get("event", "")
        is_shared = bool(words & others) or event.startswith(_SETTINGS)
        if event not in _EMPTIED and (words & owned or is_named):
            (mentions.about if words & owned or not is_shared else mentions.naming).append(row)
    place = tuple(found[-1][column.name] for column in key) if len(found) == rows else None
    return mentions, place


def _text_of(row: Mapping[str, Any]) -> str:
    values = [
        value
        for name, value in row.items()
        if name not in _NO_NAMES and not isinstance(value, bytes | memoryview)
    ]
    return _ESCAPED.sub(" ", msgspec.json.encode(values).decode())


def _owners(c: sa.Connection, user_id: UserId, tokens: set[str]) -> tuple[set[str], set[str]]:
    """Return those of *tokens* that are ids of the user's rows, and those that are ids of others'."""
    owned, others = set[str](), set[str]()
    for part in in_parts(sorted(tokens)):
        for table in _WITH_ID:
            is_owned = sa.func.coalesce(OWNED[table], sa.false())
            query = sa.select(table.c.id, is_owned.label("is_owned")).where(table.c.id.in_(part))
            for row in c.execute(query, {"user": user_id}):
                (owned if row.is_owned else others).add(row.id)
    return owned, others


def erase_mentions(c: sa.Connection, table: sa.Table, mentions: Mentions, signs: Signs, *, at: int) -> int:
    """Take the user out of rows; delete those of tables that are no log. Return the number of rows."""
    about, naming = mentions
    if table is audit_log:
        for row in naming:
            detail = audit.read_detail(row["detail"])
            if (subject := _masked(row["subject"], signs)) != row["subject"]:  # what it was, and is, goes
                detail |= {name: None for name in ("old", "new") if name in detail}
            row |= {"subject": subject, "detail": _masked(detail, signs)}
        return audit.erase_entries(c, [row["seq"] for row in about], naming, at=at)
    if table is activity_log:
        others = [row for row in (*about, *naming) if row["user_id"] != signs.user_id]
        for row in others:
            changed = {name: _masked(row[name], signs) for name in ("message", "data")}
            c.execute(sa.update(table).where(table.c.id == row["id"]).values(changed))
        return len(others)
    if table is settings_revisions:  # the newest one counts, and declares nothing of the user
        newest = c.execute(sa.select(sa.func.max(settings_revisions.c.number))).scalar_one()
        about = [row for row in about if row["number"] != newest]
    key = [column.name for column in table.primary_key.columns]
    return delete_rows(c, Batch(table, [{f"key_{name}": row[name] for name in key} for row in about]))


def _masked(value: Any, signs: Signs) -> Any:
    """Return a value without the names of a user; the keys of an object stay."""
    if isinstance(value, dict):
        return {key: _masked(one, signs) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(part, signs) for part in value]
    return signs.names.sub(MASK, value) if isinstance(value, str) else value


MENTIONING: Final = (audit_log, activity_log, idempotency_keys, settings_revisions)
_EXPORTED: Final = {str(table.name): table for table in (*OWNED, audit_log) if table is not changes}
LEFT_OUT: Final = tuple(
    sorted(f"{table.name}.{column.name}" for table in OWNED for column in table.c if column.name in SECRET)
)


class UserPage(NamedTuple):
    """Rows of a user in one table; *rest*: table and key after which others may follow."""

    rows: list[tuple[str, dict[str, Any]]]
    rest: Key | None


def read_rows(c: sa.Connection, name: str, *, limit: int, after: Key | None = None) -> UserPage:
    """Return rows of a user without secrets, table by table, with the audit entries that tell of the user.

    Args:
        after: the ``rest`` of the page before.

    Raises:
        CodedError (UNKNOWN_USER, BAD_PARAMS): no user has the name; *after* is of another list.
    """
    user, names = get_user(c, name), [*_EXPORTED]
    called, *place = (names[0],) if after is None else after
    if called not in names:
        raise CodedError(ErrorCode.BAD_PARAMS, "cursor: take it from next_cursor of the page before")
    called = str(called)
    table, behind = _EXPORTED[called], tuple(place) or None
    following = [(name,) for name in names[names.index(called) + 1 :]]
    if table is audit_log:
        mentions, rest = find_mentions(c, table, signs_of(c, user.id), behind, rows=limit)
        found = mentions.about
    else:
        batch, rest = find_rows(c, table, user.id, behind)
        if len(batch.keys) > limit:
            rest = tuple(batch.keys[limit - 1].values())
        query = sa.select(table).where(_is_row(table))
        found = [dict(row) for key in batch.keys[:limit] for row in c.execute(query, key).mappings()]
    rows = [(called, {k: v for k, v in row.items() if k not in SECRET}) for row in found]
    return UserPage(rows, (called, *rest) if rest else following[0] if following else None)
