"""Checkpoints of agents, as one user sees and changes them."""

from hub.agents.checkpoints import Checkpoints
from hub.api.views.checkpoints import CheckpointView, WantedCheckpoint
from hub.clock import from_epoch_ms
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from storage.agents.agents import AgentRow
from storage.agents.checkpoints import CheckpointRow
from storage.store import Store


class CheckpointOperations(Seen):
    """Implements ``api.facades.checkpoints.CheckpointFacade``."""

    def __init__(self, store: Store, checkpoints: Checkpoints) -> None:
        self._store = store
        self._checkpoints = checkpoints

    async def of_agent(self, name: str) -> list[CheckpointView]:
        """By scope."""
        agent = await self._agent(name)
        return [_view(row) for row in await self._checkpoints.all(agent.id)]

    async def get(self, name: str, scope: str) -> CheckpointView:
        """One of them."""
        agent = await self._agent(name)
        return _view(await self._checkpoints.get(agent.id, scope))

    async def put(self, name: str, scope: str, wanted: WantedCheckpoint, *, actor: str) -> CheckpointView:
        """Keep one in the place of the one before it."""
        agent = await self._agent(name)
        row = await self._checkpoints.put(
            agent.id,
            scope=scope,
            sequence=wanted.sequence,
            state=wanted.state,
            is_recoverable=wanted.is_recoverable,
            source="api",
            actor=actor,
        )
        return _view(row)

    async def clear(self, name: str, scope: str, *, actor: str) -> CheckpointView:
        """Forget one, which was this."""
        agent = await self._agent(name)
        return _view(await self._checkpoints.clear(agent.id, scope, source="api", actor=actor))

    async def _agent(self, name: str) -> AgentRow:
        return await agent_named(self._store, name, self.user_id)


def _view(row: CheckpointRow) -> CheckpointView:
    return CheckpointView(
        scope=row.scope,
        sequence=row.sequence,
        is_recoverable=row.is_recoverable,
        state=row.state,
        run=row.run_id,
        fence=row.fence,
        actor=row.actor,
        created_at=from_epoch_ms(row.created_at),
        updated_at=from_epoch_ms(row.updated_at),
    )
