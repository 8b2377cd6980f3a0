"""Signing in with an access token, at a real server that asks a token server of ours whether it is good."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from hub.connectors.calling import SignInNeeded
from hub.connectors.imap import Imap
from hub.connectors.imap_settings import ImapSettings
from tests.hub.connectors.imap_rig import imap, mail, pages, subjects
from tests.support.dovecot import Dovecot, running_dovecot, why_no_dovecot

_OAUTH = {"authorize_url": "https://id.example.org/a", "token_url": "https://id.example.org/t"}


class TokenServer(ThreadingHTTPServer):
    """Answers what a resource server asks of a token (RFC 7662): *good* ones are somebody's."""

    good: dict[str, str] = {}  # noqa: RUF012 - one server for all tests

    class RequestHandlerClass(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            user = TokenServer.good.get(asked["token"][0])
            body = json.dumps({"active": user is not None, "sub": user or ""}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not to the terminal."""


class Held:
    """Tokens, given out one after the other: the next one when the last was refused."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.refused: list[str] = []

    async def token(self, rejected: str | None = None) -> str:
        if rejected is not None:
            self.refused.append(rejected)
            self._tokens.remove(rejected)
        if not self._tokens:
            raise SignInNeeded("no more of them")
        return self._tokens[0]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    """A server that takes tokens."""
    if (reason := why_no_dovecot()) is not None:
        pytest.skip(reason)
    with TokenServer(("127.0.0.1", 0), TokenServer.RequestHandlerClass) as tokens:
        thread = threading.Thread(target=tokens.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://rs:rs-secret@127.0.0.1:{tokens.server_address[1]}/introspection"
            with running_dovecot(introspection_url=url) as server:
                yield server
        finally:
            tokens.shutdown()
            thread.join()


def _connector(server: Dovecot, user: str, held: Held | None) -> Imap:
    told = {"host": server.host, "port": server.port, "tls": "none", "username": user}
    settings = ImapSettings.model_validate({**told, "auth": "xoauth2", "oauth": _OAUTH})
    return imap(settings, tokens=held)


async def test_imap_sign_in_with_a_valid_oauth_token_succeeds(server: Dovecot) -> None:
    user = server.fresh_user()
    TokenServer.good["good-1"] = user
    server.deliver(user, [mail(1)])
    held = Held("good-1")
    assert subjects(await pages(_connector(server, user, held))) == ["Task 1"]
    assert held.refused == []


async def test_refused_imap_token_is_renewed_once(server: Dovecot) -> None:
    user = server.fresh_user()
    TokenServer.good["good-2"] = user
    held = Held("expired-2", "good-2")
    connector = _connector(server, user, held)
    assert (await connector.check()).name == user
    assert held.refused == ["expired-2"]
    await connector.aclose()


async def test_second_refused_imap_token_requires_a_sign_in(server: Dovecot) -> None:
    user = server.fresh_user()
    held = Held("bad-1", "bad-2", "bad-3")
    with pytest.raises(SignInNeeded) as caught:
        await _connector(server, user, held).check()
    assert held.refused == ["bad-1"]
    assert "bad-" not in str(caught.value)


async def test_imap_check_without_a_sign_in_names_the_login_command(server: Dovecot) -> None:
    with pytest.raises(SignInNeeded, match="hub connectors login work"):
        await _connector(server, server.fresh_user(), None).check()
