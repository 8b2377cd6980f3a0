"""Connectors of hub.toml as rows: their owner, and whether their runs may start.

The file decides: a connector that it names is created or revived as the same row. A connector that it no
longer names is archived, and its grant stays until a person removes it. Grants of a sign-in, and passwords
that a person typed, are sealed (``storage.connectors.credentials``).

A connector is ``ok``, or its runs wait: for a person to sign in (``sign_in``), or to correct or allow a
setting (``blocked``). Each change is a compare-and-set on *version*. So a refusal of an outdated grant
changes nothing, and of many simultaneous refusals one notifies people.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage import audit
from storage.devices import devices
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fill,
    fill_each,
    fill_page,
    filled,
    paged,
    sparing,
    values_of,
)
from storage.schema import connectors, credentials
from storage.schema import users as user_table

ACTOR: Final = "hub.toml"
IDS_PER_CONNECTOR: Final = 2  # fresh ids for the connector, its user
DETAIL_CHARS: Final = 500
NOT_YET: Final = "not signed in yet"

State = Literal["ok", "sign_in", "blocked"]


class UnknownConnector(HubError):
    """Error: no declared connector has that name or id."""

    code = ErrorCode.UNKNOWN_CONNECTOR

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no connector {name!r}")
        self.name = name


class DeclaredConnector(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a connector in hub.toml, without its secrets.

    Attributes:
        origin: account and server that its cursors and grants belong to.
        settings_digest: digest of all settings; a change lets a ``blocked`` connector try again.
        needs_grant: a person has to sign in before it works.
        problem: why it cannot be used at all; then the other values are unset.
    """

    name: str
    user_name: str
    provider: str
    origin: str = ""
    settings_digest: str = ""
    needs_grant: bool = False
    problem: str | None = None


class ConnectorRow(msgspec.Struct, frozen=True, kw_only=True):
    """Connector.

    Attributes:
        account: account name reported by the provider.
        state, reason, detail: ``ok``; otherwise an error code, and a sentence without secrets.
        version: grows with each change of state.
        failures: number of consecutive temporary errors, with *reason* and *detail* of the last one; its
            runs wait until *retry_at*.
        last_ok_at: time of the last success with the present settings and sign-in.
        archived_at: time at which it was no longer declared.
    """

    id: str
    user_id: UserId
    user_name: str
    name: str
    provider: str
    origin: str
    settings_digest: str
    account: str | None
    state: State
    reason: str | None
    detail: str | None
    version: int
    failures: int
    retry_at: int | None
    last_ok_at: int | None
    created_at: int
    updated_at: int
    archived_at: int | None = None


class Reconciled(msgspec.Struct, frozen=True):
    """Names of agents, gateways or connectors that the file changed; *revived* ones were archived before."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    revived: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


CONNECTORS = sa.select(
    *columns_of(
        ConnectorRow,
        connectors,
        user_name=user_table.c.name,
        archived_at=connectors.c.deleted_at,
    )
).join_from(connectors, user_table)
CONNECTOR = CONNECTORS.where(connectors.c.id == sa.bindparam("connector"))
PRESENT_CONNECTORS = CONNECTORS.where(connectors.c.deleted_at.is_(None))
_one = connectors.c.id == sa.bindparam("connector")
_as_seen = connectors.c.version == sa.bindparam("seen")
INSERT = sa.insert(connectors)
DECLARE = (
    sa.update(connectors)
    .where(connectors.c.id == sa.bindparam("connector"))
    .values(
        provider=sa.bindparam("new_provider"),
        origin=sa.bindparam("new_origin"),
        settings_digest=sa.bindparam("digest"),
        deleted_at=None,
        updated_at=sa.bindparam("now"),
    )
)
_unless_refused = connectors.c.state == "ok"  # else a person reads reason and detail of the refusal
_NO_PROBLEM: Final = {
    column.name: sa.case((_unless_refused, None), else_=column)
    for column in (connectors.c.reason, connectors.c.detail)
}
BEGIN_ANEW = (
    sa.update(connectors)
    .where(_one)
    .values(_NO_PROBLEM | {"failures": 0, "retry_at": None, "last_ok_at": None})
)
FORGET_DIGEST = sa.update(connectors).where(_one).values(settings_digest="")
SET_ASIDE = (
    sa.update(connectors).where(_one).values(name=sa.bindparam("called"), updated_at=sa.bindparam("now"))
)
MOVE = (
    sa.update(connectors)
    .where(_one, _as_seen)
    .values(
        state=sa.bindparam("after"),
        reason=sa.bindparam("why"),
        detail=sa.bindparam("told"),
        version=connectors.c.version + 1,
        failures=0,
        retry_at=None,
        updated_at=sa.bindparam("now"),
    )
)
EXPLAIN = (
    sa.update(connectors)
    .where(_one, _as_seen)
    .values(reason=sa.bindparam("why"), detail=sa.bindparam("told"))
)
FAIL = (
    sa.update(connectors)
    .where(_one)
    .values(
        failures=connectors.c.failures + 1,
        retry_at=sa.func.coalesce(sa.bindparam("again", type_=Int), connectors.c.retry_at),
        reason=sa.case((_unless_refused, sa.bindparam("why", type_=sa.Text)), else_=connectors.c.reason),
        detail=sa.case((_unless_refused, sa.bindparam("told", type_=sa.Text)), else_=connectors.c.detail),
        updated_at=sa.bindparam("now"),
    )
)


def list_connectors(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[ConnectorRow]:
    """Return the declared connectors, or those of a user, by name."""
    query = paged(PRESENT_CONNECTORS, connectors.c.name, limit=limit, after=after)
    if user_id is not None:
        query = query.where(connectors.c.user_id == user_id)
    return fill_page(c, ConnectorRow, query, limit)


def find_connector(c: sa.Connection, id: str) -> ConnectorRow | None:
    """Return the connector with that id, archived or not."""
    return filled(ConnectorRow, c.execute(CONNECTOR, {"connector": id}).one_or_none())


def get_connector(c: sa.Connection, given: str, *, user_id: UserId | None = None) -> ConnectorRow:
    """Return the declared connector with that name or id.

    Args:
        user_id: its required owner; connectors of other users do not match.

    Raises:
        UnknownConnector: no connector matches.
    """
    row = c.execute(CONNECTORS.where(connectors.c.name == given)).one_or_none()
    row = row or c.execute(CONNECTOR, {"connector": given}).one_or_none()
    if row is None or row.archived_at is not None or user_id not in (None, row.user_id):
        raise UnknownConnector(given)
    return fill(ConnectorRow, row)


def move_connector(
    c: sa.Connection,
    id: str,
    *,
    version: int,
    state: State,
    reason: str | None = None,
    detail: str | None = None,
    at: int,
) -> bool:
    """Move the connector to *state*. Return False if its version changed, or it has that state.

    Of many simultaneous refusals with the same version, one moves it; a later one replaces its reason.
    """
    row = find_connector(c, id)
    if row is None or row.version != version:
        return False
    change = {"connector": id, "seen": version, "why": reason, "told": detail}
    if row.state == state:
        if state != "ok":
            c.execute(EXPLAIN, change)
        return False
    return c.execute(MOVE, change | {"after": state, "now": at}).rowcount == 1


def allow_connector(c: sa.Connection, id: str, *, at: int) -> bool:
    """Allow its runs to start, after a sign-in or a successful try. Return False if they already may."""
    row = find_connector(c, id)
    return row is not None and move_connector(c, id, version=row.version, state="ok", at=at)


def begin_anew(c: sa.Connection, id: str) -> None:
    """Forget how its uses ended, since its settings or its sign-in are new."""
    c.execute(BEGIN_ANEW, {"connector": id})


def note_failure(
    c: sa.Connection, id: str, *, reason: str, detail: str, at: int, retry_at: int | None = None
) -> None:
    """Record a temporary error of its use: the next run waits until *retry_at*, if that is given."""
    problem = {"why": reason, "told": detail[:DETAIL_CHARS]}
    c.execute(FAIL, problem | {"connector": id, "again": retry_at, "now": at})


def retry_now(c: sa.Connection, id: str, *, at: int) -> None:
    """Remove the wait before the next run; waits after further failures begin with the shortest."""
    few = sa.case((connectors.c.failures > 1, 1), else_=connectors.c.failures)
    c.execute(
        sa.update(connectors).where(connectors.c.id == id).values(failures=few, retry_at=None, updated_at=at)
    )


def note_success(c: sa.Connection, id: str, *, at: int, account: str | None = None) -> None:
    """Record a successful use, with the *account* if the provider reported it."""
    c.execute(
        sa.update(connectors)
        .where(connectors.c.id == id)
        .values(
            _NO_PROBLEM
            | {
                "failures": 0,
                "retry_at": None,
                "last_ok_at": at,
                "account": sa.func.coalesce(sa.literal(account, sa.Text), connectors.c.account),
                "updated_at": at,
            }
        )
    )


def reconcile_connectors(
    c: sa.Connection,
    *,
    declared: Sequence[DeclaredConnector],
    at: int,
    fresh_ids: Sequence[str],
    is_elsewhere: Callable[[str], bool] = lambda name: False,
) -> Reconciled:
    """Make the connectors match the declarations.

    Users named for the first time are created. A connector declared for another user is another connector. A
    grant of another origin is deleted. Every change has an entry in the audit log.

    Args:
        fresh_ids: ``IDS_PER_CONNECTOR`` for each declared connector; not all are used.
        is_elsewhere: returns True for a connector that stays although it is not declared.
    """
    rows = c.execute(CONNECTORS).all()
    known = {row.name: row for row in fill_each(ConnectorRow, rows)}
    broken = {row.name for row in rows} - known.keys()  # stay as they are until they are corrected
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, one in enumerate(declared):
        own_id, fresh_user = fresh_ids[position * IDS_PER_CONNECTOR :][:IDS_PER_CONNECTOR]
        whose = devices.ensure_user(c, UserId(fresh_user), one.user_name, at)
        if one.name in broken:
            continue
        old = known.pop(one.name, None)
        if old is not None and old.user_id != whose:
            _archive(c, old, at)
            c.execute(SET_ASIDE, {"connector": old.id, "called": f"{old.name}~{old.id}", "now": at})
            old = None
        if old is None:
            _make(c, own_id, one, whose, at)
            created.append(one.name)
        elif _declare(c, old, one, at):
            (updated if old.archived_at is None else revived).append(one.name)
    undeclared = [row for row in known.values() if row.archived_at is None and not is_elsewhere(row.name)]
    for row in undeclared:
        with sparing(c):
            _archive(c, row, at)
    names = tuple(sorted(row.name for row in undeclared))
    return Reconciled(tuple(created), tuple(updated), tuple(revived), names)


def _make(c: sa.Connection, id: str, one: DeclaredConnector, user_id: UserId, at: int) -> None:
    own = {"id": id, "user_id": user_id, "created_at": at, "updated_at": at}
    c.execute(INSERT, values_of(one, connectors, **own) | _beginning(one))
    _record(c, id, one.name, "connector.created", at)


def _beginning(one: DeclaredConnector) -> dict[str, str | None]:
    if one.problem is not None:
        return {"state": "blocked", "reason": ErrorCode.BAD_CONNECTOR, "detail": one.problem}
    if one.needs_grant:
        return {"state": "sign_in", "reason": ErrorCode.SIGN_IN_NEEDED, "detail": NOT_YET}
    return {"state": "ok", "reason": None, "detail": None}


def _declare(c: sa.Connection, old: ConnectorRow, one: DeclaredConnector, at: int) -> bool:
    """Update the row to the declaration. Return True if it changed."""
    if one.problem is not None:
        # Without its digest, the first declaration that has no problem is a change, and lifts the block.
        c.execute(FORGET_DIGEST, {"connector": old.id})
        problem = {"reason": ErrorCode.BAD_CONNECTOR, "detail": one.problem}
        return move_connector(c, old.id, version=old.version, state="blocked", at=at, **problem)
    declaration = (one.provider, one.origin, one.settings_digest)
    is_same = declaration == (old.provider, old.origin, old.settings_digest)
    if is_same and old.archived_at is None:
        return False
    about = {"new_provider": one.provider, "new_origin": one.origin, "digest": one.settings_digest}
    c.execute(DECLARE, {"connector": old.id, "now": at} | about)
    begin_anew(c, old.id)
    if old.origin != one.origin:
        c.execute(sa.delete(credentials).where(credentials.c.connector_id == old.id))
    query = sa.select(credentials.c.connector_id).where(credentials.c.connector_id == old.id)
    is_granted = c.execute(query).first() is not None
    if one.needs_grant and not is_granted:
        problem = {"reason": ErrorCode.SIGN_IN_NEEDED, "detail": NOT_YET}
        move_connector(c, old.id, version=old.version, state="sign_in", at=at, **problem)
    elif old.state == "blocked" or (old.state == "sign_in" and not one.needs_grant):
        move_connector(c, old.id, version=old.version, state="ok", at=at)
    _record(c, old.id, one.name, "connector.changed" if old.archived_at is None else "connector.revived", at)
    return True


def _archive(c: sa.Connection, row: ConnectorRow, at: int) -> None:
    if row.archived_at is None:
        c.execute(sa.update(connectors).where(connectors.c.id == row.id).values(deleted_at=at, updated_at=at))
        _record(c, row.id, row.name, "connector.archived", at)


def _record(c: sa.Connection, id: str, name: str, event: str, at: int) -> None:
    audit.append(c, at=at, actor=ACTOR, event=event, subject=id, detail={"name": name})
