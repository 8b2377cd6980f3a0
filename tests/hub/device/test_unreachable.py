"""A device that finds no hub says in one sentence what it found, and what to try."""

import socket
import ssl
from pathlib import Path

import pytest

from hub.device.client import why_unreachable
from tests.support.clock import FakeClock
from tests.support.device import open_device
from tests.support.no_hub import listening
from tests.support.wire import until


async def told_of(url: str, folder: Path) -> str:
    """What a device says of the first try."""
    async with open_device(url, folder, clock=FakeClock()) as device:
        await until(lambda: any("next try" in line for line in device.told))
    return device.told[-1]


async def test_ws_at_a_port_that_speaks_tls(tmp_path: Path) -> None:
    async with listening(tmp_path, tls=True) as where:
        assert f"if its port speaks TLS, use wss://{where}" in await told_of(f"ws://{where}", tmp_path)


async def test_wss_at_a_port_that_speaks_no_tls(tmp_path: Path) -> None:
    async with listening(tmp_path) as where:
        assert f"no TLS is spoken at {where}" in await told_of(f"wss://{where}", tmp_path)


async def test_a_certificate_that_no_authority_has_signed(tmp_path: Path) -> None:
    async with listening(tmp_path, tls=True) as where:
        told = await told_of(f"wss://{where}", tmp_path)
    assert f"the certificate of {where} is not trusted (self-signed certificate)" in told
    assert "SSL_CERT_FILE=" in told


def test_a_refused_certificate_is_shown_with_the_mend_of_its_fault() -> None:
    mends = {
        9: "look whether the clock of this machine is right",
        10: "renew it where it is served (a hub's own: hub tls init), or look whether the clock",
        18: "trust its authority (a hub's own: hub-ca.crt beside its hub.toml): SSL_CERT_FILE=FILE before",
        20: "SSL_CERT_FILE=FILE before the command",
        62: "use one of the names in the certificate, or put this one into it (a hub's own: hub tls init",
        64: "hub tls init --name ADDRESS",
    }
    for code, mend in mends.items():
        error = ssl.SSLCertVerificationError(1, "refused")
        error.verify_code, error.verify_message = code, "fault."
        told = why_unreachable("wss://hub.example:8770", error)
        assert told.startswith("the certificate of hub.example:8770 is not trusted (fault); "), told
        assert mend in told, told


async def test_the_port_for_operators(tmp_path: Path) -> None:
    async with listening(tmp_path, status=401, kind=b"application/problem+json") as where:
        told = await told_of(f"ws://{where}", tmp_path)
    assert f"answered 401: {where} is its port for operators; [listen.devices]" in told


async def test_a_port_at_which_nothing_listens(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and no program listens
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        told = await told_of(f"ws://{where}", tmp_path)
    assert f"nothing listens at {where}; is the hub running?" in told


async def test_a_name_with_several_addresses_at_which_nothing_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(host: str, port: int, *_: object, **__: object) -> list[object]:
        kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
        return [(*kind, (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    with socket.socket() as bound:
        bound.bind(("", 0))  # and no program listens
        port = bound.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", found)
        told = await told_of(f"ws://localhost:{port}", tmp_path)
    assert f"none of the addresses of localhost:{port} lets a connection in; is the hub running?" in told
