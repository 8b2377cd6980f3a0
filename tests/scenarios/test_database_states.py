"""The commands that a hub names for a lost database lead to a hub that works, with the data that is left."""

from pathlib import Path

import pytest

from tests.scenarios.database_states import STATES, play, steps_of
from tests.support.families import each

# Of those that need no file system or user of their own; make soak plays all.
PLAYED = [
    ("deleted", True),
    ("emptied", True),
    ("damaged table of the start", False),
    ("newer release", False),
]


@pytest.mark.slow
@each(("name", "is_running"), PLAYED)
def test_commands_named_for_a_database_state_bring_the_hub_back(
    tmp_path: Path, name: str, is_running: bool
) -> None:
    state = next(state for state in STATES if (state.name, state.is_running) == (name, is_running))
    folder = tmp_path / str(STATES.index(state))  # short: a socket's path has 107 bytes at most
    folder.mkdir()
    told = play(state, folder)
    assert told["right"], told


def test_first_command_without_a_name_to_fill_in_is_followed_of_alternatives() -> None:
    text = "stop it: hub drain; go on with: hub restore {}; or begin anew: hub restore --anew; hub serve"
    drain, serve, anew = ["hub", "drain"], ["hub", "serve"], ["hub", "restore", "--anew"]
    assert steps_of(text.format("a.backup")) == [drain, ["hub", "restore", "a.backup"], serve]
    assert steps_of(text.format("FILE")) == [drain, anew, serve]
