"""The names by which a listener may be asked for: what a rebound name of a web page is not among."""

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

_OF_THIS_MACHINE: Final = frozenset({"localhost"})
_OF_SCHEMES: Final = (80, 443)  # ports that ws and wss leave out


class Hosts:
    """Names that are allowed in ``Host``: those of loopback, addresses, and those listed.

    An address is always allowed: only a name can be made to point to another machine.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._listed = frozenset(name.lower().rstrip(".") for name in names) - _OF_THIS_MACHINE
        self._names = _OF_THIS_MACHINE | self._listed

    def __contains__(self, host: str) -> bool:
        """Whether a request may say *host*, with or without a port."""
        name = _without_port(host.strip().lower())
        return name.rstrip(".") in self._names or _is_address(name)

    def are_of(self, host: str, local: tuple[str, int]) -> bool:
        """Return whether *host*, which somebody dialled, can lead to this listener alone.

        A name or an address that is listed does, with any port, since a proxy may have another one.
        What is not listed must be *local*, the address and port of this end of the connection.
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
    """The name or address; empty where *host* is not said as RFC 3986, 3.2.2 has it."""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return address if _is_in_brackets(address) and (not port or _is_port(port)) else ""
    name, colon, port = host.partition(":")
    return name if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    number = text.removeprefix(":")
    return number != text and number.isascii() and number.isdigit()


def _is_in_brackets(address: str) -> bool:
    """Whether it may stand in them: an IPv6 address, and nothing else."""
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


def _is_address(name: str) -> bool:
    return _address(name) is not None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """The address that *name* is; both spellings of an IPv4 address are one."""
    try:
        found = ip_address(name.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
