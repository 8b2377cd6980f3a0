"""Reloads of the settings: edits, a watched file, and settings that all nodes share."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hub.base.periodic_loop import WORK_S
from hub.base.toml.problems import SettingsInvalid, SettingsProblem
from hub.settings.edits import CannotEdit
from hub.settings.reading import Shared, last_file, last_good, revision_text
from hub.settings.reload import (
    POLL_S,
    SETTLE_S,
    CannotWriteSettings,
    ChangedKeys,
    Edit,
    ReloadResult,
    Remark,
    SettingsWatch,
    Unfit,
)
from protocol.errors import CodedError, ErrorCode, HubError
from storage.kernel.database import DatabaseUnavailable
from tests.support.coded import coded
from tests.support.services import running
from tests.support.settings import TEXT, SettingsBench, files_of_at_most

AGENT = """
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""
MODEL = (
    '\n[model]\nkind = "openai"\nbase_url = "https://host/v1"\nname = "m"\napi_key = { env = "NO_SUCH" }\n'
)
ME = "operator:7"


@pytest.fixture
async def bench(tmp_path: Path) -> SettingsBench:
    bench = SettingsBench(tmp_path)
    await bench.reloader.begin()
    return bench


def stand(bench: SettingsBench) -> list[object]:
    """Everything that a failed reload must leave as it was."""
    reloader = bench.reloader
    return [
        reloader.current.model_dump_json(),
        reloader.generation,
        reloader.tag,
        reloader.waiting,
        (bench.state / "last-good.toml").read_bytes(),
        list(bench.hub.in_use),
        list(bench.hub.agents),
    ]


async def test_reload_reports_changes_as_live_reconnect_or_restart(bench: SettingsBench) -> None:
    bench.path.write_text(
        TEXT.replace("runs = 4", "runs = 5\nping_interval_s = 20.0")
        + AGENT
        + '[listen.devices]\naddress = "127.0.0.1:1"\n'
    )
    done = await bench.reloader.reload(actor=ME)
    assert done.changes.live == ("agents.notes", "limits.runs")
    assert done.changes.reconnect == ("limits.ping_interval_s",)
    assert done.changes.restart == ("listen.devices.address",)
    assert done.generation == bench.reloader.generation == 2
    assert (bench.hub.in_use, bench.hub.told) == ([bench.reloader.current], [(ME, "applied")])
    assert last_good(bench.state) == bench.path.read_text()
    assert last_file(bench.state) == bench.path


async def test_changes_waiting_for_a_restart_are_reported_until_the_restart(bench: SettingsBench) -> None:
    bench.path.write_text(TEXT.replace("home", "away"))
    await bench.reloader.reload(actor=ME)
    assert list(bench.reloader.waiting) == ["hub.name"]
    bench.path.write_text(TEXT.replace("home", "away").replace("4", "5"))
    done = await bench.reloader.reload(actor=ME)
    assert (done.changes.live, done.changes.restart) == (("limits.runs",), ("hub.name",))
    assert bench.hub.audited == [ChangedKeys(restart=("hub.name",)), ChangedKeys(live=("limits.runs",))]
    bench.path.write_text(TEXT)
    await bench.reloader.reload(actor=ME)
    assert list(bench.reloader.waiting) == []


async def test_a_change_with_immediate_effect_is_reported_once(bench: SettingsBench) -> None:
    for text, told in ((TEXT.replace("4", "5"), ("limits.runs",)), (TEXT.replace("4", "5") + "# x\n", ())):
        bench.path.write_text(text)
        assert (await bench.reloader.reload(actor=ME)).changes.live == told


async def test_reload_without_changes_applies_again_with_the_same_generation(
    bench: SettingsBench,
) -> None:
    done = await bench.reloader.reload(actor=ME)
    assert (done.generation, done.changes) == (1, ChangedKeys())
    assert len(bench.hub.in_use) == 1  # a certificate may have changed, whose name has not


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        pytest.param("[limits\n", "1:8: error: Expected ']' at the end of a table", id="syntax"),
        pytest.param("", "1:1: error: the file is empty", id="empty"),
        pytest.param("[limits]\nruns = 1.5\n", "2:8: error: limits.runs: a whole number", id="type"),
        pytest.param("[limits]\nrusn = 1\n", "2:1: error: limits.rusn: unknown key", id="key"),
        pytest.param(MODEL, "6:11: error: model.api_key: the environment variable NO_SUCH", id="secret"),
        pytest.param(
            AGENT + 'schedule = "0 0 31 2 *"\n', "8:12: error: agents.notes.schedule: never", id="schedule"
        ),
    ],
)
async def test_reload_of_a_broken_file_changes_nothing(
    bench: SettingsBench, broken: str, problem: str
) -> None:
    before = stand(bench)
    bench.path.write_text(broken)
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.reload(actor=ME)
    assert str(refused.value).startswith(f"{bench.path}:{problem}")
    assert (stand(bench), bench.reloader.refused) == (before, tuple(refused.value.problems))
    assert bench.hub.told == [(ME, str(refused.value))]


@pytest.mark.parametrize("step", ["cannot_prepare", "cannot_reconcile"])
async def test_reload_refusal_of_a_component_has_the_position_of_the_value(
    bench: SettingsBench, step: str
) -> None:
    before = stand(bench)
    setattr(bench.hub, step, Unfit(("limits", "runs"), "too many for me", "take fewer"))
    bench.path.write_text(TEXT.replace("4", "5"))
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.reload(actor=ME)
    assert str(refused.value) == f"{bench.path}:6:8: error: limits.runs: too many for me - take fewer"
    assert stand(bench) == before


async def test_reload_error_without_a_key_is_reported_for_the_file(bench: SettingsBench) -> None:
    class Busy(HubError):
        code = ErrorCode.DATABASE_BUSY

    before = stand(bench)
    bench.hub.cannot_reconcile = Busy("the database is locked")
    with pytest.raises(SettingsInvalid, match=r"hub.toml:1:1: error: the database is locked"):
        await bench.reloader.reload(actor=ME)
    assert stand(bench) == before


async def test_metrics_report_success_and_time_of_the_last_reload(bench: SettingsBench) -> None:
    def told() -> list[float | None]:
        names = ("generation", "last_reload_successful", "last_reload_success_timestamp_seconds")
        return [bench.metrics.registry.get_sample_value(f"hub_config_{name}") for name in names]

    began = bench.clock.now().timestamp()
    assert told() == [1, 1, began]
    bench.clock.advance(60)
    bench.path.write_text("[")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.reload(actor=ME)
    assert told() == [1, 0, began]
    bench.path.write_text(TEXT + "# more\n")
    await bench.reloader.reload(actor=ME)
    assert told() == [2, 1, began + 60]


async def test_reloads_during_a_reload_share_the_following_reload_and_get_the_newest_text(
    bench: SettingsBench,
) -> None:
    readings: list[str] = []
    results: list[ReloadResult] = []

    async def call(actor: str) -> None:
        results.append(await bench.reloader.reload(actor=actor))

    def edit_again() -> None:
        readings.append(bench.path.read_text())
        if len(readings) == 1:  # the first reload has read the file
            bench.path.write_text(TEXT.replace("4", "6"))
            for actor in ("hub", ME, "operator:8", "hub"):
                tasks.start_soon(call, actor)

    bench.path.write_text(TEXT.replace("4", "5"))
    async with anyio.create_task_group() as tasks:
        bench.hub.before_reconcile = edit_again
        tasks.start_soon(call, "hub")
    assert [result.generation for result in results] == [2, 3, 3, 3, 3]
    assert len(readings) == 2
    assert bench.reloader.current.limits.runs == 6


async def test_reload_of_a_starting_hub_is_refused_as_overloaded(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path)
    with pytest.raises(CodedError, check=coded(ErrorCode.OVERLOADED)):
        await bench.reloader.reload(actor=ME)


# --- edits ---


async def test_settings_edit_preserves_comments_and_is_applied(bench: SettingsBench) -> None:
    done = await bench.reloader.edit(
        Edit(values={"limits.runs": 6, "log.level": "debug"}), expected=[bench.reloader.tag], actor=ME
    )
    assert done.changes.live == ("limits.runs", "log.level")
    assert bench.path.read_text() == TEXT.replace("runs = 4", "runs = 6") + '\n[log]\nlevel = "debug"\n'
    assert bench.reloader.current.limits.runs == 6


async def test_stale_settings_edit_is_refused_with_the_meanwhile_changes(
    bench: SettingsBench,
) -> None:
    seen = bench.reloader.tag
    await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor=ME)
    before = bench.path.read_bytes()
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)) as stale:
        await bench.reloader.edit(Edit(values={"limits.runs": 7}), expected=[seen], actor=ME)
    assert "-runs = 4         # at once\n+runs = 6         # at once" in str(stale.value)
    assert bench.path.read_bytes() == before


async def test_settings_edit_is_refused_while_the_file_has_unapplied_edits(bench: SettingsBench) -> None:
    bench.path.write_text(TEXT + "\n[reload]\nwatch = false\n")
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.CHANGED_MEANWHILE),
        match=r"(?s)was edited and is not applied yet.*\+watch = false",
    ):
        await bench.reloader.edit(Edit(values={"limits.runs": 7}), expected=None, actor=ME)
    assert bench.path.read_text().endswith("watch = false\n")


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (Edit(values={"limits.runs": 0}), SettingsInvalid),
        (Edit(values={"limits.rusn": 1}), SettingsInvalid),
        (Edit(text="[["), SettingsInvalid),
        (Edit(values={"agents.nobody.prompt": "x"}), CannotEdit),
    ],
)
async def test_inapplicable_settings_edit_leaves_the_file_untouched(
    bench: SettingsBench, edit: Edit, error: type[HubError]
) -> None:
    before, at_before = stand(bench), bench.path.stat()
    with pytest.raises(error):
        await bench.reloader.edit(edit, expected=None, actor=ME)
    assert (stand(bench), bench.path.read_text()) == (before, TEXT)
    assert bench.path.stat().st_ino == at_before.st_ino
    assert bench.reloader.refused == ()  # the file itself is as good as it was


async def test_settings_file_is_restored_when_reconciling_an_edit_fails(bench: SettingsBench) -> None:
    before = stand(bench)
    written: list[str] = []
    news: list[bool] = []

    def look() -> None:
        written.append(bench.path.read_text())
        news.append(bench.reloader.is_news())

    bench.hub.before_reconcile = look
    bench.hub.cannot_reconcile = Unfit((), "no room")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor=ME)
    assert ("runs = 6" in written[0], news, bench.path.read_text()) == (True, [False], TEXT)
    assert stand(bench) == before
    assert not bench.reloader.is_news()


async def test_failed_write_of_the_settings_file_changes_nothing(bench: SettingsBench) -> None:
    before = stand(bench)
    with (
        files_of_at_most(20),
        pytest.raises(CannotWriteSettings, match=r"cannot write .*hub.toml: File too large"),
    ):
        await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor=ME)
    assert (bench.path.read_text(), stand(bench)) == (TEXT, before)
    assert sorted(path.name for path in bench.path.parent.iterdir()) == ["hub.toml", "state"]


async def test_settings_check_reports_changes_without_applying(bench: SettingsBench) -> None:
    before = stand(bench)
    problems, found = await bench.reloader.check(Edit(text=TEXT.replace("4", "5")))
    assert (problems, found.live) == ([], ("limits.runs",))
    problems, found = await bench.reloader.check(Edit(text="[limits]\nruns = 0\n"))
    assert str(problems[0]) == f"{bench.path}:2:8: error: limits.runs: must be at least 1 - as in runs = 32"
    bench.hub.cannot_prepare = Unfit(("limits", "runs"), "too many for me")
    problems, found = await bench.reloader.check(Edit(text=TEXT.replace("4", "5")))
    assert str(problems[0]) == f"{bench.path}:6:8: error: limits.runs: too many for me"
    assert (stand(bench), bench.path.read_text()) == (before, TEXT)


async def test_changed_agent_is_reported_with_the_user_if_the_user_changed(
    bench: SettingsBench,
) -> None:
    bench.path.write_text(TEXT + AGENT)
    assert (await bench.reloader.reload(actor=ME)).changes == ChangedKeys(live=("agents.notes",))
    bench.path.write_text(TEXT + AGENT + 'user = "anna"\n')
    assert (await bench.reloader.reload(actor=ME)).changes == ChangedKeys(
        live=("agents.notes (of anna)",), archived=("agents.notes (of owner)",)
    )
    bench.path.write_text(TEXT)
    assert (await bench.reloader.check(Edit(text=TEXT)))[1] == ChangedKeys(archived=("agents.notes",))
    assert (await bench.reloader.reload(actor=ME)).changes == ChangedKeys(archived=("agents.notes",))


async def test_remark_of_a_component_on_settings_is_a_warning_with_position(bench: SettingsBench) -> None:
    bench.hub.remarks = [Remark(("limits", "runs"), "that is few", "write more")]
    few = SettingsProblem(str(bench.path), 6, 8, "limits.runs", "that is few", "write more", "warning")
    assert (await bench.reloader.check(Edit(text=TEXT)))[0] == [few]
    assert (await bench.reloader.reload(actor=ME)).warnings == (few,)


async def test_renewed_files_are_reported_though_no_value_has_changed(bench: SettingsBench) -> None:
    bench.hub.renewed = ["listen.devices.tls"]
    assert (await bench.reloader.check(Edit(text=TEXT)))[1].live == ("listen.devices.tls",)
    assert (await bench.reloader.reload(actor=ME)).changes.live == ("listen.devices.tls",)


async def test_each_reload_attempt_is_counted_on_success_and_failure(bench: SettingsBench) -> None:
    await bench.reloader.reload(actor=ME)
    bench.path.write_text("[[")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.reload(actor=ME)
    assert bench.hub.attempts == 2


async def test_an_edit_of_an_overridden_key_is_reported_as_without_effect(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, HUB__LIMITS__RUNS="11")
    await bench.reloader.begin()
    done = await bench.reloader.edit(Edit(values={"limits.runs": 5}), expected=None, actor=ME)
    (told,) = done.warnings
    assert str(told) == "hub.toml: warning: limits.runs: written, but HUB__LIMITS__RUNS overrides it"
    assert "runs = 5 " in bench.path.read_text()
    with pytest.raises(SettingsInvalid, match="a whole number is expected; nothing was written"):
        await bench.reloader.edit(Edit(values={"limits.runs": "abc"}), expected=None, actor=ME)
    assert bench.hub.told[-1][1].startswith("limits.runs: error: a whole number")  # in the audit log too
    assert "runs = 5 " in bench.path.read_text()
    assert bench.reloader.current.limits.runs == 11


async def test_invalid_value_of_an_edit_is_reported_with_the_key(
    bench: SettingsBench,
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.edit(Edit(values={"limits.runs": "abc"}), expected=None, actor=ME)
    assert str(refused.value) == (
        "limits.runs: error: a whole number is expected; nothing was written"
        " - write a number without quotes, as in runs = 32"
    )


async def test_missing_file_is_reported_with_the_command_for_a_new_file(bench: SettingsBench) -> None:
    bench.path.unlink()
    with pytest.raises(SettingsInvalid, match="'hub init' writes one"):
        await bench.reloader.edit(Edit(values={"limits.runs": 5}), expected=None, actor=ME)


APPLIED = ("hub", "applied")


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
async def test_watched_settings_file_is_applied_after_write_rename_or_replacement(
    bench: SettingsBench,
) -> None:
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
async def test_watch_refuses_a_broken_file_once_and_applies_the_next_valid_file(
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
async def test_settings_edit_over_rest_is_not_applied_again_by_the_watch(bench: SettingsBench) -> None:
    await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor="operator:7")
    await noticed(bench)
    assert bench.hub.told == [("operator:7", "applied")]


async def test_unwatched_settings_file_is_applied_only_on_request(tmp_path: Path) -> None:
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


async def test_settings_edit_during_start_is_applied_by_the_watch(bench: SettingsBench) -> None:
    bench.path.write_text(with_runs(5))
    async with running(SettingsWatch(bench.reloader, bench.clock)):
        await noticed(bench)
        await bench.hub.hears(APPLIED)


async def test_watch_follows_the_target_of_a_symbolic_link(tmp_path: Path) -> None:
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


async def test_stalled_settings_watch_loop_is_late(bench: SettingsBench, watch: SettingsWatch) -> None:
    def is_late_after(seconds: float) -> bool:
        bench.clock.advance(seconds)
        return watch.loop.is_late

    assert not is_late_after(POLL_S + WORK_S - 1.0)
    assert is_late_after(2.0), "it has not looked since"
    bench.path.write_text(with_runs(5))
    await noticed(bench)
    await bench.hub.hears(APPLIED)
    await bench.clock.pass_time(0.0)  # until the loop waits again
    assert not is_late_after(0.0)


@pytest.mark.usefixtures("watch")
async def test_new_revision_of_shared_settings_is_applied_within_a_single_poll(
    bench: SettingsBench,
) -> None:
    bench.hub.newest = Shared(1, "[limits]\nruns = 9\n")
    await bench.clock.pass_time(POLL_S)
    await bench.hub.hears(APPLIED)
    assert bench.reloader.current.limits.runs == 9


PUSHED = """\
# the agents of us all
agents = []
hub.name = "hers"

# where she listens
[listen.devices]
address = "127.0.0.1:1"
# how much
[limits]
runs = 9  # at once

[storage]
url = "sqlite:///hers.db"
[budget]
run_usd = 2.0
"""


def warnings(bench: SettingsBench) -> list[SettingsProblem]:
    """What is doubtful about the settings in use."""
    return [one for one in bench.reloader.reading.problems if one.severity == "warning"]


def test_settings_revision_has_number_shared_tables_and_source_lines() -> None:
    made = revision_text(PUSHED, 7)
    assert made.text.split("\n") == [
        "# settings revision 7",
        *("# the agents of us all", "agents = []"),
        *("# how much", "[limits]", "runs = 9  # at once", ""),
        *("[budget]", "run_usd = 2.0", ""),
    ]
    assert [made.line(number) for number in (2, 5, 6, 9)] == [1, 9, 10, 15]
    assert made == revision_text(PUSHED.replace("\n", "\r\n"), 7)
    again = revision_text(made.text, 8)
    assert again.text == made.text.replace("7", "8", 1), "one number, not two"
    assert again.line(6) == 6


async def test_node_uses_shared_tables_of_the_newest_revision_and_own_file_tables(
    bench: SettingsBench,
) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    await bench.reloader.follow(actor="hub")
    settings = bench.reloader.current
    assert (settings.limits.runs, settings.budget.run_usd, settings.hub.name) == (9, 2.0, "home")
    assert str(settings.listen.devices.address) != "127.0.0.1:1"
    assert bench.path.read_text() == TEXT
    places = bench.reloader.reading.places
    assert places is not None
    assert str(places.origin(("limits", "runs"))) == "settings revision 4:10"
    assert str(places.origin(("hub", "name"))) == f"{bench.path}:3"
    (warning,) = warnings(bench)
    assert (warning.file, warning.line, warning.path) == (str(bench.path), 5, "limits")
    assert warning.message.startswith("[limits]: not used, because settings revision 4")
    (applied,) = bench.hub.revisions
    assert (applied.shared, applied.is_published, applied.changes) == (Shared(4, PUSHED), False, ())

    bench.hub.newest = Shared(5, None)
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, warnings(bench)) == (4, [])


async def test_settings_revision_remains_in_use_when_the_node_file_changes(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    await bench.reloader.follow(actor="hub")
    bench.path.write_text('[hub]\nname = "away"\n')
    done = await bench.reloader.reload(actor=ME)
    assert (done.changes.restart, bench.reloader.current.limits.runs) == (("hub.name",), 9)
    done = await bench.reloader.edit(Edit(values={"hub.name": "home"}), expected=None, actor=ME)
    assert (done.changes.restart, bench.reloader.current.limits.runs) == ((), 9)
    for edit in (
        Edit(values={"limits.runs": 7}),
        Edit(without=("agents.notes",)),
        Edit(text="[budget]\nrun_usd = 9.0\n"),
    ):
        with pytest.raises(CannotEdit, match=r"\] is in settings revision 4, for all nodes"):
            await bench.reloader.edit(edit, expected=None, actor=ME)


async def test_unusable_settings_revision_is_refused_once_with_the_position(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, "[limits]\nruns = -1\n")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.follow(actor="hub")
    (why,) = bench.hub.lags
    assert why.startswith("settings revision 4:2:8: error: limits.runs: ")
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, len(bench.hub.lags)) == (4, 1)
    assert bench.reloader.refused == (), "it is not hub.toml that is refused"

    bench.hub.newest = Shared(5, "[limits]\nruns = 5\n")
    await bench.reloader.follow(actor="hub")
    assert bench.reloader.current.limits.runs == 5


async def test_settings_revision_is_retried_after_the_database_was_unavailable(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    bench.hub.cannot_reconcile = DatabaseUnavailable("away")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.follow(actor="hub")
    bench.hub.cannot_reconcile = None
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, bench.hub.lags) == (9, [])


async def test_published_settings_are_applied_immediately_with_all_changes(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(6, None)
    done = await bench.reloader.publish(PUSHED, name="pushed.toml", actor=ME)
    assert done.changes.live == ("budget.run_usd", "limits.runs")
    (revision,) = bench.hub.revisions
    assert revision.shared == Shared(7, revision_text(PUSHED, 7).text)
    assert revision.is_published
    assert [(one.key, one.old, one.new) for one in revision.changes] == [
        ("limits.runs", "4", "9"),
        ("budget.run_usd", None, "2.0"),
    ]
    assert bench.hub.told == [(ME, "applied")]


async def test_invalid_settings_are_not_published(bench: SettingsBench) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.publish("[listen]\n\n[limits]\nruns = -1\n", name="pushed.toml", actor=ME)
    assert str(refused.value.problems[0]).startswith("pushed.toml:4:8: error: limits.runs: ")
    with pytest.raises(SettingsInvalid, match=r"pushed\.toml:1"):
        await bench.reloader.publish("[limits", name="pushed.toml", actor=ME)
    for text in ("# nothing\n", '[hub]\nname = "x"\n'):
        with pytest.raises(
            CodedError, check=coded(ErrorCode.BAD_PARAMS), match="no table that nodes share: model, "
        ):
            await bench.reloader.publish(text, name="pushed.toml", actor=ME)
    bench.hub.cannot_reconcile = Unfit(("limits", "runs"), "too few")
    with pytest.raises(SettingsInvalid, match=r"pushed\.toml:10:8"):
        await bench.reloader.publish(PUSHED, name="pushed.toml", actor=ME)
    assert (bench.reloader.shared, bench.reloader.current.limits.runs) == (None, 4)
    assert (bench.hub.lags, bench.reloader.refused) == ([], ())
