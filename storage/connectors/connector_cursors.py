"""Cursors: position up to which an agent has settled the changes of its connector.

A cursor is moved in the transaction that finds every earlier message settled. It belongs to an origin: for
another account or server it is meaningless.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.connectors.seen_messages import SEEN, SETTLED, digest_of
from storage.kernel.columns import Int, in_parts
from storage.kernel.rows import columns_of, fill
from storage.runs.run_progress import check_held
from storage.runs.run_rows import HeldRun
from storage.schema import connector_cursors

MOST_BYTES: Final = 64 * 1024


class CursorTooLarge(HubError):
    """Error: a connector's cursor exceeds the maximum size; nothing was written."""

    code = ErrorCode.TOO_LARGE


class CursorRow(msgspec.Struct, frozen=True):
    """Cursor; ``None``: nothing is settled yet. *last_ok_at*: last arrival at the stream's end."""

    origin: str
    cursor: dict[str, Any] | None
    moves: int
    last_ok_at: int | None
    updated_at: int


CURSOR = sa.select(*columns_of(CursorRow, connector_cursors)).where(
    connector_cursors.c.agent_id == sa.bindparam("agent")
)
_one = connector_cursors.c.agent_id == sa.bindparam("agent")
MOVE = (
    sa.update(connector_cursors)
    .where(_one)
    .values(
        origin=sa.bindparam("whose"),
        cursor=sa.bindparam("place"),
        moves=connector_cursors.c.moves + 1,
        run_id=sa.bindparam("run"),
        updated_at=sa.bindparam("now"),
    )
)
ADD = sa.insert(connector_cursors)
NOTE_OK = (
    sa.update(connector_cursors)
    .where(_one)
    .values(last_ok_at=sa.bindparam("now", type_=Int), updated_at=sa.bindparam("now"))
)
FORGET = sa.delete(connector_cursors).where(_one)


def find_cursor(c: sa.Connection, agent_id: AgentId) -> CursorRow | None:
    """Return the agent's cursor, of any origin."""
    row = c.execute(CURSOR, {"agent": agent_id}).one_or_none()
    if row is None:
        return None
    cursor = None if row.cursor is None else msgspec.json.decode(row.cursor, type=dict[str, Any])
    return fill(CursorRow, row, cursor=cursor)


def move_cursor(
    c: sa.Connection,
    held: HeldRun,
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
        CursorTooLarge: nothing was written.
    """
    check_held(c, held)
    told = msgspec.json.encode(cursor)
    if len(told) > MOST_BYTES:
        raise CursorTooLarge(f"a cursor of {len(told)} bytes, and {MOST_BYTES} are kept")
    wanted = {digest_of(key): version for key, version in keys}
    settled = {
        row.key_hash: row.version
        for part in in_parts(list(wanted))
        for row in c.execute(SEEN, {"agent": agent_id, "keys": part})
        if row.state in SETTLED
    }
    if any(settled.get(digest) != version for digest, version in wanted.items()):
        return False
    here = {"agent": agent_id, "whose": origin, "place": told.decode(), "run": held.id, "now": at}
    if c.execute(MOVE, here).rowcount == 0:
        row = {"agent_id": agent_id, "origin": origin, "cursor": told.decode(), "moves": 1}
        c.execute(ADD, row | {"run_id": held.id, "updated_at": at})
    return True


def note_end_of_stream(c: sa.Connection, agent_id: AgentId, *, at: int) -> None:
    """Record that a run reached the end of the stream."""
    c.execute(NOTE_OK, {"agent": agent_id, "now": at})


def forget_cursor(c: sa.Connection, agent_id: AgentId) -> None:
    """Delete the cursor, so that the next run looks back like the first; seen messages stay known."""
    c.execute(FORGET, {"agent": agent_id})
