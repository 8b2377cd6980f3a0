"""What 'hub check' says of connectors, and of agents that read one: each mistake where it stands."""

from pathlib import Path

import pytest

from hub.app.hub import config_of
from hub.connectors.imap_line import ImapSettings
from hub.settings.declared import declared_connectors
from hub.settings.reading import load_settings
from tests.support.settings import Check

MODEL = '[model]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\nname = "m"\n'
CONNECTOR = """\
[[connectors]]
name = "work"
provider = "imap"
secret = { file = "pw" }
settings = { host = "imap.example.org", username = "ana" }
"""
AGENT = """\
[[agents]]
name = "mail"
device = "desk"
connector = "work"
filter = { folders = ["INBOX"] }
data_types = ["tasks"]
prompt = "Find."
"""
WHOLE = MODEL + CONNECTOR + AGENT


@pytest.fixture(autouse=True)
def _password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    (tmp_path / "pw").chmod(0o600)


@pytest.mark.parametrize("written", ["tls/ca.pem", "/etc/hub/ca.pem"])
def test_a_file_in_the_settings_of_a_provider_begins_at_the_folder_of_the_settings(
    tmp_path: Path, written: str
) -> None:
    file = tmp_path / "hub.toml"
    without_secret = CONNECTOR.replace('secret = { file = "pw" }\n', "")
    file.write_text(without_secret.replace('"ana"', f'"ana", ca_file = "{written}"'))
    settings = load_settings(file, environ={})
    config = config_of(settings.connectors[0], settings)
    assert config is not None and isinstance(config.settings, ImapSettings)
    assert config.settings.ca_file == tmp_path / written


def test_a_mailbox_needs_no_password_in_the_file(check: Check) -> None:
    assert (check(WHOLE), check(WHOLE.replace('secret = { file = "pw" }\n', ""))) == ([], [])


@pytest.mark.parametrize(
    ("was", "wrong", "told"),
    [
        ('"imap"', '"imab"', "7:12: error: connectors.work.provider: there is no provider 'imab'"),
        ('"imap"', '"imab"', "did you mean 'imap'?"),
        ("username", "user_name", "connectors.work.settings.user_name"),
        ('host = "imap.example.org", ', "", "connectors.work.settings"),
        (
            CONNECTOR,
            CONNECTOR + '[[connectors]]\nname = "builds"\nprovider = "webhook"\n',
            "webhook requires a secret",
        ),
        ('{ file = "pw" }', '"hunter2"', "a secret must not be written in this file"),
        ('connector = "work"', 'connector = "wrok"', "there is no connector 'wrok' - did you mean 'work'?"),
        ('device = "desk"', 'device = "desk"\nuser = "eve"', "there is no connector 'work'"),
        ("folders", "folder", "agents.mail.filter.folder"),
        ('connector = "work"', 'connector = "work"\npaths = ["~/notes"]', "instead of files"),
        ('connector = "work"\n', 'paths = ["~/notes"]\n', "it reads no connector"),
        (
            'connector = "work"\nfilter = { folders = ["INBOX"] }\n',
            'schedule = { cron = "0 7 * * *" }\n',
            "schedule: its runs cannot start without paths (what it reads there) or connector",
        ),
        (MODEL, "", "there is no model that could read its messages"),
        (CONNECTOR, CONNECTOR * 2, "another connector has this name"),
    ],
)
def test_a_mistake_is_reported_with_its_position(check: Check, was: str, wrong: str, told: str) -> None:
    assert was in WHOLE
    problems = check(WHOLE.replace(was, wrong))
    assert any(told in problem for problem in problems), problems


def test_push_is_refused_for_a_provider_without_notifications(check: Check) -> None:
    gmail = CONNECTOR.replace('"imap"', '"gmail"').replace('secret = { file = "pw" }', 'client_id = "hub"')
    gmail = gmail.replace('{ host = "imap.example.org", username = "ana" }', "{}")
    agent = AGENT.replace('filter = { folders = ["INBOX"] }', "push = true")
    (problem,) = check(MODEL + gmail + agent)
    assert "agents.mail.push: gmail cannot notify of new messages" in problem


MANIFEST = """\
[[connectors]]
name = "tickets"
provider = "manifest"
settings = { manifest = "tickets.toml", base_url = "https://tickets.example" }
"""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "tickets.toml: it cannot be read: No such file or directory"),
        ('name = "tickets"', "tickets.toml: url: Field required"),
        ('name = "tickets"\nurl = "{base}/x"\n[settings.base]', "connectors.tickets.settings.base"),
        ('name = "tickets"\nurl = "{base_url}/x"\n[settings.base_url]', None),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_and_stops_no_hub(
    check: Check, tmp_path: Path, content: str | None, told: str | None
) -> None:
    if content is not None:
        (tmp_path / "tickets.toml").write_text(content)
    problems = check(MANIFEST)
    assert (problems == []) is (told is None)
    assert told is None or any(told in problem for problem in problems), problems
    if told is not None and told.startswith("tickets.toml"):
        settings = load_settings(tmp_path / "hub.toml", environ={})
        assert config_of(settings.connectors[0], settings) is None
        (row,) = declared_connectors(settings)
        assert told in (row.problem or "")
