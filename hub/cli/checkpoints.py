"""Commands on the checkpoints of an agent: list, show, write, clear."""

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.options import ListOfOne, example, hub_option, json_option
from hub.cli.talk import talk
from hub.cli.values import object_option
from hub.printable import printable_json

_NAME: Final = "hub.agent"  # key of ctx.meta: the agent whose checkpoints are meant


@click.group("checkpoints", cls=ListOfOne, epilog=example("hub agents checkpoints notes"))
@click.argument("name", shell_complete=agent_names)
@click.pass_context
def checkpoints(ctx: click.Context, name: str) -> None:
    """List, show, write and clear the checkpoints of an agent."""
    ctx.meta[_NAME] = name


@checkpoints.command("ls", epilog=example("hub agents checkpoints notes ls"))
@hub_option
@json_option
@click.pass_context
def list_checkpoints(ctx: click.Context, state: Path, as_json: bool) -> None:
    """List the checkpoints by scope."""
    with talk(state) as hub:
        response = hub.get(_path(ctx))
    if as_json:
        show.print_json("checkpoints", response)
        return
    show.print_table(
        ("scope", "sequence", "recoverable", "run", show.in_zone("written"), "by"),
        (
            (
                one["scope"],
                one["sequence"],
                one["is_recoverable"],
                show.NOTHING if one["run"] is None else show.short_id(one["run"]),
                show.short_moment(one["updated_at"]),
                one["actor"],
            )
            for one in response["checkpoints"]
        ),
    )
    if not response["checkpoints"]:
        show.say(f"agent {ctx.meta[_NAME]} has no checkpoints")


@checkpoints.command("show", epilog=example("hub agents checkpoints notes show"))
@click.argument("scope", default="agent")
@hub_option
@json_option
@click.pass_context
def show_one(ctx: click.Context, scope: str, state: Path, as_json: bool) -> None:
    """Print the state in the checkpoint of SCOPE; by default the one that runs resume from."""
    with talk(state) as hub:
        response = hub.get(_path(ctx, scope))
    if as_json:
        show.print_json("checkpoint", response)
    else:
        show.out(printable_json(json.dumps(response["state"], indent=2, ensure_ascii=False)))


@checkpoints.command("put", epilog=example("hub agents checkpoints notes put --sequence 4 --json-state 3"))
@click.argument("scope", default="agent")
@click.option(
    "--sequence", type=click.IntRange(0), required=True, help="Greater than that of the last checkpoint."
)
@object_option("--json-state", help="State to write, as JSON.", required=True)
@click.option("--no-recover", is_flag=True, help="Runs do not resume from it.")
@hub_option
@json_option
@click.pass_context
def put(
    ctx: click.Context,
    scope: str,
    sequence: int,
    json_state: dict[str, Any],
    no_recover: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Write the checkpoint of SCOPE, in place of its last one."""
    body = {"sequence": sequence, "state": json_state, "is_recoverable": not no_recover}
    with talk(state) as hub:
        response = hub.put(_path(ctx, scope), body)
    if as_json:
        show.print_json("checkpoint", response)
    else:
        show.say(f"written: {response['scope']} at sequence {response['sequence']}")


@checkpoints.command("clear", epilog=example("hub agents checkpoints notes clear"))
@click.argument("scope", default="agent")
@hub_option
@json_option
@click.pass_context
def clear(ctx: click.Context, scope: str, state: Path, as_json: bool) -> None:
    """Delete the checkpoint of SCOPE: the next run begins without it."""
    with talk(state) as hub:
        response = hub.delete(_path(ctx, scope))
    if as_json:
        show.print_json("checkpoint", response)
    else:
        show.say(f"cleared: {response['scope']}, which was at sequence {response['sequence']}")


def _path(ctx: click.Context, *parts: str) -> str:
    named = (ctx.meta[_NAME], "checkpoints", *parts)
    return "/v1/agents/" + "/".join(quote(part, safe="") for part in named)
