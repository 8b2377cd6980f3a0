"""What breaks where nobody can catch it is told in the log, and not beside it."""

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.api.door.certificates import Certificates
from tests.support.certificates import write_certificate
from tests.support.log import Opened

HELLO_WITH_A_NAME = b"hub.example"


@pytest.fixture(autouse=True)
def _the_hook_before() -> Iterator[None]:
    before = sys.unraisablehook
    yield
    sys.unraisablehook = before


def said_hello(server: ssl.SSLContext, name: bytes) -> None:
    """A client's first bytes reach *server*, and name the host *name*."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    spelled = client.wrap_bio(to_client, to_server, server_hostname=HELLO_WITH_A_NAME.decode())
    with pytest.raises(ssl.SSLWantReadError):
        spelled.do_handshake()
    hello = to_server.read().replace(HELLO_WITH_A_NAME, name)
    to_server.write(hello)
    with pytest.raises(ssl.SSLError):
        server.wrap_bio(to_server, to_client, server_side=True).do_handshake()


def test_a_strangers_hello_with_a_name_that_is_no_text_is_an_event_and_ten_a_minute(
    fresh: Callable[..., Opened], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = fresh()
    opened.log.take_unraisable()
    server = Certificates(*write_certificate(tmp_path)).context
    for number in range(12):
        said_hello(server, b"\xff" * 10 + b"%x" % number)
    lines = [json.loads(line) for line in opened.lines()]
    assert [line["event"] for line in lines] == ["process.unraisable"] * 10
    assert lines[0]["level"] == "error"
    assert "\\xff" in lines[0]["what"]
    assert "UnicodeDecodeError" in lines[0]["traceback"]
    assert capfd.readouterr().err == ""


def test_a_closed_log_leaves_what_breaks_to_python(fresh: Callable[..., Opened]) -> None:
    opened = fresh()
    opened.log.take_unraisable()
    assert sys.unraisablehook is not sys.__unraisablehook__
    opened.log.close()
    assert sys.unraisablehook is sys.__unraisablehook__
