"""Where a gateway is: the operator's address of it, judged by the rules for whom the hub may call.

A name is resolved, its addresses are judged, and the connection goes to one that was
judged: a name that leads elsewhere a moment later leads nowhere.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from hub.outbound import AddressRefused, OutboundRules
from hub.outbound.client import resolve
from hub.outbound.rules import is_this_machine
from protocol.errors import ErrorCode, HubError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
resolve_here: Final[Resolve] = resolve

_PORTS: Final = {"ws": 80, "wss": 443}


class BadAddress(HubError):
    """It is no address that a gateway can be reached at."""

    code = ErrorCode.BAD_SETTINGS


class GatewayAddress(msgspec.Struct, frozen=True):
    """A WebSocket address without anything secret in it.

    *url* is as it was written; *where*, host and port, is what people are told.
    """

    url: str
    host: str
    port: int
    is_secure: bool

    @classmethod
    def parse(cls, url: str) -> "GatewayAddress":
        """Read ``ws://`` or ``wss://`` with a host.

        Raises:
            BadAddress: it is none, or it carries more than an address: a user, a query, a fragment.
        """
        try:
            parse_uri(url)
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except (InvalidURI, ValueError) as error:  # UnicodeError is one
            raise BadAddress(
                "a gateway's url looks like wss://gateway.example or ws://127.0.0.1:18789"
            ) from error
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise BadAddress("a gateway's url has no query and no user in it: the token is given apart")
        return cls(url, host, port or _PORTS[parts.scheme], parts.scheme == "wss")

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether it names this machine and could name no other."""
        return is_this_machine(self.host)

    async def judged(self, rules: OutboundRules, resolve: Resolve = resolve_here) -> list[str]:
        """The addresses that may be connected to, in the resolver's order.

        Raises:
            AddressRefused: none may; nothing was sent.
            OSError: the name cannot be resolved.
        """
        if not (self.is_secure or self.is_here):
            raise AddressRefused(f"ws://{self.where}: a gateway on another machine is called over wss only")
        return rules.judge(self.host, await resolve(self.host, self.port))
