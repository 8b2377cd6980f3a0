"""A connected device replaces its key."""

from collections.abc import AsyncIterator, Mapping

import pytest

from hub.links.device_keys import BadProof
from hub.links.key_rotation import KeyRotation
from hub.links.revocation_watch import RevocationWatch
from protocol import keys
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.ids import DeviceId, UserId
from storage.devices import devices, users
from storage.devices import keys as stored_keys
from storage.devices.keys import KeyRevoked, RotatedTooSoon
from tests.support import stored
from tests.support.coded import coded
from tests.support.keys import NOTHING, KeyPair
from tests.support.presence import BOOT
from tests.support.wire import AT_MS, Port, RawDevice

OLD, NEW, OTHER = KeyPair(1), KeyPair(2), KeyPair(3)
DESK = DeviceId("desk")


@pytest.fixture
async def device(port: Port) -> AsyncIterator[RawDevice]:
    """A device that came in with its key."""
    async with port.connect() as opened:
        await port.store.write(users.ensure_user, UserId("anna"), "anna", AT_MS)
        await port.store.write(devices.ensure_device, id=DESK, user_id=UserId("anna"), name="desk", at=AT_MS)
        await port.store.write(
            stored_keys.add_key,
            id=keys.key_id(OLD.public),
            device_id=DESK,
            public_key=OLD.public,
            at=AT_MS,
        )
        assert (await opened.greet_with(OLD))["type"] == "welcome"
        yield opened


async def rotate(
    port: Port,
    new: KeyPair = NEW,
    *,
    old: KeyPair = OLD,
    hub_id: str = "hub-1",
    instead: Mapping[str, str] = NOTHING,
) -> None:
    lines = ("hub-key-rotation-v1", hub_id, "desk", old.spelled, new.spelled)
    params = {"public_key": new.spelled, "signature": old.sign(*lines), "proof": new.sign(*lines)}
    rotation = KeyRotation(port.store, hub_id="hub-1", clock=port.clock, metrics=port.metrics)
    await rotation.rotate(port.link("desk"), **(params | dict(instead)))


async def test_rotated_key_is_accepted_and_the_old_key_refused_without_disconnection(
    port: Port, device: RawDevice
) -> None:
    await rotate(port)
    await RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock).poll()
    assert device.socket.close_code is None
    async with port.connect() as late:
        assert "replaced this key" in (await late.greet_with(OLD))["message"]
        assert await late.closed() == CloseCode.REVOKED
    async with port.connect() as again:
        assert (await again.greet_with(NEW))["device_id"] == "desk"


async def test_second_key_rotation_within_a_minute_is_refused(port: Port, device: RawDevice) -> None:
    await rotate(port)
    port.clock.advance(59)
    with pytest.raises(RotatedTooSoon, match=r"again in 1 s \(key_rotation_wait_s\)"):
        await rotate(port, OTHER, old=NEW)
    kept = await port.store.read(stored_keys.list_keys)
    assert sorted(key.id for key in kept) == sorted(keys.key_id(pair.public) for pair in (OLD, NEW))
    assert port.count("hub_limits_reached_total", limit="key_rotation_wait_s") == 1
    port.clock.advance(1)
    await rotate(port, OTHER, old=NEW)
    assert len(await port.store.read(stored_keys.list_keys)) == 3


async def test_revoked_new_key_ends_the_connection_used_for_the_rotation(
    port: Port, device: RawDevice
) -> None:
    await rotate(port)
    at = int(port.clock.now().timestamp() * 1000)
    await port.store.write(stored.revoke_key, keys.key_id(NEW.public), at=at)
    await RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock).poll()
    assert await device.closed() == CloseCode.REVOKED


async def test_key_rotation_requires_signatures_of_both_keys_for_the_same_hub(
    port: Port, device: RawDevice
) -> None:
    lines = ("hub-key-rotation-v1", "hub-1", "desk", OLD.spelled, NEW.spelled)
    with pytest.raises(BadProof):
        await rotate(port, instead={"signature": OTHER.sign(*lines)})
    with pytest.raises(BadProof):
        await rotate(port, instead={"proof": OTHER.sign(*lines)})
    with pytest.raises(BadProof):
        await rotate(port, hub_id="hub-2")
    assert len(await port.store.read(stored_keys.list_keys)) == 1


async def test_key_rotation_to_a_known_or_by_a_revoked_key_is_refused(port: Port, device: RawDevice) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)):
        await rotate(port, OLD)
    await port.store.write(stored.revoke_key, keys.key_id(OLD.public), at=AT_MS)
    with pytest.raises(KeyRevoked):
        await rotate(port)


async def test_key_rotation_of_a_device_connected_by_token_is_forbidden(port: Port) -> None:
    async with port.device("desk"):
        with pytest.raises(CodedError, check=coded(ErrorCode.FORBIDDEN)):
            await rotate(port)
