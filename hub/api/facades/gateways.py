"""Gateways, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.gateways import GatewayDetail, GatewayView
from hub.api.views.view import AgentView


class GatewayFacade(Protocol):
    """Gateways of hub.toml, by name or id. Each method that names one raises UnknownGateway."""

    async def all(self) -> Sequence[GatewayView]:
        """All of them, by name."""
        ...

    async def get(self, gateway: str) -> GatewayDetail: ...

    async def reconnect(self, gateway: str, *, actor: str) -> GatewayDetail:
        """Try now to get a connection, whatever it waits for. One that is ready stays as it is."""
        ...

    async def adopt(self, gateway: str, name: str, remote_id: str | None, *, actor: str) -> AgentView:
        """Make an agent that lives there.

        Args:
            remote_id: of an agent that the gateway has; by default the hub has one made there.

        Raises:
            AgentNameTaken, RemoteIdTaken, TooManyAgents, UnknownAgent (the gateway has none such):
                nothing was made.
        """
        ...
