"""A connected device replaces its key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from hub.links.auth import BadProof, KeyRotation
from hub.links.roster import EndsElsewhere
from protocol import keys
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.ids import DeviceId, UserId
from storage.devices import device_keys, devices
from storage.devices.device_keys import KeyRevoked, RotatedTooSoon
from tests.support.coded import coded
from tests.support.families import each
from tests.support.keys import NOTHING, KeyPair
from tests.support.presence import BOOT
from tests.support.wire import AT_MS, Port, RawDevice, open_port

OLD, NEW, OTHER = KeyPair(1), KeyPair(2), KeyPair(3)
DESK = DeviceId("desk")


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Port, RawDevice]]:
    """A device that came in with its key."""
    async with open_port() as port, port.connect() as device:
        await port.store.write(devices.ensure_user, UserId("anna"), "anna", AT_MS)
        await port.store.write(devices.ensure_device, id=DESK, user_id=UserId("anna"), name="desk", at=AT_MS)
        await port.store.write(
            device_keys.add_key,
            id=keys.key_id(OLD.public),
            device_id=DESK,
            public_key=OLD.public,
            at=AT_MS,
        )
        assert (await device.greet_with(OLD))["type"] == "welcome"
        yield port, device


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


async def test_the_new_key_opens_and_the_old_one_does_not_and_the_connection_stays() -> None:
    async with connected() as (port, device):
        await rotate(port)
        await EndsElsewhere(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock).poll()
        assert device.socket.close_code is None
        async with port.connect() as late:
            assert "replaced this key" in (await late.greet_with(OLD))["message"]
            assert await late.closed() == CloseCode.REVOKED
        async with port.connect() as again:
            assert (await again.greet_with(NEW))["device_id"] == "desk"


async def test_a_device_replaces_its_key_once_a_minute() -> None:
    async with connected() as (port, _):
        await rotate(port)
        port.clock.advance(59)
        with pytest.raises(RotatedTooSoon, match=r"again in 1 s \(key_rotation_wait_s\)"):
            await rotate(port, OTHER, old=NEW)
        kept = await port.store.read(device_keys.list_keys)
        assert sorted(key.id for key in kept) == sorted(keys.key_id(pair.public) for pair in (OLD, NEW))
        assert port.count("hub_limits_reached_total", limit="key_rotation_wait_s") == 1
        port.clock.advance(1)
        await rotate(port, OTHER, old=NEW)
        assert len(await port.store.read(device_keys.list_keys)) == 3


async def test_a_new_key_that_was_revoked_ends_the_connection_that_brought_it() -> None:
    async with connected() as (port, device):
        await rotate(port)
        at = int(port.clock.now().timestamp() * 1000)
        await port.store.write(device_keys.revoke_key, keys.key_id(NEW.public), at=at, actor="operator:0")
        await EndsElsewhere(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock).poll()
        assert await device.closed() == CloseCode.REVOKED


@each("wrong", ["signature", "proof"])
async def test_both_keys_have_to_sign(wrong: str) -> None:
    async with connected() as (port, _):
        lines = ("hub-key-rotation-v1", "hub-1", "desk", OLD.spelled, NEW.spelled)
        with pytest.raises(BadProof):
            await rotate(port, instead={wrong: OTHER.sign(*lines)})
        assert len(await port.store.read(device_keys.list_keys)) == 1


async def test_what_was_signed_for_another_hub_is_refused() -> None:
    async with connected() as (port, _):
        with pytest.raises(BadProof):
            await rotate(port, hub_id="hub-2")


async def test_a_key_that_is_known_already_is_no_new_key() -> None:
    async with connected() as (port, _):
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)):
            await rotate(port, OLD)


async def test_a_key_that_was_revoked_meanwhile_vouches_for_nothing() -> None:
    async with connected() as (port, _):
        await port.store.write(device_keys.revoke_key, keys.key_id(OLD.public), at=AT_MS, actor="operator:0")
        with pytest.raises(KeyRevoked):
            await rotate(port)


async def test_a_device_that_came_with_a_token_has_no_key_to_replace() -> None:
    async with open_port() as port, port.device("desk"):
        with pytest.raises(CodedError, check=coded(ErrorCode.FORBIDDEN)):
            await rotate(port)
