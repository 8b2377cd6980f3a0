"""A device with its own key at the hub we ship: shows a code, waits, comes in by itself."""

from collections.abc import Callable
from pathlib import Path

import anyio

from hub.device.client import TurnedAway
from hub.device.credentials import KeyCredential, next_file, read_identity
from hub.links import auth
from hub.links.auth import KeyRotation
from hub.links.roster import RequestReceived
from protocol.coordination import Response
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import Error
from protocol.ids import DeviceId, UserId
from storage.devices import devices, pairings, tokens
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import AT_MS, PATIENCE_S, Port, open_port, until

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
    await port.store.write(devices.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(
        pairings.approve,
        auth.hash_code(code),
        fresh_id=DeviceId("desk-id"),
        user_id=ANNA,
        name=None,
        actor="operator:0",
        at=int(port.clock.now().timestamp() * 1000),
    )


async def test_a_device_comes_in_by_itself_once_its_code_was_typed(tmp_path: Path) -> None:
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


async def test_a_code_that_has_expired_is_replaced_by_another_one(tmp_path: Path) -> None:
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


async def test_a_device_that_was_denied_stops_and_says_so(tmp_path: Path) -> None:
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
    assert isinstance(device.failure, TurnedAway) and "does not let this device in" in str(device.failure)


async def test_waiting_for_a_code_to_be_typed_is_no_failed_try(tmp_path: Path) -> None:
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


async def test_a_device_replaces_its_key_over_a_connection_that_stays(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock)
        await known(port, credential)
        old = credential.identity.id
        async with open_device(port.url, tmp_path, credential, clock=clock, rotates=True) as device:
            await until(lambda: any(isinstance(event, RequestReceived) for event in port.events))
            await answer(port)
            await until(lambda: any("has a new key" in line for line in device.told))
            new = read_identity(tmp_path / "desk.key").id
            assert new != old
            assert port.link("desk").credential == f"key:{new}"
        assert not next_file(tmp_path / "desk.key").exists()


async def test_a_device_that_lost_the_answer_comes_back_with_its_next_key(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock)
        await known(port, credential)
        fresh = credential.next_identity()
        await port.store.write(
            tokens.rotate_key,
            DeviceId("desk"),
            old=credential.identity.id,
            new=fresh.id,
            public_key=fresh.public_key,
            at=AT_MS,
        )
        async with open_device(port.url, tmp_path, credential, clock=clock) as device:
            await until(lambda: "connected as desk" in device.told)
        assert read_identity(tmp_path / "desk.key").id == fresh.id


async def test_a_revoked_device_that_was_asked_to_is_paired_anew_with_a_new_key(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        credential = key_of(tmp_path, clock, renews=True)
        await known(port, credential)
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
            assert isinstance(await device.over(), TurnedAway), "the person meant this one"
        assert read_identity(tmp_path / "desk.key").id == fresh.id


async def known(port: Port, credential: KeyCredential) -> None:
    """The hub knows the key as that of the device "desk"."""
    credential.read()
    identity = credential.identity
    await port.store.write(devices.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(devices.ensure_device, id=DeviceId("desk"), user_id=ANNA, name="desk", at=AT_MS)
    await port.store.write(
        tokens.add_key,
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
