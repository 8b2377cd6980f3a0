"""The listeners' certificates: what is broken at a reload leaves what is in use."""

import shutil
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from hub.app.listeners import Tls
from hub.certificates import CertificateUnusable
from hub.metrics import Metrics
from hub.settings.limit_settings import DeviceListener, Listen, TlsSettings
from hub.settings.reload import POLL_S, SettingsWatch, Unfit
from hub.settings.settings import ReloadSettings, Settings
from tests.support.certificates import Files, write_certificate
from tests.support.clock import FakeClock
from tests.support.services import running

LONG = timedelta(days=200)


def settings_of(files: Files) -> Settings:
    tls = TlsSettings(certificate=files.certificate, key=files.key)
    return Settings(listen=Listen(devices=DeviceListener(tls=tls)))


def test_without_tls_in_the_settings_there_is_none() -> None:
    tls = Tls(Listen(), Metrics())
    assert (tls.context("devices"), tls.context("operator")) == (None, None)
    tls.prepare(Settings())()
    assert list(tls.in_use()) == []


def test_a_certificate_that_is_none_keeps_the_hub_from_starting(tmp_path: Path) -> None:
    files = Files(tmp_path / "none.crt", tmp_path / "none.key")
    with pytest.raises(CertificateUnusable, match=r"none\.crt"):
        Tls(settings_of(files).listen, Metrics())


def test_new_files_in_their_places_are_taken_up_by_a_reload(tmp_path: Path) -> None:
    files, newer = write_certificate(tmp_path), write_certificate(tmp_path, "newer", lasts=LONG)
    metrics = Metrics()
    tls = Tls(settings_of(files).listen, metrics)
    context = tls.context("devices")
    (before,) = tls.in_use()
    shutil.copy(newer.certificate, files.certificate)
    shutil.copy(newer.key, files.key)

    commit = tls.prepare(settings_of(files))
    assert tls.renewed(settings_of(files)) == ["listen.devices.tls"]
    assert [one.ends_at for one in tls.in_use()] == [before.ends_at]  # only looked at so far
    commit()

    (after,) = tls.in_use()
    assert tls.renewed(settings_of(files)) == []
    assert after.ends_at > before.ends_at
    assert after.refused == ""
    assert tls.context("devices") is context
    told = metrics.registry.get_sample_value(
        "hub_certificate_expiry_timestamp_seconds", {"listener": "devices"}
    )
    assert told == after.ends_at.timestamp()


def test_a_key_that_does_not_fit_leaves_the_pair_that_is_in_use_and_says_so(tmp_path: Path) -> None:
    files, other = write_certificate(tmp_path), write_certificate(tmp_path, "other")
    tls = Tls(settings_of(files).listen, Metrics())
    (before,) = tls.in_use()
    shutil.copy(other.key, files.key)
    with pytest.raises(Unfit) as unfit:
        tls.prepare(settings_of(files))
    assert unfit.value.path == ("listen", "devices", "tls")
    (after,) = tls.in_use()
    assert after.ends_at == before.ends_at
    assert "is not that of" in after.refused


def test_renewed_files_are_used_once_they_rest_and_broken_ones_leave_the_pair_in_use(tmp_path: Path) -> None:
    files, newer = write_certificate(tmp_path), write_certificate(tmp_path, "newer", lasts=LONG)
    tls = Tls(settings_of(files).listen, Metrics())
    (before,) = tls.in_use()
    for copied, is_used in (
        ((), False),
        ((newer.key, files.key), False),  # the certificate is not there yet
        ((newer.certificate, files.certificate), True),
    ):
        if copied:
            shutil.copy(*copied)
        tls.renew()
        (now,) = tls.in_use()
        assert now.ends_at == before.ends_at  # the files may still be written
        tls.renew()
        (now,) = tls.in_use()
        assert (now.ends_at > before.ends_at) == is_used
        assert bool(now.refused) == (copied != () and not is_used)
    files.certificate.unlink()
    for _ in range(3):
        tls.renew()
    (now,) = tls.in_use()
    assert now.ends_at > before.ends_at
    assert now.refused


async def test_the_watch_of_the_settings_renews_certificates_unless_it_is_off() -> None:
    class Reloads:
        current = Settings()

        async def begin(self) -> None: ...

        async def follow(self, *, actor: str) -> None: ...

        def is_news(self) -> bool:
            return False

    clock, called = FakeClock(), 0
    watch = SettingsWatch(reloads := Reloads(), clock)  # type: ignore[arg-type]

    def renew() -> None:
        nonlocal called
        called += 1

    watch.renew_certificates = renew
    async with running(watch):
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            clock.advance(POLL_S)
        await anyio.wait_all_tasks_blocked()
        seen = called
        reloads.current = Settings(reload=ReloadSettings(watch=False))
        clock.advance(POLL_S)
        await anyio.wait_all_tasks_blocked()
    assert (seen, called) == (3, 3)
