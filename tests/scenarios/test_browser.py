"""A web page in the operator's own browser, on another origin or a rebound name, gets nothing of the hub."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.browser import REBOUND, Intruder, body, chromium, intruder, other_origin
from tests.support.processes import HubProcess, closing

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")


class Target(NamedTuple):
    """A hub, and a token that would open everything."""

    hub: HubProcess
    operator: str  # host:port
    devices: str
    token: str


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    hub = HubProcess(tmp_path)
    async with closing(hub):
        await hub.start()
        listeners = (await hub.get("/v1/status"))["listeners"]
        made = await hub.post("/v1/operator-tokens", {"name": "browser", "role": "admin"})
        yield Target(hub, listeners["operator"], listeners["devices"], made["token"])


async def tries_everything(page: Intruder, target: Target, host: str) -> None:
    """No request of the page, with or without the token, is answered with data or changes anything."""
    port = target.operator.rpartition(":")[2]
    api = f"http://{host}:{port}"
    for headers in ({}, {"Authorization": f"Bearer {target.token}"}):
        for path in ("/v1/status", "/v1/agents", "/v1/events", "/metrics"):
            got = await page.fetch(api + path, headers=headers)
            assert (got.status, got.text) == (0, "") or got.status in (401, 403, 421), (path, got)
            assert "notes" not in got.text, (path, got)
        for mode in ("cors", "no-cors"):
            for kind in ("application/json", "text/plain"):
                await page.fetch(
                    f"{api}/v1/agents/notes/runs",
                    method="POST",
                    mode=mode,
                    headers={"Content-Type": kind, **headers},
                    body=body({}),
                )
    assert (await target.hub.get("/v1/runs"))["runs"] == []
    device_port = target.devices.rpartition(":")[2]
    for subject in (f"ws://{host}:{device_port}/v1/device", f"ws://{host}:{port}/v1/events"):
        opened, told = await page.connect(subject)
        assert not opened, (subject, told)
        assert told == [], subject


@pytest.mark.soak
async def test_a_page_on_another_origin_gets_neither_a_socket_nor_data(target: Target) -> None:
    async with intruder() as page, other_origin() as elsewhere:
        await page.go(elsewhere)
        await tries_everything(page, target, "127.0.0.1")
        await tries_everything(page, target, "localhost")


async def test_name_rebound_to_the_own_machine_gets_neither_a_page_nor_a_socket_nor_data(
    target: Target,
) -> None:
    port = target.operator.rpartition(":")[2]
    async with intruder() as page:
        status, told = await page.go(f"http://{REBOUND}:{port}/v1/status")
        assert status == 421
        assert target.operator not in told

        await tries_everything(page, target, REBOUND)  # of the same origin now, as the browser sees it
