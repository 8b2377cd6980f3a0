"""A hub proves its key to a device that asks for that, under an address that leads to itself alone."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from hub.links.hosts import Hosts
from hub.links.hub_key import HubKey
from hub.links.transport import UpgradeRules
from protocol import keys
from protocol.handshake import NONCE_HEADER, NONCE_SUBPROTOCOL
from storage.kernel import identity as stored_identity
from storage.store import open_store
from tests.support.families import each
from tests.support.keys import KeyPair, b64
from tests.support.wire import HUB_SEED, Port, RawDevice, open_port

NONCE = b64(bytes(range(32, 64)))
LOCAL = ("10.0.0.5", 8770)


async def refusal(port: Port, nonce: str, *, host: str | None = None) -> int:
    """The status with which a request is refused that asks for a proof."""
    address = port.url.split("/")[2]
    named, _, number = address.rpartition(":")
    url = port.url.replace(address, host or address)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, host=named, port=int(number), additional_headers={NONCE_HEADER: nonce}):
            pass
    return refused.value.response.status_code


@pytest.mark.parametrize("as_subprotocol", [False, True])
async def test_challenge_is_signed_over_both_nonces_and_the_dialled_address(
    port: Port, as_subprotocol: bool
) -> None:
    offered = ["hub.v1.json", f"{NONCE_SUBPROTOCOL}{NONCE}"] if as_subprotocol else ["hub.v1.json"]
    headers = None if as_subprotocol else {NONCE_HEADER: NONCE}
    subprotocols = [Subprotocol(name) for name in offered]
    async with connect(port.url, subprotocols=subprotocols, additional_headers=headers) as socket:
        assert socket.subprotocol == "hub.v1.json"
        challenge = json.loads(await socket.recv())
    proof, address = challenge["proof"], port.url.split("/")[2]
    assert (proof["address"], proof["public_key"]) == (address, HubKey(HUB_SEED).public_key)
    lines = ("hub-challenge-v1", challenge["hub_id"], challenge["nonce"], str(challenge["ts_ms"]))
    text = "\n".join((*lines, proof["public_key"], address, NONCE)).encode()
    public = Ed25519PublicKey.from_public_bytes(keys.decode(proof["public_key"], 32))
    public.verify(keys.decode(proof["signature"], 64), text)


async def test_nonce_as_header_and_subprotocol_is_refused(port: Port) -> None:
    offered = [Subprotocol(f"{NONCE_SUBPROTOCOL}{NONCE}")]
    with pytest.raises(InvalidStatus) as refused:
        await connect(port.url, subprotocols=offered, additional_headers={NONCE_HEADER: NONCE})
    assert refused.value.response.status_code == 422


async def test_challenge_without_a_nonce_has_no_proof(stranger: RawDevice) -> None:
    assert "proof" not in await stranger.hear()


@each("nonce", ["", "short", "A" * 44, "!" * 43])
async def test_malformed_nonce_is_refused_with_422(nonce: str) -> None:
    async with open_port() as port:
        assert await refusal(port, nonce) == 422


async def test_challenge_under_an_ambiguous_address_is_refused_with_421() -> None:
    async with open_port(rules=UpgradeRules(hosts=["hub.example"])) as port:
        for host in ("127.0.0.1:1", "127.0.0.2", "10.0.0.5:8770", "localhost:1"):
            assert await refusal(port, NONCE, host=host) == 421


@each(
    ("host", "local", "is_ours"),
    [
        ("hub.example", LOCAL, True),
        ("hub.example:9000", LOCAL, True),  # a proxy's port
        ("192.168.1.9:9000", LOCAL, True),  # an address that is translated, and was listed for that
        ("other.example", LOCAL, False),
        ("10.0.0.5:8770", LOCAL, True),
        ("10.0.0.5:8771", LOCAL, False),
        ("10.0.0.5", LOCAL, False),
        ("10.0.0.6:8770", LOCAL, False),
        ("localhost:8770", LOCAL, False),
        ("localhost:8770", ("127.0.0.1", 8770), True),
        ("127.0.0.1:8770", ("::ffff:127.0.0.1", 8770), True),
        ("[::1]:8770", ("::1", 8770), True),
        ("10.0.0.5", ("10.0.0.5", 443), True),
        ("", LOCAL, False),
    ],
)
def test_host_is_own_if_listed_or_equal_to_the_local_address(
    host: str, local: tuple[str, int], is_ours: bool
) -> None:
    assert Hosts(["hub.example", "192.168.1.9"]).are_of(host, local) is is_ours


async def greets(device: RawDevice, key: KeyPair, **changed: str) -> str:
    """Say hello as PROTOCOL.md has it, with something else signed or said; the type of the answer."""
    challenge = await device.hear()
    proof = challenge["proof"]
    said = {
        "address": proof["address"],
        "hub_key": proof["public_key"],
        "header": "hub-device-hello-v2",
    } | changed
    signed = (said["header"], challenge["hub_id"], challenge["nonce"], "", "", "", "1", "1", "5")
    signature = key.sign(*signed, said["hub_key"], said.get("signed", said["address"]))
    identity = {"public_key": key.spelled, "signature": signature, "signed_at_ms": 5}
    await device.say(type="device_hello", identity=identity | {"address": said["address"]})
    answer = await device.hear()
    return str(answer["code"])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, "pairing_required"),
        ({"address": "elsewhere.example"}, "auth_failed"),
        ({"signed": "elsewhere.example"}, "auth_failed"),
        ({"hub_key": HubKey(bytes(32)).public_key}, "auth_failed"),
        ({"header": "hub-device-hello-v1"}, "auth_failed"),
    ],
    ids=["as it should be", "another address", "another address signed", "another hub", "the older header"],
)
async def test_device_proof_is_accepted_only_for_the_own_hub_and_the_dialled_address(
    port: Port, changed: dict[str, str], code: str
) -> None:
    async with port.connect(additional_headers={NONCE_HEADER: NONCE}) as device:
        assert await greets(device, KeyPair(), **changed) == code


async def test_an_address_without_a_proof_to_sign_is_refused(port: Port) -> None:
    key = KeyPair()
    async with port.connect() as device:
        challenge = await device.hear()
        shown = key.identity(challenge) | {"address": port.url.split("/")[2]}
        await device.say(type="device_hello", identity=shown)
        assert (await device.hear())["code"] == "auth_failed"


async def test_hub_key_is_created_once_in_the_database() -> None:
    async with open_store("sqlite://", base=None) as store:
        assert (
            await store.write(stored_identity.ensure_key, b"1" * 32),
            await store.write(stored_identity.ensure_key, b"2" * 32),
        ) == (b"1" * 32, b"1" * 32)
