"""Connectors of hub.toml as rows: whose they are, and whether their runs may start.

The file is the truth about them: one that it names is made, or comes back as the row that it was;
one that it names no more is archived, and what was granted to it stays until somebody removes it. Their
passwords are never here; what a sign-in granted is sealed (``storage.connectors.credentials``).

A connector is ``ok``, or its runs wait: for a person to sign in (``sign_in``), or to correct or allow
something (``blocked``). Each change of that is one compare-and-set on *version*, so that a refusal of what is
not in use any more changes nothing, and one of many who are refused at once tells people.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.audit import audit
from storage.devices import users
from storage.kernel.columns import Int
from storage.schema import connectors, credentials

ACTOR: Final = "hub.toml"
IDS_PER_CONNECTOR: Final = 2  # of the connector, of its user
NOT_YET: Final = "nobody has signed in yet"

State = Literal["ok", "sign_in", "blocked"]


class UnknownConnector(HubError):
    """There is no such connector."""

    code = ErrorCode.UNKNOWN_CONNECTOR

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no connector {name!r}")
        self.name = name


class DeclaredConnector(msgspec.Struct, frozen=True, kw_only=True):
    """What hub.toml says of a connector, as far as the rows know it.

    Attributes:
        origin: what its cursors and grants belong to: another account, or another server, is another origin.
        settings_digest: of all that is said; another one is another try for what is ``blocked``.
        needs_grant: somebody has to sign in before it works.
        problem: why it cannot be used at all; then nothing else is known of it.
    """

    name: str
    user_name: str
    provider: str
    origin: str = ""
    settings_digest: str = ""
    needs_grant: bool = False
    problem: str | None = None


class ConnectorRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connector.

    Attributes:
        account: who the provider says that it is.
        state, reason, detail: ``ok``; else an error's code, and a sentence that holds no secret.
        version: grows with each change of state.
        failures: passing errors in a row; its runs wait until *retry_at*.
        archived_at: it is no longer declared.
    """

    id: str
    user_id: UserId
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


class ReconciledConnectors(msgspec.Struct, frozen=True):
    """Names of the connectors that the file touched; *revived* ones were archived before."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    revived: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


_OWN = tuple(name for name in ConnectorRow.__struct_fields__ if name != "archived_at")
CONNECTORS = sa.select(*(connectors.c[name] for name in _OWN), connectors.c.deleted_at.label("archived_at"))
CONNECTOR = CONNECTORS.where(connectors.c.id == sa.bindparam("connector"))
CONNECTOR_NAMED = CONNECTORS.where(connectors.c.name == sa.bindparam("named"))
PRESENT_CONNECTORS = CONNECTORS.where(connectors.c.deleted_at.is_(None)).order_by(connectors.c.name)
_one = connectors.c.id == sa.bindparam("connector")
_as_seen = connectors.c.version == sa.bindparam("seen")
INSERT = sa.insert(connectors)
DECLARE = (
    sa.update(connectors)
    .where(_one)
    .values(
        provider=sa.bindparam("new_provider"),
        origin=sa.bindparam("new_origin"),
        settings_digest=sa.bindparam("digest"),
        deleted_at=None,
        updated_at=sa.bindparam("now"),
    )
)
ARCHIVE = (
    sa.update(connectors).where(_one).values(deleted_at=sa.bindparam("now"), updated_at=sa.bindparam("now"))
)
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
FAIL = (
    sa.update(connectors)
    .where(_one)
    .values(
        failures=connectors.c.failures + 1,
        retry_at=sa.bindparam("again", type_=Int),
        updated_at=sa.bindparam("now"),
    )
)
SUCCEED = (
    sa.update(connectors)
    .where(_one)
    .values(
        failures=0,
        retry_at=None,
        last_ok_at=sa.bindparam("now"),
        account=sa.func.coalesce(sa.bindparam("who", type_=sa.Text), connectors.c.account),
        updated_at=sa.bindparam("now"),
    )
)
HAS_GRANT = sa.select(credentials.c.connector_id).where(
    credentials.c.connector_id == sa.bindparam("connector")
)
DROP_GRANT = sa.delete(credentials).where(credentials.c.connector_id == sa.bindparam("connector"))


def list_connectors(c: sa.Connection, *, user_id: UserId | None = None) -> list[ConnectorRow]:
    """The connectors that are declared, or of those a user's; by name."""
    query = PRESENT_CONNECTORS
    if user_id is not None:
        query = query.where(connectors.c.user_id == user_id)
    return [_row(row) for row in c.execute(query)]


def find_connector(c: sa.Connection, id: str) -> ConnectorRow | None:
    """The connector of that id, archived or not."""
    row = c.execute(CONNECTOR, {"connector": id}).one_or_none()
    return None if row is None else _row(row)


def get_connector(c: sa.Connection, given: str, *, user_id: UserId | None = None) -> ConnectorRow:
    """The declared connector of that name or id.

    Args:
        user_id: whose it has to be; what is another's is not there.

    Raises:
        UnknownConnector: there is none.
    """
    row = c.execute(CONNECTOR_NAMED, {"named": given}).one_or_none()
    row = row or c.execute(CONNECTOR, {"connector": given}).one_or_none()
    if row is None or row.archived_at is not None or user_id not in (None, row.user_id):
        raise UnknownConnector(given)
    return _row(row)


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
    """Whether this call moved it to *state*: it stood as in *version*, and somewhere else.

    Many who are refused at once have all seen the same version: one of them moves it.
    """
    row = find_connector(c, id)
    if row is None or row.version != version or row.state == state:
        return False
    change = {"connector": id, "seen": version, "after": state, "why": reason, "told": detail, "now": at}
    return c.execute(MOVE, change).rowcount == 1


def allow_connector(c: sa.Connection, id: str, *, at: int) -> bool:
    """Its runs may start again: somebody signed in, or it was tried and works. False: they might already."""
    row = find_connector(c, id)
    return row is not None and move_connector(c, id, version=row.version, state="ok", at=at)


def note_failure(c: sa.Connection, id: str, *, retry_at: int, at: int) -> None:
    """A passing error ended a run of it: the next one waits until *retry_at*."""
    c.execute(FAIL, {"connector": id, "again": retry_at, "now": at})


def note_success(c: sa.Connection, id: str, *, at: int, account: str | None = None) -> None:
    """It worked, as *account* where the provider told."""
    c.execute(SUCCEED, {"connector": id, "now": at, "who": account})


def reconcile_connectors(
    c: sa.Connection,
    *,
    declared: Sequence[DeclaredConnector],
    at: int,
    fresh_ids: Sequence[str],
) -> ReconciledConnectors:
    """Make the connectors those that are declared, and no others.

    A user who is named for the first time is made. One that is declared for another user is another
    connector. What was granted at another origin is dropped. Every change has an entry in the audit log.

    Args:
        fresh_ids: ``IDS_PER_CONNECTOR`` for each that is declared; not all are used.
    """
    known = {row.name: _row(row) for row in c.execute(CONNECTORS)}
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, one in enumerate(declared):
        own_id, fresh_user = fresh_ids[position * IDS_PER_CONNECTOR :][:IDS_PER_CONNECTOR]
        whose = users.ensure_user(c, UserId(fresh_user), one.user_name, at)
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
    gone = [row for row in known.values() if row.archived_at is None]
    for row in gone:
        _archive(c, row, at)
    names = tuple(sorted(row.name for row in gone))
    return ReconciledConnectors(tuple(created), tuple(updated), tuple(revived), names)


def _make(c: sa.Connection, id: str, one: DeclaredConnector, user_id: UserId, at: int) -> None:
    row = {
        "id": id,
        "user_id": user_id,
        "name": one.name,
        "provider": one.provider,
        "origin": one.origin,
        "settings_digest": one.settings_digest,
        "created_at": at,
        "updated_at": at,
    }
    c.execute(INSERT, row | _beginning(one))
    _tell(c, id, one.name, "connector.created", at)


def _beginning(one: DeclaredConnector) -> dict[str, str | None]:
    if one.problem is not None:
        return {"state": "blocked", "reason": ErrorCode.BAD_CONNECTOR, "detail": one.problem}
    if one.needs_grant:
        return {"state": "sign_in", "reason": ErrorCode.SIGN_IN_NEEDED, "detail": NOT_YET}
    return {"state": "ok", "reason": None, "detail": None}


def _declare(c: sa.Connection, old: ConnectorRow, one: DeclaredConnector, at: int) -> bool:
    """Make the row say what is declared; whether anything of it was another."""
    if one.problem is not None:
        told = {"reason": ErrorCode.BAD_CONNECTOR, "detail": one.problem}
        return move_connector(c, old.id, version=old.version, state="blocked", at=at, **told)
    said = (one.provider, one.origin, one.settings_digest)
    is_same = said == (old.provider, old.origin, old.settings_digest)
    if is_same and old.archived_at is None:
        return False
    about = {"new_provider": one.provider, "new_origin": one.origin, "digest": one.settings_digest}
    c.execute(DECLARE, {"connector": old.id, "now": at} | about)
    if old.origin != one.origin:
        c.execute(DROP_GRANT, {"connector": old.id})
    is_granted = c.execute(HAS_GRANT, {"connector": old.id}).first() is not None
    if one.needs_grant and not is_granted:
        told = {"reason": ErrorCode.SIGN_IN_NEEDED, "detail": NOT_YET}
        move_connector(c, old.id, version=old.version, state="sign_in", at=at, **told)
    elif old.state == "blocked" or (old.state == "sign_in" and not one.needs_grant):
        move_connector(c, old.id, version=old.version, state="ok", at=at)
    _tell(c, old.id, one.name, "connector.changed" if old.archived_at is None else "connector.revived", at)
    return True


def _archive(c: sa.Connection, row: ConnectorRow, at: int) -> None:
    if row.archived_at is None:
        c.execute(ARCHIVE, {"connector": row.id, "now": at})
        _tell(c, row.id, row.name, "connector.archived", at)


def _tell(c: sa.Connection, id: str, name: str, event: str, at: int) -> None:
    audit.append(c, at=at, actor=ACTOR, event=event, subject=id, detail={"name": name})


def _row(row: Any) -> ConnectorRow:
    return ConnectorRow(**row._mapping)
