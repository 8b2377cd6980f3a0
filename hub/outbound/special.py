"""Addresses that are not those of a machine on the internet.

From IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890 and what was
registered since) and of the IPv6 address space. Spelled out here, because what
Python's ``ipaddress`` calls global differs from one release to the next. Pure.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Where clouds answer questions about the machine, keys included. Most are in networks that are
# refused anyway; they are named so that the refusal says what was nearly asked.
_METADATA: Final = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
_INTERNET_6: Final = IPv6Network("2000::/3")  # all that is given out to anybody
_SET_ASIDE: Final = "in a network that is set aside, and no machine's on the internet"
# The first that fits.
_KINDS_4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/32", "no address"),
        ("127.0.0.0/8", "this machine"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "a group of machines"),
        ("10.0.0.0/8", "in a private network"),
        ("100.64.0.0/10", "in a private network"),  # of a provider, before its translation
        ("172.16.0.0/12", "in a private network"),
        ("192.168.0.0/16", "in a private network"),
        ("0.0.0.0/8", _SET_ASIDE),
        ("192.0.0.0/24", _SET_ASIDE),  # for protocols
        ("192.0.2.0/24", _SET_ASIDE),  # for documents, as the two below
        ("198.51.100.0/24", _SET_ASIDE),
        ("203.0.113.0/24", _SET_ASIDE),
        ("192.88.99.0/24", _SET_ASIDE),  # was of 6to4 relays
        ("198.18.0.0/15", _SET_ASIDE),  # for measurements
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
        ("fec0::/10", "in a private network"),  # as it was spelled until 2004
        ("64:ff9b:1::/48", "in a private network"),  # an IPv4 one, behind a translation of its own
        ("2001::/23", _SET_ASIDE),  # for protocols: Teredo, ORCHID, measurements and more
        ("2001:db8::/32", _SET_ASIDE),  # for documents, as the one below
        ("3fff::/20", _SET_ASIDE),
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")


def kind_of(address: Ip) -> str | None:
    """What keeps *address* from being one on the internet, as a part of a sentence; ``None`` if it is one.

    An IPv6 address that stands for an IPv4 one is of that one's kind.
    """
    if address in _METADATA:
        return "where a cloud tells about this machine"
    inner = inner_of(address)
    if inner is not None:
        return kind_of(inner)
    kinds = _KINDS_4 if isinstance(address, IPv4Address) else _KINDS_6
    found = next((kind for network, kind in kinds if address in network), None)
    if found is None and isinstance(address, IPv6Address) and address not in _INTERNET_6:
        return _SET_ASIDE
    return found


def inner_of(address: Ip) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4): that is who is reached."""
    if not isinstance(address, IPv6Address):
        return None
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None
