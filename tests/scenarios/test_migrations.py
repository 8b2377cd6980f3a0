"""A migration that is killed leaves the database as it was."""

import subprocess
import sys

import pytest

from tests.support.postgres import Postgres

STEP = "4"  # statements between two deaths; the slow proof dies at each


def killed(*words: str) -> str:
    """What the proof tells, run by a process that has no thread besides: its victims are forks of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.migrations", "--step", STEP, *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.soak
def test_a_file_is_as_it_was_after_each_death_and_then_it_is_brought_through() -> None:
    assert "left something behind 0 times; then complete with 0 differences" in killed("--only", "file")


@pytest.mark.soak
def test_a_server_is_as_it_was_after_each_death_and_then_it_is_brought_through(postgres: Postgres) -> None:
    with postgres.bare_database() as url:
        told = killed("--only", "server", "--server", url)
    assert "left something behind 0 times; then complete with 0 differences" in told
