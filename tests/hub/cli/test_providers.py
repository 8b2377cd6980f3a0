"""Commands on providers and manifests, which need no hub."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hub.connectors.catalogue import BUILT_IN, shipped
from hub.connectors.manifest import kind_of_file
from tests.hub.cli.conftest import Hub
from tests.support.families import each

TOKEN = "tok-en-5c0e"


class Service(BaseHTTPRequestHandler):
    """A service as the manifest of ``hub connectors new`` has it."""

    def do_GET(self) -> None:
        is_right = self.headers["Authorization"] == f"Bearer {TOKEN}"
        items = [
            {
                "id": number,
                "title": f"Ticket {number}",
                "body": "Anna must answer.",
                "author": {"name": "Ana"},
                "updated_at": "2099-01-01T00:00:00Z",
                "labels": [{"name": "bug"}],
                "state": "open",
            }
            for number in range(8)
        ]
        body = json.dumps({"items": items, "next": None}).encode()
        self.send_response(200 if is_right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_providers_lists_each_provider_with_the_manifest(hub: Hub) -> None:
    rows = json.loads(hub("connectors", "providers", "--json").stdout)["providers"]
    assert {row["name"] for row in rows} == {*BUILT_IN, *shipped()} - {"manifest"}
    for row in rows:
        assert row["about"]
        assert row["manifest"] is None or Path(row["manifest"]).is_file()
    assert "github-issues" in hub("connectors", "providers").stdout


def test_new_writes_a_manifest_and_check_reads_with_the_manifest_from_the_service(
    hub: Hub, service: str, tmp_path: Path
) -> None:
    assert hub("connectors", "new", "tickets").exit_code == 0
    assert kind_of_file(tmp_path / "tickets.toml").provider == "tickets"
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    given = ("connectors", "check", "tickets.toml", "--set", f"base_url={service}")
    result = hub(*given, "--secret", "token.txt", "--most", "3")
    assert result.exit_code == 0
    assert [line.split()[:4] for line in result.stdout.splitlines()[1:]] == [
        ["2099-01-01", "00:00", "Ticket", str(number)] for number in range(3)
    ]
    assert TOKEN not in result.output
    result = hub("connectors", "new", "tickets")
    assert (result.exit_code, "it exists already" in result.output) == (73, True)
    (tmp_path / "token.txt").write_text("another")
    assert "does not take the sign-in" in hub(*given, "--secret", "token.txt").output


@each(
    ("arguments", "code", "message"),
    [
        (("new", "Bad Name"), 1, "Bad Name.toml: name: String should match pattern"),
        (("check", "nothing.toml"), 1, "nothing.toml: it cannot be read: No such file or directory"),
        (("check", "rss"), 2, "settings: url: Field required"),
        (("check", "rss", "--set", "url=nonsense"), 2, "not the address of a server: https://HOST"),
        (
            ("check", "rss", "--set", "url=https://x.example", "--secret", "no.txt"),
            2,
            "cannot read no.txt",
        ),
        (("check", "todoist"), 1, "the token or password is empty"),
    ],
)
def test_invalid_connectors_command_names_the_fault_and_remedy(
    hub: Hub, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = hub("connectors", *arguments)
    assert (result.exit_code, message in result.output) == (code, True), result.output
