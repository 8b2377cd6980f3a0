"""What agents remember between their runs."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.lifecycles import RunEvent
from storage.agents import checkpoints, locks
from storage.agents.agents import AgentRow
from storage.agents.checkpoints import Checkpoint, CheckpointRow
from storage.agents.locks import Holder, LockRequest
from storage.executing_runs import FencedRun, StaleRun
from storage.runs import run_moves
from tests.storage.rows import AT, make_agent, running, some
from tests.support.coded import coded


def put(
    c: sa.Connection,
    agent: AgentRow,
    sequence: int,
    scope: str = "agent",
    *,
    state: dict[str, Any] | None = None,
    is_recoverable: bool = True,
    held: FencedRun | None = None,
    at: int = AT,
    most: int = 9,
) -> CheckpointRow:
    given = Checkpoint(
        scope=scope,
        sequence=sequence,
        state={"at": sequence} if state is None else state,
        is_recoverable=is_recoverable,
        held=held,
    )
    return checkpoints.put_checkpoint(c, agent.id, given, at=at, actor="device:d", most=most)


def test_newer_checkpoint_replaces_the_previous_checkpoint(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, 1)
    newer = put(c, agent, 7, state={"folder": {"seen": [1, 2]}}, at=AT + 5)
    assert newer == checkpoints.get_checkpoint(c, agent.id)
    assert (newer.sequence, newer.state, newer.created_at, newer.updated_at) == (
        7,
        {"folder": {"seen": [1, 2]}},
        AT,
        AT + 5,
    )


@pytest.mark.parametrize("sequence", [6, 7])
def test_checkpoint_not_beyond_the_stored_sequence_is_refused(
    c: sa.Connection, agent: AgentRow, sequence: int
) -> None:
    put(c, agent, 7)
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.STALE_CHECKPOINT),
        match=f"is at sequence 7; {sequence} is not beyond it",
    ) as caught:
        put(c, agent, sequence, state={"other": True})
    assert caught.value.code is ErrorCode.STALE_CHECKPOINT
    assert checkpoints.get_checkpoint(c, agent.id).state == {"at": 7}


def test_repeated_checkpoint_is_stored_once(c: sa.Connection, agent: AgentRow) -> None:
    first = put(c, agent, 7)
    assert put(c, agent, 7, at=AT + 9) == first


def test_each_scope_of_an_agent_has_a_separate_checkpoint(c: sa.Connection, agent: AgentRow) -> None:
    put(c, agent, 9)
    put(c, agent, 1, "mailbox:anna")
    assert [row.scope for row in checkpoints.list_checkpoints(c, agent.id)] == ["agent", "mailbox:anna"]
    with pytest.raises(
        CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="checkpoints_per_agent"
    ) as caught:
        put(c, agent, 1, "one more", most=2)
    assert caught.value.code is ErrorCode.LIMIT_REACHED
    put(c, agent, 2, "mailbox:anna", most=2)


def test_run_writes_checkpoints_only_while_holding_the_fence(c: sa.Connection, agent: AgentRow) -> None:
    held = running(c, agent=agent)
    row = put(c, agent, 1, held=held)
    assert (row.run_id, row.fence) == (held.id, held.fence)
    run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    with pytest.raises(StaleRun):
        put(c, agent, 2, held=held)
    with pytest.raises(StaleRun):
        put(c, agent, 2, held=msgspec.structs.replace(held, fence=held.fence - 1))
    assert checkpoints.get_checkpoint(c, agent.id).sequence == 1


def test_checkpoint_write_with_a_wrong_lock_fence_is_refused(c: sa.Connection, agent: AgentRow) -> None:
    holder = Holder("device", "device-laptop", agent.id)
    wanted = LockRequest(request_id="q", user_id=agent.user_id, names=("box",), holder=holder, ttl_ms=60_000)
    fence = some(locks.acquire(c, wanted).grant).fences["box"]

    def put_under(fence: int) -> CheckpointRow:
        given = Checkpoint(sequence=1, state={}, lock=("box", fence))
        return checkpoints.put_checkpoint(c, agent.id, given, at=AT, actor="device:d", most=9)

    for lost in (fence - 1, fence + 1):
        with pytest.raises(locks.LockLost):
            put_under(lost)
    assert (checkpoints.list_checkpoints(c, agent.id), put_under(fence).sequence) == ([], 1)


def test_only_a_recoverable_checkpoint_of_the_agent_scope_is_used_for_recovery(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert checkpoints.recoverable(c, agent.id) is None
    put(c, agent, 1, "mailbox:anna")
    assert checkpoints.recoverable(c, agent.id) is None
    row = put(c, agent, 1)
    assert checkpoints.recoverable(c, agent.id) == row
    put(c, agent, 2, is_recoverable=False)
    assert checkpoints.recoverable(c, agent.id) is None


def test_cleared_checkpoint_is_deleted_and_any_sequence_may_follow(c: sa.Connection, agent: AgentRow) -> None:
    row = put(c, agent, 7)
    assert checkpoints.clear_checkpoint(c, agent.id) == row
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_CHECKPOINT), match="no checkpoint 'agent'"):
        checkpoints.clear_checkpoint(c, agent.id)
    assert put(c, agent, 1).sequence == 1


def test_no_checkpoint_of_an_unknown_agent_is_stored(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        put(c, msgspec.structs.replace(make_agent(c), id=AgentId("nobody")), 1)
