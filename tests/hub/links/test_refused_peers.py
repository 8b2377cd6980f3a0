"""Devices that the port refuses, as a person sees them among the issues."""

import socket
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from hub.health.doors import MOST_REFUSED, check_refused
from hub.links.refusals import MOST_NETWORKS, REMEMBERED_S, RefusedPeers
from hub.links.upgrade import UpgradeRules
from protocol.errors import ErrorCode
from protocol.ids import DeviceId
from storage.devices import devices
from tests.hub.links.test_listener import refused
from tests.support.clock import START, FakeClock
from tests.support.wire import AT_MS, Port, open_port

LAPTOP = DeviceId("laptop")
HERE = "127.0.0.1"


async def found(port: Port) -> list[tuple[str, str, str]]:
    """Severity, subject and explanation of each issue."""
    issues = await check_refused(port.store, port.judge.refused.current, port.clock.now())
    assert all(one.id == "device.refused" and one.fix for one in issues)
    return [(one.severity, one.subject, one.explanation) for one in issues]


def dial(url: str) -> socket.socket:
    """Connect to the port of *url* at this machine, whatever name the request has then."""
    return socket.create_connection((HERE, urlsplit(url).port))


async def test_a_device_is_refused_with_its_reason_and_mend_until_it_is_admitted() -> None:
    async with open_port(rules=UpgradeRules(hosts=["hub.lan"])) as port:
        token = await port.pair()
        evil = "hub.example\u202e" + "x" * 200
        elsewhere = {
            "url": port.url.replace(HERE, "hub.example"),
            "sock": await anyio.to_thread.run_sync(dial, port.url),
        }
        at_once: list[tuple[str, str, dict[str, Any]]] = [
            (
                "wrong_host",
                "not called 'hub.example",
                elsewhere,
            ),
            ("foreign_origin", "a page of this origin", {"origin": "https://evil.example"}),
        ]
        after_hello: list[tuple[str, str, dict[str, Any]]] = [
            ("auth_failed", "this token is unknown", {"token": "hub_dev_guessed"}),
            ("pairing_required", "no key and no token", {"token": None}),
            ("version_unsupported", "another version", {"token": token, "protocol": {"min": 9, "max": 9}}),
        ]
        assert await found(port) == []
        for code, says, options in at_once + after_hello:
            if (code, says, options) in at_once:
                await refused(port, **options)
            else:
                async with port.connect() as device:
                    await device.greet(**options)
                    await device.closed()
            *_, (severity, subject, explanation) = await found(port)
            assert (severity, subject) == ("notice", f"{HERE} {code}")
            assert explanation.startswith(f"a device at {HERE} was refused once: ")
            assert says in explanation
        port.judge.refused.note(HERE, ErrorCode.WRONG_HOST, f"this hub is not called {evil!r}\nx")
        (again,) = [one for _, subject, one in await found(port) if "wrong_host" in subject]
        assert "was refused 2 times" in again
        assert again.isprintable() and len(again) < 400
        assert len(await found(port)) == len(at_once + after_hello)

        await port.store.write(devices.revoke_device, LAPTOP, at=AT_MS, actor="me")
        async with port.connect() as device:
            assert (await device.greet(token))["code"] == "revoked"
        first = (await found(port))[0]
        assert first[:2] == ("warning", "laptop revoked")
        assert first[2] == f"device laptop at {HERE} was refused once: the device was revoked"

        async with port.device("other"):
            assert [subject for _, subject, _ in await found(port)] == ["laptop revoked"]
        port.judge.refused.forget("", LAPTOP)
        assert await found(port) == []


@pytest.mark.parametrize("code", [ErrorCode.RATE_LIMITED, ErrorCode.STOPPING, ErrorCode.BAD_PARAMS])
def test_a_refusal_that_ends_by_itself_is_not_remembered(code: ErrorCode) -> None:
    peers = RefusedPeers(FakeClock())
    peers.note("10.0.0.1", code, "wait")
    assert list(peers.current()) == []


async def test_refusals_of_a_flood_are_bounded_and_displace_no_known_device() -> None:
    async with open_port() as port:
        await port.pair()
        peers = port.judge.refused
        peers.note("10.0.0.1", ErrorCode.REVOKED, "the key was revoked", device_id=LAPTOP)
        for number in range(10 * MOST_NETWORKS):
            peers.note(f"10.1.{number // 256}.{number % 256}", ErrorCode.AUTH_FAILED, "this token is unknown")
        assert len(list(peers.current())) == MOST_NETWORKS + 1
        issues = await found(port)
        assert len(issues) == MOST_REFUSED
        assert issues[0][1] == "laptop revoked"


def test_a_refused_peer_is_forgotten_a_day_after_its_last_try() -> None:
    clock = FakeClock()
    peers = RefusedPeers(clock)
    for _ in range(2):
        peers.note("10.0.0.1", ErrorCode.AUTH_FAILED, "this token is unknown")
        clock.advance(REMEMBERED_S)
        (one,) = peers.current()
        assert one.since == START
    clock.advance(1)
    assert list(peers.current()) == []
