"""The listeners' certificates: what is broken at a reload leaves what is in use."""

import shutil
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from hub.app.tls import Tls
from hub.base.certificates import CertificateUnusable
from hub.base.metrics import Metrics
from hub.base.toml.listeners import DeviceListener, Listen, TlsSettings
from hub.settings.reload import POLL_S, SettingsWatch, Unfit
from hub.settings.settings import ReloadSettings, Settings
from tests.support.certificates import Files, write_certificate
from tests.support.clock import FakeClock
from tests.support.services import running

LONG = timedelta(days=200)


def settings_of(files: Files) -> Settings:
    tls = TlsSettings(certificate=files.certificate, key=files.key)
    return Settings(listen=Listen(devices=DeviceListener(tls=tls)))


def test_listeners_without_tls_settings_have_no_tls_context() -> None:
    tls = Tls(Listen(), Metrics())
    assert (tls.context("devices"), tls.context("operator")) == (None, None)
    tls.prepare(Settings())()
    assert list(tls.in_use()) == []


def test_missing_certificate_file_prevents_the_hub_start(tmp_path: Path) -> None:
    files = Files(tmp_path / "none.crt", tmp_path / "none.key")
    with pytest.raises(CertificateUnusable, match=r"none\.crt"):
        Tls(settings_of(files).listen, Metrics())


def test_reload_uses_a_replaced_certificate_and_updates_the_expiry_metric(tmp_path: Path) -> None:
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


def test_mismatched_tls_key_is_refused_and_the_current_certificate_remains(tmp_path: Path) -> None:
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


def test_renewed_certificate_is_used_when_unchanged_twice_and_valid(tmp_path: Path) -> None:
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


async def test_settings_watch_renews_certificates_only_if_enabled() -> None:
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
