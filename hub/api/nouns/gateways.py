"""Gateways: how the connections to them stand, trying them again, and agents that live there."""

from typing import Annotated

from pydantic import Field

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.gateways import GatewayDetail, GatewayView
from hub.api.views.view import AgentView, View
from hub.settings.gateway_settings import RemoteId
from hub.settings.values import Name
from protocol.errors import ErrorCode

router = NounRouter(tags=["gateways"])

_E = ErrorCode


class Gateways(View):
    """Some gateways in order; *next_cursor* leads to those after them."""

    gateways: tuple[GatewayView, ...]
    next_cursor: str | None = None


class Adopted(View):
    """An agent to be made. *remote_id*: of one that the gateway has; by default one is made there."""

    name: Name
    remote_id: Annotated[RemoteId, Field(examples=["main"])] | None = None


@router.get("/v1/gateways")
async def list_gateways(hub: Hub, paging: Paging) -> Gateways:
    """The gateways of hub.toml, by name, and how the connection to each stands."""
    page = paging.cut(await hub.gateways.all(), key=_key)
    return Gateways(gateways=page.items, next_cursor=page.next_cursor)


@router.get("/v1/gateways/{gateway}", responses=refusals(_E.UNKNOWN_GATEWAY))
async def get_gateway(hub: Hub, gateway: str) -> GatewayDetail:
    """One of them, by name or id, with the agents that live there."""
    return await hub.gateways.get(gateway)


@router.post("/v1/gateways/{gateway}/reconnect", responses=refusals(_E.UNKNOWN_GATEWAY))
async def reconnect_gateway(hub: Hub, actor: Actor, gateway: str) -> GatewayDetail:
    """Try now to get a connection, whatever it waits for. A gateway that is ready stays as it is."""
    return await hub.gateways.reconnect(gateway, actor=actor)


@router.post(
    "/v1/gateways/{gateway}/agents",
    status_code=201,
    responses=refusals(_E.UNKNOWN_GATEWAY, _E.UNKNOWN_AGENT, _E.NAME_TAKEN, _E.LIMIT_REACHED),
)
async def adopt_agent(hub: Hub, actor: Actor, gateway: str, wanted: Adopted) -> AgentView:
    """Make an agent that lives at the gateway: one that is there already, or one that is made there."""
    return await hub.gateways.adopt(gateway, wanted.name, wanted.remote_id, actor=actor)


def _key(gateway: GatewayView) -> tuple[str]:
    return (gateway.name,)
