"""Table ``[listen]`` of hub.toml: listeners of devices, operators and webhooks."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

from hub.base.toml.values import (
    REQUIRED,
    Flag,
    HostPort,
    SettingsPath,
    SettingsTable,
    live,
    reconnect,
    refusal,
    restart,
    shaped,
)


def _address(value: object) -> object:
    if not isinstance(value, str):
        raise refusal("address", "an address is host:port", hint='as in "127.0.0.1:8770"')
    try:
        return HostPort.parse(value)
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
    HostPort,
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


class TlsSettings(SettingsTable):
    """``tls = { certificate = "PATH", key = "PATH" }``: PEM files, relative to the folder of hub.toml."""

    certificate: SettingsPath = live(REQUIRED, "Certificate chain, the hub's certificate first.")
    key: SettingsPath = live(REQUIRED, "Private key, without a password.")


class Listener(SettingsTable):
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

    address: Listening = restart(
        HostPort("127.0.0.1", 8770), "Address that devices connect to, as host:port."
    )
    compression: Flag = restart(False, "Compress frames; costs 40 KiB of memory per device.")
    origins: tuple[Origin, ...] = reconnect((), "Origins of web pages that may connect; by default none.")


class OperatorListener(Listener):
    """``[listen.operator]``: where operators connect, in addition to hub.sock in the state folder."""

    address: Listening = restart(
        HostPort("127.0.0.1", 8771), "Address that operators connect to, as host:port."
    )
    assistants: Flag = restart(False, "Serve assistants that speak MCP, at /mcp; needs the extra [mcp].")
    assistant_clients: tuple[AssistantClient, ...] = restart(
        (), "Programs that people may allow at /authorize without a document, as NAME REDIRECT_ADDRESS."
    )


class WebhookListener(Listener):
    """``[listen.webhooks]``: where others post to connectors of the provider ``webhook``."""

    address: Listening = restart(
        HostPort("127.0.0.1", 8772), "Address that senders of webhooks post to, as host:port."
    )


class Listen(SettingsTable):
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
