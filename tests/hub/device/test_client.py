"""A device finds its hub, does what it is asked, comes back, and knows when it is not wanted."""

import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from hub.api.resources.devices import KICKED
from hub.device.addresses import HubRoute, UnusableHubAddress, address_of
from hub.device.app import CAPABILITIES
from hub.device.client import DeviceClient, HubRejection, why_unreachable
from hub.device.credentials import BadCredential, TokenCredential, read_secret
from hub.device.owner import change_grants
from hub.device.reporting import POLL_EVERY_S
from protocol.capabilities import CapabilityName
from protocol.codec import JSON
from protocol.coordination import Heartbeat
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import Record
from protocol.handshake import DeviceHello, Error, Goodbye, Hubs, VersionRange
from protocol.items import ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    RunConfig,
    RunMode,
)
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.families import each
from tests.support.no_hub import listening
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import until

INSERT = ToolCall(
    id="c-1",
    action=Action.INSERT,
    table="tasks",
    data={"title": "Call Ana", **SUGGESTED},
    source=ItemSource(path="notes/a.md", quote="call Ana", start=0, end=8),
)
RUN = AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(), mode=RunMode.MANIFEST)


async def _away(device: RunningDevice, clock: FakeClock) -> str:
    """Wait until the device is not connected and waits for its next try; return what it reports."""
    await until(lambda: "next try in" in "".join(device.told[-1:]) and clock.sleeping == 1)
    return device.told[-1]


async def _turned_away(device: RunningDevice) -> HubRejection:
    """Wait until the device has given up; return why."""
    failure = await device.over()
    assert isinstance(failure, HubRejection), failure
    return failure


async def _cut(guest: Guest, device: RunningDevice, clock: FakeClock, *, wait_s: float = 0) -> str:
    """Cut a connection, and let the device wait; return what it reports."""
    await guest.cut()
    told = await _away(device, clock)
    clock.advance(wait_s)
    return told


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_device_sends_hello_and_file_content_and_stores_the_inserted_item(
    hub: ScriptedHub, tmp_path: Path, codec: str
) -> None:
    async with open_device(hub.url, tmp_path, codec="json" if codec == "json" else "msgpack") as device:
        device.write("a.md", "call Ana")
        guest = await hub.guest()
        hello = await guest.welcome()
        await guest.say(RUN)
        await guest.hear(AgentAck)
        manifest = await guest.hear(AgentManifest)
        await guest.say(AgentFetch(run_id="r-1", fence=1, paths=[manifest.files[0].path]))
        data = await guest.hear(AgentData)
        complete = await guest.hear(AgentComplete)
        answer = await guest.call(INSERT)

        assert guest.session.codec.name == f"hub.v1.{codec}"
        assert (
            hello.token,
            hello.device_id,
            hello.runs,
            [capability.name for capability in hello.capabilities],
        ) == ("hub_dev_desk", "desk", [], list(CAPABILITIES))
        assert data.files[0].content == "call Ana"
        assert complete.files == 1
        (item,) = device.items()
        assert answer.result == {"id": item.row_id}
        assert (item.title, item.source_path, item.quote) == ("Call Ana", "notes/a.md", "call Ana")


async def test_a_call_is_answered_while_a_run_waits_for_credit(device: RunningDevice, guest: Guest) -> None:
    device.write("a.md", "call Ana")
    await guest.say(AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(), credit=0))
    await guest.hear(AgentAck)

    assert (await guest.call(INSERT)).error is None


async def test_a_wake_is_shown_to_the_person_at_the_desktop_and_a_sign_in_without_an_id_is_refused(
    device: RunningDevice, guest: Guest
) -> None:
    data: Record = {"wake_id": "w-1", "agent_id": "a-1", "label": "standup", "starts_at": 1, "ends_at": 2}
    call = ToolCall(id="w-1", action=Action.AGENT_WAKE, agent_id="a-1", data=data)
    first, again = await guest.call(call), await guest.call(call)

    assert first.error is None
    assert (first, first.result) == (again, {"woken": True})
    assert "wake a-1: standup" in device.told
    assert device.items() == []
    sign_in = await guest.call(ToolCall(id="c-1", action=Action.BROWSER_OPEN, data={"url": "x"}))
    assert sign_in.error is not None and "sign_in_id" in sign_in.error.message


async def test_device_sends_heartbeats_with_the_status_of_busy_agents(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.welcomed(heartbeat_interval_ms=15_000)
    assert await guest.hear(Heartbeat) == Heartbeat()
    await guest.say(RUN)
    await guest.hear(AgentAck)
    await guest.hear(AgentManifest)
    await until(lambda: clock.sleeping >= 2)  # the time limit of the greeting is the other
    clock.advance(15)
    beat = await guest.hear(Heartbeat)

    assert [(agent.agent_id, agent.status) for agent in beat.agents] == [("a-1", "busy")]


async def test_reconnected_device_holds_no_runs_and_answers_a_repeated_call_once(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with open_device(hub.url, tmp_path, clock=clock, chance=SeededChance()) as device:
        device.write("a.md", "call Ana")
        guest = await hub.welcomed()
        await guest.say(RUN)
        await guest.hear(AgentAck)
        await guest.hear(AgentManifest)
        first = await guest.call(INSERT)
        await _cut(guest, device, clock, wait_s=60)
        guest = await hub.guest()
        hello = await guest.welcome()
        await guest.say(AgentRun(run_id="r-1", fence=2, agent_id="a-1", config=RunConfig()))
        await guest.hear(AgentAck)
        data = await guest.hear(AgentData)
        await guest.hear(AgentComplete)
        assert (await guest.call(INSERT), len(device.items())) == (first, 1)

    assert (hello.runs, data.fence) == ([], 2)


class _Always:
    """Chance that is always the same."""

    def __init__(self, draw: float) -> None:
        self._draw = draw

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._draw

    def token_bytes(self, count: int) -> bytes:
        return bytes(count)


async def test_device_reconnects_after_the_retry_time_of_a_restarting_hub(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device:
        guest = await hub.welcomed()
        await guest.dismiss(Goodbye(reason="restarting", retry_after_ms=8_000), CloseCode.RESTARTING)
        assert (await _away(device, clock)).endswith("next try in 4.0 s")
        clock.advance(4.1)
        await (await hub.guest()).welcome()


@pytest.mark.parametrize("close", [CloseCode.AUTH_FAILED, CloseCode.PAIRING_REQUIRED])
async def test_refused_device_stops_with_the_reason_of_the_hub(
    hub: ScriptedHub, device: RunningDevice, close: CloseCode
) -> None:
    guest = await hub.guest()
    await guest.hello()
    await guest.refuse(Error(code=ErrorCode.AUTH_FAILED, message="no such token"), close)
    failure = await _turned_away(device)
    assert failure.close == close
    assert "no such token; make a new token with" in str(failure)


async def test_device_warns_once_of_a_hub_speaking_a_newer_version(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.session.SPOKEN", VersionRange(min=1, max=2))
    warning = "warning: the hub speaks the protocol up to version 2, the device up to 1: update the device"
    async with open_device(hub.url, tmp_path, clock=clock) as device:
        await _cut(await hub.welcomed(), device, clock, wait_s=60)
        await _cut(await hub.welcomed(), device, clock)
        assert device.told.count(warning) == 1


async def test_device_without_a_common_version_stops_and_names_the_older_side(
    hub: ScriptedHub, device: RunningDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.session.SPOKEN", VersionRange(min=2, max=3))
    await (await hub.guest()).refuse_hello()
    failure = await _turned_away(device)
    assert failure.close == CloseCode.VERSION_UNSUPPORTED
    assert "the hub speaks versions 2 to 3 of the protocol, the device 1 to 1: update the device" in str(
        failure
    )


async def test_device_replaced_by_the_own_late_hello_reconnects_before_giving_up(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    replaced = Goodbye(reason="replaced")
    frozen = await hub.guest()
    await frozen.hello()
    await frozen.cut()
    for later_s in (60, 60, 600):
        await _away(device, clock)
        clock.advance(later_s)
        guest = await hub.welcomed()
        device.told.clear()
        await guest.dismiss(replaced, CloseCode.REPLACED)
    failure = await _turned_away(device)
    assert failure.close == CloseCode.REPLACED
    assert str(failure).startswith("replaced by a newer connection; is the same key on two machines?")


async def test_device_disconnected_by_an_operator_gets_the_reason_without_field_names(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.dismiss(KICKED, CloseCode.RESTARTING)
    await _away(device, clock)

    told = "not connected (an operator disconnected this device; it comes back by itself); next try in "
    assert device.told[-1].startswith(told)


async def test_hub_without_a_welcome_is_disconnected_and_tried_again(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await guest.hello()
    await until(lambda: clock.sleeping == 1)
    clock.advance(30)
    assert await guest.left() == CloseCode.HELLO_TIMEOUT
    await _away(device, clock)

    assert "hello_timeout" in device.told[-1]


async def test_a_new_token_in_the_file_is_used_at_the_next_connection(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    token = tmp_path / "token"
    token.write_text("hub_dev_first\n")
    async with open_device(hub.url, tmp_path, token, clock=clock) as device:
        guest = await hub.guest()
        first = await guest.welcome()
        token.write_text("hub_dev_second\n")
        await _cut(guest, device, clock, wait_s=60)
        second = await (await hub.guest()).welcome()

    assert (first.token, second.token) == ("hub_dev_first", "hub_dev_second")


@each(
    ("url", "address"),
    [
        ("ws://127.0.0.1:8770", "ws://127.0.0.1:8770/v1/device"),
        ("wss://hub.example/", "wss://hub.example/v1/device"),
        ("wss://hub.example/hubs/7", "wss://hub.example/hubs/7"),
    ],
)
def test_hub_address_without_a_path_gets_the_default_path(url: str, address: str) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8770",
        "http://x",
        "ws://",
        "ws://x:port",
        "ws://x?token=t",
        "ws://me:secret@x",
        "",
        "wss://hub..example",
        f"wss://{'x' * 64}.example",
    ],
)
def test_client_with_an_invalid_hub_address_is_refused(url: str, clock: FakeClock) -> None:
    with pytest.raises(UnusableHubAddress):
        DeviceClient(
            [url],
            codec=JSON,
            credential=TokenCredential("t"),
            meets=lambda address, key: DeviceHello(),
            attend=lambda line, tasks: lambda frame: None,
            clock=clock,
            chance=SeededChance(),
            on_status=lambda line: None,
        )


@each("url", ["127.0.0.1:8770", "localhost:8770", "hub.example"])
def test_address_without_a_scheme_is_refused_with_a_suggestion(url: str) -> None:
    with pytest.raises(UnusableHubAddress, match=f"did you mean ws://{url}"):
        address_of(url)


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("ftp://me:secret@127.0.0.1", "the proxy that the environment names cannot be used"),
        ("http://proxy..example:8080", "label"),
        ("http://127.0.0.1:port", "port"),
        ("socks5h://127.0.0.1:9", "not connected ("),
    ],
)
async def test_an_unusable_proxy_is_reported_and_tried_again(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, proxy: str, told: str
) -> None:
    for name in ("ws_proxy", "WS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with open_device("ws://hub.invalid", tmp_path, clock=clock) as device:
        await _away(device, clock)

        assert told in device.told[-1].replace("Port", "port")
        assert "secret" not in device.told[-1]
        assert device.failure is None
        assert "warning: the line to this hub is not encrypted; wss:// is" in device.told


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)

    for token in (text, tmp_path / "token", tmp_path / "missing"):
        with pytest.raises(BadCredential):
            read_secret(token, "token")


@pytest.mark.parametrize(
    ("status", "told"),
    [(302, "the hub's door answered 302"), (404, "answered 404; is this the hub's device address?")],
)
async def test_redirect_or_404_at_the_hub_address_is_reported_and_not_followed(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock, status: int, told: str
) -> None:
    def elsewhere(socket: ServerConnection, request: Request) -> Response:
        return Response(status, "Found", Headers({"Location": hub.url}))

    async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", 0, process_request=elsewhere) as door:
        port = next(iter(door.sockets)).getsockname()[1]
        async with open_device(f"ws://127.0.0.1:{port}", tmp_path, clock=clock) as device:
            assert told in await _away(device, clock)


async def test_device_with_several_hub_addresses_switches_to_the_next_after_a_cut(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        ScriptedHub().open() as second,
        open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5), more=[second.url]) as device,
    ):
        guest = await hub.welcomed()
        assert (await _cut(guest, device, clock, wait_s=0.3)).endswith(
            f"next try in 0.2 s at {second.url.removeprefix('ws://')}"
        )
        guest = await second.welcomed()
        assert (await _cut(guest, device, clock)).endswith(f"at {hub.url.removeprefix('ws://')}")
        assert device.failure is None


@pytest.mark.parametrize(
    ("hubs", "expected"),
    [
        (1, [0.5, 0.6, 1.3, 2.7, 5.4, 10.9, 21.8, 43.5, 59.4]),
        (3, [0.5, 0.5, 1.2, 0.5, 0.5, 3.7, 0.5, 0.5, 8.6]),
    ],
)
async def test_reconnect_wait_grows_with_the_time_since_all_hub_addresses_failed(
    tmp_path: Path, clock: FakeClock, hubs: int, expected: list[float]
) -> None:
    async with AsyncExitStack() as opened:
        urls = [(await opened.enter_async_context(ScriptedHub().open())).url for _ in range(hubs)]
    waits = []
    async with open_device(urls[0], tmp_path, clock=clock, chance=_Always(0.99), more=urls[1:]) as device:
        for _ in range(9):
            told = await _away(device, clock)
            waits.append(float(told.rpartition("next try in ")[2].split(" s")[0]))
            clock.advance(waits[-1] + 0.1)
    assert waits == expected


async def test_device_says_hello_within_a_second_of_each_change_of_grants(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    other = "ws://127.0.0.1:1"
    async with open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.99), more=[other]) as device:
        guest = await hub.welcomed()
        for change in ("+review.remote", "+places", "-places", "-review.remote"):
            change_grants(device.db, hub.key.public_key, [change])
            await device.reports("connected as")
            device.told.clear()
            await clock.pass_time(POLL_EVERY_S)
            await guest.left()
            assert (await _away(device, clock)).endswith("next try in 0.5 s")
            clock.advance(0.5)
            guest = await hub.guest()
            hello = await guest.welcome()
            assert (change[1:] in [grant.name for grant in hello.grants]) == change.startswith("+")


async def test_address_of_another_hub_is_dropped_and_the_other_addresses_are_used(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        ScriptedHub(seed=2).open() as stranger,
        open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5), more=[stranger.url]) as device,
    ):
        guest = await hub.welcomed()
        await _cut(guest, device, clock, wait_s=0.3)
        assert await (await stranger.guest()).challenged() == CloseCode.NORMAL
        await _away(device, clock)
        clock.advance(60)
        await (await hub.guest()).welcome()

    assert "give addresses of one hub only; this address is not tried again" in "".join(device.told)
    assert "next try in 0.2 s" in "".join(device.told)


async def test_addresses_named_by_the_hub_are_stored_and_used_after_a_cut(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with ScriptedHub().open() as second:
        async with open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device:
            guest = await hub.welcomed(hubs=[hub.url, second.url])
            assert (await _cut(guest, device, clock, wait_s=0.3)).endswith(
                f"next try in 0.2 s at {second.url.removeprefix('ws://')}"
            )
            guest = await second.welcomed(hubs=[hub.url, second.url])
            await guest.call(INSERT)  # after the addresses are kept

        async with open_device(hub.url, tmp_path, clock=clock):
            await (await second.guest()).welcome()  # began where it was welcomed last


async def test_device_forgets_addresses_missing_in_a_later_welcome(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        ScriptedHub().open() as second,
        open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device,
    ):
        guest = await hub.welcomed(hubs=[second.url])
        await _cut(guest, device, clock, wait_s=0.3)
        guest, told = await second.guest(), len(device.told)
        await guest.cut()
        await until(lambda: len(device.told) > told)  # else it waits by the message of the first cut
        await _away(device, clock)
        clock.advance(60)
        guest = await hub.welcomed()  # as a hub without the list
        assert (await _cut(guest, device, clock)).endswith("next try in 0.2 s")


async def test_connected_device_stores_addresses_of_a_hubs_frame(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with ScriptedHub().open() as second:
        async with open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device:
            guest = await hub.guest()
            hello = await guest.welcome(hubs=[hub.url])
            assert CapabilityName.HUBS in {one.name for one in hello.capabilities}
            await guest.say(Hubs(hubs=[hub.url, second.url]))
            await guest.call(INSERT)  # after the addresses are kept
            assert (await _cut(guest, device, clock)).endswith(
                f"next try in 0.2 s at {second.url.removeprefix('ws://')}"
            )

        async with open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device:
            guest = await hub.guest()
            await _cut(guest, device, clock, wait_s=0.3)
            guest = await second.welcomed(hubs=[second.url])  # from the device's file: nobody named it since
            await guest.say(Hubs(hubs=[]))
            await guest.call(INSERT)
            assert (await _cut(guest, device, clock)).endswith(
                f"next try in 0.2 s at {hub.url.removeprefix('ws://')}"
            )


async def test_stopping_hub_sends_a_device_to_another_address(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        ScriptedHub().open() as second,
        ScriptedHub().open() as third,
        open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.0)) as device,
    ):
        guest = await hub.welcomed(hubs=[hub.url, second.url])
        goodbye = Goodbye(reason="stopping", retry_after_ms=700, to=third.url)
        await guest.dismiss(goodbye, CloseCode.STOPPING)
        assert (await _away(device, clock)).endswith(
            f"next try in 0.7 s at {third.url.removeprefix('ws://')}"
        )
        clock.advance(0.8)
        await (await third.guest()).welcome()


async def test_a_hub_cannot_send_a_device_to_a_hub_with_another_key(
    hub: ScriptedHub, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        ScriptedHub(seed=2).open() as stranger,
        open_device(hub.url, tmp_path, clock=clock, chance=_Always(0.5)) as device,
    ):
        guest = await hub.welcomed()
        await guest.dismiss(Goodbye(reason="stopping", to=stranger.url), CloseCode.STOPPING)
        await _away(device, clock)
        clock.advance(0.6)
        assert await (await stranger.guest()).challenged() == CloseCode.NORMAL
        await _away(device, clock)
        clock.advance(1)
        guest = await hub.welcomed(hubs=[stranger.url])  # named again, and not tried again
        assert (await _cut(guest, device, clock)).endswith("next try in 0.3 s")
        assert "is not the one that named this address" in "".join(device.told)


NAMED = ["wss://b.example", "ws://c.example", "ws://127.0.0.1:8770", "ws://d.example?token=t", "e.example"]


@each(
    ("given", "used"),
    [
        ("wss://a.example", ["wss://b.example"]),
        ("ws://a.example", ["wss://b.example", "ws://c.example"]),
        ("ws://localhost:8770", ["wss://b.example", "ws://c.example", "ws://127.0.0.1:8770"]),
    ],
)
def test_a_hub_cannot_name_an_address_without_tls_or_on_the_devices_own_machine(
    given: str, used: list[str]
) -> None:
    for named in NAMED:
        route = HubRoute([address_of(given)], SeededChance())
        route.learn([named])
        assert (len(route) > 1) == (named in used)
        assert HubRoute([address_of(given)], SeededChance()).turn_to(named) == (named in used)


async def told_of(url: str, folder: Path) -> str:
    """Return the message of a device about its first try."""
    async with open_device(url, folder, clock=FakeClock()) as device:
        await until(lambda: any("next try" in line for line in device.told))
    return device.told[-1]


@pytest.mark.parametrize(
    ("scheme", "options", "told"),
    [
        ("ws", {"tls": True}, "if its port speaks TLS, use wss://{}"),
        ("wss", {}, "no TLS is spoken at {}"),
        ("wss", {"tls": True}, "the certificate of {} is not trusted (self-signed certificate)"),
        (
            "ws",
            {"status": 401, "kind": b"application/problem+json"},
            "answered 401: {} is its port for operators; [listen.devices]",
        ),
    ],
    ids=["ws at TLS", "wss without TLS", "certificate", "operators"],
)
async def test_wrong_port_or_scheme_is_reported_with_a_remedy(
    tmp_path: Path, scheme: str, options: dict[str, Any], told: str
) -> None:
    async with listening(tmp_path, **options) as where:
        assert told.format(where) in await told_of(f"{scheme}://{where}", tmp_path)


def test_refused_certificate_is_reported_with_a_remedy_for_the_fault() -> None:
    mends = {
        9: "look whether the clock of this machine is right",
        10: "renew it where it is served (a hub's own: hub tls init), or look whether the clock",
        18: "trust its authority (a hub's own: hub-ca.crt beside its hub.toml): SSL_CERT_FILE=FILE before",
        20: "SSL_CERT_FILE=FILE before the command",
        62: "use one of the names in the certificate, or put this one into it (a hub's own: hub tls init",
        64: "hub tls init --name ADDRESS",
    }
    for code, mend in mends.items():
        error = ssl.SSLCertVerificationError(1, "refused")
        error.verify_code, error.verify_message = code, "fault."
        told = why_unreachable("wss://hub.example:8770", error)
        assert told.startswith("the certificate of hub.example:8770 is not trusted (fault); "), told
        assert mend in told, told


async def test_address_of_a_closed_port_is_reported_as_unreachable(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and no program listens
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        told = await told_of(f"ws://{where}", tmp_path)
    assert f"nothing listens at {where}; is the hub running?" in told


async def test_host_name_with_several_refusing_addresses_is_reported_as_a_single_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(host: str, port: int, *_: object, **__: object) -> list[object]:
        kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
        return [(*kind, (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    with socket.socket() as bound:
        bound.bind(("", 0))  # and no program listens
        port = bound.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", found)
        told = await told_of(f"ws://localhost:{port}", tmp_path)
    assert f"none of the addresses of localhost:{port} lets a connection in; is the hub running?" in told
