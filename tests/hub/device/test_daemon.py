"""A kept device: it follows its settings file, its folders, its pause and the hours of its owner."""

import threading
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace
from datetime import time, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from hub.device import daemon
from hub.device.app import DeviceOptions
from hub.device.daemon import DevicePlan, Keeper, last_message, pause, resume, why_paused
from hub.device.notices import DailyDigests
from hub.device.sinks import running
from hub.device.sinks.sink import Sink
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from protocol.errors import HubError
from tests.hub.device.sinks.bench import SinkBench
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio

REST = "nothing of it is read until it is back"


@dataclass(frozen=True)
class Times:
    on_power: bool = False
    unmetered: bool = False
    quiet: tuple[int, ...] = ()

    def is_quiet(self, now: time) -> bool:
        return now.hour in self.quiet


@dataclass(frozen=True)
class Notify:
    at: time | None = None
    titles: bool = False


class Desk:
    """A kept device whose connection is a stand-in; *runs* are its options, *live* is True while it runs."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.root, self.more = folder / "notes", folder / "more"
        self.root.mkdir()
        self.more.mkdir()
        self.file = folder / "device.toml"
        self.file.write_text("1")
        self.clock = clock
        options = DeviceOptions(urls=["ws://h"], roots=[self.root, self.more], db=folder / "desk.db")
        self.plan = DevicePlan(options, Times(), Notify())
        self.said: list[str] = []
        self.runs: list[DeviceOptions] = []
        self.words: list[str] = []  # with which the device left
        self.live = False
        self.ends = anyio.Event()
        self.code: int | None = None
        self.wrong = ""

    def load(self) -> DevicePlan:
        if self.wrong:
            raise HubError(self.wrong)
        return self.plan

    async def run(
        self, options: DeviceOptions, *, on_status: Callable[[str], None], why_leaving: Callable[[], str]
    ) -> int:
        self.runs.append(options)
        self.live = True
        try:
            await self.ends.wait()
        finally:
            self.live = False
            self.words.append(why_leaving())
        on_status("the hub speaks a newer version")
        return 77

    async def serve(self) -> None:
        keeper = Keeper(self.file, self.load, self.clock, self.said.append, self.run, self.missing)
        self.code = await keeper.serve()

    async def missing(self, folders: Collection[Path]) -> frozenset[Path]:
        return frozenset(folder for folder in folders if not folder.is_dir())

    def change(self, plan: DevicePlan, *, wrong: str = "") -> None:
        self.plan, self.wrong = plan, wrong
        self.file.write_text(self.file.read_text() + "1")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the keeper look until the condition holds: what it asks in threads takes the machine's time."""
        with anyio.fail_after(60):
            while not condition():
                await self.look()
                await anyio.sleep(0.01)

    async def look(self) -> bool:
        """Let the keeper look once; return whether the device runs."""
        await self.clock.pass_time(daemon.INTERVAL_S)
        return self.live


@pytest.fixture
async def desk(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.serve)
        yield desk
        tasks.cancel_scope.cancel()


async def test_changed_settings_restart_the_device_and_invalid_settings_are_ignored(desk: Desk) -> None:
    assert await desk.look()
    desk.change(desk.plan, wrong="device.toml:1:1: unknown key")
    assert await desk.look()
    assert (len(desk.runs), desk.said) == (
        1,
        ["the settings of before stay in use: device.toml:1:1: unknown key"],
    )
    desk.change(replace(desk.plan, options=replace(desk.plan.options, codec="msgpack")))
    assert await desk.look()
    assert [run.codec for run in desk.runs] == ["json", "msgpack"]
    other = replace(desk.plan.options, db=desk.plan.options.db.with_name("other.db"))
    desk.change(replace(desk.plan, options=other))
    assert await desk.look()
    assert len(desk.runs) == 2
    assert "is of another device now; start this program again" in desk.said[-1]


async def test_changed_quiet_hours_disconnect_only_within_the_quiet_hours(desk: Desk) -> None:
    assert await desk.look()
    hour = desk.clock.now().astimezone().hour
    desk.change(replace(desk.plan, when=Times(quiet=((hour + 2) % 24,))))
    assert await desk.look()
    assert len(desk.runs) == 1
    desk.change(replace(desk.plan, when=Times(quiet=(hour,))))
    assert not await desk.look()


async def test_paused_device_is_disconnected_until_the_end_time_or_a_resume(desk: Desk) -> None:
    db, clock = desk.plan.options.db, desk.clock
    assert await desk.look()
    pause(db, clock.now() + timedelta(minutes=1))
    assert not await desk.look()
    assert why_paused(db, clock).startswith("paused until 2026-01-05")
    await clock.pass_time(60)
    assert await desk.look()
    pause(db, None)
    assert not await desk.look()
    assert desk.said[-1] == "disconnected: paused until it is resumed: hub device resume"
    assert desk.words[-1] == "paused"
    assert resume(db)
    assert await desk.look()
    assert not resume(db)


async def test_missing_root_is_reported_once_and_shared_again_when_restored(desk: Desk) -> None:
    more = desk.more
    assert await desk.look()
    more.rmdir()
    assert await desk.look()
    await desk.clock.pass_time(60)
    assert desk.said == [f"there is no folder {more}: it is shared again when it is back"]
    more.mkdir()
    assert await desk.look()
    assert [list(run.roots) for run in desk.runs] == [[desk.root, more], [desk.root], [desk.root, more]]
    more.rmdir()
    desk.root.rmdir()
    assert await desk.look()  # connected, to name the folders to its hub
    assert (list(desk.runs[-1].roots), desk.runs[-1].missing) == ([], [more, desk.root])
    assert set(desk.words) == {"reconnecting"}


async def test_device_is_disconnected_in_quiet_hours_and_on_battery(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = desk.clock.now().astimezone()
    desk.change(replace(desk.plan, when=Times(quiet=(now.hour,))))
    assert not await desk.look()
    desk.change(replace(desk.plan, when=Times(on_power=True, unmetered=True)))
    told: dict[str, bool | None] = {"power": False, "metered": True}
    monkeypatch.setattr(daemon, "is_on_power", lambda: told["power"])
    monkeypatch.setattr(daemon, "is_metered", lambda: told["metered"])
    await desk.until(lambda: desk.said[-1] == "disconnected: the machine runs on its battery")
    assert not desk.live
    assert desk.words[-1] == "quiet_hours"
    told["power"] = True
    await desk.until(lambda: desk.said[-1] == "disconnected: this network charges by volume")
    told["metered"] = None  # the system does not tell
    await desk.until(lambda: desk.live)
    told["power"] = False
    await desk.until(lambda: not desk.live)
    assert desk.words[-1] == "on_battery"


async def test_notification_names_a_folder_that_is_not_there_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(daemon, "show_notice", shown.append)
    desk.more.rmdir()
    for _ in range(2):
        assert await desk.look()
    assert shown == [f"{desk.more} was moved or renamed, or its disk is not there: {REST}"]


async def test_digest_is_shown_on_time_except_in_quiet_hours_and_pauses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []
    problem = "there is no program"

    def show(_: DailyDigests, *, titles: bool) -> str:
        shown.append(titles)
        return problem

    monkeypatch.setattr(DailyDigests, "show", show)
    monkeypatch.setattr(DailyDigests, "is_due", lambda _: not shown)
    now = desk.clock.now().astimezone()
    await desk.look()
    assert shown == [], "no time is set"
    at = (now + timedelta(minutes=1)).time()
    desk.change(replace(desk.plan, notify=Notify(at, titles=True), when=Times(quiet=(at.hour,))))
    await desk.clock.pass_time(120)
    pause(desk.plan.options.db, None)
    desk.change(replace(desk.plan, when=Times()))
    await desk.clock.pass_time(60)
    assert shown == []
    resume(desk.plan.options.db)
    await desk.look()
    await desk.look()
    assert shown == [True]
    assert f"the notification of today was not shown: {problem}" in desk.said


async def test_refused_device_ends_with_the_exit_code_and_stores_the_last_message(desk: Desk) -> None:
    assert await desk.look()
    db = desk.plan.options.db
    assert last_message(db) == ""
    desk.ends.set()
    await desk.clock.pass_time(1)
    assert (desk.code, last_message(db)) == (77, "the hub speaks a newer version")
    desk.ends = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.serve)
        await desk.look()
        assert last_message(db) == "", "it was started again"
        tasks.cancel_scope.cancel()


async def test_rows_go_to_the_sinks_of_the_settings_while_the_device_is_paused(
    desk: Desk, tmp_path: Path
) -> None:
    bench, path = SinkBench(tmp_path), tmp_path / "todo.md"
    row = bench.approve({"title": "Call Ana"})
    pause(desk.plan.options.db, None)
    desk.change(replace(desk.plan, sinks=(Sink("todo", TextFile(path, Markdown()), ("tasks",)),)))
    await desk.until(path.exists)
    assert path.read_text().startswith("- [ ] Call Ana")
    path.write_text(path.read_text().replace("[ ]", "[x]"))
    await desk.until(lambda: bench.row(row)["status"] == "done")
    path.unlink()
    await desk.until(lambda: any("sink todo" in one for one in desk.said))
    for _ in range(3):
        await desk.clock.pass_time(running.INTERVAL_S)
    assert [one for one in desk.said if "sink todo" in one] == [
        f"sink todo, tried again every 30 s: {path} is missing or empty: put it back, or write all again:"
        " hub device sync --again"
    ]


async def test_folder_on_a_hanging_disk_is_missing_and_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, dead, gone = tmp_path / "alive", tmp_path / "dead", tmp_path / "gone"
    alive.mkdir()
    dead.mkdir()
    answers, asked = threading.Event(), []

    def is_dir(folder: Path) -> bool:
        asked.append(folder)
        return folder != dead or answers.wait(60)

    monkeypatch.setattr(daemon, "ANSWER_S", 0.5)
    monkeypatch.setattr(Path, "is_dir", is_dir)
    folders = daemon.Folders()
    for _ in range(3):
        assert await folders.missing([dead, alive]) == {dead}
    assert asked.count(dead) == 1, "no thread more waits for it"
    answers.set()
    monkeypatch.undo()
    with anyio.fail_after(30):
        while await folders.missing([dead, alive, gone]) != {gone}:
            await anyio.lowlevel.checkpoint()


async def test_device_reconnects_after_a_sleep_and_after_a_network_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[tuple[str, ...]] = [("192.168.1.7",)]
    monkeypatch.setattr(daemon, "own_addresses", lambda: networks[-1])
    assert await desk.look()
    await desk.clock.pass_time(60)
    runs = len(desk.runs)
    desk.clock.set_wall(desk.clock.now() + timedelta(minutes=20))  # its other clock does not go on in a sleep
    assert await desk.look()
    assert (len(desk.runs), desk.said[-1]) == (
        runs + 1,
        "the network has changed, or this machine was asleep: connecting anew",
    )
    for network in ((), ("10.0.0.9",)):
        networks.append(network)
        assert await desk.look()
    await desk.clock.pass_time(60)
    assert len(desk.runs) == runs + 3


async def test_rows_of_a_table_without_a_sink_are_reported_once(desk: Desk, tmp_path: Path) -> None:
    bench = SinkBench(tmp_path)
    bench.approve({"title": "Fair", "date": bench.at_ms}, "timelines")
    desk.change(
        replace(desk.plan, sinks=(Sink("todo", TextFile(tmp_path / "T.md", Markdown()), ("tasks",)),))
    )
    await desk.until(lambda: any("go to no place" in one for one in desk.said))
    bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Market", "date": bench.at_ms}, "timelines")
    await desk.until((tmp_path / "T.md").exists)
    for _ in range(3):
        await desk.look()
    assert [one for one in desk.said if "go to no place" in one] == [
        "1 approved timelines go to no place: add a place for them (hub places add),"
        ' or "timelines" to tables of one in device.toml'
    ]


async def test_change_at_a_place_goes_on_to_the_other_places(desk: Desk, tmp_path: Path) -> None:
    bench = SinkBench(tmp_path)
    bench.approve({"title": "Call Ana"})
    first, second = tmp_path / "1.md", tmp_path / "2.md"
    sinks = [Sink(path.stem, TextFile(path, Markdown()), ("tasks",)) for path in (second, first)]
    desk.change(replace(desk.plan, sinks=tuple(sinks)))
    await desk.until(lambda: first.exists() and second.exists())
    first.write_text(first.read_text().replace("[ ]", "[x]"))
    await desk.until(lambda: "[x]" in second.read_text())


async def test_device_file_unreadable_by_sinks_is_reported_once(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock)
    desk.plan.options.db.write_bytes(b"no database" * 100)
    desk.plan = replace(desk.plan, sinks=(Sink("todo", TextFile(tmp_path / "T.md", Markdown()), ("tasks",)),))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.serve)
        await desk.until(lambda: bool(desk.said))
        for _ in range(3):
            await clock.pass_time(running.INTERVAL_S)
        tasks.cancel_scope.cancel()
    (message,) = desk.said
    assert message.startswith("approved items go nowhere: ")
    assert "not a database" in message
