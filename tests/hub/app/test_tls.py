"""The listeners' certificates: what is broken at a reload leaves what is in use."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from hub.api.door.certificates import CertificateUnusable
from hub.app.tls import Tls
from hub.metrics import Metrics
from hub.settings.listen_settings import DeviceListener, Listen, TlsSettings
from hub.settings.reload import Unfit
from hub.settings.settings import Settings
from tests.support.certificates import Files, write_certificate

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
