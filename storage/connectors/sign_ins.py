"""Sign-ins that somebody began: what the hub has to remember until the provider's answer comes.

The answer is known by its *state*, of which the row has the hash alone. A sign-in is settled once, by
whoever is first, so that a code is not tried twice; an unsettled one is over at *expires_at*.
"""

import hashlib
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from storage.schema import sign_ins

Way = Literal["device", "paste", "code"]
Outcome = Literal["done", "failed"]


class SignInRow(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in.

    Attributes:
        way: through a device's browser, by an address that is pasted, or by a code that a person types.
        sealed: the verifier, or the device code, by the key *key_id*.
        redirect_uri: where the provider sends the browser; ``None``: not known yet.
        outcome, problem: ``None`` while it is open; a sentence that holds no secret.
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
    """What a row knows a state by."""
    return hashlib.sha256(state.encode()).digest()


def begin_sign_in(c: sa.Connection, row: SignInRow) -> None:
    """Write it down. Those of the same connector that are open end by it."""
    c.execute(SUPERSEDE, {"connector": row.connector_id, "now": row.created_at})
    c.execute(sa.insert(sign_ins), msgspec.structs.asdict(row))


def find_sign_in(c: sa.Connection, id: str) -> SignInRow | None:
    """The sign-in of that id."""
    return _row(c.execute(SIGN_IN, {"sign_in": id}).one_or_none())


def find_by_state(c: sa.Connection, state: str) -> SignInRow | None:
    """The sign-in whose answer bears *state*."""
    return _row(c.execute(BY_STATE, {"hash": state_hash(state)}).one_or_none())


def open_sign_ins(c: sa.Connection) -> list[SignInRow]:
    """Those that are not settled, the oldest first."""
    return [SignInRow(**row._mapping) for row in c.execute(OPEN)]


def aim_sign_in(c: sa.Connection, id: str, redirect_uri: str) -> bool:
    """Say where the browser will be sent. False: it is settled."""
    return c.execute(AIM, {"sign_in": id, "where": redirect_uri}).rowcount == 1


def settle_sign_in(
    c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None = None, at: int
) -> bool:
    """Whether this call settled it; what it had sealed is gone."""
    change = {"sign_in": id, "became": outcome, "why": problem, "now": at}
    return c.execute(SETTLE, change).rowcount == 1


def correct_sign_in(c: sa.Connection, id: str, *, outcome: Outcome, problem: str | None) -> None:
    """Say how one ended that was settled before it was known."""
    c.execute(TELL, {"sign_in": id, "became": outcome, "why": problem})


def _row(found: Any) -> SignInRow | None:
    return None if found is None else SignInRow(**found._mapping)
