"""Checkpoints of agents: scopes, size limits, storing, reading and clearing by devices and people."""

from typing import Any, Final

from hub.agents.json_objects import validated_object
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from protocol.coordination import DEVICE
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from storage import audit
from storage.agents import checkpoints
from storage.agents.checkpoints import Checkpoint, CheckpointRow
from storage.audit import AuditEntry
from storage.executing_runs import FencedRun
from storage.store import Store

log = Channel(__name__)

CHECKPOINTS: Final = 16  # of one agent
CHECKPOINT_BYTES: Final = 64 * 1024
SCOPE_CHARACTERS: Final = 255
MAX_SEQUENCE: Final = 2**53 - 1  # exactly representable in JavaScript


class CheckpointService:
    """Checkpoints of agents: stored, read and cleared."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def all(self, agent_id: AgentId) -> list[CheckpointRow]:
        """Return the agent's checkpoints by scope."""
        return await self._store.read(checkpoints.list_checkpoints, agent_id)

    async def get(self, agent_id: AgentId, scope: str) -> CheckpointRow:
        """Return the checkpoint of a scope. Raises CodedError."""
        return await self._store.read(checkpoints.get_checkpoint, agent_id, scope)

    async def store(
        self,
        agent_id: AgentId,
        *,
        scope: str,
        sequence: int,
        state: dict[str, Any],
        is_recoverable: bool = True,
        held: FencedRun | None = None,
        lock: tuple[str, int] | None = None,
        actor: str,
    ) -> CheckpointRow:
        """Store a checkpoint, replacing the previous one of the scope.

        Raises:
            CodedError (BAD_PARAMS), CodedError: a field is invalid.
            CodedError, StaleRun, LockLost, CodedError: see
                ``storage.agents.checkpoints.put_checkpoint``.

        If an error is raised, nothing was written.
        """
        with self._metrics.count_limits():
            if not 0 <= sequence <= MAX_SEQUENCE:
                message = f"sequence: expected 0 to {MAX_SEQUENCE}, not {sequence}"
                raise CodedError(ErrorCode.BAD_PARAMS, message)
            given = Checkpoint(
                scope=checkpoint_scope(scope),
                sequence=sequence,
                state=validated_object("state", state, most=CHECKPOINT_BYTES, limit="checkpoint_bytes"),
                is_recoverable=is_recoverable,
                held=held,
                lock=lock,
            )
            at = now_ms(self._clock)
            row = await self._store.write(
                audit.audited(
                    checkpoints.put_checkpoint,
                    lambda row: (
                        _note_of("kept", agent_id, row, at=at, actor=actor) if row.updated_at == at else None
                    ),
                ),
                agent_id,
                given,
                at=at,
                actor=actor,
                most=CHECKPOINTS,
            )
        if row.updated_at == at:  # otherwise the same checkpoint was stored before
            self._log_change("checkpoint.kept", agent_id, row, actor)
        return row

    async def clear(self, agent_id: AgentId, scope: str, *, actor: str) -> CheckpointRow:
        """Delete a checkpoint and return it.

        Raises:
            CodedError (UNKNOWN_CHECKPOINT): the agent has no checkpoint of this scope.
        """
        at = now_ms(self._clock)
        cleared = await self._store.write(
            audit.audited(
                checkpoints.clear_checkpoint,
                lambda row: _note_of("cleared", agent_id, row, at=at, actor=actor),
            ),
            agent_id,
            scope,
        )
        self._log_change("checkpoint.cleared", agent_id, cleared, actor)
        return cleared

    def _log_change(self, event: str, agent_id: AgentId, row: CheckpointRow, actor: str) -> None:
        log.info(event, agent_id=agent_id, scope=row.scope, sequence=row.sequence, actor=actor)


def checkpoint_scope(given: str) -> str:
    """Check the scope of a checkpoint, and return it.

    Raises:
        CodedError: the scope is invalid.
    """
    if not 1 <= len(given) <= SCOPE_CHARACTERS or not given.isprintable() or "/" in given:
        shown = given if len(given) <= 40 else f"{given[:40]}..."
        expected = f"expected 1 to {SCOPE_CHARACTERS} characters without /, as in agent or mailbox:anna"
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"scope: {shown!r} cannot be the scope of a checkpoint: {expected}"
        )
    return given


def _note_of(what: str, agent_id: AgentId, row: CheckpointRow, *, at: int, actor: str) -> AuditEntry | None:
    """Return the audit entry, or None if a device made the change."""
    if actor.startswith(DEVICE):
        return None
    return AuditEntry(
        at=at,
        actor=actor,
        event=f"checkpoint.{what}",
        subject=agent_id,
        detail={"scope": row.scope, "sequence": row.sequence},
    )
