"""What befell other hubs and gateways, by name, against this one as a process.

The race with symbolic links stands where the folder is read: ``tests/hub/device/test_shared.py``.
What needs a real browser stands in ``test_browser.py``.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.processes import HubProcess, closing

SETTINGS = """\
[listen.devices]
address = "127.0.0.1:0"
origins = ["http://allowed.example"]
trusted_proxies = ["127.0.0.1/32"]
[listen.operator]
address = "127.0.0.1:0"
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
ELSEWHERE = "https://evil.example"


class Hub(NamedTuple):
    """A hub, and where it listens."""

    process: HubProcess
    devices: str  # ws://host:port/v1/device
    operator: str  # http://host:port

    async def operator_token(self, role: str) -> str:
        made = await self.process.post("/v1/operator-tokens", {"name": role, "role": role})
        token: str = made["token"]
        return token


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    process = HubProcess(tmp_path, settings=SETTINGS)
    async with closing(process):
        await process.start()
        listeners = (await process.get("/v1/status"))["listeners"]
        yield Hub(process, f"ws://{listeners['devices']}/v1/device", f"http://{listeners['operator']}")


@asynccontextmanager
async def operator(hub: Hub, token: str | None = None, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the operators' port over TCP, as a page's script or a program would be one."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given["authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(base_url=hub.operator, headers=given) as client:
        yield client


async def refused_upgrade(url: str, **options: Any) -> int:
    """The status that the upgrade to a WebSocket was refused with."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(url, **options):
            pass
    return refusal.value.response.status_code


async def greet(socket: ClientConnection, hello: dict[str, Any]) -> tuple[str, int | None]:
    """Say hello; the answer's type or error code, and the close code where the hub hung up."""
    told = "nothing"
    try:
        await socket.send(json.dumps({"type": "device_hello"} | hello))
        async for message in socket:
            frame = json.loads(message)
            if frame["type"] in ("welcome", "error"):
                told = frame.get("code", frame["type"])
            if told == "welcome":
                return told, None
    except ConnectionClosed:
        pass
    return told, socket.close_code


async def knock(hub: Hub, hello: dict[str, Any], **options: Any) -> tuple[str, int | None]:
    """A new connection that says hello."""
    async with connect(hub.devices, **options) as socket:
        return await greet(socket, hello)


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A device's key, made and used by nothing of ours."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.public = b64(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def hello(self, challenge: dict[str, Any], *, hub_id: str | None = None) -> dict[str, Any]:
        """A hello that answers *challenge*, signed as if for *hub_id*."""
        signed = [
            "hub-device-hello-v1",
            hub_id or challenge["hub_id"],
            challenge["nonce"],
            *[""] * 3,
            "1",
            "1",
            "0",
        ]
        signature = b64(self._private.sign("\n".join(signed).encode()))
        return {"identity": {"public_key": self.public, "signature": signature, "signed_at_ms": 0}}


async def challenge_of(socket: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await socket.recv())
    assert frame["type"] == "challenge"
    return frame


@pytest.fixture
async def key(hub: Hub) -> Key:
    """The key of a device that is paired."""
    key = Key()
    async with connect(hub.devices) as socket:
        await socket.send(json.dumps({"type": "device_hello"} | key.hello(await challenge_of(socket))))
        frame = json.loads(await socket.recv())
        assert (frame["type"], frame["code"]) == ("error", "pairing_required")
    await hub.process.post("/v1/pairings/approve", {"code": frame["pairing_code"], "name": "desk"})
    async with connect(hub.devices) as socket:
        assert await greet(socket, key.hello(await challenge_of(socket))) == ("welcome", None)
    return key


# --- web pages ---


@pytest.mark.soak
async def test_a_web_page_on_another_origin_drives_no_local_hub(hub: Hub) -> None:
    token, device_token = await hub.operator_token("admin"), await hub.process.token()

    assert await refused_upgrade(hub.devices, origin=ELSEWHERE) == 403
    bearer = {"Authorization": f"Bearer {device_token}"}
    assert await refused_upgrade(hub.devices, origin=ELSEWHERE, additional_headers=bearer) == 403
    async with operator(hub, token, origin=ELSEWHERE) as page:
        assert (await page.get("/v1/status")).status_code == 403
        assert (await page.post("/v1/agents/notes/runs", json={})).status_code == 403
    assert (await hub.process.get("/v1/runs"))["runs"] == []


@pytest.mark.soak
async def test_a_rebound_host_name_is_not_this_hub(hub: Hub) -> None:
    async with operator(hub, await hub.operator_token("admin"), host="evil.example") as page:
        assert (await page.get("/v1/status")).status_code == 421

    host = hub.devices.removeprefix("ws://").partition(":")[0]
    port = hub.devices.rpartition(":")[2].partition("/")[0]
    named = f"ws://evil.example:{port}/v1/device"
    assert await refused_upgrade(named, host=host, port=int(port)) == 421


@pytest.mark.soak
async def test_a_page_on_loopback_gets_ten_guesses_and_not_two_hundred(hub: Hub) -> None:
    host = hub.operator.removeprefix("http://")
    async with operator(hub, origin=f"http://{host}") as page:
        answers = []
        for number in range(200):
            guess = {"authorization": f"Bearer hub_op_{number:040}"}
            answers.append((await page.get("/v1/status", headers=guess)).status_code)
    assert answers[:10] == [401] * 10
    assert set(answers[10:]) == {429}

    said = [
        await knock(hub, {"token": f"hub_dev_{n:039}"}, origin="http://allowed.example") for n in range(12)
    ]
    assert said == [("auth_failed", 4501)] * 10 + [("rate_limited", 4029)] * 2


@pytest.mark.soak
async def test_a_cross_origin_post_with_a_simple_content_type_changes_nothing(hub: Hub) -> None:
    token = await hub.operator_token("admin")
    async with operator(hub, token) as page:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            sent = await page.post("/v1/agents/notes/runs", content="{}", headers={"content-type": kind})
            assert sent.status_code == 415, kind
    async with operator(hub, origin=ELSEWHERE) as page:
        sent = await page.post("/v1/agents/notes/runs", content="{}", headers={"content-type": "text/plain"})
        assert sent.status_code == 403
    assert (await hub.process.get("/v1/runs"))["runs"] == []


# --- the limiter ---


@pytest.mark.soak
async def test_both_spellings_of_an_ipv4_address_share_one_bucket(hub: Hub) -> None:
    said = []
    for number in range(12):
        spelling = ("203.0.113.9", "::ffff:203.0.113.9")[number % 2]
        forwarded = {"X-Forwarded-For": spelling}
        said.append(await knock(hub, {"token": f"hub_dev_{number:039}"}, additional_headers=forwarded))
    assert said == [("auth_failed", 4501)] * 10 + [("rate_limited", 4029)] * 2


@pytest.mark.soak
async def test_an_extra_credential_does_not_switch_the_limiter_off(hub: Hub) -> None:
    said = []
    for number in range(12):
        async with connect(hub.devices) as socket:
            extra = (
                Key().hello(await challenge_of(socket))
                if number % 2
                else {"invitation": "hub_inv_" + "0" * 39}
            )
            said.append(await greet(socket, {"token": f"hub_dev_{number:039}"} | extra))
    assert said[10:] == [("rate_limited", 4029)] * 2
    assert "welcome" not in dict(said)


# --- rights ---


@pytest.mark.soak
async def test_rights_that_a_client_declares_are_ignored(hub: Hub) -> None:
    declared = {"role": "admin", "scopes": ["admin", "tokens", "settings"], "user_id": "somebody"}
    async with operator(hub, await hub.operator_token("viewer"), x_role="admin", x_scopes="tokens") as viewer:
        made = await viewer.post("/v1/operator-tokens", json={"name": "mine", "role": "admin"})
        assert made.status_code == 403
        assert (await viewer.get("/v1/status", headers={"x-user": "root"})).status_code == 200

    async with connect(hub.devices) as socket:
        told, _ = await greet(socket, {"token": await hub.process.token()} | declared)
        assert told == "welcome"
        await socket.send(
            json.dumps({"type": "request", "id": "q", "method": "operator_tokens.create", "params": {}})
        )
        while (frame := json.loads(await socket.recv()))["type"] != "response":
            pass
        assert frame["error"]["code"] == "unknown_method"


@pytest.mark.soak
async def test_the_settings_are_not_changed_without_the_scope_for_it(hub: Hub) -> None:
    before = await hub.process.get("/v1/config")
    for role in ("viewer", "operator"):
        async with operator(hub, await hub.operator_token(role)) as client:
            assert (await client.patch("/v1/config", json={"hub.name": "mine"})).status_code == 403
            assert (await client.post("/v1/reload")).status_code == 403
    assert await hub.process.get("/v1/config") == before


# --- hellos ---


@pytest.mark.soak
async def test_a_hello_is_not_heard_a_second_time(hub: Hub, key: Key) -> None:
    async with connect(hub.devices) as socket:
        recorded = key.hello(await challenge_of(socket))
        assert await greet(socket, recorded) == ("welcome", None)

    assert await knock(hub, recorded) == ("auth_failed", 4501)


@pytest.mark.soak
async def test_a_signature_for_another_hub_is_none_for_this_one(hub: Hub, key: Key) -> None:
    async with connect(hub.devices) as socket:
        challenge = await challenge_of(socket)
        assert await greet(socket, key.hello(challenge, hub_id="another-hub")) == ("auth_failed", 4501)


@pytest.mark.soak
async def test_a_hello_that_is_too_long_is_cut_off(hub: Hub) -> None:
    told, code = await knock(hub, {"token": "hub_dev_" + "x" * 20_000})
    assert (told, code) == ("too_large", 1009)
    told, code = await knock(hub, {"token": "hub_dev_" + "x" * 1_000_000})
    assert (told, code) == ("nothing", 1009)


@pytest.mark.soak
async def test_a_token_in_a_url_is_refused_and_not_logged(hub: Hub) -> None:
    token, operator_token = await hub.process.token(), await hub.operator_token("admin")

    assert await refused_upgrade(f"{hub.devices}?token={token}") == 400
    async with operator(hub) as client:
        answer = await client.get("/v1/status", params={"token": operator_token})
        assert answer.status_code in (400, 401)
        answer = await client.get("/v1/status", params={"access_token": operator_token})
        assert answer.status_code in (400, 401)

    with anyio.fail_after(10):
        await hub.process.stop()
    for secret in (token, operator_token):
        assert secret not in hub.process.log()
        assert secret[-16:] not in hub.process.log()
