"""Host names allowed for a listener, as protection against DNS rebinding."""

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

_OF_THIS_MACHINE: Final = frozenset({"localhost"})
_OF_SCHEMES: Final = (80, 443)  # default ports of ws and wss


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
        return name.rstrip(".") in self._names or _is_address(name)

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


def _is_address(name: str) -> bool:
    return _address(name) is not None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, or return None; an IPv4-mapped IPv6 address becomes IPv4."""
    try:
        found = ip_address(name.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
