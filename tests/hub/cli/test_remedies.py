"""Commands that texts of the product name can be typed as they are written."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import Result

from tests.hub.cli.conftest import Hub, ends
from tests.support.handbook import parse
from tests.support.hub import ServedHub
from tests.support.remedies import PARTS, PLACEHOLDER, NamedCommand, commands_in, named_commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("see to it; then: hub runs show 1a2b --follow", [["hub", "runs", "show", "1a2b", "--follow"]]),
        ("hub doctor --online checks it, hub down ends it", [["hub", "doctor", "--online"], ["hub", "down"]]),
        ("the hub stops; this hub runs; ask hub support", []),
        ("type 'hub pair approve CODE'.", [["hub", "pair", "approve", "CODE"]]),
        ("hub grants +review.remote=marked there", [["hub", "grants", "+review.remote=marked"]]),
        ("in hub logs --since.", [["hub", "logs"]]),
    ],
)
def test_commands_in_a_text_end_before_its_prose(text: str, commands: list[list[str]]) -> None:
    assert list(commands_in(text)) == commands


@pytest.mark.parametrize("part", PARTS)
def test_every_command_in_a_text_of_a_package_can_be_typed(part: str) -> None:
    named = list(named_commands(part))
    assert len(named) > 25
    found = [(command, why) for command in named if (why := _why_not(command))]
    assert [f"{command.file}:{command.line}: {command.words}: {why}" for command, why in found] == []


def _why_not(named: NamedCommand) -> str:
    """Return why click refuses the command; empty if it does not. A placeholder may be of options, too."""
    why = ""
    for words in (named.words, [word for word in named.words if word.strip("-") != PLACEHOLDER]):
        try:
            parse(words, is_whole=named.is_whole)
        except click.UsageError as error:
            why = why or error.format_message().splitlines()[0]
        else:
            return ""
    return why


Situation = Callable[["Desk"], Result]


class Desk(NamedTuple):
    """Command line with a hub that serves, and a folder for files."""

    hub: Hub
    served: ServedHub
    portal: BlockingPortal
    folder: Path

    def with_token(self, made: Result, *words: str) -> Result:
        """Type a command with the token that another command printed."""
        file = self.folder / "token"
        file.write_text(made.stdout)
        file.chmod(0o600)
        return self.hub(*words, "--url", f"http://{self.served.listening.tcp}", "--token-file", str(file))


def limited_token(desk: Desk) -> Result:
    made = desk.hub("token", "create", "--role", "viewer", "--table", "tasks")
    (command,) = [words for words in commands_in(made.stderr) if "--url" in words]
    return desk.with_token(made, *command[1 : command.index("--url")])


def token_without_a_scope(desk: Desk) -> Result:
    refused = desk.with_token(desk.hub("token", "create", "--role", "viewer"), "run", "notes")
    (command,) = commands_in(refused.stderr)
    return desk.with_token(desk.hub(*command[1:]), "run", "notes")


def token_of_tables_that_asks_for_files(desk: Desk) -> Result:
    words = ("token", "create", "--role", "viewer", "--scope", "read", "--scope", "files", "--table", "tasks")
    refused = desk.with_token(desk.hub(*words), "devices", "files", "desk")
    (command,) = commands_in(refused.stderr)
    return desk.hub(*command[1:])


@pytest.mark.parametrize(
    "situation", [limited_token, token_without_a_scope, token_of_tables_that_asks_for_files]
)
def test_remedy_typed_in_its_situation_works(
    situation: Situation, hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path
) -> None:
    ends(situation(Desk(hub, served, portal, tmp_path)), 0)


def test_remedy_of_a_hub_that_does_not_run_is_the_command_that_started_the_hub(hub: Hub, state: Path) -> None:
    state.mkdir()
    (state / "hub.toml").touch()
    ends(hub("status"), 3, f"hub serve --state {state}")
    (state / "up").mkdir()
    ends(hub("status"), 3, f"hub up --state {state}")
