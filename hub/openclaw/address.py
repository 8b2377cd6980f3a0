"""The address of a gateway, checked by the rules for outbound connections.

The name is resolved, its addresses are checked, and the connection uses a checked address. So a DNS answer
that changes in between has no effect.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from hub.outbound.client import resolve
from hub.outbound.rules import AddressRefused, OutboundRules, is_this_machine
from protocol.errors import ErrorCode, HubError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
resolve_here: Final[Resolve] = resolve

_PORTS: Final = {"ws": 80, "wss": 443}


class BadAddress(HubError):
    """The URL cannot be the address of a gateway."""

    code = ErrorCode.BAD_SETTINGS


class GatewayAddress(msgspec.Struct, frozen=True):
    """A WebSocket address without secrets.

    Attributes:
        url: the URL as configured.
    """

    url: str
    host: str
    port: int
    is_secure: bool

    @classmethod
    def parse(cls, url: str) -> "GatewayAddress":
        """Parse ``ws://`` or ``wss://`` with a host.

        Raises:
            BadAddress: the URL is malformed, or has a user, a query or a fragment.
        """
        try:
            parse_uri(url)
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except (InvalidURI, ValueError) as error:  # UnicodeError is a ValueError
            raise BadAddress(
                "expected a url such as wss://gateway.example or ws://127.0.0.1:18789"
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
        """True if the host can only be this machine."""
        return is_this_machine(self.host)

    async def judged(self, rules: OutboundRules, resolve: Resolve = resolve_here) -> list[str]:
        """Return the allowed addresses, in the resolver's order.

        Raises:
            AddressRefused: no address is allowed; no data was sent.
            OSError: the name cannot be resolved.
        """
        if not (self.is_secure or self.is_here):
            raise AddressRefused(f"ws://{self.where}: a gateway on another machine is called over wss only")
        return rules.judge(self.host, await resolve(self.host, self.port))
