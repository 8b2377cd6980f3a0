"""Tables of hub.toml about the hub itself: limits, budget, retention, backup, listeners and cluster."""

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    StringConstraints,
    Tag,
    model_validator,
)

from hub.base.toml.values import (
    IN_THE_OPEN,
    REFER_TO_IT,
    REQUIRED,
    Address,
    Days,
    Delay,
    Flag,
    Name,
    Seconds,
    SecretMissing,
    SecretRef,
    SettingsPath,
    Table,
    Usd,
    Whole,
    live,
    reconnect,
    refusal,
    restart,
    shaped,
    url_parts,
)

NANOS: Final = 1_000_000_000  # of a US dollar
KIB, MIB = 1024, 1024 * 1024
LogBytes = Annotated[int, Field(strict=True, ge=64 * KIB, le=KIB * MIB)]
DatabaseBytes = Annotated[int, Field(strict=True, ge=16 * MIB)]
ConvertBytes = Annotated[int, Field(strict=True, ge=256 * MIB)]  # Python and its libraries take 160 MiB
Rate = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e9)]  # per second


class Limits(Table):
    """``[limits]``: resource limits; reaching one results in a named error.

    Of several hubs on one database, each counts a limit *per node* alone, and all together one *per cluster*.
    """

    connections: Whole = live(
        10_000, "Concurrent device connections; also bounded by the limit of open files.", "per node"
    )
    connections_per_network: Whole = live(
        32, "Concurrent device connections of one IPv4 address or IPv6 /64.", "per node"
    )
    connections_per_user: Whole = live(16, "Connected devices of one user.", "per cluster")
    agents_per_user: Whole = live(
        1_000, "Agents of one user, of this file and of the API, without archived ones.", "per cluster"
    )
    new_connections_per_s: Rate = live(
        10.0, "New connections per second of one address; a burst of two seconds is allowed.", "per node"
    )
    frames_per_s: Rate = reconnect(
        200.0, "Frames per second of one device, pings included; faster devices are read slower."
    )
    bytes_per_s: Rate = reconnect(
        4.0 * MIB, "Bytes per second of one device; faster devices are read slower."
    )
    requests_per_s: Rate = live(
        50.0, "Requests per second of one device; a burst of four seconds is allowed."
    )
    auth_failures: Whole = live(10, "Failed attempts per minute of an address, key or token.")
    ping_interval_s: Seconds = reconnect(15.0, "Seconds between two pings to a device.")
    ping_timeout_s: Seconds = reconnect(
        10.0, "Seconds without an answer to a ping after which a connection is closed."
    )
    runs: Whole = live(32, "Concurrent runs.", "per node")
    runs_per_device: Whole = live(1, "Concurrent runs on one device.", "per cluster")
    connector_runs: Whole = live(8, "Concurrent runs that read connectors.", "per node")
    run_files: Whole = live(2_000, "Files read in one run; another run reads the others at once.")
    run_bytes: Whole = live(64 * 1024 * 1024, "Bytes read in one run; another run reads the others at once.")
    items_per_file: Whole = live(
        2_000, "New items of one file; with more, the others are left out and the file fails."
    )
    items_per_run: Whole = live(10_000, "New items of one run; the next run reads the other files.")
    run_wall_s: Seconds = live(3_600.0, "Time limit of a run, unless its schedule has one.")
    convert_memory_bytes: ConvertBytes = live(
        512 * MIB, "Memory limit of the process that converts a file to text."
    )
    convert_seconds: Seconds = live(60.0, "Time limit of that process; a file that takes longer is left out.")
    connected_s: Delay = live(5.0, "Time that a device is connected before it gets a scheduled run.")
    device_grace_s: Delay = live(15.0, "Time that a run waits for its device to reconnect.")
    drain_timeout_s: Seconds = live(45.0, "Time that active runs have to end when the hub stops.")
    restart_hold_s: Delay = restart(
        600.0, "Time without catching up after three starts with crashes between them."
    )
    posted_bytes: Whole = live(256 * KIB, "Maximum size of a webhook body.")
    operator_connections: Whole = restart(
        256, "Concurrent operator connections over TCP; as many again over the Unix sockets.", "per node"
    )
    operator_requests: Whole = restart(
        64,
        "Concurrent operator requests; half for one token or user, a quarter for the Unix socket.",
        "per node",
    )
    operator_event_streams: Whole = restart(
        16, "Concurrent event streams, divided in the same way.", "per node"
    )
    database_bytes: DatabaseBytes = live(
        4096 * MIB,
        "Size of the database, without free pages, above which ended work is kept for half of its periods of"
        " [retention], then for a quarter, and so on; two days at least.",
        "per cluster",
    )
    log_bytes: LogBytes = live(16 * MIB, "Bytes of log entries in the state folder, for hub logs --since.")


DEFAULTS: Final = Limits()


class BudgetSettings(Table):
    """``[budget]``: spending limits, which are never exceeded. Money counts where a model has a price."""

    run_usd: Usd = live(1.0, "Spending limit of a run in US dollars; its other files fail then. 0: no limit.")
    run_tokens: Whole | None = live(None, "Token limit of a run, of prompts and answers.")
    day_usd: Usd | None = live(
        None, "Spending limit of all runs per day (UTC) in US dollars; runs wait for the next day then."
    )
    day_tokens: Whole | None = live(
        None, "Token limit of all runs per day (UTC); runs wait for the next day then."
    )

    @property
    def run_cost_nanos(self) -> int | None:
        """Limit of one run in nanodollars, or None without a limit."""
        return round(self.run_usd * NANOS) or None

    @property
    def day_cost_nanos(self) -> int | None:
        """Limit of a day in nanodollars, or None without a limit."""
        return None if self.day_usd is None else round(self.day_usd * NANOS)


class RetentionSettings(Table):
    """``[retention]``: how long ended work is kept. Work in progress is always kept."""

    runs_days: Days = live(30, "Runs that succeeded.")
    failed_runs_days: Days = live(90, "Runs that failed.")
    runs_kept: Whole = live(50, "Newest ended runs of each agent that are kept at any age.")
    payload_days: Days = live(7, "Text of items, after the end of their run.")
    excerpts_days: Days = live(30, "Lines around the quote of an item that waits for a verdict, at most.")
    fires_days: Days = live(90, "Decisions about fires of schedules.")
    fires_kept: Whole = live(10_000, "Maximum number of fires per schedule.")
    activity_days: Days = live(90, "Notifications.")
    answers_days: Days = live(30, "Responses to requests with an idempotency key.")
    model_answers_days: Days = live(30, "Answers of models, since their last use.")
    model_answers_kept: Whole = live(100_000, "Maximum number of model answers.")
    model_calls_days: Days = live(90, "Costs of requests to models.")
    metric_minutes_days: Days = live(7, "Metrics of agents, by minute.")
    metric_hours_days: Days = live(90, "Metrics of agents, by hour; older reports are rejected.")
    messages_days: Days = live(90, "Messages between agents, after their final state.")
    seen_messages_days: Days = live(400, "Keys of messages that were read.")
    posted_days: Days = live(7, "Webhook posts and sign-ins, after their final state.")
    items_days: Days = live(
        400, "Items that no device has, and settled files, after they are gone from their source."
    )
    questions_days: Days = live(90, "Questions to people, after they were answered or withdrawn.")


class AuditSettings(Table):
    """``[audit]``: how long the record of who changed what is kept."""

    keep_days: Days = live(400, "Entries older than this are removed.")


class BackupSettings(Table):
    """``[backup]``: the backups that the hub makes of itself, in its state folder."""

    daily: Flag = live(True, "Make a backup every day, if the database is a file of this hub.")
    keep_days: Whole = live(7, "Number of days whose newest backup is kept.")
    keep_weeks: Whole = live(4, "Number of weeks whose newest backup is kept.")


def _fault_of(url: str) -> str | None:
    """Return what is wrong with the address of a bus, or None."""
    scheme, _, rest = url.partition("://")
    parts = url_parts(f"{scheme}://{rest.rpartition('@')[2]}", "nats", "tls")
    is_right = parts is not None and not parts.path.strip("/") and not parts.query
    return None if is_right else "not the address of a NATS server"


def _bus_url(url: str) -> str:
    if (fault := _fault_of(url)) is not None:
        raise refusal("bus", fault, hint='as in "nats://10.0.0.5:4222", or "tls://..." with TLS')
    if "@" in url:
        raise refusal("literal_secret", IN_THE_OPEN, hint=REFER_TO_IT)
    return url


BusUrl = Annotated[str, AfterValidator(_bus_url), shaped("^(nats|tls)://", "nats://10.0.0.5:4222")]


def _node_address(url: str) -> str:
    parts = url_parts(url, "ws", "wss")
    if parts is None or parts.path.strip("/") or parts.query or parts.fragment or "@" in url:
        raise refusal("address", "not the address of a hub", hint='as in "wss://a.example:8770"')
    return url


NodeAddress = Annotated[
    str,
    StringConstraints(max_length=300),
    AfterValidator(_node_address),
    shaped("^wss?://[^/?#@ ]+/?$", "wss://a.example:8770"),
]


def _kind(value: object) -> str | None:
    if value is None:
        return None
    return "reference" if isinstance(value, dict | SecretRef) else "plain"


class ClusterSettings(Table):
    """``[cluster]``: this hub as one of several on one PostgreSQL.

    An address with a user or token in it is a secret, and must be a reference.
    """

    bus: (
        Annotated[
            Annotated[BusUrl, Tag("plain")] | Annotated[SecretRef, Tag("reference")], Discriminator(_kind)
        ]
        | None
    ) = restart(None, "NATS server through which the nodes reach each other.")
    address: NodeAddress | None = restart(None, "Address of this node for devices, as they dial it.")
    node: Name | None = restart(None, "Name of this node; by default that of the machine.")

    def resolved(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the bus's address, resolved if it is a reference; empty without a bus.

        Raises:
            SecretMissing: the reference cannot be resolved, or not to the address of a bus.
        """
        if self.bus is None or isinstance(self.bus, str):
            return self.bus or ""
        url = self.bus.resolve(environ)
        if (fault := _fault_of(url)) is not None:
            raise SecretMissing(f"{self.bus.place}: {fault}")
        return url


def _address(value: object) -> object:
    if not isinstance(value, str):
        raise refusal("address", "an address is host:port", hint='as in "127.0.0.1:8770"')
    try:
        return Address.parse(value)
    except ValueError as error:
        raise refusal("address", str(error), hint='as in "127.0.0.1:8770"') from error


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        hint = 'as in "10.0.0.5" or "10.0.0.0/24"'
        raise refusal("network", "not an address or a network of addresses", hint=hint) from error


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if not host or set(host) & set(":/@ []"):
        raise refusal("host", "a host name has no port and no scheme", hint='as in "hub.example"')
    return host


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if not parts.scheme or not parts.hostname or parts.path or parts.query:
        hint = 'as in "https://app.example", or "app://obsidian.md" for the pages of an application'
        raise refusal("origin", "not the origin of a web page", hint=hint)
    return text


def _assistant_client(text: str) -> str:
    name, _, address = text.partition(" ")
    parts = urlsplit(address)
    is_other = parts.scheme not in ("", "http", "javascript", "data", "file", "blob", "vbscript")
    is_here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not name or not (is_other or is_here) or not parts.netloc or parts.fragment or "@" in parts.netloc:
        hint = 'as in "editor http://127.0.0.1/callback"; the address is with https, or at this machine'
        raise refusal("assistant_client", "not a name and an address to go on at", hint=hint)
    return text


Listening = Annotated[
    Address,
    BeforeValidator(_address),
    PlainSerializer(str, return_type=str),
    shaped(r"^(\[[0-9A-Fa-f:.]+\]|[^:/@ \[\]]+):[0-9]{1,5}$", "127.0.0.1:8770", "[::1]:8770"),
]
Network = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_network),
    shaped(r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$", "10.0.0.5", "10.0.0.0/24"),
]
Host = Annotated[
    str,
    StringConstraints(max_length=253),
    AfterValidator(_host),
    shaped(r"^[^:/@ \[\]]{1,253}$", "hub.example"),
]
Origin = Annotated[
    str, AfterValidator(_origin), shaped(r"^[a-z][a-z0-9+.-]*://[^/?#@ ]+$", "https://app.example")
]
AssistantClient = Annotated[
    str,
    StringConstraints(pattern=r"^[\w.-]{1,64} [!-~]{1,500}$(?!\n)"),
    AfterValidator(_assistant_client),
    shaped(r"^[\w.-]{1,64} [!-~]{1,500}$", "editor http://127.0.0.1/callback"),
]


class TlsSettings(Table):
    """``tls = { certificate = "PATH", key = "PATH" }``: PEM files, relative to the folder of hub.toml."""

    certificate: SettingsPath = live(REQUIRED, "Certificate chain, the hub's certificate first.")
    key: SettingsPath = live(REQUIRED, "Private key, without a password.")


class Listener(Table):
    """Settings of all listeners: without TLS, only this machine may connect, unless configured otherwise."""

    address: Listening
    tls: TlsSettings | None = restart(None, "Serve with TLS 1.2 or newer.")
    trusted_proxies: tuple[Network, ...] = reconnect(
        (), "Addresses of proxies whose forwarded client address is trusted."
    )
    hosts: tuple[Host, ...] = reconnect(
        (), "Host names of this listener, in addition to those of this machine."
    )
    insecure: Flag = restart(False, "Allow connections from other machines without TLS.")

    @property
    def is_for_others(self) -> bool:
        """True if other machines may connect without a proxy: with TLS, or explicitly insecure."""
        return self.tls is not None or self.insecure

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        is_covered = self.is_for_others or self.trusted_proxies
        if not self.address.is_loopback and not is_covered:
            raise refusal(
                "not_loopback",
                "other machines could reach this address without TLS",
                key="address",
                hint="write tls = { certificate = PATH, key = PATH }, trusted_proxies, or insecure = true",
            )
        return self


class DeviceListener(Listener):
    """``[listen.devices]``: where devices connect."""

    address: Listening = restart(Address("127.0.0.1", 8770), "Address that devices connect to, as host:port.")
    compression: Flag = restart(False, "Compress frames; costs 40 KiB of memory per device.")
    origins: tuple[Origin, ...] = reconnect((), "Origins of web pages that may connect; by default none.")


class OperatorListener(Listener):
    """``[listen.operator]``: where operators connect, in addition to hub.sock in the state folder."""

    address: Listening = restart(
        Address("127.0.0.1", 8771), "Address that operators connect to, as host:port."
    )
    assistants: Flag = restart(False, "Serve assistants that speak MCP, at /mcp; needs the extra [mcp].")
    assistant_clients: tuple[AssistantClient, ...] = restart(
        (), "Programs that people may allow at /authorize without a document, as NAME REDIRECT_ADDRESS."
    )


class WebhookListener(Listener):
    """``[listen.webhooks]``: where others post to connectors of the provider ``webhook``."""

    address: Listening = restart(
        Address("127.0.0.1", 8772), "Address that senders of webhooks post to, as host:port."
    )


class Listen(Table):
    """``[listen]``: the listeners; the listener of webhooks is off unless it is configured."""

    devices: DeviceListener = DeviceListener()
    operator: OperatorListener = OperatorListener()
    webhooks: WebhookListener | None = restart(None, "Accept posts of other services; off unless configured.")

    def named(self) -> Iterator[tuple[str, Listener]]:
        """Yield the configured listeners with their names in the file."""
        yield "devices", self.devices
        yield "operator", self.operator
        if self.webhooks is not None:
            yield "webhooks", self.webhooks
