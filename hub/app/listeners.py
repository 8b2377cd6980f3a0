"""Listeners of devices, operators and webhooks, built from settings: limits, proxies, host names.

``hub.links.connection_limits`` enforces the limits.
"""

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hub.api.http.access import BearerTokens
from hub.api.http.idempotency import Replays
from hub.api.http.listening import listen_on_tcp
from hub.api.http.server import (
    NewPostQueue,
    OperatorServer,
    WebhookApplication,
    WebhookEndpoint,
    WebhookServer,
)
from hub.api.resource import ResourceRegistry
from hub.app.boot import HubContext
from hub.app.state_database import SOCKET
from hub.base import open_files
from hub.base.listen_errors import CannotListen
from hub.base.log import Channel
from hub.base.open_files import SPARE_FILES
from hub.base.toml.limits import Limits
from hub.base.toml.listeners import DeviceListener as DeviceSettings
from hub.base.toml.listeners import Listen, Listener
from hub.base.toml.values import HostPort, SecretMissing
from hub.connectors.webhook import WebhookSettings, problem_of
from hub.links.auth import Authenticator
from hub.links.connection_limits import STRANGERS, STRANGERS_PER_NETWORK, Gate, PortLimits
from hub.links.failed_attempts import FailedAttempts
from hub.links.hosts import Hosts, TrustedProxies
from hub.links.hub_key import HubKey
from hub.links.link_limits import LinkLimits
from hub.links.listener import DevicesPort
from hub.links.roster import Roster
from hub.links.transport import UpgradeRules
from hub.settings.connector_settings import ConnectorSettings
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings
from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, DeviceId
from storage.connectors import seen_messages
from storage.devices.attempts import AttemptLimits

log = Channel(__name__)


class Judges:
    """Services that decide who may connect, with the limits of the settings."""

    def __init__(
        self,
        context: HubContext,
        *,
        roster: Roster,
        on_taken: Callable[[DeviceId, int, BootId], None],
        on_due: Callable[[], None],
    ) -> None:
        """Create the services. *on_taken*, *on_due*: as of ``Authenticator``."""
        attempts = AttemptLimits(failures=context.settings.limits.auth_failures)
        self.of_devices = Authenticator(
            context.store,
            clock=context.clock,
            chance=context.chance,
            metrics=context.metrics,
            boot_id=context.boot_id,
            attempts=attempts,
            takeover_wait_s=roster.takeover_wait_s,
            connections_per_user=context.settings.limits.connections_per_user,
            on_taken=on_taken,
            on_due=on_due,
        )
        self.of_operators = FailedAttempts(context.store, context.clock, kind="operator", limits=attempts)

    def shut_out(self) -> Iterator[tuple[str, float]]:
        """Yield the clients locked out after failed attempts at either listener, with the seconds to wait."""
        yield from self.of_devices.shut_out()
        yield from self.of_operators.waiting()

    def apply(self, limits: Limits) -> None:
        """Apply new limits from the next attempt on."""
        attempts = AttemptLimits(failures=limits.auth_failures)
        self.of_devices.failed.limits = self.of_operators.limits = attempts
        self.of_devices.connections_per_user = limits.connections_per_user


# Connections over TCP that have not shown a good token, in all and of one address: each costs a socket and a
# deadline, and an operator shows a token with the first request.


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

    An address gets a quarter of them, also of those whose callers are not known yet: a program opens all that
    it needs at once. A request takes milliseconds, so all may be opened anew each second.
    """
    most = limits.operator_connections
    return PortLimits(
        connections=most,
        connections_per_network=max(1, most // 4),
        strangers=max(1, most // 2),
        strangers_per_network=max(1, most // 4),
        new_at_once=most,
        new_per_s=most,
    )


def hosts_of(listen: Listener) -> Hosts:
    """Return the host names by which operators may connect, or others may post."""
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


SPOOL: Final = "spool"
# Names of the sockets that the service manager holds.
DEVICES, OPERATORS, ADMIN = HELD = ("devices", "operators", "admin")


def check_reach(name: str, held: socket.socket, listen: Listener) -> None:
    """Check that hub.toml permits the address of a service manager's socket. Raises CodedError if not."""
    if held.family is socket.AF_UNIX or listen.is_for_others or listen.trusted_proxies:
        return
    host, port = held.getsockname()[:2]
    if not HostPort(host, port).is_loopback:
        table = "operator" if name == OPERATORS else name
        raise CodedError(
            ErrorCode.BAD_SETTINGS,
            f"the service manager's socket {name!r} is at {HostPort(host, port)}, which other machines reach"
            f" without TLS; in [listen.{table}] write tls = {{ certificate = PATH, key = PATH }},"
            " trusted_proxies, or insecure = true, or change ListenStream= of its socket unit",
        )


@contextmanager
def open_device_port(context: HubContext) -> Iterator[socket.socket]:
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
    with ExitStack() as opened:
        try:
            sock = opened.enter_context(listen_on_tcp(context.settings.listen.devices.address))
        except CannotListen as error:
            raise _with_others(context, error) from error
        yield sock


def _with_others(context: HubContext, error: CannotListen) -> CannotListen:
    """Return the error of the device port together with those of the other ports, which come after it."""
    listen, errors = context.settings.listen, [error]
    held = OPERATORS in context.manager.sockets
    others = {"operator": None if held else listen.operator, "webhooks": listen.webhooks}
    for name, other in others.items():
        try:
            with ExitStack() if other is None else listen_on_tcp(other.address, name):
                pass
        except CannotListen as found:
            errors.append(found)
    both = CannotListen("; ".join(map(str, errors)))
    both.hint = "; ".join(error.hint for error in errors)
    return both


def make_device_listener(
    context: HubContext,
    judges: Judges,
    *,
    hub_id: str,
    key: HubKey,
    roster: Roster,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    find_others: Callable[[], Awaitable[list[tuple[int, str]]]],
) -> DevicesPort:
    """Create the devices' listener on a bound socket. *find_others*: as of ``DevicesPort``."""
    settings, limits = context.settings.listen.devices, context.settings.limits
    spool = context.state / SPOOL
    spool.mkdir(mode=0o700, exist_ok=True)
    open_files.raise_limit(limits.connections + SPARE_FILES)
    return DevicesPort(
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
        find_others=find_others,
    )


def apply_to_devices(listener: DevicesPort, settings: Settings, *, opened: Listen, state: Path) -> None:
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
        hosts=hosts_of(listen),
        proxies=trusted_proxies(listen, opened=opened.operator),
    )


def make_operator_server(
    context: HubContext, judges: Judges, hub: ResourceRegistry, *, tls: ssl.SSLContext | None
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
        hosts=hosts_of(listen),
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
        assistants=listen.assistants,
        clock=context.clock,
    )


CONNECTIONS: Final = 128  # four times the posts at once, as senders keep connections open
CONNECTIONS_PER_NETWORK: Final = 64  # a sender's posts may all come from one address
_ANY: Final = 1_000_000  # connections at once; senders may deliver all postponed posts together


class HooksInUse:
    """Listener for webhooks and its settings.

    Signing secrets are resolved at the start and at each reload, not for each post. So a stranger cannot make
    the hub open files, and cannot detect existing webhooks by timing.
    """

    def __init__(
        self,
        context: HubContext,
        listen: Listener,
        *,
        tls: ssl.SSLContext | None,
        on_news: Callable[[str], Awaitable[None]],
    ) -> None:
        self._opened = listen
        desk = NewPostQueue(context.store, on_news)
        hooks = WebhookApplication(
            context.store,
            clock=context.clock,
            ids=context.ids,
            metrics=context.metrics,
            news=desk.news,
            hosts=hosts_of(listen),
            proxies=trusted_proxies(listen, opened=listen),
        )
        most = PortLimits(  # every client counts as a stranger until its post is verified
            connections=CONNECTIONS,
            connections_per_network=CONNECTIONS_PER_NETWORK,
            strangers=CONNECTIONS,
            strangers_per_network=CONNECTIONS_PER_NETWORK,
            new_at_once=_ANY,
            new_per_s=_ANY,
        )
        gate = Gate(most, clock=context.clock, metrics=context.metrics, prefix="webhook_")
        self.server = WebhookServer(
            hooks,
            desk,
            address=listen.address,
            gate=gate,
            tls=tls,
            on_refusal=hooks.note_refusal,
            loop=context.metrics.loop,
            clock=context.clock,
        )

    def prepare(self, settings: Settings) -> Commit:
        """Resolve every secret.

        Raises:
            Unfit: a secret does not exist or is unsuitable; nothing was changed.
        """
        hooks = [
            _hook(number, connector)
            for number, connector in enumerate(settings.connectors)
            if connector.provider == seen_messages.PROVIDER
        ]
        return partial(self._use, settings, hooks)

    def _use(self, settings: Settings, hooks: list[WebhookEndpoint]) -> None:
        server = self.server
        server.hooks.use(hooks)
        server.hooks.body_bytes = settings.limits.posted_bytes
        # If the table was removed, the listener closes at the next start.
        if (listen := settings.listen.webhooks) is not None:
            server.apply(hosts=hosts_of(listen), proxies=trusted_proxies(listen, opened=self._opened))


def _hook(number: int, connector: ConnectorSettings) -> WebhookEndpoint:
    settings = WebhookSettings.model_validate(connector.settings)
    secrets = []
    for key in ("secret", "previous_secret"):
        reference = getattr(connector, key)
        if reference is None:
            continue
        try:
            secret = reference.resolve()
        except SecretMissing as error:
            raise Unfit(("connectors", number, key), str(error)) from error
        if (problem := problem_of(settings.source, secret)) is not None:
            raise Unfit(("connectors", number, key), problem)
        secrets.append(secret)
    return WebhookEndpoint(connector.name, settings.source, tuple(secrets))
