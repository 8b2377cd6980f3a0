"""Commands on connectors: list, show, test, retry, sign in, delete the grant."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import connector_names, talk

PATH: Final = "/v1/connectors"


@click.group(cls=ListByDefault, epilog=example("hub connectors test mail"))
def connectors() -> None:
    """List, test and sign in to mailboxes, chats and calendars."""


@connectors.command("login", epilog=example("hub connectors login mail"))
@click.argument("connector", shell_complete=connector_names)
@click.option(
    "--way",
    type=click.Choice(["device", "paste", "code"]),
    help="Way to sign in [default: the browser of a device].",
)
@click.option(
    "--answer", metavar="URL", help="Last address of the browser, to complete a sign-in by --way paste."
)
@hub_option
@json_option
def login(connector: str, way: str | None, answer: str | None, state: Path, as_json: bool) -> None:
    """Sign in to CONNECTOR."""
    path = f"{PATH}/{quote(connector, safe='')}/sign-in"
    with talk(state) as hub:
        if answer is not None:
            response = hub.post(f"{path}/answer", {"address": answer})
        else:
            response = hub.post(path, {} if way is None else {"way": way})
    if as_json:
        show.print_json("sign_in", response)
        return
    if response["outcome"] is not None:
        show.report(
            f"signed in to {response['connector']}" if response["outcome"] == "done" else response["problem"]
        )
    elif response["way"] == "device":
        show.report("a browser was opened on your device; sign in there")
    elif response["way"] == "code":
        show.report(f"open {response['url']} and type {response['user_code']}")
    else:
        show.report(f"open {response['url']}")
        show.report(
            f"then paste the last address of the browser: hub connectors login {connector} --answer 'URL'"
        )
