"""Started sign-ins: data that the hub needs until the provider's answer comes.

The answer is identified by its *state*, of which only the hash is stored. A sign-in is settled once, so that
a code is not tried twice; an unsettled one ends at *expires_at*. A grant or refusal changes the connector's
state, activity and audit log in one transaction.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from storage.audit import activity, audit
from storage.connectors.connectors import ConnectorRow, State, allow_connector, find_connector, move_connector
from storage.connectors.credentials import drop_credential, find_credential, note_end, put_credential
from storage.kernel.rows import fill
from storage.schema import sign_ins

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


_one = sign_ins.c.id == sa.bindparam("sign_in")
_open = sign_ins.c.outcome.is_(None)
SIGN_IN = sa.select(sign_ins).where(_one)
BY_STATE = sa.select(sign_ins).where(sign_ins.c.state_hash == sa.bindparam("hash"))
OPEN = sa.select(sign_ins).where(_open).order_by(sign_ins.c.id)
AIM = sa.update(sign_ins).where(_one, _open).values(redirect_uri=sa.bindparam("where"))
SETTLE = (
    sa.update(sign_ins)
    .where(_one, _open)
    .values(
        outcome=sa.bindparam("became"),
        problem=sa.bindparam("why"),
        sealed=b"",
        settled_at=sa.bindparam("now"),
    )
)
TELL = sa.update(sign_ins).where(_one).values(outcome=sa.bindparam("became"), problem=sa.bindparam("why"))
SUPERSEDE = (
    sa.update(sign_ins)
    .where(sign_ins.c.connector_id == sa.bindparam("connector"), _open)
    .values(
        outcome="failed",
        problem="another sign-in was begun after it",
        sealed=b"",
        settled_at=sa.bindparam("now"),
    )
)


def state_hash(state: str) -> bytes:
    """Return the stored hash of a state."""
    return hashlib.sha256(state.encode()).digest()


def begin_sign_in(c: sa.Connection, row: SignInRow) -> None:
    """Add a sign-in. Open sign-ins of the same connector are ended."""
    c.execute(SUPERSEDE, {"connector": row.connector_id, "now": row.created_at})
    c.execute(sa.insert(sign_ins), msgspec.structs.asdict(row))


def find_sign_in(c: sa.Connection, id: str) -> SignInRow | None:
    """Return the sign-in with that id, if any."""
    return _row(c.execute(SIGN_IN, {"sign_in": id}).one_or_none())


def find_by_state(c: sa.Connection, state: str) -> SignInRow | None:
    """Return the sign-in whose answer has *state*, if any."""
    return _row(c.execute(BY_STATE, {"hash": state_hash(state)}).one_or_none())


def open_sign_ins(c: sa.Connection) -> list[SignInRow]:
    """Return the open sign-ins, oldest first."""
    return [fill(SignInRow, row) for row in c.execute(OPEN)]


def aim_sign_in(c: sa.Connection, id: str, redirect_uri: str) -> bool:
    """Set the redirect target. Return False if the sign-in is settled."""
    return c.execute(AIM, {"sign_in": id, "where": redirect_uri}).rowcount == 1


def settle_sign_in(
    c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None = None, at: int
) -> bool:
    """Settle the sign-in and delete its sealed data. Return False if it was settled before."""
    change = {"sign_in": id, "became": outcome, "why": problem, "now": at}
    return c.execute(SETTLE, change).rowcount == 1


def correct_sign_in(c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None) -> None:
    """Correct the outcome of a sign-in that was settled before its outcome was known."""
    c.execute(TELL, {"sign_in": id, "became": outcome, "why": problem})


def _row(found: Any) -> SignInRow | None:
    return None if found is None else fill(SignInRow, found)


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
    told = {"reason": reason, "detail": detail}
    if not move_connector(c, row.id, version=row.version, state=state, at=at, **told):
        return None
    if credential_version:
        note_end(c, connector_id, at=at)
    activity.record(
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
    if sign_in_id is not None:
        settle_sign_in(c, sign_in_id, outcome="done", at=at)
    data = {"connector": row.name, "connector_id": row.id}
    activity.record(
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
    told = {"reason": "sign_in_needed", "detail": "what was granted was given back"}
    move_connector(c, row.id, version=row.version, state="sign_in", at=at, **told)
    audit.append(
        c, at=at, actor=actor, event="connector.forgotten", subject=row.id, detail={"name": row.name}
    )
    return True
