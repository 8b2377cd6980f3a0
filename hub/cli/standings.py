"""The command ``hub agents status``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk
from protocol.vocabularies import Vocabulary


@click.command("status", epilog=example("hub agents status notes --set work=paused --reason holiday"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--as",
    "words",
    type=click.Choice(list(map(str, Vocabulary))),
    help="Use the vocabulary of another system.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set a field, as in availability=on_call.",
)
@click.option("--reason", metavar="TEXT", help="Reason, for the history.")
@hub_option
@json_option
def status(
    name: str, words: str | None, assignments: Sequence[str], reason: str | None, state: Path, as_json: bool
) -> None:
    """Show the status of an agent on each axis, with reasons; with --set, change it.

    NAME may be external:ID, an agent's external identifier.
    """
    path = _path(name, "status") if words is None else _path(name, f"as/{words}")
    change = dict(map(_assignment, assignments))
    if reason is not None:
        change["reason"] = reason
    if change and not assignments:
        raise Failure("--reason needs --set FIELD=VALUE", Exit.USAGE)
    with talk(state) as hub:
        response = hub.patch(path, change) if change else hub.get(path)
    if as_json:
        show.print_json("agent_status" if words is None else f"agent_as_{words}", response)
    elif words is not None:
        show.print_table(
            ("column", "value"), ((column, _formatted(value)) for column, value in response.items())
        )
    else:
        show.print_table(
            ("axis", "value", show.in_zone("since"), "reason", "by", "next values"), _axis_rows(response)
        )
        for sentence in _remarks(response):
            show.say(sentence)


def _path(name: str, rest: str) -> str:
    return f"/v1/agents/{quote(name, safe=':')}/{rest}"


def _assignment(text: str) -> tuple[str, Any]:
    """Parse ``FIELD=VALUE``; ``null`` and objects are read as JSON."""
    field, sign, value = text.partition("=")
    if not sign or not field:
        raise Failure(f"--set {text!r}: expected FIELD=VALUE, as in availability=on_call", Exit.USAGE)
    if value == "null" or value.startswith("{"):
        try:
            return field, json.loads(value)
        except ValueError as exc:
            raise Failure(f"--set {field}: {value!r} is not JSON: {exc}", Exit.USAGE) from None
    return field, value


def _axis_rows(response: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for axis, one in response["axes"].items():
        yield (
            axis,
            one["value"],
            None if one["since"] is None else show.short_moment(one["since"]),
            one["reason"],
            show.mover(one["actor"]),
            ", ".join(one["moves"]) or None,
        )


def _remarks(response: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about the axes: exhaustion, errors, runs, the last heartbeat."""
    if response["exhaust_reason"] is not None:
        until = response["recovery_at"] or response["probe_at"]
        event = "available again" if response["recovery_at"] else "next probe"
        when = "until an unknown time" if until is None else f"{event} {show.short_moment(until)}"
        yield f"exhausted by {response['exhaust_reason']}: {when}"
    if response["health_reason"] is not None:
        yield f"in error: {response['health_reason']}"
    executing, waiting = response["runs_executing"], response["runs_waiting"]
    yield f"{executing} of {response['max_concurrent_runs']} runs executing, {waiting} waiting"
    if response["last_heartbeat_at"] is not None:
        yield f"last heartbeat {show.short_moment(response['last_heartbeat_at'])}"


def _formatted(value: Any) -> str | None:
    """Format a value: texts as they are, tables by their number of rows."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} row{'' if len(value) == 1 else 's'} (see --json)"
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
