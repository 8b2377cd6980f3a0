"""Checkpoints in the database: state between an agent's runs, refused if older than the stored one.

A checkpoint only moves forward: a lower sequence number is refused, and so is a write by a run that lost its
lease. A repeated write, as after a lost response, does no harm.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, RunId, UserId
from storage.agents import locks
from storage.executing_runs import FencedRun, check_held
from storage.kernel.columns import Key, columns_of, fetch_page, paged, struct_from, struct_or_none, values_of
from storage.schema import agents
from storage.schema import checkpoints as table

AGENT_SCOPE: Final = "agent"  # the scope that a dispatched run receives


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """New checkpoint of an agent in a scope.

    Attributes:
        sequence: grows with each checkpoint of the scope.
        state: state of the agent; the hub only stores it.
        is_recoverable: a run may continue from it.
        held: the run that writes it, with its fence; ``None``: written between runs.
        lock: name and fence of the lock that protects it, if any.
    """

    scope: str = AGENT_SCOPE
    sequence: int
    state: dict[str, Any]
    is_recoverable: bool = True
    held: FencedRun | None = None
    lock: tuple[str, int] | None = None


class CheckpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """Stored checkpoint. Instants are epoch milliseconds; *fence* is 0 if no run wrote it."""

    scope: str
    sequence: int
    state: dict[str, Any]
    is_recoverable: bool
    run_id: RunId | None
    fence: int
    actor: str
    created_at: int
    updated_at: int


_COLUMNS = columns_of(CheckpointRow, table, sequence=table.c.sequence_number, state=table.c.state_data)
_of_agent = table.c.agent_id == sa.bindparam("agent")
_of_scope = table.c.scope == sa.bindparam("of_scope")
CHECKPOINTS = sa.select(*_COLUMNS).where(_of_agent)
CHECKPOINT = sa.select(*_COLUMNS).where(_of_agent, _of_scope)


def list_checkpoints(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[CheckpointRow]:
    """Return the agent's checkpoints, by scope."""
    query = paged(CHECKPOINTS, table.c.scope, limit=limit, after=after)
    return fetch_page(c, CheckpointRow, query, limit, {"agent": agent_id})


def find_checkpoint(c: sa.Connection, agent_id: AgentId, scope: str = AGENT_SCOPE) -> CheckpointRow | None:
    """Return the agent's checkpoint of the scope, if any."""
    return struct_or_none(
        CheckpointRow, c.execute(CHECKPOINT, {"agent": agent_id, "of_scope": scope}).one_or_none()
    )


def get_checkpoint(c: sa.Connection, agent_id: AgentId, scope: str = AGENT_SCOPE) -> CheckpointRow:
    """Return the agent's checkpoint of the scope.

    Raises:
        CodedError (UNKNOWN_CHECKPOINT): the agent has none of this scope.
    """
    row = find_checkpoint(c, agent_id, scope)
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_CHECKPOINT, f"the agent has no checkpoint {scope!r}")
    return row


def recoverable(c: sa.Connection, agent_id: AgentId) -> CheckpointRow | None:
    """Return the checkpoint that a run of the agent may continue from, if any."""
    row = find_checkpoint(c, agent_id)
    return row if row is not None and row.is_recoverable else None


def put_checkpoint(
    c: sa.Connection, agent_id: AgentId, given: Checkpoint, *, at: int, actor: str, most: int
) -> CheckpointRow:
    """Store a checkpoint in place of the previous one. An identical checkpoint is returned unchanged.

    Args:
        most: maximum number of scopes of an agent.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        StaleRun: the writing run no longer executes, or has another fence.
        LockLost: the lock that protects it is free, or held under another fence.
        CodedError (STALE_CHECKPOINT): the stored sequence number is equal or greater.
        CodedError (LIMIT_REACHED): the agent has *most* scopes already.
        In each case nothing was written.
    """
    # Serializes writers of one agent.
    user_id = c.execute(
        sa.select(agents.c.user_id).where(agents.c.id == agent_id).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if user_id is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    if given.held is not None:
        check_held(c, given.held)
    if given.lock is not None:
        locks.check_fence(c, UserId(user_id), *given.lock)
    row = struct_from(
        CheckpointRow,
        given,
        run_id=None if given.held is None else given.held.id,
        fence=0 if given.held is None else given.held.fence,
        actor=actor,
        created_at=at,
        updated_at=at,
    )
    known = find_checkpoint(c, agent_id, given.scope)
    if known is None:
        count = c.execute(sa.select(sa.func.count()).where(table.c.agent_id == agent_id)).scalar_one()
        if count >= most:
            message = f"the agent has {count} checkpoints, as many as it may (checkpoints_per_agent)"
            raise CodedError(
                ErrorCode.LIMIT_REACHED,
                f"{message}: clear scopes that are not used",
                limit="checkpoints_per_agent",
            )
        own = {"sequence_number": row.sequence, "state_data": row.state}
        c.execute(sa.insert(table), values_of(row, table, agent_id=agent_id, **own))
        return row
    content = (row.sequence, row.state, row.is_recoverable)
    if content == (known.sequence, known.state, known.is_recoverable):
        return known
    if known.sequence >= given.sequence:
        shown = f"the checkpoint {given.scope!r} is at sequence {known.sequence}"
        raise CodedError(ErrorCode.STALE_CHECKPOINT, f"{shown}; {given.sequence} is not beyond it")
    older = sa.update(table).where(
        table.c.agent_id == agent_id,
        table.c.scope == row.scope,
        table.c.sequence_number < row.sequence,
    )
    replaced = older.values(
        sequence_number=row.sequence,
        state_data=row.state,
        is_recoverable=row.is_recoverable,
        run_id=row.run_id,
        fence=row.fence,
        actor=actor,
        updated_at=at,
    )
    c.execute(replaced)
    return msgspec.structs.replace(row, created_at=known.created_at)


def clear_checkpoint(c: sa.Connection, agent_id: AgentId, scope: str = AGENT_SCOPE) -> CheckpointRow:
    """Delete the agent's checkpoint of the scope and return it; the next may have any sequence number.

    Raises:
        CodedError (UNKNOWN_CHECKPOINT): the agent has none of this scope.
    """
    row = get_checkpoint(c, agent_id, scope)
    c.execute(sa.delete(table).where(table.c.agent_id == agent_id, table.c.scope == scope))
    return row
