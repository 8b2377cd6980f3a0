"""Started sign-ins: data that the hub needs until the provider's answer comes.

The answer is identified by its *state*, of which only the hash is stored. A sign-in is settled once, so that
a code is not tried twice; an unsettled one ends at *expires_at*.
"""

import hashlib
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

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
