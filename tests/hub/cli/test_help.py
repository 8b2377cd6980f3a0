"""``hub help``, ``hub routes``, and names that a shell completes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from click.shell_completion import BashComplete
from click.testing import CliRunner

from hub import docs
from hub.api.application import DECLARED
from hub.base.roles import DEVICE_REQUESTS, ROUTES
from hub.cli.app import hub
from hub.cli.app import hub as command
from hub.docs.search import MAX_HITS, search
from tests.hub.cli.conftest import Hub, ends
from tests.support.families import each
from tests.support.hub import ServedHub


def test_help_command_lists_each_topic_on_a_single_line(hub: Hub) -> None:
    listed = hub("help").stdout
    for topic in docs.TOPICS:
        assert f"  {topic} " in listed and docs.summary(topic) in listed
    assert max(map(len, listed.splitlines())) <= 120


def test_help_command_prints_each_handbook_page(hub: Hub) -> None:
    for topic in docs.TOPICS:
        assert hub("help", topic).stdout == docs.page(topic)


@each(("typed", "topic"), [("mailbox", "mailboxes"), ("calendar", "calendars"), ("place", "places")])
def test_help_for_the_singular_of_a_topic_prints_the_page(hub: Hub, typed: str, topic: str) -> None:
    assert hub("help", typed).stdout == docs.page(topic)


def test_every_page_of_the_folder_is_a_topic() -> None:
    assert {path.stem for path in docs.FOLDER.glob("*.md")} == {*docs.TOPICS, "README"}


@each(
    ("typed", "hint"),
    [
        ("setings", "did you mean 'settings'?"),
        ("xyzzy", "'hub help' lists the topics"),
        ("doctor", "hub doctor --help"),
        ("connectors", "hub connectors --help; the handbook uses it in: mailboxes, manifests"),
    ],
)
def test_a_mistyped_topic_is_a_usage_error_with_a_hint(hub: Hub, typed: str, hint: str) -> None:
    ends(hub("help", typed), 2, f"no page '{typed}'", hint)


@each(
    ("words", "page"),
    [
        (["sinks"], "places" if "places" in docs.TOPICS else "device"),
        (["obsidian"], "places" if "places" in docs.TOPICS else "device"),
        (["reminders"], "places" if "places" in docs.TOPICS else "device"),
        (["google", "calendar"], "calendars"),
        (["inbox"], "review"),
        (["Docker"], "container"),
        (["due", "dates"], "dates"),
        (["why", "is", "a", "line", "missing"], "why"),
        (["rename", "folder"], "device"),
        (["undo", "a", "tick"], "review"),
        (["time", "zone"], "dates: A wrong hour"),
        (["wrong", "hour"], "dates: A wrong hour"),
        (["zona", "horaria"], "dates: A wrong hour"),
        (["fuseau", "horaire"], "dates: A wrong hour"),
        (["Zeitzone"], "dates: A wrong hour"),
    ],
)
def test_help_with_words_of_other_programs_names_their_page_first(
    hub: Hub, words: list[str], page: str
) -> None:
    first, _, *hits = hub("help", *words).stdout.splitlines()
    assert first == f"No page is called '{' '.join(words)}'. These have it:"
    assert hits[0].startswith(f"  hub help {page}:")


@each("query", ["", "xyzzy", "[*", "the " * 99, "\n", "<b>"])
def test_search_for_what_is_no_word_finds_nothing(query: str) -> None:
    assert search(query) == []


@each(
    ("query", "same"),
    [
        ("schedul", "schedule"),
        ("calendar calendar calendars", "calendar"),
        ("(backup)", "backup"),
        ("sign-in", "sign in"),
        ("the price of the", "price"),
    ],
)
def test_search_finds_the_same_section_first_by_begins_and_repeated_words(query: str, same: str) -> None:
    assert search(query)[0] == search(same)[0]


@each("query", ["hub.device agent+item", "[model]", "a" * 100, "ca re do", "todo sink price"])
def test_search_builds_no_expression_and_reads_no_page(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    search("warm")
    with monkeypatch.context() as without:
        without.setattr(docs, "page", None)
        without.setattr(re, "_compile", None)
        found = search(query)
    assert len(found) <= MAX_HITS


def test_routes_command_prints_routes_with_roles_without_a_running_hub() -> None:
    told = CliRunner().invoke(hub, ["routes"])
    assert told.exit_code == 0
    lines = {" ".join(line.split()) for line in told.stdout.splitlines()}
    assert "GET /v1/agents read yes yes yes devices -" in lines
    assert "POST /v1/agents/{name}/runs run no yes yes devices run.started" in lines
    assert "POST /v1/items/verdicts review no named named all item.judged" in lines
    assert "POST /v1/drain system no no yes - hub.drained" in lines
    assert "GET /healthz public yes yes yes - -" in lines
    assert "runs.start its own agents run.started" in lines


@pytest.mark.slow  # starts a process
def test_routes_json_of_a_non_serving_process_has_routes_of_all_nouns() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "hub", "routes", "--json"], capture_output=True, text=True, check=True
    )
    paths = {(route["method"], route["path"]) for route in json.loads(printed.stdout)["routes"]}
    assert {
        (route.verb, resource.path + route.path) for resource in DECLARED for route, _ in resource.routes()
    } <= paths


def test_routes_command_prints_the_table_as_json() -> None:
    told = json.loads(CliRunner().invoke(hub, ["routes", "--json"]).stdout)
    assert (told["schema"], len(told["routes"])) == ("hub.routes/1", len(ROUTES))
    assert [request["method"] for request in told["device_requests"]] == list(DEVICE_REQUESTS)
    assert told["roles"]["viewer"] == ["read", "rows", "files"]


def completed(state: Path, *words: str, incomplete: str = "") -> list[str]:
    shell = BashComplete(command, {}, "hub", "_HUB_COMPLETE")
    return [item.value for item in shell.get_completions(["--state", str(state), *words], incomplete)]


@each(
    ("words", "incomplete", "value"),
    [
        (("agents", "show"), "n", "notes"),
        (("devices", "revoke"), "", "desk"),
        (("config", "get"), "limits.ru", "limits.runs"),
        (("users", "remove"), "own", "owner"),
    ],
)
def test_shell_completion_offers_names_of_the_running_hub(
    served: ServedHub, state: Path, words: tuple[str, ...], incomplete: str, value: str
) -> None:
    assert value in completed(state, *words, incomplete=incomplete)


def test_shell_completion_offers_run_ids_in_short_form(
    served: ServedHub, state: Path, portal: BlockingPortal
) -> None:
    portal.call(served.run, "019d2f45-daf6-7e31-94bf-446f3398b18f")
    assert completed(state, "runs", "show") == ["3398b18f"]


def test_shell_completion_without_a_running_hub_offers_and_prints_nothing(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(state, "agents", "show") == []
    assert capsys.readouterr() == ("", "")


@each("shell", ["bash", "zsh", "fish"])
def test_completion_command_prints_the_shell_script(hub: Hub, shell: str) -> None:
    assert "_HUB_COMPLETE" in hub("completion", shell).stdout
