"""Who is let in, and what those are told who are not; over real sockets."""

from contextlib import AsyncExitStack
from typing import Any

import anyio
import msgspec
import pytest

from hub.base.clock import epoch_ms
from hub.base.log.channel import fields_of
from hub.links.auth import Knock
from hub.links.refusals import HelloRefusal
from protocol.errors import CATALOGUE, CloseCode, ErrorCode
from protocol.handshake import SPOKEN, Challenge, DeviceHello
from protocol.ids import BootId, ConnectionId, DeviceId, TokenId
from protocol.keys import key_id
from storage import audit
from storage.devices import devices, keys, pairings
from storage.devices.attempts import AttemptLimits
from storage.devices.tokens import DEVICE_TOKENS
from tests.support import stored
from tests.support.families import each
from tests.support.keys import KeyPair
from tests.support.presence import appear
from tests.support.wire import AT_MS, PATIENCE_S, Port, open_port, until


async def answer_to(port: Port, token: str | None, **hello: object) -> tuple[dict[str, object], int | None]:
    """Greet the port; return its answer, and the close code of a refusal."""
    async with port.connect() as device:
        answer = await device.greet(token, **hello)
        return answer, None if answer["type"] == "welcome" else await device.closed()


async def test_an_unknown_token_is_refused_with_a_hint(port: Port) -> None:
    error, close = await answer_to(port, "hub_dev_typo")
    assert (error["type"], error["code"], close, error["hint"]) == (
        "error",
        "auth_failed",
        CloseCode.AUTH_FAILED,
        CATALOGUE[ErrorCode.AUTH_FAILED].hint,
    )
    assert (port.events, port.count("hub_auth_failures_total", reason="auth_failed")) == ([], 1)


async def test_a_revoked_token_and_a_token_of_a_revoked_device_are_refused_for_good(port: Port) -> None:
    token, of_desk = await port.pair(), await port.pair("desk", "hub_dev_desk")
    await port.store.write(DEVICE_TOKENS.revoke, TokenId(f"t-{token}"), at=AT_MS, actor="hub")
    await port.store.write(devices.revoke_device, DeviceId("desk"), at=AT_MS, actor="operator:0")
    for shown in (token, of_desk):
        error, close = await answer_to(port, shown)
        assert (error["code"], close) == ("revoked", CloseCode.REVOKED)


async def test_device_token_is_refused_after_expiry(port: Port) -> None:
    token = await port.pair(expires_at=int(port.clock.now().timestamp() * 1000) + 1_000)
    assert (await answer_to(port, token))[0]["type"] == "welcome"
    port.clock.advance(2)
    error, close = await answer_to(port, token)
    assert (error["code"], close) == ("auth_failed", CloseCode.AUTH_FAILED)
    assert "expired" in str(error["message"])


@each("hello", [{}, {"invitation": "hub_inv_1"}])
async def test_a_device_without_token_and_key_gets_instructions(hello: dict[str, object]) -> None:
    async with open_port() as port:
        error, close = await answer_to(port, None, **hello)
        assert (error["code"], close) == ("pairing_required", CloseCode.PAIRING_REQUIRED)
        assert "hub token create" in str(error["hint"])
        assert "retry_after_ms" not in error


async def test_network_failing_ten_times_in_a_minute_waits_five_minutes_then_ten(port: Port) -> None:
    for wait_ms in (300_000, 600_000):
        for _ in range(10):
            assert (await answer_to(port, "hub_dev_typo"))[0]["code"] == "auth_failed"
        error, close = await answer_to(port, "hub_dev_typo")
        assert (error["code"], close, error["retry_after_ms"]) == (
            "rate_limited",
            CloseCode.TOO_MANY_ATTEMPTS,
            wait_ms,
        )
        port.clock.advance(wait_ms / 1000)
    assert (
        (await answer_to(port, "hub_dev_typo"))[0]["code"],
        port.count("hub_limits_reached_total", limit="auth_failures"),
    ) == ("auth_failed", 2)


async def test_valid_token_is_accepted_from_a_throttled_network_without_ending_the_wait(port: Port) -> None:
    token = await port.pair()
    for _ in range(10):
        await answer_to(port, "hub_dev_guess")
    assert (await answer_to(port, token))[0]["type"] == "welcome"
    error, close = await answer_to(port, "hub_dev_guess")
    assert (error["code"], close, error["retry_after_ms"]) == (
        *("rate_limited", CloseCode.TOO_MANY_ATTEMPTS),
        300_000,
    )


async def test_a_good_token_between_two_guesses_does_not_switch_the_limiter_off(port: Port) -> None:
    token = await port.pair()
    shown = [*["hub_dev_guess"] * 9, token, *["hub_dev_guess"] * 2]
    answers = [(await answer_to(port, one))[0] for one in shown]
    assert (answers[9]["type"], answers[-1]["code"]) == ("welcome", "rate_limited")


async def test_refused_logins_are_audited_once_a_minute_with_a_count(port: Port) -> None:
    for _ in range(3):
        await answer_to(port, "hub_dev_guess")
    port.clock.advance(60)
    await answer_to(port, "hub_dev_guess")
    rows = await port.store.read(audit.list_entries, limit=10, event="auth.refused", oldest_first=True)
    assert [(row.subject, row.outcome, row.detail) for row in rows] == [
        ("127.0.0.1", "refused", '{"count":1,"reason":"auth_failed"}'),
        ("127.0.0.1", "refused", '{"count":3,"reason":"auth_failed"}'),
    ]


async def test_connected_device_is_online_in_the_database_with_a_new_epoch(port: Port) -> None:
    for epoch in (1, 2):
        async with port.device() as device:
            assert device.welcome["epoch"] == epoch
            row = await port.store.read(devices.get_device, DeviceId("laptop"))
            assert (row.connectivity, row.session_epoch) == ("online", epoch)
        await left(port)


async def test_takeover_from_another_hub_process_is_reported_with_the_process(port: Port) -> None:
    taken: list[tuple[DeviceId, int, BootId]] = []
    port.judge.on_taken = lambda *one: taken.append(one)
    async with port.device():
        assert taken == []
    await left(port)
    await port.store.write(appear, [DeviceId("laptop")], BootId("other"))
    async with port.device():
        assert taken == [(DeviceId("laptop"), 2, BootId("other"))]


async def left(port: Port) -> None:
    """Wait until the device is offline in the database."""
    with anyio.fail_after(PATIENCE_S):
        while await connectivity(port) != "offline":  # noqa: ASYNC110 (another task writes it)
            await anyio.sleep(0.005)


async def connectivity(port: Port) -> str:
    return (await port.store.read(devices.get_device, DeviceId("laptop"))).connectivity


async def test_device_takeover_is_refused_for_five_minutes_after_six_a_minute(port: Port) -> None:
    async with AsyncExitStack() as opened:
        token = await port.pair()
        for _ in range(7):
            present = await opened.enter_async_context(port.connect())
            assert (await present.greet(token))["type"] == "welcome"
        error, close = await answer_to(port, token)
        assert (error["code"], close, error["retry_after_ms"]) == (
            "rate_limited",
            CloseCode.TOO_MANY_ATTEMPTS,
            300_000,
        )
        assert "two machines" in str(error["message"])
        assert (
            port.count("hub_limits_reached_total", limit="takeovers"),
            port.link().epoch,
            await connectivity(port),
        ) == (1, 7, "online")
        port.clock.advance(300)
        assert (await answer_to(port, token))[0]["type"] == "welcome"
        assert await present.closed() == CloseCode.REPLACED


async def test_reconnects_of_a_disconnected_device_do_not_count_as_takeovers(port: Port) -> None:
    async with AsyncExitStack() as opened:
        token = await port.pair()
        for _ in range(7):
            present = await opened.enter_async_context(port.connect())
            await present.greet(token)
        await present.socket.close()
        await until(lambda: port.roster.find(DeviceId("laptop")) is None)
        assert (await answer_to(port, token))[0]["type"] == "welcome"


def knock(port: Port, address: str, **hello: object) -> Knock:
    """A hello that comes from *address*."""
    challenge = Challenge(nonce="n", hub_id="hub-1", protocol=SPOKEN, ts_ms=AT_MS)
    greeting = msgspec.convert(hello, DeviceHello)
    return Knock(
        hello=greeting,
        challenge=challenge,
        token=greeting.token,
        address=address,
        connection_id=ConnectionId("c-1"),
    )


def signed_by(key: KeyPair, *, hub_id: str = "hub-1") -> dict[str, Any]:
    """The identity of a hello that *key* signed, for this hub or for another one."""
    return key.identity({"hub_id": hub_id, "nonce": "n", "ts_ms": AT_MS})


async def refused(port: Port, address: str, **hello: object) -> str:
    """The code that a hello from *address* is refused with."""
    with pytest.raises(HelloRefusal) as refusal:
        await port.judge.admit(knock(port, address, **hello))
    return str(refusal.value.error.code)


async def keyed_device(port: Port, key: KeyPair) -> DeviceId:
    """A device that comes in with *key*."""
    await port.pair("desk")
    await port.store.write(
        keys.add_key,
        id=key_id(key.public),
        device_id=DeviceId("desk"),
        public_key=key.public,
        at=AT_MS,
    )
    return DeviceId("desk")


async def test_forged_proofs_for_a_device_key_do_not_block_the_device(port: Port) -> None:
    key = KeyPair(1)
    desk = await keyed_device(port, key)
    forged = signed_by(key, hub_id="another hub")
    told = [await refused(port, f"192.0.2.{number}", identity=forged) for number in range(20)]
    assert told == ["auth_failed"] * 20
    assert (await port.judge.admit(knock(port, "192.0.2.99", identity=signed_by(key)))).device_id == desk


async def test_throttled_network_admits_a_known_key_but_refuses_pairing(port: Port) -> None:
    key, new = KeyPair(1), KeyPair(2)
    desk = await keyed_device(port, key)
    for _ in range(10):
        await refused(port, "192.0.2.7", identity=signed_by(key, hub_id="another hub"))
    assert (
        await refused(port, "192.0.2.7", identity=signed_by(new)),
        await port.store.read(pairings.list_pairings, at=epoch_ms(port.clock.now())),
    ) == ("rate_limited", [])
    assert (
        (await port.judge.admit(knock(port, "192.0.2.7", identity=signed_by(key)))).device_id,
        await refused(port, "192.0.2.8", identity=signed_by(new)),
    ) == (desk, "pairing_required")


async def test_credential_refused_from_many_networks_is_rate_limited(port: Port) -> None:
    key, token = KeyPair(1), await port.pair("laptop", "hub_dev_other")
    await keyed_device(port, key)
    await port.store.write(stored.revoke_key, key_id(key.public), at=AT_MS)
    await port.store.write(DEVICE_TOKENS.revoke, TokenId(f"t-{token}"), at=AT_MS, actor="hub")
    shown: dict[str, dict[str, Any]] = {
        "revoked key": {"identity": signed_by(key)},
        "revoked token": {"token": token},
        "guessed invitation": {"identity": signed_by(KeyPair(2)), "invitation": "hub_inv_guess"},
    }
    for name, hello in shown.items():
        told = [await refused(port, f"192.0.2.{number}", **hello) for number in range(11)]
        code = "revoked" if "revoked" in name else "auth_failed"
        assert told == [code] * 10 + ["rate_limited"], name


async def test_a_device_whose_clock_is_off_is_accepted_and_the_difference_is_logged(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    key = KeyPair(1)
    desk = await keyed_device(port, key)
    challenge = {"hub_id": "hub-1", "nonce": "n"}
    now_ms = epoch_ms(port.clock.now())
    for off_ms in (60_000, -60_000, 61_000, -7_200_000):
        identity = key.identity(challenge, at_ms=now_ms + off_ms)
        assert (await port.judge.admit(knock(port, "192.0.2.7", identity=identity))).device_id == desk
    told = [fields_of(record) for record in caplog.records if record.message == "device.clock_off"]
    assert told == [{"connection_id": "c-1", "seconds": seconds} for seconds in (61, -7_200)]


async def test_guesses_during_the_wait_do_not_extend_the_wait(port: Port) -> None:
    told = [await refused(port, "192.0.2.7", token="hub_dev_guess") for _ in range(25)]
    assert told == ["auth_failed"] * 10 + ["rate_limited"] * 15
    port.clock.advance(300)
    assert await refused(port, "192.0.2.7", token="hub_dev_guess") == "auth_failed"


async def test_changed_attempt_limits_apply_from_the_next_hello(port: Port) -> None:
    await answer_to(port, "hub_dev_guess")
    port.judge.failed.limits = AttemptLimits(failures=2, wait_s=7)
    await answer_to(port, "hub_dev_guess")
    error, _ = await answer_to(port, "hub_dev_guess")
    assert error["retry_after_ms"] == 7_000
