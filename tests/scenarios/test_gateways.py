"""A running hub and a gateway on loopback: lost, restarted on either side, taken out of the file."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from protocol.status_vocabularies import Vocabulary
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing

WITHIN_S = 30.0
GATEWAY = """
[[gateways]]
name = "office"
url = "{url}"
token = {{ file = "gateway.token" }}
"""


class Scene:
    """A hub with the gateway ``office``, and the agent ``reader`` that lives there under the same id."""

    def __init__(self, folder: Path, hub: HubProcess, gateway: FakeGateway) -> None:
        self.folder = folder
        self.hub = hub
        self.gateway = gateway

    async def until(self, path: str, is_so: Callable[[Any], bool]) -> Any:
        """What stands at *path*, once it *is_so*."""
        told: Any = None
        with anyio.move_on_after(WITHIN_S):
            while not is_so(told := await self.hub.get(path)):
                await anyio.sleep(POLL_S)
            return told
        raise AssertionError(f"{path} is {told}\n{self.hub.log()[-3000:]}")

    async def stands(self, **axes: str) -> Any:
        """How ``reader`` stands, once it stands so."""
        path = "/v1/agents/reader/status"
        return await self.until(path, lambda told: all(told[axis] == value for axis, value in axes.items()))

    async def says(self, *words: str) -> str:
        """What a command of the operator's says."""
        done = await anyio.run_process([sys.executable, "-m", "hub", "--state", str(self.folder), *words])
        return done.stdout.decode()

    def begins_a_turn(self, key: str) -> None:
        """Somebody else says something to it, and its turn does not end."""
        self.gateway.hold("agent:reader:main")
        said = {"sessionKey": "agent:reader:main", "message": "hi", "deliver": False, "idempotencyKey": key}
        self.gateway.chat.send(said)


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("gateways")
    async with fake_gateway("office", agents=("main", "reader")) as gateway:
        token = folder / "gateway.token"
        token.write_text(gateway.token)
        token.chmod(0o600)
        hub = HubProcess(folder, settings=SETTINGS.format(model="") + GATEWAY.format(url=gateway.url))
        async with closing(hub):
            await hub.start()
            scene = Scene(folder, hub, gateway)
            await scene.until("/v1/gateways/office", lambda told: told["state"] == "ready")
            await hub.post("/v1/gateways/office/agents", {"name": "reader", "remote_id": "reader"})
            await scene.until(
                "/v1/gateways/office",
                lambda told: all(one["connectivity"] == "online" for one in told["members"]),
            )
            yield scene


@pytest.mark.soak
async def test_gateway_and_the_agents_are_followed_through_every_kind_of_loss(scene: Scene) -> None:
    hub, gateway = scene.hub, scene.gateway
    told = await hub.get("/v1/gateways/office")
    assert (told["version"], told["scopes"]) == ("2026.9.6", ["operator.read", "operator.write"])
    assert (await hub.get("/v1/status"))["gateways_ready"] == 1
    scene.begins_a_turn("k-1")
    await scene.stands(activity="saturated")

    await hub.kill()  # and a turn ends that nobody hears of
    gateway.release("agent:reader:main")
    with anyio.fail_after(WITHIN_S):
        while gateway.chat.turns:
            await anyio.sleep(POLL_S)
    await hub.start()
    await scene.stands(connectivity="online", activity="idle")

    await gateway.stop(killed=True)
    lost = await scene.until(
        "/v1/gateways/office", lambda told: (told["problem"] or {}).get("code") == "connection_refused"
    )
    assert lost["unreachable_since"] <= lost["since"]
    await scene.stands(connectivity="offline")
    assert (await hub.ask("GET", "/readyz")).status_code == 200
    await gateway.start()
    await hub.post("/v1/gateways/office/reconnect")
    back = await scene.until("/v1/gateways/office", lambda told: told["state"] == "ready")
    assert (back["unreachable_since"], back["restarts"]) == (None, 1)
    await scene.stands(connectivity="online")


async def test_agent_of_a_gateway_is_shown_in_every_view(scene: Scene) -> None:
    hub = scene.hub
    for part in ("", "/overview", "/next", "/fires", "/slots", "/status", "/history", "/config"):
        assert (await hub.ask("GET", f"/v1/agents/reader{part}")).status_code == 200, part
    for part in ("/capabilities", "/checkpoints", "/metrics", *(f"/as/{word}" for word in Vocabulary)):
        assert (await hub.ask("GET", f"/v1/agents/reader{part}")).status_code == 200, part
    told = await hub.get("/v1/agents/reader")
    assert (told["device"], told["gateway"], told["connectivity"]) == ("", "office", "online")
    assert (await hub.get("/v1/agents/reader/as/runlog"))["agent_type"] == "cloud"
    shown = await scene.says("agents", "show", "reader")
    assert "gateway" in shown and "office: online" in shown and "device" not in shown
    assert "gateway office" in await scene.says("agents")
    assert "1 of 1 ready" in await scene.says("status")
    for verb in ("pause", "resume"):
        assert (await hub.ask("POST", f"/v1/agents/reader/{verb}", json={})).status_code == 200, verb
    edited = await hub.ask("PATCH", "/v1/agents/office-main", json={"description": "Reaches people."})
    assert (edited.status_code, edited.json()["description"]) == (200, "Reaches people.")


async def test_gateway_removed_from_the_settings_is_disconnected_and_returns(scene: Scene) -> None:
    hub, file = scene.hub, scene.folder / "hub.toml"
    whole = file.read_text()
    file.write_text(SETTINGS.format(model=""))
    await hub.post("/v1/reload")
    assert (await hub.get("/v1/gateways"))["gateways"] == []
    left = await scene.stands(connectivity="offline")
    assert left["axes"]["connectivity"]["reason"] == "its gateway is no longer declared"
    with anyio.fail_after(WITHIN_S):
        while scene.gateway.connections:
            await anyio.sleep(POLL_S)
    file.write_text(whole)
    await hub.post("/v1/reload")
    await scene.stands(connectivity="online")
    events = [entry["event"] for entry in (await hub.get("/v1/audit"))["entries"]]
    assert {"gateway.created", "gateway.archived", "gateway.revived"} <= set(events)


async def test_token_of_a_gateway_is_in_no_output_row_or_log(scene: Scene) -> None:
    await scene.hub.stop()
    token = scene.gateway.token.encode()
    written = {path.name: path.read_bytes() for path in _files_in(scene.folder)}
    assert {"hub.db", "hub.log"} <= written.keys()
    assert [name for name, data in written.items() if token in data] == ["gateway.token"]
    assert all(scene.gateway.token not in path for path, _ in scene.gateway.knocks)


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
