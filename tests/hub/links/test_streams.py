import os
from pathlib import Path

import anyio
import msgspec
import pytest

from hub.links.device_link import RunFrame, RunTooLarge, SpoolFailed
from hub.links.streams import FrameStream, RunStreams
from protocol.errors import ErrorCode, LinkLost, LocalProtocolError, RemoteProtocolError
from protocol.frame import Frame
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    FilePiece,
    ManifestFile,
    RunConfig,
    RunLimits,
)


def make_run(
    run_id: str = "r-1", *, fence: int = 3, credit: int = 4, most_bytes: int = 1_000_000
) -> AgentRun:
    return AgentRun(
        run_id=run_id,
        fence=fence,
        agent_id="a-1",
        config=RunConfig(),
        credit=credit,
        limits=RunLimits(bytes=most_bytes),
    )


def data(*texts: str, run_id: str = "r-1", fence: int | None = 3, seq: int = 0) -> AgentData:
    files = [FilePiece(path=f"{number}.md", content=text) for number, text in enumerate(texts)]
    return AgentData(run_id=run_id, fence=fence, seq=seq, files=files)


DONE = AgentComplete(run_id="r-1", fence=3, files=1)


class Wire:
    """The streams of one connection, and what they sent to the device."""

    def __init__(
        self, *, has_credit: bool = True, spool_dir: Path | None = None, memory_bytes: int = 10_000
    ) -> None:
        self.sent: list[Frame] = []
        self.streams = RunStreams(
            send=self.sent.append, has_credit=has_credit, spool_dir=spool_dir, memory_bytes=memory_bytes
        )

    def put(self, *frames: RunFrame) -> list[str | None]:
        """Receive frames of the device; return why each was dropped."""
        return [self.streams.enqueue(frame) for frame in frames]


@pytest.fixture
def wire() -> Wire:
    """A connection of a device that knows credit."""
    return Wire()


async def read_all(stream: FrameStream) -> list[Frame]:
    return [frame async for frame in stream]


async def test_stream_reader_waits_for_later_frames(wire: Wire) -> None:
    got: list[Frame] = []
    with wire.streams.open(make_run()) as stream:

        async def read() -> None:
            got.extend(await read_all(stream))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for frame in (data("one"), DONE):
                await anyio.wait_all_tasks_blocked()
                wire.put(frame)
    assert got == [data("one"), DONE]


async def test_stream_names_the_pieces_that_are_not_read_yet(wire: Wire) -> None:
    with wire.streams.open(make_run()) as stream:
        wire.put(AgentAck(run_id="r-1", fence=3), data("one"), data("one", "two"))
        assert [*stream.arrived_paths()] == ["0.md", "0.md", "1.md"]
        await anext(stream)
        await anext(stream)
        assert [*stream.arrived_paths()] == ["0.md", "1.md"]


async def test_frame_with_an_older_fence_is_dropped_and_without_a_fence_accepted(wire: Wire) -> None:
    without = data("without a fence", fence=None)
    with wire.streams.open(make_run(fence=3)) as stream:
        assert wire.put(data("stale", fence=2), without, DONE) == ["stale_fence", None, None]
        assert await read_all(stream) == [without, DONE]


async def test_credit_of_received_pieces_can_be_granted_again(wire: Wire) -> None:
    with wire.streams.open(make_run(credit=1)) as stream:
        wire.put(data("one"))
        await stream.grant(1)
        assert (wire.put(data("two")), wire.sent) == ([None], [AgentCredit(run_id="r-1", fence=3, pieces=1)])


async def test_device_without_the_credit_capability_gets_no_credit_frames() -> None:
    wire = Wire(has_credit=False)
    with wire.streams.open(make_run(credit=1)) as stream:
        wire.streams.enqueue(data("one", "two", "three"))
        await stream.grant(3)
        assert wire.sent == []


def bytes_in(folder: Path) -> int:
    """What the files in *folder* hold that this process has open; they have no name any more."""
    opened = Path("/proc/self/fd")
    mine = [opened / fd for fd in os.listdir(opened) if os.path.lexists(opened / fd)]
    return sum(fd.stat().st_size for fd in mine if os.readlink(fd).startswith(f"{folder}/"))


async def test_unread_pieces_are_stored_on_disk_and_returned_in_order(tmp_path: Path) -> None:
    wire = Wire(has_credit=False, spool_dir=tmp_path, memory_bytes=1_000)
    with wire.streams.open(make_run()) as stream:
        frames = [data("x" * 400, "ü😀", seq=number) for number in range(50)]
        wire.put(*frames[:25])
        assert bytes_in(tmp_path) > 20 * 400
        first = [await anext(stream) for _ in range(10)]
        wire.put(*frames[25:], DONE)
        assert first + await read_all(stream) == [*frames, DONE]
    assert bytes_in(tmp_path) == 0


async def test_device_exceeding_the_run_limit_is_stopped(tmp_path: Path) -> None:
    wire = Wire(has_credit=False, spool_dir=tmp_path)
    with wire.streams.open(make_run(most_bytes=200_000)) as stream:
        sent = [data("x" * 50_000, seq=number) for number in range(10)]
        dropped = wire.put(*sent)
        assert (dropped[:4], ErrorCode.TOO_LARGE in dropped) == ([None] * 4, True)
        assert wire.sent == [AgentCancel(run_id="r-1", fence=3, reason="too_large")]
        got: list[Frame] = []
        with pytest.raises(RunTooLarge, match="more than 200000 bytes"):
            async for frame in stream:
                got.append(frame)  # noqa: PERF401 (what came before the error counts)
        assert got[:4] == sent[:4]


async def test_a_device_may_send_base64_up_to_the_limit_of_the_decoded_bytes() -> None:
    wire = Wire(has_credit=False)
    with wire.streams.open(make_run(most_bytes=300_000)):
        piece = FilePiece(path="a.pdf", content="QUJD" * 100_000, encoding="base64")
        assert wire.put(AgentData(run_id="r-1", files=[piece])) == [None]


async def test_empty_run_frames_count_for_the_byte_limit(wire: Wire) -> None:
    with wire.streams.open(make_run(most_bytes=1)):
        assert ErrorCode.TOO_LARGE in wire.put(*[data()] * 1_000)


async def test_unwritable_spool_ends_the_run_and_not_the_connection(tmp_path: Path) -> None:
    wire = Wire(has_credit=False, spool_dir=tmp_path / "missing", memory_bytes=100)
    with wire.streams.open(make_run()) as stream:
        assert wire.streams.enqueue(data("x" * 5_000)) == ErrorCode.OVERLOADED
        with pytest.raises(SpoolFailed):
            await anext(stream)


async def test_open_run_stream_fails_at_once_when_the_connection_ends(wire: Wire) -> None:
    with wire.streams.open(make_run()) as stream:
        wire.put(data("one"))
        wire.streams.end("replaced")
        with pytest.raises(LinkLost, match="replaced"):
            await anext(stream)
    with pytest.raises(LinkLost), wire.streams.open(make_run("r-2")):
        pass


async def test_complete_stream_can_be_read_after_the_connection_ended(tmp_path: Path) -> None:
    wire = Wire(spool_dir=tmp_path, memory_bytes=100)
    with wire.streams.open(make_run()) as stream:
        wire.put(data("one"), DONE)
        wire.streams.end("connection_lost")
        assert await read_all(stream) == [data("one"), DONE]


async def test_second_stream_of_an_open_run_is_refused(wire: Wire) -> None:
    again = pytest.raises(LocalProtocolError)
    with wire.streams.open(make_run()), again, wire.streams.open(make_run(fence=4)):
        pass


async def test_long_fetch_list_is_split_into_frames_within_the_limit(wire: Wire) -> None:
    paths = [f"notes/{'ü' * 400}/{number}.md" for number in range(2_000)]
    with wire.streams.open(make_run()) as stream:
        await stream.fetch(paths, last=True)
    fetches = [frame for frame in wire.sent if isinstance(frame, AgentFetch)]
    assert ([path for fetch in fetches for path in fetch.paths], [fetch.last for fetch in fetches]) == (
        paths,
        [False] * (len(fetches) - 1) + [True],
    )
    assert max(sum(len(path.encode()) for path in fetch.paths) for fetch in fetches) <= 256 * 1024


async def test_empty_fetch_list_sends_a_single_last_fetch_frame(wire: Wire) -> None:
    with wire.streams.open(make_run()) as stream:
        await stream.fetch([], last=True)
    assert wire.sent == [AgentFetch(run_id="r-1", fence=3, paths=[], last=True)]


async def test_unrequested_manifest_page_exceeds_the_credit(
    wire: Wire,
) -> None:
    long = [ManifestFile(path=f"{number}.md", size_bytes=1, sha256="0" * 64) for number in range(1_000)]
    page = AgentManifest(run_id="r-1", fence=3, files=long, last=False)
    with wire.streams.open(msgspec.structs.replace(make_run(most_bytes=1_000), paged=True)) as stream:
        for _ in range(3):
            assert wire.put(page) == [None]
            await stream.fetch([], last=False)
        wire.put(msgspec.structs.replace(page, last=True))
        await stream.fetch(["1.md"], last=True)
        with pytest.raises(RemoteProtocolError) as wrong:
            wire.put(page)
    assert wrong.value.reason == ErrorCode.CREDIT_EXCEEDED
