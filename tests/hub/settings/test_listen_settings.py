"""``[listen]`` and the limits of the device port in hub.toml: what may stand there."""

from pathlib import Path

import pytest

from hub.settings.reading import check_text
from hub.settings.settings import Settings
from tests.support.certificates import write_certificate


def problems(text: str, folder: Path) -> list[str]:
    """What is wrong with *text*, without the file's name."""
    found = check_text(text, folder / "hub.toml", environ={}).problems
    return [str(problem).removeprefix(str(folder / "hub.toml")) for problem in found]


def test_an_address_that_others_reach_needs_tls_or_a_proxy_or_a_word(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    open_to_all = '[listen.devices]\naddress = "0.0.0.0:8770"\n'
    (told,) = problems(open_to_all, tmp_path)
    assert "other machines could reach this address without TLS" in told
    assert problems(open_to_all + 'tls = { certificate = "hub.crt", key = "hub.key" }', tmp_path) == []
    assert problems(open_to_all + 'trusted_proxies = ["10.0.0.5"]', tmp_path) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('trusted_proxies = ["10.0.0.0/33"]', "not an address or a network of addresses"),
        ('trusted_proxies = ["proxy.example"]', "not an address or a network of addresses"),
        ('hosts = ["hub.example:8770"]', "a host name has no port and no scheme"),
        ('hosts = ["https://hub.example"]', "a host name has no port and no scheme"),
        ('tls = { certificate = "hub.crt" }', "missing"),
    ],
)
def test_an_unintended_value_is_refused_with_its_position(line: str, told: str, tmp_path: Path) -> None:
    (found,) = problems(f"[listen.devices]\n{line}", tmp_path)
    assert found.startswith(":2:")
    assert told in found


def test_a_certificate_lies_beside_the_settings_file(tmp_path: Path) -> None:
    text = '[listen.operator]\ntls = { certificate = "a/hub.crt", key = "/etc/hub.key" }'
    settings = Settings.model_validate(
        {"listen": {"operator": {"tls": {"certificate": "a/hub.crt", "key": "/etc/hub.key"}}}},
        context={"base": tmp_path},
    )
    tls = settings.listen.operator.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "a/hub.crt", Path("/etc/hub.key"))
    assert any("cannot read" in problem for problem in problems(text, tmp_path))
