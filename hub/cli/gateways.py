"""Commands on gateways: list, show, reconnect, adopt agents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import gateway_names
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

PATH: Final = "/v1/gateways"


@click.group(cls=ListByDefault, epilog=example("hub gateways show home"))
def gateways() -> None:
    """List, show and reconnect OpenClaw gateways; adopt their agents."""


@gateways.command("ls", epilog=example("hub gateways ls"))
@click.argument("name", required=False, shell_complete=gateway_names)
@hub_option
@json_option
def list_gateways(name: str | None, state: Path, as_json: bool) -> None:
    """List the gateways of hub.toml, or show one."""
    if name is not None:
        _show(name, state, as_json=as_json)
        return
    with talk(state) as hub:
        response = hub.get_all(PATH, "gateways")
    if as_json:
        show.print_json("gateways", response)
        return
    show.print_table(
        ("gateway", "user", "state", show.in_zone("since"), show.in_zone("next try"), "version", "agents"),
        (
            (
                one["name"],
                one["user"],
                one["state"],
                show.short_moment(one["unreachable_since"] or one["since"]),
                show.short_moment(one["next_try_at"]),
                one["version"],
                f"{one['agents_online']} of {one['agents']} online",
            )
            for one in response["gateways"]
        ),
    )
    for one in response["gateways"]:
        _say_problem(one)
    if not response["gateways"]:
        show.say("no gateways; add one to hub.toml: [[gateways]]")


@gateways.command("show", epilog=example("hub gateways show home"))
@click.argument("gateway", shell_complete=gateway_names)
@hub_option
@json_option
def show_gateway(gateway: str, state: Path, as_json: bool) -> None:
    """Show a gateway: its state, and the agents that live there."""
    _show(gateway, state, as_json=as_json)


@gateways.command("reconnect", epilog=example("hub gateways reconnect home"))
@click.argument("gateway", shell_complete=gateway_names)
@hub_option
@json_option
def reconnect(gateway: str, state: Path, as_json: bool) -> None:
    """Connect to GATEWAY now. A ready gateway stays as it is."""
    with talk(state) as hub:
        response = hub.post(f"{PATH}/{quote(gateway, safe='')}/reconnect")
    if as_json:
        show.print_json("gateway", response)
        return
    show.say(f"gateway {response['name']} is {response['state']}")
    _say_problem(response)


@gateways.command("adopt", epilog=example("hub gateways adopt home scout --agent agent-7"))
@click.argument("gateway", shell_complete=gateway_names)
@click.argument("name")
@click.option(
    "--agent", "remote_id", metavar="ID", help="Existing agent of the gateway [default: create one there]."
)
@hub_option
@json_option
def adopt(gateway: str, name: str, remote_id: str | None, state: Path, as_json: bool) -> None:
    """Create the agent NAME here, which lives at GATEWAY."""
    body = {"name": name} | ({} if remote_id is None else {"remote_id": remote_id})
    with talk(state) as hub:
        response = hub.post(f"{PATH}/{quote(gateway, safe='')}/agents", body)
    if as_json:
        show.print_json("agent", response)
    else:
        show.say(f"agent {response['name']} lives at gateway {response['gateway']}")


def _show(name: str, state: Path, *, as_json: bool) -> None:
    with talk(state) as hub:
        response = hub.get(f"{PATH}/{quote(name, safe='')}")
    if as_json:
        show.print_json("gateway", response)
        return
    since = show.moment(response["unreachable_since"] or response["since"])
    show.print_facts(
        {
            "gateway": response["name"],
            "user": response["user"],
            "state": f"{response['state']} since {since}",
            "next try": show.moment(response["next_try_at"]),
            "version": response["version"],
            "scopes": ", ".join(response["scopes"]),
            "restarts seen": response["restarts"],
        }
    )
    _say_problem(response)
    if response["members"]:
        show.out()
        show.print_table(
            ("agent", "role", "remote id", "state", "connectivity", "activity", "availability", "health"),
            (
                (
                    one["agent"],
                    one["role"],
                    one["remote_id"],
                    one["state"] if one["problem"] is None else f"{one['state']}: {one['problem']}",
                    one["connectivity"],
                    one["activity"],
                    one["availability"],
                    one["health"],
                )
                for one in response["members"]
            ),
        )


def _say_problem(gateway: Mapping[str, Any]) -> None:
    for problem, scope in ((gateway["problem"], ""), (gateway["admin_problem"], "with admin rights: ")):
        if problem is not None:
            hint = f"; {problem['hint']}" if problem["hint"] else ""
            show.say(f"{gateway['name']}: {scope}{problem['message']}{hint}")
