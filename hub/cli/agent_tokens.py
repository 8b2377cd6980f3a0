"""Commands ``hub agents tokens | token | revoke-token``."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import Talk, talk

LEAST_END: Final = 6  # characters at the end of an id that identify it


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
