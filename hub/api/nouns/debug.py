"""The hub's insides at one moment, for whoever looks for a fault."""

from hub.api.deps import Actor, NounRouter, WholeHub
from hub.api.nouns.audit import AuditLog
from hub.api.views.observe import DumpView

router = NounRouter(prefix="/v1/debug", tags=["system"])


@router.get("/dump")
async def dump(hub: WholeHub, actor: Actor) -> DumpView:
    """Where every task and thread stands, what waits in which queue, which devices hold up what."""
    told = hub.debug.dump()
    await hub.noun(AuditLog).note("debug.dumped", actor=actor)
    return told
