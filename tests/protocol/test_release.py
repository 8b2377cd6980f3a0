"""Conversation of the last release, which ``tests.scenarios.versions`` recorded: both sides understand it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from protocol.codec import JSON
from protocol.coordination import Response
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import DeviceSession, Ended, HubSession, Ignored, Refused, SessionEvent
from storage.kernel.migrate import releases

(RECORDED,) = (Path(__file__).parent / "recorded").iterdir()
Connection = list[tuple[str, bytes]]


def connections() -> Iterator[Connection]:
    """Yield the messages of each connection, in order, each with its sender."""
    found: Connection = []
    for line in RECORDED.read_text().splitlines():
        ((side, frame),) = json.loads(line).items()
        if frame["type"] == "challenge" and found:
            yield found
            found = []
        found.append((side, json.dumps(frame).encode()))
    yield found


def lost(frame: object, recorded: object, where: str = "$") -> Iterator[str]:
    """Yield the fields of a recorded frame that its decoded form does not have."""
    if isinstance(frame, list | tuple) and isinstance(recorded, list):
        for number, (one, before) in enumerate(zip(frame, recorded, strict=True)):
            yield from lost(one, before, f"{where}[{number}]")
    if not isinstance(frame, msgspec.Struct) or not isinstance(recorded, dict):
        return
    for name, value in recorded.items():
        if name in frame.__struct_fields__:
            yield from lost(getattr(frame, name), value, f"{where}.{name}")
        elif name != frame.__struct_config__.tag_field:
            yield f"{where}.{name}"


def check(events: list[SessionEvent], message: bytes) -> None:
    """Check that a message broke no rule of its session."""
    assert not [one for one in events if isinstance(one, Ended | Refused | Ignored)], message


def test_recording_is_of_the_newest_release_with_a_commit() -> None:
    newest = [release.version for release in releases() if release.commit is not None][-1]
    assert RECORDED.stem == newest, "record it: python -m tests.scenarios.versions --record FILE"


def test_no_field_of_the_last_release_is_lost() -> None:
    types = set()
    for connection in connections():
        for side, message in connection:
            recorded = json.loads(message)
            frame: Any = JSON.decode_from_hub(message) if side == "hub" else JSON.decode_from_device(message)
            assert list(lost(frame, recorded)) == [], message
            types.add(recorded["type"])
    assert {"device_hello", "welcome", "agent_run", "agent_data", "tool_call", "tool_result"} <= types


def test_hub_understands_the_device_of_the_last_release() -> None:
    for connection in connections():
        hub = HubSession(codec=JSON, hub_id="hub-1", nonce=bytes(32), now=0.0, ts_ms=0)
        for number, (side, message) in enumerate(connection):
            frame = JSON.decode_from_hub(message) if side == "hub" else None
            if side == "device":
                check(hub.receive_data(message.decode(), float(number)), message)
            elif isinstance(frame, Response):
                hub.send(frame)
            if b'"device_hello"' in message:
                hub.accept(
                    user_id=UserId("u"),
                    device_id=DeviceId("d"),
                    connection_id=ConnectionId("c"),
                    epoch=1,
                    ts_ms=0,
                    now=0.0,
                )


def test_device_understands_the_hub_of_the_last_release() -> None:
    for connection in connections():
        device = DeviceSession(codec=JSON, now=0.0)
        for number, (side, message) in enumerate(connection):
            if side == "hub":
                check(device.receive_data(message.decode(), float(number)), message)
            elif isinstance(frame := JSON.decode_from_device(message), DeviceHello):
                device.greet(frame)
