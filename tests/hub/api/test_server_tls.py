"""The operator's server with TLS: over TCP alone, the Unix socket has no need of it."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.certificates import Certificates
from hub.links.gate import Gate
from hub.metrics import Metrics
from tests.hub.api.test_certificates import trusting
from tests.support.certificates import write_certificate
from tests.support.clock import FakeClock
from tests.support.hub import ROOMY, serving
from tests.support.wire import until


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


async def test_who_never_finishes_the_handshake_is_counted_and_let_go(tmp_path: Path) -> None:
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
