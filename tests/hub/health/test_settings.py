"""Checks of what hub.toml says, over real files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hub.health import settings
from hub.health.issues import Severity
from hub.health.settings import Certificate
from hub.settings.problems import Problem
from hub.settings.reading import Reading, check_settings
from hub.settings.settings import Settings
from tests.support.clock import START


@dataclass
class InUse:
    """The settings of a running hub."""

    reading: Reading
    refused: Sequence[Problem] = field(default_factory=tuple)
    on_last_good: bool = False
    waiting: Sequence[str] = field(default_factory=tuple)

    @property
    def current(self) -> Settings:
        return self.reading.usable()


def in_use(folder: Path, text: str) -> InUse:
    file = folder / "hub.toml"
    file.write_text(text)
    return InUse(check_settings(file))


async def test_a_refused_file_is_reported_with_its_first_problem(tmp_path: Path) -> None:
    used = in_use(tmp_path, "")
    assert list(await settings.check_reload(used)(START)) == []
    used.refused = check_settings(_written(tmp_path, "[hub]\nnam = 'x'\n")).problems
    (found,) = await settings.check_reload(used)(START)
    assert (found.id, found.severity) == ("settings.refused", Severity.ERROR)
    assert "broken.toml:2:1" in found.explanation


async def test_a_hub_that_was_started_with_what_was_good_last_says_so(tmp_path: Path) -> None:
    used = in_use(tmp_path, "")
    used.refused = check_settings(_written(tmp_path, "[hub\n")).problems
    used.on_last_good = True
    (found,) = await settings.check_reload(used)(START)
    assert found.id == "settings.last_good"
    assert "hub reload" in found.fix


def _written(folder: Path, text: str) -> Path:
    file = folder / "broken.toml"
    file.write_text(text)
    return file


async def test_a_listener_that_others_reach_without_tls_is_a_standing_issue(tmp_path: Path) -> None:
    used = in_use(
        tmp_path,
        '[listen.devices]\naddress = "0.0.0.0:8770"\ninsecure = true\n'
        '[listen.operator]\naddress = "127.0.0.1:8771"\ninsecure = true\n',
    )
    (found,) = await settings.check_listeners(used)(START)
    assert (found.id, found.subject) == ("listener.insecure", "devices")
    assert list(await settings.check_warnings(used)(START)) == []


async def test_what_the_check_of_a_file_warns_of_is_an_issue_of_the_running_hub(tmp_path: Path) -> None:
    used = in_use(tmp_path, '[storage]\nurl = "sqlite://"\n')
    (found,) = await settings.check_warnings(used)(START)
    assert (found.id, found.subject, found.severity) == ("settings.doubtful", "storage.url", Severity.WARNING)


async def test_what_waits_for_a_restart_is_a_notice(tmp_path: Path) -> None:
    used = in_use(tmp_path, "")
    assert list(await settings.check_waiting(used)(START)) == []
    used.waiting = ("listen.devices.address",)
    (found,) = await settings.check_waiting(used)(START)
    assert (found.id, found.severity) == ("settings.waiting", Severity.NOTICE)
    assert "listen.devices.address" in found.explanation


async def test_an_expiring_certificate_is_reported_from_three_weeks_before_its_end() -> None:
    ends = START + timedelta(days=21)
    look = settings.check_certificates(lambda: [Certificate("devices", ends)])
    assert list(await look(START - timedelta(seconds=1))) == []
    (soon,) = await look(START)
    assert (soon.id, soon.subject, soon.severity) == ("certificate.ends", "devices", Severity.WARNING)
    (over,) = await look(ends)
    assert (over.id, over.severity) == ("certificate.ends", Severity.ERROR)
    assert f"ended on {ends:%Y-%m-%d}" in over.explanation


async def test_a_new_certificate_that_cannot_be_used_is_reported() -> None:
    refused = Certificate("operator", START + timedelta(days=90), "the key does not fit")
    (found,) = await settings.check_certificates(lambda: [refused])(START)
    assert (found.id, found.severity) == ("certificate.refused", Severity.ERROR)
    assert "the key does not fit" in found.explanation
