"""Which messages an agent has looked at, and what became of each: so that none is read twice or passed over.

A message is *planned* in the transaction that plans its items; *left_out* by the filter; *failed* when it
could not be read or extracted, and met again by the next run, since the cursor waits for it; *dead* after
``MOST_TRIES`` runs. Keys and subjects stand here as digests alone.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.kernel.columns import in_parts
from storage.schema import seen_messages

MOST_TRIES: Final = 3
SETTLED: Final = frozenset({"planned", "left_out", "dead"})  # the cursor may pass them

State = Literal["planned", "left_out", "failed", "dead"]


class SeenMessage(msgspec.Struct, frozen=True):
    """What is known of a message. *version*: of what may change under one key; else empty."""

    version: str
    state: State
    attempts: int


SEEN = sa.select(
    seen_messages.c.key_hash, seen_messages.c.version, seen_messages.c.state, seen_messages.c.attempts
).where(
    seen_messages.c.agent_id == sa.bindparam("agent"),
    seen_messages.c.key_hash.in_(sa.bindparam("keys", expanding=True)),
)
_one = (seen_messages.c.agent_id == sa.bindparam("agent"), seen_messages.c.key_hash == sa.bindparam("digest"))
_told: dict[str, sa.BindParameter[Any]] = {
    "version": sa.bindparam("edition"),
    "state": sa.bindparam("after"),
    "attempts": sa.bindparam("tries"),
    "reason": sa.bindparam("why"),
    "subject_hash": sa.bindparam("subject"),
    "run_id": sa.bindparam("run"),
    "seen_at": sa.bindparam("now"),
}
CHANGE = sa.update(seen_messages).where(*_one).values(_told)
ADD = sa.insert(seen_messages)
FAILED = (
    sa.select(
        seen_messages.c.key_hash,
        seen_messages.c.state,
        seen_messages.c.attempts,
        seen_messages.c.reason,
        seen_messages.c.run_id,
        seen_messages.c.seen_at,
    )
    .where(
        seen_messages.c.agent_id == sa.bindparam("agent"),
        sa.text("seen_messages.state IN ('failed', 'dead')"),
    )
    .order_by(seen_messages.c.seen_at.desc(), seen_messages.c.key_hash)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
TRY_AGAIN = sa.delete(seen_messages).where(
    seen_messages.c.agent_id == sa.bindparam("agent"), sa.text("seen_messages.state IN ('failed', 'dead')")
)


def digest_of(text: str) -> str:
    """A key or a subject as it stands here: SHA-256, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seen_of(c: sa.Connection, agent_id: AgentId, keys: Sequence[str]) -> dict[str, SeenMessage]:
    """What is known of the messages with these keys; of the others nothing."""
    by_digest = {digest_of(key): key for key in keys}
    return {
        by_digest[row.key_hash]: SeenMessage(row.version, row.state, row.attempts)
        for part in in_parts(list(by_digest))
        for row in c.execute(SEEN, {"agent": agent_id, "keys": part})
    }


def note_seen(
    c: sa.Connection,
    agent_id: AgentId,
    key: str,
    state: Literal["planned", "left_out"],
    *,
    version: str = "",
    run_id: RunId,
    at: int,
    reason: str | None = None,
) -> None:
    """The message is settled, as far as its reading goes."""
    told = {"edition": version, "after": state, "tries": 0, "why": reason, "subject": None}
    _write(c, agent_id, digest_of(key), told | {"run": run_id, "now": at})


def note_left_out(
    c: sa.Connection, agent_id: AgentId, messages: Iterable[tuple[str, str, str]], *, run_id: RunId, at: int
) -> None:
    """These (key, version, reason) are not read: the filter is against them, or they are gone."""
    for key, version, reason in messages:
        note_seen(c, agent_id, key, "left_out", version=version, run_id=run_id, at=at, reason=reason)


def note_failed(
    c: sa.Connection,
    agent_id: AgentId,
    key: str,
    *,
    version: str = "",
    subject: str = "",
    run_id: RunId,
    reason: str,
    at: int,
    counts: bool = True,
    is_final: bool = False,
) -> State:
    """The message could not be read or extracted in this run: *failed*, or *dead* from the third run on.

    One that no run will ever read (*is_final*) is *dead* at once.

    Several failures in one run count once; one that does not count as a try leaves it *failed*.
    """
    digest = digest_of(key)
    before = c.execute(LAST, {"agent": agent_id, "digest": digest}).one_or_none()
    attempts = int(counts)
    if before is not None and before.version == version:
        if before.state == "failed" and before.run_id == run_id:
            return "failed"
        attempts += before.attempts
    state: State = "dead" if is_final or attempts >= MOST_TRIES else "failed"
    told = {"edition": version, "after": state, "tries": attempts, "why": reason}
    _write(c, agent_id, digest, told | {"subject": digest_of(subject), "run": run_id, "now": at})
    return state


LAST = sa.select(
    seen_messages.c.version, seen_messages.c.state, seen_messages.c.attempts, seen_messages.c.run_id
).where(*_one)


def failed_messages(c: sa.Connection, agent_id: AgentId, *, most: int = 100) -> list[dict[str, Any]]:
    """Messages that could not be read, newest first: digest, state, attempts, reason, run and instant."""
    return [dict(row._mapping) for row in c.execute(FAILED, {"agent": agent_id, "most": most})]


def try_again(c: sa.Connection, agent_id: AgentId) -> int:
    """Forget that these were tried; what the cursor has not passed is read anew. Returns how many."""
    return c.execute(TRY_AGAIN, {"agent": agent_id}).rowcount


def _write(c: sa.Connection, agent_id: AgentId, digest: str, told: Mapping[str, Any]) -> None:
    here: dict[str, Any] = {"agent": agent_id, "digest": digest}
    if c.execute(CHANGE, here | dict(told)).rowcount == 0:
        row = {column: told[bound.key] for column, bound in _told.items()}
        c.execute(ADD, {"agent_id": agent_id, "key_hash": digest} | row)
