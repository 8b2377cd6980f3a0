"""Client of OpenClaw gateways: a supervised connection to each, with typed methods and errors."""

from hub.openclaw.gateway_client import Fleet, Gateway, GatewayConfig
from hub.openclaw.gateway_errors import (
    FileConflict,
    GatewayError,
    GatewayForbidden,
    GatewayInvalid,
    GatewayRefused,
    GatewayTimedOut,
    GatewayUnreachable,
)
from hub.openclaw.gateway_interface import (
    GatewayEvent,
    GatewayHealth,
    GatewayNews,
    GatewayProblem,
    GatewayState,
    Listener,
    Need,
    NewsLost,
    NewsQueue,
    Reconnected,
    StateChanged,
)
from hub.openclaw.identity import BadGatewayUrl, GatewayAddress

__all__ = [
    "BadGatewayUrl",
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
    "GatewayProblem",
    "GatewayRefused",
    "GatewayState",
    "GatewayTimedOut",
    "GatewayUnreachable",
    "Listener",
    "Need",
    "NewsLost",
    "NewsQueue",
    "Reconnected",
    "StateChanged",
]
