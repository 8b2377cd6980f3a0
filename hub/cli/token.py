"""Commands on the tokens of devices, operators and agents: create, list, revoke."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.declared import item_called
from hub.cli.failure import Exit, Failure
from hub.cli.options import Duration, ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, agent_names, talk

ROLES = ("viewer", "operator", "admin")
DEVICES, OPERATORS = "/v1/tokens", "/v1/operator-tokens"


@click.group(cls=ListByDefault, epilog=example("hub token create --role viewer --name grafana"))
def token() -> None:
    """Create, list and revoke the tokens of devices and operators."""


@token.command("create", epilog=example("hub token create --role viewer --name grafana --ttl 90d"))
@click.option("--device", metavar="NAME", help="Create a token of this device, known or new.")
@click.option(
    "--role", type=click.Choice(ROLES), help="Create a token of an operator or of a program, with this role."
)
@click.option("--name", metavar="NAME", help="Purpose of an operator's token.")
@click.option(
    "--scope", "scopes", multiple=True, help="Limit its role to this scope; may be given several times."
)
@click.option("--ttl", type=Duration(), metavar="TIME", help="Lifetime of the token, as in 90d or 12h.")
@hub_option
@json_option
def create_token(
    device: str | None,
    role: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    ttl: float | None,
    state: Path,
    as_json: bool,
) -> None:
    """Create a token. It is printed once.

    With --user, a device's token is for that user's device, and an operator's token
    sees that user's devices, agents and runs only.
    """
    if (device is None) == (role is None):
        raise Failure(
            "a token is for a device or for an operator: use either --device or --role",
            Exit.USAGE,
            next_step="hub token create --device NAME, or: hub token create --role viewer --name NAME",
        )
    if device is not None and (scopes or name):
        raise Failure("--name and --scope need --role", Exit.USAGE)
    with talk(state) as hub:
        if device is not None:
            made = hub.post(DEVICES, {"device": device, "ttl_s": ttl})
        else:
            body = {"name": name or role, "role": role, "scopes": scopes, "ttl_s": ttl}
            made = hub.post(OPERATORS, body)
    if as_json:
        show.print_json("token", made)
        return
    show.out(made["token"])
    if made.get("is_new_device"):
        show.report(f"{made['device']} is a new device of {made['user']}.")
    show.report(
        "The token is shown only once.",
        *(_how_a_device_uses(device) if device else _how_an_operator_uses(made)),
    )


@token.command("ls", epilog=example("hub token ls"))
@hub_option
@json_option
def list_tokens(state: Path, as_json: bool) -> None:
    """List the tokens without their secrets."""
    with talk(state) as hub:
        response = _all_tokens(hub)
    if as_json:
        show.print_json("tokens", response)
        return
    listed = [(f"device {token['device']}", token) for token in response["tokens"]]
    listed += [(f"{token['role']} {token['name']}", token) for token in response["operator_tokens"]]
    show.print_table(
        ("token", "for", "user", "ends in", show.in_zone("used"), "expires", "revoked"),
        (
            (
                show.short_id(token["id"]),
                whom,
                token["user"] or "all",
                token["last4"],
                show.short_moment(token["last_used_at"]),
                show.short_moment(token["expires_at"]),
                show.short_moment(token["revoked_at"]),
            )
            for whom, token in listed
        ),
    )
    if not listed:
        show.report("no tokens yet; create one: hub token create --device NAME, or --role viewer --name NAME")


@token.command("revoke", epilog=example("hub token revoke 4e21a9 --yes"))
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def revoke_token(id: str, yes: bool, state: Path, as_json: bool) -> None:
    """Revoke a token and close its connection. The last characters of its ID are enough."""
    with talk(state) as hub:
        id, whom, path = _find(hub, id)
        if not yes:
            show.confirm(f"revoke the token of {whom}?")
        revoked = hub.delete(f"{path}/{quote(id, safe='')}")
    if as_json:
        show.print_json("token", revoked)
    else:
        show.report(f"the token of {whom} is revoked")


def _all_tokens(hub: Talk) -> dict[str, Any]:
    """Return the tokens of devices, and of operators if the caller may see them."""
    response = hub.get_all(DEVICES, "tokens")
    try:
        operators = hub.get_all(OPERATORS, "tokens")["tokens"]
    except Failure as refused:
        if refused.exit_code != Exit.NOT_PERMITTED:
            raise
        operators = []
    return response | {"operator_tokens": operators}


def _find(hub: Talk, id: str) -> tuple[str, str, str]:
    """Return the whole id of a token, the name of its owner, and the path of its kind."""
    response = _all_tokens(hub)
    found = item_called([*response["tokens"], *response["operator_tokens"]], id)
    if found is None:
        raise Failure(f"there is no token {id!r}", Exit.FAILED, next_step="list the tokens: hub token ls")
    path, owner = (DEVICES, "device") if "device" in found else (OPERATORS, "name")
    return found["id"], found[owner], path


def _how_a_device_uses(device: str) -> tuple[str, str]:
    return (
        "On the device, put it into a file that only you can read, then:",
        f"  hub connect URL --root DIR --name {device} --token-file FILE",
    )


def _how_an_operator_uses(made: Mapping[str, Any]) -> tuple[str, str]:
    until = show.moment(made["expires_at"])
    return (
        f"It expires {until}. Put it into a file that only you can read, then:",
        "  hub status --url https://HOST:8771 --token-file FILE",
    )


@click.command("revoke-token", epilog=example("hub agents revoke-token notes 4e21a9 --yes"))
@click.argument("name", shell_complete=agent_names)
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def revoke_agent_token(name: str, id: str, yes: bool, state: Path, as_json: bool) -> None:
    """Revoke a token of an agent. The last characters of its ID are enough."""
    with talk(state) as hub:
        found = _find_of_agent(hub, name, id)
        if not yes:
            show.confirm(f"revoke the token of {name} that ends in {found['last4']}?")
        revoked = hub.delete(f"/v1/agent-tokens/{quote(found['id'], safe='')}")
    if as_json:
        show.print_json("agent_token", revoked)
    else:
        show.report(f"the token of {name} that ends in {found['last4']} is revoked")


def _find_of_agent(hub: Talk, name: str, id: str) -> Mapping[str, Any]:
    found = item_called(hub.get_all(f"/v1/agents/{quote(name, safe='')}/tokens", "tokens")["tokens"], id)
    if found is None:
        next_step = f"list its tokens: hub agents tokens {name}"
        raise Failure(f"agent {name} has no token {id!r}", Exit.FAILED, next_step=next_step)
    return found
