"""Certificates of the listeners: checked before they are used, and changed without a restart."""

import ssl
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from cryptography import x509
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake

from hub.base.certificates import Certificates, CertificateUnusable, load_pair
from hub.base.clock import SystemClock
from hub.base.metrics import Metrics
from hub.links.connection_limits import Gate
from tests.support.certificates import Files, write_certificate
from tests.support.clock import FakeClock
from tests.support.hub import ROOMY, serving
from tests.support.wire import RawDevice, open_port, until


def served_serial(socket: ClientConnection) -> int:
    """Of the certificate that the other end showed."""
    shown = socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


def serial(files: Files) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


def trusting(*known: Files) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for files in known:
        context.load_verify_locations(files.certificate)
    return context


def connected(url: str, context: ssl.SSLContext) -> AbstractAsyncContextManager[ClientConnection]:
    return connect(url.replace("ws://", "wss://"), ssl=context, compression=None)


async def test_replaced_certificate_is_served_to_new_connections_only(tmp_path: Path) -> None:
    old, new = write_certificate(tmp_path, "old"), write_certificate(tmp_path, "new")
    context = trusting(old, new)
    certificates = Certificates(*old)
    async with open_port(tls=certificates.context) as port:
        token = await port.pair()
        async with connected(port.url, context) as before:
            device = RawDevice(before)
            certificates.use(load_pair(*new))
            async with connected(port.url, context) as after:
                assert (served_serial(before), served_serial(after)) == (serial(old), serial(new))
            assert (await device.greet(token))["type"] == "welcome"


async def test_connections_with_tls_1_1_or_without_tls_are_refused(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    old_fashioned = trusting(files)
    old_fashioned.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old_fashioned.minimum_version = ssl.TLSVersion.TLSv1_1
        old_fashioned.maximum_version = ssl.TLSVersion.TLSv1_1
    async with open_port(tls=Certificates(*files).context) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(port.url, old_fashioned):
                pass
        with pytest.raises((InvalidHandshake, ConnectionError, EOFError)):
            async with connect(port.url):
                pass
        async with connected(port.url, trusting(files)) as socket:
            assert (await RawDevice(socket).greet(await port.pair()))["type"] == "welcome"


def test_certificate_pair_reports_names_and_expiry(tmp_path: Path) -> None:
    pair = load_pair(*write_certificate(tmp_path, "hub.example", lasts=timedelta(days=10)))
    assert pair.names == ("localhost", "hub.example", "127.0.0.1")
    left = pair.expires_at - SystemClock().now()
    assert timedelta(days=9) < left <= timedelta(days=10)


def test_unusable_certificate_pair_is_refused_with_the_file_name(tmp_path: Path) -> None:
    good, other = write_certificate(tmp_path, "good"), write_certificate(tmp_path, "other")
    locked = write_certificate(tmp_path, "locked", password=b"secret")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nothing")
    for certificate, key, told in [
        (tmp_path / "none.crt", good.key, "cannot read .*none.crt: No such file"),
        (good.certificate, tmp_path / "none.key", "cannot read .*none.key: No such file"),
        (nonsense, good.key, "nonsense has no certificate in PEM"),
        (good.certificate, nonsense, "nonsense has no private key in PEM"),
        (good.certificate, other.key, "the key .*other.key is not that of .*good.crt"),
        (locked.certificate, locked.key, "locked.key has a password"),
    ]:
        with pytest.raises(CertificateUnusable, match=told):
            load_pair(certificate, key)


async def test_tcp_is_encrypted_and_the_unix_socket_is_not(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    async with serving(tmp_path, tls=Certificates(*files).context) as hub:
        port = hub.listening.tcp.port
        async with httpx2.AsyncClient(verify=trusting(files), trust_env=False) as client:
            assert (await client.get(f"https://localhost:{port}/healthz")).status_code == 200
            with pytest.raises(httpx2.TransportError):
                await client.get(f"http://localhost:{port}/healthz")
        unix = httpx2.AsyncHTTPTransport(uds=str(hub.listening.unix))
        async with httpx2.AsyncClient(transport=unix, base_url="http://hub") as client:
            assert (await client.get("/v1/status")).status_code == 200


async def test_connection_with_an_unfinished_tls_handshake_is_counted_and_closed(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    gate = Gate(replace(ROOMY, strangers=3), clock=FakeClock(), metrics=Metrics())
    counted: list[str] = []
    options: dict[str, Any] = {
        "tls": Certificates(*files).context,
        "gate": gate,
        "head_s": 1.0,
        "on_refusal": counted.append,
    }
    async with (
        serving(tmp_path, **options) as hub,
        AsyncExitStack() as silent,
    ):
        for _ in range(20):
            opened = await anyio.connect_tcp(hub.listening.tcp.host, hub.listening.tcp.port)
            await silent.enter_async_context(opened)
        await until(lambda: counted.count("overloaded") == 17)
        assert len(gate) == 3
        await until(lambda: not len(gate))
        async with httpx2.AsyncClient(verify=trusting(files), trust_env=False) as client:
            answer = await client.get(f"https://localhost:{hub.listening.tcp.port}/healthz")
    assert (answer.status_code, counted.count("tls_failed")) == (200, 3)
