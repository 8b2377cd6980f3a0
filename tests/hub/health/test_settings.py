"""Checks of what hub.toml says, over real files."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hub.health import doors
from hub.health.doors import Certificate
from hub.health.issues import Severity
from hub.settings.problems import SettingsInvalid
from hub.settings.reload import Reloader
from tests.support.clock import START
from tests.support.settings import SettingsBench

GOOD = "# all defaults\n"


async def _refuse(bench: SettingsBench, text: str) -> None:
    await bench.reloader.begin()
    bench.path.write_text(text)
    with pytest.raises(SettingsInvalid):
        await bench.reloader.reload(actor="test")


async def test_a_refused_file_is_reported_with_its_first_problem(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    assert list(doors.check_reload(bench.reloader, START)) == []
    await _refuse(bench, "[hub]\nnam = 'x'\n")
    (found,) = doors.check_reload(bench.reloader, START)
    assert (found.id, found.severity) == ("settings.refused", Severity.ERROR)
    assert "hub.toml:2:1" in found.explanation


async def test_a_start_with_the_last_good_settings_is_reported(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    await _refuse(bench, "[hub\n")
    restarted = Reloader(bench.opened(), state=bench.state, clock=bench.clock)
    (found,) = doors.check_reload(restarted, START)
    assert found.id == "settings.last_good"
    assert "hub reload" in found.fix


async def test_a_listener_that_others_reach_without_tls_is_an_issue(tmp_path: Path) -> None:
    bench = SettingsBench(
        tmp_path,
        '[listen.devices]\naddress = "0.0.0.0:8770"\ninsecure = true\n'
        '[listen.operator]\naddress = "127.0.0.1:8771"\ninsecure = true\n',
    )
    (found,) = await doors.check_listeners(bench.reloader, START)
    assert (found.id, found.subject) == ("listener.insecure", "devices")
    assert list(await doors.check_warnings(bench.reloader, START)) == []


async def test_warnings_about_the_file_are_issues_of_the_running_hub(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, '[storage]\nurl = "sqlite://"\n')
    (found,) = await doors.check_warnings(bench.reloader, START)
    assert (found.id, found.subject, found.severity) == ("settings.doubtful", "storage.url", Severity.WARNING)


async def test_what_a_warning_of_the_file_asks_for_is_said_once(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, "[limits]\nhandshake_timeout_s = 5\n")
    (found,) = await doors.check_warnings(bench.reloader, START)
    assert found.fix == "remove the line"
    assert found.fix not in found.explanation


async def test_a_change_that_waits_for_a_restart_is_a_notice(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    assert list(await doors.check_waiting(bench.reloader, START)) == []
    await bench.reloader.begin()
    bench.path.write_text('[listen.devices]\naddress = "127.0.0.1:9999"\n')
    await bench.reloader.reload(actor="test")
    (found,) = await doors.check_waiting(bench.reloader, START)
    assert (found.id, found.severity) == ("settings.waiting", Severity.NOTICE)
    assert "listen.devices.address" in found.explanation


async def test_an_expiring_certificate_is_reported_from_three_weeks_before_its_end() -> None:
    ends = START + timedelta(days=21)
    look = partial(doors.check_certificates, lambda: [Certificate("devices", ends)])
    assert list(await look(START - timedelta(seconds=1))) == []
    (soon,) = await look(START)
    assert (soon.id, soon.subject, soon.severity) == ("certificate.ends", "devices", Severity.WARNING)
    (over,) = await look(ends)
    assert (over.id, over.severity) == ("certificate.ends", Severity.ERROR)
    assert f"ended on {ends:%Y-%m-%d}" in over.explanation


async def test_a_new_certificate_that_cannot_be_used_is_reported() -> None:
    refused = Certificate("operator", START + timedelta(days=90), "the key does not fit")
    (found,) = await doors.check_certificates(lambda: [refused], START)
    assert (found.id, found.severity) == ("certificate.refused", Severity.ERROR)
    assert "the key does not fit" in found.explanation
