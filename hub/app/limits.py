"""Limits of both listeners, converted from the settings."""

from ipaddress import ip_address
from pathlib import Path

from hub.links.forwarded import TrustedProxies
from hub.links.hosts import Hosts
from hub.links.limits import LinkLimits, PortLimits
from hub.links.upgrade import UpgradeRules
from hub.settings.limit_settings import Limits
from hub.settings.listen_settings import DeviceListener, Listener
from storage.agents.made_agents import AgentLimits


def link_limits(limits: Limits, *, spool: Path) -> LinkLimits:
    """Return the limits of one connection."""
    return LinkLimits(
        hello_timeout_s=limits.hello_timeout_s,
        hello_bytes=limits.hello_bytes,
        message_bytes=limits.message_bytes,
        message_fragments=limits.message_fragments,
        frames_per_s=limits.frames_per_s,
        bytes_per_s=limits.bytes_per_s,
        outgoing_bytes=limits.outgoing_bytes,
        outgoing_frames=limits.outgoing_frames,
        pending_calls=limits.pending_calls,
        write_deadline_s=limits.write_timeout_s,
        spool_dir=spool,
    )


def port_limits(limits: Limits) -> PortLimits:
    """Return the limits of the number of connections."""
    return PortLimits(
        connections=limits.connections,
        connections_per_network=limits.connections_per_network,
        connections_per_user=limits.connections_per_user,
        strangers=limits.strangers,
        strangers_per_network=limits.strangers_per_network,
        new_at_once=limits.new_connections_at_once,
        new_per_s=limits.new_connections_per_s,
        spare_files=limits.spare_files,
    )


def trusted_proxies(listen: Listener, *, opened: Listener) -> TrustedProxies:
    """Return the proxies trusted at a listener, and whether they are the only way for other machines.

    Args:
        opened: settings at the listener's start, which determine TLS until a restart.
    """
    return TrustedProxies(listen.trusted_proxies, are_only_way=not opened.is_for_others)


def operator_port_limits(limits: Limits) -> PortLimits:
    """Return the limits of the number of operator connections over TCP."""
    return PortLimits(
        connections=limits.operator_connections,
        connections_per_network=limits.operator_connections_per_network,
        strangers=limits.operator_strangers,
        strangers_per_network=limits.operator_strangers_per_network,
        new_at_once=limits.operator_new_connections_at_once,
        new_per_s=limits.operator_new_connections_per_s,
        spare_files=limits.spare_files,
    )


def operator_hosts(listen: Listener) -> Hosts:
    """Return the host names by which operators may connect."""
    return Hosts((listen.address.host, *listen.hosts))


def upgrade_rules(listen: DeviceListener, *, opened: DeviceListener) -> UpgradeRules:
    """Return the host names, web origins and proxies accepted from devices.

    Args:
        opened: settings at the listener's start, as for ``trusted_proxies``.
    """
    return UpgradeRules(
        hosts=(*listen.hosts, *_names(listen.address.host)),
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


def agent_limits(limits: Limits) -> AgentLimits:
    """Return the limits of the number of agents and templates."""
    return AgentLimits(
        agents=limits.agents, agents_per_user=limits.agents_per_user, templates=limits.templates
    )
