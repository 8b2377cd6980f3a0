"""A hub that is killed while it writes a soul: it is written once, and not lost."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from storage.coordination import souls
from tests.support.device import open_device
from tests.support.gateway import DEFAULT_SOUL, FakeGateway, fake_gateway
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing

WITHIN_S = 30.0
GATEWAY = """
[[gateways]]
name = "west"
url = "{url}"
token = {{ file = "west.token" }}
"""
SETS = "agents.files.set"
SOUL = "/v1/boards/garden/agents/reader/soul"
AT_DESK = "/v1/boards/garden/agents/notes/soul"


async def put(hub: HubProcess, path: str, content: str, over: str, *, wait_s: int = 20) -> Any:
    body = {"content": content, "expected_sha256": over}
    answer = await hub.ask("PUT", f"{path}?wait_s={wait_s}", json=body)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def asked(gateway: FakeGateway, content: str) -> int:
    """How often the gateway was asked to write this."""
    return sum(one.method == SETS and one.params["content"] == content for one in gateway.asked)


async def sent(gateway: FakeGateway, content: str) -> None:
    """Until the gateway was asked to write this."""
    with anyio.fail_after(WITHIN_S):
        while not asked(gateway, content):
            await anyio.sleep(POLL_S)


async def ended(hub: HubProcess, path: str) -> Any:
    """The newest write of a soul, once it has its end."""
    write: Any = None
    with anyio.move_on_after(WITHIN_S):
        while True:
            write = (await hub.get(f"{path}/history"))["writes"][0]
            if write["state"] != "waiting":
                return write
            await anyio.sleep(POLL_S)
    raise AssertionError(f"{write}\n{hub.log()[-3000:]}")


async def kinds(hub: HubProcess, path: str) -> list[str]:
    return [one["kind"] for one in (await hub.get(f"{path}/history"))["versions"]][::-1]


@pytest.mark.soak
async def test_a_hub_killed_in_the_middle_of_a_write_goes_on_with_it_when_it_is_back(tmp_path: Path) -> None:
    async with fake_gateway("west", agents=("main", "reader")) as west:
        token = tmp_path / "west.token"
        token.write_text(west.token)
        token.chmod(0o600)
        hub = HubProcess(tmp_path, settings=SETTINGS.format(model="") + GATEWAY.format(url=west.url))
        async with closing(hub):
            await hub.start()
            with anyio.fail_after(WITHIN_S):
                while (await hub.get("/v1/gateways/west"))["state"] != "ready":
                    await anyio.sleep(POLL_S)
            await hub.post("/v1/gateways/west/agents", {"name": "reader", "remote_id": "reader"})
            await hub.post("/v1/boards", {"name": "garden", "gateway": "west"})
            for agent in ("reader", "notes"):
                await hub.post("/v1/boards/garden/agents", {"agent": agent})

            west.fault(SETS, "never")  # the gateway has it, and nobody is told
            await put(hub, SOUL, "one", souls.digest(DEFAULT_SOUL), wait_s=0)
            await sent(west, "one")
            await hub.kill()
            await hub.start()
            assert (await ended(hub, SOUL))["state"] == "done"
            assert (west.agents["reader"].files["SOUL.md"], asked(west, "one")) == ("one", 1)

            waiting = await put(hub, AT_DESK, "brief", "", wait_s=0)  # its device is away
            west.fault(SETS, "before")  # the gateway has not got it
            await put(hub, SOUL, "two", souls.digest("one"), wait_s=0)
            await sent(west, "two")
            await hub.kill()
            await hub.start()
            assert (await ended(hub, SOUL))["state"] == "done"
            assert west.agents["reader"].files["SOUL.md"] == "two"
            assert await kinds(hub, SOUL) == ["seen", "written", "written"]

            async with open_device(await hub.device_url(), tmp_path, await hub.token()):
                assert ((write := await ended(hub, AT_DESK))["id"], write["state"]) == (waiting["id"], "done")
                again = await put(hub, AT_DESK, "briefer", souls.digest("brief"))
            assert again["state"] == "done"
            assert await kinds(hub, AT_DESK) == ["written", "written"]
