"""Data frames that the hub parses itself are read as the library reads them."""

import asyncio

from hub.links.transport import WHOLE_TEXT, DeviceSocket
from tests.hub.links.wire_fuzz import differences, open_socket, outcome


async def test_random_streams_cut_anywhere_are_read_as_by_the_library() -> None:
    for seed in range(40):
        assert await differences(seed) == [], f"seed {seed}"


async def test_websocket_message_received_in_two_parts_is_read_when_complete() -> None:
    head, mask = b"\x82\xfe\x01\x2c", bytes(4)
    frame = head + mask + bytes(300)
    for at in (*range(1, 12), len(frame) // 2, len(frame) - 1):
        came = await outcome(DeviceSocket, [frame[:at], frame[at:] + b"\x82\x82" + mask + b"ok"])
        assert came["messages"] == [bytes(300), b"ok"]


async def test_empty_websocket_message_is_sent_as_an_empty_frame() -> None:
    socket, outlet, _ = open_socket(DeviceSocket)
    socket.send_frame(b"", WHOLE_TEXT)
    socket.send_frame(b"{}", WHOLE_TEXT)
    socket.send_frame(b"", WHOLE_TEXT)
    await asyncio.sleep(0)
    assert (bytes(outlet.written), outlet.is_over) == (b"\x81\x00\x81\x02{}\x81\x00", False)
