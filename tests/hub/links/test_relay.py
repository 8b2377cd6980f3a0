"""A hub M to which a device connects passes on the challenge of a hub H, and is not the device there."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.device.client import HubRejection
from hub.device.credentials import Credential, KeyCredential, TokenCredential
from hub.links.hub_key import HubKey
from protocol import keys
from protocol.codec import JSON
from protocol.handshake import NONCE_HEADER, Challenge
from protocol.ids import DeviceId
from tests.hub.device.test_credentials import key_of, know_key
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import open_device
from tests.support.wire import Port, until

Edit = Callable[[Challenge, str, str], Challenge]
OF_M = HubKey(b"m" * 32)


def as_it_is(challenge: Challenge, address: str, nonce: str) -> Challenge:
    return challenge


def without_proof(challenge: Challenge, address: str, nonce: str) -> Challenge:
    return Challenge(
        nonce=challenge.nonce, hub_id=challenge.hub_id, protocol=challenge.protocol, ts_ms=challenge.ts_ms
    )


def proved_by_m(challenge: Challenge, address: str, nonce: str) -> Challenge:
    bare = without_proof(challenge, address, nonce)
    proof = OF_M.prove(bare, address=address, device_nonce=nonce)
    return Challenge(
        nonce=bare.nonce, hub_id=bare.hub_id, protocol=bare.protocol, ts_ms=bare.ts_ms, proof=proof
    )


def renamed(challenge: Challenge, address: str, nonce: str) -> Challenge:
    """The proof of H, with the address of M written over that of H."""
    frame = json.loads(JSON.encode(challenge))
    frame["proof"]["address"] = address
    read = JSON.decode_from_hub(json.dumps(frame).encode())
    assert isinstance(read, Challenge)
    return read


class Relay:
    """M: gives to each side what the other said, but for the challenge. Keeps the hellos and answers."""

    def __init__(self, hub_url: str, *, keeps_host: bool, gives_nonce: bool, edit: Edit) -> None:
        self.url = ""
        self.hellos: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.refused: list[int] = []
        self._hub_url = hub_url
        self._keeps_host, self._gives_nonce, self._edit = keeps_host, gives_nonce, edit

    async def carry(self, device: ServerConnection) -> None:
        assert device.request is not None
        address, nonce = device.request.headers["Host"], device.request.headers[NONCE_HEADER]
        hub = urlsplit(self._hub_url)
        url = f"ws://{address}{hub.path}" if self._keeps_host else self._hub_url
        headers = {NONCE_HEADER: nonce} if self._gives_nonce else {}
        try:
            async with connect(url, host=hub.hostname, port=hub.port, additional_headers=headers) as other:
                challenge = JSON.decode_from_hub(await other.recv(decode=False))
                assert isinstance(challenge, Challenge)
                edited = JSON.encode(self._edit(challenge, address, nonce))
                await device.send(edited, text=True)
                hello = await device.recv()
                self.hellos.append(json.loads(hello))
                await other.send(hello)
                answer = await other.recv()
                self.answers.append(json.loads(answer))
                await device.send(answer)
        except InvalidStatus as error:
            self.refused.append(error.response.status_code)
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Relay"]:
        async with serve(self.carry, "127.0.0.1", 0, compression=None) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self


async def connects(port: Port, state: Path, credential: Credential, clock: FakeClock) -> None:
    """The device is at home at H, whose key it knows from then on."""
    async with open_device(port.url, state, credential, clock=clock) as device:
        await until(lambda: "connected as desk" in device.told)
    await until(lambda: port.roster.find(DeviceId("desk")) is None)


@pytest.mark.parametrize("shows", ["key", "token"])
@pytest.mark.parametrize(
    ("keeps_host", "gives_nonce", "edit", "why"),
    [
        (False, True, as_it_is, "an attacker between passes on"),
        (False, True, renamed, "does not prove the key"),
        (False, False, as_it_is, "proves no key"),
        (True, False, without_proof, "proves no key"),
    ],
    ids=["as it is", "under another address", "without a nonce", "with its own name"],
)
async def test_device_sends_no_hello_to_a_hub_relaying_the_challenge_of_another(
    port: Port, tmp_path: Path, shows: str, keeps_host: bool, gives_nonce: bool, edit: Edit, why: str
) -> None:
    credential: Credential = TokenCredential(await port.pair("desk"))
    if shows == "key":
        credential = key_of(tmp_path, port.clock)
        await know_key(port, credential)
    await connects(port, tmp_path, credential, port.clock)
    relay = Relay(port.url, keeps_host=keeps_host, gives_nonce=gives_nonce, edit=edit)
    async with relay.open(), open_device(relay.url, tmp_path, credential, clock=port.clock) as device:
        failure = await device.over()
    assert isinstance(failure, HubRejection) and why in str(failure)
    assert relay.hellos == []


async def test_challenge_relayed_under_the_address_of_another_hub_is_refused(
    port: Port, tmp_path: Path
) -> None:
    relay = Relay(port.url, keeps_host=True, gives_nonce=True, edit=as_it_is)
    async with relay.open(), open_device(relay.url, tmp_path, clock=port.clock):
        await until(lambda: relay.refused == [421])
    assert relay.hellos == []


@pytest.mark.parametrize("is_one_key", [False, True], ids=["a key for each hub", "one key for both"])
async def test_device_proof_relayed_from_another_hub_is_refused(
    port: Port, tmp_path: Path, is_one_key: bool
) -> None:
    credential = key_of(tmp_path, port.clock)
    await know_key(port, credential)
    await connects(port, tmp_path, credential, port.clock)
    state = tmp_path
    if is_one_key:
        (state := tmp_path / "other").mkdir()
        (state / "desk.key").write_bytes((tmp_path / "desk.key").read_bytes())
    relay = Relay(port.url, keeps_host=False, gives_nonce=True, edit=proved_by_m)
    shown = KeyCredential(state / "desk.key", clock=port.clock, chance=SeededChance(11))
    async with relay.open(), open_device(relay.url, state, shown, clock=port.clock):
        await until(lambda: bool(relay.answers))
    (hello,), (answer,) = relay.hellos, relay.answers
    assert answer["type"] == "error" and answer["code"] == "auth_failed"
    assert (hello["identity"]["public_key"] == keys.encode(credential.identity.public_key)) is is_one_key
    assert port.roster.find(DeviceId("desk")) is None


async def test_device_dialling_the_hub_directly_is_welcomed(port: Port, tmp_path: Path) -> None:
    """What the relays above lack is the address alone."""
    credential = key_of(tmp_path, port.clock)
    await know_key(port, credential)
    with anyio.fail_after(30):
        await connects(port, tmp_path, credential, port.clock)
        await connects(port, tmp_path, key_of(tmp_path, port.clock), port.clock)
