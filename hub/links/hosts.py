"""Allowed host names of requests, and client addresses behind trusted proxies.

A listener allows only some host names, as protection against DNS rebinding. Client addresses are trusted only
from proxies listed in hub.toml.

In a chain of proxies, the right-most address that is not listed is the client's: the client itself may have
written all addresses to the left.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from protocol.errors import ErrorCode, HubError

_OF_THIS_MACHINE: Final = frozenset({"localhost"})
_OF_SCHEMES: Final = (80, 443)  # default ports of ws and wss
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,9}\.?")  # safe in a shell
_SHOWN: Final = 100  # characters of a refused Host
FORWARDING: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
MAX_HOPS: Final = 32
_FOR: Final = re.compile(
    r'(?:^|;)\s*+for\s*+=\s*+("(?>(?:[^"\\]++|\\.)*)"|[^;\s]*+)\s*+(?=;|$)', re.IGNORECASE
)
_HEADERS: Final = ("X-Forwarded-For", "Forwarded")
IPV6_NETWORK_BITS: Final = 64  # network size of one household


class Hosts:
    """Allowed values of ``Host``: names of loopback, all addresses, and listed names.

    Addresses are always allowed, because only a name can be rebound to another machine.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._listed = frozenset(name.lower().rstrip(".") for name in names) - _OF_THIS_MACHINE
        self._names = _OF_THIS_MACHINE | self._listed

    def __contains__(self, host: str) -> bool:
        """Return True if a request may have *host* as its Host, with or without a port."""
        name = _without_port(host.strip().lower())
        return name.rstrip(".") in self._names or _address(name) is not None

    def refusal(self, host: str, listener: str) -> str:
        """Return why *host* is refused, and the command that allows it at ``[listen.`` *listener* ``]``.

        The text is for anyone who asks, so that it does not name the hosts that are listed.
        """
        name = _without_port(host.strip().lower())
        refused = f"this hub is not called {host[:_SHOWN]!r}"
        if not _NAME.fullmatch(name):
            return refused
        if any(_address(listed) is None for listed in self._listed):
            return f"{refused}: if it leads here, add it to hosts of [listen.{listener}]: hub config edit"
        return f"{refused}: if it leads here, hub config set 'listen.{listener}.hosts=[\"{name}\"]'"

    def are_of(self, host: str, local: tuple[str, int]) -> bool:
        """Return True if the dialled *host* can only lead to this listener.

        A listed name or address does, with any port, because a proxy may use another port. An unlisted host
        must be *local*, the address and port of this end of the connection.
        """
        name = _without_port(host.strip().lower()).rstrip(".")
        if not name or name in self._listed:
            return bool(name)
        port = host.rpartition("]")[2].partition(":")[2]
        if port != str(local[1]) and (port or local[1] not in _OF_SCHEMES):
            return False
        here = _address(local[0])
        return here is not None and (here.is_loopback if name in _OF_THIS_MACHINE else _address(name) == here)


def _without_port(host: str) -> str:
    """Return the name or address; empty if *host* is malformed by RFC 3986, 3.2.2."""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return address if _is_in_brackets(address) and (not port or _is_port(port)) else ""
    name, colon, port = host.partition(":")
    return name if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    number = text.removeprefix(":")
    return number != text and number.isascii() and number.isdigit()


def _is_in_brackets(address: str) -> bool:
    """Return True if *address* is an IPv6 address, the only kind allowed in brackets."""
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, or return None; an IPv4-mapped IPv6 address becomes IPv4."""
    try:
        return _parsed_address(name)
    except ValueError:
        return None


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
            found = _parsed_address(address)
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
            raise BadForwarding("Forwarded and X-Forwarded-For name different clients")
        return clients.pop() if clients else peer

    def _rightmost(self, peer: str, hops: Sequence[str]) -> str:
        client = peer
        for hop in reversed(hops):
            try:
                client = str(_parsed_address(hop))
            except ValueError:
                raise BadForwarding(f"{hop[:64]!r} is no address") from None
            if client not in self:
                break
        return client


def _is_here(peer: str) -> bool:
    """Return True if *peer* is this machine; a Unix socket has no address and counts as such."""
    try:
        return _parsed_address(peer).is_loopback
    except ValueError:
        return True


def _hops(name: str, values: Sequence[str]) -> list[str]:
    """Return the addresses in a header in their order, without ports."""
    parts = [part.strip() for value in values for part in value.split(",")]
    if len(parts) > MAX_HOPS:
        raise BadForwarding(f"{name} lists more than {MAX_HOPS} hops")
    return [_hop_address(name, part) for part in parts]


def _hop_address(name: str, hop: str) -> str:
    """Return the address of one element of a header; ``Forwarded`` (RFC 7239) has it as ``for``."""
    if name == "Forwarded":
        found = _FOR.search(hop)
        if found is None:
            raise BadForwarding("an element of Forwarded has no for=")
        hop = found[1].strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parsed_address(text: str) -> IPv4Address | IPv6Address:
    """Parse an address; an IPv4-mapped IPv6 address becomes IPv4."""
    found = ip_address(text.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def network_of(address: str) -> str:
    """Return the network that belongs to one party: an IPv4 address, or 64 bits of an IPv6 address.

    Both notations of an IPv4 address give the same result. A string that is not an address, as for a Unix
    socket, is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)
