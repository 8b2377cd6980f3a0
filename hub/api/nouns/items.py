"""Items: what was found, and what its owner said to it."""

from datetime import timedelta
from typing import Annotated

from fastapi import Query

from hub.api.deps import Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.items import ItemVerdict, ItemView
from hub.api.views.view import View
from hub.clock import from_epoch_ms
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/items", tags=["items"])


class Items(View):
    """Some items."""

    items: tuple[ItemView, ...]
    next_cursor: str | None = None


@router.get("", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def list_items(
    hub: Hub,
    paging: Paging,
    agent: Annotated[str | None, Query(max_length=200)] = None,
    verdict: ItemVerdict | None = None,
    run: Annotated[str | None, Query(max_length=200)] = None,
) -> Items:
    """The items found last first: of all agents or of one, with one verdict, of one run."""
    found = await hub.items.newest(
        agent=agent,
        verdict=verdict,
        run=run,
        limit=paging.limit + 1,
        before=paging.after_number_and_text(),
    )
    page = paging.fetched(found, key=lambda item: (_found_ms(item), item.id))
    return Items(items=page.items, next_cursor=page.next_cursor)


def _found_ms(item: ItemView) -> int:
    """When it was found, to the millisecond: a float of seconds would lose one now and then."""
    return (item.created_at - from_epoch_ms(0)) // timedelta(milliseconds=1)
