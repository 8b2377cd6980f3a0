"""Messages already seen by an agent: planned, left out or failed; cursors, and posts of webhooks.

A message is *planned* in the transaction that plans its items, or *left_out* by the filter. It is *failed* if
it could not be read or extracted; the cursor waits, so the next run meets it again. After ``MAX_TRIES`` runs
it is *dead*. Keys and subjects are stored only as digests.

A cursor is the position up to which an agent has settled the changes of its connector. It is moved in the
transaction that finds every earlier message settled, and belongs to an origin: for another account or server
it is meaningless.

Posts to webhooks are kept here too: each delivery is one row, however often it is posted. A row waits until
the agent that reads its connector has settled it. Then its body is deleted; its key stays as long as the same
delivery may be posted again.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, RunId
from storage.executing_runs import FencedRun, check_held
from storage.kernel.columns import columns_of, in_parts, struct_from, structs_from
from storage.schema import agents, connector_cursors, connectors, posted, seen_messages

MAX_TRIES: Final = 3
MAX_BUSY_TRIES: Final = 10  # runs in which the provider wants a pause for one message and accepts others
SETTLED: Final = frozenset({"planned", "left_out", "dead"})  # states that the cursor may pass

State = Literal["planned", "left_out", "failed", "dead"]


class SeenMessage(msgspec.Struct, frozen=True):
    """State of a seen message. *version*: version of its content under one key; may be empty."""

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
_changes: dict[str, sa.BindParameter[Any]] = {
    "version": sa.bindparam("edition"),
    "state": sa.bindparam("after"),
    "attempts": sa.bindparam("tries"),
    "reason": sa.bindparam("why"),
    "subject_hash": sa.bindparam("subject"),
    "run_id": sa.bindparam("run"),
    "seen_at": sa.bindparam("now"),
}
CHANGE = sa.update(seen_messages).where(*_one).values(_changes)
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
    """Return the stored digest of a key or subject: SHA-256, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seen_of(c: sa.Connection, agent_id: AgentId, keys: Sequence[str]) -> dict[str, SeenMessage]:
    """Return the states of the messages with these keys; unknown keys are omitted."""
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
    """Record that the message is settled: planned or left out."""
    values = {"edition": version, "after": state, "tries": 0, "why": reason, "subject": None}
    _write(c, agent_id, digest_of(key), values | {"run": run_id, "now": at})


def note_left_out(
    c: sa.Connection, agent_id: AgentId, messages: Iterable[tuple[str, str, str]], *, run_id: RunId, at: int
) -> None:
    """Record that these messages (key, version, reason) are not read: filtered out, or deleted."""
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
    most_tries: int = MAX_TRIES,
    is_final: bool = False,
) -> State:
    """Record a failed read or extraction: *failed*, or *dead* from the run *most_tries* on.

    *is_final*: no run can ever read it: *dead* at once. Several failures in one run count once. A failure
    that does not count as an attempt leaves it *failed*.
    """
    digest = digest_of(key)
    before = c.execute(LAST, {"agent": agent_id, "digest": digest}).one_or_none()
    attempts = int(counts)
    if before is not None and before.version == version:
        if before.state == "failed" and before.run_id == run_id:
            return "failed"
        attempts += before.attempts
    state: State = "dead" if is_final or attempts >= most_tries else "failed"
    values = {"edition": version, "after": state, "tries": attempts, "why": reason}
    _write(c, agent_id, digest, values | {"subject": digest_of(subject), "run": run_id, "now": at})
    return state


LAST = sa.select(
    seen_messages.c.version, seen_messages.c.state, seen_messages.c.attempts, seen_messages.c.run_id
).where(*_one)


def failed_messages(c: sa.Connection, agent_id: AgentId, *, most: int = 100) -> list[dict[str, Any]]:
    """Return unreadable messages, newest first: digest, state, attempts, reason, run and instant."""
    return [dict(row._mapping) for row in c.execute(FAILED, {"agent": agent_id, "most": most})]


def try_again(c: sa.Connection, agent_id: AgentId) -> int:
    """Delete failure records, so that messages after the cursor are read again. Return the number deleted."""
    return c.execute(TRY_AGAIN, {"agent": agent_id}).rowcount


def _write(c: sa.Connection, agent_id: AgentId, digest: str, values: Mapping[str, Any]) -> None:
    here: dict[str, Any] = {"agent": agent_id, "digest": digest}
    if c.execute(CHANGE, here | dict(values)).rowcount == 0:
        row = {column: values[bound.key] for column, bound in _changes.items()}
        c.execute(ADD, {"agent_id": agent_id, "key_hash": digest} | row)


MAX_BYTES: Final = 64 * 1024


class CursorRow(msgspec.Struct, frozen=True):
    """Cursor; ``None``: nothing is settled yet. *last_ok_at*: last arrival at the stream's end."""

    origin: str
    cursor: dict[str, Any] | None
    moves: int
    last_ok_at: int | None
    updated_at: int


def find_cursor(c: sa.Connection, agent_id: AgentId) -> CursorRow | None:
    """Return the agent's cursor, of any origin."""
    row = c.execute(
        sa.select(*columns_of(CursorRow, connector_cursors)).where(connector_cursors.c.agent_id == agent_id)
    ).one_or_none()
    if row is None:
        return None
    cursor = None if row.cursor is None else msgspec.json.decode(row.cursor, type=dict[str, Any])
    return struct_from(CursorRow, row, cursor=cursor)


def move_cursor(
    c: sa.Connection,
    held: FencedRun,
    agent_id: AgentId,
    *,
    origin: str,
    cursor: dict[str, Any],
    keys: Sequence[tuple[str, str]],
    at: int,
) -> bool:
    """Move the cursor past a page if every message on it is settled.

    Args:
        keys: (key, version) of every message of the page.

    Returns:
        True if the cursor was moved.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
        CodedError: the cursor is too large; nothing was written.
    """
    check_held(c, held)
    values = msgspec.json.encode(cursor)
    if len(values) > MAX_BYTES:
        raise CodedError(ErrorCode.TOO_LARGE, f"a cursor of {len(values)} bytes, and {MAX_BYTES} are kept")
    versions = {digest_of(key): version for key, version in keys}
    settled = {
        row.key_hash: row.version
        for part in in_parts(list(versions))
        for row in c.execute(SEEN, {"agent": agent_id, "keys": part})
        if row.state in SETTLED
    }
    if any(settled.get(digest) != version for digest, version in versions.items()):
        return False
    row = {"origin": origin, "cursor": values.decode(), "run_id": held.id, "updated_at": at}
    moved = sa.update(connector_cursors).where(connector_cursors.c.agent_id == agent_id)
    if c.execute(moved.values(row | {"moves": connector_cursors.c.moves + 1})).rowcount == 0:
        c.execute(sa.insert(connector_cursors), row | {"agent_id": agent_id, "moves": 1})
    return True


def note_end_of_stream(c: sa.Connection, agent_id: AgentId, *, at: int) -> None:
    """Record that a run reached the end of the stream."""
    cursor = sa.update(connector_cursors).where(connector_cursors.c.agent_id == agent_id)
    c.execute(cursor.values(last_ok_at=at, updated_at=at))


PROVIDER: Final = "webhook"


class TooManyPosted(HubError):
    """Error: the maximum number of posts waits to be read."""

    code = ErrorCode.LIMIT_REACHED


class PostedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting post. *key*: identity of the delivery, equal for repeated posts."""

    id: str
    key: str
    event: str
    media_type: str
    body: bytes
    received_at: int


_posted_at = posted.c.connector_id == sa.bindparam("connector")
_post_waits = sa.text("posted.settled_at IS NULL")  # as text, so that the partial index is used
KNOWN_POST = (
    sa.select(posted.c.id)
    .where(
        _posted_at,
        posted.c.dedupe_key.in_(sa.bindparam("keys", expanding=True)),
        posted.c.received_at >= sa.bindparam("since"),
    )
    .limit(1)
)
COUNT_WAITING = sa.select(sa.func.count()).select_from(posted).where(_posted_at, _post_waits)
WAITING_POSTS = (
    sa.select(*columns_of(PostedRow, posted, key=posted.c.dedupe_key))
    .where(_posted_at, _post_waits, posted.c.id > sa.bindparam("behind"))
    .order_by(posted.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
KEYS_OF_POSTS = (
    sa.select(posted.c.id, posted.c.dedupe_key).where(_posted_at, _post_waits).order_by(posted.c.id)
)


def message_key_of(key: str) -> str:
    """Return the key of a delivery among the messages that an agent has seen."""
    return f"{PROVIDER}:{key}"


def take_in(
    c: sa.Connection,
    connector_id: str,
    *,
    id: str,
    keys: Sequence[str],
    since: int = 0,
    event: str,
    media_type: str,
    body: bytes,
    most_waiting: int,
    at: int,
) -> bool:
    """Store a post. Return False if the delivery is known.

    Args:
        keys: keys of the delivery, its own first; a post since *since* under any of them is the same
            delivery.

    Raises:
        TooManyPosted: nothing was written.
    """
    if (
        c.execute(KNOWN_POST, {"connector": connector_id, "keys": list(keys), "since": since}).first()
        is not None
    ):
        return False
    if c.execute(COUNT_WAITING, {"connector": connector_id}).scalar_one() >= most_waiting:
        raise TooManyPosted(f"{most_waiting} posts wait to be read, and no more may (posted_waiting)")
    row: dict[str, Any] = {"id": id, "connector_id": connector_id, "dedupe_key": keys[0], "event": event}
    row |= {"media_type": media_type, "size_bytes": len(body), "received_at": at}
    c.execute(sa.insert(posted), row | {"body": body})
    return True


def settle_and_list(
    c: sa.Connection, connector_id: str, *, after: str, most: int, at: int
) -> list[PostedRow]:
    """Delete the bodies of settled posts, and return the next waiting posts after the row *after*."""
    by_key = {
        message_key_of(row.dedupe_key): row.id
        for row in c.execute(KEYS_OF_POSTS, {"connector": connector_id})
    }
    query = sa.select(agents.c.id).where(
        sa.text("agents.connector_id IS NOT NULL"),
        agents.c.connector_id == connector_id,
        agents.c.deleted_at.is_(None),
    )
    for reader in c.execute(query).scalars().all():
        seen = seen_of(c, AgentId(reader), list(by_key))
        settled = [by_key[key] for key, one in seen.items() if one.state in SETTLED]
        for part in in_parts(settled):
            c.execute(
                sa.update(posted).where(posted.c.id.in_(part), _post_waits).values(body=None, settled_at=at)
            )
    rows = c.execute(WAITING_POSTS, {"connector": connector_id, "behind": after, "most": most})
    return structs_from(PostedRow, rows)


def connectors_with_news(c: sa.Connection) -> list[str]:
    """Return the ids of connectors with waiting posts."""
    return list(
        c.execute(
            sa.select(connectors.c.id)
            .where(
                connectors.c.deleted_at.is_(None),
                sa.exists().where(posted.c.connector_id == connectors.c.id, _post_waits),
            )
            .order_by(connectors.c.id)
        ).scalars()
    )
