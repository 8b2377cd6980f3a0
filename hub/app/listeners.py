"""Listeners: the devices' port and the operators' sockets."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hub import open_files
from hub.api.door.bearer import BearerTokens
from hub.api.door.idempotency import Replays
from hub.api.door.server import OperatorServer
from hub.api.door.sockets import listen_on_tcp
from hub.api.parameters import Hub
from hub.app.context import Context
from hub.app.identity import Judges
from hub.app.limits import (
    link_limits,
    operator_hosts,
    operator_port_limits,
    port_limits,
    trusted_proxies,
    upgrade_rules,
)
from hub.links.auth import HubKey
from hub.links.gate import Gate
from hub.links.listener import DeviceListener
from hub.links.roster import Roster
from hub.log import Channel
from hub.open_files import SPARE_FILES
from hub.settings.limit_settings import Listen, Listener
from hub.settings.settings import Settings
from hub.settings.values import Address
from protocol.errors import CodedError, ErrorCode

log = Channel(__name__)

SOCKET: Final = "hub.sock"
SPOOL: Final = "spool"
# Names of the sockets that the service manager holds.
DEVICES, OPERATORS, ADMIN = HELD = ("devices", "operators", "admin")


def check_reach(name: str, held: socket.socket, listen: Listener) -> None:
    """Check that hub.toml permits the address of a service manager's socket. Raises CodedError if not."""
    if held.family is socket.AF_UNIX or listen.is_for_others or listen.trusted_proxies:
        return
    host, port = held.getsockname()[:2]
    if not Address(host, port).is_loopback:
        table = "operator" if name == OPERATORS else name
        raise CodedError(
            ErrorCode.BAD_SETTINGS,
            f"the service manager's socket {name!r} is at {Address(host, port)}, which other machines reach"
            f" without TLS; in [listen.{table}] write tls = {{ certificate = PATH, key = PATH }},"
            " trusted_proxies, or insecure = true, or change ListenStream= of its socket unit",
        )


@contextmanager
def open_device_port(context: Context) -> Iterator[socket.socket]:
    """Yield the device port: the service manager's socket, else a new one bound to the configured address.

    Raises:
        CannotListen: the address is in use, or does not belong to this machine.
        CodedError (BAD_SETTINGS): the service manager's socket has a forbidden address.
    """
    for name in context.manager.sockets.keys() - set(HELD):
        log.warning("socket.unknown", name=name, known=", ".join(HELD))
    if (held := context.manager.sockets.get(DEVICES)) is not None:
        check_reach(DEVICES, held, context.settings.listen.devices)
        yield held
        return
    with listen_on_tcp(context.settings.listen.devices.address) as sock:
        yield sock


def make_device_listener(
    context: Context,
    judges: Judges,
    *,
    hub_id: str,
    key: HubKey,
    roster: Roster,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
) -> DeviceListener:
    """Create the devices' listener on a bound socket."""
    settings, limits = context.settings.listen.devices, context.settings.limits
    spool = context.state / SPOOL
    spool.mkdir(mode=0o700, exist_ok=True)
    open_files.raise_limit(limits.connections + SPARE_FILES)
    return DeviceListener(
        sock=sock,
        sock_outlives_us=DEVICES in context.manager.sockets,
        hub_id=hub_id,
        key=key,
        authenticator=judges.of_devices,
        roster=roster,
        clock=context.clock,
        chance=context.chance,
        metrics=context.metrics,
        limits=link_limits(limits, spool=spool),
        port_limits=port_limits(limits),
        rules=upgrade_rules(settings, opened=settings, address=context.settings.cluster.address),
        tls=tls,
        compression=settings.compression,
        ping_every_s=limits.ping_interval_s,
        pong_within_s=limits.ping_timeout_s,
    )


def apply_to_devices(listener: DeviceListener, settings: Settings, *, opened: Listen, state: Path) -> None:
    """Apply settings to new device connections; *opened* has the settings at the listeners' start."""
    limits = settings.limits
    listener.apply(
        limits=link_limits(limits, spool=state / SPOOL),
        port_limits=port_limits(limits),
        rules=upgrade_rules(settings.listen.devices, opened=opened.devices, address=settings.cluster.address),
        ping_every_s=limits.ping_interval_s,
        pong_within_s=limits.ping_timeout_s,
    )


def apply_to_operators(server: OperatorServer, settings: Settings, *, opened: Listen) -> None:
    """Apply settings to new operator requests; *opened* has the settings at the listeners' start."""
    listen = settings.listen.operator
    server.apply(
        hosts=operator_hosts(listen),
        proxies=trusted_proxies(listen, opened=opened.operator),
    )


def make_operator_server(
    context: Context, judges: Judges, hub: Hub, *, tls: ssl.SSLContext | None
) -> OperatorServer:
    """Create the operators' listener.

    Raises:
        CodedError (BAD_SETTINGS): the service manager's TCP socket has a forbidden address.
    """
    limits, listen = context.settings.limits, context.settings.listen.operator
    if (held := context.manager.sockets.get(OPERATORS)) is not None:
        check_reach(OPERATORS, held, listen)
    return OperatorServer(
        hub,
        address=listen.address,
        unix_path=context.state / SOCKET,
        hosts=operator_hosts(listen),
        proxies=trusted_proxies(listen, opened=listen),
        bearer=BearerTokens(
            context.store,
            clock=context.clock,
            attempts=judges.of_operators,
            on_limit=context.metrics.limits_reached.labels("auth_failures").inc,
        ),
        replays=Replays(context.store, clock=context.clock),
        gate=Gate(
            operator_port_limits(limits), clock=context.clock, metrics=context.metrics, prefix="operator_"
        ),
        connections=limits.operator_connections,
        on_refusal=lambda code: context.metrics.operator_refusals.labels(code).inc(),
        loop=context.metrics.loop,
        requests=limits.operator_requests,
        event_streams=limits.operator_event_streams,
        metrics=context.metrics.render,
        tcp=held,
        tls=tls,
        admin=context.manager.sockets.get(ADMIN),
        clock=context.clock,
    )
