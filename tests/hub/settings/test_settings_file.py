"""A hub starts on what was good last when its file is broken, and a file is written whole or not at all."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hub.atomic_file import write_atomically
from hub.settings.problems import SettingsInvalid
from hub.settings.reading import LAST_GOOD, OpenedSettings, keep_last_good, open_settings
from tests.support.settings import TEXT, SettingsBench, files_of_at_most

BROKEN = "[limits]\nruns = 0\n"


@pytest.fixture
def bench(tmp_path: Path) -> SettingsBench:
    return SettingsBench(tmp_path)


def in_environment(bench: SettingsBench, **environ: str) -> OpenedSettings:
    """What a start with these variables would use now."""
    return open_settings(replace(bench.file, environ=environ), bench.state)


def test_a_good_file_is_used_whatever_was_good_before(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT.replace("4", "5"))
    opened = bench.opened()
    assert (opened.settings.limits.runs, opened.refused) == (4, ())


async def test_a_broken_file_starts_the_hub_on_what_was_good_last_and_says_why(bench: SettingsBench) -> None:
    await bench.reloader.begin()
    bench.path.write_text(BROKEN)
    opened = bench.opened()
    assert opened.settings.limits.runs == 4
    assert [str(problem) for problem in opened.refused] == [
        f"{bench.path}:2:8: error: limits.runs: must be at least 1 - as in runs = 32"
    ]
    with pytest.raises(SettingsInvalid):
        bench.opened(strict=True)


async def test_what_was_good_last_is_kept_while_the_hub_runs_on_it_and_left_by_a_good_file(
    tmp_path: Path,
) -> None:
    first = SettingsBench(tmp_path)
    await first.reloader.begin()
    kept = (first.state / LAST_GOOD).read_bytes()
    first.path.write_text(BROKEN)
    bench = SettingsBench(tmp_path, BROKEN)
    assert bench.reloader.on_last_good
    await bench.reloader.begin()
    assert (bench.state / LAST_GOOD).read_bytes() == kept
    assert bench.metrics.registry.get_sample_value("hub_config_last_reload_successful") == 0
    bench.path.write_text(TEXT.replace("4", "5"))
    await bench.reloader.reload(actor="operator:7")
    assert (bench.reloader.on_last_good, bench.reloader.refused) == (False, ())
    assert bench.reloader.current.limits.runs == 5
    assert "5" in (bench.state / LAST_GOOD).read_text()


@pytest.mark.parametrize("kept", [None, BROKEN, "\udcff"])
def test_without_anything_good_the_hub_does_not_start(bench: SettingsBench, kept: str | None) -> None:
    bench.path.write_text(BROKEN)
    if kept is not None:
        (bench.state / LAST_GOOD).write_bytes(kept.encode(errors="surrogateescape"))
    with pytest.raises(SettingsInvalid, match=f"{bench.path}:2:8"):
        bench.opened()


MOVED = '[storage]\nurl = "postgresql://hub@db/hub"\n'
TYPO = "[limits]\nruns = 4 4\n"  # no TOML


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MOVED + BROKEN, id="a typo elsewhere"),
        pytest.param(TYPO + MOVED, id="no TOML, before the address"),
        pytest.param(MOVED.replace("]", ""), id="in the head"),
        pytest.param(MOVED.replace("storage", "stroage"), id="the head is misspelt"),
        pytest.param(MOVED.replace("storage", "database"), id="the head is another word"),
        pytest.param('[database]\nurl = { env = "HUB_DB" }\n', id="no address is to be seen"),
        pytest.param(MOVED.replace('hub"', "hub'"), id="in the address"),
        pytest.param('storage.url = "postgresql://hub@db/hub"\n' + TYPO, id="a dotted key"),
        pytest.param("", id="empty"),
    ],
)
@pytest.mark.parametrize("before", [TEXT, f'{TEXT}[storage]\nurl = "sqlite:///hub.db"\n'])
def test_a_broken_file_of_another_database_never_starts_the_hub_on_the_one_before(
    bench: SettingsBench, before: str, text: str
) -> None:
    keep_last_good(bench.state, before)
    bench.path.write_text(text)
    with pytest.raises(SettingsInvalid, match=r"does not start with the last good settings.* \[storage\]"):
        bench.opened()


@pytest.mark.parametrize("storage", [TEXT, MOVED, '[storage]\nurl = { env = "HUB_DB" }  # the server\n'])
@pytest.mark.parametrize(
    "broken", [BROKEN, TYPO, "[limts]\nruns = 4\n", "[[gatway]]\nname = 1\n", "[limits]\n\udcff\n"]
)
def test_a_broken_file_of_the_same_database_starts_the_hub_wherever_the_typo_is(
    bench: SettingsBench, storage: str, broken: str
) -> None:
    keep_last_good(bench.state, storage)
    text = broken + storage.replace("  # the server", "\t# the new server")
    bench.path.write_bytes(text.encode(errors="surrogateescape"))
    assert in_environment(bench, HUB_DB="postgresql://hub@db/hub").refused


def test_an_override_names_the_database_whatever_the_broken_file_says(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT)
    bench.path.write_text(MOVED + BROKEN)
    assert in_environment(bench, HUB__STORAGE__URL="sqlite://").settings.storage.resolved() == "sqlite://"


def test_a_hub_without_any_file_does_not_start_on_an_old_one(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT)
    bench.path.unlink()
    with pytest.raises(SettingsInvalid, match="'hub init' writes one"):
        bench.opened()


def test_a_relative_secret_of_what_was_good_last_lies_beside_the_file_all_the_same(
    bench: SettingsBench,
) -> None:
    (bench.path.parent / "url").write_text("sqlite://")
    storage = '[storage]\nurl = { file = "url" }\n'
    keep_last_good(bench.state, storage)
    bench.path.write_text(BROKEN + storage)
    assert bench.opened().settings.storage.resolved() == "sqlite://"


def test_what_was_good_last_is_for_this_user_alone(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT)
    assert stat.S_IMODE((bench.state / LAST_GOOD).stat().st_mode) == 0o600


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(TEXT)
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        write_atomically(file, b"x" * 100, mode=0o644)
    assert (file.read_text(), list(tmp_path.iterdir())) == (TEXT, [file])


def test_a_file_is_replaced_behind_its_link_and_keeps_its_mode(bench: SettingsBench, tmp_path: Path) -> None:
    bench.path.chmod(0o640)
    real = bench.path.rename(tmp_path / "real.toml")
    bench.path.symlink_to(real)
    bench.file.write("# new\n")
    assert bench.path.is_symlink()
    assert real.read_text() == "# new\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
