"""Checkpoints of agents: listed, read, written and cleared."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from hub.agents.checkpoints import CheckpointService
from hub.api.binding import From, bad_request
from hub.api.device import object_of
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
)
from hub.base.roles import Scope
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode
from protocol.frame import Fence, Id, Text
from protocol.grants import Grant
from protocol.ids import RunId
from protocol.lifecycles import RunState
from storage.agents import agents, checkpoints
from storage.agents.agents import AgentRow
from storage.agents.checkpoints import AGENT_SCOPE
from storage.executing_runs import FencedRun
from storage.runs import runs
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


class Under(Struct, frozen=True):
    """Run and lock that a device has to hold while it writes a checkpoint, with their fences."""

    run_id: Id | None = None
    fence: Fence | None = None
    lock: Text | None = None
    lock_fence: Fence | None = None


def _under(under: Under) -> Under:
    return under


def _under_nothing() -> Under:
    return Under()


def _answer(checkpoint: CheckpointView) -> dict[str, Any]:
    return {"checkpoint": _CHECKPOINT_RECORD(checkpoint)}


_CHECKPOINT_RECORD = object_of(
    *("scope", "sequence", "state", "is_recoverable", "run as run_id", "fence", "updated_at as updated_at_ms")
)


class CheckpointsResource(Resource):
    """Checkpoints of agents. Changes are written to the audit log in the same transaction."""

    name, path = "checkpoints", "/v1/agents/{name}/checkpoints"
    tagged = ("scope", "sequence", "updated_at")
    commands_help = "List, show, write and clear the checkpoints of an agent."
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, checkpoints: CheckpointService) -> None:
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
    async def all(self, name: str, part: ListPart = ALL) -> list[CheckpointView]:
        """List the checkpoints of an agent, by scope."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            checkpoints.list_checkpoints,
            limit=part.limit,
            after=part.after,
        )
        return list(map(CheckpointView.from_row, rows))

    @command(
        "agents checkpoints NAME show [SCOPE=agent]",
        example="hub agents checkpoints notes show",
        json="checkpoint",
        prints="state|pretty",
    )
    @route("GET", "/{scope}", Scope.READ, errors=[ErrorCode.UNKNOWN_CHECKPOINT], is_tagged=True)
    @device(Method.CHECKPOINTS_GET, "its own agents", answer=_answer)
    async def get(self, name: str, scope: str = AGENT_SCOPE) -> CheckpointView:
        """Return a checkpoint of an agent; its runs continue from that of the scope ``agent``."""
        _, row = await self._store.read(
            agents.with_agent, name, self.user_id, checkpoints.get_checkpoint, scope
        )
        return CheckpointView.from_row(row)

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
        is_tagged=True,
    )
    @device(
        Method.CHECKPOINTS_PUT, "its own agents", Grant.AGENTS, answer=_answer, arguments={"under": _under}
    )
    @audited("checkpoint.kept")
    async def put(
        self,
        name: str,
        requested: CheckpointRequest,
        actor: Actor,
        under: Annotated[Under, From(_under_nothing)],
        scope: str = AGENT_SCOPE,
    ) -> CheckpointView:
        """Replace a checkpoint by one with a greater sequence number, or create it."""
        agent = await self._agent_called(name)
        row = await self._checkpoints.store(
            agent.id,
            scope=scope,
            sequence=requested.sequence,
            state=requested.state,
            is_recoverable=requested.is_recoverable,
            held=await self._held(agent, under),
            lock=_lock(under),
            actor=actor,
        )
        return CheckpointView.from_row(row)

    @command(
        "agents checkpoints NAME clear [SCOPE=agent]",
        help="Delete a checkpoint; the next run begins without it.",
        example="hub agents checkpoints notes clear",
        json="checkpoint",
        message="cleared: {scope}, which was at sequence {sequence}",
    )
    @route("DELETE", "/{scope}", Scope.RUN, errors=[ErrorCode.UNKNOWN_CHECKPOINT], is_tagged=True)
    @device(
        Method.CHECKPOINTS_CLEAR,
        "its own agents",
        Grant.AGENTS,
        answer=lambda was: {"cleared": _CHECKPOINT_RECORD(was)},
    )
    @audited("checkpoint.cleared")
    async def clear(self, name: str, actor: Actor, scope: str = AGENT_SCOPE) -> CheckpointView:
        """Delete a checkpoint and return it; the next run begins without it."""
        agent = await self._agent_called(name)
        return CheckpointView.from_row(await self._checkpoints.clear(agent.id, scope, actor=actor))

    async def _held(self, agent: AgentRow, under: Under) -> FencedRun | None:
        """Return the run that the agent's device works on, with its fence.

        Raises:
            CodedError (BAD_PARAMS): only one of run and fence is given.
            CodedError (UNKNOWN_RUN): the agent has no such run at its device.
        """
        if under.run_id is None and under.fence is None:
            return None
        if under.run_id is None or under.fence is None:
            raise bad_request(["run_id, fence: give both, as agent_run had them, or neither"])
        run = await self._store.read(runs.find_run, RunId(under.run_id))
        if run is None or run.device_id != agent.device_id or run.agent_id != agent.id:
            raise CodedError(ErrorCode.UNKNOWN_RUN, f"the agent has no run {under.run_id!r} at this device")
        return FencedRun(run.id, RunState.RUNNING, under.fence)


def _lock(under: Under) -> tuple[str, int] | None:
    """Return the name and the fence of the lock. Raises CodedError if only one of them is given."""
    if under.lock is None and under.lock_fence is None:
        return None
    if under.lock is None or under.lock_fence is None:
        raise bad_request(["lock, lock_fence: give both, as locks.acquire answered them, or neither"])
    return under.lock, under.lock_fence
