"""Watched folders, which changes count, and when their hints are sent."""

import os
import select
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from hub.device.change_hints import AGAIN_S, CALM_S, LATEST_S, ON_BATTERY_S, ChangeHints
from hub.device.digests import CREATE, Digests, stamp_of
from hub.device.folder_watch import FolderWatch
from hub.device.shared import Root, SharedFolders
from protocol.coordination import Event, EventName, Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Parameters, Values
from protocol.work import RunConfig
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice
from tests.support.families import each
from tests.support.scripted_hub import Guest
from tests.support.wire import until

pytestmark = pytest.mark.anyio
MARKDOWN = RunConfig(paths=["notes"], file_extensions=[".md"])
SERVED = Response(id="r", result={"agents": 1})
UNKNOWN = Response(id="r", error=ErrorBody(code=ErrorCode.UNKNOWN_METHOD, message="?"))
BUSY = Response(id="r", error=ErrorBody(code=ErrorCode.RATE_LIMITED, message="later", retryable=True))
QUEUED_EVENTS = 16_384  # of a watch by default


def nothing(check: None = None) -> None:
    """Check for nothing."""


class WatchedFolder:
    """A shared folder ``notes`` beside one that is not shared, ``others``."""

    def __init__(self, place: Path, watch: FolderWatch) -> None:
        self.place, self.notes, self.watch = place, place / "notes", watch
        for folder in (self.notes / "work", self.notes / "project/node_modules", place / "others"):
            folder.mkdir(parents=True)
        (self.notes / "monday.md").write_text("- [ ] call Anna\n")
        (self.notes / "project/package.json").write_text("{}")
        (self.notes / ".hubignore").write_text("*.log\ndrafts/\n")
        root = Root("notes", os.path.realpath(self.notes), str(self.notes))
        self.shared = SharedFolders([root], home=str(place), watch=watch)
        self.list_files()

    def list_files(self, config: RunConfig = MARKDOWN) -> None:
        """List the files as a run does, and pass over changes from before."""
        places, _ = self.shared.places(config.paths)
        self.shared.list_files(places, config, None, nothing)
        self.changes()

    def changes(self) -> dict[str, set[str]]:
        """Return the changes since the last look; the system has them once a call of it has ended."""
        found: dict[str, set[str]] = defaultdict(set)
        for change in self.watch.read():
            assert change is not None, "events were lost"
            found[change[0]].add(change[1])
        return found

    def has_changed(self, config: RunConfig = MARKDOWN) -> bool:
        return self.shared.has_changed(self.changes(), config, ())


@pytest.fixture
def watch() -> Iterator[FolderWatch]:
    try:
        opened = FolderWatch()
    except OSError:
        pytest.skip("this system gives no notice of changes")
    with closing(opened):
        yield opened


@pytest.fixture
def folder(tmp_path: Path, watch: FolderWatch) -> WatchedFolder:
    return WatchedFolder(tmp_path, watch)


def save_by_rename(folder: WatchedFolder) -> None:
    (folder.notes / ".monday.md.swp").write_text("x")
    (folder.notes / "monday.md~").write_text("x")
    (folder.notes / ".monday.tmp").write_text("- [ ] call Ben\n")
    (folder.notes / ".monday.tmp").replace(folder.notes / "monday.md")


def make_folders(folder: WatchedFolder) -> None:
    (folder.notes / "a/b").mkdir(parents=True)
    (folder.notes / "a/b/new.md").write_text("x")


def move_folder_in(folder: WatchedFolder) -> None:
    (folder.place / "others/new.md").write_text("x")
    (folder.place / "others").rename(folder.notes / "others")


def install(folder: WatchedFolder) -> None:
    (folder.notes / "project/node_modules/left-pad").mkdir()
    (folder.notes / "project/node_modules/left-pad/README.md").write_text("x")
    (folder.notes / "project/build").mkdir()
    (folder.notes / "project/build/index.md").write_text("x")


def draft(folder: WatchedFolder) -> None:
    (folder.notes / "drafts").mkdir()
    (folder.notes / "drafts/a.md").write_text("x")


def read(folder: WatchedFolder) -> None:
    (folder.notes / "monday.md").read_text()


CHANGES: dict[str, tuple[Callable[[WatchedFolder], object], bool]] = {
    "saved in place": (lambda at: (at.notes / "monday.md").write_text("x"), True),
    "saved by a new file that takes its name": (save_by_rename, True),
    "saved in a folder below": (lambda at: (at.notes / "work/a.md").write_text("x"), True),
    "new folders with a file": (make_folders, True),
    "a folder that is moved in": (move_folder_in, True),
    "a folder that is moved within": (
        lambda at: ((at.notes / "work/a.md").write_text("x"), (at.notes / "work").rename(at.notes / "w")),
        True,
    ),
    "a new ignore file": (lambda at: (at.notes / ".gitignore").write_text("x"), False),
    "a new folder without files": (lambda at: os.mkdir(at.notes / "empty"), False),
    "read": (read, False),
    "deleted": (lambda at: (at.notes / "monday.md").unlink(), False),
    "moved out": (lambda at: (at.notes / "monday.md").rename(at.place / "others/a.md"), False),
    "hidden": (lambda at: (at.notes / ".monday.md.swp").write_text("x"), False),
    "a key by its name": (lambda at: (at.notes / "id_rsa.md").write_text("x"), False),
    "ignored by its name": (lambda at: (at.notes / "build.log").write_text("x"), False),
    "in an ignored folder": (
        draft,
        False,
    ),
    "in folders that programs fill": (install, False),
    "of another extension": (lambda at: (at.notes / "a.txt").write_text("x"), False),
    "a link": (lambda at: (at.notes / "link.md").symlink_to(at.notes / "monday.md"), False),
    "outside": (lambda at: (at.place / "others/b.md").write_text("x"), False),
}


@each("case", list(CHANGES))
def test_change_counts_if_a_run_would_list_the_file(
    tmp_path_factory: pytest.TempPathFactory, case: str
) -> None:
    change, expected = CHANGES[case]
    with closing(FolderWatch()) as watch:
        folder = WatchedFolder(tmp_path_factory.mktemp("place"), watch)
        change(folder)
        assert folder.has_changed() is expected


def test_ignored_folders_cost_no_watch_and_no_event(folder: WatchedFolder) -> None:
    assert len(folder.watch) == 3  # notes, work, project
    for number in range(100):
        (folder.notes / f"project/node_modules/{number}.md").write_text("x")
    assert folder.changes() == {}


@each(
    ("paths", "expected"),
    [(["notes/work"], False), (["monday.md"], True), (["notes/work", "notes/monday.md"], True), ([], True)],
)
def test_change_counts_for_an_agent_with_the_path(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], expected: bool
) -> None:
    with closing(FolderWatch()) as watch:
        folder = WatchedFolder(tmp_path_factory.mktemp("place"), watch)
        config = RunConfig(paths=paths)
        folder.list_files(config)
        (folder.notes / "monday.md").write_text("x")
        assert folder.has_changed(config) is expected


def test_listing_watches_folders_under_their_new_names_and_no_folder_that_has_left(
    folder: WatchedFolder,
) -> None:
    make_folders(folder)
    (folder.notes / "work").rename(folder.notes / "renamed")
    folder.list_files()
    assert len(folder.watch) == 5
    (folder.notes / "renamed/a.md").write_text("x")
    assert folder.has_changed()
    (folder.notes / "a").rename(folder.place / "others/a")
    folder.list_files()
    assert len(folder.watch) == 3
    shutil.rmtree(folder.notes / "renamed")
    (folder.notes / "renamed").mkdir()
    folder.list_files()
    (folder.notes / "renamed/b.md").write_text("x")
    assert folder.has_changed()


def test_folder_that_becomes_ignored_is_watched_until_the_next_listing(folder: WatchedFolder) -> None:
    (folder.notes / ".hubignore").write_text("/work/\n")
    (folder.notes / "work/a.md").write_text("x")
    assert not folder.has_changed()
    folder.list_files()
    (folder.notes / "work/a.md").write_text("y")
    assert (len(folder.watch), folder.changes()) == (2, {})


def test_folders_beyond_the_limit_are_not_watched(tmp_path: Path) -> None:
    with closing(FolderWatch(most=2)) as watch:
        folder = WatchedFolder(tmp_path, watch)
        assert (len(watch), watch.why_partial) == (2, "2 are watched at most")
        (folder.notes / "monday.md").write_text("x")
        assert folder.has_changed()


class HintBench:
    """Hints of one connection; *sent* are the agents of each, and *answers* those of the hub."""

    def __init__(self, folder: WatchedFolder, has_power: Callable[[], bool | None]) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.sent: list[list[str]] = []
        self.told: list[str] = []
        self.answers: list[Response | None] = []
        self.is_over = False
        self.hints = ChangeHints(
            folder.shared, folder.watch, self.clock, self.told.append, has_power=has_power
        )
        self.hints.note_agent("a-1", MARKDOWN, ())

    async def request(self, method: Method, params: Parameters) -> Response | None:
        assert method is Method.FILES_CHANGED
        self.sent.append(params["agents"])  # type: ignore[arg-type]
        return self.answers.pop(0) if self.answers else SERVED

    def save(self, name: str = "monday.md") -> None:
        (self.folder.notes / name).write_text("x")

    async def collected(self) -> None:
        """Wait until the device has read all changes from the system."""
        descriptor = self.folder.watch.descriptor
        await until(lambda: not select.select([descriptor], [], [], 0)[0])

    async def sends(self, count: int, *, within_s: float) -> None:
        """Let time pass until so many hints were sent."""
        for _ in range(int(within_s / 0.5)):
            await self.clock.pass_time(0.5)
        assert len(self.sent) == count, self.sent


@asynccontextmanager
async def hinting(folder: WatchedFolder, *, has_power: bool | None = None) -> AsyncIterator[HintBench]:
    bench = HintBench(folder, lambda: has_power)

    async def serve() -> None:
        await bench.hints.serve(bench)  # type: ignore[arg-type]
        bench.is_over = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await bench.clock.pass_time(0.1)
        yield bench
        tasks.cancel_scope.cancel()


async def test_several_saves_are_one_hint_after_a_calm_second(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        for _ in range(3):
            save_by_rename(folder)
            await bench.collected()
            await bench.sends(0, within_s=CALM_S / 2)
        await bench.sends(1, within_s=2 * CALM_S)
        assert bench.sent == [["a-1"]]
        await bench.sends(1, within_s=60.0)


async def test_hint_is_sent_at_the_latest_time_while_changes_go_on(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        for _ in range(int(2 * LATEST_S)):
            bench.save()
            await bench.collected()
            await bench.clock.pass_time(0.5)
        assert len(bench.sent) == 1


async def test_change_that_does_not_count_sends_no_hint(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        bench.save("build.log")
        await bench.collected()
        await bench.sends(0, within_s=2 * LATEST_S)


async def test_hint_on_battery_is_sent_after_a_minute(folder: WatchedFolder) -> None:
    async with hinting(folder, has_power=False) as bench:
        bench.save()
        await bench.collected()
        await bench.sends(0, within_s=ON_BATTERY_S - 1)
        bench.save()
        await bench.sends(1, within_s=2.0)


async def test_hub_which_knows_no_hints_gets_a_single_one(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        bench.answers = [UNKNOWN]
        bench.save()
        await bench.collected()
        await bench.sends(1, within_s=2 * CALM_S)
        assert bench.is_over


async def test_hint_without_an_answer_is_sent_again_and_with_one_no_more(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        bench.answers = [None, BUSY]
        bench.save()
        await bench.collected()
        await bench.sends(1, within_s=2 * CALM_S)
        await bench.sends(2, within_s=AGAIN_S)
        await bench.sends(3, within_s=3 * AGAIN_S)


async def test_hint_without_a_listing_is_sent_again_in_the_next_connection(
    folder: WatchedFolder,
) -> None:
    bench = HintBench(folder, lambda: None)
    bench.save()
    for count, is_listed in ((1, False), (2, True), (2, True)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.hints.serve, bench)  # type: ignore[arg-type]
            await bench.collected()
            await bench.sends(count, within_s=2 * LATEST_S)
            tasks.cancel_scope.cancel()
        if is_listed:
            bench.hints.note_agent("a-1", MARKDOWN, ())


MISSED: dict[str, tuple[list[str], list[str], bool]] = {  # files that were read, and saved while it was off
    "nothing": (["monday.md"], [], False),
    "the only file": (["monday.md"], ["monday.md"], True),
    "a new file": (["monday.md"], ["tuesday.md"], True),
    "a file that no listing has": (["monday.md"], ["build.log"], False),
    "files of an agent without a run": ([], ["monday.md"], False),
}


@pytest.mark.parametrize("case", MISSED)
async def test_start_hints_once_of_files_saved_while_the_device_was_off(
    folder: WatchedFolder, case: str
) -> None:
    read, saved, is_hinted = MISSED[case]
    with closing(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)) as db:
        db.execute(CREATE)
        folder.shared._digests = digests = Digests(db)
        for name in read:
            digests.keep(str(folder.notes), name, stamp_of((folder.notes / name).stat()), bytes(32))
        digests.flush()
        for name in saved:
            (folder.notes / name).write_text("something else")
        folder.changes()
        async with hinting(folder) as bench:
            bench.hints.learn_paths("a-2", ["notes/monday.md", "notes/tuesday.md", "notes/build.log"])
            await bench.sends(int(is_hinted), within_s=2 * LATEST_S)
            bench.hints.learn_paths("a-2", ["notes/monday.md", "notes/tuesday.md", "notes/build.log"])
            await bench.sends(int(is_hinted), within_s=2 * LATEST_S)


async def test_lost_events_are_a_hint_for_all_agents(folder: WatchedFolder) -> None:
    async with hinting(folder) as bench:
        bench.hints.note_agent("a-2", RunConfig(paths=["notes/work"]), ())
        for number in range(QUEUED_EVENTS + 2):  # equal events in a row would be a single one
            os.close(os.open(folder.notes / f"{number % 2}.log", os.O_CREAT | os.O_WRONLY))
        await bench.collected()
        await bench.sends(1, within_s=LATEST_S)
        assert bench.sent == [["a-1", "a-2"]]


async def test_limit_of_folders_is_reported_once(tmp_path: Path) -> None:
    with closing(FolderWatch(most=1)) as watch:
        bench = HintBench(WatchedFolder(tmp_path, watch), lambda: True)
        bench.hints.note_agent("a-1", MARKDOWN, ())
    assert bench.told == ["not all folders are watched: 1 are watched at most; schedules read the others"]


async def test_device_sends_a_hint_for_the_agent_that_its_hub_named(
    device: RunningDevice, guest: Guest, clock: FakeClock, watch: FolderWatch
) -> None:
    named: Values = {"agent_id": "a-1", "rev": 1, "configuration": {}, "paths": ["notes"]}
    device.write("monday.md", "- [ ] call Anna\n")
    await guest.say(Event(event=EventName.AGENT_CONFIG, seq=1, data=named))
    asked: list[Request] = []

    async def hear() -> None:
        asked.append(await guest.hear(Request))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)
        while not asked:
            device.write("monday.md", "- [ ] call Ben\n")
            await clock.pass_time(1.0)
    assert (asked[0].method, asked[0].params) == (Method.FILES_CHANGED, {"agents": ["a-1"]})
