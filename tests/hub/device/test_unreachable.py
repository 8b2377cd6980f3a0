"""A device that finds no hub says in one sentence what it found, and what to try."""

import socket
import ssl
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("scheme", "options", "told"),
    [
        ("ws", {"tls": True}, "if its port speaks TLS, use wss://{}"),
        ("wss", {}, "no TLS is spoken at {}"),
        ("wss", {"tls": True}, "the certificate of {} is not trusted (self-signed certificate)"),
        ("wss", {"tls": True}, "SSL_CERT_FILE="),
        (
            "ws",
            {"status": 401, "kind": b"application/problem+json"},
            "answered 401: {} is its port for operators; [listen.devices]",
        ),
    ],
    ids=["ws at TLS", "wss without TLS", "certificate", "its mend", "operators"],
)
async def test_a_port_that_admits_no_device_is_named_with_its_mend(
    tmp_path: Path, scheme: str, options: dict[str, Any], told: str
) -> None:
    async with listening(tmp_path, **options) as where:
        assert told.format(where) in await told_of(f"{scheme}://{where}", tmp_path)


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
