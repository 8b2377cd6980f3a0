"""A run at the device: what is offered, what is sent, on which credit, and how it ends."""

import hashlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec
import pytest
from anyio import from_thread
from anyio.abc import TaskGroup

from hub.device import run_reading, sending_log
from hub.device.run_reading import MAX_RUNS, REMIND_S, Contents, Library, Readings
from hub.device.sending_log import SendingLog
from hub.device.shared import Root, SharedFile, SharedFolders, UnreadableFile
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Frame
from protocol.handshake import Limits
from protocol.skipped_files import SkippedFile, SkipReason
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
    RunConfig,
    RunLimits,
    RunMode,
)
from tests.support.clock import FakeClock

PATIENCE_S = 5.0
F = TypeVar("F", bound=Frame)


class Desk:
    """A device's runs, and the frames they send."""

    def __init__(self, notes: Path, clock: FakeClock, tasks: TaskGroup, limits: Limits) -> None:
        self.notes = notes
        root = Root("notes", str(notes.resolve()), str(notes))
        shared = SharedFolders([root], home=str(notes.parent), max_file_bytes=3_000_000)
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        sending_log.prepare(self._db)
        self.log = notes.parent / "desk.db"
        self.told: list[str] = []
        self.library = Library(
            shared,
            Contents(shared, clock),
            log=SendingLog(self._db, self.log, clock),
            on_status=self.told.append,
        )
        self._frames, self._sent = anyio.create_memory_object_stream[Frame](1_000)
        self.readings = Readings(self.library, hub="key", limits=limits, send=self._frames.send, tasks=tasks)

    def rows(self, statement: str) -> list[Any]:
        """Execute a statement on the log of what was sent."""
        return self._db.execute(statement).fetchall()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.notes / f"{name}.md").write_text(text)

    def run(
        self, mode: RunMode = RunMode.MANIFEST, *, fence: int = 1, run_id: str = "r-1", **more: Any
    ) -> None:
        """The hub hands a run out."""
        config = RunConfig(paths=more.pop("paths", []), file_extensions=more.pop("file_extensions", []))
        self.readings.handle_frame(
            AgentRun(run_id=run_id, fence=fence, agent_id="a-1", config=config, mode=mode, **more)
        )

    async def offer(self, **run: Any) -> AgentManifest:
        """The hub hands a run out; return the first page of what the device offers."""
        self.run(**run)
        await self.hear(AgentAck)
        return await self.hear(AgentManifest)

    def fetch(self, *names: str, last: bool = True, fence: int | None = 1) -> None:
        paths = [f"notes/{name}.md" for name in names]
        self.readings.handle_frame(AgentFetch(run_id="r-1", fence=fence, paths=paths, last=last))

    def grant(self, pieces: int) -> None:
        self.readings.handle_frame(AgentCredit(run_id="r-1", fence=1, pieces=pieces))

    async def hear(self, kind: type[F]) -> F:
        """The next frame, which is of that kind."""
        with anyio.fail_after(PATIENCE_S):
            frame = await self._sent.receive()
        assert isinstance(frame, kind), frame
        return frame

    async def hear_all(self) -> list[Frame]:
        """Everything up to and with agent_complete."""
        frames: list[Frame] = []
        while not frames or not isinstance(frames[-1], AgentComplete):
            frames.append(await self.hear(Frame))
        return frames

    def hears_nothing(self) -> bool:
        return self._sent.statistics().current_buffer_used == 0

    def close(self) -> None:
        self._frames.close()
        self._sent.close()


OpenDesk = Callable[..., Any]


@pytest.fixture
def open_desk(tmp_path: Path, clock: FakeClock) -> OpenDesk:
    @asynccontextmanager
    async def opened(limits: Limits | None = None) -> AsyncIterator[Desk]:
        (tmp_path / "notes").mkdir()
        async with anyio.create_task_group() as tasks:
            desk = Desk(tmp_path / "notes", clock, tasks, limits or Limits())
            yield desk
            tasks.cancel_scope.cancel()
        desk.close()

    return opened


@pytest.fixture
async def desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    async with open_desk() as opened:
        yield opened


def _pieces(frames: list[Frame]) -> list[FilePiece]:
    return [piece for frame in frames if isinstance(frame, AgentData) for piece in frame.files]


async def test_device_sends_a_manifest_with_digests_and_then_the_fetched_files(desk: Desk) -> None:
    desk.write(a="call Ana", b="pay rent")
    desk.run()
    ack = await desk.hear(AgentAck)
    manifest = await desk.hear(AgentManifest)
    desk.fetch("b")
    data = await desk.hear(AgentData)
    complete = await desk.hear(AgentComplete)

    digest = hashlib.sha256(b"pay rent").hexdigest()
    assert ack == AgentAck(run_id="r-1", fence=1)
    assert (
        [file.path for file in manifest.files],
        manifest.files[1].sha256,
        manifest.files[1].size_bytes,
        manifest.last,
    ) == (["notes/a.md", "notes/b.md"], digest, 8, True)
    assert [(piece.path, piece.content, piece.sha256) for piece in data.files] == [
        ("notes/b.md", "pay rent", digest)
    ]
    assert (manifest.seq, data.seq, data.fence) == (0, 1, 1)
    assert complete == AgentComplete(run_id="r-1", fence=1, files=1)


ONLY = {
    "work/page.md": "",
    "notes/work/page.md": "",
    "~/notes/work/page.md": "",
    "work/linked.md": "",  # both of its names are in what the agent reads
    "work/list.csv": "other_extension",
    "other/page.md": "outside_paths",
    "/etc/page.md": "outside_shared",
    "work/.page.md": "hidden",
    "work/nothing.md": "missing",
    "work/folder": "not_a_file",
    "work/link.md": "symlink",
    "work/elsewhere.md": "hard_link",
    f"work/{'1/' * 60}page.md": "too_deep",
}


async def test_run_over_a_single_file_lists_or_skips_the_file_with_reason(desk: Desk) -> None:
    work, other = desk.notes / "work", desk.notes / "other"
    (work / "folder").mkdir(parents=True)
    other.mkdir()
    for path in (work / "page.md", work / "list.csv", work / ".page.md", other / "page.md"):
        path.write_text("call Ana")
    (work / "twin.md").write_text("call Ben")
    (work / "linked.md").hardlink_to(work / "twin.md")
    (work / "elsewhere.md").hardlink_to(other / "page.md")
    (work / "link.md").symlink_to(work / "page.md")
    for only, reason in ONLY.items():
        run = {"only": only, "paths": ["work"], "file_extensions": [".md"], "run_id": only[-40:]}
        manifest = await desk.offer(paged=True, **run)
        desk.readings.handle_frame(AgentFetch(run_id=only[-40:], fence=1, last=True))
        complete = await desk.hear(AgentComplete)
        name = only.rpartition("/")[2]
        offered = [file.path for file in manifest.files]
        assert (offered, manifest.tree) == ([] if reason else [f"notes/work/{name}"], None), only
        assert [one.reason.partition(":")[0] for one in complete.skipped] == ([reason] if reason else [])


async def test_files_of_successive_fetches_are_sent_in_the_fetched_order(desk: Desk) -> None:
    desk.write(a="one", b="two")
    desk.run()
    desk.fetch("b", last=False)
    desk.fetch("a", last=True)
    frames = await desk.hear_all()

    assert [piece.path for piece in _pieces(frames)] == ["notes/b.md", "notes/a.md"]


async def test_fetched_file_never_offered_or_deleted_is_skipped(desk: Desk) -> None:
    desk.write(a="one")
    await desk.offer()
    desk.write(later="two")
    (desk.notes / "a.md").unlink()
    desk.fetch("later", "../secret", "a")
    complete = await desk.hear(AgentComplete)

    assert (complete.files, [skipped.reason for skipped in complete.skipped]) == (
        0,
        ["not_offered", "not_offered", "changed"],
    )


async def test_in_stream_mode_all_files_come_at_once_without_a_manifest(desk: Desk) -> None:
    desk.write(a="one", b="two", c="")
    desk.run(RunMode.STREAM)
    frames = await desk.hear_all()

    assert [type(frame) for frame in frames] == [AgentAck, AgentData, AgentComplete]
    assert [(piece.path, piece.content) for piece in _pieces(frames)] == [
        ("notes/a.md", "one"),
        ("notes/b.md", "two"),
        ("notes/c.md", ""),
    ]


async def test_every_frame_of_a_run_has_the_trace_of_the_run_order(desk: Desk) -> None:
    desk.write(a="one")
    desk.run(RunMode.STREAM, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    traced = await desk.hear_all()
    desk.run(RunMode.STREAM, run_id="r-2")
    plain = await desk.hear_all()

    assert {frame.trace for frame in traced} == {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert {frame.trace for frame in plain} == {None}


async def test_no_piece_is_sent_beyond_the_credit(desk: Desk) -> None:
    desk.write(a="1", b="2", c="3", d="4")
    desk.run(RunMode.STREAM, credit=0)
    await desk.hear(AgentAck)
    await anyio.wait_all_tasks_blocked()
    assert desk.hears_nothing()
    desk.grant(1)
    first = await desk.hear(AgentData)
    await anyio.wait_all_tasks_blocked()
    assert desk.hears_nothing()

    desk.grant(2)
    second = await desk.hear(AgentData)
    await anyio.wait_all_tasks_blocked()
    assert desk.hears_nothing()

    desk.grant(5)
    rest = await desk.hear_all()

    assert [len(frame.files) for frame in (first, second)] == [1, 2]
    assert len(_pieces(rest)) == 1


async def test_large_file_comes_in_joinable_pieces_within_the_frame_limit(open_desk: OpenDesk) -> None:
    text = "Ü\x01\n" * 40_000
    limits = Limits(max_message_bytes=64 * 1024, max_piece_bytes=40_000)
    async with open_desk(limits) as desk:
        desk.write(a=text)
        desk.run(RunMode.STREAM, credit=1_000)
        frames = await desk.hear_all()

    pieces = _pieces(frames)
    assert "".join(piece.content for piece in pieces) == text
    assert ([piece.piece for piece in pieces], {piece.pieces for piece in pieces}) == (
        list(range(len(pieces))),
        {len(pieces)},
    )
    assert all(len(piece.content.encode()) <= 40_000 for piece in pieces)
    assert all(len(msgspec.json.encode(frame)) <= 64 * 1024 for frame in frames)


async def test_long_manifest_comes_in_frames_within_the_limit(open_desk: OpenDesk) -> None:
    limits = Limits(max_message_bytes=8 * 1024)
    async with open_desk(limits) as desk:
        desk.write(**{f"note-{number:03}": "x" for number in range(100)})
        desk.run()
        desk.fetch()
        frames = await desk.hear_all()

    manifests = [frame for frame in frames if isinstance(frame, AgentManifest)]
    assert [frames[0], *manifests, frames[-1]] == frames, "nothing was fetched"
    paths = [file.path for frame in manifests for file in frame.files]
    assert (paths, len(paths)) == (sorted(paths), 100)
    assert [frame.last for frame in manifests] == [False] * (len(manifests) - 1) + [True]
    assert all(len(msgspec.json.encode(frame)) <= 8 * 1024 for frame in manifests)


async def test_paged_manifest_sends_each_page_only_on_request_and_lists_every_file(
    open_desk: OpenDesk,
) -> None:
    async with open_desk(Limits(max_message_bytes=8 * 1024)) as desk:
        desk.write(**{f"note-{number:03}": "x" for number in range(100)})
        desk.run(paged=True, limits=RunLimits(files=2))
        await desk.hear(AgentAck)
        pages = [await desk.hear(AgentManifest)]
        while not pages[-1].last:
            await anyio.wait_all_tasks_blocked()
            assert desk.hears_nothing()
            desk.fetch(last=False)
            pages.append(await desk.hear(AgentManifest))
        desk.fetch("note-099")
        frames = await desk.hear_all()

    assert len(pages) > 2
    assert sum(len(page.files) for page in pages) == 100
    assert ([piece.path for piece in _pieces(frames)], frames[-1]) == (
        ["notes/note-099.md"],
        AgentComplete(run_id="r-1", fence=1, files=1),
    )


async def tree_of(desk: Desk, *, fence: int = 1) -> AgentManifest:
    """The first frame of a run of a hub that knows trees."""
    desk.run(paged=True, tree=True, fence=fence)
    await desk.hear(AgentAck)
    return await desk.hear(AgentManifest)


async def test_folder_settled_by_the_hub_is_a_single_frame(desk: Desk) -> None:
    desk.write(**{f"note-{number:04}": "x" for number in range(900)})
    await tree_of(desk)
    first = await tree_of(desk, fence=2)
    desk.fetch(fence=2)
    frames = await desk.hear_all()

    assert first.tree is not None and (first.tree.files, first.files, first.last) == (900, [], False)
    assert frames == [AgentComplete(run_id="r-1", fence=2, files=0)]


async def test_files_of_an_unsettled_folder_are_listed_after_the_tree(desk: Desk) -> None:
    desk.write(a="one", b="two")
    await tree_of(desk)
    desk.fetch(last=False)
    manifest = await desk.hear(AgentManifest)
    desk.fetch("b")
    frames = await desk.hear_all()

    assert ([file.path for file in manifest.files], manifest.last, manifest.tree) == (
        ["notes/a.md", "notes/b.md"],
        True,
        None,
    )
    assert [piece.path for piece in _pieces(frames)] == ["notes/b.md"]


async def test_tree_digest_changes_with_content_names_and_converter_version(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees: list[str] = []

    async def note() -> None:
        manifest = await tree_of(desk, fence=len(trees))
        assert manifest.tree is not None
        trees.append(manifest.tree.digest)

    desk.write(a="one", b="two")
    await note()
    desk.write(a="ten")
    await note()
    (desk.notes / "b.md").rename(desk.notes / "c.md")
    await note()
    monkeypatch.setattr("hub.device.run_reading.VERSION", "9.9.9")
    await note()
    (desk.notes / "a.md").touch()
    await note()

    assert len(set(trees)) == 4
    assert trees[3] == trees[4]  # its content is what it was


async def test_tree_of_a_slow_folder_is_sent_in_the_last_manifest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.device.run_reading._MAX_EARLY", 1)
    desk.write(a="one", b="two")
    manifest = await tree_of(desk)

    assert (len(manifest.files), manifest.last) == (2, True)
    assert manifest.tree is not None and manifest.tree.files == 2


async def test_unreadable_file_is_skipped_with_the_reason_and_other_files_are_sent(desk: Desk) -> None:
    desk.write(a="one", c="three")
    (desk.notes / "b.md").write_bytes(b"\0")
    desk.run(RunMode.STREAM)
    frames = await desk.hear_all()

    assert [piece.path for piece in _pieces(frames)] == ["notes/a.md", "notes/c.md"]
    assert frames[-1] == AgentComplete(
        run_id="r-1",
        fence=1,
        files=2,
        skipped=[SkippedFile(path="notes/b.md", reason="not_convertible: binary: it contains NUL bytes")],
    )


async def test_skipped_files_beyond_the_name_limit_are_reported_as_a_count(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reading, "_MAX_SKIPPED", 100)
    for number in range(110):
        (desk.notes / f"{number}.md").symlink_to("/nowhere")
    desk.run(RunMode.STREAM)
    frames = await desk.hear_all()

    complete = frames[-1]
    assert isinstance(complete, AgentComplete)
    assert (complete.skipped[-1], len(complete.skipped)) == (
        SkippedFile(path="*", reason="symlink", files=10),
        101,
    )


async def test_run_over_unshared_folders_is_refused_immediately(desk: Desk) -> None:
    desk.run(paths=["/etc"])
    ack = await desk.hear(AgentAck)
    complete = await desk.hear(AgentComplete)

    assert (ack.accepted, ack.reason) == (False, ErrorCode.NOTHING_SHARED)
    assert isinstance(complete.error, ErrorBody)
    assert (complete.error.code, complete.skipped) == (
        ErrorCode.NOTHING_SHARED,
        [SkippedFile(path="/etc", reason="outside_shared")],
    )


async def test_cancelled_reading_sends_complete_with_cancelled_and_no_further_frame(desk: Desk) -> None:
    desk.write(a="one")
    await desk.offer()
    desk.readings.handle_frame(AgentCancel(run_id="r-1", fence=1, reason="enough"))
    complete = await desk.hear(AgentComplete)
    desk.fetch("a")
    await anyio.wait_all_tasks_blocked()
    assert desk.hears_nothing()
    assert desk.readings.agents == []

    assert isinstance(complete.error, ErrorBody) and complete.error.code == ErrorCode.CANCELLED


async def test_run_order_with_a_newer_fence_replaces_the_older_reading(desk: Desk) -> None:
    desk.write(a="one")
    await desk.offer(fence=1)
    desk.run(fence=2)
    ack = await desk.hear(AgentAck)
    await desk.hear(AgentManifest)
    desk.fetch("a", fence=1)
    await anyio.wait_all_tasks_blocked()
    assert desk.hears_nothing()
    desk.fetch("a", fence=2)
    data = await desk.hear(AgentData)

    assert (ack.fence, data.fence) == (2, 2)


async def test_run_order_with_an_older_fence_is_dropped_after_the_run(desk: Desk) -> None:
    desk.run(RunMode.STREAM, fence=2)
    await desk.hear_all()
    desk.run(RunMode.STREAM, fence=1)
    await anyio.wait_all_tasks_blocked()

    assert desk.hears_nothing()


async def test_device_refuses_a_run_beyond_max_runs_as_busy(desk: Desk) -> None:
    for number in range(MAX_RUNS):
        await desk.offer(run_id=f"r-{number}")
    desk.run(run_id="r-more")
    ack = await desk.hear(AgentAck)
    complete = await desk.hear(AgentComplete)

    assert (ack.run_id, ack.accepted, ack.reason) == ("r-more", False, ErrorCode.BUSY)
    assert isinstance(complete.error, ErrorBody) and complete.error.code == ErrorCode.BUSY


async def test_a_run_reads_no_more_than_the_hub_allows(desk: Desk) -> None:
    desk.write(a="1", b="2", c="3")
    desk.run(RunMode.STREAM, limits=RunLimits(files=2))
    frames = await desk.hear_all()

    assert len(_pieces(frames)) == 2
    assert isinstance(frames[-1], AgentComplete)
    assert frames[-1].skipped == [SkippedFile(path="notes/c.md", reason="limit")]


async def test_file_whose_path_fills_a_frame_is_skipped_as_too_deep(
    open_desk: OpenDesk,
) -> None:
    name = "x" * 200
    async with open_desk(Limits(max_message_bytes=2_300)) as desk:
        desk.write(**{name: "1"})
        desk.run(RunMode.STREAM)
        frames = await desk.hear_all()

    assert isinstance(frames[-1], AgentComplete)
    told = "too_deep: its path fills a frame"
    assert frames[-1].skipped == [SkippedFile(path=f"notes/{name}.md", reason=told)]


async def test_a_run_with_tiny_pieces_is_refused(open_desk: OpenDesk) -> None:
    async with open_desk(Limits(max_piece_bytes=3)) as desk:
        desk.run()
        ack = await desk.hear(AgentAck)

    assert (ack.accepted, ack.reason) == (False, ErrorCode.BAD_PARAMS)


async def test_device_sends_empty_data_frames_during_a_long_conversion(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_converted = threading.Event()
    text = Contents.text

    def slow(self: Contents, file: SharedFile, *args: Any, **options: Any) -> Any:
        if file.path == "notes/b.md":
            assert is_converted.wait(PATIENCE_S)
        return text(self, file, *args, **options)

    monkeypatch.setattr(Contents, "text", slow)
    desk.write(a="call Ana", b="pay rent")
    await desk.offer()
    desk.fetch("a", "b")
    sent = []
    for _ in range(2):
        with anyio.fail_after(PATIENCE_S):
            while desk.hears_nothing():
                await clock.pass_time(REMIND_S)
        sent.append([file.path for file in (await desk.hear(AgentData)).files])
    is_converted.set()
    frames = await desk.hear_all()

    assert sent == [["notes/a.md"], []]
    assert [piece.path for piece in _pieces(frames)] == ["notes/b.md"]


async def test_run_names_a_broken_log_during_a_long_conversion(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is of a task beside the conversion, so that it comes in a group of errors."""
    is_ended = threading.Event()
    text = Contents.text

    def slow(self: Contents, file: SharedFile, *args: Any, **options: Any) -> Any:
        while file.path == "notes/b.md" and not is_ended.wait(0.001):
            from_thread.check_cancelled()
        return text(self, file, *args, **options)

    monkeypatch.setattr(Contents, "text", slow)
    desk.write(a="call Ana", b="pay rent")
    await desk.offer()
    desk.rows("DROP TABLE sent")
    desk.fetch("a", "b")
    with anyio.fail_after(PATIENCE_S):
        while desk.hears_nothing():
            await clock.pass_time(REMIND_S)
    is_ended.set()
    error = (await desk.hear(AgentComplete)).error

    assert isinstance(error, ErrorBody)
    assert (error.code, "cannot log" in error.message) == (ErrorCode.DATABASE_UNAVAILABLE, True)


async def test_device_sends_empty_data_frames_during_many_short_failed_conversions(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Contents, file: SharedFile, *args: Any, **options: Any) -> Any:
        from_thread.run(clock.pass_time, REMIND_S / 2)
        raise UnreadableFile(SkipReason.NOT_CONVERTIBLE)

    monkeypatch.setattr(Contents, "text", fail)
    names = [f"broken{number}" for number in range(9)]
    desk.write(**dict.fromkeys(names, "-"))
    await desk.offer()
    desk.fetch(*names)
    *frames, complete = await desk.hear_all()

    assert isinstance(complete, AgentComplete)
    assert len(complete.skipped) == len(names)
    assert len(frames) >= 4
