"""Where a gateway may be, and that nobody is called but whom the rules allow."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from hub.base.outbound.rules import AddressRefused, OutboundRules
from hub.openclaw import BadGatewayUrl, GatewayAddress
from tests.support.certificates import write_certificate
from tests.support.families import each
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import Visit, visiting


@each(
    ("url", "where", "is_here"),
    [
        ("ws://127.0.0.1:18789", "127.0.0.1:18789", True),
        ("ws://localhost:18789/", "localhost:18789", True),
        ("ws://[::1]:18789", "[::1]:18789", True),
        ("wss://gw.example", "gw.example:443", False),
        ("wss://gw.example:8443/path", "gw.example:8443", False),
    ],
)
def test_gateway_address_is_parsed(url: str, where: str, is_here: bool) -> None:
    address = GatewayAddress.parse(url)
    assert (address.where, address.is_here) == (where, is_here)


@each(
    "url",
    [
        "",
        "gw.example",
        "http://gw.example",
        "https://gw.example",
        "wss://",
        "wss://gw.example?token=x",
        "wss://user:secret@gw.example",
        "wss://gw.example#x",
        "wss://gw.example:port",
        "wss://a..b",
    ],
)
def test_invalid_gateway_address_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(BadGatewayUrl) as caught:
        GatewayAddress.parse(url)
    assert "secret" not in str(caught.value)


async def resolves_to(address: str, url: str, *allow: str) -> list[str]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    return await GatewayAddress.parse(url).judged(OutboundRules.parse(allow), resolve)


async def test_another_machine_is_called_over_tls_only() -> None:
    assert await resolves_to("8.8.8.8", "wss://gw.example") == ["8.8.8.8"]
    with pytest.raises(AddressRefused, match="wss only"):
        await resolves_to("8.8.8.8", "ws://gw.example")
    with pytest.raises(AddressRefused, match="wss only"):
        await resolves_to("127.0.0.1", "ws://gw.example")


async def test_private_gateway_address_is_called_only_if_listed() -> None:
    with pytest.raises(AddressRefused, match="private network"):
        await resolves_to("10.0.0.7", "wss://gw.lan")
    assert await resolves_to("10.0.0.7", "wss://gw.lan", "gw.lan") == ["10.0.0.7"]


async def test_a_forbidden_address_is_reported_and_no_socket_is_opened(tmp_path: Path) -> None:
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path, is_ready=False, url="ws://gw.example:18789") as visit,
    ):
        await visit.is_in("refused")
        problem = visit.client.health().problem
        assert problem is not None and problem.code == "address_refused"
        assert gateway.knocks == []


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with fake_gateway("west") as west, fake_gateway("east") as east:
        west.http_status, west.location = 302, east.url
        async with visiting(west, tmp_path, is_ready=False) as visit:
            await visit.is_in("refused")
            assert (visit.problem, east.knocks) == ("http_302", [])


async def test_gateway_over_tls_requires_a_trusted_certificate(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, "gw")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(files.certificate, files.key)
    async with fake_gateway(tls=theirs) as gateway:
        async with visiting(gateway, tmp_path, ca_file=files.certificate) as visit:
            assert await visit.client.call("health") == {"ok": True}
        async with visiting(gateway, tmp_path, is_ready=False) as visit:
            await visit.is_in("refused")
            problem = visit.client.health().problem
            assert problem is not None and problem.code == "certificate_not_trusted"
            assert "ca_file" in problem.hint
        async with visiting(gateway, tmp_path, is_ready=False, ca_file=tmp_path / "none.pem") as visit:
            await visit.is_in("refused")
            assert visit.problem == "bad_settings"
            files.certificate.rename(tmp_path / "none.pem")  # used from the next attempt on
            visit.client.wake()
            await visit.is_in("ready")
        plain = gateway.url.replace("wss:", "ws:")
        async with visiting(gateway, tmp_path, is_ready=False, url=plain) as visit:
            await visit.is_in("waiting")
            assert visit.problem == "no_websocket"


async def test_gateway_without_tls_is_reported_with_a_tls_hint(tmp_path: Path, gateway: FakeGateway) -> None:
    secure = gateway.url.replace("ws:", "wss:")
    async with visiting(gateway, tmp_path, is_ready=False, url=secure) as visit:
        await visit.is_in("waiting")  # it may as well be about to restart
        problem = visit.client.health().problem
        assert problem is not None and "does it speak TLS?" in problem.hint


async def test_gateway_is_reached_at_the_second_address_if_the_first_is_silent(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first

    url = gateway.url.replace("127.0.0.1", "localhost")
    async with visiting(gateway, tmp_path, url=url, resolve=resolve) as visit:
        assert await visit.client.call("health") == {"ok": True}


async def test_gateway_client_ignores_proxy_environment_variables(
    monkeypatch: pytest.MonkeyPatch, visit: Visit
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert await visit.client.call("health") == {"ok": True}
