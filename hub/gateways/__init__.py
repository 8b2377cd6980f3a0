"""The hub as a client of OpenClaw gateways: one supervised connection each, typed methods, honest ends."""

from hub.gateways.address import BadAddress, GatewayAddress
from hub.gateways.client import GatewayClient, GatewayConfig
from hub.gateways.errors import (
    FileConflict,
    GatewayError,
    GatewayForbidden,
    GatewayInvalid,
    GatewayRefused,
    GatewayTimedOut,
    GatewayUnreachable,
)
from hub.gateways.fleet import Fleet, UnknownGateway
from hub.gateways.gateway import (
    Gateway,
    GatewayEvent,
    GatewayHealth,
    GatewayNews,
    GatewayState,
    Listener,
    Need,
    Problem,
    Reconnected,
    StateChanged,
)
from hub.gateways.inbox import Inbox, NewsLost

__all__ = [
    "BadAddress",
    "FileConflict",
    "Fleet",
    "Gateway",
    "GatewayAddress",
    "GatewayClient",
    "GatewayConfig",
    "GatewayError",
    "GatewayEvent",
    "GatewayForbidden",
    "GatewayHealth",
    "GatewayInvalid",
    "GatewayNews",
    "GatewayRefused",
    "GatewayState",
    "GatewayTimedOut",
    "GatewayUnreachable",
    "Inbox",
    "Listener",
    "Need",
    "NewsLost",
    "Problem",
    "Reconnected",
    "StateChanged",
    "UnknownGateway",
]
