"""What agents remember between their runs: read, kept and cleared."""

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, Matching, tag_of
from hub.api.facade import HubFacade
from hub.api.views.checkpoints import CheckpointView, WantedCheckpoint
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(
    prefix="/v1/agents/{name}/checkpoints", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT)
)

_NONE = refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_CHECKPOINT)
_REFUSED = refusals(
    ErrorCode.UNKNOWN_AGENT, ErrorCode.STALE_CHECKPOINT, ErrorCode.LIMIT_REACHED, ErrorCode.TOO_LARGE
)


class CheckpointsView(View):
    """What an agent remembers."""

    checkpoints: tuple[CheckpointView, ...]


@router.get("")
async def list_checkpoints(hub: Hub, name: str) -> CheckpointsView:
    """The checkpoints of an agent, by scope."""
    return CheckpointsView(checkpoints=tuple(await hub.checkpoints.of_agent(name)))


@router.get("/{scope}", responses=_NONE)
async def get_checkpoint(hub: Hub, name: str, scope: str, match: Match) -> CheckpointView:
    """One checkpoint of an agent; its runs go on from the one of the scope ``agent``."""
    return _tagged(await hub.checkpoints.get(name, scope), match)


@router.put("/{scope}", responses=_REFUSED)
async def put_checkpoint(
    hub: Hub, actor: Actor, name: str, scope: str, match: Match, wanted: WantedCheckpoint
) -> CheckpointView:
    """Keep a checkpoint in the place of the one before it; its sequence number is greater."""
    await _check(hub, name, scope, match)
    return _tagged(await hub.checkpoints.put(name, scope, wanted, actor=actor), match)


@router.delete("/{scope}", responses=_NONE)
async def clear_checkpoint(hub: Hub, actor: Actor, name: str, scope: str, match: Match) -> CheckpointView:
    """Forget a checkpoint, which was this: the next run begins without it."""
    await _check(hub, name, scope, match)
    return await hub.checkpoints.clear(name, scope, actor=actor)


def _tagged(told: CheckpointView, match: Matching) -> CheckpointView:
    match.tell(_tag(told))
    return told


def _tag(told: CheckpointView) -> str:
    return tag_of(told.scope, told.sequence, told.updated_at)


async def _check(hub: HubFacade, name: str, scope: str, match: Matching) -> None:
    if match.is_asked:
        match.check(_tag(await hub.checkpoints.get(name, scope)))
