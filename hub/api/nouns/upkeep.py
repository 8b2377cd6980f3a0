"""The hub as a whole: stopping it, backing it up."""

from typing import Annotated

from fastapi import Body

from hub.api.deps import Actor, NounRouter, WholeHub
from hub.api.views.upkeep import BackupView, DrainView
from hub.api.views.view import View

router = NounRouter(prefix="/v1", tags=["system"])


class DrainRequest(View):
    """How the hub stops.

    *restarts*: another process takes over, and devices are told to come back; by default that is so
    where a service manager holds the device port.
    """

    restarts: bool | None = None


@router.post("/drain", status_code=202)
async def drain(
    hub: WholeHub, actor: Actor, how: Annotated[DrainRequest, Body(default_factory=DrainRequest)]
) -> DrainView:
    """Stop in good order: what executes comes to the end of what it has in hand, or pauses."""
    return await hub.upkeep.drain(restarts=how.restarts, actor=actor)


@router.post("/backups", status_code=201)
async def back_up(hub: WholeHub, actor: Actor) -> BackupView:
    """Make a backup in the hub's own folder, and check it."""
    return await hub.upkeep.back_up(actor=actor)
