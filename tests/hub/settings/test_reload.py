"""Settings of a running hub are taken up whole, or nothing has changed."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from hub.settings.edits import CannotEdit
from hub.settings.problems import Problem, SettingsInvalid
from hub.settings.reload import (
    CannotWriteSettings,
    Changes,
    Edit,
    Remark,
    Unfit,
)
from protocol.errors import CodedError, ErrorCode, HubError
from tests.support.coded import coded
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


async def test_changes_are_reported_by_the_time_of_their_effect(bench: SettingsBench) -> None:
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
    assert (bench.state / "last-good.toml").read_text() == bench.path.read_text()


async def test_changes_that_wait_for_a_restart_are_reported_until_the_restart(bench: SettingsBench) -> None:
    bench.path.write_text(TEXT.replace("home", "away"))
    await bench.reloader.reload(actor=ME)
    assert list(bench.reloader.waiting) == ["hub.name"]
    bench.path.write_text(TEXT.replace("home", "away").replace("4", "5"))
    done = await bench.reloader.reload(actor=ME)
    assert (done.changes.live, done.changes.restart) == (("limits.runs",), ("hub.name",))
    assert bench.hub.audited == [Changes(restart=("hub.name",)), Changes(live=("limits.runs",))]
    bench.path.write_text(TEXT)
    await bench.reloader.reload(actor=ME)
    assert list(bench.reloader.waiting) == []


async def test_a_change_with_immediate_effect_is_reported_once(bench: SettingsBench) -> None:
    for text, told in ((TEXT.replace("4", "5"), ("limits.runs",)), (TEXT.replace("4", "5") + "# x\n", ())):
        bench.path.write_text(text)
        assert (await bench.reloader.reload(actor=ME)).changes.live == told


async def test_a_reload_without_news_is_taken_up_again_under_the_same_generation(
    bench: SettingsBench,
) -> None:
    done = await bench.reloader.reload(actor=ME)
    assert (done.generation, done.changes) == (1, Changes())
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
async def test_a_file_that_is_broken_changes_nothing(bench: SettingsBench, broken: str, problem: str) -> None:
    before = stand(bench)
    bench.path.write_text(broken)
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.reload(actor=ME)
    assert str(refused.value).startswith(f"{bench.path}:{problem}")
    assert (stand(bench), bench.reloader.refused) == (before, tuple(refused.value.problems))
    assert bench.hub.told == [(ME, str(refused.value))]


@pytest.mark.parametrize("step", ["cannot_prepare", "cannot_reconcile"])
async def test_a_refusal_of_a_part_has_the_position_of_the_value(bench: SettingsBench, step: str) -> None:
    before = stand(bench)
    setattr(bench.hub, step, Unfit(("limits", "runs"), "too many for me", "take fewer"))
    bench.path.write_text(TEXT.replace("4", "5"))
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.reload(actor=ME)
    assert str(refused.value) == f"{bench.path}:6:8: error: limits.runs: too many for me - take fewer"
    assert stand(bench) == before


async def test_an_error_without_a_key_is_reported_for_the_file(bench: SettingsBench) -> None:
    class Busy(HubError):
        code = ErrorCode.DATABASE_BUSY

    before = stand(bench)
    bench.hub.cannot_reconcile = Busy("the database is locked")
    with pytest.raises(SettingsInvalid, match=r"hub.toml:1:1: error: the database is locked"):
        await bench.reloader.reload(actor=ME)
    assert stand(bench) == before


async def test_the_metrics_say_whether_the_last_reload_went_well(bench: SettingsBench) -> None:
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


async def test_a_second_reload_waits_for_the_first_or_is_refused(bench: SettingsBench) -> None:
    seen: list[str] = []
    bench.path.write_text(TEXT.replace("4", "5"))

    async def second() -> None:
        with pytest.raises(CodedError, check=coded(ErrorCode.OVERLOADED)):
            await bench.reloader.reload(actor=ME, wait=False)
        seen.append("refused")
        await bench.reloader.reload(actor=ME)
        seen.append("waited")

    async with anyio.create_task_group() as tasks:
        bench.hub.before_reconcile = lambda: seen.append("reconciled")
        tasks.start_soon(partial(bench.reloader.reload, actor=ME))
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(second)
    assert seen == ["refused", "reconciled", "reconciled", "waited"]


async def test_a_hub_that_is_starting_takes_nothing_up(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path)
    with pytest.raises(CodedError, check=coded(ErrorCode.OVERLOADED)):
        await bench.reloader.reload(actor=ME)


# --- edits ---


async def test_an_edit_keeps_comments_and_is_taken_up(bench: SettingsBench) -> None:
    done = await bench.reloader.edit(
        Edit(values={"limits.runs": 6, "log.level": "debug"}), expected=[bench.reloader.tag], actor=ME
    )
    assert done.changes.live == ("limits.runs", "log.level")
    assert bench.path.read_text() == TEXT.replace("runs = 4", "runs = 6") + '\n[log]\nlevel = "debug"\n'
    assert bench.reloader.current.limits.runs == 6


async def test_an_edit_of_settings_that_changed_meanwhile_is_refused_and_shown_what_changed(
    bench: SettingsBench,
) -> None:
    seen = bench.reloader.tag
    await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor=ME)
    before = bench.path.read_bytes()
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)) as stale:
        await bench.reloader.edit(Edit(values={"limits.runs": 7}), expected=[seen], actor=ME)
    assert "-runs = 4         # at once\n+runs = 6         # at once" in str(stale.value)
    assert bench.path.read_bytes() == before


async def test_an_edit_never_undoes_another_edit_of_the_file(bench: SettingsBench) -> None:
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
async def test_an_edit_that_cannot_be_taken_up_leaves_the_file_untouched(
    bench: SettingsBench, edit: Edit, error: type[HubError]
) -> None:
    before, at_before = stand(bench), bench.path.stat()
    with pytest.raises(error):
        await bench.reloader.edit(edit, expected=None, actor=ME)
    assert (stand(bench), bench.path.read_text()) == (before, TEXT)
    assert bench.path.stat().st_ino == at_before.st_ino
    assert bench.reloader.refused == ()  # the file itself is as good as it was


async def test_a_file_that_was_written_is_put_back_when_the_last_step_fails(bench: SettingsBench) -> None:
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


async def test_a_file_that_cannot_be_written_leaves_all_as_it_was(bench: SettingsBench) -> None:
    before = stand(bench)
    with (
        files_of_at_most(20),
        pytest.raises(CannotWriteSettings, match=r"cannot write .*hub.toml: File too large"),
    ):
        await bench.reloader.edit(Edit(values={"limits.runs": 6}), expected=None, actor=ME)
    assert (bench.path.read_text(), stand(bench)) == (TEXT, before)
    assert sorted(path.name for path in bench.path.parent.iterdir()) == ["hub.toml", "state"]


async def test_a_text_can_be_tried_without_taking_it_up(bench: SettingsBench) -> None:
    before = stand(bench)
    problems, found = await bench.reloader.check(Edit(text=TEXT.replace("4", "5")))
    assert (problems, found.live) == ([], ("limits.runs",))
    problems, found = await bench.reloader.check(Edit(text="[limits]\nruns = 0\n"))
    assert str(problems[0]) == f"{bench.path}:2:8: error: limits.runs: must be at least 1 - as in runs = 32"
    bench.hub.cannot_prepare = Unfit(("limits", "runs"), "too many for me")
    problems, found = await bench.reloader.check(Edit(text=TEXT.replace("4", "5")))
    assert str(problems[0]) == f"{bench.path}:6:8: error: limits.runs: too many for me"
    assert stand(bench) == before


async def test_a_changed_agent_is_reported_once_and_with_its_user_if_that_changed(
    bench: SettingsBench,
) -> None:
    bench.path.write_text(TEXT + AGENT)
    assert (await bench.reloader.reload(actor=ME)).changes == Changes(live=("agents.notes",))
    bench.path.write_text(TEXT + AGENT + 'user = "anna"\n')
    assert (await bench.reloader.reload(actor=ME)).changes == Changes(
        live=("agents.notes (of anna)",), archived=("agents.notes (of owner)",)
    )
    bench.path.write_text(TEXT)
    assert (await bench.reloader.check(Edit(text=TEXT)))[1] == Changes(archived=("agents.notes",))
    assert (await bench.reloader.reload(actor=ME)).changes == Changes(archived=("agents.notes",))


async def test_a_remark_of_a_part_is_a_warning_with_its_position(bench: SettingsBench) -> None:
    bench.hub.remarks = [Remark(("limits", "runs"), "that is few", "write more")]
    few = Problem(str(bench.path), 6, 8, "limits.runs", "that is few", "write more", "warning")
    assert (await bench.reloader.check(Edit(text=TEXT)))[0] == [few]
    assert (await bench.reloader.reload(actor=ME)).warnings == (few,)


async def test_renewed_files_are_reported_though_no_value_has_changed(bench: SettingsBench) -> None:
    bench.hub.renewed = ["listen.devices.tls"]
    assert (await bench.reloader.check(Edit(text=TEXT)))[1].live == ("listen.devices.tls",)
    assert (await bench.reloader.reload(actor=ME)).changes.live == ("listen.devices.tls",)


async def test_each_attempt_is_reported_whether_it_succeeded_or_not(bench: SettingsBench) -> None:
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


async def test_an_invalid_value_of_an_edit_is_reported_with_its_key(
    bench: SettingsBench,
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.edit(Edit(values={"limits.runs": "abc"}), expected=None, actor=ME)
    assert str(refused.value) == (
        "limits.runs: error: a whole number is expected; nothing was written"
        " - write a number without quotes, as in runs = 32"
    )


async def test_a_missing_file_is_reported_with_the_command_that_writes_one(bench: SettingsBench) -> None:
    bench.path.unlink()
    with pytest.raises(SettingsInvalid, match="'hub init' writes one"):
        await bench.reloader.edit(Edit(values={"limits.runs": 5}), expected=None, actor=ME)
