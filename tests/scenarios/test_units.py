"""A hub under a service manager. Three hundred devices: ``python -m tests.scenarios.units``."""

from pathlib import Path

import anyio
import httpx2
import pytest

from hub.links.listener import LONGEST_MS, SHORTEST_MS
from tests.scenarios.units import stay
from tests.support.processes import CROWD, START_TIMEOUT_S
from tests.support.service_manager import Unit

COUNT = 30


@pytest.mark.soak
async def test_no_device_is_refused_while_the_hub_is_restarted_killed_and_hung(tmp_path: Path) -> None:
    went = await stay(tmp_path, COUNT, watchdog_s=3.0)

    assert [(one.what, one.returned) for one in went.rounds] == [
        ("restart", COUNT),
        ("kill -9", COUNT),
        ("hung loop", COUNT),
    ]
    assert (went.refused, went.turned_away) == (0, 0)
    assert len(went.goodbyes) >= COUNT, "a restart is told to everybody"
    assert {goodbye["reason"] for goodbye in went.goodbyes} == {"restarting"}
    waits = [goodbye["retry_after_ms"] for goodbye in went.goodbyes]
    assert all(SHORTEST_MS <= wait <= LONGEST_MS for wait in waits)
    assert len(set(waits)) > COUNT // 2, "they do not come back in the same moment"


async def test_hub_serves_all_passed_sockets_and_notifies_the_service_manager(
    tmp_path: Path,
) -> None:
    (tmp_path / "hub.toml").write_text(CROWD)
    words = ["--state", str(tmp_path), "serve", "--config", str(tmp_path / "hub.toml")]
    unit = Unit(tmp_path, words, watchdog_s=20.0)
    async with unit.running():
        with anyio.fail_after(START_TIMEOUT_S):
            host, port = unit.devices.getsockname()
            async with await anyio.connect_tcp(host, port):
                await unit.ready.wait()
        async with _over_unix(unit) as operator:
            (await operator.post("/v1/reload", json={})).raise_for_status()
            listeners = (await operator.get("/v1/status")).json()["listeners"]
        port = unit.operators.getsockname()[1]
        assert listeners["operator"] == f"127.0.0.1:{port}", "what hub.toml says is not looked at then"
        async with httpx2.AsyncClient(trust_env=False) as neighbour:
            assert (await neighbour.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    assert unit.exits == [0]
    ready = unit.told.index("READY=1")
    assert unit.told[0] == "STATUS=opening the database"
    assert "STATUS=0 devices connected, 0 runs executing" in unit.told[:ready]
    reloading = unit.told.index("RELOADING=1", ready)
    assert unit.told[reloading + 1].startswith("MONOTONIC_USEC=")
    assert unit.told[reloading + 2] == "READY=1"
    assert "STOPPING=1" in unit.told[reloading:]


def _over_unix(unit: Unit) -> httpx2.AsyncClient:
    transport = httpx2.AsyncHTTPTransport(uds=str(unit.admin))
    return httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=30)
