"""Checkpoints: state that agents keep between their runs."""

from typing import Annotated, Any

from msgspec import Meta

from hub.agents.checkpoints import Checkpoints as KeptCheckpoints
from hub.api.deps import Actor
from hub.api.door.roles import Scope
from hub.api.etags import Match, Matching, tag_of
from hub.api.noun import ALL, Noun, Part, command, listed, route
from hub.api.view import Instant, View
from protocol.errors import ErrorCode
from storage.agents import agents, checkpoints
from storage.agents.agents import AgentRow
from storage.agents.checkpoints import CheckpointRow
from storage.store import Store

SequenceNumber = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class CheckpointView(View, kw_only=True):
    """State of a scope that an agent keeps between its runs.

    *run* is the one that wrote it, under *fence*; null and 0 if an operator or device wrote it between runs.
    """

    scope: str
    sequence: int
    is_recoverable: bool
    state: dict[str, Any]
    run: str | None = None
    fence: int = 0
    actor: str
    created_at: Instant
    updated_at: Instant


class CheckpointRequest(View):
    """A checkpoint to write. *sequence* is greater than the present one.

    *is_recoverable*: the next run of the agent receives it, if its scope is ``agent``.
    """

    sequence: SequenceNumber
    state: dict[str, Any]
    is_recoverable: bool = True


class Checkpoints(Noun):
    """Checkpoints of agents. Changes are written to the audit log in the same transaction."""

    name, path = "checkpoints", "/v1/agents/{name}/checkpoints"
    commands_help = "List, show, write and clear the checkpoints of an agent."
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, checkpoints: KeptCheckpoints) -> None:
        self._store = store
        self._checkpoints = checkpoints

    @command(
        "agents checkpoints NAME ls",
        example="hub agents checkpoints notes ls",
        json="checkpoints",
        rows="checkpoints",
        table=(
            "scope",
            "sequence",
            "is_recoverable as recoverable",
            "run|id",
            "updated_at|at as written",
            "actor as by",
        ),
        empty="agent {name} has no checkpoints",
    )
    @listed("", Scope.READ, key=lambda checkpoint: (checkpoint.scope,))
    async def all(self, name: str, part: Part = ALL) -> list[CheckpointView]:
        """List the checkpoints of an agent, by scope."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            checkpoints.list_checkpoints,
            limit=part.limit,
            after=part.after,
        )
        return [_view(row) for row in rows]

    @command(
        "agents checkpoints NAME show [SCOPE=agent]",
        example="hub agents checkpoints notes show",
        json="checkpoint",
        prints="state|pretty",
    )
    @route("GET", "/{scope}", Scope.READ, errors=[ErrorCode.UNKNOWN_CHECKPOINT])
    async def get(self, name: str, scope: str, match: Match) -> CheckpointView:
        """Return a checkpoint of an agent; its runs continue from that of the scope ``agent``."""
        return _tagged(await self._get(name, scope), match)

    @command(
        "agents checkpoints NAME put [SCOPE=agent]",
        example="hub agents checkpoints notes put --sequence 4 --json-state '{}'",
        json="checkpoint",
        options={
            "sequence": "Greater than that of the last checkpoint.",
            "state": "--json-state: State to write, as JSON.",
            "is_recoverable": "--recover/--no-recover: Whether runs resume from it.",
        },
        message="written: {scope} at sequence {sequence}",
    )
    @route(
        "PUT",
        "/{scope}",
        Scope.RUN,
        errors=[ErrorCode.STALE_CHECKPOINT, ErrorCode.LIMIT_REACHED, ErrorCode.TOO_LARGE],
    )
    async def put(
        self, name: str, scope: str, match: Match, wanted: CheckpointRequest, actor: Actor
    ) -> CheckpointView:
        """Replace a checkpoint by one with a greater sequence number, or create it."""
        await self._check(name, scope, match)
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
        return _tagged(_view(row), match)

    @command(
        "agents checkpoints NAME clear [SCOPE=agent]",
        help="Delete a checkpoint; the next run begins without it.",
        example="hub agents checkpoints notes clear",
        json="checkpoint",
        message="cleared: {scope}, which was at sequence {sequence}",
    )
    @route("DELETE", "/{scope}", Scope.RUN, errors=[ErrorCode.UNKNOWN_CHECKPOINT])
    async def clear(self, name: str, scope: str, match: Match, actor: Actor) -> CheckpointView:
        """Delete a checkpoint and return it; the next run begins without it."""
        await self._check(name, scope, match)
        agent = await self._agent(name)
        return _view(await self._checkpoints.clear(agent.id, scope, source="api", actor=actor))

    async def _agent(self, name: str) -> AgentRow:
        return await self._store.read(agents.agent_called, name, self.user_id)

    async def _get(self, name: str, scope: str) -> CheckpointView:
        _, row = await self._store.read(
            agents.with_agent, name, self.user_id, checkpoints.get_checkpoint, scope
        )
        return _view(row)

    async def _check(self, name: str, scope: str, match: Matching) -> None:
        if match.is_asked:
            match.check(_tag(await self._get(name, scope)))


def _view(row: CheckpointRow) -> CheckpointView:
    return CheckpointView.from_row(row, run=row.run_id)


def _tag(view: CheckpointView) -> str:
    return tag_of(view.scope, view.sequence, view.updated_at)


def _tagged(view: CheckpointView, match: Matching) -> CheckpointView:
    match.tell(_tag(view))
    return view
