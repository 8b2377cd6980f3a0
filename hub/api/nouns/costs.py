"""What models cost, by agent, user, model, run, file, day or call."""

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from hub.api.deps import Hub, NounRouter
from hub.api.errors import refusals
from hub.api.views.costs import CostsBy, CostsView, EstimateView
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1", tags=["costs"])


@router.get("/costs")
async def get_costs(
    hub: Hub,
    by: Annotated[CostsBy, Query(description="What is summed up.")] = "agent",
    since: Annotated[AwareDatetime | None, Query(description="30 days before *until* by default.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not included; now by default.")] = None,
) -> CostsView:
    """Tokens and money spent on models, the dearest first, tries that failed included."""
    return await hub.costs.spent(by, since=since, until=until)


@router.post(
    "/agents/{name}/estimate",
    responses=refusals(
        ErrorCode.UNKNOWN_AGENT, ErrorCode.DEVICE_OFFLINE, ErrorCode.CALL_UNSUPPORTED, ErrorCode.BUSY
    ),
)
async def estimate(hub: Hub, name: str) -> EstimateView:
    """What a run would read and cost now: its device lists its files, and nothing is read or asked."""
    return await hub.costs.estimate(name)
