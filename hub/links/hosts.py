"""The names by which a listener may be asked for: what a rebound name of a web page is not among."""

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import Final

_OF_THIS_MACHINE: Final = frozenset({"localhost"})


class Hosts:
    """Names that are allowed in ``Host``: those of loopback, addresses, and those listed.

    An address is always allowed: only a name can be made to point to another machine.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = _OF_THIS_MACHINE | {name.lower().rstrip(".") for name in names}

    def __contains__(self, host: str) -> bool:
        """Whether a request may say *host*, with or without a port."""
        name = _without_port(host.strip().lower())
        return name.rstrip(".") in self._names or _is_address(name)


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
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
