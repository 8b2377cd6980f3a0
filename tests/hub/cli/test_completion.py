"""A shell completes commands, and names that the running hub knows."""

from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from click.shell_completion import BashComplete

from hub.cli.app import hub as command
from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub


def completed(state: Path, *words: str, incomplete: str = "") -> list[str]:
    shell = BashComplete(command, {}, "hub", "_HUB_COMPLETE")
    return [item.value for item in shell.get_completions(["--state", str(state), *words], incomplete)]


@pytest.mark.parametrize(
    ("words", "incomplete", "value"),
    [
        (("agents", "show"), "n", "notes"),
        (("devices", "revoke"), "", "desk"),
        (("config", "get"), "limits.ru", "limits.runs"),
        (("users", "remove"), "own", "owner"),
    ],
)
def test_names_of_the_running_hub_are_completed(
    served: ServedHub, state: Path, words: tuple[str, ...], incomplete: str, value: str
) -> None:
    assert value in completed(state, *words, incomplete=incomplete)


def test_run_ids_are_completed_in_their_short_form(
    served: ServedHub, state: Path, portal: BlockingPortal
) -> None:
    portal.call(served.run, "019d2f45-daf6-7e31-94bf-446f3398b18f")
    assert completed(state, "runs", "show") == ["3398b18f"]


def test_without_a_hub_nothing_is_completed_and_nothing_is_printed(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(state, "agents", "show") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(hub: Hub, shell: str) -> None:
    assert "_HUB_COMPLETE" in hub("completion", shell).stdout
