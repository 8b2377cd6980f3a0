"""An edit of hub.toml is taken up by itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hub.rounds import WORK_S
from hub.settings.reading import Shared
from hub.settings.reload import POLL_S, SETTLE_S, Edit, SettingsWatch
from tests.support.services import running
from tests.support.settings import TEXT, SettingsBench

APPLIED = ("hub", "applied")


@pytest.fixture
def bench(tmp_path: Path) -> SettingsBench:
    return SettingsBench(tmp_path)


@pytest.fixture
async def watch(bench: SettingsBench) -> AsyncIterator[SettingsWatch]:
    watch = SettingsWatch(bench.reloader, bench.clock)
    async with running(watch):
        yield watch


async def noticed(bench: SettingsBench) -> None:
    """Let so much time pass that the hub looks at the file and sees an edit through."""
    await bench.clock.pass_time(POLL_S + SETTLE_S)


def with_runs(number: int) -> str:
    return TEXT.replace("4", str(number))


@pytest.mark.usefixtures("watch")
async def test_an_edit_is_taken_up_however_the_editor_writes_it(bench: SettingsBench) -> None:
    bench.path.write_text(with_runs(5))
    await noticed(bench)
    await bench.hub.hears(APPLIED)
    new = bench.path.with_name("hub.toml.new")
    new.write_text(with_runs(6))
    new.rename(bench.path)
    await noticed(bench)
    await bench.hub.hears(APPLIED, APPLIED)
    bench.path.rename(bench.path.with_name("hub.toml~"))
    bench.path.write_text(with_runs(7))
    await noticed(bench)
    await bench.hub.hears(APPLIED, APPLIED, APPLIED)
    assert [settings.limits.runs for settings in bench.hub.in_use] == [5, 6, 7]


@pytest.mark.usefixtures("watch")
async def test_a_broken_edit_is_refused_once_and_a_good_one_after_it_is_taken_up(
    bench: SettingsBench,
) -> None:
    bench.path.write_text("[limits")
    refused = ("hub", f"{bench.path}:1:8: error: Expected ']' at the end of a table declaration")
    await noticed(bench)
    await bench.hub.hears(refused)
    bench.path.with_name("other.toml").write_text("[another file]")
    bench.path.write_text(with_runs(5))
    await noticed(bench)
    await bench.hub.hears(refused, APPLIED)


@pytest.mark.usefixtures("watch")
async def test_an_edit_over_rest_is_not_taken_up_a_second_time(bench: SettingsBench) -> None:
    await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor="operator:7")
    await noticed(bench)
    assert bench.hub.told == [("operator:7", "applied")]


async def test_a_file_that_is_not_to_be_watched_waits_until_the_hub_is_asked(tmp_path: Path) -> None:
    unwatched = "[reload]\nwatch = false\n"
    bench = SettingsBench(tmp_path, TEXT + unwatched)
    async with anyio.create_task_group() as tasks:
        watch = SettingsWatch(bench.reloader, bench.clock)
        await tasks.start(watch.serve)
        bench.path.write_text(with_runs(5) + unwatched)
        await noticed(bench)
        assert bench.reloader.is_news()
        assert bench.hub.told == []
        watch.ask()
        await bench.hub.hears(APPLIED)
        watch.ask()  # asked is asked, news or not: a certificate may be another one
        await bench.hub.hears(APPLIED, APPLIED)
        tasks.cancel_scope.cancel()


async def test_an_edit_made_while_the_hub_started_is_taken_up(bench: SettingsBench) -> None:
    bench.path.write_text(with_runs(5))
    async with running(SettingsWatch(bench.reloader, bench.clock)):
        await noticed(bench)
        await bench.hub.hears(APPLIED)


async def test_what_a_link_leads_to_is_watched(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    bench = SettingsBench(real)
    link = tmp_path / "hub.toml"
    link.symlink_to(bench.path)
    linked = SettingsBench(tmp_path, TEXT)
    async with running(SettingsWatch(linked.reloader, linked.clock)):
        bench.path.write_text(with_runs(5))
        await noticed(linked)
        await linked.hub.hears(APPLIED)
    assert link.is_symlink()


async def test_a_loop_that_looks_at_the_file_no_more_is_late(
    bench: SettingsBench, watch: SettingsWatch
) -> None:
    def is_late_after(seconds: float) -> bool:
        bench.clock.advance(seconds)
        return watch.turns.is_late

    assert not is_late_after(POLL_S + WORK_S - 1.0)
    assert is_late_after(2.0), "it has not looked since"
    bench.path.write_text(with_runs(5))
    await noticed(bench)
    await bench.hub.hears(APPLIED)
    await bench.clock.pass_time(0.0)  # until the loop waits again
    assert not is_late_after(0.0)


@pytest.mark.usefixtures("watch")
async def test_a_new_revision_of_the_shared_settings_is_taken_up_within_a_second(
    bench: SettingsBench,
) -> None:
    bench.hub.newest = Shared(1, "[limits]\nruns = 9\n")
    await bench.clock.pass_time(POLL_S)
    await bench.hub.hears(APPLIED)
    assert bench.reloader.current.limits.runs == 9
