"""The device's own key, which only its owner can read, and the keys of its hubs.

A hub is known again by its key, and another one in its place is shown nothing. At the hub we ship, a device
shows a code, waits, and comes in by itself; its key is replaced over a connection that stays.
"""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from hub.base.clock import SystemChance
from hub.base.system.files import is_open_to_others
from hub.device import app
from hub.device.client import HubRejection
from hub.device.credentials import (
    BadCredential,
    KeyCredential,
    make_identity,
    next_file,
    open_identity,
    read_identity,
)
from hub.device.known_hubs import BadKnownHubs, HubNotTrusted, KnownHub, KnownHubs, check_proof, dialled
from hub.device.owner import change_grants
from hub.links import pairing
from hub.links.hub_key import HubKey
from hub.links.key_rotation import KeyRotation
from hub.links.roster import RequestReceived
from protocol import keys
from protocol.codec import JSON
from protocol.coordination import Response
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import SPOKEN, Challenge, Error, GrantOfOwner
from protocol.ids import DeviceId, UserId
from storage.devices import devices, pairings, users
from storage.devices import keys as stored_keys
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.families import each
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import AT_MS, PATIENCE_S, Port, open_port, until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "desk.key"


def test_device_key_is_created_once_with_file_mode_0600(file: Path) -> None:
    made = open_identity(file, SeededChance(1))
    assert open_identity(file, SeededChance(2)).id == made.id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert made.shown == keys.shown(made.id)
    signature = keys.decode(made.sign(b"text"), keys.SIGNATURE_BYTES)
    Ed25519PublicKey.from_public_bytes(made.public_key).verify(signature, b"text")


def test_existing_device_key_is_not_overwritten(file: Path) -> None:
    made = open_identity(file, SeededChance(1))
    with pytest.raises(BadCredential, match="cannot make"):
        make_identity(file, SeededChance(2))
    assert (read_identity(file).id, list(file.parent.iterdir())) == (made.id, [file])


def test_device_key_readable_by_others_is_detected(file: Path) -> None:
    open_identity(file, SeededChance())
    assert not is_open_to_others(file)
    file.chmod(0o640)
    assert is_open_to_others(file)
    assert not is_open_to_others(file / "nothing")


@pytest.mark.parametrize("kind", ["nonsense", "empty", "another kind", "a password"])
def test_file_without_a_device_key_is_refused(file: Path, kind: str) -> None:
    file.parent.mkdir()
    curve = generate_private_key(SECP256R1())
    locked = BestAvailableEncryption(b"secret")
    content = {
        "nonsense": b"not a key",
        "empty": b"",
        "another kind": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "a password": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
    }
    file.write_bytes(content[kind])
    with pytest.raises(BadCredential, match=r"desk\.key holds"):
        open_identity(file, SeededChance())
    with pytest.raises(BadCredential):
        KeyCredential(file, clock=FakeClock(), chance=SeededChance()).read()


def test_unreadable_or_uncreatable_device_key_is_reported_with_the_path(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(BadCredential, match=r"cannot read the device's key .*desk\.key: Is a directory"):
        read_identity(file)
    with pytest.raises(BadCredential, match=r"cannot make the device's key"):
        open_identity(Path("/proc/nowhere/desk.key"), SeededChance())


def test_next_key_replaces_the_revoked_device_key(file: Path) -> None:
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance())
    credential.read()
    old = credential.identity
    assert credential.take_another(is_revoked=False) is None
    fresh = credential.next_identity()
    assert credential.next_identity().id == fresh.id != old.id
    assert credential.take_another(is_revoked=True)
    assert credential.identity.id == fresh.id == read_identity(file).id
    assert not next_file(file).exists()


def test_revoked_key_accepted_before_is_not_replaced_automatically(file: Path) -> None:
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance(), renews=True)
    credential.read()
    credential.welcomed()
    assert credential.take_another(is_revoked=True) is None


def test_invitation_file_is_read_until_the_device_is_welcomed(tmp_path: Path, file: Path) -> None:
    invitation = tmp_path / "invitation"
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance(), invitation=invitation)
    with pytest.raises(BadCredential, match="the invitation cannot be read"):
        credential.read()
    invitation.write_text("hub_inv_1\n")
    credential.read()
    credential.welcomed()
    invitation.unlink()
    credential.read()


ONE, OTHER = HubKey(bytes([1]) * 32), HubKey(bytes([2]) * 32)
CHALLENGE = Challenge(nonce="n", hub_id="hub-1", protocol=SPOKEN, ts_ms=1)


def hubs_in(folder: Path) -> KnownHubs:
    return KnownHubs(folder / "desk.hubs", folder / "desk.key")


def meet(hubs: KnownHubs, address: str, public_key: str) -> tuple[KnownHub, KnownHub | None]:
    hub, before = hubs.judge(address, public_key)
    if hub != before:
        hubs.keep(hub)
    return hub, before


def accepting(folder: Path, key: HubKey) -> KnownHubs:
    return KnownHubs(folder / "desk.hubs", folder / "desk.key", accepted=keys.read(key.shown))


def test_hub_key_is_stored_at_the_first_connection(tmp_path: Path) -> None:
    met = meet(hubs_in(tmp_path), "hub.example", ONE.public_key)
    known = KnownHub("hub.example", ONE.public_key, "desk.key")
    assert met == (known, None)
    assert (meet(hubs_in(tmp_path), "hub.example", ONE.public_key), hubs_in(tmp_path).read()) == (
        (known, known),
        [known],
    )
    assert (tmp_path / "desk.hubs").stat().st_mode & 0o777 == 0o600


def test_new_hub_key_at_a_known_address_is_refused_with_command(tmp_path: Path) -> None:
    meet(hubs_in(tmp_path), "hub.example", ONE.public_key)
    before = (tmp_path / "desk.hubs").read_bytes()
    with pytest.raises(HubNotTrusted) as refusal:
        meet(hubs_in(tmp_path), "hub.example", OTHER.public_key)
    assert ONE.shown in str(refusal.value)
    assert f"hub connect --accept-hub {OTHER.shown}" in str(refusal.value)
    assert (tmp_path / "desk.hubs").read_bytes() == before


def test_successor_hub_accepted_by_fingerprint_gets_a_second_device_key(tmp_path: Path) -> None:
    first, _ = meet(hubs_in(tmp_path), "hub.example", ONE.public_key)
    successor = KnownHub("hub.example", OTHER.public_key, "desk.2.key")
    assert (
        meet(accepting(tmp_path, OTHER), "hub.example", OTHER.public_key),
        hubs_in(tmp_path).at_addresses(),
    ) == ((successor, first), {"hub.example": successor})
    with pytest.raises(HubNotTrusted, match=ONE.shown):
        meet(hubs_in(tmp_path), "hub.example", ONE.public_key)


def test_hub_accepted_again_gets_the_former_device_key(tmp_path: Path) -> None:
    first, _ = meet(hubs_in(tmp_path), "hub.example", ONE.public_key)
    for _ in range(2):
        second, _ = meet(accepting(tmp_path, OTHER), "hub.example", OTHER.public_key)
        assert (
            meet(accepting(tmp_path, ONE), "hub.example", ONE.public_key),
            hubs_in(tmp_path).key_file("hub.example"),
        ) == ((first, second), tmp_path / "desk.key")
    assert len(hubs_in(tmp_path).read()) == 2
    with pytest.raises(HubNotTrusted, match=OTHER.shown):
        meet(hubs_in(tmp_path), "hub.example", OTHER.public_key)


def test_device_key_created_before_the_first_hub_is_used_for_the_first_hub(tmp_path: Path) -> None:
    hubs = hubs_in(tmp_path)
    made = hubs.key_file("a")
    assert made is not None
    made.touch()
    assert hubs.path_of(meet(hubs, "a", ONE.public_key)[0]) == made


@pytest.mark.parametrize("is_known", [False, True])
def test_accepted_fingerprint_excludes_every_other_hub_key(tmp_path: Path, is_known: bool) -> None:
    if is_known:
        meet(hubs_in(tmp_path), "hub.example", ONE.public_key)
    with pytest.raises(HubNotTrusted, match=OTHER.shown):
        meet(accepting(tmp_path, OTHER), "hub.example", ONE.public_key)


def test_each_hub_has_a_single_device_key_for_all_addresses(tmp_path: Path) -> None:
    hubs = hubs_in(tmp_path)
    for address, key in (("a", ONE), ("b", OTHER), ("c", ONE)):
        meet(hubs, address, key.public_key)
    assert [(hub.address, hub.key_file) for hub in hubs.read()] == [
        ("a", "desk.key"),
        ("b", "desk.2.key"),
        ("c", "desk.key"),
    ]
    assert hubs.key_file("b") == tmp_path / "desk.2.key"
    assert hubs.key_file("d") is None, "it may be any of them"
    assert meet(hubs, "d", HubKey(bytes([3]) * 32).public_key)[0].key_file == "desk.3.key"


def test_chosen_key_file_is_used_for_every_hub(tmp_path: Path) -> None:
    meet(hubs_in(tmp_path), "a", ONE.public_key)
    chosen = KnownHubs(tmp_path / "desk.hubs", tmp_path / "mine.key", is_chosen=True)
    assert (chosen.key_file("a"), chosen.path_of(meet(chosen, "b", OTHER.public_key)[0])) == (
        tmp_path / "mine.key",
        tmp_path / "mine.key",
    )


@pytest.mark.parametrize("line", ["hub.example", "hub.example nokey desk.key", f"hub.example {'A' * 43}"])
def test_invalid_line_of_the_known_hubs_file_is_reported_with_the_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "desk.hubs").write_text(f"# hubs\n\n{line}\n")
    with pytest.raises(BadKnownHubs, match="line 3"):
        meet(hubs_in(tmp_path), "hub.example", ONE.public_key)


def test_oversized_or_binary_known_hubs_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.hubs").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(BadKnownHubs, match="longer"):
        hubs_in(tmp_path).read()
    (tmp_path / "desk.hubs").write_bytes(b"\xff")
    with pytest.raises(BadKnownHubs, match="cannot read"):
        hubs_in(tmp_path).read()


@pytest.mark.parametrize(
    "changed",
    [
        {"device_nonce": "m"},
        {"address": "other.example"},
        {"hub_id": "hub-2"},
        {"nonce": "m"},
        {"ts_ms": 2},
        {"public_key": OTHER.public_key},
        {"public_key": "A"},
        {"signature": "A" * 86},
        {"signature": ""},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_hub_proof_for_another_nonce_address_or_key_is_refused(changed: dict[str, str | int]) -> None:
    proof = ONE.prove(CHALLENGE, address="hub.example", device_nonce="n")
    kept = msgspec.structs.replace(CHALLENGE, proof=proof)
    assert check_proof(kept, address="hub.example", nonce="n") == ONE.public_key

    frame = json.loads(JSON.encode(kept))
    for part in (frame, frame["proof"]):
        part.update({name: value for name, value in changed.items() if name in part})
    challenge = JSON.decode_from_hub(json.dumps(frame).encode())
    assert isinstance(challenge, Challenge)
    nonce = str(changed.get("device_nonce", "n"))
    with pytest.raises(HubNotTrusted):
        check_proof(challenge, address="hub.example", nonce=nonce)


@each(
    ("url", "address"),
    [
        ("ws://127.0.0.1:8770", "127.0.0.1:8770"),
        ("wss://Hub.Example/v1/device", "hub.example"),
        ("wss://hub.example:443", "hub.example"),
        ("ws://[::1]:8770", "[::1]:8770"),
    ],
)
def test_dialled_address_of_a_url_equals_the_host_header(url: str, address: str) -> None:
    assert dialled(url) == address


async def test_device_stops_without_hello_at_a_hub_with_another_key(tmp_path: Path) -> None:
    hub = ScriptedHub()
    async with hub.open():
        async with open_device(hub.url, tmp_path) as device:
            await (await hub.guest()).welcome()
            assert f"the key of this hub: {hub.key.shown}" in device.told
        hub.key = OTHER
        async with open_device(hub.url, tmp_path) as device:
            guest = await hub.guest()
            await guest.flush()
            assert await guest.left() is not None
            failure = await device.over()
    assert isinstance(failure, HubRejection) and OTHER.shown in str(failure)
    assert guest.session.hello is None


async def test_device_alternating_between_two_hubs_has_only_two_keys(tmp_path: Path) -> None:
    hub, shown = ScriptedHub(), []
    async with hub.open():
        for hub.key in (ONE, OTHER, ONE, OTHER):
            key = KeyCredential(tmp_path / "desk.key", clock=FakeClock(), chance=SystemChance())
            async with open_device(hub.url, tmp_path, key, accepted=keys.read(hub.key.shown)):
                identity = (await (await hub.guest()).welcome()).identity
                assert identity is not None
                shown.append(identity.public_key)
    assert shown[0] != shown[1]
    assert shown[2:] == shown[:2]
    assert {hub.key_file for hub in hubs_in(tmp_path).read()} == {"desk.key", "desk.2.key"}


async def test_every_hello_has_the_grants_given_by_the_owner_at_pairing(tmp_path: Path) -> None:
    hub, said = ScriptedHub(), [GrantOfOwner(name="review.remote")]
    async with hub.open():
        for grants in (["+review.remote"], ["+rows.read=tasks"]):
            async with open_device(hub.url, tmp_path, grants=grants):
                hello = await (await hub.guest()).welcome()
                assert hello.grants == said, "what is granted at pairing holds for a hub that is met first"
        change_grants(tmp_path / "desk.db", hub.key.public_key, ["-review.remote"])
        async with open_device(hub.url, tmp_path):
            assert (await (await hub.guest()).welcome()).grants == []


async def test_grant_changed_during_a_connection_is_sent_in_a_new_hello(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "POLL_EVERY_S", 0.01)
    hub = ScriptedHub()
    async with hub.open(), open_device(hub.url, tmp_path):
        assert (await (await hub.guest()).welcome()).grants == []
        change_grants(tmp_path / "desk.db", hub.key.public_key, ["+review.remote"])
        assert (await (await hub.guest()).welcome()).grants == [GrantOfOwner(name="review.remote")]


ANNA = UserId("anna")


def key_of(folder: Path, clock: FakeClock, *, renews: bool = False) -> KeyCredential:
    return KeyCredential(folder / "desk.key", clock=clock, chance=SeededChance(3), renews=renews)


async def shows_code(device: RunningDevice) -> str:
    """The last code that the device showed, once it waits for somebody to type it."""
    await until(lambda: any("hub pair approve" in line for line in device.told))
    return next(line for line in reversed(device.told) if "hub pair approve" in line).split()[-1]


def knocks(port: Port) -> float:
    return port.count("hub_connection_attempts_total", result="pairing_required")


async def time_passes(clock: FakeClock, condition: Callable[[], bool]) -> None:
    """Let the device wait and knock, wait and knock, until *condition*. The hub's time stands still."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            clock.advance(0.5)
            await anyio.sleep(0.01)


async def approve(port: Port, code: str) -> None:
    await port.store.write(users.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(
        pairings.approve,
        pairing.hash_code(code),
        fresh_id=DeviceId("desk-id"),
        user_id=ANNA,
        name=None,
        actor="operator:0",
        at=int(port.clock.now().timestamp() * 1000),
    )


async def test_pairing_device_connects_after_approval_of_the_code(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port() as port:
        credential = key_of(tmp_path, clock)
        async with open_device(port.url, tmp_path, credential, clock=clock) as device:
            code = await shows_code(device)
            await time_passes(clock, lambda: knocks(port) >= 3)
            assert sum("hub pair approve" in line for line in device.told) == 1

            await approve(port, code)
            await time_passes(clock, lambda: "connected as desk-id" in device.told)
            assert port.link("desk-id").credential == f"key:{credential.identity.id}"


async def test_expired_pairing_code_is_replaced_by_a_new_code(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        open_port() as port,
        open_device(port.url, tmp_path, key_of(tmp_path, clock), clock=clock) as device,
    ):
        first = await shows_code(device)
        port.clock.advance(600)
        await time_passes(clock, lambda: sum("hub pair approve" in line for line in device.told) == 2)
        second = await shows_code(device)
        assert second != first
        told = f"the code {first} has expired and lets nothing in any more; the new pairing code is {second}"
        assert told in device.told


async def test_device_with_a_denied_pairing_stops_with_the_reason(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        open_port() as port,
        open_device(port.url, tmp_path, key_of(tmp_path, clock), clock=clock) as device,
    ):
        await shows_code(device)
        at = int(port.clock.now().timestamp() * 1000)
        (waiting,) = await port.store.read(pairings.list_pairings, at=at)
        await port.store.write(pairings.deny, waiting.id, actor="operator:0", at=at)
        await time_passes(clock, device.is_over.is_set)
    assert isinstance(device.failure, HubRejection) and "does not let this device in" in str(device.failure)


async def test_waiting_for_pairing_approval_does_not_increase_the_reconnect_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    asked = Error(code=ErrorCode.PAIRING_REQUIRED, pairing_code="K7QF-2M9X", retry_after_ms=2_000)
    async with (
        ScriptedHub().open() as hub,
        open_device(hub.url, tmp_path, clock=clock, chance=SeededChance()) as device,
    ):
        for _ in range(4):
            guest = await guest_in_time(hub, clock)
            await guest.hello()
            await guest.refuse(asked, CloseCode.PAIRING_REQUIRED)
        await (await guest_in_time(hub, clock)).cut()
        await until(lambda: "next try in" in device.told[-1])

        assert float(device.told[-1].split()[-2]) <= 0.5


async def guest_in_time(hub: ScriptedHub, clock: FakeClock) -> Guest:
    """The next device that connects, while time passes."""

    async def pass_time() -> None:
        while True:
            clock.advance(0.5)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_time)
        guest = await hub.guest()
        tasks.cancel_scope.cancel()
    return guest


async def test_device_key_rotation_does_not_break_the_connection(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock)
        await know_key(port, credential)
        old = credential.identity.id
        async with open_device(port.url, tmp_path, credential, clock=clock, rotates=True) as device:
            await until(lambda: any(isinstance(event, RequestReceived) for event in port.events))
            await answer(port)
            await until(lambda: any("has a new key" in line for line in device.told))
            new = read_identity(tmp_path / "desk.key").id
            assert new != old
            assert port.link("desk").credential == f"key:{new}"
        assert not next_file(tmp_path / "desk.key").exists()


async def test_device_without_the_rotation_answer_connects_with_the_next_key(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock)
        await know_key(port, credential)
        fresh = credential.next_identity()
        await port.store.write(
            stored_keys.rotate_key,
            DeviceId("desk"),
            old=credential.identity.id,
            new=fresh.id,
            public_key=fresh.public_key,
            at=AT_MS,
        )
        async with open_device(port.url, tmp_path, credential, clock=clock) as device:
            await until(lambda: "connected as desk" in device.told)
        assert read_identity(tmp_path / "desk.key").id == fresh.id


async def test_revoked_device_with_renewal_is_paired_again_with_a_new_key(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock, renews=True)
        await know_key(port, credential)
        old = credential.identity.id
        await port.store.write(devices.revoke_device, DeviceId("desk"), at=AT_MS, actor="operator:0")
        async with open_device(port.url, tmp_path, credential, clock=clock, rotates=True) as device:
            await time_passes(clock, lambda: any("hub pair approve" in line for line in device.told))
            fresh = read_identity(tmp_path / "desk.key")
            assert fresh.id != old
            assert any(fresh.shown in line for line in device.told), "a person has to compare it"

            await approve(port, await shows_code(device))
            await time_passes(clock, lambda: "connected as desk" in device.told)
            await anyio.wait_all_tasks_blocked()
            assert not any(isinstance(event, RequestReceived) for event in port.events), "it is new already"

            port.roster.end_revoked(DeviceId("desk"), None)
            assert isinstance(await device.over(), HubRejection), "the person meant this one"
        assert read_identity(tmp_path / "desk.key").id == fresh.id


async def know_key(port: Port, credential: KeyCredential) -> None:
    """The hub knows the key as that of the device "desk"."""
    credential.read()
    identity = credential.identity
    await port.store.write(users.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(devices.ensure_device, id=DeviceId("desk"), user_id=ANNA, name="desk", at=AT_MS)
    await port.store.write(
        stored_keys.add_key,
        id=identity.id,
        device_id=DeviceId("desk"),
        public_key=identity.public_key,
        at=AT_MS,
    )


async def answer(port: Port) -> None:
    """Answer the request that came, as the hub's router does."""
    event = next(event for event in port.events if isinstance(event, RequestReceived))
    rotation = KeyRotation(port.store, hub_id="hub-1", clock=port.clock, metrics=port.metrics)
    params = {name: str(value) for name, value in event.frame.params.items()}
    key_id = await rotation.rotate(event.link, **params)
    await event.link.send(Response(id=event.frame.id, result={"key_id": key_id}))
