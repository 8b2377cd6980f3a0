"""When agents are woken: the slots of their calendars, and what became of those that have come."""

from hub.api.deps import Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.slots import SlotView, WakeView
from hub.api.views.view import View
from hub.clock import epoch_ms
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/agents/{name}", tags=["slots"], responses=refusals(ErrorCode.UNKNOWN_AGENT))


class Slots(View):
    """An agent's calendar: its slots, and page by page the wakes that they made."""

    slots: tuple[SlotView, ...]
    wakes: tuple[WakeView, ...]
    next_cursor: str | None = None


@router.get("/slots")
async def list_slots(hub: Hub, name: str, paging: Paging) -> Slots:
    """The slots with the next five times of each, and what became of the past ones, the newest first."""
    after = paging.after_number_and_text()
    found = await hub.slots.wakes(name, limit=paging.limit + 1, after=after)
    page = paging.fetched(found, key=lambda wake: (epoch_ms(wake.starts_at), wake.id))
    slots = tuple(await hub.slots.of_agent(name))
    return Slots(slots=slots, wakes=page.items, next_cursor=page.next_cursor)
