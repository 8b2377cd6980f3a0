"""What a command says of a URL at which no hub answers operators."""

from collections.abc import Callable
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from click.testing import Result

from hub.tokens import TokenKind, make
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import SeededChance
from tests.support.no_hub import listening

Asked = Callable[[str], Result]


@pytest.fixture
def asked(hub: Hub, tmp_path: Path) -> Asked:
    """``hub status`` of the hub at a URL."""
    file = tmp_path / "token"
    file.write_text(make(TokenKind.OPERATOR, SeededChance()))
    file.chmod(0o600)
    return lambda url: hub("status", "--url", url, "--token-file", str(file))


@pytest.mark.parametrize(
    ("scheme", "has_tls", "code", "said"),
    [
        ("https", True, 69, ("the certificate of {} is not trusted", "SSL_CERT_FILE=")),
        ("http", True, 69, ("use https: --url https://{}",)),
        ("https", False, 69, ("{} does not use TLS",)),
        ("http", False, 1, ("is this the hub's port for operators? see [listen.operator]",)),
    ],
    ids=["certificate", "http at TLS", "https without TLS", "devices"],
)
def test_a_port_that_answers_no_operator_is_named_with_its_mend(
    asked: Asked,
    portal: BlockingPortal,
    tmp_path: Path,
    scheme: str,
    has_tls: bool,
    code: int,
    said: tuple[str, ...],
) -> None:
    with portal.wrap_async_context_manager(listening(tmp_path, tls=has_tls)) as where:
        ends(asked(f"{scheme}://{where}"), code, *(text.format(where) for text in said))


def test_a_port_at_which_nothing_listens(asked: Asked) -> None:
    ends(asked("http://127.0.0.1:1"), 3, "no hub answers at http://127.0.0.1:1")
