"""Devices that the port refuses, as a person sees them among the issues."""

import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread

from hub.health.access_checks import check_refused
from hub.links.refusals import MAX_OF_ONE, MAX_PEERS, OTHERS, REMEMBERED_S, SHOWN, Peer, RefusedPeers
from hub.links.transport import UpgradeRules
from protocol.errors import ErrorCode
from protocol.ids import DeviceId
from storage.devices import devices
from tests.hub.links.test_listener import refused
from tests.support.clock import START, FakeClock
from tests.support.families import each
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


async def test_refused_device_is_an_issue_with_reason_and_remedy_until_admitted() -> None:
    async with open_port(rules=UpgradeRules(hosts=["hub.lan"])) as port:
        token = await port.pair()
        evil = "hub.example\u202e" + "x" * 200
        elsewhere = {
            "url": port.url.replace(HERE, "hub.example"),
            "sock": await anyio.to_thread.run_sync(dial, port.url),
        }
        at_once: list[tuple[str, str, dict[str, Any]]] = [
            ("wrong_host", "not called 'hub.example", elsewhere),
            ("foreign_origin", "a page of this origin", {"origin": "https://evil.example"}),
        ]
        after_hello: list[tuple[str, str, dict[str, Any]]] = [
            ("auth_failed", "this token is unknown", {"token": "hub_dev_guessed"}),
            ("pairing_required", "no key and no token", {"token": None}),
            (
                "version_unsupported",
                "9 to 9: update the hub",
                {"token": token, "protocol": {"min": 9, "max": 9}},
            ),
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
            assert (severity, subject.split()[:2]) == ("notice", [HERE, code])
            assert " at 127.0.0.1 was refused once: " in explanation and says in explanation
        port.judge.refused.note(
            Peer(network=HERE), ErrorCode.WRONG_HOST, f"this hub is not called {evil!r}\nx"
        )
        (again,) = [one for _, subject, one in await found(port) if "wrong_host" in subject]
        assert "was refused 2 times" in again
        assert again.isprintable() and len(again) < 400
        assert len(await found(port)) == len(at_once + after_hello)

        await port.store.write(devices.revoke_device, LAPTOP, at=AT_MS, actor="me")
        async with port.connect() as device:
            assert (await device.greet(token))["code"] == "revoked"
        before = await found(port)
        assert (before[0][0], before[0][1].split()[:2], before[0][2]) == (
            "warning",
            ["laptop", "revoked"],
            f"device laptop at {HERE} was refused once: the device was revoked",
        )

        async with port.device("other"):
            assert await found(port) == before, "it hides nobody behind its address"


HOME = Peer(network=HERE, device_id=LAPTOP, credential="key:new", name="laptop", store="file-1")
STRANGER = Peer(network=HERE)


@each(
    ("refused", "is_ended"),
    [
        (replace(STRANGER, credential="key:new", name="misspelt"), True),
        (replace(STRANGER, name="laptop"), True),
        (replace(STRANGER, store="file-1", name="misspelt"), True),
        (STRANGER, False),
        (replace(STRANGER, credential="key:other", name="desk", store="file-2"), False),
        (replace(STRANGER, network="10.0.0.2", name="laptop"), False),
        (replace(HOME, credential="key:revoked"), True),
        (replace(HOME, credential="key:revoked", network="10.0.0.2", store="of before"), True),
        (replace(HOME, store="of the copy"), False),
        (replace(HOME, device_id=DeviceId("another"), credential="key:other"), False),
    ],
)
def test_admission_of_a_device_removes_only_the_refusals_of_the_device(refused: Peer, is_ended: bool) -> None:
    peers = RefusedPeers(FakeClock())
    peers.note(refused, ErrorCode.AUTH_FAILED, "it was refused")
    peers.forget(HOME)
    assert [one.peer for one in peers.current()] == ([] if is_ended else [refused])


@each("code", [ErrorCode.RATE_LIMITED, ErrorCode.STOPPING, ErrorCode.BAD_PARAMS])
def test_transient_refusal_of_a_peer_is_not_recorded(code: ErrorCode) -> None:
    peers = RefusedPeers(FakeClock())
    peers.note(HOME, code, "wait")
    assert peers.current() == []


@each("networks", ["10.1.{0}.{1}", "2001:db8:1:{0:x}{1:02x}::/64", "10.1.0.1"])
async def test_flood_of_refused_peers_is_bounded_and_displaces_no_other_peer(networks: str) -> None:
    async with open_port() as port:
        await port.pair()
        peers = port.judge.refused
        honest = [replace(STRANGER, network=f"10.{number}.0.1", name="desk") for number in range(20, 29)]
        known = Peer(network="10.0.0.1", device_id=LAPTOP, credential="key:old")
        for peer in (known, *honest):
            peers.note(peer, ErrorCode.REVOKED, "the key was revoked")
        flood = MAX_PEERS + MAX_PEERS // 4
        for number in range(flood):
            peer = Peer(network=networks.format(number // 256, number % 256), name=f"name-{number}")
            peers.note(peer, ErrorCode.AUTH_FAILED, "this token is unknown")
        kept, current = peers._peers, peers.current()
        assert len(kept) <= MAX_PEERS
        assert all(len(one) <= MAX_OF_ONE + 1 for one in kept.values())
        assert {(peer.device_id or peer.network) for peer in (known, *honest)} <= kept.keys()
        assert current[0].peer == known
        assert len(current) <= SHOWN + 2
        assert sum(one.count for one in current if one.code == ErrorCode.AUTH_FAILED) == flood
        told = {subject: text for _, subject, text in await found(port)}
        assert len(told) == len(current)
        together = [one for one in current if one.peer.network == OTHERS]
        assert bool(together) == (len(current) > SHOWN)
        for one in together:
            says = f"a device at further addresses was refused {one.count} times: "
            assert told[f"{OTHERS} {one.code}"].startswith(says)


def test_refused_peer_is_forgotten_a_day_after_the_last_try() -> None:
    clock = FakeClock()
    peers = RefusedPeers(clock)
    for _ in range(2):
        peers.note(Peer(network="10.0.0.1"), ErrorCode.AUTH_FAILED, "this token is unknown")
        clock.advance(REMEMBERED_S)
        (one,) = peers.current()
        assert one.since == START
    clock.advance(1)
    assert peers.current() == []
