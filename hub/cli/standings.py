"""How an agent stands: shown and written, in our words or in those of others; ended; remembered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk
from protocol.standing import Axis
from protocol.vocabularies import Vocabulary

MOVES_TOLD: Final = 50


@click.command("status", epilog=example("hub agents status notes --set work=paused --reason holiday"))
@click.argument("name", shell_complete=agent_names)
@click.option("--as", "words", type=click.Choice(list(map(str, Vocabulary))), help="In the words of another.")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Write it, as availability=on_call."
)
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
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
        raise Failure("--reason is of what --set writes: say both", Exit.USAGE)
    with talk(state) as hub:
        told = hub.patch(path, change) if change else hub.get(path)
    if as_json:
        show.print_json("agent_status" if words is None else f"agent_as_{words}", told)
    elif words is not None:
        show.print_table(("column", "value"), ((column, _said(value)) for column, value in told.items()))
    else:
        show.print_table(("axis", "value", show.in_zone("since"), "why", "by", "may go to"), _axis_rows(told))
        for sentence in _beside(told):
            show.say(sentence)


@click.command("history", epilog=example("hub agents history notes --limit 20"))
@click.argument("name", shell_complete=agent_names)
@click.option("--axis", type=click.Choice(list(map(str, Axis))), help="Moves on this axis only.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=MOVES_TOLD, show_default=True, metavar="N")
@hub_option
@json_option
def history(name: str, axis: str | None, limit: int, state: Path, as_json: bool) -> None:
    """List the status changes of an agent, with reason and author, the newest first."""
    asked: dict[str, Any] = {"limit": limit}
    if axis is not None:
        asked["axis"] = axis
    with talk(state) as hub:
        told = hub.get(_path(name, "history"), **asked)
    if as_json:
        show.print_json("agent_history", told)
        return
    show.print_table(
        (show.in_zone("at"), "axis", "from", "to", "why", "by"),
        (
            (
                show.short_moment(move["at"]),
                move["axis"],
                move["before"],
                move["after"],
                move["reason"],
                show.mover(move["actor"]),
            )
            for move in told["moves"]
        ),
    )
    if told["next_cursor"] is not None:
        show.say(f"there are more: --limit {min(limit * 2, 1_000)}")


@click.command("terminate", epilog=example("hub agents terminate notes --reason replaced --yes"))
@click.argument("name", shell_complete=agent_names)
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def terminate(name: str, reason: str | None, yes: bool, state: Path, as_json: bool) -> None:
    """End an agent for good: live runs are cancelled, schedules removed; its history stays."""
    with talk(state) as hub:
        if not yes:
            show.confirm(f"terminate agent {name}, and cancel its live runs, for good?")
        told = hub.post(_path(name, "terminate"), {"reason": reason})
    if as_json:
        show.print_json("agent_status", told)
    else:
        show.say(f"agent {name} is terminated; what it did stays: hub agents history {name}")


def _path(name: str, rest: str) -> str:
    return f"/v1/agents/{quote(name, safe=':')}/{rest}"


def _assignment(told: str) -> tuple[str, Any]:
    """``FIELD=VALUE``; ``null``, numbers and objects are read as JSON."""
    field, sign, value = told.partition("=")
    if not sign or not field:
        raise Failure(f"--set {told!r}: expected FIELD=VALUE, as in availability=on_call", Exit.USAGE)
    if value == "null" or value.startswith("{"):
        try:
            return field, json.loads(value)
        except ValueError as exc:
            raise Failure(f"--set {field}: {value!r} is no JSON: {exc}", Exit.USAGE) from None
    return field, value


def _axis_rows(told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for axis, one in told["axes"].items():
        yield (
            axis,
            one["value"],
            None if one["since"] is None else show.short_moment(one["since"]),
            one["reason"],
            show.mover(one["actor"]),
            ", ".join(one["moves"]) or None,
        )


def _beside(told: Mapping[str, Any]) -> Iterator[str]:
    """What belongs to the axes, in sentences."""
    if told["exhaust_reason"] is not None:
        until = told["recovery_at"] or told["probe_at"]
        what = "back" if told["recovery_at"] else "asked again"
        when = "nobody knows until when" if until is None else f"{what} {show.short_moment(until)}"
        yield f"exhausted by {told['exhaust_reason']}: {when}"
    if told["health_reason"] is not None:
        yield f"in error: {told['health_reason']}"
    executing, waiting = told["runs_executing"], told["runs_waiting"]
    yield f"{executing} of {told['max_concurrent_runs']} runs executing, {waiting} waiting"
    if told["last_heartbeat_at"] is not None:
        yield f"last heartbeat {show.short_moment(told['last_heartbeat_at'])}"


def _said(value: Any) -> str | None:
    """A value of a document: texts as they are, tables by their number of rows."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} row{'' if len(value) == 1 else 's'} (see --json)"
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
