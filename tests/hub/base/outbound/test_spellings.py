"""Spellings of this machine's addresses and of private ones, at every place that takes an address.

A listener at all addresses of this machine counts the connections. Operators and owners of devices may name
this machine in plain words; whoever else names an address may not, in any.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute, SocketStream
from pydantic import ValidationError

from hub.api.http.authorization import Authorization
from hub.base.clock import SystemClock
from hub.base.outbound.addresses import connect_to_first, is_own, parse_target
from hub.base.outbound.client import InvalidURL, OutboundClient, TransportError
from hub.base.outbound.rules import AddressRefused, OutboundRules
from hub.base.toml.notify_targets import NotifySettings
from hub.connectors.calling import ConnectorFailure, ProviderCaller, ProviderQuota, Throttle, origin_of
from hub.connectors.imap_settings import ImapSettings
from hub.device.addresses import HubRoute, address_of, connect_elsewhere
from hub.device.owner_requests import answer_of
from hub.device.sign_in import why_not_shown
from hub.device.sinks.web import Web
from hub.notify.sending import Sender
from hub.openclaw.identity import BadGatewayUrl as BadGateway
from hub.openclaw.identity import GatewayAddress
from hub.settings.settings import OpenAIModelSettings
from hub.text.rows.row import TargetFailed
from protocol.coordination import Response
from protocol.errors import CodedError
from tests.hub.connectors.imap_rig import imap
from tests.hub.notify.test_plain_targets import delivery
from tests.support.clock import FakeClock, SeededChance

NAMED_HERE: Final = (  # that an operator may write
    *("127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]"),
)
HERE: Final = (
    *(
        "127。0。0。1",
        "127\uff0e0\uff0e0\uff0e1",
        "127｡0｡0｡1",
        "\uff11\uff12\uff17.0.0.1",
        "①②⑦.0.0.1",
        "127.0.0.\uff11",
    ),
    *("%31%32%37.0.0.1", "127%2e0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1"),
    *("0177.0.0.1", "017700000001", "127.0.0.1.", "127.0.0.0x1", "0.0.0.0", "0", "[::]"),
    *("ⓛocalhost", "loc\u00adalhost", "localhost%00.example", "foo.localhost", "local。host.localhost"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:0:7f00:1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[::1%25lo]", "[::1%lo]", "[fe80::1%lo]"),
    *("user@127.0.0.1", "api.example:x@127.0.0.1", "api.example\\@127.0.0.1", "127.0.0.1\\.api.example"),
    *("\t127.0.0.1", "127.0.0.1\n", "lo\tcalhost", "lo calhost", "127.0.0.1#.api.example"),
    *("here.test", "second.test", "mixed.test", "later.test"),
)
PRIVATE: Final = (
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1"),
    *("255.255.255.255", "[fe80::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "[::ffff:10.0.0.1]"),
    *("[64:ff9b::a00:1]", "10。0。0。1", "167772161", "012.0.0.1", "inner.test"),
)
PORTS: Final = ("{port}", "0{port}", "\uff18\uff10", "0", "65536", "99999", "-1", "{port}@")
NAMES: Final = {
    "here.test": [["127.0.0.1"]],
    "second.test": [["127.0.0.2"]],
    "mixed.test": [["10.0.0.1", "127.0.0.1", "::1"]],
    "later.test": [["192.0.2.1"], ["127.0.0.1"]],  # each answer once: set aside, then this machine
    "inner.test": [["10.0.0.1"]],
}


def url_of(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{host}:{port}/a"


OF_NOBODY: Final = (  # at which no system reaches itself
    *("[::127.0.0.1]", "[::ffff:0:7f00:1]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
)
PLAIN: Final = ("foo.localhost", "0.0.0.0", *(one for one in HERE if one.startswith("[") and "%" not in one))


class Rig:
    """Listener at all addresses of this machine, and the resolver of the clients."""

    def __init__(self, clients: AsyncExitStack) -> None:
        self._clients = clients
        self._opened = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
        self._opened.setblocking(False)
        self.port = self._opened.getsockname()[1]
        self._asked: dict[str, int] = {}

    def connections(self) -> int:
        """Accept and end what has connected by now; return how many did."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._opened.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._opened.close()

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        if (answers := NAMES.get(host)) is not None:
            turn = self._asked[host] = self._asked.get(host, -1) + 1
            return answers[min(turn, len(answers) - 1)]
        try:
            ipv6_or_name = host if host.isascii() else host.encode("idna").decode()
            found = await anyio.getaddrinfo(ipv6_or_name, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(str(error)) from error
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    def client(self, **options: Any) -> OutboundClient:
        rules = options.pop("rules", OutboundRules())
        return OutboundClient(rules, resolve=self.resolve, read_timeout_s=0.3, **options)

    def caller(self, origins: Sequence[str]) -> ProviderCaller:
        clock = FakeClock()
        parts: dict[str, Any] = {"tokens": None, "clock": clock, "chance": SeededChance()}
        client = self.client()
        self._clients.push_async_callback(client.aclose)
        return ProviderCaller(client, throttle=Throttle(ProviderQuota(), clock), origins=origins, **parts)


@asynccontextmanager
async def listening() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as clients:
        with closing(Rig(clients)) as rig:
            yield rig


# --- places; each tries an address, and passes over a refusal


async def client_id(rig: Rig, host: str, *, allow: Sequence[str] = ()) -> None:
    rules = OutboundRules.parse(allow, may_call_here=False)
    server = Authorization(None, FakeClock(), SeededChance(), partial(rig.client, rules=rules), ())  # type: ignore[arg-type]
    for scheme in ("https", "HTTPS"):
        with contextlib.suppress(CodedError, AddressRefused):
            await server._client(url_of(scheme, host, rig.port))


async def client_id_where_the_network_is_listed(rig: Rig, host: str) -> None:
    await client_id(rig, host, allow=("127.0.0.0/8", "::1", "::/128", "0.0.0.0"))


async def webhook(rig: Rig, host: str) -> None:
    for kind, scheme in (("ntfy", "http"), ("ntfy", "https"), ("smtp", "smtps"), ("smtp", "smtp")):
        mail = {"to": ("a@b.example",), "sender": "h@b.example"} if kind == "smtp" else {}
        about = {"name": "ops", "kind": kind, "url": url_of(scheme, host, rig.port)} | mail
        with contextlib.suppress(ValidationError):
            target = NotifySettings.model_validate(about)
            hub: dict[str, Any] = {"hub": "h", "rules": OutboundRules(), "clock": SystemClock()}
            sender = Sender(target, pages=lambda: None, **hub)
            await sender.aclose()
            async with rig.client() as client:
                sender._client = client
                await sender.send([delivery()])


async def connector(rig: Rig, host: str) -> None:
    """An address in the settings of a connector: CalDAV, MCP, a manifest, a program's origins."""
    for scheme in ("http", "https"):
        url = url_of(scheme, host, rig.port)
        with contextlib.suppress(ValueError, ConnectorFailure):
            await rig.caller([origin_of(url)]).ask("GET", url)


async def link_of_a_provider(rig: Rig, host: str) -> None:
    """An address in an answer, or from a program in a jail, whose provider is elsewhere."""
    for scheme in ("http", "https"):
        with contextlib.suppress(ConnectorFailure):
            await rig.caller(["https://api.example:443"]).ask("GET", url_of(scheme, host, rig.port))


async def mail_server(rig: Rig, host: str) -> None:
    bare = host.strip("[]")
    for tls in ("none", "implicit", "starttls"):
        with contextlib.suppress(ValidationError, ConnectorFailure):
            about = {"host": bare, "port": rig.port, "tls": tls, "username": "u"}
            settings = ImapSettings.model_validate(about)
            async with rig.client() as client:
                await imap(settings, client=client).check()


async def model(rig: Rig, host: str) -> None:
    for scheme, insecure in (("http", False), ("http", True), ("https", False)):
        url = url_of(scheme, host, rig.port)
        with contextlib.suppress(ValidationError, AddressRefused, InvalidURL, TransportError):
            about = {"kind": "openai", "name": "m", "base_url": url, "insecure": insecure}
            OpenAIModelSettings.model_validate(about)
            async with rig.client(insecure=insecure) as client:
                await client.get(url)


async def gateway(rig: Rig, host: str) -> None:
    for scheme in ("ws", "wss"):
        with contextlib.suppress(BadGateway, AddressRefused, OSError):
            address = GatewayAddress.parse(url_of(scheme, host, rig.port))
            found = await address.judged(OutboundRules(), rig.resolve)
            (await anyio.to_thread.run_sync(connect_to_first, found, address.port, 0.2)).close()


async def redirect(rig: Rig, host: str) -> None:
    """A server that is allowed answers with a redirect; the hub follows none."""
    async with answering_with_redirects(url_of("https", host, rig.port)) as url, rig.client() as client:
        with contextlib.suppress(TransportError, InvalidURL):
            await client.get(url, follow_redirects=True)


def ask_once(url: str) -> None:
    web = Web(url, lambda: "Basic x", silence_s=0.1)
    with web.connected():
        web.ask("GET", url)


async def redirect_of_a_sink(rig: Rig, host: str) -> None:
    for scheme in ("http", "https"):
        async with answering_with_redirects(url_of(scheme, host, rig.port)) as url:
            with contextlib.suppress(TargetFailed):
                await anyio.to_thread.run_sync(ask_once, url)


async def hub_named_address(rig: Rig, host: str) -> None:
    """An address that a hub elsewhere names to a device: in its welcome, or in its goodbye.

    A private one may be: hubs are often in the network of their devices.
    """
    if host in PRIVATE:
        return
    for scheme in ("ws", "wss"):
        url = url_of(scheme, host, rig.port)
        route = HubRoute(
            [address_of("wss://hub.example" if scheme == "wss" else "ws://hub.example")], SeededChance()
        )
        if route.turn_to(url):
            assert route.is_foreign
            with contextlib.suppress(OSError):
                (await connect_elsewhere(route.current)).close()


async def link_of_a_hub(rig: Rig, host: str) -> None:
    """The address of the dashboard, and one for a sign-in, that a hub sends for the browser."""
    result = {"path": "/login#x", "host": host.strip("[]"), "port": rig.port, "tls": True}
    link = answer_of(Response(id="1", result=result), "wss://hub.example").link
    assert not link or host in (*PRIVATE, *NAMES, *OF_NOBODY), link
    assert why_not_shown(url_of("https", host, rig.port)) or host.endswith(".test")


async def sink(rig: Rig, host: str) -> None:
    """A server that the owner of a device names: any but what parsers take for different hosts."""
    for scheme in ("http", "https"):
        url = url_of(scheme, host, rig.port)
        with contextlib.suppress(TargetFailed):
            await anyio.to_thread.run_sync(ask_once, url)


@asynccontextmanager
async def answering_with_redirects(location: str) -> AsyncIterator[str]:
    head = "".join(one for one in location if one.isprintable()).encode()
    answer = b"HTTP/1.1 307 X\r\nlocation: %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % head

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(answer)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as one,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.serve, serve)
        yield f"http://127.0.0.1:{one.extra(SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()


Try = Callable[[Rig, str], Awaitable[None]]


class Place(NamedTuple):
    """Place that takes an address. *may_be_here*: this machine in plain words is called, and why."""

    attempt: Try
    may_be_here: str = ""


PLACES: Final = (
    Place(client_id),
    Place(client_id_where_the_network_is_listed),
    Place(link_of_a_provider),
    Place(redirect),
    Place(redirect_of_a_sink),
    Place(hub_named_address),
    Place(link_of_a_hub),
    Place(webhook, "a receiver on this machine, which hub.toml names"),
    Place(connector, "a service on this machine, which hub.toml names"),
    Place(mail_server, "a mail server or bridge on this machine, which hub.toml names"),
    Place(model, "a model on this machine"),
    Place(gateway, "a gateway on this machine"),
)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.attempt.__name__)
async def test_address_of_the_own_machine_is_called_only_where_named_by_the_operator(place: Place) -> None:
    async with listening() as rig:
        for host in (*HERE, *PRIVATE, *NAMED_HERE):
            with anyio.move_on_after(0.3):  # nobody answers
                await place.attempt(rig, host)
            expects_call = host in NAMED_HERE and place.may_be_here != ""
            assert (rig.connections() > 0) == expects_call, f"{place.attempt.__name__}: {host!r}"


@pytest.mark.slow
async def test_sink_server_is_called_only_under_the_spelling_of_the_owner() -> None:
    async with listening() as rig:
        for host in sorted({*HERE, *NAMED_HERE} - {*PLAIN, "localhost."}):
            await sink(rig, host)
            assert (rig.connections() > 0) == (host in NAMED_HERE), host


@pytest.mark.parametrize("port", PORTS)
async def test_invalid_port_number_is_not_called(port: str) -> None:
    async with listening() as rig:
        url = f"https://127.0.0.1:{port.format(port=rig.port)}/a"
        is_right = port in ("{port}", "0{port}") and len(port.format(port=rig.port)) <= 5
        if is_right:
            assert parse_target(url).port == rig.port
        else:
            with pytest.raises(ValueError, match=r"port|address"):
                parse_target(url)


def test_own_address_is_distinguished_from_other_addresses() -> None:
    assert (is_own("127.0.0.1"), is_own("::1"), is_own("192.0.2.1"), is_own("8.8.8.8")) == (
        True,
        True,
        False,
        False,
    )


async def test_own_address_is_not_called_by_a_client_barred_from_the_own_machine() -> None:
    async with listening() as rig:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            with contextlib.suppress(OSError):
                probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
        if own.startswith(("0.", "127.")):
            pytest.skip("this machine has no address but its loopback")
        await client_id(rig, own, allow=("0.0.0.0/0",))
        assert rig.connections() == 0
        rules = OutboundRules.parse(["0.0.0.0/0"])
        async with rig.client(rules=rules, insecure=True) as client:
            with contextlib.suppress(TransportError):
                await client.get(f"http://{own}:{rig.port}/")
        assert rig.connections() == 1


@pytest.mark.parametrize(
    "name", ["mail.example", "xn--mller-kva.example", "müller.example", "a_b.c-d.example."]
)
def test_host_names_are_parsed_to_their_looked_up_form(name: str) -> None:
    expected = "xn--mller-kva.example" if "ller" in name else name.removesuffix(".")
    assert parse_target(f"HTTPS://{name.upper()}/x?y#z") == ("https", expected, 443)
