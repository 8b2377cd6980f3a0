"""Rules for the addresses that the hub may call: public over https, this machine, and configured ones.

A URL may point into the operator's own network by mistake, by a redirect, or by a name that resolves to an
internal address. So an address is checked after its name was resolved, and the connection goes to exactly
that address. This module does no I/O.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Self

import msgspec

from hub.outbound.special import Ip, Network, inner_of, kind_of
from protocol.errors import ErrorCode, HubError


class AddressRefused(HubError):
    """Address that the outbound rules forbid; nothing was sent."""

    code = ErrorCode.ADDRESS_REFUSED


class OutboundRules(msgspec.Struct, frozen=True):
    """Destinations allowed in addition to public addresses over https and this machine's services.

    Attributes:
        hosts: names that may resolve to any address.
        networks: addresses that any name may resolve to.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, allow: Iterable[str]) -> Self:
        """Parse ``[outbound] allow``: host names, addresses, and networks such as 10.0.0.0/8.

        Raises:
            ValueError: an entry is none of these; the message names it.
        """
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in allow:
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                if not _is_name(entry):
                    raise ValueError(f"{entry!r} is no host, address or network: {error}") from None
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def judge_url(self, scheme: str, host: str, *, insecure: bool = False) -> None:
        """Check the parts of a URL that need no name resolution.

        Args:
            insecure: also allow plain http to other machines.

        Raises:
            AddressRefused: http to another machine, or a scheme other than http and https.
        """
        if scheme == "https" or (scheme == "http" and (insecure or is_this_machine(host))):
            return
        if scheme == "http":
            raise AddressRefused(f"http://{host}: requests to other machines require https")
        raise AddressRefused(f"{scheme}://{host}: only https is called")

    def judge(self, host: str, resolved: Iterable[str]) -> list[str]:
        """Return the resolved addresses of *host* that may be called, in their order.

        Args:
            resolved: addresses of the name, or the host itself if it is an address.

        Raises:
            AddressRefused: no address may be called; the message says why.
        """
        fitting, refused = [], []
        for address in resolved:
            why = self._why_not(host, ip_address(address.partition("%")[0]))
            if why is None:
                fitting.append(address)
            else:
                refused.append(f"{address} is {why}")
        if not fitting:
            reason = ", ".join(refused) or "it has no address"
            raise AddressRefused(
                f"{host} is not called: {reason}; if it is meant, list it in [outbound] allow of hub.toml"
            )
        return fitting

    def _why_not(self, host: str, address: Ip) -> str | None:
        """Return why *host* may not be called at *address*, or None if it may."""
        if host.lower().rstrip(".") in self.hosts or self._is_listed(address):
            return None
        inner = inner_of(address)
        if inner is not None and self._is_listed(inner):
            return None
        if is_this_machine(host):
            return None if address.is_loopback else "not this machine"
        return kind_of(address)

    def _is_listed(self, address: Ip) -> bool:
        return any(address in network for network in self.networks)


def is_this_machine(host: str) -> bool:
    """Return True if *host*, as spelled in a URL, can only name this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _is_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    return (
        all(
            0 < len(label) <= 63
            and label.replace("-", "").replace("_", "").isalnum()
            and label.isascii()
            and not label.startswith("-")
            for label in labels
        )
        and not labels[-1].isdigit()
    )
