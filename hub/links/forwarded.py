"""Client addresses behind proxies, trusted only from proxies listed in hub.toml.

In a chain of proxies, the right-most address that is not listed is the client's: the client itself may have
written all addresses to the left.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from protocol.errors import ErrorCode, HubError

FORWARDING: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
MAX_HOPS: Final = 32
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)\s*(?=;|$)', re.IGNORECASE)


class BadForwarding(HubError):
    """The forwarding headers of a request cannot be trusted."""

    code = ErrorCode.UNTRUSTED_PROXY


class TrustedProxies:
    """Trusted proxies, as addresses or networks: ``10.0.0.5``, ``10.0.0.0/24``.

    Args:
        are_only_way: True to refuse direct connections from other machines, which would be unencrypted.
    """

    def __init__(self, networks: Sequence[str] = (), *, are_only_way: bool = False) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(network) for network in networks]
        self._are_only_way = are_only_way

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            found = _address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)

    def client(self, peer: str, headers: Mapping[str, Sequence[str]]) -> str:
        """Return the client address of a request.

        Args:
            peer: the other end of the socket.
            headers: all values of each header of FORWARDING in the request, keyed by its name there.

        Raises:
            BadForwarding: *peer* is not a trusted proxy, or its headers are ambiguous.
        """
        if self._are_only_way and peer not in self and not _is_here(peer):
            raise BadForwarding(
                f"without TLS this listener is for its machine and its proxies, not for {peer}"
            )
        if not headers:
            return peer
        if peer not in self:
            name = next(iter(headers))
            raise BadForwarding(f"{name} was sent by {peer}, which is not among trusted_proxies")
        clients = {self._rightmost(peer, _hops(name, headers[name])) for name in _HEADERS if name in headers}
        if len(clients) > 1:
            raise BadForwarding("Forwarded and X-Forwarded-For tell of different clients")
        return clients.pop() if clients else peer

    def _rightmost(self, peer: str, hops: Sequence[str]) -> str:
        client = peer
        for hop in reversed(hops):
            try:
                client = str(_address(hop))
            except ValueError:
                raise BadForwarding(f"{hop[:64]!r} is no address") from None
            if client not in self:
                break
        return client


def _is_here(peer: str) -> bool:
    """Return True if *peer* is this machine; a Unix socket has no address and counts as such."""
    try:
        return _address(peer).is_loopback
    except ValueError:
        return True


def _hops(name: str, values: Sequence[str]) -> list[str]:
    """Return the addresses in a header in their order, without ports."""
    parts = [part.strip() for value in values for part in value.split(",")]
    if len(parts) > MAX_HOPS:
        raise BadForwarding(f"{name} lists more than {MAX_HOPS} hops")
    return [_without_port(part if name == "X-Forwarded-For" else _forwarded_for(part)) for part in parts]


def _forwarded_for(part: str) -> str:
    """Return the ``for`` parameter of one element of ``Forwarded`` (RFC 7239)."""
    found = _FOR.search(part)
    if found is None:
        raise BadForwarding("an element of Forwarded has no for=")
    return found[1].strip('"')


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address:
    """Parse an address; an IPv4-mapped IPv6 address becomes IPv4."""
    found = ip_address(text.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


_HEADERS: Final = ("X-Forwarded-For", "Forwarded")
