"""Commands ``hub agents tokens | token | revoke-token``."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import Duration, example, hub_option, json_option
from hub.cli.talk import Talk, talk

LEAST_END: Final = 6  # characters at the end of an id that identify it


@click.command("tokens", epilog=example("hub agents tokens notes"))
@click.argument("name", shell_complete=agent_names)
@hub_option
@json_option
def list_tokens(name: str, state: Path, as_json: bool) -> None:
    """List the tokens of an agent without their secrets."""
    with talk(state) as hub:
        response = hub.get_all(_path(name), "tokens")
    if as_json:
        show.print_json("agent_tokens", response)
        return
    show.print_table(
        ("token", "ends in", "created by", show.in_zone("used"), "expires", "revoked"),
        (
            (
                show.short_id(token["id"]),
                token["last4"],
                token["created_by"],
                show.short_moment(token["last_used_at"]),
                show.short_moment(token["expires_at"]),
                show.short_moment(token["revoked_at"]),
            )
            for token in response["tokens"]
        ),
    )
    if not response["tokens"]:
        show.say(f"agent {name} has no tokens; create one: hub agents token {name}")


@click.command("token", epilog=example("hub agents token notes --expires 90d"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--ttl",
    "--expires",
    "ttl",
    type=Duration(),
    metavar="TIME",
    help="Lifetime of the token, as in 90d or 12h.",
)
@hub_option
@json_option
def create_token(name: str, ttl: float | None, state: Path, as_json: bool) -> None:
    """Create a token of an agent. It is printed once.

    With the token the agent acts in its own name and on its own board. The token opens the routes
    below /v1/agent only.
    """
    with talk(state) as hub:
        made = hub.post(_path(name), {"ttl_s": ttl})
    if as_json:
        show.print_json("agent_token", made)
        return
    show.out(made["token"])
    until = show.moment(made["expires_at"])
    show.say(f"The token is shown only once; it expires {until}. Give it to {name} alone: keep it out of")
    show.say(
        "messages and shared files. Use: Authorization: Bearer TOKEN, at /v1/agent and the routes below."
    )


@click.command("revoke-token", epilog=example("hub agents revoke-token notes 4e21a9 --yes"))
@click.argument("name", shell_complete=agent_names)
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def revoke_token(name: str, id: str, yes: bool, state: Path, as_json: bool) -> None:
    """Revoke a token of an agent. The last characters of its ID are enough."""
    with talk(state) as hub:
        found = _find(hub, name, id)
        if not yes:
            show.confirm(f"revoke the token of {name} that ends in {found['last4']}?")
        revoked = hub.delete(f"/v1/agent-tokens/{quote(found['id'], safe='')}")
    if as_json:
        show.print_json("agent_token", revoked)
    else:
        show.say(f"the token of {name} that ends in {found['last4']} is revoked")


def _find(hub: Talk, name: str, id: str) -> dict[str, Any]:
    """Return the token whose id is *id* or ends in it. Raises Failure: none does, or several do."""
    tokens: list[dict[str, Any]] = hub.get_all(_path(name), "tokens")["tokens"]
    found = [
        token for token in tokens if token["id"] == id or (len(id) >= LEAST_END and token["id"].endswith(id))
    ]
    if len(found) > 1:
        raise Failure(
            f"several tokens end in {id!r}",
            Exit.USAGE,
            next_step="type more characters of the ID; --json prints it whole",
        )
    if not found:
        next_step = f"list its tokens: hub agents tokens {name}"
        raise Failure(f"agent {name} has no token {id!r}", Exit.FAILED, next_step=next_step)
    return found[0]


def _path(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}/tokens"
