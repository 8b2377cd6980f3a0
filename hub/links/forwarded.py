"""Who is at the other end of a proxy: its word is taken only where hub.toml lists it.

Of a chain of proxies the right-most one that is not listed is the client: all left
of it may have been written by the client itself.
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
    """What a request says of the way it came cannot be believed."""

    code = ErrorCode.UNTRUSTED_PROXY


class TrustedProxies:
    """Which proxies are believed, as addresses or networks: ``10.0.0.5``, ``10.0.0.0/24``.

    Args:
        are_only_way: nobody comes from another machine but through them, as what they bring would
            otherwise cross the network unencrypted.
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
        """The address that a request comes from.

        Args:
            peer: the other end of the socket.
            headers: all values of each header of FORWARDING that is there, by its name as written there.

        Raises:
            BadForwarding: *peer* may not speak for others, or what it says is not clear.
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
        told = {self._rightmost(peer, _hops(name, headers[name])) for name in _TELLING if name in headers}
        if len(told) > 1:
            raise BadForwarding("Forwarded and X-Forwarded-For tell of different clients")
        return told.pop() if told else peer

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
    """Whether *peer* is this machine; what is no address came over a Unix socket."""
    try:
        return _address(peer).is_loopback
    except ValueError:
        return True


def _hops(name: str, values: Sequence[str]) -> list[str]:
    """The addresses that a header lists, in its order, without ports."""
    parts = [part.strip() for value in values for part in value.split(",")]
    if len(parts) > MAX_HOPS:
        raise BadForwarding(f"{name} lists more than {MAX_HOPS} hops")
    return [_without_port(part if name == "X-Forwarded-For" else _forwarded_for(part)) for part in parts]


def _forwarded_for(part: str) -> str:
    """The ``for`` of one element of ``Forwarded`` (RFC 7239)."""
    found = _FOR.search(part)
    if found is None:
        raise BadForwarding("an element of Forwarded has no for=")
    return found[1].strip('"')


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address:
    """Both spellings of an IPv4 address are one."""
    found = ip_address(text.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


_TELLING: Final = ("X-Forwarded-For", "Forwarded")
