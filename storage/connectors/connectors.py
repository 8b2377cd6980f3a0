"""Connectors in the database: state, whether runs may start, waits after failures, credentials.

The file decides: a connector that it names is created or revived as the same row. A connector that it no
longer names is archived, and its grant stays until a person removes it. Grants of a sign-in, and passwords
that a person typed, are sealed; only ``hub.accounts`` knows the contents.

A connector is ``ok``, or its runs wait: for a person to sign in (``sign_in``), or to correct or allow a
setting (``blocked``). Each change is a compare-and-set on *version*. So a refusal of an outdated grant
changes nothing, and of many simultaneous refusals one notifies people. A temporary failure after a refusal
leaves the reason of the refusal for people to read.

A process that refreshes a credential holds the lease of its row, timed by the database's own clock, and
writes by compare-and-set on *version*. So only one process refreshes, and a new sign-in meanwhile wins.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage import audit
from storage.devices import users as stored_users
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    isolating_broken_row,
    now_ms,
    paged,
    struct_from,
    struct_or_none,
    structs_from,
    values_of,
)
from storage.schema import connectors, credentials, sign_ins, users
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


# In an origin, before a digest of what else decides where and how a secret is sent.
BOUND: Final = "\x1f"


def stream_of(origin: str) -> str:
    """Return the part of an origin that cursors belong to: the account and its server."""
    return origin.partition(BOUND)[0]


def grant_covers(held: str, origin: str) -> bool:
    """Return True if a sign-in for the origin *held* is for *origin*, too. Older releases bound no digest."""
    return held in (origin, stream_of(origin))


class DeclaredConnector(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a connector in hub.toml, without its secrets.

    Attributes:
        origin: account and server of its cursors; with what follows BOUND, of its grants.
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
    return fetch_page(c, ConnectorRow, query, limit)


def find_connector(c: sa.Connection, id: str) -> ConnectorRow | None:
    """Return the connector with that id, archived or not."""
    return struct_or_none(ConnectorRow, c.execute(CONNECTOR, {"connector": id}).one_or_none())


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
    return struct_from(ConnectorRow, row)


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
    known = {row.name: row for row in structs_from(ConnectorRow, rows)}
    broken = {row.name for row in rows} - known.keys()  # stay as they are until they are corrected
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, one in enumerate(declared):
        own_id, fresh_user = fresh_ids[position * IDS_PER_CONNECTOR :][:IDS_PER_CONNECTOR]
        whose = stored_users.ensure_user(c, UserId(fresh_user), one.user_name, at)
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
        with isolating_broken_row(c):
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
        c.execute(sa.update(connectors).where(connectors.c.id == old.id).values(settings_digest=""))
        problem = {"reason": ErrorCode.BAD_CONNECTOR, "detail": one.problem}
        return move_connector(c, old.id, version=old.version, state="blocked", at=at, **problem)
    declaration = (one.provider, one.origin, one.settings_digest)
    is_same = declaration == (old.provider, old.origin, old.settings_digest)
    if is_same and old.archived_at is None:
        return False
    about = {"new_provider": one.provider, "new_origin": one.origin, "digest": one.settings_digest}
    c.execute(DECLARE, {"connector": old.id, "now": at} | about)
    begin_anew(c, old.id)
    if not grant_covers(old.origin, one.origin):
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


Reseal = Callable[[str, str, str, bytes], "tuple[str, bytes]"]


class CredentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """Credential of a connector.

    Attributes:
        version: grows with each refresh and each sign-in.
        sealed: contents, encrypted by the key *key_id*.
        expires_at: expiry of the access token; ``None``: not reported by the provider.
        granted_at: time of the sign-in.
        lease_owner, lease_until: process that refreshes it, and the end of its lease.
    """

    connector_id: str
    version: int
    sealed: bytes
    key_id: str
    scopes: tuple[str, ...]
    expires_at: int | None
    granted_at: int
    refreshed_at: int
    lease_owner: str | None
    lease_until: int | None

    def __repr__(self) -> str:
        return f"CredentialRow(connector_id={self.connector_id!r}, version={self.version})"


class GrantAge(msgspec.Struct, frozen=True):
    """Time of a sign-in, and duration of the previous one until the provider ended it; ``None``: unknown."""

    connector_id: str
    granted_at: int
    ended_after: int | None


class GrantSight(msgspec.Struct, frozen=True, kw_only=True):
    """Credential with its connector's state. *row*: ``None``: no person has signed in."""

    state: str
    detail: str | None
    row: CredentialRow | None
    is_leased: bool = False  # by the database's clock


_of_connector = credentials.c.connector_id == sa.bindparam("connector")
_own = credentials.c.lease_owner == sa.bindparam("owner")
_FREE = {"lease_owner": None, "lease_until": None}
CREDENTIAL = sa.select(credentials).where(_of_connector)
LOCKED = CREDENTIAL.with_for_update()
REPLACE = (
    sa.update(credentials)
    .where(_of_connector)
    .values(
        version=credentials.c.version + 1,
        sealed=sa.bindparam("blob", type_=sa.LargeBinary),
        key_id=sa.bindparam("key"),
        scopes=sa.bindparam("granted", type_=credentials.c.scopes.type),
        expires_at=sa.bindparam("until", type_=Int),
        granted_at=sa.bindparam("now"),
        refreshed_at=sa.bindparam("now"),
        **_FREE,
    )
)
LEASE = (
    sa.update(credentials)
    .where(
        _of_connector,
        credentials.c.version == sa.bindparam("seen"),
        sa.or_(credentials.c.lease_until.is_(None), credentials.c.lease_until <= now_ms()),
    )
    .values(lease_owner=sa.bindparam("owner_now"), lease_until=now_ms() + sa.bindparam("ttl", type_=Int))
)
RELEASE = sa.update(credentials).where(_of_connector, _own).values(**_FREE)
HELD = (
    sa.select(users.c.name, connectors.c.name, connectors.c.origin)
    .join_from(credentials, connectors, connectors.c.id == credentials.c.connector_id)
    .join(users, users.c.id == connectors.c.user_id)
)
ALL = sa.select(credentials).order_by(credentials.c.connector_id).with_for_update()


def find_credential(c: sa.Connection, connector_id: str, *, lock: bool = False) -> CredentialRow | None:
    """Return the connector's credential, if any. *lock*: lock its row until the transaction ends."""
    query = LOCKED if lock else CREDENTIAL
    return struct_or_none(CredentialRow, c.execute(query, {"connector": connector_id}).one_or_none())


def find_grant_state(c: sa.Connection, connector_id: str) -> GrantSight | None:
    """Return the credential with its connector's state; ``None`` if the connector does not exist."""
    found = c.execute(
        sa.select(
            connectors.c.state,
            connectors.c.detail,
            sa.func.coalesce(credentials.c.lease_until > now_ms(), sa.false()).label("is_leased"),
            credentials,
        )
        .select_from(connectors.outerjoin(credentials, credentials.c.connector_id == connectors.c.id))
        .where(connectors.c.id == connector_id)
    ).one_or_none()
    if found is None:
        return None
    row = None if found.connector_id is None else struct_from(CredentialRow, found)
    return struct_from(GrantSight, found, row=row)


def put_credential(
    c: sa.Connection,
    connector_id: str,
    *,
    sealed: bytes,
    key_id: str,
    scopes: Sequence[str],
    expires_at: int | None,
    at: int,
) -> None:
    """Store a new sign-in's credential; a refresh in progress will be discarded."""
    new = {"blob": sealed, "key": key_id, "granted": list(scopes), "until": expires_at, "now": at}
    if c.execute(REPLACE, {"connector": connector_id} | new).rowcount:
        return
    row = {
        "connector_id": connector_id,
        "sealed": sealed,
        "key_id": key_id,
        "scopes": list(scopes),
        "expires_at": expires_at,
        "granted_at": at,
        "refreshed_at": at,
    }
    c.execute(sa.insert(credentials), row)


def lease_credential(c: sa.Connection, connector_id: str, *, version: int, owner: str, ttl_ms: int) -> bool:
    """Assign the credential's lease to *owner*, who alone may refresh it.

    Return False if it has another version by now, is leased, or was ended by its provider.
    A process that read the row before the end was recorded must not ask the provider again.
    """
    asked = {"connector": connector_id, "seen": version, "owner_now": owner, "ttl": ttl_ms}
    if c.execute(LEASE, asked).rowcount == 0:
        return False
    # after the lease: a transaction that ends the grant locks the row until it commits
    seen = find_grant_state(c, connector_id)
    if seen is not None and seen.state == "sign_in":
        release_credential(c, connector_id, owner=owner)
        return False
    return True


def release_credential(c: sa.Connection, connector_id: str, *, owner: str) -> None:
    """Release *owner*'s lease; another owner's lease stays."""
    c.execute(RELEASE, {"connector": connector_id, "owner": owner})


def save_refreshed(
    c: sa.Connection,
    connector_id: str,
    *,
    version: int,
    sealed: bytes,
    key_id: str,
    scopes: Sequence[str],
    expires_at: int | None,
    at: int,
) -> bool:
    """Store a refreshed credential and end the lease. Return False if the credential changed; it stays."""
    refreshed = _if_seen(connector_id, version).values(
        version=credentials.c.version + 1,
        sealed=sealed,
        key_id=key_id,
        scopes=list(scopes),
        expires_at=expires_at,
        refreshed_at=at,
        **_FREE,
    )
    return c.execute(refreshed).rowcount == 1


def _if_seen(connector_id: str, version: int) -> sa.Update:
    """Return an update of the credential, if it has this version still."""
    return sa.update(credentials).where(
        credentials.c.connector_id == connector_id, credentials.c.version == version
    )


def drop_credential(c: sa.Connection, connector_id: str) -> bool:
    """Delete the credential after overwriting it. Return False if the connector has none."""
    update = (
        sa.update(credentials)
        .where(credentials.c.connector_id == connector_id)
        .values(sealed=b"", version=credentials.c.version + 1, scopes=[], expires_at=None, **_FREE)
    )
    is_deleted = c.execute(update).rowcount == 1
    c.execute(sa.delete(credentials).where(credentials.c.connector_id == connector_id))
    return is_deleted


def reseal_all(c: sa.Connection, reseal: Reseal) -> int:
    """Encrypt all credentials and open sign-ins with a new key, in one transaction.

    Versions and leases stay, so no refresh is lost.

    Args:
        reseal: maps row id, connector id, key id and sealed bytes to the new key's id and sealed bytes.

    Returns:
        The number of rows.
    """
    count = 0
    for row in c.execute(ALL).all():
        key, blob = reseal(row.connector_id, row.connector_id, row.key_id, row.sealed)
        count += c.execute(_if_seen(row.connector_id, row.version).values(sealed=blob, key_id=key)).rowcount
    query = (
        sa.select(sign_ins.c.id, sign_ins.c.connector_id, sign_ins.c.key_id, sign_ins.c.sealed)
        .where(sign_ins.c.outcome.is_(None))
        .order_by(sign_ins.c.id)
        .with_for_update()
    )
    for row in c.execute(query).all():
        key, blob = reseal(row.id, row.connector_id, row.key_id, row.sealed)
        update = sa.update(sign_ins).where(sign_ins.c.id == row.id).values(sealed=blob, key_id=key)
        count += c.execute(update).rowcount
    return count


def note_end(c: sa.Connection, connector_id: str, *, at: int) -> None:
    """Record the lifetime of a credential that its provider ended."""
    c.execute(
        sa.update(credentials)
        .where(credentials.c.connector_id == connector_id)
        .values(ended_after=sa.literal(at, Int) - credentials.c.granted_at)
    )


def list_grants(c: sa.Connection) -> list[GrantAge]:
    """Return the ages of all credentials."""
    return structs_from(GrantAge, c.execute(sa.select(*columns_of(GrantAge, credentials))))


def origins_of_credentials(c: sa.Connection) -> dict[tuple[str, str], str]:
    """Return the origins of the connectors with a credential, by the names of their users and their own."""
    return {(user, name): origin for user, name, origin in c.execute(HELD)}


def keys_in_use(c: sa.Connection) -> dict[str, int]:
    """Return the number of rows that each key encrypts, by key id."""
    found: dict[str, int] = {}
    query = sa.union_all(
        sa.select(credentials.c.key_id), sa.select(sign_ins.c.key_id).where(sign_ins.c.outcome.is_(None))
    )
    for key in c.execute(query).scalars():
        found[key] = found.get(key, 0) + 1
    return found


Way = Literal["device", "paste", "code"]
Outcome = Literal["done", "failed"]


class SignInRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sign-in.

    Attributes:
        way: through a device's browser, a pasted address, or a code that a person types.
        sealed: the verifier, or the device code, encrypted by the key *key_id*.
        redirect_uri: target of the provider's redirect; ``None``: not known yet.
        outcome, problem: ``None`` while it is open; a sentence without secrets.
    """

    id: str
    connector_id: str
    way: Way
    state_hash: bytes
    sealed: bytes
    key_id: str
    redirect_uri: str | None
    device_id: str | None
    actor: str
    outcome: Outcome | None
    problem: str | None
    created_at: int
    expires_at: int
    settled_at: int | None

    def __repr__(self) -> str:
        return f"SignInRow(id={self.id!r}, way={self.way!r}, outcome={self.outcome!r})"


_open = sign_ins.c.outcome.is_(None)
OPEN = sa.select(sign_ins).where(_open).order_by(sign_ins.c.id)


def state_hash(state: str) -> bytes:
    """Return the stored hash of a state."""
    return hashlib.sha256(state.encode()).digest()


def begin_sign_in(c: sa.Connection, row: SignInRow) -> None:
    """Add a sign-in. Open sign-ins of the same connector are ended."""
    c.execute(
        sa.update(sign_ins)
        .where(sign_ins.c.connector_id == row.connector_id, _open)
        .values(
            outcome="failed",
            problem="another sign-in was begun after it",
            sealed=b"",
            settled_at=row.created_at,
        )
    )
    c.execute(sa.insert(sign_ins), msgspec.structs.asdict(row))


def find_sign_in(c: sa.Connection, id: str) -> SignInRow | None:
    """Return the sign-in with that id, if any."""
    return _row(c.execute(sa.select(sign_ins).where(sign_ins.c.id == id)).one_or_none())


def find_by_state(c: sa.Connection, state: str) -> SignInRow | None:
    """Return the sign-in whose answer has *state*, if any."""
    query = sa.select(sign_ins).where(sign_ins.c.state_hash == state_hash(state))
    return _row(c.execute(query).one_or_none())


def open_sign_ins(c: sa.Connection) -> list[SignInRow]:
    """Return the open sign-ins, oldest first."""
    return structs_from(SignInRow, c.execute(OPEN))


def aim_sign_in(c: sa.Connection, id: str, redirect_uri: str) -> bool:
    """Set the redirect target. Return False if the sign-in is settled."""
    update = sa.update(sign_ins).where(sign_ins.c.id == id, _open).values(redirect_uri=redirect_uri)
    return c.execute(update).rowcount == 1


def settle_sign_in(
    c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None = None, at: int
) -> bool:
    """Settle the sign-in and delete its sealed data. Return False if it was settled before."""
    update = (
        sa.update(sign_ins)
        .where(sign_ins.c.id == id, _open)
        .values(outcome=outcome, problem=problem, sealed=b"", settled_at=at)
    )
    return c.execute(update).rowcount == 1


def correct_sign_in(c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None) -> None:
    """Correct the outcome of a sign-in that was settled before its outcome was known."""
    c.execute(sa.update(sign_ins).where(sign_ins.c.id == id).values(outcome=outcome, problem=problem))


def _row(found: Any) -> SignInRow | None:
    return None if found is None else struct_from(SignInRow, found)


def refuse_connector(
    c: sa.Connection,
    connector_id: str,
    *,
    credential_version: int,
    state: State,
    reason: str,
    detail: str,
    at: int,
    activity_id: str,
) -> ConnectorRow | None:
    """Suspend the connector's runs until a person acts. Return the connector if this call changed it.

    Args:
        credential_version: version of the credential that was refused; if it changed since, nothing changes.
            0: the refusal did not concern a credential.
    """
    grant = find_credential(c, connector_id, lock=True)  # prevents a sign-in between the check and the move
    if credential_version and (grant is None or grant.version != credential_version):
        return None
    row = find_connector(c, connector_id)
    if row is None or row.archived_at is not None:
        return None
    problem_fields = {"reason": reason, "detail": detail}
    if not move_connector(c, row.id, version=row.version, state=state, at=at, **problem_fields):
        return None
    if credential_version:
        note_end(c, connector_id, at=at)
    audit.record(
        c,
        id=activity_id,
        at=at,
        event_type="connector.refused",
        message=f"{row.name}: {detail}",
        actor="hub",
        level="warning",
        data={"connector": row.name, "connector_id": row.id, "reason": reason},
    )
    return find_connector(c, connector_id)


def grant_connector(
    c: sa.Connection,
    connector_id: str,
    *,
    sealed: bytes,
    key_id: str,
    scopes: Sequence[str],
    expires_at: int | None,
    at: int,
    actor: str,
    activity_id: str,
    sign_in_id: str | None = None,
) -> ConnectorRow | None:
    """Store a new credential, and let the runs start again. Return ``None`` without such a connector.

    Args:
        sign_in_id: sign-in to settle in the same transaction.
    """
    row = find_connector(c, connector_id)
    if row is None or row.archived_at is not None:
        return None
    put_credential(c, connector_id, sealed=sealed, key_id=key_id, scopes=scopes, expires_at=expires_at, at=at)
    allow_connector(c, connector_id, at=at)
    begin_anew(c, connector_id)
    if sign_in_id is not None:
        settle_sign_in(c, sign_in_id, outcome="done", at=at)
    data = {"connector": row.name, "connector_id": row.id}
    audit.record(
        c,
        id=activity_id,
        at=at,
        event_type="connector.signed_in",
        message=f"{row.name}: signed in",
        actor=actor,
        data=data,
    )
    audit.append(
        c, at=at, actor=actor, event="connector.signed_in", subject=row.id, detail={"name": row.name}
    )
    return find_connector(c, connector_id)


def forget_grant(c: sa.Connection, connector_id: str, *, at: int, actor: str) -> bool:
    """Delete the connector's credential; its runs wait for a person. Return False if it has none."""
    row = find_connector(c, connector_id)
    if row is None or not drop_credential(c, connector_id):
        return False
    problem_fields = {"reason": "sign_in_needed", "detail": "what was granted was given back"}
    move_connector(c, row.id, version=row.version, state="sign_in", at=at, **problem_fields)
    audit.append(
        c, at=at, actor=actor, event="connector.forgotten", subject=row.id, detail={"name": row.name}
    )
    return True
