"""The keys that seal what sign-ins granted."""

from hub.api.deps import Actor, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.views.keys import SealingKeysView
from protocol.errors import ErrorCode as _E

router = NounRouter(prefix="/v1/keys", tags=["system"])


@router.get("", responses=refusals(_E.FORBIDDEN))
async def list_keys(hub: WholeHub) -> SealingKeysView:
    """The keys that seal what sign-ins granted, and how much each seals; never a key itself."""
    return await hub.keys.all()


@router.post("/rotate", responses=refusals(_E.FORBIDDEN))
async def rotate_keys(hub: WholeHub, actor: Actor) -> SealingKeysView:
    """Make another key, and seal everything by it. Agents that run go on; the old key stays until removed."""
    return await hub.keys.rotate(actor=actor)


@router.delete("/{key_id}", responses=refusals(_E.FORBIDDEN))
async def remove_key(key_id: str, hub: WholeHub, actor: Actor) -> SealingKeysView:
    """Forget a key that seals nothing. What only it opens, as in old backups, is lost by it."""
    return await hub.keys.remove(key_id, actor=actor)
