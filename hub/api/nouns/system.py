"""Whether the hub lives, whether it takes work, and one screen about it."""

from fastapi import Response

from hub.api.deps import Hub, NounRouter, WholeHub
from hub.api.views.routes import RoutesView, routes_view
from hub.api.views.view import Health, Readiness, StatusView

router = NounRouter(tags=["system"])


@router.get("/healthz", responses={503: {"model": Health}})
async def health(hub: WholeHub, response: Response) -> Health:
    """200 while the event loop turns. No I/O, no detail."""
    answer = hub.health()
    response.status_code = 200 if answer.status == "ok" else 503
    return answer


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readiness(hub: WholeHub, response: Response) -> Readiness:
    """200 when the hub takes work, 503 when not, with the checks either way."""
    answer = await hub.readiness()
    response.status_code = 200 if answer.ready else 503
    return answer


@router.get("/v1/routes")
async def routes() -> RoutesView:
    """What may be asked of this hub, and by which roles; what devices may ask."""
    return routes_view()


@router.get("/v1/status")
async def status(hub: Hub) -> StatusView:
    """One screen: version, uptime, devices, runs, model, listeners."""
    return await hub.status()
