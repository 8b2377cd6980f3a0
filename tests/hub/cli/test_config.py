"""Settings on the command line: checked, shown, changed, taken up."""

import json
from pathlib import Path

import jsonschema
import pytest
from anyio.from_thread import BlockingPortal

from hub.cli.config import WHEN
from hub.settings.editor_schema import settings_schema
from storage.connectors.connectors import origins_of_credentials
from tests.hub.cli.conftest import Hub, ends
from tests.support.certificates import write_certificate
from tests.support.dashboard import MAILBOX
from tests.support.families import each
from tests.support.hub import TEXT, ServedHub, over_unix


def test_config_show_lists_every_setting_with_the_origin(hub: Hub, served: ServedHub, state: Path) -> None:
    shown = hub("config", "show").stdout
    assert 'hub.name = "home"\n' in shown and "limits.runs = 4\n" in shown
    assert "limits.connector_runs = 8\n" in shown
    lines = hub("config", "show", "--origin").stdout.splitlines()
    told = {line.split()[0]: line.split()[-1] for line in lines}
    assert (told["limits.runs"], told["limits.connector_runs"]) == (f"{state}/hub.toml:6", "default")


def test_config_get_prints_a_single_setting_or_a_whole_table(hub: Hub, served: ServedHub) -> None:
    assert hub("config", "get", "limits.runs").stdout == "4\n"
    assert "watch = true" in hub("config", "get", "reload").stdout
    told = json.loads(hub("config", "get", "hub.name", "--json").stdout)
    assert (told["schema"], told["value"]) == ("hub.config.get/1", "home")
    assert told["origin"].endswith("hub.toml:3")
    unset = hub("config", "get", "model.api_key")
    assert (unset.exit_code, unset.stderr) == (0, "model.api_key is not set\n")
    assert json.loads(hub("config", "get", "model.api_key", "--json").stdout)["value"] is None
    ends(hub("config", "get", "hub.nmae"), 1, "there is no setting hub.nmae")


def test_config_set_writes_settings_into_the_file_and_applies_changes(hub: Hub, served: ServedHub) -> None:
    result = hub("config", "set", "limits.runs=40", "hub.name=7")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["limits.runs: applies at once", f"hub.name: {WHEN['restart']}"]
    assert "generation 2" in result.stderr
    text = served.settings.read_text()
    assert 'name = "7"    # where I live' in text
    assert "runs = 40         # at once" in text
    assert "needs a restart" in hub("config", "show").stderr
    assert hub("config", "set", "limits.runs=").exit_code == 0
    assert hub("config", "get", "limits.runs").stdout == "32\n"


@each(
    ("word", "exit_code", "told"),
    [
        ("limits.runs", 2, "expected KEY=VALUE"),
        ("limits.runs=0", 78, "limits.runs: error: must be at least 1; nothing was written"),
        ("limits.rusn=5", 78, "limits.rusn: error: unknown key; nothing was written"),
        ("agents.mail.prompt=x", 2, "no agent of hub.toml is named mail"),
    ],
)
def test_config_set_refuses_an_invalid_setting_and_writes_nothing(
    hub: Hub, served: ServedHub, word: str, exit_code: int, told: str
) -> None:
    ends(hub("config", "set", word), exit_code, told)
    assert served.settings.read_text() == TEXT


def test_the_file_is_edited_with_the_persons_editor(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/4/8/")
    result = hub("config", "edit")
    assert (result.exit_code, result.stdout) == (0, "limits.runs: applies at once\n")
    assert result.stderr == "applied; generation 2\n"
    assert hub("reload").stderr.startswith("no changes: the hub uses these settings; generation ")
    assert served.settings.read_text() == TEXT.replace("4", "8")
    monkeypatch.setenv("VISUAL", "true")
    assert "no changes" in hub("config", "edit").stderr


def test_config_edit_offers_to_edit_a_broken_file_again(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/4/4.5/")
    ends(
        hub("config", "edit", input="n\n"), 78, "hub.toml:6:8: error: limits.runs: a whole number is expected"
    )
    assert served.settings.read_text() == TEXT
    monkeypatch.setenv("VISUAL", "sed -i -e s/4.5/7/ -e t -e s/4/4.5/")
    assert hub("config", "edit", input="y\n").exit_code == 0
    assert served.settings.read_text() == TEXT.replace("4", "7")


async def sign_in(served: ServedHub) -> None:
    async with over_unix(served) as operator:
        done = await operator.put("/v1/connectors/post/password", json={"password": "secret"})
    assert done.status_code == 200, done.text


def test_check_command_accepts_the_file_as_option_or_argument(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(TEXT)
    for words in (("--config", str(file)), (str(file),)):
        assert f"{file}: no problems" in hub("check", *words).stderr
    assert hub("check", str(file), "--config", str(file)).exit_code == 2


def test_config_change_of_a_mailbox_server_asks_before_deleting_the_password(
    hub: Hub, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT + MAILBOX
    served.settings.write_text(text)
    assert hub("reload").exit_code == 0
    moving = ("config", "set", "connectors.post.settings.host=imap.example.com")
    deleted = "the stored password or sign-in of post is deleted with this change"
    assert deleted not in hub(*moving, "--check").stdout, "there is none"
    portal.call(sign_in, served)
    assert deleted in hub(*moving, "--check").stdout
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    ends(hub(*moving, input="n\n"), 1, deleted)
    monkeypatch.setenv("VISUAL", "sed -i s/example.org/example.net/")
    assert deleted in hub("config", "edit", input="n\n").stderr
    assert served.settings.read_text() == text
    assert portal.call(served.store.read, origins_of_credentials) != {}
    done = hub(*moving, input="y\n")
    assert (done.exit_code, done.stderr.count(deleted)) == (0, 2), "before, and in the answer"
    assert portal.call(served.store.read, origins_of_credentials) == {}


def test_config_edit_with_a_failing_or_missing_editor_changes_nothing(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for editor, exit_code in (("false", 1), ("/no/such/editor", 69)):
        monkeypatch.setenv("VISUAL", editor)
        assert hub("config", "edit").exit_code == exit_code
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    ends(hub("config", "edit"), 2, "hub config set KEY=VALUE")
    assert served.settings.read_text() == TEXT


def test_a_reload_lists_when_each_change_applies_and_fails_with_the_line(hub: Hub, served: ServedHub) -> None:
    served.settings.write_text(TEXT.replace("4", "5"))
    result = hub("reload")
    assert (result.exit_code, result.stdout) == (0, "limits.runs: applies at once\n")
    served.settings.write_text(TEXT.replace("4", "x"))
    ends(hub("reload", "--wait"), 78, f"{served.settings}:6:8: error: Invalid value")
    shown = hub("config", "show")
    assert "has errors now" in shown.stderr
    assert "limits.runs = 5" in shown.stdout


def test_a_file_is_checked_against_the_running_hub(hub: Hub, served: ServedHub, tmp_path: Path) -> None:
    file = tmp_path / "next.toml"
    file.write_text(TEXT.replace("4", "5").replace("home", "x"))
    result = hub("check", str(file), "--against-running")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["limits.runs: applies at once", f"hub.name: {WHEN['restart']}"]
    told = json.loads(hub("check", str(file), "--against-running", "--json").stdout)
    assert (told["ok"], told["live"], told["restart"]) == (True, ["limits.runs"], ["hub.name"])
    file.write_text(
        "[model]\nkind = 'openai'\nbase_url = 'https://h'\nname = 'm'\napi_key = { env = 'NONE_SUCH' }"
    )
    result = hub("check", str(file), "--against-running")  # the hub is who needs the secret
    assert result.exit_code == 78
    assert (
        f"{file}:5:11: error: model.api_key: the environment variable NONE_SUCH is not set" in result.stdout
    )
    assert "no changes: the hub uses these settings" not in result.stderr  # for it cannot


def test_check_of_a_file_in_another_folder_uses_files_beside_the_file(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    write_certificate(tmp_path)
    file = tmp_path / "next.toml"
    tls = 'tls = { certificate = "hub.crt", key = "hub.key" }'
    anywhere = 'address = "127.0.0.1:0"'
    file.write_text(f"[listen.devices]\n{anywhere}\n{tls}\n[listen.operator]\n{anywhere}\n")
    ends(hub("check", str(file), "--against-running"), 0, stdout=("listen.devices.tls: needs a restart",))


def test_check_against_running_without_a_hub_exits_with_3(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(TEXT)
    assert (hub("check", str(file), "--against-running").exit_code, hub("reload").exit_code) == (3, 3)


def test_the_schema_is_printed_or_written(hub: Hub, tmp_path: Path) -> None:
    assert json.loads(hub("schema").stdout) == settings_schema()
    assert hub("schema", "-o", str(tmp_path / "s.json")).exit_code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads((tmp_path / "s.json").read_text()))
    assert hub("schema", "-o", str(tmp_path / "none" / "s.json")).exit_code == 73


def test_config_push_publishes_lists_shows_and_withdraws_shared_settings(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    file = tmp_path / "shared.toml"
    file.write_text("[limits]\nruns = 9\n")
    pushed = hub("config", "push", str(file))
    assert (pushed.exit_code, pushed.stdout) == (0, "limits.runs: applies at once\n")
    assert "published as revision 1" in pushed.stderr
    assert hub("config", "get", "limits.runs").stdout == "9\n"
    ends(hub("config", "set", "limits.runs=5"), 2, "[limits] is in settings revision 1, for all nodes")
    file.write_text("[limits]\nruns = 0\n")
    ends(hub("config", "push", str(file)), 78, f"{file}:2:8: error: limits.runs: must be")
    assert hub("config", "push", "--withdraw").stdout == "limits.runs: applies at once\n"
    assert hub("config", "push", "--revision", "1").exit_code == 0
    listed = [line.split() for line in hub("config", "revisions").stdout.splitlines()[1:]]
    assert [(row[0], row[-1]) for row in listed] == [("3", "limits"), ("2", "none"), ("1", "limits")]
    assert hub("config", "show", "--revision", "1").stdout == "# settings revision 1\n[limits]\nruns = 9\n"
    assert hub("config", "push", str(file), "--withdraw").exit_code == 2


def test_config_push_over_a_newer_revision_is_refused(hub: Hub, served: ServedHub, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    other.write_text("[limits]\nruns = 9\n")
    assert hub("config", "push", str(other), "--after", "1").exit_code == 1, "there is none"
    assert hub("config", "push", str(other), "--after", "0").exit_code == 0
    mine.write_text(hub("config", "show", "--revision", "1").stdout.replace("9", "7"))
    assert hub("config", "push", str(other)).exit_code == 0, "a file that names none is for the newest"
    ends(
        hub("config", "push", str(mine)),
        1,
        "the newest revision is 2, published by ",
        "to publish over it: --after 2",
    )
    assert hub("config", "get", "limits.runs").stdout == "9\n"

    pushed = hub("config", "push", str(mine), "--after", "2")
    assert pushed.stderr.splitlines()[0].startswith("published as revision 3, in use here as generation ")
    assert mine.read_text() == "# settings revision 3\n[limits]\nruns = 7\n", "so that it can be edited again"
    assert hub("config", "push", "--withdraw").exit_code == 0
    assert hub("config", "push", str(mine)).exit_code == 0, "nothing is lost where all was withdrawn"
