import anyio
import pytest

from hub.links.auth import FailedAttempts, network_of
from protocol.errors import CATALOGUE, CloseCode, ErrorCode
from protocol.ids import DeviceId, TokenId
from storage.store import devices
from tests.support.clock import FakeClock
from tests.support.wire import AT_MS, PATIENCE_S, Port, open_port


async def answer_to(port: Port, token: str | None, **hello: object) -> tuple[dict[str, object], int | None]:
    """What a device that greets like this is told, and the close code."""
    async with port.connect() as device:
        error = await device.greet(token, **hello)
        return error, await device.closed()


async def test_a_token_that_nobody_has_is_refused_with_what_to_do() -> None:
    async with open_port() as port:
        error, close = await answer_to(port, "hub_dev_typo")
        assert (error["type"], error["code"], close) == ("error", "auth_failed", CloseCode.AUTH_FAILED)
        assert error["hint"] == CATALOGUE[ErrorCode.AUTH_FAILED].hint
        assert port.events == []
        assert port.count("hub_auth_failures_total", reason="auth_failed") == 1


async def test_a_revoked_token_is_refused_for_good() -> None:
    async with open_port() as port:
        token = await port.pair()
        await port.store.write(devices.revoke_token, TokenId(f"t-{token}"), AT_MS)
        error, close = await answer_to(port, token)
        assert (error["code"], close) == ("revoked", CloseCode.REVOKED)


async def test_a_token_works_until_it_expires() -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        token = await port.pair(expires_at=int(clock.now().timestamp() * 1000) + 1_000)
        async with port.connect() as device:
            assert (await device.greet(token))["type"] == "welcome"
        clock.advance(2)
        error, close = await answer_to(port, token)
        assert (error["code"], close) == ("auth_failed", CloseCode.AUTH_FAILED)
        assert "expired" in str(error["message"])


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"invitation": "hub_inv_1"},
        {"identity": {"public_key": "k", "signature": "s", "signed_at_ms": AT_MS}},
    ],
)
async def test_a_device_without_a_token_is_told_how_to_get_one(hello: dict[str, object]) -> None:
    async with open_port() as port:
        error, close = await answer_to(port, None, **hello)
        assert (error["code"], close) == ("pairing_required", CloseCode.PAIRING_REQUIRED)
        assert "hub token create" in str(error["hint"])


async def test_an_address_that_fails_ten_times_in_a_minute_has_to_wait() -> None:
    clock = FakeClock()
    async with open_port(clock) as port:
        token = await port.pair()
        for _ in range(10):
            await answer_to(port, "hub_dev_typo")
        error, close = await answer_to(port, token)
        assert (error["code"], close) == ("rate_limited", CloseCode.TOO_MANY_ATTEMPTS)
        assert error["retry_after_ms"] == 60_000
        clock.advance(60)
        async with port.connect() as device:
            assert (await device.greet(token))["type"] == "welcome"


async def test_a_device_is_online_in_the_database_while_it_is_connected() -> None:
    async with open_port() as port:
        for epoch in (1, 2):
            async with port.device() as device:
                assert device.welcome["epoch"] == epoch
                row = await port.store.read(devices.get_device, DeviceId("laptop"))
                assert (row.connectivity, row.session_epoch) == ("online", epoch)
            with anyio.fail_after(PATIENCE_S):
                while await connectivity(port) != "offline":  # noqa: ASYNC110 (another task writes it)
                    await anyio.sleep(0.005)


async def connectivity(port: Port) -> str:
    return (await port.store.read(devices.get_device, DeviceId("laptop"))).connectivity


def test_failed_attempts_of_many_addresses_are_remembered_in_bounded_space() -> None:
    clock = FakeClock()
    failed = FailedAttempts(clock, most_addresses=100)
    for number in range(1_000):
        for _ in range(10):
            failed.record(f"10.0.{number // 256}.{number % 256}")
    assert failed.wait_s("10.0.0.1") == 0
    assert failed.wait_s("10.0.3.231") == 60
    assert len(failed) == 100


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("local", "local"),
    ],
)
def test_an_address_counts_as_the_network_that_one_party_holds(address: str, network: str) -> None:
    assert network_of(address) == network
