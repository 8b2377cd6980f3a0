"""Commands that wait: what each says after a second, and how it ends."""

import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hub.cli.app import hub as program
from protocol.lifecycles import RunState
from tests.hub.cli.conftest import Hub, Leads, ends
from tests.support.hub import ServedHub

# Command, what it says that it waits for, and whether it says so by itself after a second.
WAITS = [
    ("reload", "the hub's answer to POST /v1/reload, at most 30 s"),
    ("drain", "the hub's answer to POST /v1/drain, at most 30 s"),
    ("status", "the hub's answer to GET /v1/status, at most 30 s"),
    ("doctor", "the hub's answer to GET /v1/issues, at most 30 s"),
    ("run notes", "the hub's answer to POST /v1/agents/notes/runs, at most 30 s"),
    ("run notes --follow", "the hub's answer to POST /v1/agents/notes/runs, at most 30 s"),
    ("runs show 4e21a9 --follow", "the hub's answer to GET /v1/runs/4e21a9, at most 30 s"),
    ("why a.md", "the hub's answer to GET /v1/why"),
    ("agents preview notes", "the first documents of agent notes"),
    ("messages lead house hello --wait 60", "at most 90 s"),
    ("pair approve ABCD-2345", "the hub's answer to"),
    ("nodes", "the hub's answer to GET /v1/nodes, at most 30 s"),
]

# Commands without --timeout: they wait for nothing but this machine, or their end is their own.
OWN_ENDS = {
    "answer": "reads and writes the file of the device",
    "check": "reads a file; asks the hub of the file at most for 30 s",
    "completion": "prints a text",
    "connect": "runs until a signal, and says what it waits for",
    "connectors": "check, new and providers: read and write manifests",
    "debug": "reads files of this machine; asks the hub at most for 30 s",
    "demo": "runs once over a sample folder, within a minute",
    "device": "run: until a signal; the others read files of this machine",
    "down": "ends the processes after at most 30 s",
    "eval": "has an end of its own for each document",
    "grants": "reads the file of the device",
    "help": "prints a text",
    "init": "writes a file",
    "install-unit": "writes files",
    "mcp": "runs as long as its assistant",
    "open": "opens a browser",
    "places": "reads and writes the file and the settings of the device",
    "review": "reads and writes the file of the device",
    "routes": "prints a text",
    "schema": "prints a text",
    "serve": "runs until a signal",
    "tls": "writes files",
    "token": "device: prints a text",
    "up": "gives up after a minute for each of its steps",
}


def _leaves(
    command: click.Command, ctx: click.Context, words: str = ""
) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield words.strip(), command
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        assert inner is not None
        yield from _leaves(inner, click.Context(inner, parent=ctx), f"{words} {name}")


def test_every_command_has_a_timeout_or_an_own_end() -> None:
    leaves = dict(_leaves(program, click.Context(program)))
    without = {
        words.split()[0]
        for words, command in leaves.items()
        if not any("--timeout" in param.opts for param in command.params)
    }
    assert len(leaves) > 150
    assert without <= set(OWN_ENDS), sorted(without - set(OWN_ENDS))


@pytest.fixture
def silent_hub(state: Path) -> Iterator[None]:
    """A socket of a hub that accepts connections and never answers."""
    state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / "hub.sock"))
        listening.listen()
        yield


@pytest.mark.usefixtures("silent_hub")
@pytest.mark.parametrize(("words", "reason"), WAITS, ids=[words for words, _ in WAITS])
def test_command_at_a_silent_hub_prints_the_reason_and_ends_at_the_timeout(
    hub: Hub, words: str, reason: str
) -> None:
    result = hub(*shlex.split(words), "--timeout", "1s")
    ends(result, 75, "waiting for", reason, "not done after 1 s; it waits for", "goes on")


def test_waiting_followed_run_ends_with_the_reason_at_the_timeout(hub: Hub, served: ServedHub) -> None:
    result = hub("run", "notes", "--follow", "--json", "--timeout", "2s")
    ends(result, 75, "not done after 2 s; QUEUED", "the run continues; show it: hub runs show")
    steps = [json.loads(line) for line in result.stdout.splitlines()]
    assert [step["run"]["waiting_for"] for step in steps][-1], "each step says its reason"


def test_four_equal_commands_queue_a_single_run(hub: Hub, served: ServedHub, leads: Leads) -> None:
    ids = {hub("run", "notes").stdout for _ in range(3)}
    followed = hub("run", "notes", "--follow", "--json", "--timeout", "1s")
    ids |= {json.loads(line)["run"]["id"] + "\n" for line in followed.stdout.splitlines()}
    assert len(ids) == 1
    (listed,) = json.loads(hub("runs", "ls", "--json").stdout)["runs"]
    assert listed["state"] == RunState.QUEUED
