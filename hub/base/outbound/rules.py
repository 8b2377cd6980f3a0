"""Which network addresses the hub may call, and bounds of waits and numbers that a server requests.

A URL may point into the operator's own network by mistake, by a redirect, or by a name that resolves to an
internal address. So an address is checked after its name was resolved, and the connection goes to exactly
that address. This module does no I/O.

Special-purpose addresses belong to no machine on the internet. They are listed here because ``is_global`` of
Python's ``ipaddress`` differs between releases. Source: IANA's registries of special-purpose addresses (RFC
6890 and later registrations) and of the IPv6 address space.

Waits and other numbers that another party names, bounded where they enter.

A header, an answer or a frame may name 1e308 seconds, a date of 2099, or epoch seconds in the place of a
duration. Only bounded numbers leave this module, and a wait that was shortened carries a note for a person.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple, Self

import msgspec

from protocol.backoff import MAX_WAIT_S
from protocol.errors import ErrorCode, HubError

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Metadata services of clouds, which hand out keys. Most lie in refused networks anyway; they are listed so
# that the refusal names the metadata service.
_METADATA: Final = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
_INTERNET_6: Final = IPv6Network("2000::/3")  # all global unicast addresses that are assigned
_SET_ASIDE: Final = "in a network that is set aside, and no machine's on the internet"
# The first match counts.
_KINDS_4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/32", "no address"),
        ("127.0.0.0/8", "this machine"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "a group of machines"),
        ("10.0.0.0/8", "in a private network"),
        ("100.64.0.0/10", "in a private network"),  # of a provider, before carrier-grade NAT
        ("172.16.0.0/12", "in a private network"),
        ("192.168.0.0/16", "in a private network"),
        ("0.0.0.0/8", _SET_ASIDE),
        ("192.0.0.0/24", _SET_ASIDE),  # for protocol assignments
        ("192.0.2.0/24", _SET_ASIDE),  # for documentation, as are the next two
        ("198.51.100.0/24", _SET_ASIDE),
        ("203.0.113.0/24", _SET_ASIDE),
        ("192.88.99.0/24", _SET_ASIDE),  # formerly 6to4 relays
        ("198.18.0.0/15", _SET_ASIDE),  # for benchmarks
        ("240.0.0.0/4", _SET_ASIDE),
    )
)
_KINDS_6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "no address"),
        ("::1/128", "this machine"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "a group of machines"),
        ("fc00::/7", "in a private network"),
        ("fec0::/10", "in a private network"),  # site-local addresses, deprecated in 2004
        ("64:ff9b:1::/48", "in a private network"),  # IPv4 addresses behind a local NAT64
        ("2001::/23", _SET_ASIDE),  # for protocols: Teredo, ORCHID, benchmarks and others
        ("2001:db8::/32", _SET_ASIDE),  # for documentation, as is the next
        ("3fff::/20", _SET_ASIDE),
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")
_ISATAP: Final = 0x00005EFE  # before the IPv4 address, apart from the bits for "universal" and "group"
_ISATAP_MASK: Final = 0xFCFFFFFF


def kind_of(address: Ip) -> str | None:
    """Return why *address* is not a public one, as a part of a sentence, or None if it is public.

    An IPv6 address that embeds an IPv4 address is classified as that address. One of ISATAP (RFC 5214), which
    has any prefix, is public if the prefix and the embedded address are.
    """
    if address in _METADATA:
        return "the metadata service of a cloud"
    is_isatap = isinstance(address, IPv6Address) and int(address) >> 32 & _ISATAP_MASK == _ISATAP
    if is_isatap and (kind := kind_of(IPv4Address(int(address) & 0xFFFFFFFF))) is not None:
        return kind
    inner = inner_of(address)
    if inner is not None:
        return kind_of(inner)
    kinds = _KINDS_4 if isinstance(address, IPv4Address) else _KINDS_6
    found = next((kind for network, kind in kinds if address in network), None)
    if found is None and isinstance(address, IPv6Address) and address not in _INTERNET_6:
        return _SET_ASIDE
    return found


def inner_of(address: Ip) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address embeds (mapped, NAT64, 6to4), or None."""
    if not isinstance(address, IPv6Address):
        return None
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


class AddressRefused(HubError):
    """Address that the outbound rules forbid; nothing was sent."""

    code = ErrorCode.ADDRESS_REFUSED


class OutboundRules(msgspec.Struct, frozen=True):
    """Destinations allowed in addition to public addresses over https and this machine's services.

    Attributes:
        hosts: names that may resolve to any address.
        networks: addresses that any name may resolve to.
        may_call_here: this machine may be called, by a URL that names it or an address that is listed.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    may_call_here: bool = True

    @classmethod
    def parse(cls, allow: Iterable[str], *, may_call_here: bool = True) -> Self:
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
        return cls(frozenset(hosts), tuple(networks), may_call_here)

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
        if self.lists(host):
            return None
        if not self.may_call_here and is_here(address):
            return "this machine"
        if self._is_listed(address):
            return None
        inner = inner_of(address)
        if inner is not None and self._is_listed(inner):
            return None
        if is_this_machine(host):
            return None if _is_loopback(address) else "not this machine"
        return kind_of(address)

    def lists(self, host: str) -> bool:
        """Return True if the name of the host is listed, at whatever address it is."""
        return host.lower().rstrip(".") in self.hosts

    def _is_listed(self, address: Ip) -> bool:
        return any(address in network for network in self.networks)


def is_this_machine(host: str) -> bool:
    """Return True if *host*, as spelled in a URL, can only name this machine."""
    try:
        return _is_loopback(ip_address(host.strip("[]")))
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def leads_here(host: str) -> bool:
    """Return True if a host, as ``parse_target`` returns it, leads to this machine without a look-up."""
    try:
        return is_here(ip_address(host))
    except ValueError:
        return f".{host}".endswith(".localhost")


def is_here(address: Ip) -> bool:
    """Return True for loopback addresses, and for no address: systems connect to themselves then."""
    return kind_of(address) in ("this machine", "no address")


def _is_loopback(address: Ip) -> bool:
    return address.is_loopback and inner_of(address) is None  # releases of Python differ for embedded ones


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


_MIN_EPOCH_S: Final = 1e9  # more seconds than this are an instant after 2001, and no duration
_MAX_CHARACTERS: Final = 64  # of a number or a date in a header


class RequestedWait(NamedTuple):
    """Wait in seconds that another party requested, at most MAX_WAIT_S.

    *note*: what it had requested, if that was more; else empty. To be appended to the message for a person.
    """

    seconds: float
    note: str = ""


def bounded_wait(seconds: float) -> RequestedWait:
    """Return a wait of *seconds*, within 0 and MAX_WAIT_S."""
    if seconds <= MAX_WAIT_S:
        return RequestedWait(max(0.0, seconds))
    note = f" (a wait of {seconds / 86_400:.3g} days was requested; the next attempt is after a day)"
    return RequestedWait(MAX_WAIT_S, note)


def retry_after(headers: Mapping[str, str], now: datetime) -> RequestedWait | None:
    """Return the wait that the headers request; None if there is none, or if it is unreadable or negative.

    It is given in milliseconds, in seconds, as a date (RFC 9110, 10.2.3), or as epoch seconds.

    Args:
        headers: names in lower case, or in any case if the mapping ignores it.
        now: wall time, aware, to compare with a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (number := finite_number(headers.get(name))) is not None:
            seconds = number * unit
            if seconds < 0:
                return None
            return bounded_wait(seconds - now.timestamp() if seconds > _MIN_EPOCH_S else seconds)
    try:
        at = parsedate_to_datetime(headers["retry-after"][:_MAX_CHARACTERS])
        return bounded_wait((at - now).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):  # a TypeError for a date without a time zone
        return None


def finite_number(text: str | None) -> float | None:
    """Parse a number of a header, or return None."""
    try:
        number = float((text or "")[:_MAX_CHARACTERS])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def bounded(value: Any, *, least: float, most: float, default: float) -> float:
    """Return a foreign number within *least* and *most*; *default* if it is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    except OverflowError:  # an integer beyond any float
        return most
    return default if math.isnan(number) else min(max(number, least), most)
