"""What a command says of a URL at which no hub answers operators."""

from collections.abc import Callable
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from hub.tokens import TokenKind, make
from tests.hub.cli.conftest import Hub
from tests.support.clock import SeededChance
from tests.support.no_hub import listening

Asked = Callable[[str], tuple[int, str]]


@pytest.fixture
def asked(hub: Hub, tmp_path: Path) -> Asked:
    """``hub status`` of the hub at a URL: its exit code, and what it says."""
    file = tmp_path / "token"
    file.write_text(make(TokenKind.OPERATOR, SeededChance()))
    file.chmod(0o600)

    def ask(url: str) -> tuple[int, str]:
        result = hub("status", "--url", url, "--token-file", str(file))
        return result.exit_code, result.stderr

    return ask


def test_an_untrusted_certificate(asked: Asked, portal: BlockingPortal, tmp_path: Path) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path, tls=True)) as where:
        code, told = asked(f"https://{where}")
    assert (code, f"the certificate of {where} is not trusted" in told) == (69, True), told
    assert "SSL_CERT_FILE=" in told


def test_http_at_a_port_that_speaks_tls(asked: Asked, portal: BlockingPortal, tmp_path: Path) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path, tls=True)) as where:
        code, told = asked(f"http://{where}")
    assert (code, f"use https: --url https://{where}" in told) == (69, True), told


def test_https_at_a_port_that_speaks_no_tls(asked: Asked, portal: BlockingPortal, tmp_path: Path) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path)) as where:
        code, told = asked(f"https://{where}")
    assert (code, f"{where} does not use TLS" in told) == (69, True), told


def test_the_port_for_devices(asked: Asked, portal: BlockingPortal, tmp_path: Path) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path)) as where:
        code, told = asked(f"http://{where}")
    assert (code, "is this the hub's port for operators? see [listen.operator]" in told) == (1, True), told


def test_a_port_at_which_nothing_listens(asked: Asked) -> None:
    code, told = asked("http://127.0.0.1:1")
    assert (code, "no hub answers at http://127.0.0.1:1" in told) == (3, True), told
