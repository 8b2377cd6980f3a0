"""Which addresses the hub may call: public ones over https, this machine, and what hub.toml allows.

A URL may come to point into the operator's own network by a mistake, by a redirect,
or by a name whose owner lets it resolve to an inner address. So an address is judged
after it was resolved, and the connection goes to that very address. Pure.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Self

import msgspec

from hub.outbound.special import Ip, Network, inner_of, kind_of
from protocol.errors import ErrorCode, HubError


class AddressRefused(HubError):
    """The hub does not call this address; nothing was sent."""

    code = ErrorCode.ADDRESS_REFUSED


class OutboundRules(msgspec.Struct, frozen=True):
    """What may be called beside public addresses over https and services of this machine.

    Attributes:
        hosts: names that may resolve to any address.
        networks: addresses that any name may resolve to.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, allow: Iterable[str]) -> Self:
        """Read ``[outbound] allow``: names of hosts, addresses, and networks such as 10.0.0.0/8.

        Raises:
            ValueError: saying which entry is none of these.
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
        """Judge what can be seen before a name is resolved.

        Args:
            insecure: plain http may be used for hosts elsewhere too.

        Raises:
            AddressRefused: http to another machine, or no web address at all.
        """
        if scheme == "https" or (scheme == "http" and (insecure or is_this_machine(host))):
            return
        if scheme == "http":
            raise AddressRefused(f"http://{host}: what goes to another machine is sent over https only")
        raise AddressRefused(f"{scheme}://{host}: only https is called")

    def judge(self, host: str, resolved: Iterable[str]) -> list[str]:
        """Those addresses of *host* that may be called, in their order.

        Args:
            resolved: what the name resolved to, or the host itself where it is an address.

        Raises:
            AddressRefused: there is none among them; it says why.
        """
        fitting, refused = [], []
        for address in resolved:
            why = self._why_not(host, ip_address(address.partition("%")[0]))
            if why is None:
                fitting.append(address)
            else:
                refused.append(f"{address} is {why}")
        if not fitting:
            told = ", ".join(refused) or "it has no address"
            raise AddressRefused(
                f"{host} is not called: {told}; if it is meant, list it in [outbound] allow of hub.toml"
            )
        return fitting

    def _why_not(self, host: str, address: Ip) -> str | None:
        """Why *host* may not be called at *address*; ``None`` if it may."""
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
    """Whether *host*, as a URL has it, names this machine and could name no other."""
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
