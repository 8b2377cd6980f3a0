"""Commands on boards: list, show, create, change; their agents and leads."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.board_memory import memory
from hub.cli.broadcasts import ensure_lead
from hub.cli.completion import agent_names, board_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.souls import soul, soul_history
from hub.cli.talk import talk

PATH: Final = "/v1/boards"


@click.group(cls=ListByDefault, epilog=example("hub boards show house"))
def boards() -> None:
    """List, show, create and change boards, on which agents work together."""


boards.add_command(memory)
boards.add_command(soul)
boards.add_command(soul_history)
boards.add_command(ensure_lead)


@boards.command("ls", epilog=example("hub boards ls"))
@hub_option
@json_option
def list_boards(state: Path, as_json: bool) -> None:
    """List the boards by name."""
    with talk(state) as hub:
        response = hub.get_all(PATH, "boards")
    if as_json:
        show.print_json("boards", response)
        return
    show.print_table(
        ("board", "user", "lead", "agents", "gateway", "description"),
        (
            (
                board["name"],
                board["user"],
                board["lead"],
                board["agents"],
                board["gateway"],
                board["description"],
            )
            for board in response["boards"]
        ),
    )
    if not response["boards"]:
        show.say("no boards; create one: hub boards create NAME")


@boards.command("show", epilog=example("hub boards show house"))
@click.argument("name", shell_complete=board_names)
@hub_option
@json_option
def show_board(name: str, state: Path, as_json: bool) -> None:
    """Show a board and the agents on it."""
    with talk(state) as hub:
        board = hub.get(_path(name))
    if as_json:
        show.print_json("board", board)
        return
    show.print_facts(
        {
            "board": board["name"],
            "id": board["id"],
            "user": board["user"],
            "gateway": board["gateway"],
            "description": board["description"],
            "created": show.moment(board["created_at"]),
        }
    )
    _print_agents(board)


@boards.command("create", epilog=example("hub boards create house --gateway home"))
@click.argument("name", shell_complete=board_names)
@click.option("--gateway", metavar="NAME", help="Gateway whose main agent serves the board.")
@click.option("--description", metavar="TEXT", help="Description of the board.")
@hub_option
@json_option
def create(name: str, gateway: str | None, description: str | None, state: Path, as_json: bool) -> None:
    """Create a board."""
    with talk(state) as hub:
        made = hub.post(PATH, {"name": name, "gateway": gateway, "description": description})
    if as_json:
        show.print_json("board", made)
        return
    show.say(f"board {made['name']} is created; add agents to it: hub boards add {name} AGENT")


@boards.command("edit", epilog=example("hub boards edit house --description 'the move'"))
@click.argument("name", shell_complete=board_names)
@click.option("--name", "new_name", metavar="NAME", help="New name of the board.")
@click.option("--gateway", metavar="NAME", help="Gateway whose main agent serves the board.")
@click.option("--no-gateway", is_flag=True, help="Remove the gateway from the board.")
@click.option("--description", metavar="TEXT", help="Description of the board.")
@hub_option
@json_option
def edit(
    name: str,
    new_name: str | None,
    gateway: str | None,
    no_gateway: bool,
    description: str | None,
    state: Path,
    as_json: bool,
) -> None:
    """Change a board; options that are left out stay as they are."""
    if gateway is not None and no_gateway:
        raise Failure("--gateway and --no-gateway exclude each other", Exit.USAGE)
    options = {"name": new_name, "gateway": gateway, "description": description}
    changes: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if no_gateway:
        changes["gateway"] = None
    if not changes:
        raise Failure(
            "nothing to change",
            Exit.USAGE,
            next_step="give an option for each change: hub boards edit --help",
        )
    with talk(state) as hub:
        changed = hub.patch(_path(name), changes)
    if as_json:
        show.print_json("board", changed)
    else:
        show.say(f"board {changed['name']} is changed")


@boards.command("delete", epilog=example("hub boards delete house --yes"))
@click.argument("name", shell_complete=board_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def delete(name: str, yes: bool, state: Path, as_json: bool) -> None:
    """Delete a board with its memory. Its agents stay."""
    if not yes:
        show.confirm(f"delete board {name} and its memory?")
    with talk(state) as hub:
        removed = hub.delete(_path(name))
    if as_json:
        show.print_json("board", removed)
    else:
        show.say(f"board {name} is deleted; its agents are on no board now")


@boards.command("add", epilog=example("hub boards add house notes --lead"))
@click.argument("name", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.option("--lead", is_flag=True, help="Make the agent the board's lead.")
@hub_option
@json_option
def add(name: str, agent: str, lead: bool, state: Path, as_json: bool) -> None:
    """Add AGENT to board NAME. An agent is on one board at most."""
    with talk(state) as hub:
        board = hub.post(f"{_path(name)}/agents", {"agent": agent, "is_lead": lead})
    _print_result(board, f"{agent} is on board {name}{' as its lead' if lead else ''}", as_json=as_json)


@boards.command("drop", epilog=example("hub boards drop house notes"))
@click.argument("name", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@hub_option
@json_option
def drop(name: str, agent: str, state: Path, as_json: bool) -> None:
    """Remove AGENT from board NAME."""
    with talk(state) as hub:
        board = hub.delete(f"{_path(name)}/agents/{quote(agent, safe='')}")
    _print_result(board, f"{agent} is on no board now", as_json=as_json)


@boards.command("lead", epilog=example("hub boards lead house notes"))
@click.argument("name", shell_complete=board_names)
@click.argument("agent", required=False, shell_complete=agent_names)
@click.option("--none", is_flag=True, help="Remove the board's lead.")
@hub_option
@json_option
def set_lead(name: str, agent: str | None, none: bool, state: Path, as_json: bool) -> None:
    """Make AGENT, which is on board NAME, its only lead."""
    if (agent is None) is not none:
        raise Failure(
            "name the agent that is to lead, or use --none",
            Exit.USAGE,
            next_step="hub boards lead NAME AGENT",
        )
    with talk(state) as hub:
        board = hub.put(f"{_path(name)}/lead", {"agent": agent})
    _print_result(
        board, f"{agent} leads board {name}" if agent else f"board {name} has no lead", as_json=as_json
    )


def _print_result(board: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        show.print_json("board", board)
    else:
        show.say(sentence)


def _print_agents(board: dict[str, Any]) -> None:
    if not board["members"]:
        show.say(f"no agents on the board; add one: hub boards add {board['name']} AGENT")
        return
    show.out()
    show.print_table(
        ("agent", "role", "gateway/device", "availability", "connectivity", show.in_zone("joined")),
        (
            (
                agent["name"],
                "lead" if agent["is_lead"] else "worker",
                agent["gateway"] or agent["device"],
                agent["availability"],
                agent["connectivity"],
                show.short_moment(agent["joined_at"]),
            )
            for agent in board["members"]
        ),
    )


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
