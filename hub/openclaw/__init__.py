"""Client of OpenClaw gateways: a supervised connection to each, with typed methods and errors."""

from hub.openclaw.address import BadAddress, GatewayAddress
from hub.openclaw.client import Gateway, GatewayConfig
from hub.openclaw.errors import (
    FileConflict,
    GatewayError,
    GatewayForbidden,
    GatewayInvalid,
    GatewayRefused,
    GatewayTimedOut,
    GatewayUnreachable,
)
from hub.openclaw.fleet import Fleet, UnknownGateway
from hub.openclaw.gateway import (
    GatewayEvent,
    GatewayHealth,
    GatewayNews,
    GatewayState,
    Inbox,
    Listener,
    Need,
    NewsLost,
    Problem,
    Reconnected,
    StateChanged,
)

__all__ = [
    "BadAddress",
    "FileConflict",
    "Fleet",
    "Gateway",
    "GatewayAddress",
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
