"""Limits of both listeners, converted from the settings."""

import math
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hub.links.gate import STRANGERS, STRANGERS_PER_NETWORK, LinkLimits, PortLimits
from hub.links.hosts import Hosts, TrustedProxies
from hub.links.transport import UpgradeRules
from hub.settings.limit_settings import DeviceListener as DeviceSettings
from hub.settings.limit_settings import Limits, Listener

# Connections over TCP that have not shown a good token, in all and of one address: each costs a socket and a
# deadline, and an operator shows a token with the first request.
OPERATOR_STRANGERS: Final = 64
OPERATOR_STRANGERS_PER_NETWORK: Final = 16


def link_limits(limits: Limits, *, spool: Path) -> LinkLimits:
    """Return the limits of one connection."""
    return LinkLimits(frames_per_s=limits.frames_per_s, bytes_per_s=limits.bytes_per_s, spool_dir=spool)


def port_limits(limits: Limits) -> PortLimits:
    """Return the limits of the number of connections.

    Where more devices of one address may connect, as behind a proxy, more of them may wait to be let in.
    """
    strangers_of_one = max(STRANGERS_PER_NETWORK, limits.connections_per_network // 2)
    return PortLimits(
        connections=limits.connections,
        connections_per_network=limits.connections_per_network,
        strangers=max(STRANGERS, strangers_of_one),
        strangers_per_network=strangers_of_one,
        new_at_once=math.ceil(2 * limits.new_connections_per_s),
        new_per_s=limits.new_connections_per_s,
    )


def trusted_proxies(listen: Listener, *, opened: Listener) -> TrustedProxies:
    """Return the proxies trusted at a listener, and whether they are the only way for other machines.

    Args:
        opened: settings at the listener's start, which determine TLS until a restart.
    """
    return TrustedProxies(listen.trusted_proxies, are_only_way=not opened.is_for_others)


def operator_port_limits(limits: Limits) -> PortLimits:
    """Return the limits of the number of operator connections over TCP.

    An address gets a quarter of them. A request takes milliseconds, so all may be opened anew each second.
    """
    most = limits.operator_connections
    return PortLimits(
        connections=most,
        connections_per_network=max(1, most // 4),
        strangers=OPERATOR_STRANGERS,
        strangers_per_network=OPERATOR_STRANGERS_PER_NETWORK,
        new_at_once=most,
        new_per_s=most,
    )


def operator_hosts(listen: Listener) -> Hosts:
    """Return the host names by which operators may connect."""
    return Hosts((listen.address.host, *listen.hosts))


def upgrade_rules(
    listen: DeviceSettings, *, opened: DeviceSettings, address: str | None = None
) -> UpgradeRules:
    """Return the host names, web origins and proxies accepted from devices.

    Args:
        opened: settings at the listener's start, as for ``trusted_proxies``.
        address: URL of this node for devices, the host of which is accepted.
    """
    dialled = () if address is None else _names(urlsplit(address).hostname or "")
    return UpgradeRules(
        hosts=(*listen.hosts, *_names(listen.address.host), *dialled),
        origins=listen.origins,
        proxies=trusted_proxies(listen, opened=opened),
    )


def _names(host: str) -> tuple[str, ...]:
    """Return *host* if it is a name; an IP address is known from the connection itself."""
    try:
        ip_address(host)
    except ValueError:
        return (host,)
    return ()
